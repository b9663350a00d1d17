// app → uproxy → waypoint → uproxy → app: which service a request is for, and where its routes send it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { field } from "../support/http-message.ts";
import { HttpWire, request, verdictOf, type WireAnswer } from "../support/http-wire.ts";
import { spiffeId } from "../support/identities.ts";
import { openPeer } from "../support/peer.ts";
import { httpRoute, service, type Resource } from "../support/resources.ts";
import { APP_PORT, SHOP, SHOP_VIP, startShop, version, type Shop } from "../support/shop.ts";
import type { Seen } from "../support/wire-app.ts";

const NAMED = 8010;
const WORKLOAD = 8011;
const V1 = { name: "shop-v1", port: SHOP.http };
const V2 = { name: "shop-v2", port: SHOP.http };

/** A rule with `path` and other conditions that leads to `backends`. */
function rule(matches: readonly object[], ...backends: readonly object[]): object {
  return { matches, backendRefs: backends };
}

function prefix(value: string): object {
  return { path: { type: "PathPrefix", value } };
}

describe("routing by a waypoint", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({
      apps: 2,
      serves: "all",
      more: () => [
        version("shop-v1", "v1"),
        version("shop-v2", "v2"),
        service("empty", [{ name: "http", port: 80 }]),
        service("named", [{ name: "http", port: 80, targetPort: APP_PORT, appProtocol: "http" }], {
          app: "shop",
          labels: { "istio.io/use-waypoint": "waypoint" },
        }),
      ],
      listeners: ({ apps }) => ({ [NAMED]: "named.default:80", [WORKLOAD]: hostPort(apps[1], APP_PORT) }),
    });
  });

  after(() => shop.mesh.stop());

  const routes = (...rules: readonly object[]): Promise<void> => shop.put("routes", [httpRoute("shop", "shop", rules)]);

  /** How often each of `count` requests is answered by whom. */
  async function shares(count: number): Promise<Map<string, number>> {
    const wire = await shop.dial();
    const found = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const name = await answers(wire, "GET", "/");
      found.set(name, (found.get(name) ?? 0) + 1);
    }
    wire.close();
    return found;
  }

  test("a service without routes is forwarded to each of its endpoints", async () => {
    const found = await shares(64);
    assert.deepEqual([...found.keys()].toSorted(), ["shop-1", "shop-2"]);
  });

  test("exact before prefix, the longer prefix before the shorter, methods and headers before none", async () => {
    await routes(
      rule([prefix("/")], V1),
      rule([{ path: { type: "Exact", value: "/exact" } }, prefix("/long/er"), { ...prefix("/"), method: "PUT" }], V2),
      rule([prefix("/long/er/still")], V1),
      rule([{ ...prefix("/"), headers: [{ name: "X-Canary", value: "yes" }] }], V2),
      rule(
        [
          {
            ...prefix("/"),
            headers: [
              { name: "x-canary", value: "yes" },
              { name: "x-not", value: "yes" },
            ],
          },
        ],
        V1,
      ),
    );
    const wire = await shop.dial();
    const table: readonly (readonly [app: string, method: string, path: string, headers?: Record<string, string>])[] = [
      ["shop-1", "GET", "/"],
      ["shop-2", "GET", "/exact"],
      ["shop-2", "GET", "/exact?query=1"],
      ["shop-1", "GET", "/exact/"],
      ["shop-1", "GET", "/Exact"],
      ["shop-1", "GET", "/exactly"],
      ["shop-2", "GET", "/long/er"],
      ["shop-2", "GET", "/long/er/"],
      ["shop-2", "GET", "/long/er/x"],
      ["shop-1", "GET", "/long/er/still/x"],
      ["shop-1", "GET", "/long/erx"],
      ["shop-2", "GET", "/long/er/../er/x"],
      ["shop-2", "PUT", "/"],
      ["shop-1", "POST", "/"],
      ["shop-2", "GET", "/", { "x-canary": "yes" }],
      ["shop-2", "GET", "/", { "X-CANARY": "yes" }],
      ["shop-1", "GET", "/", { "x-canary": "Yes" }],
      ["shop-1", "GET", "/", { "x-canary": "yes", "x-not": "yes" }],
    ];
    for (const [app, method, path, headers] of table) {
      assert.equal(await answers(wire, method, path, headers), app, `${method} ${path} ${JSON.stringify(headers)}`);
    }
    wire.close();
    await shop.waypoint.access({ path: "/long/er/still/x", route: "default/shop", rule: "rules[2]", method: "GET" });
  });

  test("routes are attached and none matches: 404, and HEAD is not GET", async () => {
    await routes(rule([{ path: { type: "PathPrefix", value: "/only" }, method: "GET" }], V1));
    const wire = await shop.dial();
    assert.equal(await answers(wire, "GET", "/only"), "shop-1");
    assert.equal(await answers(wire, "GET", "/other"), "404 ROUTE_NOT_FOUND");
    assert.equal(await answers(wire, "HEAD", "/only"), "404 ROUTE_NOT_FOUND");
    assert.equal(await answers(wire, "GET", "/only"), "shop-1", "the connection goes on");
    wire.close();
    const line = await shop.waypoint.access({ code: "ROUTE_NOT_FOUND", path: "/other" });
    assert.equal(line["response_flags"], "NR");
    assert.equal(line["response_code"], 404);
  });

  test("weights 90 and 10", async () => {
    await routes(rule([prefix("/")], { ...V1, weight: 90 }, { ...V2, weight: 10 }));
    // 600 draws at a tenth: 60, with a standard deviation of 7.3. The bounds are six of them away.
    const found = await shares(600);
    const second = found.get("shop-2") ?? 0;
    assert.ok(second > 15 && second < 105, `shop-2 got ${second} of 600`);
    assert.equal((found.get("shop-1") ?? 0) + second, 600);
  });

  test("weight 0 is no traffic, and nothing but zeros is 500", async () => {
    await routes(rule([prefix("/none")], { ...V1, weight: 0 }), rule([prefix("/")], V1, { ...V2, weight: 0 }));
    assert.deepEqual([...(await shares(40))], [["shop-1", 40]]);
    const wire = await shop.dial();
    assert.equal(await answers(wire, "GET", "/none"), "500 BACKEND_INVALID");
    wire.close();
  });

  test("a backend that cannot be keeps its share, as 500; a rule without backends is 500; no endpoints are 503", async () => {
    await routes(
      rule([prefix("/half")], V1, { name: "nowhere", port: 1 }),
      rule([prefix("/kind")], { kind: "Gateway", group: "gateway.networking.k8s.io", name: "waypoint", port: 1 }),
      rule([prefix("/port")], { ...V1, port: 1 }),
      { matches: [prefix("/nothing")] },
      rule([prefix("/empty")], { name: "empty", port: 80 }),
    );
    const wire = await shop.dial();
    const found = new Map<string, number>();
    for (let i = 0; i < 60; i++) {
      const name = await answers(wire, "GET", "/half");
      found.set(name, (found.get(name) ?? 0) + 1);
    }
    // The chance that 60 halves leave less than 6 on one side is below 1e-10.
    assert.deepEqual([...found.keys()].toSorted(), ["500 BACKEND_INVALID", "shop-1"]);
    for (const count of found.values()) assert.ok(count >= 6, `${count} of 60`);
    for (const path of ["/kind", "/port", "/nothing"]) {
      assert.equal(await answers(wire, "GET", path), "500 BACKEND_INVALID", path);
    }
    assert.equal(await answers(wire, "GET", "/empty"), "503 NO_HEALTHY_UPSTREAM");
    wire.close();
    await shop.waypoint.access({ code: "NO_HEALTHY_UPSTREAM", response_flags: "UH" });
  });

  test("host names of a route choose by Host, the most exact first", async () => {
    await shop.put("routes", [
      hosted("wild", ["*.example.com"], V1),
      hosted("exact", ["a.example.com"], V2),
      hosted("longer", ["*.b.example.com"], V2),
    ]);
    const wire = await shop.dial();
    for (const [host, expected] of [
      ["a.example.com", "shop-2"],
      ["A.Example.COM:8000", "shop-2"],
      ["a.example.com.", "shop-2"],
      ["c.example.com", "shop-1"],
      ["d.c.example.com", "shop-1"],
      ["c.b.example.com", "shop-2"],
      ["example.com", "404 ROUTE_NOT_FOUND"],
      ["notexample.com", "404 ROUTE_NOT_FOUND"],
    ] as const) {
      assert.equal(await answers(wire, "GET", "/", { host }), expected, host);
    }
    wire.close();
  });

  test("the address of a workload leads past the routes of its services, to that workload alone", async () => {
    await routes(rule([prefix("/")], V1));
    const wire = await shop.dial(WORKLOAD);
    assert.equal(await answers(wire, "GET", "/by-address"), "shop-2");
    wire.close();
    const line = await shop.waypoint.access({ path: "/by-address" });
    assert.equal(line["upstream_host"], hostPort(shop.addresses.apps[1], APP_PORT));
    assert.equal(line["route"], "-");
  });

  test("VIP:port, name:port and workload:port are the authorities of one waypoint; Host says nothing of them", async () => {
    await routes(rule([prefix("/")], V2));
    const peer = await openPeer(shop.mesh, "peer");
    for (const [authority, app] of [
      [hostPort(SHOP_VIP, SHOP.http), "shop-2"],
      [`shop:${SHOP.http}`, "shop-2"],
      [`shop.default:${SHOP.http}`, "shop-2"],
      [`shop.default.svc.cluster.local:${SHOP.http}`, "shop-2"],
      [hostPort(shop.addresses.apps[0], APP_PORT), "shop-1"],
    ] as const) {
      const wire = new HttpWire(await peer.tunnel(shop.waypoint, authority));
      const answer = await wire.get("/", { host: "named.default" });
      assert.equal(field(answer.head, "x-app"), app, authority);
      wire.close();
    }
    await shop.waypoint.access({ "src.identity": spiffeId("peer"), upstream_cluster: `default/shop-v2:${SHOP.http}` });
  });

  test("a service without cluster IP is asked for by its name", async () => {
    const wire = await shop.dial(NAMED);
    const { app } = await served(wire);
    assert.match(app, /^shop-[12]$/);
    wire.close();
    await shop.waypoint.access({ upstream_cluster: "default/named:80" });
  });

  test("routes of a caller's own namespace take the place of the service's, for that namespace alone", async () => {
    await shop.put("routes", [
      httpRoute("shop", "shop", [rule([prefix("/")], V1)]),
      consumer([rule([prefix("/mine")], { ...V2, namespace: "default" })]),
    ]);
    const other = await openPeer(shop.mesh, "guest", { namespace: "other" });
    const theirs = new HttpWire(await other.tunnel(shop.waypoint, `shop.default:${SHOP.http}`));
    assert.equal(await answers(theirs, "GET", "/mine"), "shop-2");
    assert.equal(await answers(theirs, "GET", "/"), "404 ROUTE_NOT_FOUND", "a consumer's routes are not merged");
    theirs.close();
    const ours = await shop.dial();
    assert.equal(await answers(ours, "GET", "/mine"), "shop-1");
    ours.close();
    await shop.waypoint.access({ route: "other/shop", "src.identity": spiffeId("guest", "other") });
  });

  test("a route that is changed on disk serves the next request of a live connection", async () => {
    await routes(rule([prefix("/")], V1));
    const wire = await shop.dial();
    assert.equal((await served(wire)).app, "shop-1");
    await routes(rule([prefix("/")], V2));
    assert.equal((await served(wire)).app, "shop-2");
    shop.mesh.remove("routes");
    await shop.put("other", []);
    assert.equal((await wire.get("/")).status, 200);
    wire.close();
  });
});

/** Who answers: the application, or the waypoint with its code. */
async function answers(wire: HttpWire, method: string, path: string, headers = {}): Promise<string> {
  const answer = await wire.ask(request(method, path, headers));
  return field(answer.head, "x-app") ?? verdictOf(answer);
}

/** The request as the application saw it. */
async function served(wire: HttpWire): Promise<Seen> {
  const answer: WireAnswer = await wire.get("/");
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text) as Seen;
}

/** A route of `shop` with host names, all of whose requests go to one backend. */
function hosted(name: string, hostnames: readonly string[], backend: object): Resource {
  const route = httpRoute(name, "shop", [rule([prefix("/")], backend)]);
  return { ...route, spec: { ...(route.spec as object), hostnames } };
}

/** A route of namespace `other` on the service of `default`. */
function consumer(rules: readonly object[]): Resource {
  const route = httpRoute("shop", "shop", rules, { namespace: "other" });
  return {
    ...route,
    spec: { parentRefs: [{ group: "", kind: "Service", name: "shop", namespace: "default" }], rules },
  };
}
