// TCP through two uproxies: bytes, half-close, resets, refusals, policy, rotation, loss of the peer.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import type { Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, echo, smtp, startTcpApp, type App } from "../support/apps.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { appClosesFirst, attempt, converse, dial, type Connection } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const MIB = 1024 * 1024;
const ECHO = 7001;
const COUNT = 7002;
const SMTP = 7003;
const NOTHING = 7004;
const KEPT = 7005;
const NOWHERE = 7006;

describe("TCP through two uproxies", () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;
  let kept: App;
  const held: Socket[] = [];

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const serverAddress = mesh.address();
    mesh.write("mesh", [
      service("app", [
        { name: "tcp-echo", port: ECHO },
        { name: "tcp-count", port: COUNT },
        { name: "tcp-smtp", port: 25, targetPort: SMTP },
        { name: "tcp-nothing", port: NOTHING },
        { name: "tcp-kept", port: KEPT },
      ]),
      service("nobody", [{ name: "tcp", port: 80 }]),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(serverAddress, ECHO, echo));
    await mesh.with(startTcpApp(serverAddress, COUNT, countThenAnswer));
    await mesh.with(startTcpApp(serverAddress, SMTP, smtp));
    kept = await mesh.with(startTcpApp(serverAddress, KEPT, (socket) => held.push(socket)));
    server = await mesh.uproxy({ name: "app", address: serverAddress });
    const listen = (port: number): string => hostPort(mesh.inside(clientAddress), port);
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [
        ...[ECHO, COUNT, NOTHING, KEPT].map((port) => ({ listen: listen(port), to: `app.default:${port}` })),
        { listen: listen(SMTP), to: "app:25" },
        { listen: listen(NOWHERE), to: "nobody:80" },
      ],
    });
  });

  after(() => mesh.stop());

  /** Both sides of a new connection to the app that keeps its connections. */
  async function bothSides(): Promise<{ connection: Connection; app: Socket }> {
    const count = held.length;
    const connection = await dial(client.inside, KEPT);
    return { connection, app: await until("the app's side of a connection", () => held[count]) };
  }

  test("a mebibyte goes there and back, and both ends tell the same of it", async () => {
    const data = randomBytes(MIB);
    const { received, ended } = await converse(client.inside, ECHO, data);
    assert.equal(ended, "end");
    assert.ok(received.equals(data));
    const facts = {
      bytes_sent: MIB,
      bytes_recv: MIB,
      "src.identity": spiffeId("client"),
      "dst.identity": spiffeId("app"),
    };
    const atClient = await client.access({ direction: "outbound", ...facts });
    const atServer = await server.access({ direction: "inbound", ...facts });
    assert.equal(atClient["dst.service"], "app.default.svc.cluster.local");
    assert.equal(atClient["dst.hbone_addr"], hostPort(server.address, 15008));
    assert.equal(atClient["src.workload"], "client");
    assert.equal(atClient["dst.workload"], "app");
    assert.equal(atServer["dst.addr"], hostPort(server.address, ECHO));
    assert.equal(atServer["code"], undefined);
  });

  test("the client may close its half first and still gets its answer", async () => {
    const { received, ended } = await converse(client.inside, COUNT, Buffer.alloc(3 * MIB));
    assert.equal(received.toString(), `${3 * MIB} bytes`);
    assert.equal(ended, "end");
  });

  test("the app may close its half first and still gets the rest", async () => {
    const { connection, app } = await bothSides();
    await appClosesFirst(connection, app);
  });

  test("a server that speaks first is heard before the client has said a word", async () => {
    const connection = await dial(client.inside, SMTP);
    const greeting = "220 mail.example ESMTP\r\n";
    assert.equal((await connection.bytes(greeting.length)).toString(), greeting);
    connection.send("EHLO client.example\r\nQUIT\r\n");
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), `${greeting}250 mail.example\r\n221 bye\r\n`);
    connection.close();
  });

  test("a reset by the client reaches the app as a reset", async () => {
    const { connection, app } = await bothSides();
    connection.send("x");
    await once(app, "data");
    const failed = once(app, "error") as Promise<[NodeJS.ErrnoException]>;
    app.resume();
    connection.reset();
    const [error] = await failed;
    assert.equal(error.code, "ECONNRESET");
  });

  test("a reset by the app reaches the client as a reset", async () => {
    const { connection, app } = await bothSides();
    app.resetAndDestroy();
    assert.equal(await connection.ended(), "ECONNRESET");
  });

  test("an app that is not there is a reset, never a clean end, and both logs say why", async () => {
    const connection = attempt(client.inside, NOTHING);
    assert.equal(await connection.ended(), "ECONNRESET");
    assert.equal(connection.received.length, 0);
    await server.access({ direction: "inbound", code: "APP_REFUSED" });
    const line = await client.access({ direction: "outbound", code: "PEER_UNAVAILABLE" });
    assert.match(String(line["error"]), /APP_REFUSED/);
  });

  test("a service without endpoints is a reset", async () => {
    const connection = attempt(client.inside, NOWHERE);
    assert.equal(await connection.ended(), "ECONNRESET");
    await client.access({ code: "NO_HEALTHY_UPSTREAM" });
  });

  test("three hundred connections at once take as many sessions as the peer's limit asks for", async () => {
    const open = await Promise.all(Array.from({ length: 300 }, () => dial(client.inside, ECHO)));
    await Promise.all(
      open.map(async (connection, index) => {
        const text = `connection ${index}`;
        connection.send(text);
        assert.equal((await connection.bytes(text.length)).toString(), text);
      }),
    );
    for (const connection of open) connection.finish();
    const ends = await Promise.all(open.map((connection) => connection.ended()));
    assert.deepEqual([...new Set(ends)], ["end"]);
  });

  test("a policy decides, names itself in the log, and a change ends live tunnels within a second", async () => {
    const connection = await dial(client.inside, ECHO);
    connection.send("before");
    await connection.bytes(6);
    const began = performance.now();
    mesh.write("policy", [
      authorizationPolicy("nobody-else", "ALLOW", { app: "app" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/another"] } }] },
      ]),
    ]);
    assert.equal(await connection.ended(), "ECONNRESET");
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 1000, `the tunnel outlived its policy by ${tookMs} ms`);
    await server.access({ direction: "inbound", code: "POLICY_CHANGED" });

    const refused = attempt(client.inside, ECHO);
    assert.equal(await refused.ended(), "ECONNRESET");
    const denied = await server.access({ direction: "inbound", code: "DENIED_BY_POLICY" });
    assert.equal(denied["src.identity"], spiffeId("client"));
    await client.access({ direction: "outbound", code: "PEER_DENIED" });

    mesh.write("policy", [
      authorizationPolicy("nobody-else", "ALLOW", { app: "app" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }] },
      ]),
    ]);
    await until("the policy to allow again", async () => {
      const again = await converse(client.inside, ECHO, "again");
      return again.received.toString() === "again";
    });
    mesh.remove("policy");
  });

  test("a policy that cannot be understood denies what it selects, and the log names it", async () => {
    mesh.write("bad", [
      authorizationPolicy("strange", "ALLOW", { app: "app" }, [
        { when: [{ key: "experimental.something", values: ["x"] }] },
      ]),
    ]);
    const line = await until("a refusal", async () => {
      await converse(client.inside, ECHO, "x");
      return server.log.find(({ target, code }) => target === "access" && code === "POLICY_NOT_UNDERSTOOD");
    });
    assert.match(JSON.stringify(line), /strange/);
    mesh.remove("bad");
    await until("traffic again", async () => (await converse(client.inside, ECHO, "ok")).received.toString() === "ok");
  });

  test("identities rotate under live connections without losing one", async () => {
    const live = await dial(client.inside, ECHO);
    live.send("old");
    await live.bytes(3);
    await mesh.issue("app");
    await mesh.issue("client");
    for (let round = 0; round < 20; round++) {
      const text = `round ${round}`;
      assert.equal((await converse(client.inside, ECHO, text)).received.toString(), text);
    }
    live.finish(" new");
    assert.equal(await live.ended(), "end");
    assert.equal(live.received.toString(), "old new");
  });

  test("a peer that dies is a reset toward the app, not a clean end", async () => {
    const earlier = kept.accepted;
    const connection = await dial(client.inside, KEPT);
    // Sockets of earlier connections may still be there.
    await until("the connection at the app", () => kept.accepted > earlier);
    await server.kill();
    assert.equal(await connection.ended(), "ECONNRESET");
    await client.access({ direction: "outbound", code: "PEER_LOST" });
    const refused = attempt(client.inside, ECHO);
    assert.equal(await refused.ended(), "ECONNRESET");
    await client.access({ direction: "outbound", code: "PEER_REFUSED" });
  });
});
