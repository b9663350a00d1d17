// app → uproxy → waypoint → uproxy → app: what is not HTTP, or is not known to be. Declared TCP passes unread; where nothing is declared
// the first bytes decide.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { after, before, beforeEach, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, echo, smtp, startTcpApp } from "../support/apps.ts";
import { request } from "../support/http-wire.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { authorizationPolicy, httpRoute, service, type Resource } from "../support/resources.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";
import { appClosesFirst, attempt, converse, dial, type Connection } from "../support/tcp.ts";
import { until, within } from "../support/until.ts";
import { startWireApp, seenValues, type Seen, type WireApp } from "../support/wire-app.ts";

const MIB = 1024 * 1024;
/** Ports of the service `line`, declared as TCP, and of the service `plain`, of which nothing is declared. */
const COUNT = 8101;
const SMTP = 8102;
const KEPT = 8103;
const NOTHING = 8104;
const PLAIN_ECHO = 8201;
const PLAIN_SMTP = 8202;
const PLAIN_H2 = 8203;

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GREETING = "220 mail.example ESMTP\r\n";

function behindWaypoint(name: string, ports: readonly number[], appProtocol?: string): Resource {
  const declared = appProtocol === undefined ? {} : { appProtocol };
  return service(
    name,
    ports.map((port) => ({ name: `p${port}`, port, ...declared })),
    { app: "shop", labels: { "istio.io/use-waypoint": "waypoint" } },
  );
}

describe("TCP through a waypoint", () => {
  let shop: Shop;
  let plainHttp: WireApp;
  let h2: Http2Server;
  const kept: Socket[] = [];

  before(async () => {
    const line = [COUNT, SMTP, KEPT, NOTHING];
    const plain = [PLAIN_ECHO, PLAIN_SMTP, PLAIN_H2];
    shop = await startShop({
      more: () => [behindWaypoint("line", line, "tcp"), behindWaypoint("plain", plain)],
      listeners: () => ({
        ...Object.fromEntries(line.map((port) => [port, `line:${port}`])),
        ...Object.fromEntries(plain.map((port) => [port, `plain:${port}`])),
      }),
    });
    const { address } = shop.apps[0];
    for (const [port, onSocket] of [
      [SHOP.tcp, echo],
      [COUNT, countThenAnswer],
      [SMTP, smtp],
      [KEPT, (socket: Socket) => void kept.push(socket)],
      [PLAIN_ECHO, echo],
      [PLAIN_SMTP, smtp],
    ] as const) {
      await shop.mesh.with(startTcpApp(address, port, onSocket));
    }
    plainHttp = await shop.mesh.with(startWireApp(address, SHOP.undeclared, "plain"));
    h2 = createHttp2Server((incoming, answer) => answer.end(`${incoming.httpVersion} ${incoming.url}`));
    await once(h2.listen(PLAIN_H2, address), "listening");
    assert.equal((h2.address() as AddressInfo).port, PLAIN_H2);
  });

  after(async () => {
    h2.close();
    await shop.mesh.stop();
  });

  const to = (port: number): Promise<Connection> => dial(shop.client.inside, port);
  const policies = (...all: readonly Resource[]): Promise<void> => shop.put("policies", all);

  /** Both sides of a new connection to the app that keeps its connections. */
  async function bothSides(): Promise<{ connection: Connection; app: Socket }> {
    const count = kept.length;
    const connection = await to(KEPT);
    return { connection, app: await until("the app's side of a connection", () => kept[count]) };
  }

  test("what is declared TCP passes unread, be it HTTP or not", async () => {
    const said = request("GET", "/", { connection: "close", "x-forwarded-client-cert": "mine" }) + PREFACE;
    const { received, ended } = await converse(shop.client.inside, SHOP.tcp, said);
    assert.deepEqual([received.toString(), ended], [said, "end"]);
    const data = randomBytes(MIB);
    const back = await converse(shop.client.inside, SHOP.tcp, data);
    assert.ok(back.received.equals(data));
    const line = await shop.waypoint.access({ bytes_sent: MIB, bytes_recv: MIB, direction: "inbound" });
    assert.equal(line["src.identity"], spiffeId("client"));
    assert.equal(line["dst.identity"], spiffeId("shop-1"));
    assert.equal(line["dst.service"], "shop.default.svc.cluster.local");
    assert.equal(line["dst.workload"], "shop-1");
    assert.equal(line["code"], undefined);
  });

  test("either side may close its half first", async () => {
    const { received } = await converse(shop.client.inside, COUNT, Buffer.alloc(3 * MIB));
    assert.equal(received.toString(), `${3 * MIB} bytes`);
    const { connection, app } = await bothSides();
    await appClosesFirst(connection, app);
  });

  test("a reset passes as a reset, both ways", async () => {
    const first = await bothSides();
    first.app.resetAndDestroy();
    assert.equal(await first.connection.ended(), "ECONNRESET");
    const second = await bothSides();
    const failed = once(second.app, "error") as Promise<[NodeJS.ErrnoException]>;
    second.app.resume();
    second.connection.reset();
    const [error] = await within("the reset at the app", failed);
    assert.equal(error.code, "ECONNRESET");
  });

  test("an app that is not there is a reset, and every log says why", async () => {
    assert.equal(await attempt(shop.client.inside, NOTHING).ended(), "ECONNRESET");
    await shop.apps[0].proxy.access({ code: "APP_REFUSED" });
    const line = await shop.waypoint.access({
      code: "PEER_UNAVAILABLE",
      "dst.service": "line.default.svc.cluster.local",
    });
    assert.match(String(line["error"]), /APP_REFUSED/);
  });

  test("a server that speaks first is heard, where TCP is declared and where nothing is", async () => {
    for (const port of [SMTP, PLAIN_SMTP]) {
      const connection = await to(port);
      assert.equal((await connection.bytes(GREETING.length)).toString(), GREETING);
      connection.send("EHLO client.example\r\nQUIT\r\n");
      assert.equal(await connection.ended(), "end");
      assert.equal(connection.received.toString(), `${GREETING}250 mail.example\r\n221 bye\r\n`);
      connection.close();
    }
  });

  test("HTTP is told by its first line where nothing is declared, also when it comes byte by byte", async () => {
    const whole = await shop.dial(SHOP.undeclared);
    const answer = await whole.get("/whole");
    assert.deepEqual(seenValues(JSON.parse(answer.text) as Seen, "x-forwarded-client-cert"), [
      `By=${spiffeId("waypoint")};URI=${spiffeId("client")}`,
    ]);
    whole.close();
    const slow = await shop.dial(SHOP.undeclared);
    for (const byte of request("GET", "/slow")) slow.send(byte);
    assert.equal((await slow.answer()).status, 200);
    slow.close();
    await shop.waypoint.access({ path: "/whole", response_code: 200 });
    await shop.waypoint.access({ path: "/slow", response_code: 200 });
    assert.equal(plainHttp.seen.length, 2);
  });

  for (const [what, said] of [
    ["a request of another protocol", "OPTIONS rtsp://shop/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"],
    ["a command line", "GET key\r\n"],
    ["TLS", Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3])],
    ["a single byte", "x"],
    ["nothing at all", ""],
  ] as const) {
    test(`${what} passes unread where nothing is declared`, async () => {
      const { received, ended } = await converse(shop.client.inside, PLAIN_ECHO, said);
      assert.deepEqual([received, ended], [Buffer.from(said), "end"]);
    });
  }

  test("HTTP/2 is served request by request where its preface comes, with and without routes", async () => {
    const session = connectHttp2(`http://${hostPort(shop.client.inside, PLAIN_H2)}`);
    session.on("error", () => {});
    const asked = async (): Promise<string> => {
      const stream = session.request({ ":authority": "plain", ":path": "/h2" });
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      await within("an answer over HTTP/2", once(stream, "end"));
      return Buffer.concat(chunks).toString();
    };
    assert.equal(await asked(), "2.0 /h2");
    await shop.put("routes", [httpRoute("plain", "plain", [{ backendRefs: [{ name: "plain", port: PLAIN_H2 }] }])]);
    assert.equal(await asked(), "2.0 /h2");
    const line = await shop.waypoint.access({ path: "/h2", route: "default/plain" });
    assert.equal(line["protocol"], "HTTP/2");
    session.destroy();
    shop.mesh.remove("routes");
    await policies();
  });

  test("a policy decides a connection, names itself in the log, and ends it within a second of a change", async () => {
    const connection = await to(SHOP.tcp);
    connection.send("before");
    await connection.bytes(6);
    const began = performance.now();
    shop.mesh.write("policies", [authorizationPolicy("closed", "DENY", { service: "shop" }, [{}])]);
    assert.equal(await connection.ended(), "ECONNRESET");
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 1000, `the connection outlived its policy by ${tookMs} ms`);
    const ended = await shop.waypoint.access({ code: "POLICY_CHANGED", direction: "inbound" });
    assert.equal(ended["policy"], "default/closed");
    assert.equal(await attempt(shop.client.inside, SHOP.tcp).ended(), "ECONNRESET");
    const denied = await shop.waypoint.access({ code: "DENIED_BY_POLICY", direction: "inbound" });
    assert.equal(denied["policy"], "default/closed");
    await policies();
    assert.equal((await converse(shop.client.inside, SHOP.tcp, "after")).received.toString(), "after");
  });

  describe("a connection that has said nothing yet", () => {
    // A route makes the waypoint wait for the first bytes, so that the change comes in between for sure.
    before(() =>
      shop.put("routes", [httpRoute("plain", "plain", [{ backendRefs: [{ name: "plain", port: PLAIN_ECHO }] }])]),
    );
    beforeEach(() => policies());
    after(async () => {
      shop.mesh.remove("routes");
      await policies();
    });

    test("is ended when a policy forbids all that it might say", async () => {
      const connection = await silent(shop);
      await policies(authorizationPolicy("closed", "DENY", { service: "plain" }, [{}]));
      assert.equal(await connection.ended(), "ECONNRESET");
      await shop.waypoint.access({ code: "POLICY_CHANGED", "dst.service": "plain.default.svc.cluster.local" });
    });

    test("is decided by the policies of the moment in which it speaks", async () => {
      const connection = await silent(shop);
      const onlyReads = { to: [{ operation: { notMethods: ["GET"] } }] };
      await policies(authorizationPolicy("reads", "DENY", { service: "plain" }, [onlyReads]));
      connection.send("\x01 not HTTP");
      assert.equal(await connection.ended(), "ECONNRESET");
      assert.equal(connection.received.length, 0);
      const line = await shop.waypoint.access({ code: "DENIED_BY_POLICY", policy: "default/reads" });
      assert.equal(line["dst.service"], "plain.default.svc.cluster.local");
    });
  });
});

/** A connection that waits at the waypoint for its first byte. */
async function silent(shop: Shop): Promise<Connection> {
  const connection = await dial(shop.client.inside, PLAIN_ECHO);
  await until("the connection at the waypoint", async () => (await undecided(shop)) > 0);
  return connection;
}

/** Tunnels of which the waypoint does not know yet what they will speak. */
async function undecided({ waypoint }: Shop): Promise<number> {
  const { body } = await ask(`http://${waypoint.admin}/connections`);
  const { connections } = JSON.parse(body) as { connections: readonly { protocol: string }[] };
  return connections.filter(({ protocol }) => protocol === "undecided").length;
}
