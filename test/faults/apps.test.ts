// What a pair of uproxies promises when the apps at its ends are slow, end early or end by halves, or are started anew.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import type { Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, echo, startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { memory } from "../support/proc.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { observe, until, within } from "../support/until.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const COUNT = 7002;
const SLOW = 7003;
const FIRST = 7004;
const AGAIN = 7005;
const TIMES = 1_000;
const AT_ONCE = 20;

/** What one stream may hold between the two apps: a stream window and both queues; the kernels' buffers come on top. */
const STREAM_HOLDS = 2 * MIB;
const KERNELS_HOLD = 24 * MIB;

describe("faults of the apps", () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;
  const slow: Socket[] = [];

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const serverAddress = mesh.address();
    const ports = [COUNT, SLOW, FIRST, AGAIN];
    mesh.write("mesh", [
      service(
        "app",
        ports.map((port) => ({ name: `tcp-${port}`, port })),
      ),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(serverAddress, COUNT, countThenAnswer));
    await mesh.with(startTcpApp(serverAddress, SLOW, (socket) => slow.push(socket.pause())));
    await mesh.with(startTcpApp(serverAddress, FIRST, answerThenCount));
    server = await mesh.uproxy({ name: "app", address: serverAddress });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: ports.map((port) => ({ listen: hostPort(mesh.inside(clientAddress), port), to: `app:${port}` })),
    });
  });

  after(() => mesh.stop());

  test("F7 an app that does not read stops the one that writes, and what is held between them is bounded", async () => {
    const atRest = [client, server].map(({ program }) => memory(program.pid).anon);
    const connection = await dial(client.inside, SLOW);
    const app = await until("the app's side", () => slow[0]);
    const data = randomBytes(64 * MIB);
    connection.send(data);
    let last = -1;
    await until("the writer to stop", async () => {
      const now = await carried(client);
      const same = now > 0 && now === last;
      last = now;
      if (!same) await observe(250);
      return same;
    });
    const held = last - (await carried(server));
    assert.ok(held <= STREAM_HOLDS, `${held} bytes are between the two proxies`);
    assert.ok(last < STREAM_HOLDS + KERNELS_HOLD, `${last} bytes were taken from the writer`);
    for (const [index, { name, program }] of [client, server].entries()) {
      const { anon } = memory(program.pid);
      assert.ok(anon < (atRest[index] ?? 0) + 48, `${name} grew to ${anon.toFixed(1)} MiB`);
    }
    // The others on the session do not notice, and the slow one gets all of it once it reads.
    assert.equal((await converse(client.inside, COUNT, "beside")).received.toString(), "6 bytes");
    const chunks: Buffer[] = [];
    app.on("data", (chunk: Buffer) => chunks.push(chunk));
    app.resume();
    connection.finish();
    await within("the end at the slow app", once(app, "end"));
    assert.ok(Buffer.concat(chunks).equals(data), "not every byte arrived");
    app.end();
    assert.equal(await connection.ended(), "end");
  });

  for (const [who, port, expected] of [
    ["the client", COUNT, (size: number) => `${size} bytes`],
    ["the app", FIRST, () => "first"],
  ] as const) {
    test(`F9 ${who} closes its half first, ${TIMES} times: the rest arrives whole`, async () => {
      for (let done = 0; done < TIMES; done += AT_ONCE) {
        const sizes = Array.from({ length: AT_ONCE }, (_, index) => ((done + index) * 997) % (96 * KIB));
        const answers = await Promise.all(
          sizes.map(async (size) => {
            if (port === COUNT) return converse(client.inside, port, Buffer.alloc(size));
            const connection = await dial(client.inside, port);
            const ended = await connection.ended();
            connection.finish(Buffer.alloc(size));
            return { received: connection.received, ended };
          }),
        );
        for (const [index, { received, ended }] of answers.entries()) {
          assert.deepEqual([received.toString(), ended], [expected(sizes[index] ?? 0), "end"]);
        }
        if (port === FIRST) {
          await until("the app's counts", () => counts.length === done + AT_ONCE);
          assert.deepEqual(
            counts.slice(done).toSorted((a, b) => a - b),
            sizes.toSorted((a, b) => a - b),
          );
        }
      }
    });
  }

  test("F10 an app that is started anew is reached at once, and its absence is told as that", async () => {
    for (let round = 0; round < 5; round++) {
      const refused = attempt(client.inside, AGAIN);
      assert.equal(await refused.ended(), "ECONNRESET");
      const app = await startTcpApp(server.address, AGAIN, echo);
      assert.equal((await converse(client.inside, AGAIN, `round ${round}`)).received.toString(), `round ${round}`);
      const live = await dial(client.inside, AGAIN);
      live.send("?");
      await live.bytes(1);
      for (const socket of app.sockets) socket.resetAndDestroy();
      assert.equal(await live.ended(), "ECONNRESET");
      await app.stop();
    }
    const line = await client.access({ direction: "outbound", code: "PEER_UNAVAILABLE" });
    assert.match(String(line["error"]), /APP_REFUSED/);
    await server.access({ direction: "inbound", code: "APP_REFUSED" });
    await server.access({ direction: "inbound", code: "APP_RESET" });
  });
});

/** The bytes that a proxy has carried toward the slow app. */
async function carried(proxy: Proxy): Promise<number> {
  const { body } = await ask(`http://${proxy.admin}/connections`);
  const { connections } = JSON.parse(body) as { connections: { destination: string; bytes_recv: number }[] };
  return connections.find(({ destination }) => destination.endsWith(`:${SLOW}`))?.bytes_recv ?? 0;
}

/** Bytes that came to `answerThenCount` after it had ended its own half, by connection. */
const counts: number[] = [];

function answerThenCount(socket: Socket): void {
  socket.end("first");
  let count = 0;
  socket.on("data", (chunk) => void (count += chunk.length));
  socket.on("end", () => counts.push(count));
}
