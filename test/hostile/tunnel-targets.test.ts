// Hostile, rows T1 to T3: a peer with a valid identity asks a running uproxy for what is not its own app, for the proxy
// itself, and lies about who it is in the headers.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { openFilesSource } from "@culvert/shared/identity/sources/files.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { id, ip } from "../support/fixtures.ts";
import { must } from "../support/identity.ts";
import { MeshAuthority } from "../support/identities.ts";
import { reserveSubnet } from "../support/loopback.ts";
import { spawnWithConfig, writeResources } from "../support/programs.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { accepts } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const subnet = await reserveSubnet();
const folder = mkdtempSync(join(tmpdir(), "culvert-targets-"));
const own = subnet.address(1);
const other = subnet.address(2);
const APP_PORT = 8080;

const app = createServer((socket) => socket.on("error", () => undefined).end("hello\n"));
const neighbour = createServer((socket) => socket.destroy());
let reached = 0;
neighbour.on("connection", () => (reached += 1));

let pool: TunnelPool | undefined;

const uproxy = await (async () => {
  const authority = await MeshAuthority.create();
  await authority.issue(folder, "api");
  await authority.issue(folder, "caller");
  writeResources(join(folder, "mesh"), "mesh", [
    service("api", [{ name: "http", port: 80, targetPort: APP_PORT }]),
    service("neighbour", [{ name: "http", port: 80, targetPort: APP_PORT }]),
    workloadEntry("api", own, { serviceAccount: "api" }),
    workloadEntry("neighbour", other, { serviceAccount: "neighbour" }),
    authorizationPolicy("api", "ALLOW", { app: "api" }, [
      { from: [{ source: { principals: ["cluster.local/ns/default/sa/caller"] } }] },
    ]),
  ]);
  return spawnWithConfig("uproxy", {
    name: "api",
    folder,
    config: {
      identity: { files: join(folder, "api") },
      resources: { files: join(folder, "mesh") },
      inbound: { hbone: `${own}:15008` },
      outbound: { proxy: `${own}:15080` },
      admin: `${own}:15000`,
      readiness: `${own}:15021`,
      metrics: `${own}:15020`,
    },
  });
})();

before(async () => {
  await Promise.all([
    once(app.listen(APP_PORT, own), "listening"),
    once(neighbour.listen(APP_PORT, other), "listening"),
    until("the tunnel listener", () => accepts(own, 15008)),
  ]);
  const identity = must(
    await openFilesSource({ location: join(folder, "caller"), clock: systemClock, onEvent: () => undefined }),
  );
  pool = new TunnelPool({ identity, limits: DEFAULT_TUNNEL_LIMITS, clock: systemClock, onEvent: () => undefined });
});

after(async () => {
  pool?.close();
  await uproxy.stop();
  app.close();
  neighbour.close();
  await subnet.release();
  rmSync(folder, { recursive: true });
});

/** Asks for a tunnel; "open", or the status and code that the peer answered. */
async function ask(authority: string, headers: Record<string, string | string[]> = {}): Promise<string> {
  const target = { ip: ip(own), port: 15008, expected: [id("default/api")] };
  const opened = await (pool as TunnelPool).open(target, { authority, headers });
  if (!isFailure(opened)) {
    opened.stream.close();
    return "open";
  }
  return /\d{3} [A-Z_]+$/.exec(opened.detail)?.[0] ?? opened.toString();
}

const targets: readonly [what: string, authority: string, expected: string][] = [
  ["its app by address", `${own}:${APP_PORT}`, "open"],
  ["its app by service name", "api.default.svc.cluster.local:80", "open"],
  ["loopback", `127.0.0.1:${APP_PORT}`, "400 DESTINATION_NOT_MINE"],
  ["the metadata service of clouds", "169.254.169.254:80", "400 DESTINATION_NOT_MINE"],
  ["another workload", `${other}:${APP_PORT}`, "400 DESTINATION_NOT_MINE"],
  ["every interface", `0.0.0.0:${APP_PORT}`, "400 DESTINATION_NOT_MINE"],
  ["IPv6 loopback", `[::1]:${APP_PORT}`, "400 DESTINATION_NOT_MINE"],
  ["an IPv4 address in IPv6 clothes", `[::ffff:${own}]:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
  ["an octal address", `0177.0.0.1:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
  ["an address as one number", `2130706433:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
  ["a zone", `[fe80::1%eth0]:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
  ["no port", own, "400 AUTHORITY_MALFORMED"],
  ["port 0", `${own}:0`, "400 AUTHORITY_MALFORMED"],
  ["another workload's service", "neighbour.default.svc.cluster.local:80", "503 SERVICE_NOT_MINE"],
  ["a name of the world", "example.com:80", "503 SERVICE_NOT_MINE"],
  ["its own tunnel port: a loop", `${own}:15008`, "503 SELF_CALL"],
  ["its own proxy port", `${own}:15080`, "503 SELF_CALL"],
  ["its own admin port", `${own}:15000`, "503 SELF_CALL"],
  ["its own metrics", `${own}:15020`, "503 SELF_CALL"],
  ["a dead port", `${own}:9`, "503 APP_REFUSED"],
];

for (const [what, authority, expected] of targets) {
  test(`a peer that asks for ${what} gets: ${expected}`, async () => {
    assert.equal(await ask(authority), expected);
  });
}

test("nothing but the own app was dialled, and every refusal is in the log with its code", async () => {
  assert.equal(reached, 0);
  const refused = targets.filter(([, , expected]) => expected !== "open").map(([, , expected]) => expected.slice(4));
  for (const code of new Set(refused)) {
    await until(`a log line with ${code}`, () => uproxy.output.some((line) => line.includes(`"code":"${code}"`)));
  }
});

test("headers that lie change neither the decision nor who is logged", async () => {
  const lies = {
    forwarded: `for="10.9.9.9:1";host=neighbour.default.svc.cluster.local`,
    baggage: "k8s.namespace.name=kube-system,service.name=root",
    "x-forwarded-for": "10.9.9.9",
    "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
  };
  const seen = uproxy.output.length;
  assert.equal(await ask(`${own}:${APP_PORT}`, lies), "open");
  const line = await until("the log line", () =>
    uproxy.output.slice(seen).find((text) => text.includes('"direction":"inbound"')),
  );
  const entry = JSON.parse(line) as Record<string, unknown>;
  assert.equal(entry["src.identity"], id("default/caller"));
  assert.equal(entry["dst.service"], undefined);
  assert.ok(!line.includes("10.9.9.9") && !line.includes("kube-system"), line);
});
