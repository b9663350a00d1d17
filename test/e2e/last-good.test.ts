// A uproxy that starts while its resources cannot be used, and one whose disk is full.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { succeed } from "../support/process.ts";
import { runProgram } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { converse } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const ECHO = 7001;

interface Place {
  readonly mesh: Mesh;
  readonly client: string;
  readonly app: string;
  /** Starts the client's uproxy; it keeps the last good snapshot at `lastGood`. */
  start(lastGood: string, prefix?: readonly string[]): Promise<Proxy>;
}

async function place(context: TestContext): Promise<Place> {
  const mesh = await startMesh();
  context.after(() => mesh.stop());
  const client = mesh.address();
  const app = mesh.address();
  mesh.write("mesh", [
    service("app", [{ name: "tcp", port: ECHO }]),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  await mesh.with(startTcpApp(app, ECHO, echo));
  await mesh.uproxy({ name: "app", address: app });
  const start = (lastGood: string, prefix: readonly string[] = []): Promise<Proxy> =>
    mesh.uproxy({
      name: "client",
      address: client,
      listeners: [{ listen: `${client}:${ECHO}`, to: `app:${ECHO}` }],
      config: { resources: { files: mesh.resources, lastGood } },
      prefix,
    });
  return { mesh, client, app, start };
}

async function get(proxy: Proxy, port: number, path: string): Promise<string> {
  return (await ask(`http://${proxy.address}:${port}${path}`)).body;
}

async function serves({ client }: Place): Promise<void> {
  assert.equal(String((await converse(client, ECHO, "hello")).received), "hello");
}

describe("a start without resources", () => {
  test("serves the last good ones at once, says so everywhere, and takes the folder when it comes back", async (context) => {
    const here = await place(context);
    const { mesh } = here;
    const lastGood = join(mesh.folder, "snapshot");
    const first = await here.start(lastGood);
    await until("the snapshot", () => existsSync(lastGood));
    assert.equal(statSync(lastGood).mode & 0o777, 0o600);
    await first.program.stop();

    const away = `${mesh.resources}.away`;
    renameSync(mesh.resources, away);
    const second = await here.start(lastGood);
    await serves(here);
    assert.match(
      await get(second, PORTS.readiness, "/healthz/ready"),
      /^ready; resources: the last good ones, saved \d+\w+ ago/,
    );
    const metrics = await get(second, PORTS.metrics, "/metrics");
    assert.match(metrics, /^culvert_config_restored 1$/m);
    assert.match(metrics, /^culvert_config_age_seconds [\d.]+$/m);
    assert.match(await get(second, PORTS.admin, "/config_dump"), /"restored": true,\s+"asOf": "2/);
    await second.logged({ level: "warn", message: "resources cannot be used, those that were saved last are in use" });

    renameSync(away, mesh.resources);
    await until("the folder to be used", async () => {
      return /^culvert_config_restored 0$/m.test(await get(second, PORTS.metrics, "/metrics"));
    });
    assert.equal(await get(second, PORTS.readiness, "/healthz/ready"), "ready\n");
    await serves(here);
  });

  test("and without a snapshot that may be used does not start, and says why for both", async (context) => {
    const here = await place(context);
    const lastGood = join(here.mesh.folder, "snapshot");
    const proxy = await here.start(lastGood);
    await until("the snapshot", () => existsSync(lastGood));
    await proxy.program.stop();
    chmodSync(lastGood, 0o644);
    renameSync(here.mesh.resources, `${here.mesh.resources}.away`);
    const { code, stderr } = await runProgram("uproxy", ["run", "--config", join(here.mesh.folder, "client.yaml")]);
    assert.equal(code, 2);
    assert.match(stderr, /mesh: cannot be read: ENOENT/);
    assert.match(stderr, /last good snapshot.*expected mode 0600, found 0644/);
  });
});

describe("a full disk", needs({ root: true }), () => {
  test("for log and snapshot leaves traffic as it was; what is lost is counted", async (context) => {
    const here = await place(context);
    const disk = mkdtempSync(join(tmpdir(), "culvert-disk-"));
    await succeed("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    context.after(() => succeed("umount", ["--lazy", disk]));
    writeFileSync(join(disk, "filler"), Buffer.alloc(1024 * 1024 - 16_384));
    // The log goes to the disk that is nearly full.
    const redirect = ["sh", "-c", `exec "$@" >${join(disk, "log")}`, "sh"];
    const lastGood = join(disk, "snapshot");
    const proxy = await here.start(lastGood, redirect);
    proxy.killed = true;
    const count = async (name: string): Promise<number> => {
      const metrics = await get(proxy, PORTS.metrics, "/metrics");
      return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
    };
    await until("the log to be full", async () => {
      await serves(here);
      return (await count("culvert_log_lines_dropped_total")) > 0;
    });
    const saved = existsSync(lastGood) ? readFileSync(lastGood) : undefined;
    here.mesh.write("more", [service("more", [{ name: "tcp", port: 1 }])]);
    await until("a failure to save", async () => (await count("culvert_config_save_failures_total")) > 0);
    assert.deepEqual(existsSync(lastGood) ? readFileSync(lastGood) : undefined, saved, "what was saved before stays");
    await serves(here);
  });
});
