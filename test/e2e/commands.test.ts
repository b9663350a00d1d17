// The command line of uproxy as its users meet it: what is right says so, what is wrong names place and expectation and
// ends with the promised code.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { MeshAuthority } from "../support/identities.ts";
import { reserveSubnet } from "../support/loopback.ts";
import { runProgram, spawnWithConfig, writeResources } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const subnet = await reserveSubnet();
const folder = mkdtempSync(join(tmpdir(), "culvert-commands-"));
const address = subnet.address(1);
await (await MeshAuthority.create()).issue(folder, "api");
writeResources(join(folder, "mesh"), "mesh", [
  service("api", [{ name: "http", port: 80, targetPort: 8080 }]),
  workloadEntry("api", address, { serviceAccount: "api" }),
]);

const good = {
  identity: { files: "api" },
  resources: { files: "mesh" },
  inbound: { hbone: hostPort(address, 15008) },
  outbound: { proxy: "off" },
  admin: hostPort(address, 15000),
  readiness: hostPort(address, 15021),
  metrics: "off",
};

after(async () => {
  await subnet.release();
  rmSync(folder, { recursive: true });
});

let files = 0;
function configFile(config: object | string): string {
  const file = join(folder, `config-${(files += 1)}.yaml`);
  writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
  return file;
}

interface Wrong {
  readonly what: string;
  readonly args: () => readonly string[];
  readonly code: number;
  readonly says: RegExp;
}

const wrong: readonly Wrong[] = [
  { what: "an unknown command", args: () => ["rum"], code: 2, says: /unknown command "rum", did you mean run\?/ },
  { what: "an unknown option", args: () => ["run", "--confg", "x"], code: 2, says: /--confg/ },
  {
    what: "a file that is not there",
    args: () => ["run", "--config", "/nowhere.yaml"],
    code: 2,
    says: /\/nowhere\.yaml: /,
  },
  {
    what: "an unknown key",
    args: () => ["check", "--config", configFile("identity: {files: api}\nresources: {files: mesh}\noutbuond: {}\n")],
    code: 2,
    says: /config-\d+\.yaml:3: outbuond: .*outbound/,
  },
  {
    what: "a proxy port that the network could reach",
    args: () => ["check", "--config", configFile({ ...good, outbound: { proxy: "0.0.0.0:15080" } })],
    code: 2,
    says: /outbound\.proxy: .*loopback/,
  },
  {
    what: "no identity",
    args: () => ["run", "--config", configFile({ ...good, identity: { files: "nobody" } })],
    code: 3,
    says: /identity: .*nobody/,
  },
  {
    what: "a duration that is none",
    args: () => ["wait", "--timeout", "soon"],
    code: 2,
    says: /--timeout: expected a duration/,
  },
  { what: "explain without a destination", args: () => ["explain"], code: 2, says: /--to/ },
];

for (const { what, args, code, says } of wrong) {
  test(`${what} ends with ${code} and a line that helps`, async () => {
    const result = await runProgram("uproxy", args());
    assert.match(result.stderr, says);
    assert.equal(result.code, code);
    assert.doesNotMatch(result.stderr, /^\s+at /m);
  });
}

test("a key that others may read is refused with 3", async () => {
  const account = join(folder, "open");
  await (await MeshAuthority.create()).issue(folder, "open");
  chmodSync(join(account, "key.pem"), 0o644);
  const result = await runProgram("uproxy", ["run", "--config", configFile({ ...good, identity: { files: "open" } })]);
  assert.equal(result.code, 3);
  assert.match(result.stderr, /key\.pem/);
});

test("a port that is taken is refused with 4 and named", async () => {
  const taken = createServer().listen(0, address);
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const config = configFile({ ...good, inbound: { hbone: hostPort(address, port) }, readiness: "off", admin: "off" });
  const result = await runProgram("uproxy", ["run", "--config", config]);
  taken.close();
  assert.equal(result.code, 4);
  assert.match(result.stderr, new RegExp(`inbound\\.hbone.*${hostPort(address, port)}`));
});

test("check says ok, or every error of the resources with file, line and path", async () => {
  const config = configFile(good);
  const fine = await runProgram("uproxy", ["check", "--config", config]);
  assert.deepEqual([fine.code, fine.stdout], [0, "ok"], fine.stderr);
  const bad = join(folder, "bad");
  writeResources(bad, "mesh", [
    service("api", [{ name: "http", port: 70000 }]),
    workloadEntry("api", "", { serviceAccount: "a b" }),
  ]);
  const result = await runProgram("uproxy", ["check", "--config", config, "--resources", bad]);
  assert.equal(result.code, 2);
  assert.match(result.stderr, /mesh\.yaml:\d+: .*spec\.ports\[0\]\.port: /);
  assert.match(result.stderr, /mesh\.yaml:\d+: .*spec\.serviceAccount: /);
});

test("explain answers offline and by the admin port alike; wait waits; signals drain", async () => {
  const config = configFile(good);
  const offline = await runProgram("uproxy", ["explain", "--config", config, "--to", "api:80"]);
  assert.match(offline.stdout, new RegExp(`tunnel to ${address}:8080`));

  const early = await runProgram("uproxy", ["wait", "--config", config, "--timeout", "100ms"]);
  assert.equal(early.code, 1);
  assert.match(early.stderr, /not ready after 100 ms/);

  const running = spawnWithConfig("uproxy", { name: "api", folder, config: good });
  const waited = await runProgram("uproxy", ["wait", "--config", config, "--timeout", "15s"]);
  assert.equal(waited.code, 0, waited.stderr);
  const online = await runProgram("uproxy", ["explain", "--admin", hostPort(address, 15000), "--to", "api:80"]);
  assert.equal(online.stdout, offline.stdout);

  running.signal("SIGTERM");
  const exit = await running.exited;
  assert.deepEqual([exit.code, exit.signal], [0, null]);
  assert.ok(running.output.some((line) => line.includes('"draining"')));
});

test("SIGHUP reads the files again", async () => {
  const mesh = join(folder, "hup");
  writeResources(mesh, "mesh", [workloadEntry("api", address, { serviceAccount: "api" })]);
  const running = spawnWithConfig("uproxy", {
    name: "hup",
    folder,
    config: { ...good, resources: { files: mesh }, admin: "off" },
  });
  await until("readiness", () => running.output.some((line) => line.includes('"ready"')));
  running.signal("SIGHUP");
  await until("the line that says so", () => running.output.some((line) => line.includes("reading files again")));
  await running.stop();
});
