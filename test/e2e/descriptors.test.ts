// A uproxy that runs out of descriptors: what runs goes on, what comes waits or is refused, operators are answered.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { cpuMs, descriptors } from "../support/proc.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, dial, type Connection } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const ECHO = 7001;
const LIMIT = 256;
/** What the process is allowed; the soft limit is lower, and the runtime raises it. */
const SHORT = ["prlimit", `--nofile=64:${LIMIT}`];

async function startPair(mesh: Mesh, short: "client" | "app"): Promise<{ client: Proxy; app: Proxy }> {
  const clientAddress = mesh.address();
  const appAddress = mesh.address();
  mesh.write("mesh", [
    service("app", [{ name: "tcp", port: ECHO }]),
    workloadEntry("app", appAddress, { serviceAccount: "app" }),
    workloadEntry("client", clientAddress, { serviceAccount: "client" }),
  ]);
  await mesh.with(startTcpApp(appAddress, ECHO, echo));
  const prefix = (name: string) => (name === short ? { prefix: SHORT } : {});
  const app = await mesh.uproxy({ name: "app", address: appAddress, ...prefix("app") });
  const client = await mesh.uproxy({
    name: "client",
    address: clientAddress,
    listeners: [{ listen: `${clientAddress}:${ECHO}`, to: `app:${ECHO}` }],
    ...prefix("client"),
  });
  return { client, app };
}

async function echoes(connection: Connection): Promise<void> {
  const before = connection.received.length;
  connection.send("still there?");
  await connection.bytes(before + 12);
}

async function metric(proxy: Proxy, name: string): Promise<number> {
  const { body } = await ask(`http://${proxy.address}:${PORTS.metrics}/metrics`);
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)?.[1]);
}

describe("short of descriptors", needs({ commands: ["prlimit"] }), () => {
  test("accepting pauses and resumes; old traffic, probes and operators do not notice", async (context) => {
    const mesh = await startMesh();
    context.after(() => mesh.stop());
    const { client } = await startPair(mesh, "client");
    const { pid } = client.program;
    const old = await dial(client.address, ECHO);
    await echoes(old);

    const crowd = Array.from({ length: 2 * LIMIT }, () => attempt(client.address, ECHO));
    for (const connection of crowd) connection.send("hello");
    const served = (): number => crowd.filter(({ received }) => received.length === 5).length;
    await until("accepting to pause", () => client.log.some(({ message }) => /accepting pauses/.test(String(message))));
    await until("those that were accepted to be served", () => served() >= descriptors(pid) - 60);
    assert(served() < LIMIT, `${served()} of ${crowd.length} were accepted`);

    await echoes(old);
    assert.equal(await metric(client, "process_max_fds"), LIMIT);
    assert.equal(await metric(client, "culvert_accept_pauses_total"), 1);
    assert(descriptors(pid) < LIMIT);
    for (const path of [
      `${PORTS.readiness}/healthz/ready`,
      `${PORTS.readiness}/healthz/live`,
      `${PORTS.admin}/logging`,
    ]) {
      assert.equal((await ask(`http://${client.address}:${path}`)).status, 200, path);
    }
    const before = cpuMs([pid]);
    await observe(1_000);
    const used = cpuMs([pid]) - before;
    assert(used < 300, `${used} ms of CPU in a second in which nothing can be done`);

    // As places become free, all that waited are served.
    let closed = 0;
    await until("everybody to be served", () => {
      for (const connection of crowd) {
        if (connection.received.length < 5 || connection.socket.destroyed) continue;
        connection.close();
        closed += 1;
      }
      return closed === crowd.length;
    });
    await echoes(old);
    old.close();
    await until("the descriptors to come back", () => descriptors(pid) < 60);
  });

  test("a destination that cannot dial its app refuses, and keeps the tunnels that it has", async (context) => {
    const mesh = await startMesh();
    context.after(() => mesh.stop());
    const { client, app } = await startPair(mesh, "app");
    const old = await dial(client.address, ECHO);
    await echoes(old);
    // One after another, so that sessions have room when the descriptors run out.
    const crowd: Connection[] = [];
    let served = true;
    while (served) {
      const connection = attempt(client.address, ECHO);
      crowd.push(connection);
      connection.send("hello");
      served = await connection.bytes(5).then(
        () => true,
        () => false,
      );
    }
    assert(crowd.length > LIMIT / 2 && crowd.length < LIMIT, `${crowd.length} before the first refusal`);
    await client.access({ code: "PEER_UNAVAILABLE" });
    await app.access({ code: "TOO_MANY_CONNECTIONS" });
    await echoes(old);
    assert.equal((await ask(`http://${app.address}:${PORTS.admin}/logging`)).status, 200);
    for (const connection of crowd) connection.close();
    await until("new connections to be served again", async () => {
      const again = attempt(client.address, ECHO);
      again.finish("hello");
      await again.ended();
      again.close();
      return again.received.length === 5;
    });
    old.close();
  });
});
