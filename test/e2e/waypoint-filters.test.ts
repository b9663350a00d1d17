// app → uproxy → waypoint → uproxy → app: what the filters of a route do to requests and responses, as both ends see it, byte for
// byte. Copies of requests are in `waypoint-mirror.test.ts`, sessions in `waypoint-sessions.test.ts`.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { ask } from "../support/http.ts";
import { field, fields } from "../support/http-message.ts";
import { request, verdictOf, type WireAnswer } from "../support/http-wire.ts";
import { PORTS } from "../support/mesh.ts";
import { httpRoute, type Resource } from "../support/resources.ts";
import { SHOP, startShop, version, type Shop } from "../support/shop.ts";
import { seenIn, seenValues, type Seen } from "../support/wire-app.ts";

const V1 = { name: "v1", port: SHOP.http };
const V2 = { name: "v2", port: SHOP.http };

/** A rule for all paths below a prefix. */
function below(prefix: string, rule: object): object {
  return { matches: [{ path: { type: "PathPrefix", value: prefix } }], ...rule };
}

function modifier(type: "Request" | "Response", edit: object): object {
  return type === "Request"
    ? { type: "RequestHeaderModifier", requestHeaderModifier: edit }
    : { type: "ResponseHeaderModifier", responseHeaderModifier: edit };
}

function redirect(parts: object): object {
  return { type: "RequestRedirect", requestRedirect: parts };
}

function rewrite(parts: object): object {
  return { type: "URLRewrite", urlRewrite: parts };
}

const prefixed = (path: string): object => ({ path: { type: "ReplacePrefixMatch", replacePrefixMatch: path } });
const full = (path: string): object => ({ path: { type: "ReplaceFullPath", replaceFullPath: path } });

function extension(name: string): object {
  return { type: "ExtensionRef", extensionRef: { group: "culvert.dev", kind: "HTTPFilter", name } };
}

function httpFilter(name: string, spec: object): Resource {
  return { apiVersion: "culvert.dev/v1alpha1", kind: "HTTPFilter", metadata: { name, namespace: "default" }, spec };
}

const EDIT = {
  set: [{ name: "X-Set", value: "new" }],
  add: [{ name: "X-Add", value: "more" }],
  remove: ["X-Remove"],
};

/** A backend that says in both directions that it is the one. */
function marked(ref: typeof V1): object {
  const mark = { name: "backend", value: ref.name };
  return { ...ref, filters: [modifier("Request", { set: [mark] }), modifier("Response", { add: [mark] })] };
}

const CORS = {
  type: "CORS",
  cors: {
    allowOrigins: ["https://www.foo.example", "https://*.bar.example"],
    allowMethods: ["GET", "PUT"],
    allowHeaders: ["x-a"],
    exposeHeaders: ["x-b"],
    allowCredentials: true,
    maxAge: 60,
  },
};

/** Each way of redirecting has a rule of its own. */
const REDIRECTS: Readonly<Record<string, object>> = {
  "/redirect/host": { hostname: "example.org" },
  "/redirect/scheme": { scheme: "https" },
  "/redirect/port": { port: 8083 },
  "/redirect/known-port": { scheme: "https", port: 443, hostname: "example.org" },
  "/redirect/prefix": prefixed("/new"),
  "/redirect/full": { ...full("/whole"), hostname: "example.org" },
  ...Object.fromEntries([301, 302, 303, 307, 308].map((code) => [`/redirect/${code}`, { statusCode: code }])),
};

const ROUTES: readonly Resource[] = [
  version("v1", "v1"),
  version("v2", "v2"),
  httpFilter("teapot", {
    directResponse: { status: 418, headers: [{ name: "X-Kind", value: "pot" }], body: "short and stout: ü\n" },
  }),
  httpFilter("gone", { directResponse: { status: 204 } }),
  httpFilter("broken", { fault: { abort: { status: 503, grpcStatus: 8 } } }),
  httpFilter("half-broken", { fault: { abort: { status: 500, percent: 50 } } }),
  httpFilter("slow", { fault: { delay: { duration: "300ms" } } }),
  httpRoute("changes", "shop", [
    below("/headers", { filters: [modifier("Request", EDIT), modifier("Response", EDIT)], backendRefs: [V1] }),
    below("/backends", {
      filters: [modifier("Request", { set: [{ name: "backend", value: "rule" }] })],
      backendRefs: [V1, V2].map(marked),
    }),
    below("/rewrite/prefix", { filters: [rewrite(prefixed("/one"))], backendRefs: [V1] }),
    below("/rewrite/strip", { filters: [rewrite(prefixed("/"))], backendRefs: [V1] }),
    below("/rewrite/full", {
      filters: [rewrite({ ...full("/two"), hostname: "other.example" }), modifier("Request", EDIT)],
      backendRefs: [V1],
    }),
    below("/rewrite/to-v2", { filters: [rewrite(full("/v2"))], backendRefs: [V1] }),
    below("/rewrite/backend", { backendRefs: [{ ...V1, filters: [rewrite(prefixed("/of-backend"))] }] }),
    below("/v2", { backendRefs: [V2] }),
  ]),
  httpRoute("redirects", "shop", [
    ...Object.entries(REDIRECTS).map(([path, parts]) => below(path, { filters: [redirect(parts)] })),
    below("/redirect/backend", { backendRefs: [{ ...V1, filters: [redirect(full("/by-backend"))] }] }),
  ]),
  httpRoute("answers", "shop", [
    below("/teapot", { filters: [extension("teapot")] }),
    below("/gone", { filters: [extension("gone")] }),
    { name: "broken-rule", ...below("/broken", { filters: [extension("broken"), CORS], backendRefs: [V1] }) },
    below("/half-broken", { filters: [extension("half-broken")], backendRefs: [V1] }),
    below("/slow", { filters: [extension("slow")], backendRefs: [V1] }),
    below("/cors", { filters: [CORS], backendRefs: [V1] }),
    below("/no-backend", {
      filters: [CORS, modifier("Response", { set: [{ name: "x-by", value: "rule" }] })],
      backendRefs: [{ name: "absent", port: 1 }],
    }),
  ]),
];

describe("filters of a route", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({
      apps: 2,
      scripts: {
        "/headers/of-app":
          "HTTP/1.1 200 OK\r\nX-Set: old\r\nx-set: older\r\nX-Add: some\r\nx-remove: a\r\nX-Remove: b\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n",
        "/cors/of-app":
          "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 9\r\nvary: accept\r\ncontent-length: 0\r\n\r\n",
      },
      more: () => ROUTES,
    });
  });

  after(() => shop.mesh.stop());

  async function served(path: string, more: Readonly<Record<string, string>> = {}): Promise<Seen> {
    return seenIn(await shop.ask(request("GET", path, more)));
  }

  test("header fields of requests are set, added and removed; all others stay", async () => {
    const got = await served("/headers", {
      "x-set": "old",
      "X-SET": "older",
      "x-add": "some",
      "X-Remove": "a",
      other: "1",
    });
    assert.deepEqual(seenValues(got, "x-set"), ["new"]);
    assert.deepEqual(seenValues(got, "x-add"), ["some", "more"]);
    assert.deepEqual(seenValues(got, "x-remove"), []);
    assert.deepEqual(seenValues(got, "other"), ["1"]);
    assert.equal(seenValues(got, "x-forwarded-client-cert").length, 1);
    assert.deepEqual(seenValues(await served("/headers"), "x-add"), ["more"]);
  });

  test("and those of responses", async () => {
    const { head } = await shop.ask(request("GET", "/headers/of-app"));
    assert.deepEqual(fields(head, "x-set"), ["new"]);
    assert.deepEqual(fields(head, "x-add"), ["some", "more"]);
    assert.deepEqual(fields(head, "x-remove"), []);
    assert.deepEqual(fields(head, "x-kept"), ["1"]);
  });

  test("filters of a backend go with the requests that it gets, after those of the rule", async () => {
    const byApp = new Map<string, Set<string>>();
    for (let i = 0; i < 40; i++) {
      const answer = await shop.ask(request("GET", "/backends"));
      const got = seenIn(answer);
      const both = `${seenValues(got, "backend").join()} ${fields(answer.head, "backend").join()}`;
      byApp.set(got.app, (byApp.get(got.app) ?? new Set()).add(both));
    }
    assert.deepEqual(byApp.get("shop-1"), new Set(["v1 v1"]));
    assert.deepEqual(byApp.get("shop-2"), new Set(["v2 v2"]));
  });

  test("paths and hosts are rewritten; the query and the log stay as they were asked for", async () => {
    const rows: readonly (readonly [asked: string, line: string])[] = [
      ["/rewrite/prefix/two?a=%2f", "GET /one/two?a=%2f HTTP/1.1"],
      ["/rewrite/prefix", "GET /one HTTP/1.1"],
      ["/rewrite/strip/three", "GET /three HTTP/1.1"],
      ["/rewrite/strip", "GET / HTTP/1.1"],
      ["/rewrite/full/any/thing?b", "GET /two?b HTTP/1.1"],
      ["/rewrite/backend/x?c", "GET /of-backend/x?c HTTP/1.1"],
    ];
    for (const [path, line] of rows) assert.equal((await served(path)).line, line, path);
    const got = await served("/rewrite/full/again");
    assert.deepEqual(seenValues(got, "host"), ["other.example"]);
    assert.deepEqual(seenValues(got, "x-set"), ["new"]);
    assert.deepEqual(seenValues(await served("/rewrite/prefix"), "host"), ["shop"]);
    const line = await shop.waypoint.access({ path: "/rewrite/full/again" });
    assert.equal(line["authority"], "shop");
  });

  test("what a path is rewritten to leads to no other rule", async () => {
    const got = await served("/rewrite/to-v2");
    assert.equal(got.line, "GET /v2 HTTP/1.1");
    assert.equal(got.app, "shop-1");
    assert.equal((await served("/v2")).app, "shop-2");
  });

  test("redirects name all of the place to go to, and no application is asked", async () => {
    const known = shop.apps.map(({ http }) => http.seen.length);
    const rows: readonly (readonly [asked: string, status: number, location: string])[] = [
      ["/redirect/host/x?q=1", 302, `http://example.org:${SHOP.http}/redirect/host/x?q=1`],
      ["/redirect/scheme", 302, "https://shop/redirect/scheme"],
      ["/redirect/port", 302, "http://shop:8083/redirect/port"],
      ["/redirect/known-port", 302, "https://example.org/redirect/known-port"],
      ["/redirect/prefix/x", 302, `http://shop:${SHOP.http}/new/x`],
      ["/redirect/full/x?q", 302, `http://example.org:${SHOP.http}/whole?q`],
      ["/redirect/backend/x", 302, `http://shop:${SHOP.http}/by-backend`],
      ...[301, 302, 303, 307, 308].map(
        (code) => [`/redirect/${code}`, code, `http://shop:${SHOP.http}/redirect/${code}`] as const,
      ),
    ];
    for (const [path, status, location] of rows) {
      const answer = await shop.ask(request("GET", path));
      assert.equal(answer.status, status, path);
      assert.deepEqual(fields(answer.head, "location"), [location]);
      assert.equal(answer.text, "");
    }
    assert.deepEqual(
      shop.apps.map(({ http }) => http.seen.length),
      known,
    );
    const line = await shop.waypoint.access({ path: "/redirect/port" });
    assert.equal(line["response_code"], 302);
    assert.equal(line["code"], undefined);
  });

  test("a rule answers by itself; the connection serves on, also where a body was sent", async () => {
    const wire = await shop.dial();
    const teapot = await wire.ask(request("POST", "/teapot", { "content-length": "2" }) + "ab");
    assert.equal(teapot.status, 418);
    assert.equal(teapot.text, "short and stout: ü\n");
    assert.equal(field(teapot.head, "x-kind"), "pot");
    assert.equal(field(teapot.head, "content-type"), "text/plain; charset=utf-8");
    wire.close();
    const again = await shop.dial();
    assert.equal((await again.get("/gone")).status, 204);
    assert.equal((await again.ask(request("HEAD", "/teapot"))).status, 418);
    assert.equal((await again.get("/v2")).status, 200);
    again.close();
  });

  test("faults: an abort says whose it is, and a script may read it", async () => {
    const answer = await shop.ask(request("GET", "/broken", { origin: "https://www.foo.example" }));
    assert.equal(verdictOf(answer), "503 FAULT_INJECTED");
    assert.equal(field(answer.head, "access-control-allow-origin"), "https://www.foo.example");
    const line = await shop.waypoint.access({ path: "/broken" });
    assert.equal(line["code"], "FAULT_INJECTED");
    assert.equal(line["response_flags"], "FI");
    assert.equal(line["rule"], "broken-rule");
    assert.equal(line["route"], "default/answers");
    const { body } = await ask(`http://${hostPort(shop.waypoint.address, PORTS.metrics)}/metrics`);
    assert.match(
      body,
      /^culvert_rule_requests_total\{route="default\/answers",rule="broken-rule",response_code="503"\} 1$/m,
    );
    assert.doesNotMatch(body, /^culvert_rule_requests_total\{.*rules\[/m, "who has no name is not counted");
  });

  test("faults: a gRPC call gets a status of gRPC", async () => {
    const more = { "content-type": "application/grpc", te: "trailers", "content-length": "0" };
    const answer = await shop.ask(request("POST", "/broken", more));
    assert.equal(answer.status, 200);
    assert.equal(field(answer.head, "grpc-status"), "8");
    assert.equal(field(answer.head, "content-type"), "application/grpc");
  });

  test("faults: a share of the requests", async () => {
    const statuses = new Map<number, number>();
    const wire = await shop.dial();
    for (let i = 0; i < 100; i++) {
      const { status } = await wire.get("/half-broken");
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    wire.close();
    // Outside of this by chance once in ten million runs.
    for (const status of [200, 500]) assert.ok((statuses.get(status) ?? 0) >= 24, JSON.stringify([...statuses]));
  });

  test("faults: a delay holds a request back", async () => {
    const started = performance.now();
    const got = await served("/slow");
    assert.ok(performance.now() - started >= 299);
    assert.equal(got.line, "GET /slow HTTP/1.1");
  });

  test("CORS: preflights are answered, and reach no application", async () => {
    const preflight = (origin: string): Promise<WireAnswer> =>
      shop.ask(request("OPTIONS", "/cors/preflight", { origin, "access-control-request-method": "PUT" }));
    const allowed = await preflight("https://a.b.bar.example");
    assert.equal(allowed.status, 200);
    assert.deepEqual(fields(allowed.head, "access-control-allow-origin"), ["https://a.b.bar.example"]);
    assert.deepEqual(fields(allowed.head, "access-control-allow-methods"), ["GET, PUT"]);
    assert.deepEqual(fields(allowed.head, "access-control-allow-headers"), ["x-a"]);
    assert.deepEqual(fields(allowed.head, "access-control-allow-credentials"), ["true"]);
    assert.deepEqual(fields(allowed.head, "access-control-max-age"), ["60"]);
    const refused = await preflight("https://foobar.example");
    assert.equal(refused.status, 200);
    assert.doesNotMatch(refused.head, /^access-control/im);
    assert.ok(shop.apps.every(({ http }) => !http.seen.some(({ line }) => line.includes("/cors/preflight"))));
    const plain = seenIn(await shop.ask(request("OPTIONS", "/cors/plain")));
    assert.equal(plain.line, "OPTIONS /cors/plain HTTP/1.1");
  });

  test("CORS: the filter speaks in place of the application", async () => {
    const { head } = await shop.ask(request("GET", "/cors/of-app", { origin: "https://www.foo.example" }));
    assert.deepEqual(fields(head, "access-control-allow-origin"), ["https://www.foo.example"]);
    assert.deepEqual(fields(head, "access-control-expose-headers"), ["x-b"]);
    assert.deepEqual(fields(head, "access-control-max-age"), []);
    assert.deepEqual(fields(head, "vary"), ["accept", "Origin"]);
    const refused = await shop.ask(request("GET", "/cors/of-app", { origin: "https://foobar.example" }));
    assert.doesNotMatch(refused.head, /^access-control/im);
  });

  test("failures pass the response filters too", async () => {
    const answer = await shop.ask(request("GET", "/no-backend", { origin: "https://www.foo.example" }));
    assert.equal(verdictOf(answer), "500 BACKEND_INVALID");
    assert.equal(field(answer.head, "x-by"), "rule");
    assert.equal(field(answer.head, "access-control-allow-origin"), "https://www.foo.example");
  });
});
