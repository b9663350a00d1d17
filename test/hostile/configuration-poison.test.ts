// Hostile, rows C1 and F22 with real programs: somebody writes poison into the folder of an authority that serves a uproxy and a waypoint
// under traffic. The authority keeps its last good state and names file, line and field in its log and in `check`; what is not refused
// fails closed and nothing but it; the next good state is followed. And row C5: when it restarts, who comes back is told the difference.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { stringify } from "yaml";
import { sourceOf, type ConfigAuthority } from "../support/config-authority.ts";
import { ConfigTestClient } from "../support/config-client.ts";
import { grpcSession } from "../support/grpc.ts";
import { ask } from "../support/http.ts";
import type { Mesh, Proxy } from "../support/mesh.ts";
import { POISONS } from "../support/poisons.ts";
import { runProgram, writeWhole } from "../support/programs.ts";
import { service, workloadEntry, type Resource } from "../support/resources.ts";
import { DEADLINE_MS, ECHO, startStreamedMesh, type StreamedMesh } from "../support/streamed-mesh.ts";
import { until } from "../support/until.ts";

/** Between two connections: what is asked here is whether each succeeds. */
const PAUSE_MS = 20;
/** Clients beside the proxies, and the documents that each of them holds. */
const CROWD = 24;
const HELD = 40;

let streamed: StreamedMesh;
let mesh: Mesh;
let authority: ConfigAuthority;
let proxies: readonly Proxy[];
const sessions: ClientHttp2Session[] = [];

before(async () => {
  const more = [
    service("reviews", [{ name: "http", port: 9080 }], { labels: { "istio.io/use-waypoint": "waypoint" } }),
  ];
  streamed = await startStreamedMesh({ more, pauseMs: PAUSE_MS });
  ({ mesh, authority } = streamed);
  proxies = [streamed.client, streamed.through];
});

after(() => streamed.stop());

/** Lines of the authority's log with that message. */
function told(message: string): readonly string[] {
  return authority.log
    .map((line) => JSON.parse(line) as { readonly message: string; readonly error?: string; readonly version?: string })
    .filter((line) => line.message === message)
    .map(({ error, version }) => error ?? version ?? "");
}

/** Rows of C1 that harm nobody where they fail closed; all of them are for the folder itself (`configuration-folder.test.ts`). */
const ROWS: ReadonlySet<string> = new Set([
  "a million rules of a policy",
  "a regular expression of a megabyte",
  "a megabyte of open lists",
  "an alias bomb",
  "a key that is there twice",
  "__proto__ as a field",
  "numbers as keys, a line each",
]);

test("each poison, and after each the next good state", async () => {
  const { client } = streamed;
  const rows = POISONS.filter(({ name }) => ROWS.has(name));
  assert.equal(rows.length, ROWS.size);
  for (const [index, { name, as, text, outcome, says }] of rows.entries()) {
    const file = join(mesh.resources, `poison-${index}.${as}`);
    const was = (await sourceOf(client)).stream;
    await until("its log to be there", () => told("resources in use").includes(was.version), DEADLINE_MS);
    writeWhole(file, text());
    authority.lookNow();
    if (outcome === "refused") {
      const found = await until(
        `the error of ${name}`,
        () => told("resource error").find((line) => line.startsWith(`${file}:`)),
        DEADLINE_MS,
      );
      assert.match(found.slice(file.length + 1), says, name);
      assert.equal((await sourceOf(client)).stream.version, was.version, name);
    } else {
      const isOver = (): boolean => told("resources in use").at(-1) !== was.version;
      await until(`the state with ${name}`, isOver, DEADLINE_MS);
    }
    rmSync(file);
    // Good again, and other than before.
    const news = `10.99.${index}.1`;
    mesh.write("news", [workloadEntry("news", news, { serviceAccount: "app", app: "app" })]);
    authority.lookNow();
    for (const proxy of proxies) {
      await until(
        `${proxy.name} to follow after ${name}`,
        async () => (await ask(`http://${proxy.admin}/config_dump`)).body.includes(news),
        DEADLINE_MS,
      );
    }
  }
  for (const proxy of proxies) {
    assert.equal((await sourceOf(proxy)).stream.refused, 0, "what the authority refuses reaches nobody");
  }
  await streamed.unharmed();
});

test("an authority that restarts tells each that comes back the difference, whoever comes together with it", async () => {
  const files = (await authority.proxyConfig("crowd"))["identity"] as { readonly files: string };
  const [ca, cert, key] = ["bundle.pem", "svid.pem", "key.pem"].map((name) =>
    readFileSync(join(files.files, name), "utf8"),
  );
  assert.ok(ca !== undefined && cert !== undefined && key !== undefined);
  const filler = { filler: "x".repeat(1_000) };
  const keys = Array.from({ length: HELD }, (_, index) => `host/held-${index}`);
  const held = (more: object): readonly Resource[] =>
    keys.map((_, index) =>
      service(`held-${index}`, [{ name: "tcp", port: ECHO }], {
        annotations: index === 0 ? { ...filler, ...more } : filler,
      }),
    );
  mesh.write("held", held({}));
  const [host = "", port = ""] = authority.address.split(":");
  const come = async (have?: ReadonlyMap<string, string>): Promise<ConfigTestClient> => {
    const session = await grpcSession({ host, port: Number(port), ca, cert, key, servername: "" });
    sessions.push(session);
    return new ConfigTestClient(session, have === undefined ? {} : { have }, keys);
  };
  const crowd = await Promise.all(Array.from({ length: CROWD }, () => come()));
  for (const each of crowd) await until("all that it asks for", () => each.held.size === HELD, DEADLINE_MS);
  const whole = crowd[0]?.bytes ?? 0;
  assert.ok(whole > HELD * 1_000, `${whole} bytes`);
  const were = await Promise.all(proxies.map(sourceOf));

  await authority.stop();
  mesh.write("held", held({ news: "yes" }));
  await authority.start();
  const again = await Promise.all(crowd.map((each) => come(each.have())));
  for (const each of again) {
    await until("its first update", () => each.updates.length > 0, DEADLINE_MS);
    const [first] = each.updates;
    assert.deepEqual([...(first?.set.keys() ?? [])], ["Service default/held-0"]);
    assert.deepEqual([first?.removed, first?.answered.length], [[], HELD]);
    assert.ok(each.bytes < whole / 10, `${each.bytes} bytes of ${whole}`);
  }
  for (const [index, proxy] of proxies.entries()) {
    await until(`${proxy.name} to be back`, async () => (await sourceOf(proxy)).stream.connected, DEADLINE_MS);
    const { documents, refused } = (await sourceOf(proxy)).stream;
    assert.deepEqual([documents, refused], [were[index]?.stream.documents, 0]);
  }
  for (const session of sessions) session.destroy();
  await streamed.unharmed();
});

test("check names file, line and field of all of them", async () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-poison-check-"));
  try {
    for (const [index, { as, text }] of POISONS.entries()) writeFileSync(join(folder, `p${index}.${as}`), text());
    const file = join(mesh.folder, "check.yaml");
    writeFileSync(file, stringify({ folder: authority.ca, names: ["authority"], resources: { files: folder } }));
    const { code, stderr } = await runProgram("authority", ["check", "--config", file], { name: "check" });
    assert.notEqual(code, 0);
    for (const [index, { as, says, name }] of POISONS.entries()) {
      const place = `${join(folder, `p${index}.${as}`)}:`;
      const lines = stderr.split("\n").filter((line) => line.includes(place));
      const found = lines.some((line) => says.test(line.slice(line.indexOf(place) + place.length)));
      assert.ok(found, `${name}: ${lines.slice(0, 3).join("\n")}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
