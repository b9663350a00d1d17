// A real protocol that knows nothing of meshes: PostgreSQL and psql through two uproxies.
import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { command } from "../support/env.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { startPostgres } from "../support/postgres.ts";
import { run, startProgram, type Result } from "../support/process.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const POSTGRES = 5432;

describe("PostgreSQL through two uproxies", needs({ commands: ["psql", "initdb", "postgres", "setpriv"] }), () => {
  let mesh: Mesh;
  let client: Proxy;

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const serverAddress = mesh.address();
    mesh.write("mesh", [
      service("db", [{ name: "tcp-postgres", port: POSTGRES }]),
      workloadEntry("db", serverAddress, { serviceAccount: "db" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    // The server runs as another user and has to reach its data.
    chmodSync(mesh.folder, 0o711);
    await mesh.with(startPostgres(join(mesh.folder, "postgres"), serverAddress, POSTGRES));
    await mesh.uproxy({ name: "db", address: serverAddress });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [{ listen: hostPort(mesh.inside(clientAddress), POSTGRES), to: "db:5432" }],
    });
  });

  after(() => mesh.stop());

  const flags = (...more: readonly string[]): string[] => {
    const common = ["--no-psqlrc", "--host", client.inside, "--username", "postgres", "--set", "ON_ERROR_STOP=1"];
    return [...common, "--tuples-only", "--no-align", ...more];
  };
  const psql = (sql: string): Promise<Result> => run(command("psql"), flags("--command", sql));

  test("a query and its answer", async () => {
    const { stdout, stderr } = await psql("select 6 * 7");
    assert.equal(stdout, "42", stderr);
  });

  test("a mebibyte both ways through COPY", async () => {
    const { stdout, stderr } = await psql(
      "create table t (x text); insert into t select repeat(md5(i::text), 32) from generate_series(1, 1024) i; copy t to stdout",
    );
    assert.equal(stderr, "");
    const rows = stdout.split("\n").filter((line) => /^[0-9a-f]{1024}$/.test(line));
    assert.equal(rows.length, 1024);
  });

  test("a notification reaches a session that listens", async () => {
    const listener = startProgram({
      name: "listener",
      command: command("psql"),
      args: flags("--command", "listen news", "--command", "select 'listening'", "--command", "select pg_sleep(2)"),
    });
    mesh.atEnd(() => listener.stop());
    await listener.line(/listening/);
    await psql("notify news, 'culvert'");
    await listener.line(/Asynchronous notification "news" with payload "culvert"/);
    await listener.exited;
  });

  test("a policy that denies ends live sessions and refuses new ones", async () => {
    const live = startProgram({
      name: "live session",
      command: command("psql"),
      args: flags("--command", "select 'live'", "--command", "select pg_sleep(60)"),
    });
    await live.line(/live/);
    mesh.write("policy", [authorizationPolicy("nobody", "ALLOW", { app: "db" }, [])]);
    const { code } = await live.exited;
    assert.notEqual(code, 0);
    const refused = await psql("select 1");
    assert.notEqual(refused.code, 0);
    mesh.remove("policy");
    await until("queries again", async () => (await psql("select 1")).code === 0);
  });
});
