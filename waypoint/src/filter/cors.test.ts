import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cors } from "@culvert/shared/config/http-route.ts";
import { CorsRules, type CrossOrigin } from "./cors.ts";
import { fieldValues } from "./field-lines.ts";

const NONE: Cors = {
  allowOrigins: [],
  allowMethods: [],
  allowHeaders: [],
  exposeHeaders: [],
  allowCredentials: false,
  maxAgeSeconds: 5,
};

const rules = (parts: Partial<Cors>): CorsRules => new CorsRules({ ...NONE, ...parts });

/** The routes of the case HTTPRouteCORS of Gateway API's conformance tests. */
const SEVERAL = rules({
  allowOrigins: ["https://www.foo.com", "https://*.bar.com"],
  allowMethods: ["GET", "OPTIONS"],
  allowHeaders: ["x-header-1", "x-header-2"],
  exposeHeaders: ["x-header-3", "x-header-4"],
  allowCredentials: true,
  maxAgeSeconds: 3600,
});
const ANY_METHOD = rules({ allowOrigins: ["https://www.foo.com"], allowMethods: ["*"] });
const ANY_ORIGIN = rules({ allowOrigins: ["*"], allowMethods: ["PUT"] });
const ANY = rules({ allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"], allowCredentials: true });
const ANY_WITHOUT = rules({ allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"] });

function preflight(of: CorsRules, origin: string, method: string, headers?: string): Record<string, string> {
  const request: CrossOrigin = { method: "OPTIONS", origin, requestMethod: method, requestHeaders: headers };
  const fields = of.preflight(request);
  assert.ok(fields !== undefined);
  return answer(fields);
}

function actual(of: CorsRules, origin: string | undefined, fields = ""): Record<string, string> {
  return answer(of.response(fields, origin));
}

function answer(fields: string): Record<string, string> {
  const names = new Set(fields.split("\r\n").map((line) => (line.split(":")[0] ?? "").toLowerCase()));
  names.delete("");
  return Object.fromEntries([...names].map((name) => [name, fieldValues(fields, name).join(" | ")]));
}

const FULL = {
  "access-control-allow-methods": "GET, OPTIONS",
  "access-control-allow-headers": "x-header-1, x-header-2",
  "access-control-expose-headers": "x-header-3, x-header-4",
  "access-control-max-age": "3600",
  "access-control-allow-credentials": "true",
  vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
};

test("preflights of allowed origins learn all that is allowed", () => {
  for (const origin of ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"]) {
    const got = preflight(SEVERAL, origin, "GET", "x-header-1, x-header-2");
    assert.deepEqual(got, { "access-control-allow-origin": origin, ...FULL });
  }
});

test("preflights of other origins are answered, and allow nothing", () => {
  for (const origin of [
    "https://foobar.com",
    "https://bar.com",
    "http://www.bar.com",
    "https://evil/.bar.com",
    "null",
  ]) {
    assert.deepEqual(Object.keys(preflight(SEVERAL, origin, "GET")), ["vary"], origin);
  }
});

test("actual requests of allowed origins get the origin back, others nothing", () => {
  for (const origin of ["https://www.foo.com", "https://www.bar.com", "https://WWW.bar.com"]) {
    assert.deepEqual(actual(SEVERAL, origin), {
      "access-control-allow-origin": origin,
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "x-header-3, x-header-4",
      vary: "Origin",
    });
  }
  assert.deepEqual(actual(SEVERAL, "https://foobar.com"), { vary: "Origin" });
  assert.deepEqual(actual(SEVERAL, undefined), { vary: "Origin" });
});

test("any method: the one that is asked for", () => {
  const got = preflight(ANY_METHOD, "https://www.foo.com", "POST");
  assert.equal(got["access-control-allow-origin"], "https://www.foo.com");
  assert.equal(got["access-control-allow-methods"], "POST");
  assert.equal(got["access-control-allow-credentials"], undefined);
  assert.equal(got["access-control-max-age"], "5");
  assert.equal(preflight(ANY_METHOD, "https://www.foo.com", "a b")["access-control-allow-methods"], undefined);
});

test("any origin, with or without port", () => {
  for (const origin of ["https://foobar.com", "https://foobar.com:12345"]) {
    const got = preflight(ANY_ORIGIN, origin, "PUT");
    assert.equal(got["access-control-allow-origin"], origin);
    assert.equal(got["access-control-allow-methods"], "PUT");
    assert.equal(got["access-control-allow-credentials"], undefined);
    assert.equal(actual(ANY_ORIGIN, origin)["access-control-allow-origin"], origin);
  }
});

test("credentials are told of only where they are allowed; what is asked for is named either way", () => {
  const origin = "https://other.foo.com";
  for (const [of, credentials] of [
    [ANY, "true"],
    [ANY_WITHOUT, undefined],
  ] as const) {
    const got = preflight(of, origin, "PUT", "x-header-1, x-header-2");
    assert.equal(got["access-control-allow-origin"], origin);
    assert.equal(got["access-control-allow-methods"], "PUT");
    assert.equal(got["access-control-allow-headers"], "x-header-1, x-header-2");
    assert.equal(got["access-control-allow-credentials"], credentials);
    assert.equal(actual(of, origin)["access-control-allow-origin"], origin);
    assert.equal(actual(of, origin)["access-control-allow-credentials"], credentials);
  }
  assert.equal(preflight(ANY, origin, "PUT", "a;b, c d")["access-control-allow-headers"], undefined);
});

test("what the application says of it goes", () => {
  const app = "Access-Control-Allow-Origin: *\r\nACCESS-CONTROL-MAX-AGE: 1\r\nvary: Accept\r\nx: 1\r\n";
  const got = actual(SEVERAL, "https://www.foo.com", app);
  assert.equal(got["access-control-allow-origin"], "https://www.foo.com");
  assert.equal(got["access-control-max-age"], undefined);
  assert.equal(got["vary"], "Accept | Origin");
  assert.equal(got["x"], "1");
  assert.deepEqual(actual(SEVERAL, "https://foobar.com", app), { vary: "Accept | Origin", x: "1" });
});

test("to requests with credentials all fields are exposed by name, for which an asterisk would mean nothing", () => {
  const all = { allowOrigins: ["*"], exposeHeaders: ["*"] };
  const app = "X-Total: 1\r\nx-total: 2\r\netag: a\r\n";
  const exposed = (of: CorsRules): string | undefined =>
    actual(of, "https://a.example", app)["access-control-expose-headers"];
  assert.equal(exposed(rules(all)), "*");
  assert.equal(exposed(rules({ ...all, allowCredentials: true })), "x-total, etag");
});

test("an OPTIONS that is no preflight goes to the application", () => {
  const request = { method: "OPTIONS", origin: "https://www.foo.com", requestMethod: "GET", requestHeaders: undefined };
  for (const other of [{ method: "GET" }, { origin: undefined }, { requestMethod: undefined }]) {
    assert.equal(SEVERAL.preflight({ ...request, ...other }), undefined);
  }
});

test("a host that may be any is one host, not a path or a port", () => {
  const any = rules({ allowOrigins: ["https://*", "https://*.a.example:8443"] });
  for (const origin of ["https://a.b.c", "https://x", "https://x.a.example:8443"])
    assert.ok(any.allows(origin), origin);
  for (const origin of ["https://", "http://a", "https://a:1", "https://a/b", "https://a@b", "https://x.a.example:1"]) {
    assert.ok(!any.allows(origin), origin);
  }
  assert.ok(!any.allows(`https://${"a".repeat(600)}`));
});
