// app → uproxy → waypoint → uproxy → app, and copies to another app: a mirror never delays or fails a request, whatever becomes of the
// copy, and nothing is left of any.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { request } from "../support/http-wire.ts";
import { baselineOf, settlesAt } from "../support/leaks.ts";
import { PORTS } from "../support/mesh.ts";
import { httpRoute, service, type Resource } from "../support/resources.ts";
import { SHOP, startShop, version, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import { seenIn, seenValues, type Seen } from "../support/wire-app.ts";

const V1 = { name: "v1", port: SHOP.http };
const V2 = { name: "v2", port: SHOP.http };
/** A service of the second workload whose application does what a copy must bear: see `misbehave`. */
const BAD = { name: "bad", port: 9300 };
const MIB = 1024 * 1024;

const CHANGES = [
  { type: "RequestHeaderModifier", requestHeaderModifier: { set: [{ name: "x-set", value: "1" }] } },
  { type: "URLRewrite", urlRewrite: { path: { type: "ReplacePrefixMatch", replacePrefixMatch: "/changed" } } },
];

function mirrored(prefix: string, mirrors: readonly object[], more: readonly object[] = []): object {
  const filters = [
    ...more,
    ...mirrors.map((parts) => ({ type: "RequestMirror", requestMirror: { backendRef: V2, ...parts } })),
  ];
  return { matches: [{ path: { type: "PathPrefix", value: prefix } }], filters, backendRefs: [V1] };
}

const ROUTES: readonly Resource[] = [
  version("v1", "v1"),
  version("v2", "v2"),
  {
    ...service(BAD.name, []),
    spec: { selector: { app: "shop", version: "v2" }, ports: [{ name: "http", port: BAD.port, appProtocol: "http" }] },
  },
  httpRoute("mirrors", "shop", [
    mirrored("/all", [{}]),
    mirrored("/changes", [{}], CHANGES),
    mirrored("/some", [{ percent: 20 }]),
    mirrored("/half", [{ fraction: { numerator: 1, denominator: 2 } }]),
    mirrored("/several", [{}, { backendRef: V1 }]),
    mirrored("/absent", [{ backendRef: { name: "absent", port: 1 } }]),
    mirrored("/bad", [{ backendRef: BAD }]),
  ]),
];

/** Does to the copies of requests below `/bad` what their paths say. */
function misbehave(socket: Socket): void {
  socket.on("error", () => {});
  socket.once("data", (head: Buffer) => {
    const path = head.toString("latin1").split(" ")[1] ?? "";
    if (path === "/bad/silent" || path === "/bad/hangs") socket.pause();
    else if (path === "/bad/resets") socket.resetAndDestroy();
    else if (path === "/bad/garbage") socket.end("this is not HTTP\r\n\r\n");
    else pour(socket);
  });
}

/** An answer without end. */
function pour(socket: Socket): void {
  const chunk = `10000\r\n${"x".repeat(0x1_00_00)}\r\n`;
  const more = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on("drain", more);
  socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
  more();
}

/** Takes a body and answers with its length. */
function countBody(socket: Socket, head: string, rest: Buffer): void {
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
  let received = 0;
  const take = (bytes: Buffer): void => {
    received += bytes.length;
    if (received < length) return;
    const text = String(received);
    socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
  };
  socket.on("data", take);
  take(rest);
}

describe("copies of requests", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({ apps: 2, more: () => ROUTES, scripts: { "/bad/silent": countBody } });
    await shop.mesh.with(startTcpApp(shop.addresses.apps[1], BAD.port, misbehave));
  });

  after(() => shop.mesh.stop());

  function seenBy(app: number, path: string): Seen[] {
    return shop.apps[app]?.http.seen.filter(({ line }) => line.split(" ")[1]?.startsWith(path)) ?? [];
  }

  /** How copies have ended so far, by backend and result. */
  async function results(): Promise<Record<string, number>> {
    const { body } = await ask(`http://${hostPort(shop.waypoint.address, PORTS.metrics)}/metrics`);
    const lines = body.matchAll(
      /^culvert_mirror_requests_total\{backend="default\/(\w+):\d+",result="(.*)"\} (\d+)$/gm,
    );
    return Object.fromEntries([...lines].map(([, backend, result, count]) => [`${backend} ${result}`, Number(count)]));
  }

  async function inFlight(): Promise<number> {
    const { body } = await ask(`http://${hostPort(shop.waypoint.address, PORTS.metrics)}/metrics`);
    return Number(/^culvert_mirror_in_flight (\d+)$/m.exec(body)?.[1]);
  }

  test("a request is answered by its backend, and a copy of it arrives elsewhere", async () => {
    const wire = await shop.dial();
    const post = request("POST", "/all/x?unique=1", { "content-length": "4", "x-a": "1" });
    const got = seenIn(await wire.ask(`${post}body`));
    assert.equal(got.app, "shop-1");
    await until("the copy", () => seenBy(1, "/all/x").length === 1);
    const [copy] = seenBy(1, "/all/x");
    assert.ok(copy !== undefined);
    assert.equal(copy.line, "POST /all/x?unique=1 HTTP/1.1");
    assert.equal(copy.body, "body");
    assert.deepEqual(copy.fields, got.fields, "the host too is as it was");
    const chunked = request("POST", "/all/chunked", { "transfer-encoding": "chunked" });
    seenIn(await wire.ask(`${chunked}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`));
    await until("the copy", () => seenBy(1, "/all/chunked")[0]?.body === "abcde");
    wire.close();
  });

  test("a copy is made of what the filters have made of the request", async () => {
    const wire = await shop.dial();
    seenIn(await wire.get("/changes/x"));
    wire.close();
    await until("the copy", () => seenBy(1, "/changed/x").length === 1);
    const [copy] = seenBy(1, "/changed/x");
    assert.deepEqual(copy === undefined ? [] : seenValues(copy, "x-set"), ["1"]);
  });

  test("a share of the requests", async () => {
    const wire = await shop.dial();
    for (let i = 0; i < 200; i++) for (const path of ["/some", "/half"]) seenIn(await wire.get(`${path}/x`));
    wire.close();
    await until("all copies to have ended", async () => (await inFlight()) === 0);
    // Five standard deviations around 20 % and 50 % of 200.
    const [some, half] = [seenBy(1, "/some").length, seenBy(1, "/half").length];
    assert.ok(some >= 12 && some <= 68, `${some} of 200`);
    assert.ok(half >= 65 && half <= 135, `${half} of 200`);
  });

  test("several mirrors, of which one is where the request goes itself; and one that does not exist", async () => {
    const wire = await shop.dial();
    seenIn(await wire.get("/several/x"));
    await until("both copies", () => seenBy(0, "/several").length === 2 && seenBy(1, "/several").length === 1);
    assert.equal(seenIn(await wire.get("/absent/x")).app, "shop-1");
    wire.close();
  });

  test("no misbehaviour of a copy's application is noticed by the request", async () => {
    const wire = await shop.dial();
    for (const path of ["/bad/resets", "/bad/garbage", "/bad/endless"]) {
      for (let i = 0; i < 5; i++) assert.equal(seenIn(await wire.get(path)).app, "shop-1");
    }
    wire.close();
    await until("all copies to have ended", async () => (await inFlight()) === 0);
    const ended = await results();
    assert.equal(ended["bad failed"], 10);
    assert.equal(ended["bad answered"], 5, "what is too long to be read counts as answered");
  });

  test("a copy that takes no body is cut, and the request keeps its pace", async () => {
    const wire = await shop.dial();
    wire.send(request("POST", "/bad/silent", { "content-length": String(32 * MIB) }));
    for (let i = 0; i < 32; i++) wire.send(Buffer.alloc(MIB, 0x61));
    const answer = await wire.answer();
    wire.close();
    assert.equal(answer.text, String(32 * MIB));
    await until("the copy to have been cut", async () => (await results())["bad slow"] === 1);
  });

  test("a copy ends with a request that is broken off", async () => {
    const wire = await shop.dial();
    wire.send(`${request("POST", "/all/broken", { "content-length": "10" })}half`);
    await until("the copy to have begun", async () => (await inFlight()) === 1);
    (wire.socket as Socket).resetAndDestroy();
    await until("its end", async () => (await results())["v2 broken-off"] === 1);
    assert.equal(await inFlight(), 0);
  });

  test("under load, to applications that fail and that say nothing, nothing is kept", async () => {
    const waypoint = baselineOf(shop.waypoint.program);
    const client = async (): Promise<void> => {
      const wire = await shop.dial();
      for (let i = 0; i < 50; i++) {
        for (const path of ["/all/load", "/bad/resets", "/bad/hangs"]) assert.equal((await wire.get(path)).status, 200);
      }
      wire.close();
    };
    const known = await results();
    await Promise.all(Array.from({ length: 10 }, client));
    // Copies that are not answered are given up after 15 seconds.
    await until("all copies to have ended", async () => (await inFlight()) === 0, 30_000);
    const now = await results();
    const more = (key: string): number => (now[key] ?? 0) - (known[key] ?? 0);
    assert.equal(more("v2 answered"), 500);
    assert.equal(more("bad failed") + more("bad late") + more("bad dropped"), 1_000, JSON.stringify(now));
    await settlesAt(waypoint, 8);
  });
});
