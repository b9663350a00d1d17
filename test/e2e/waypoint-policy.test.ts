// app → uproxy → waypoint → uproxy → app: what policies at L7 let through, what a change of them on disk does to live connections, and
// what becomes of what is not understood.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { field } from "../support/http-message.ts";
import { HttpWire, request, verdictOf } from "../support/http-wire.ts";
import { spiffeId } from "../support/identities.ts";
import { openPeer } from "../support/peer.ts";
import { authorizationPolicy, httpRoute, type Applies } from "../support/resources.ts";
import { writeWhole } from "../support/programs.ts";
import { APP_PORT, configDump, SHOP, startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";

const SHOP_SERVICE: Applies = { service: "shop" };
const CLIENT = { from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }] };
const WORKLOAD = 8020;
const held: Socket[] = [];

function to(...operations: readonly object[]): object {
  return { to: operations.map((operation) => ({ operation })) };
}

function prefix(value: string): object[] {
  return [{ path: { type: "PathPrefix", value } }];
}

/** A policy of the service. */
function policy(
  name: string,
  action: "ALLOW" | "DENY",
  ...rules: readonly object[]
): ReturnType<typeof authorizationPolicy> {
  return authorizationPolicy(name, action, SHOP_SERVICE, rules);
}

describe("authorization at a waypoint", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({
      serves: "all",
      listeners: ({ apps }) => ({ [WORKLOAD]: hostPort(apps[0], APP_PORT) }),
      scripts: {
        "/held": (socket) => {
          socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n");
          held.push(socket);
        },
        "/silent": (socket) => void held.push(socket),
      },
    });
  });

  after(() => shop.mesh.stop());

  /** Policies in the place of those before. */
  const policies = (...all: readonly ReturnType<typeof authorizationPolicy>[]): Promise<void> =>
    shop.put("policies", all);

  async function verdict(method: string, path: string, more: Readonly<Record<string, string>> = {}): Promise<string> {
    const wire = await shop.dial();
    try {
      return verdictOf(await wire.ask(request(method, path, more)));
    } finally {
      wire.close();
    }
  }

  test("DENY names policy and rule in the log, and the id of the request; the caller gets a code and no particulars", async () => {
    await policies(policy("no-writes", "DENY", to({ paths: ["/never"] }), to({ notMethods: ["GET", "HEAD"] })));
    assert.equal(await verdict("GET", "/read"), "200");
    const reached = shop.apps[0].http.seen.length;
    const wire = await shop.dial();
    const answer = await wire.ask(request("DELETE", "/denied-1", { "x-request-id": "id-of-denied" }));
    assert.equal(verdictOf(answer), "403 DENIED_BY_POLICY");
    assert.match(answer.text, /^DENIED_BY_POLICY: /);
    assert.doesNotMatch(answer.head + answer.text, /no-writes|rules|spiffe/);
    assert.equal(verdictOf(await wire.get("/after")), "200", "the connection goes on");
    wire.close();
    assert.equal(shop.apps[0].http.seen.length, reached + 1);
    const line = await shop.waypoint.access({ path: "/denied-1" });
    assert.equal(line["code"], "DENIED_BY_POLICY");
    assert.equal(line["policy"], "default/no-writes");
    assert.equal(line["policy_rule"], "rules[1]");
    assert.equal(line["response_code"], 403);
    assert.equal(line["route"], "-");
    assert.equal(line["src.identity"], spiffeId("client"));
    assert.equal(line["request_id"], "id-of-denied");
    assert.equal(line["bytes_sent"], answer.body.length);
  });

  test("ALLOW lets through what one of its rules matches, and nothing else; the log has policy, rule and route", async () => {
    await shop.put("routes", [httpRoute("shop", "shop", [{ backendRefs: [{ name: "shop", port: SHOP.http }] }])]);
    await policies(
      policy("readers", "ALLOW", { ...CLIENT, ...to({ methods: ["GET"], paths: ["/public*"] }) }),
      policy("posters", "ALLOW", {
        ...CLIENT,
        ...to({ methods: ["POST"], paths: ["*/comments"] }, { hosts: ["posts.*"] }),
      }),
    );
    for (const [method, path, host, expected] of [
      ["GET", "/public/1", "shop", "200"],
      ["GET", "/publicity", "shop", "200"],
      ["GET", "/private", "shop", "403 DENIED_BY_POLICY"],
      ["HEAD", "/public/1", "shop", "403 DENIED_BY_POLICY"],
      ["POST", "/a/comments", "shop", "200"],
      ["POST", "/a/comments/", "shop", "403 DENIED_BY_POLICY"],
      ["PUT", "/private", "posts.example.com", "200"],
      ["PUT", "/private", "POSTS.example.com", "200"],
      ["PUT", "/private", "xposts.example.com", "403 DENIED_BY_POLICY"],
    ] as const) {
      assert.equal(await verdict(method, path, { host }), expected, `${method} ${path} ${host}`);
    }
    const allowed = await shop.waypoint.access({ path: "/public/1", method: "GET" });
    assert.deepEqual(
      [allowed["policy"], allowed["policy_rule"], allowed["route"], allowed["rule"]],
      ["default/readers", "rules[0]", "default/shop", "rules[0]"],
    );
    const none = await shop.waypoint.access({ path: "/private", method: "GET" });
    assert.match(String(none["error"]), /allow policies exist, but none allowed/);
    shop.mesh.remove("routes");
  });

  test("DENY goes before ALLOW, and a policy of the Gateway holds for every destination behind it", async () => {
    await policies(
      policy("all", "ALLOW", {}),
      authorizationPolicy("gateway", "DENY", { gateway: "waypoint" }, [to({ paths: ["/secret"] })]),
    );
    assert.equal(await verdict("GET", "/open"), "200");
    assert.equal(await verdict("GET", "/secret"), "403 DENIED_BY_POLICY");
    await shop.waypoint.access({ path: "/secret", policy: "default/gateway" });
  });

  test("who asks for the workload's address does not get past the policies of its services", async () => {
    await policies(policy("no-secrets", "DENY", to({ paths: ["/secret*"] })));
    const wire = await shop.dial(WORKLOAD);
    assert.equal(verdictOf(await wire.get("/secret/1")), "403 DENIED_BY_POLICY");
    assert.equal(verdictOf(await wire.get("/open")), "200");
    wire.close();
  });

  test("callers are told apart by the identity that they proved, of whichever namespace", async () => {
    await policies(
      policy("ours", "ALLOW", { from: [{ source: { namespaces: ["default"] } }], ...to({ paths: ["/ours"] }) }),
      policy("theirs", "ALLOW", {
        from: [{ source: { principals: ["cluster.local/ns/other/*"] } }],
        ...to({ paths: ["/theirs"] }),
      }),
    );
    const guest = await openPeer(shop.mesh, "guest", { namespace: "other" });
    const wire = new HttpWire(await guest.tunnel(shop.waypoint, `shop.default:${SHOP.http}`));
    const claims = { "x-forwarded-client-cert": `URI=${spiffeId("client")}` };
    assert.equal(verdictOf(await wire.get("/ours", claims)), "403 DENIED_BY_POLICY");
    assert.equal(verdictOf(await wire.get("/theirs")), "200");
    wire.close();
    assert.equal(await verdict("GET", "/ours"), "200");
    assert.equal(await verdict("GET", "/theirs"), "403 DENIED_BY_POLICY");
  });

  test("ports are those that the caller asked for", async () => {
    await policies(policy("port", "ALLOW", to({ ports: [String(SHOP.http)] })));
    assert.equal(await verdict("GET", "/"), "200");
    await policies(policy("port", "ALLOW", to({ ports: [String(APP_PORT)] })));
    assert.equal(await verdict("GET", "/"), "403 DENIED_BY_POLICY");
  });

  test("a dry run refuses nothing and is told in the log", async () => {
    const dry = policy("later", "DENY", to({ paths: ["/dry"] }));
    await policies({ ...dry, metadata: { ...dry.metadata, annotations: { "istio.io/dry-run": "true" } } });
    assert.equal(await verdict("GET", "/dry"), "200");
    const line = await shop.waypoint.access({ path: "/dry" });
    assert.match(JSON.stringify(line), /default\/later would deny: rules\[0\]/);
  });

  test("a change on disk decides the next request of a live connection, both ways", async () => {
    await policies();
    const wire = await shop.dial();
    for (let i = 0; i < 3; i++) {
      assert.equal(verdictOf(await wire.get("/live")), "200");
      await policies(policy("closed", "DENY", {}));
      assert.equal(verdictOf(await wire.get("/live")), "403 DENIED_BY_POLICY");
      await policies();
    }
    assert.equal(verdictOf(await wire.get("/live")), "200");
    wire.close();
  });

  test("a change ends within a second an answer that it no longer permits, and no other", async () => {
    await policies();
    const [doomed, spared] = [await shop.dial(), await shop.dial()];
    for (const [wire, path] of [
      [doomed, "/held/doomed"],
      [spared, "/held/spared"],
    ] as const) {
      wire.send(request("GET", path));
      await until("the begin of an answer", () => wire.unread.includes("part"));
    }
    const began = performance.now();
    shop.mesh.write("policies", [policy("narrow", "DENY", to({ paths: ["/held/doomed"] }))]);
    assert.notEqual(await doomed.ended(), "end", "what was cut off must not look whole");
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 1000, `the answer outlived its policy by ${tookMs} ms`);
    const line = await shop.waypoint.access({ path: "/held/doomed" });
    assert.deepEqual([line["code"], line["policy"]], ["POLICY_CHANGED", "default/narrow"]);
    for (const socket of held.splice(0)) if (!socket.destroyed) socket.end("0\r\n\r\n");
    assert.equal((await spared.answer()).text, "part");
    spared.close();
    doomed.close();
  });

  test("a request that waits for its answer when a change forbids it is told so", async () => {
    await policies();
    const wire = await shop.dial();
    wire.send(request("GET", "/silent"));
    const socket = await until("the request at the application", () => held.shift());
    shop.mesh.write("policies", [policy("narrow", "DENY", to({ paths: ["/silent"] }))]);
    const answer = await wire.answer();
    assert.equal(verdictOf(answer), "403 POLICY_CHANGED");
    assert.equal(field(answer.head, "connection"), "close");
    assert.equal(await wire.ended(), "end");
    wire.close();
    socket.resume();
    await until("the end at the application", () => socket.destroyed);
  });

  test("a policy that is not understood refuses what it selects, and log and dump say where and why", async () => {
    const odd = policy("odd", "ALLOW", { when: [{ key: "request.headers[x]", values: ["y"] }] });
    await policies(odd);
    assert.equal(await verdict("GET", "/odd"), "403 POLICY_NOT_UNDERSTOOD");
    const line = await shop.waypoint.access({ path: "/odd" });
    assert.deepEqual([line["code"], line["policy"]], ["POLICY_NOT_UNDERSTOOD", "default/odd"]);
    const told = await shop.waypoint.logged({
      message: "resource not-understood",
      resource: "AuthorizationPolicy default/odd",
    });
    assert.match(String(told["error"]), /policies\.yaml:\d+: .*spec\.rules\[0\]\.when/);
    const dump = await configDump(shop.waypoint);
    assert.match(String(dump.policies["default/odd"]?.notUnderstood), /policies\.yaml:\d+: spec\.rules\[0\]\.when/);
    assert.equal(dump.problems.length, 1);
    await policies();
    assert.equal(await verdict("GET", "/odd"), "200");
    assert.deepEqual((await configDump(shop.waypoint)).problems, []);
  });

  test("a route that is not understood answers 500: its rule alone where only the rule is, else all of it", async () => {
    const backendRefs = [{ name: "shop", port: SHOP.http }];
    await shop.put("routes", [
      httpRoute("shop", "shop", [
        { matches: prefix("/filtered"), backendRefs, filters: [{ type: "URLRewrite" }] },
        { matches: prefix("/"), backendRefs },
      ]),
    ]);
    assert.equal(await verdict("GET", "/filtered/x"), "500 ROUTE_NOT_UNDERSTOOD");
    assert.equal(await verdict("GET", "/plain"), "200");
    await shop.put("routes", [
      httpRoute("shop", "shop", [
        { matches: [{ path: { type: "Glob", value: "/re*" } }], backendRefs },
        { matches: prefix("/"), backendRefs },
      ]),
    ]);
    assert.equal(await verdict("GET", "/plain/2"), "500 ROUTE_NOT_UNDERSTOOD");
    await shop.waypoint.access({ path: "/plain/2", code: "ROUTE_NOT_UNDERSTOOD" });
    const told = await shop.waypoint.logged({ message: "resource not-understood", resource: "HTTPRoute default/shop" });
    assert.match(String(told["error"]), /routes\.yaml:\d+: /);
    const dumped = (await configDump(shop.waypoint)).routes["default/shop"];
    assert.match(String(dumped?.notUnderstood), /path\.type/);
    assert.equal(dumped?.status[0]?.conditions[0]?.reason, "UnsupportedValue");
    await shop.put("routes", [
      httpRoute("odd", "shop", [{ matches: [{ path: { type: "Glob", value: "/re*" } }], backendRefs }]),
      httpRoute("shop", "shop", [{ matches: prefix("/plain"), backendRefs }]),
    ]);
    assert.equal(await verdict("GET", "/plain/3"), "200", "the other route is none the worse for it");
    assert.equal(await verdict("GET", "/elsewhere"), "500 ROUTE_NOT_UNDERSTOOD");
    shop.mesh.remove("routes");
    await policies();
  });

  test("a folder with an error keeps the last good state in force, and says so", async () => {
    await policies(policy("closed", "DENY", to({ paths: ["/closed"] })));
    writeWhole(`${shop.mesh.resources}/policies.yaml`, "kind: [\n");
    const told = await shop.waypoint.logged({ message: "resource error" });
    assert.match(String(told["error"]), /policies\.yaml:\d+/);
    assert.equal(await verdict("GET", "/closed"), "403 DENIED_BY_POLICY");
    assert.equal(await verdict("GET", "/open"), "200");
    await policies();
    assert.equal(await verdict("GET", "/closed"), "200");
  });

  test("a policy at L4 that only names the caller refuses the waypoint, and the log says whose identity it was", async () => {
    const forCaller = authorizationPolicy("for-caller", "ALLOW", { app: "shop" }, [CLIENT]);
    await shop.put("policies", [forCaller], [shop.waypoint, shop.apps[0].proxy]);
    const wire = await shop.dial();
    const answer = await wire.get("/at-l4");
    wire.close();
    assert.equal(field(answer.head, "culvert-code"), "PEER_DENIED");
    const line = await shop.apps[0].proxy.access({ code: "DENIED_BY_POLICY", direction: "inbound" });
    assert.equal(line["src.identity"], spiffeId("waypoint"));
    await shop.waypoint.access({ path: "/at-l4", code: "PEER_DENIED" });
    await shop.put("policies", [], [shop.waypoint, shop.apps[0].proxy]);
    assert.equal(await verdict("GET", "/at-l4"), "200");
  });
});
