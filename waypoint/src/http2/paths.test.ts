// The HTTP/2 path through a whole waypoint, between real clients and real applications.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type ClientHttp2Session, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { after, before, beforeEach, describe, test } from "node:test";
import { RESET_REFUSED_STREAM } from "@culvert/shared/failure/failure.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { id } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/tunnel-pair.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { policy, service, servicePort, type MeshParts } from "../mesh-fixtures.ts";
import { ask, Http2App, outcomeOf } from "../http2-fixtures.ts";
import { Bench, httpApp } from "../waypoint-fixtures.ts";

const H2 = servicePort({ name: "h2", port: 7002, targetPort: 7002, appProtocol: "http2" });
const ANY = servicePort({ name: "any", port: 7001, targetPort: 7001, appProtocol: "unspecified" });

describe("HTTP/2 through a waypoint", () => {
  const bench = new Bench();
  const app = new Http2App();
  const narrow = new Http2App({ settings: { maxConcurrentStreams: 4 } });
  const clients: ClientHttp2Session[] = [];
  let workloads: Workload[];

  const mesh = (more: Partial<MeshParts> = {}): MeshParts => ({
    services: [
      service("default/reviews", { ports: [servicePort(), H2, ANY] }),
      service("default/narrow", { ports: [H2] }),
      service("default/old", { ports: [servicePort()] }),
    ],
    workloads,
    ...more,
  });

  before(async () => {
    workloads = [
      await bench.app("reviews-1", app.serve),
      await bench.app("narrow-1", narrow.serve),
      await bench.app(
        "old-1",
        httpApp((request, response) => {
          request.resume().on("end", () => {
            response.writeHead(200, {
              "content-type": "text/plain",
              "x-version": request.httpVersion,
              trailer: "etag",
            });
            response.addTrailers({ etag: "end" });
            response.end(JSON.stringify(request.headers));
          });
        }),
      ),
    ];
    await bench.use(mesh());
    await bench.start();
  });
  beforeEach(() => {
    app.onStream = (stream, headers) => {
      stream.respond({ ":status": 200, "x-told": JSON.stringify(headers) });
      stream.end(`hello ${headers[":path"]}`);
    };
    narrow.onStream = app.onStream;
    return bench.use(mesh());
  });
  after(async () => {
    for (const each of clients) each.destroy();
    await bench.stop();
  });

  /** A client's session in a tunnel of its own. */
  async function client(authority = "reviews.default:7002"): Promise<ClientHttp2Session> {
    const connection = must(await bench.open(authority));
    const session = connect(`http://${authority}`, { createConnection: () => connection });
    session.on("error", () => {});
    clients.push(session);
    return session;
  }

  test("a request goes on as it came, with what this hop says", async () => {
    const session = await client();
    const { status, headers, body, code } = await ask(session, {
      ":path": "/a%2fb?c=d",
      "x-forwarded-client-cert": "URI=spiffe://evil",
      x_forwarded_client_cert: "URI=spiffe://evil",
      "x-forwarded-for": "9.9.9.9",
      cookie: ["a=1", "b=2"],
      te: "trailers",
      "x-own": "kept",
    });
    assert.equal(status, 200);
    assert.equal(code, 0);
    assert.equal(body, "hello /a%2fb?c=d");
    const told = JSON.parse(String(headers["x-told"])) as Record<string, string>;
    assert.equal(told[":authority"], "reviews.default:7002");
    assert.equal(told["x-forwarded-client-cert"], `By=${id("default/waypoint")};URI=${id("default/curl")}`);
    assert.equal(told["x_forwarded_client_cert"], undefined);
    assert.equal(told["x-forwarded-for"], "9.9.9.9, 127.0.0.1");
    assert.equal(told["cookie"], "a=1; b=2");
    assert.equal(told["te"], "trailers");
    assert.equal(told["x-own"], "kept");
    assert.equal(told["host"], undefined);
    const line = await until("the line", () => bench.lines.find((each) => each["path"] === "/a%2fb?c=d"));
    assert.equal(line["response_code"], 200);
    assert.equal(line["protocol"], "HTTP/2");
  });

  test("bodies of megabytes flow both ways, with trailers behind them", async () => {
    app.onStream = (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      let bytes = 0;
      let sent: IncomingHttpHeaders = {};
      stream.on("trailers", (fields) => (sent = fields));
      stream.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (!stream.write(chunk)) stream.pause();
      });
      stream.on("drain", () => stream.resume());
      stream.on("end", () => stream.end());
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "x-bytes": bytes, "grpc-status": "0", etag: String(sent["etag"]), host: "evil" }),
      );
    };
    const session = await client();
    const stream = session.request({ ":path": "/", ":method": "POST" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ etag: "sent", "x-no": "no" }));
    const body = Buffer.alloc(3_000_000, "0123456789");
    stream.end(body);
    const outcome = await outcomeOf(stream);
    assert.equal(outcome.status, 200);
    assert.equal(Buffer.from(outcome.body, "latin1").compare(body), 0);
    assert.deepEqual(
      new Map(Object.entries(outcome.trailers ?? {})),
      new Map([
        ["etag", "sent"],
        ["grpc-status", "0"],
        ["x-bytes", "3000000"],
      ]),
    );
  });

  test("interim responses come in order", async () => {
    app.onStream = (stream) => {
      stream.additionalHeaders({ ":status": 100 });
      stream.additionalHeaders({ ":status": 103, link: "</a.css>" });
      stream.respond({ ":status": 200 });
      stream.end("x");
    };
    const outcome = await ask(await client(), { ":method": "POST", expect: "100-continue" }, "body");
    assert.deepEqual(outcome.interims, [100, 103]);
    assert.equal(outcome.status, 200);
  });

  test("responses without a body have none", async () => {
    app.onStream = (stream, headers) => {
      const status = Number(headers["x-status"]);
      stream.respond({ ":status": status, "x-status": status, "content-length": status === 204 ? undefined : "5" });
      stream.end();
    };
    const session = await client();
    for (const [method, status] of [
      ["HEAD", 200],
      ["GET", 204],
      ["GET", 304],
    ] as const) {
      const outcome = await ask(session, { ":method": method, "x-status": String(status) });
      assert.equal(outcome.status, status);
      assert.equal(outcome.code, 0, `${method} ${status}`);
      assert.equal(outcome.body, "");
      assert.equal(outcome.headers["content-length"], status === 204 ? undefined : "5");
    }
  });

  test("a response that is cut never looks whole, one that has not begun is an answer of ours", async () => {
    const session = await client();
    app.onStream = (stream) => {
      stream.respond({ ":status": 200 });
      stream.write("half", () => resetStream(stream, 8));
    };
    const cut = await ask(session, {});
    assert.equal(cut.status, 200);
    assert.equal(cut.code, 2);
    app.onStream = (stream) => resetStream(stream, 8);
    const refused = await ask(session, {});
    assert.equal(refused.status, 503);
    assert.equal(refused.headers["culvert-code"], "APP_RESET_REQUEST");
    assert.equal(refused.code, 0);
  });

  test("what the client takes back ends at the application", async () => {
    let ended: Promise<unknown> | undefined;
    app.onStream = (stream) => {
      ended = once(stream, "close").then(() => stream.rstCode);
    };
    const session = await client();
    const stream = session.request({ ":path": "/", ":method": "POST" });
    stream.on("error", () => {});
    stream.write("some");
    await until("the request", () => ended !== undefined);
    resetStream(stream, 8);
    assert.equal(await ended, 8);
  });

  test("an early answer spares the rest of the request", async () => {
    app.onStream = (stream) => {
      stream.respond({ ":status": 413 });
      stream.end("too much");
    };
    const session = await client();
    const stream = session.request({ ":path": "/", ":method": "POST" });
    stream.write(Buffer.alloc(1000));
    const outcome = await outcomeOf(stream);
    assert.equal(outcome.status, 413);
    assert.equal(outcome.body, "too much");
    assert.equal(outcome.code, 0);
    assert.equal((await ask(session, {})).status, 413, "the session serves on");
  });

  test("many requests share a session, more than the application allows go by several", async () => {
    let most = 0;
    let open = 0;
    const held: ServerHttp2Stream[] = [];
    narrow.onStream = (stream, headers) => {
      most = Math.max(most, (open += 1));
      held.push(stream);
      stream.on("close", () => (open -= 1));
      if (open === 30) for (const each of held.splice(0)) each.respond({ ":status": 200 }, { endStream: true });
      assert.ok(headers[":path"]);
    };
    const session = await client("narrow.default:7002");
    const outcomes = await Promise.all(Array.from({ length: 30 }, (_, i) => ask(session, { ":path": `/${i}` })));
    assert.deepEqual(new Set(outcomes.map(({ status }) => status)), new Set([200]));
    assert.equal(most, 30);
    assert.ok(narrow.sessions.length >= 8, `${narrow.sessions.length} sessions`);
    narrow.onStream = (stream) => stream.respond({ ":status": 200 }, { endStream: true });
    const many = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(session, { ":path": `/${i}` })));
    assert.deepEqual(new Set(many.map(({ status }) => status)), new Set([200]));
  });

  test("an application that says GOAWAY is asked over another session", async () => {
    const session = await client();
    assert.equal((await ask(session, {})).status, 200);
    for (const each of app.sessions.slice()) each.close();
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => ask(session, {})));
    assert.deepEqual(new Set(outcomes.map(({ status }) => status)), new Set([200]));
  });

  test("HTTP/1.1 to an HTTP/2 application, and the other way", async () => {
    const one = await bench.ask("reviews.default:7002", "/one", {
      method: "POST",
      body: "x",
      headers: { cookie: "a=1" },
    });
    assert.equal(one.status, 200);
    assert.equal(one.body, "hello /one");
    const told = JSON.parse(String(one.headers["x-told"])) as Record<string, string>;
    assert.equal(told[":authority"], "reviews.default:7002");
    assert.equal(told["content-length"], "1");
    const session = await client("old.default:9080");
    const two = await ask(session, { ":method": "POST", cookie: ["a=1", "b=2"], te: "trailers" }, "body");
    assert.equal(two.status, 200);
    assert.equal(two.headers["x-version"], "1.1");
    assert.equal(two.headers["transfer-encoding"], undefined);
    const heard = JSON.parse(two.body) as Record<string, string>;
    assert.equal(heard["host"], "old.default:9080");
    assert.equal(heard["cookie"], "a=1; b=2");
    assert.equal(heard["transfer-encoding"], "chunked");
    assert.deepEqual(Object.entries(two.trailers ?? {}), [["etag", "end"]]);
  });

  test("an undeclared port speaks to the application as the client does", async () => {
    const session = await client("reviews.default:7001");
    assert.equal((await ask(session, {})).status, 200);
  });

  test("what is no request that can be served is answered and not sent on", async () => {
    const session = await client();
    await once(session, "remoteSettings");
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
    const upgrade = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/" };
    assert.equal((await ask(session, upgrade, "")).status, 501, "the app has not said that it takes it");
    assert.equal((await ask(session, { ...upgrade, ":protocol": "other" }, "")).status, 501);
    assert.equal((await ask(session, { ":method": "TRACE" })).status, 405);
    assert.equal((await ask(session, { ":authority": "reviews", host: "other" })).status, 400);
    assert.equal((await ask(session, { expect: "more" })).status, 417);
    assert.equal((await ask(session, { "x-long": "x".repeat(40_000) })).status, 431);
  });

  test("only those requests end that a new policy forbids", async () => {
    const held: ServerHttp2Stream[] = [];
    app.onStream = (stream) => void held.push(stream);
    const session = await client();
    const forbidden = ask(session, { ":path": "/admin" });
    const allowed = ask(session, { ":path": "/other" });
    await until("both", () => held.length === 2);
    const to = [{ paths: [{ kind: "prefix" as const, value: "/admin" }] }];
    await bench.use(mesh({ policies: [policy("no", { action: "DENY", rules: [{ from: [], to }] })] }));
    assert.equal((await forbidden).status, 403);
    for (const stream of held) if (!stream.destroyed) stream.respond({ ":status": 200 }, { endStream: true });
    assert.equal((await allowed).status, 200);
  });

  test("drained, the requests in flight are served, and then the connection ends", async () => {
    const held: ServerHttp2Stream[] = [];
    app.onStream = (stream) => void held.push(stream);
    const session = await client();
    const asked = ask(session, {});
    await until("the request", () => held.length === 1);
    const told = once(session, "goaway");
    for (const live of bench.live) live.drain();
    await told;
    held[0]?.respond({ ":status": 200 }, { endStream: true });
    assert.equal((await asked).status, 200);
    await until("the end", () => session.closed);
  });

  test("drained at rest, a request that crosses the GOAWAY is refused, and not lost", async () => {
    const session = await client();
    assert.equal((await ask(session, {})).status, 200);
    const told = once(session, "goaway");
    for (const live of bench.live) live.drain();
    const crossing = session.request({ ":path": "/" });
    crossing.on("error", () => {});
    const refused = new Promise<void>((resolve) => void crossing.on("close", resolve));
    // The first request was the last one that is answered.
    assert.deepEqual((await within("the GOAWAY", told)).slice(0, 2), [0, 1]);
    await within("the refusal", refused);
    assert.equal(crossing.rstCode, RESET_REFUSED_STREAM);
    await until("the end", () => session.destroyed);
  });
});
