// app → uproxy → waypoint → uproxy → app: HTTP messages as both ends send and get them. Everything here is said by hand,
// byte for byte: what a proxy may change and what it must not. Bodies, and ends that come too early, are in `waypoint-bodies.test.ts`.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { field, fields } from "../support/http-message.ts";
import { request, verdictOf } from "../support/http-wire.ts";
import { spiffeId } from "../support/identities.ts";
import { APP_PORT, SHOP, startShop, type Shop } from "../support/shop.ts";
import { seenIn, seenValues, type Script, type Seen } from "../support/wire-app.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

// Whoever takes over a connection also says that it will not be used again.

/** Says something as soon as it has the head of the request, and reads no more. */
function atOnce(text: string): Script {
  return (socket) => void socket.pause().write(text, "latin1");
}

const scripts: Readonly<Record<string, Script>> = {
  "/no-content": "HTTP/1.1 204 No Content\r\nx-is: 204\r\n\r\n",
  "/not-modified": 'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 1000\r\n\r\n',
  "/trailers":
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: server-timing\r\n\r\n3\r\nabc\r\n0\r\nserver-timing: b\r\ncontent-length: 9\r\n\r\n",
  "/hints":
    "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
  "/hop":
    "HTTP/1.1 200 OK\r\nconnection: x-mine, keep-alive\r\nkeep-alive: timeout=5\r\nx-mine: 1\r\nproxy-connection: a\r\ncontent-length: 0\r\n\r\n",
  "/continue": (socket) => {
    socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    socket.once("data", (body: Buffer) =>
      socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body.toString()}`),
    );
  },
  "/refuses-expectation": atOnce("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"),
};

describe("HTTP through a waypoint", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({ scripts });
  });

  after(() => shop.mesh.stop());

  async function served(text: string): Promise<Seen> {
    return seenIn(await shop.ask(text));
  }

  test("the application learns who called, from where and under which id, whatever the client says", async () => {
    const got = await served(
      request("GET", "/who", {
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-client-cert":
          "By=spiffe://cluster.local/ns/default/sa/x;URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-request-id": "from-the-client.1",
        "user-agent": "by-hand",
      }),
    );
    assert.deepEqual(seenValues(got, "x-forwarded-client-cert"), [
      `By=${spiffeId("waypoint")};URI=${spiffeId("client")}`,
    ]);
    const [forwarded = ""] = seenValues(got, "x-forwarded-for");
    assert.match(forwarded, /^192\.0\.2\.7, (?:127\.|fd99::)/);
    assert.deepEqual(seenValues(got, "x-request-id"), ["from-the-client.1"]);
    assert.deepEqual(seenValues(got, "host"), ["shop"]);
    assert.deepEqual(seenValues(got, "user-agent"), ["by-hand"]);
    const line = await shop.waypoint.access({ path: "/who" });
    assert.equal(line["request_id"], "from-the-client.1");
    assert.equal(line["user_agent"], "by-hand");
    assert.equal(line["x_forwarded_for"], "192.0.2.7");
    assert.equal(line["src.identity"], spiffeId("client"));
    assert.equal(line["upstream_host"], hostPort(shop.addresses.apps[0], APP_PORT));
    assert.equal(line["upstream_cluster"], `default/shop:${SHOP.http}`);
    assert.equal(line["protocol"], "HTTP/1.1");
    assert.equal(line["method"], "GET");
    assert.equal(line["authority"], "shop");
    assert.equal(line["response_code"], 200);
    assert.equal(line["code"], undefined);
  });

  test("a request id is made where there is none that can be kept", async () => {
    for (const headers of [
      {},
      { "x-request-id": "a b" },
      { "x-request-id": "x".repeat(200) },
      { "x-request-id": "" },
    ]) {
      const [id = "", ...more] = seenValues(await served(request("GET", "/id", headers)), "x-request-id");
      assert.match(id, UUID);
      assert.deepEqual(more, []);
    }
    const twice = await served("GET /id HTTP/1.1\r\nhost: shop\r\nx-request-id: a\r\nx-request-id: b\r\n\r\n");
    assert.match(seenValues(twice, "x-request-id").join(), UUID);
  });

  test("fields for this hop end here, in both directions; TE: trailers is said anew", async () => {
    const got = await served(
      request("GET", "/", {
        connection: "keep-alive, x-mine, te",
        "keep-alive": "timeout=5",
        "x-mine": "1",
        "x-other": "2",
        "proxy-connection": "keep-alive",
        te: "trailers, deflate",
      }),
    );
    for (const name of ["keep-alive", "x-mine", "proxy-connection"]) assert.deepEqual(seenValues(got, name), [], name);
    assert.deepEqual(seenValues(got, "te"), ["trailers"]);
    assert.deepEqual(seenValues(got, "connection"), ["te"]);
    assert.deepEqual(seenValues(got, "x-other"), ["2"]);
    const answer = await shop.ask(request("GET", "/hop"));
    for (const name of ["connection", "keep-alive", "x-mine", "proxy-connection"]) {
      assert.deepEqual(fields(answer.head, name), [], name);
    }
  });

  test("requests of one client follow each other over one connection of the application", async () => {
    const app = shop.apps[0].http;
    const wire = await shop.dial();
    const first = seenIn(await wire.get("/1"));
    const accepted = app.accepted;
    for (let i = 2; i <= 20; i++) assert.equal(seenIn(await wire.get(`/${i}`)).connection, first.connection);
    wire.close();
    assert.equal(seenIn(await shop.ask(request("GET", "/21"))).connection, first.connection, "another client's, too");
    assert.equal(app.accepted, accepted);
  });

  test("requests that come together are answered in their order", async () => {
    const wire = await shop.dial();
    wire.send(["/a", "/hints", "/c"].map((path) => request("GET", path)).join(""));
    assert.equal(seenIn(await wire.answer()).line, "GET /a HTTP/1.1");
    const hints = await wire.answer();
    assert.deepEqual(
      hints.interim.map((head) => field(head, "link")),
      ["</a.css>", "</b.css>"],
    );
    assert.equal(seenIn(await wire.answer()).line, "GET /c HTTP/1.1");
    wire.close();
  });

  test("Connection: close and HTTP/1.0 end the client's connection, not the application's", async () => {
    const app = shop.apps[0].http;
    await shop.ask(request("GET", "/"));
    const { accepted } = app;
    for (const text of [request("GET", "/", { connection: "close" }), "GET / HTTP/1.0\r\n\r\n"]) {
      const wire = await shop.dial();
      const answer = await wire.ask(text);
      assert.equal(answer.status, 200);
      assert.equal(field(answer.head, "connection"), "close");
      assert.match(seenIn(answer).line, /HTTP\/1\.1$/);
      assert.equal(await wire.ended(), "end");
      wire.close();
    }
    assert.equal(app.accepted, accepted);
  });

  test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
    const wire = await shop.dial();
    const head = await wire.ask(request("HEAD", "/x"));
    assert.deepEqual([head.status, head.text], [200, ""]);
    assert.equal((await wire.get("/no-content")).status, 204);
    const notModified = await wire.get("/not-modified");
    assert.deepEqual([notModified.status, field(notModified.head, "content-length")], [304, "1000"]);
    assert.equal(seenIn(await wire.get("/after")).line, "GET /after HTTP/1.1");
    wire.close();
  });

  test("chunks and trailers go through, without what trailers must not say", async () => {
    const wire = await shop.dial();
    const got = seenIn(
      await wire.ask(
        "POST /up HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n" +
          "4;ext=1\r\nabcd\r\n2\r\nef\r\n0\r\nserver-timing: a\r\nx-sum: 6\r\nhost: evil\r\ncontent-length: 1\r\n\r\n",
      ),
    );
    assert.equal(got.body, "abcdef");
    assert.equal(got.trailers, "server-timing: a\r\n");
    assert.deepEqual(seenValues(got, "host"), ["shop"]);
    const down = await wire.ask(request("GET", "/trailers", { te: "trailers", connection: "te" }));
    assert.deepEqual([down.text, down.trailers], ["abc", "server-timing: b\r\n"]);
    const without = await wire.ask(request("GET", "/trailers"));
    assert.deepEqual([without.text, without.trailers], ["abc", ""]);
    wire.close();
  });

  test("100-continue is the application's to say, and so is a refusal", async () => {
    const wire = await shop.dial();
    const expecting = { expect: "100-continue", "content-length": "4" };
    wire.send(request("POST", "/continue", expecting));
    assert.match(await wire.interim(), /^HTTP\/1\.1 100 /);
    wire.send("body");
    assert.equal((await wire.answer()).text, "body");
    wire.close();
    const refused = await shop.dial();
    const answer = await refused.ask(request("POST", "/refuses-expectation", expecting));
    assert.deepEqual([answer.status, answer.interim], [417, []]);
    assert.equal(field(answer.head, "connection"), "close", "nobody knows whether the body will come");
    refused.close();
    assert.equal(verdictOf(await shop.ask(request("GET", "/", { expect: "a-miracle" }))), "417 EXPECTATION_REFUSED");
  });

  test("only named protocols are switched to; h2c is not offered on", async () => {
    const refused = await shop.ask(request("GET", "/", { connection: "upgrade", upgrade: "tcp" }));
    assert.equal(verdictOf(refused), "501 UPGRADE_REFUSED");
    const got = await served(
      request("GET", "/", { connection: "upgrade, http2-settings", upgrade: "h2c", "http2-settings": "AAMAAABk" }),
    );
    assert.deepEqual([...seenValues(got, "upgrade"), ...seenValues(got, "http2-settings")], []);
  });
});
