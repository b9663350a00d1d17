// A uproxy that is short of memory, and one that gets no processor: what runs goes on.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { countThenAnswer, echo, startTcpApp } from "../support/apps.ts";
import { memoryCgroup, processorCgroup } from "../support/cgroup.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh, type ProxyOptions } from "../support/mesh.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial, type Connection } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const ECHO = 7001;
const MIB = 1024 * 1024;
const LIMIT = 128 * MIB;
const SLOW = 7002;
const LOAD_BYTES = 4 * MIB;
/** More streams than the memory has room for the windows of. */
const MOST = 400;

interface Pair {
  readonly mesh: Mesh;
  readonly client: ProxyOptions;
  readonly app: ProxyOptions;
}

async function pair(context: TestContext): Promise<Pair> {
  const mesh = await startMesh();
  context.after(() => mesh.stop());
  const client = mesh.address();
  const app = mesh.address();
  mesh.write("mesh", [
    service("app", [
      { name: "tcp", port: ECHO },
      { name: "tcp-slow", port: SLOW },
    ]),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  await mesh.with(startTcpApp(app, ECHO, echo));
  return {
    mesh,
    app: { name: "app", address: app },
    client: {
      name: "client",
      address: client,
      listeners: [ECHO, SLOW].map((port) => ({ listen: `${client}:${port}`, to: `app:${port}` })),
    },
  };
}

async function echoes(connection: Connection): Promise<void> {
  const before = connection.received.length;
  connection.send("still there?");
  await connection.bytes(before + 12);
}

describe("short of memory", () => {
  test("new streams are refused from 85 % on, those that run go on, and the process lives", async (context) => {
    const { mesh, client, app } = await pair(context);
    const cgroup = memoryCgroup(LIMIT);
    if (cgroup === undefined) context.diagnostic("no control group can be made here: the limit is configured");
    else mesh.atEnd(async () => cgroup.remove());
    const limited = cgroup === undefined ? { config: { limits: { memory: "128MiB" } } } : { prefix: cgroup.prefix };
    const server = await mesh.uproxy({ ...app, ...limited });
    const caller = await mesh.uproxy(client);
    const metric = async (name: string): Promise<number> => {
      const { body } = await ask(`http://${server.address}:${PORTS.metrics}/metrics`);
      return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)?.[1]);
    };
    assert.equal(await metric("culvert_memory_limit_bytes"), LIMIT);

    const old = await dial(client.address, ECHO);
    await echoes(old);
    // An application that does not read: what a stream may have in flight stays in its uproxy.
    const held: Socket[] = [];
    const slow = await mesh.with(startTcpApp(app.address, SLOW, (socket) => void held.push(socket)));
    const load = Buffer.alloc(LOAD_BYTES);
    const crowd: Connection[] = [];
    const refused = (): boolean => server.log.some(({ code }) => code === "MEMORY_SHORT");
    while (!refused() && crowd.length < MOST) {
      const connection = attempt(client.address, SLOW);
      connection.finish(load);
      crowd.push(connection);
      await until("the stream to be taken or refused", () => slow.accepted === crowd.length || refused());
    }
    assert(refused(), `${crowd.length} streams and no refusal`);
    await caller.access({ code: "PEER_UNAVAILABLE" });
    await echoes(old);

    // Ten times as many as there was room for, and more: all are refused, and nothing else happens.
    const flood = Array.from({ length: 10 * crowd.length }, () => attempt(client.address, SLOW));
    for (const connection of flood) connection.finish("more");
    await until("the flood to be over", () => server.log.filter(({ code }) => code === "MEMORY_SHORT").length > 10);
    await echoes(old);

    for (const socket of held) countThenAnswer(socket);
    const taken = slow.accepted;
    const answers = await Promise.all(crowd.map(async (connection) => [await connection.ended(), connection] as const));
    const whole = answers.filter(([how, { received }]) => how === "end" && String(received) === `${LOAD_BYTES} bytes`);
    assert(
      whole.length >= crowd.length - 1 && whole.length <= taken,
      `${whole.length} of ${crowd.length} were carried whole`,
    );
    context.diagnostic(`${crowd.length} streams of ${LOAD_BYTES} bytes, ${whole.length} carried whole`);
    for (const connection of flood) connection.close();
    await until("new streams to be taken", async () => {
      return String((await converse(client.address, ECHO, "hello")).received) === "hello";
    });
    await echoes(old);
    old.close();
  });
});

describe("short of processor", () => {
  test("a process that was stopped does not take its peers for dead", async (context) => {
    const { mesh, client, app } = await pair(context);
    const server = await mesh.uproxy({ ...app, config: { limits: { pingInterval: "1s", pingTimeout: "2s" } } });
    await mesh.uproxy(client);
    const old = await dial(client.address, ECHO);
    await echoes(old);
    for (let round = 0; round < 3; round++) {
      server.program.signal("SIGSTOP");
      await observe(4_000);
      server.program.signal("SIGCONT");
      await echoes(old);
      // Long enough for a question and the verdict on it.
      await observe(1_500);
    }
    await echoes(old);
    old.close();
    assert.deepEqual(
      server.log.filter(({ error }) => String(error).includes("does not answer PING")),
      [],
    );
  });

  test("F26 with a tenth of a processor everything is slower, and nothing fails", async (context) => {
    const cgroup = processorCgroup(10);
    if (cgroup === undefined) return context.skip("no control group of processor time can be made here");
    const { mesh, client, app } = await pair(context);
    mesh.atEnd(async () => cgroup.remove());
    const limits = { pingInterval: "1s", pingTimeout: "5s" };
    const server = await mesh.uproxy({ ...app, prefix: cgroup.prefix, config: { limits } });
    const caller = await mesh.uproxy({ ...client, config: { limits } });
    const old = await dial(client.address, ECHO);
    await echoes(old);
    // Several seconds of work for what it may have.
    for (let round = 0; round < 15; round += 1) {
      const answers = Array.from({ length: 20 }, () => converse(client.address, ECHO, "hello"));
      for (const answer of answers) assert.equal(String((await answer).received), "hello");
      await echoes(old);
    }
    old.close();
    for (const { log } of [server, caller]) {
      assert.deepEqual(
        log.filter(({ code }) => code !== undefined),
        [],
      );
    }
  });
});
