// Hostile, rows P1 and P2: spellings of paths and hosts that are meant to be decided as one thing and served as another. What policy
// decides on is, byte for byte, what the application gets; what could be read in two ways is refused.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import hosts from "../conformance/cases/host.json" with { type: "json" };
import { pathCases } from "../conformance/cases/path-cases.ts";
import paths from "../conformance/cases/path.json" with { type: "json" };
import { field } from "../support/http-message.ts";
import { request, verdictOf, type HttpWire } from "../support/http-wire.ts";
import type { LogLine } from "../support/mesh.ts";
import { authorizationPolicy } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { seenValues, type Seen } from "../support/wire-app.ts";

/** Targets with the path that they are decided on and forwarded with; `undefined`: refused. */
function targetsAt(level: PathNormalization): readonly (readonly [sent: string, meant: string | undefined])[] {
  return [
    ...pathCases(level).map(({ raw, path }) => [raw, path] as const),
    ...[...paths.refused, ...paths.refusedTargets].map((raw) => [raw, undefined] as const),
  ];
}

/** Spellings of one host, and what is forwarded for each. */
const ADMIN_HOSTS: readonly (readonly [sent: string, forwarded: string])[] = [
  ["admin.example.com", "admin.example.com"],
  ["ADMIN.example.COM", "admin.example.com"],
  ["admin.example.com.", "admin.example.com"],
  ["Admin.Example.Com.", "admin.example.com"],
  ["admin.example.com:8000", "admin.example.com:8000"],
  ["admin.example.com.:8000", "admin.example.com:8000"],
];

describe("one spelling at a waypoint", () => {
  let shop: Shop;
  let neighbour: HttpWire;

  before(async () => {
    shop = await startShop();
    neighbour = await shop.dial();
  });

  after(async () => {
    assert.equal((await neighbour.get("/neighbour")).status, 200, "the neighbour is still served");
    neighbour.close();
    await shop.mesh.stop();
  });

  /** Sends a request over a connection of its own: the verdict, whether the connection was closed, and what the application got. */
  async function send(
    text: string,
    at: Shop = shop,
  ): Promise<{ verdict: string; closes: boolean; got: readonly Seen[] }> {
    const { seen } = at.apps[0].http;
    const { length } = seen;
    const wire = await at.dial();
    const answer = await wire.ask(text);
    const closes = field(answer.head, "connection") === "close" && (await wire.ended()) === "end";
    wire.close();
    return { verdict: verdictOf(answer), closes, got: seen.slice(length) };
  }

  /** The log lines of the waypoint with an id. */
  async function lines(requestId: string, at: Shop = shop): Promise<LogLine[]> {
    await at.waypoint.access({ request_id: requestId });
    return at.waypoint.log.filter((line) => line["request_id"] === requestId);
  }

  for (const level of ["base", "decode-and-merge-slashes"] as const) {
    test(`each path is decided on and forwarded in one and the same spelling, or refused: ${level}`, async () => {
      const targets = targetsAt(level);
      const meant = [...new Set(targets.flatMap(([, path]) => path ?? []))];
      // One rule for each path: the log then tells by its number which path was decided on.
      const rules = meant.map((path) => ({ to: [{ operation: { paths: [path] } }] }));
      const at = level === "base" ? shop : await startShop({ waypoint: { config: { pathNormalization: level } } });
      await at.put("policies", [authorizationPolicy("table", "ALLOW", { service: "shop" }, rules)]);
      for (const [index, [sent, path]] of targets.entries()) {
        const id = `path-${index}`;
        const { verdict, closes, got } = await send(request("GET", sent, { "x-request-id": id }), at);
        if (path === undefined) {
          assert.deepEqual([verdict, closes, got], ["400 REQUEST_MALFORMED", true, []], sent);
          continue;
        }
        assert.equal(verdict, "200", sent);
        assert.deepEqual(
          got.map(({ line }) => line),
          [`GET ${path} HTTP/1.1`],
          sent,
        );
        const [line, ...more] = await lines(id, at);
        assert.deepEqual(
          [line?.["path"], line?.["policy_rule"], more],
          [path, `rules[${meant.indexOf(path)}]`, []],
          sent,
        );
      }
      await at.put("policies", []);
      if (at !== shop) await at.mesh.stop();
    });
  }

  test("the fragment is cut, the query goes on as it was sent", async () => {
    for (const { raw, path, query } of paths.targets) {
      const { got } = await send(request("GET", raw));
      assert.deepEqual(
        got.map(({ line }) => line),
        [`GET ${path}${query} HTTP/1.1`],
        raw,
      );
    }
  });

  test("escapes of unreserved characters are decoded once, of all others never", async () => {
    const wire = await shop.dial();
    for (let code = 1; code < 256; code++) {
      for (const hex of [code.toString(16).padStart(2, "0"), code.toString(16).padStart(2, "0").toUpperCase()]) {
        const character = String.fromCharCode(code);
        const kept = /[A-Za-z0-9._~-]/.test(character) ? character : `%${hex}`;
        const answer = await wire.get(`/admin%${hex}?q=%${hex}`);
        const { line } = JSON.parse(answer.text) as Seen;
        assert.equal(line, `GET /admin${kept}?q=%${hex} HTTP/1.1`);
      }
    }
    wire.close();
  });

  test("ALLOW /public* is not left by way of dot segments", async () => {
    await shop.put("policies", [
      authorizationPolicy("public", "ALLOW", { service: "shop" }, [
        { to: [{ operation: { methods: ["GET"], paths: ["/public*"] } }] },
      ]),
    ]);
    for (const path of ["/public", "/public/../public", "/private/../public/x", "/%70ublic"]) {
      const { verdict, got } = await send(request("GET", path));
      assert.equal(verdict, "200", path);
      assert.match(got[0]?.line ?? "", /^GET \/public/);
    }
    for (const path of [
      "/private",
      "/public/../private",
      "/public/./../private",
      "/public/.././private",
      "/public/%2E%2E/private",
      "/public/%2e/%2e%2e/private",
      "/public/%2e%2e/%2e/private",
      "/public\\..\\private",
      "/public/..",
      "//public",
      "/Public",
      "/private?/public",
      "/private#/public",
    ]) {
      const id = `public-${path.length}-${encodeURIComponent(path)}`.replaceAll("%", "_").replaceAll("*", "");
      const { verdict, got } = await send(request("GET", path, { "x-request-id": id }));
      assert.deepEqual([verdict, got], ["403 DENIED_BY_POLICY", []], path);
      assert.equal((await lines(id)).length, 1, path);
    }
    await shop.put("policies", []);
  });

  test("DENY /admin* is not passed by any spelling of it", async () => {
    await shop.put("policies", [
      authorizationPolicy("admin", "DENY", { service: "shop" }, [{ to: [{ operation: { paths: ["/admin*"] } }] }]),
    ]);
    for (const path of [
      "/admin",
      "/admin/",
      "/%61dmin",
      "/%61%64%6D%69%6e",
      "/x/../admin",
      "/x/%2e%2e/admin",
      "/./admin",
      "/x/..\\admin",
      "/admin;x",
      "/admin?x",
      "/admin#x",
      "/admin%2f",
      "http://shop/admin",
      "HTTP://SHOP/x/../admin",
    ]) {
      const { verdict, got } = await send(request("GET", path));
      assert.deepEqual([verdict, got], ["403 DENIED_BY_POLICY", []], path);
    }
    await shop.put("policies", []);
  });

  test("methods are what they are: case is not changed for anybody", async () => {
    await shop.put("policies", [
      authorizationPolicy("no-post", "DENY", { service: "shop" }, [{ to: [{ operation: { methods: ["POST"] } }] }]),
    ]);
    for (const [method, expected] of [
      ["POST", /^403 DENIED_BY_POLICY$/],
      ["post", /^400 REQUEST_MALFORMED$/],
      ["Post", /^400 REQUEST_MALFORMED$/],
      ["TRACE", /^405 METHOD_REFUSED$/],
      ["CONNECT", /^405 METHOD_REFUSED$/],
      ["PATCH", /^200$/],
    ] as const) {
      const { verdict, got } = await send(request(method, "/m"));
      assert.match(verdict, expected, method);
      assert.equal(got.length, verdict === "200" ? 1 : 0);
    }
    await shop.put("policies", []);
  });

  test("every spelling of a host is one host, to policy and to the application", async () => {
    const canonical = hosts.canonical.map(({ raw, text }) => [raw, text] as const);
    for (const [sent, forwarded] of [...ADMIN_HOSTS, ...canonical]) {
      const { got } = await send(request("GET", "/", { host: sent }));
      assert.deepEqual(seenValues(got[0] as Seen, "host"), [forwarded], sent);
    }
    await shop.put("policies", [
      authorizationPolicy("admin", "DENY", { service: "shop" }, [
        { to: [{ operation: { hosts: ["admin.example.com", "admin.example.com:*"] } }] },
      ]),
    ]);
    for (const [sent] of ADMIN_HOSTS) {
      for (const text of [
        request("GET", "/", { host: sent }),
        request("GET", `http://${sent}/`, { host: sent }),
        `GET http://${sent}/ HTTP/1.0\r\n\r\n`,
      ]) {
        const { verdict, got } = await send(text);
        assert.deepEqual([verdict, got], ["403 DENIED_BY_POLICY", []], text);
      }
    }
    assert.equal((await send(request("GET", "/", { host: "xadmin.example.com" }))).verdict, "200");
    await shop.put("policies", []);
  });

  test("hosts that two readers would read in two ways are refused", async () => {
    for (const host of hosts.refused) {
      const { verdict, closes, got } = await send(request("GET", "/host", { host }));
      assert.deepEqual([verdict, closes, got], ["400 REQUEST_MALFORMED", true, []], JSON.stringify(host));
    }
    for (const text of [
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nhost: shop\r\nhost: shop\r\n\r\n",
      "GET / HTTP/1.1\r\nhost: shop\r\nHost: admin.example.com\r\n\r\n",
      "GET http://admin.example.com/ HTTP/1.1\r\nhost: shop\r\n\r\n",
      "GET http://admin.example.com/ HTTP/1.1\r\n\r\n",
    ]) {
      const { verdict, closes, got } = await send(text);
      assert.deepEqual([verdict, closes, got], ["400 REQUEST_MALFORMED", true, []], text);
    }
  });
});
