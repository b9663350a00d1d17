// app → uproxy → waypoint → uproxy → app: filters, copies and sessions for clients that speak HTTP/2, whose requests become HTTP/1.1
// behind the waypoint.
import assert from "node:assert/strict";
import { connect, type ClientHttp2Session, type IncomingHttpHeaders } from "node:http2";
import { after, before, beforeEach, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { httpRoute, type Resource } from "../support/resources.ts";
import { SHOP, startShop, version, type Shop } from "../support/shop.ts";
import { until, within } from "../support/until.ts";
import { seenValues, type Seen } from "../support/wire-app.ts";

const V1 = { name: "v1", port: SHOP.http };

function below(prefix: string, rule: object): object {
  return { matches: [{ path: { type: "PathPrefix", value: prefix } }], ...rule };
}

const EDIT = { set: [{ name: "X-Set", value: "new" }], add: [{ name: "X-Add", value: "more" }], remove: ["X-Remove"] };

const ROUTES: readonly Resource[] = [
  version("v1", "v1"),
  version("v2", "v2"),
  httpRoute("filters", "shop", [
    below("/edits", {
      filters: [
        { type: "RequestHeaderModifier", requestHeaderModifier: EDIT },
        { type: "ResponseHeaderModifier", responseHeaderModifier: EDIT },
        {
          type: "URLRewrite",
          urlRewrite: { hostname: "other.example", path: { type: "ReplacePrefixMatch", replacePrefixMatch: "/one" } },
        },
        { type: "RequestMirror", requestMirror: { backendRef: { name: "v2", port: SHOP.http } } },
      ],
      backendRefs: [V1],
    }),
    below("/redirect", { filters: [{ type: "RequestRedirect", requestRedirect: { port: 8083, statusCode: 307 } }] }),
    below("/cors", {
      filters: [{ type: "CORS", cors: { allowOrigins: ["https://a.example"], allowMethods: ["GET"] } }],
      backendRefs: [V1],
    }),
    below("/session", {
      backendRefs: [{ name: "shop", port: SHOP.http }],
      sessionPersistence: { sessionName: "SID" },
    }),
  ]),
];

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

describe("filters for clients of HTTP/2", () => {
  let shop: Shop;
  let session: ClientHttp2Session;

  before(async () => {
    shop = await startShop({ apps: 2, more: () => ROUTES });
  });

  after(() => shop.mesh.stop());

  beforeEach((context) => {
    session = connect(`http://${hostPort(shop.client.inside, SHOP.http)}`);
    session.on("error", () => {});
    if ("after" in context) context.after(() => session.destroy());
  });

  function ask(
    path: string,
    headers: Readonly<Record<string, string | string[]>> = {},
    body?: string,
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const all = { ":authority": "shop", ":path": path, ":method": body === undefined ? "GET" : "POST", ...headers };
    const stream = session.request(all, { endStream: body === undefined });
    let got: IncomingHttpHeaders & { ":status"?: number | undefined } = {};
    let text = "";
    stream.setEncoding("utf8");
    stream.on("response", (head) => (got = head));
    stream.on("data", (chunk: string) => (text += chunk));
    stream.on("error", reject);
    stream.on("end", () => resolve({ status: got[":status"] ?? 0, headers: got, body: text }));
    if (body !== undefined) stream.end(body);
    return within("an answer", promise);
  }

  test("fields, path and host are changed, and a copy of the changed request arrives elsewhere", async () => {
    const { status, headers, body } = await ask(
      "/edits/x?q=1",
      { "x-set": "old", "x-add": "some", "x-remove": "1" },
      "body",
    );
    assert.equal(status, 200);
    const got = JSON.parse(body) as Seen;
    assert.equal(got.line, "POST /one/x?q=1 HTTP/1.1");
    assert.deepEqual(seenValues(got, "host"), ["other.example"]);
    assert.deepEqual(seenValues(got, "x-set"), ["new"]);
    assert.deepEqual(seenValues(got, "x-add"), ["some", "more"]);
    assert.deepEqual(seenValues(got, "x-remove"), []);
    assert.equal(got.body, "body");
    assert.equal(headers["x-set"], "new");
    await until("the copy", () => shop.apps[1]?.http.seen.length === 1);
    const [copy] = shop.apps[1]?.http.seen ?? [];
    assert.deepEqual({ ...copy, app: "", connection: 0 }, { ...got, app: "", connection: 0 });
  });

  test("redirects and preflights are answered by the waypoint", async () => {
    const redirect = await ask("/redirect/x", {}, "body");
    assert.equal(redirect.status, 307);
    assert.equal(redirect.headers.location, "http://shop:8083/redirect/x");
    const asked = { ":method": "OPTIONS", origin: "https://a.example", "access-control-request-method": "GET" };
    const preflight = await ask("/cors", asked);
    assert.equal(preflight.status, 200);
    assert.equal(preflight.headers["access-control-allow-origin"], "https://a.example");
    assert.equal(preflight.headers["access-control-allow-methods"], "GET");
  });

  test("the cookie of a session is found among crumbs", async () => {
    const first = await ask("/session");
    const [line = ""] = first.headers["set-cookie"] ?? [];
    const { app } = JSON.parse(first.body) as Seen;
    for (let i = 0; i < 15; i++) {
      const again = await ask("/session", { cookie: ["a=1", line.replace(/;.*/, ""), "b=2"] });
      assert.equal((JSON.parse(again.body) as Seen).app, app);
      assert.equal(again.headers["set-cookie"], undefined);
    }
  });
});
