// Services in this process that are called: by a real uproxy, and by each other; policy, rotation, deadlines and the end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp, request, type IncomingMessage } from "node:http";
import { createServer as createNet } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { peerOf, type Served } from "@culvert/in-process";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { joinMesh, type Insider } from "../support/in-process.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { until, within } from "../support/until.ts";

const MIB = 1024 * 1024;
const PORT = { http: 8000, echo: 7001, raw: 7002, local: 7003, secret: 7004, nobody: 7005, slow: 8001 } as const;

/** How often a log says that the identity has changed. */
function changes(log: Insider["log"]): number {
  return log.filter((line) => line["message"] === "identity changed").length;
}

describe("services in this process", () => {
  let mesh: Mesh;
  let outside: Proxy;
  let insider: Insider;
  let other: Insider;
  let addresses: Record<"outside" | "insider" | "other", string>;
  const served: Served[] = [];

  const http = createHttp((incoming, answer) => {
    let bytes = 0;
    incoming.on("data", (chunk: Buffer) => void (bytes += chunk.length));
    incoming.on("end", () => {
      if (incoming.url === "/large") answer.end(Buffer.alloc(5 * MIB));
      else answer.end(`${incoming.method} ${bytes} from ${peerOf(incoming)}`);
    });
  });
  const slow = createHttp((incoming, answer) => {
    if (incoming.url === "/at-once") answer.end("ok");
    else incoming.resume().on("end", () => answer.end("ok"));
  });
  slow.headersTimeout = 300;
  slow.requestTimeout = 600;

  before(async () => {
    mesh = await startMesh();
    addresses = { outside: mesh.address(), insider: mesh.address(), other: mesh.address() };
    const named = Object.entries(PORT).map(([name, port]) => ({ name: `tcp-${name}`, port }));
    mesh.write("mesh", [
      service("insider", named),
      service("other", named),
      workloadEntry("outside", addresses.outside, { serviceAccount: "outside" }),
      workloadEntry("insider", addresses.insider, { serviceAccount: "insider" }),
      workloadEntry("other", addresses.other, { serviceAccount: "other" }),
    ]);
    mesh.write("policy", [
      authorizationPolicy("secret", "DENY", { app: "insider" }, [
        { to: [{ operation: { ports: [String(PORT.secret)] } }] },
      ]),
    ]);
    insider = await joinMesh(mesh, { name: "insider", address: addresses.insider });
    other = await joinMesh(mesh, { name: "other", address: addresses.other });
    const local = await mesh.with(startTcpApp("127.0.0.1", 0, echo));
    served.push(
      await insider.mesh.serve(http, { port: PORT.http }),
      await insider.mesh.serve(slow, { port: PORT.slow }),
      await insider.mesh.serve(createNet({ allowHalfOpen: true }, echo), { port: PORT.echo }),
      await insider.mesh.serve((socket) => void socket.end(`you are ${socket.peer}`), { port: PORT.raw }),
      await insider.mesh.serve(local.port, { port: PORT.local }),
      await insider.mesh.serve((socket) => void socket.end("secret"), { port: PORT.secret }),
      await other.mesh.serve(http, { port: PORT.http }),
    );
    outside = await mesh.uproxy({
      name: "outside",
      address: addresses.outside,
      listeners: Object.values(PORT).map((port) => ({
        listen: hostPort(mesh.inside(addresses.outside), port),
        to: `insider:${port}`,
      })),
    });
  });

  after(() => mesh.stop());

  const url = (path: string): string => `http://${hostPort(outside.inside, PORT.http)}${path}`;

  test("an http.Server that never listens answers, and knows who calls", async () => {
    const { body } = await ask(url("/"), { method: "POST", body: "four" });
    assert.equal(body, `POST 4 from ${spiffeId("outside")}`);
    assert.equal(http.listening, false);
    const large = await ask(url("/large"));
    assert.equal(large.body.length, 5 * MIB);
    const line = await insider.access({ direction: "inbound", "dst.addr": hostPort(addresses.insider, PORT.http) });
    assert.equal(line["src.identity"], spiffeId("outside"));
    assert.equal(line["dst.service"], "insider.default.svc.cluster.local");
    assert.equal(line["code"], undefined);
  });

  test("other servers, a function and a local port take connections too", async () => {
    const data = Buffer.alloc(3 * MIB, "y");
    for (const port of [PORT.echo, PORT.local]) {
      const { received, ended } = await converse(outside.inside, port, data);
      assert.ok(received.equals(data));
      assert.equal(ended, "end");
    }
    const { received } = await converse(outside.inside, PORT.raw, "");
    assert.equal(received.toString(), `you are ${spiffeId("outside")}`);
  });

  test("what policy denies and what nobody serves is refused, with its code", async () => {
    assert.equal((await converse(outside.inside, PORT.secret, "")).ended, "ECONNRESET");
    await insider.access({ direction: "inbound", code: "DENIED_BY_POLICY" });
    assert.equal((await converse(outside.inside, PORT.nobody, "")).ended, "ECONNRESET");
    await insider.access({ direction: "inbound", code: "APP_REFUSED" });
    const [error] = (await once(other.mesh.connect({ host: "insider", port: PORT.secret }), "error")) as [
      NodeJS.ErrnoException,
    ];
    assert.equal(error.code, "PEER_DENIED");
    await assert.rejects(insider.mesh.serve(http, { port: PORT.http }), { code: "PORT_UNAVAILABLE" });
  });

  test("two services of one process call each other, in half-closes and resets too", async () => {
    const agent = other.mesh.httpAgent();
    const asked = request({ agent, host: "insider", port: PORT.http, path: "/" }).end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    assert.equal(peerOf(answer), spiffeId("insider"));
    assert.equal(await text(answer), `GET 0 from ${spiffeId("other")}`);
    const data = Buffer.alloc(MIB, "z");
    const socket = other.mesh.connect({ host: "insider.default", port: PORT.echo });
    socket.end(data);
    assert.ok((await buffer(socket)).equals(data));
  });

  test("a policy that changes ends the connections that it no longer permits", async () => {
    const connection = await dial(outside.inside, PORT.echo);
    connection.send("x");
    await until("the echo", () => connection.received.length === 1);
    mesh.write("policy", [
      authorizationPolicy("secret", "DENY", { app: "insider" }, [
        { to: [{ operation: { ports: [String(PORT.secret), String(PORT.echo)] } }] },
      ]),
    ]);
    assert.equal(await connection.ended(), "ECONNRESET");
    await insider.access({ direction: "inbound", code: "POLICY_CHANGED" });
  });

  test("a head and a request that do not come whole are given up, though the server never listens", async () => {
    const silent = await dial(outside.inside, PORT.slow);
    silent.send("GET / HTTP/1.1\r\nhost:");
    await silent.ended();
    assert.match(silent.received.toString(), /^HTTP\/1\.1 408 /);
    for (const [path, status] of [
      ["/", 408],
      ["/at-once", 200],
    ] as const) {
      const half = await dial(outside.inside, PORT.slow);
      half.send(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx`);
      await half.ended();
      assert.equal(half.received.toString().slice(0, 12), `HTTP/1.1 ${status}`);
    }
    const kept = await dial(outside.inside, PORT.slow);
    kept.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await until("the first answer", () => kept.received.length > 0);
    kept.send("GET / HT");
    await kept.ended();
    assert.match(kept.received.toString(), /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 408 /);
  });

  test("certificates change under load, and not one request fails", async () => {
    const agent = other.mesh.httpAgent({ maxSockets: 8 });
    const ids = new Set<string>();
    let done = 0;
    const load = { running: true };
    const one = async (): Promise<void> => {
      while (load.running) {
        const asked = request({ agent, host: "insider", port: PORT.http, path: "/" }).end();
        const [answer] = (await once(asked, "response")) as [IncomingMessage];
        ids.add(await text(answer));
        done += 1;
      }
    };
    const requests = Promise.all(Array.from({ length: 8 }, one));
    for (let round = 0; round < 3; round += 1) {
      const counted = [changes(insider.log), changes(other.log)] as const;
      await mesh.issue("insider");
      await mesh.issue("other");
      await until("new identities in use", () => changes(insider.log) > counted[0] && changes(other.log) > counted[1]);
      const then = done;
      await until("requests under them", () => done > then + 100);
    }
    load.running = false;
    await requests;
    assert.deepEqual([...ids], [`GET 0 from ${spiffeId("other")}`]);
  });

  test("leaving waits for the request that runs, ends idle connections, and refuses what comes later", async () => {
    const answers = Promise.withResolvers<void>();
    const patient = createHttp((_incoming, answer) => void answers.promise.then(() => answer.end("late")));
    await other.mesh.serve(patient, { port: PORT.slow });
    const agent = insider.mesh.httpAgent();
    const idle = request({ agent, host: "other", port: PORT.http, path: "/" }).end();
    const [first] = (await once(idle, "response")) as [IncomingMessage];
    await text(first);
    const running = request({ agent, host: "other", port: PORT.slow, path: "/" }).end();
    const response = once(running, "response");
    await until("both connections", () =>
      /culvert_connections_open\{direction="inbound"\} 2/.test(other.mesh.metrics()),
    );

    const closing = other.mesh.close();
    await until("the idle one to end", () =>
      /culvert_connections_open\{direction="inbound"\} 1/.test(other.mesh.metrics()),
    );
    answers.resolve();
    const [answer] = (await response) as [IncomingMessage];
    assert.equal(await text(answer), "late");
    assert.equal(answer.headers.connection, "close");
    await within("the end of the mesh", closing);
    assert.equal(
      ((await once(other.mesh.connect({ host: "insider", port: 1 }), "error")) as [NodeJS.ErrnoException])[0].code,
      "DRAINING",
    );
    await assert.rejects(other.mesh.serve(http, { port: 1 }), { code: "DRAINING" });
    const [refused] = (await once(insider.mesh.connect({ host: "other", port: PORT.http }), "error")) as [
      NodeJS.ErrnoException,
    ];
    assert.equal(refused.code, "PEER_REFUSED");
    assert.equal(await attempt(addresses.other, 15008).ended(), "ECONNREFUSED");
  });
});
