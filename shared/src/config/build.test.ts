import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseIp, type Ip } from "../net/ip.ts";
import { buildSnapshot } from "./build.ts";
import { dumpSnapshot } from "./config-dump.ts";
import { routing } from "./routing/routing.ts";
import { brief, parseText } from "./resources/text-fixtures.ts";
import type { Snapshot } from "./snapshot.ts";

function ips(...texts: string[]): Ip[] {
  return texts.map((text) => parseIp(text)).filter((ip) => ip !== undefined);
}

function build(text: string, addresses: Record<string, Ip[]> = {}): Snapshot {
  const known = new Map(Object.entries(addresses));
  return buildSnapshot(1, parseText(text), (host) => known.get(host) ?? [], routing);
}

interface Marks {
  readonly labels?: string;
  readonly annotations?: string;
}

function metadata(name: string, { labels = "", annotations = "" }: Marks): string {
  return `metadata: {name: ${name}, namespace: shop, labels: {${labels}}, annotations: {${annotations}}}`;
}

const namespace = ({ labels = "", annotations = "" }: Marks): string =>
  `---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {${labels}}, annotations: {${annotations}}}\n`;

const service = (name: string, marks: Marks = {}, spec = "selector: {app: reviews}, ports: [{port: 80}]"): string =>
  `---\napiVersion: v1\nkind: Service\n${metadata(name, marks)}\nspec: {${spec}}\n`;

const entry = (name: string, marks: Marks = {}, spec = "address: 10.0.0.1"): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n${metadata(name, marks)}\nspec: {${spec}}\n`;

const gateway = (name: string, serves = "service"): string =>
  `---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n${metadata(name, { labels: `istio.io/waypoint-for: ${serves}` })}
spec: {gatewayClassName: culvert-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n`;

const route = (spec: string): string =>
  `---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n${metadata("r", {})}\nspec: {${spec}}\n`;

const policy = (spec: string): string =>
  `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n${metadata("p", {})}\nspec: {${spec}}\n`;

const ref = (name: string): object => ({ namespace: "shop", name });

const USE = "istio.io/use-waypoint";

test("a complete small mesh", () => {
  const snapshot = build(
    [
      namespace({}),
      service(
        "reviews",
        { labels: `${USE}: waypoint` },
        "clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]",
      ),
      entry(
        "reviews-1",
        { labels: "app: reviews, kubernetes.io/hostname: node-1" },
        "address: 10.0.0.5, serviceAccount: reviews",
      ),
      entry("reviews-2", { labels: "app: reviews" }, "address: reviews-2.local"),
      gateway("waypoint"),
      entry("waypoint-1", { labels: "gateway.networking.k8s.io/gateway-name: waypoint" }, "address: 10.0.0.9"),
      "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8], principals: ['*', a*, '*b']}}], to: [{operation: {ports: ['80']}}]}]}\n",
      "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: q, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n",
      "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}\n",
    ].join(""),
    { "reviews-2.local": ips("10.0.0.6", "2001:db8::6") },
  );
  assert.deepEqual(snapshot.problems, []);
  assert.deepEqual(JSON.parse(JSON.stringify(dumpSnapshot(snapshot))), {
    version: 1,
    problems: [],
    services: {
      "shop/reviews": {
        hostname: "reviews.shop.svc.cluster.local",
        vips: ["10.96.0.1"],
        headless: false,
        virtualAddresses: [],
        ports: [{ name: "http", port: 9080, targetPort: 9080, appProtocol: "http" }],
        selector: { app: "reviews" },
        waypoint: "shop/waypoint",
        prefers: null,
        requireWaypoint: false,
        endpoints: ["shop/reviews-1", "shop/reviews-2"],
      },
    },
    workloads: {
      "shop/reviews-1": {
        serviceAccount: "reviews",
        addresses: ["10.0.0.5"],
        hostname: null,
        labels: { app: "reviews", "kubernetes.io/hostname": "node-1" },
        protocol: "hbone",
        hbonePort: 15008,
        ports: {},
        weight: 1,
        healthy: true,
        waypoint: null,
        requireWaypoint: false,
        locality: "",
        node: "node-1",
      },
      "shop/reviews-2": {
        serviceAccount: "default",
        addresses: ["10.0.0.6", "2001:db8::6"],
        hostname: "reviews-2.local",
        labels: { app: "reviews" },
        protocol: "hbone",
        hbonePort: 15008,
        ports: {},
        weight: 1,
        healthy: true,
        waypoint: null,
        requireWaypoint: false,
        locality: "",
        node: null,
      },
      "shop/waypoint-1": {
        serviceAccount: "default",
        addresses: ["10.0.0.9"],
        hostname: null,
        labels: { "gateway.networking.k8s.io/gateway-name": "waypoint" },
        protocol: "hbone",
        hbonePort: 15008,
        ports: {},
        weight: 1,
        healthy: true,
        waypoint: null,
        requireWaypoint: false,
        locality: "",
        node: null,
      },
    },
    waypoints: {
      "shop/waypoint": {
        serves: "service",
        placement: "remote",
        port: 15008,
        addresses: [],
        instances: ["shop/waypoint-1"],
      },
    },
    policies: {
      "shop/p": {
        action: "DENY",
        dryRun: false,
        target: { kind: "namespace" },
        rules: [{ from: [{ principals: ["*", "a*", "*b"], ipBlocks: ["10.0.0.0/8"] }], to: [{ ports: [80] }] }],
        notUnderstood: null,
      },
    },
    peerAuthentications: { "shop/q": { selector: null, mode: "STRICT", portModes: {}, notUnderstood: null } },
  });
});

describe("the waypoint of a destination", () => {
  const rows: [string, string, object | undefined, object | undefined][] = [
    ["of the Namespace, for services", namespace({ labels: `${USE}: w` }) + gateway("w"), ref("w"), undefined],
    [
      "of the Namespace, for workloads",
      namespace({ labels: `${USE}: w` }) + gateway("w", "workload"),
      undefined,
      ref("w"),
    ],
    ["of the Namespace, for all", namespace({ labels: `${USE}: w` }) + gateway("w", "all"), ref("w"), ref("w")],
    ["of a Gateway that is not there", namespace({ labels: `${USE}: w` }), ref("w"), ref("w")],
    ["of no label", namespace({}) + gateway("w", "all"), undefined, undefined],
  ];
  for (const [name, text, ofService, ofWorkload] of rows) {
    test(name, () => {
      const { directory } = build(text + service("reviews") + entry("reviews-1"));
      assert.deepEqual(directory.service("shop/reviews")?.waypoint, ofService);
      assert.deepEqual(directory.workload("shop/reviews-1")?.waypoint, ofWorkload);
    });
  }
});

describe("whether a workload must be reached through its waypoint", () => {
  const yes = { annotations: 'culvert.dev/require-waypoint: "true"' };
  const no = { annotations: 'culvert.dev/require-waypoint: "false"' };
  const app = "labels: {app: reviews}, address: 10.0.0.1";
  const rows: [string, string, boolean][] = [
    ["nobody says so", entry("w", {}, app) + service("reviews"), false],
    ["the workload", entry("w", yes, app), true],
    ["the Namespace", namespace(yes) + entry("w", {}, app), true],
    ["the workload, against its Namespace", namespace(yes) + entry("w", no, app), false],
    ["a Service that selects it", entry("w", {}, app) + service("reviews", yes), true],
    ["one of two Services", entry("w", {}, app) + service("a") + service("b", yes), true],
    [
      "a Service that is not understood otherwise",
      entry("w", {}, app) + service("reviews", yes, "selector: {app: reviews}, x: 1"),
      true,
    ],
    ["a Service that does not select it", entry("w") + service("reviews", yes), false],
    ["the workload, against its Service", entry("w", no, app) + service("reviews", yes), false],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => assert.equal(build(text).directory.workload("shop/w")?.requireWaypoint, expected));
  }

  test("and a Service, itself or by its Namespace", () => {
    assert.equal(build(service("reviews", yes)).directory.service("shop/reviews")?.requireWaypoint, true);
    assert.equal(build(namespace(yes) + service("reviews")).directory.service("shop/reviews")?.requireWaypoint, true);
    assert.equal(
      build(namespace(yes) + service("reviews", no)).directory.service("shop/reviews")?.requireWaypoint,
      false,
    );
  });
});

describe("whether a workload is in the mesh", () => {
  const none = { labels: "istio.io/dataplane-mode: none" };
  const ambient = { labels: "istio.io/dataplane-mode: ambient" };
  const rows: [string, string, string][] = [
    ["nobody says no", entry("w"), "hbone"],
    ["the workload", entry("w", none), "none"],
    ["the Namespace", namespace(none) + entry("w"), "none"],
    ["the workload, against its Namespace", namespace(none) + entry("w", ambient), "hbone"],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => assert.equal(build(text).directory.workload("shop/w")?.protocol, expected));
  }
});

test("what is not understood leads nowhere, and is still there", () => {
  const { directory } = build(
    service(
      "reviews",
      {},
      "clusterIP: 10.96.0.1, selector: {app: reviews}, sessionAffinity: ClientIP, ports: [{port: 80}]",
    ) + entry("w", { labels: "app: reviews" }, "address: 10.0.0.1, netwrok: other"),
  );
  const [vip] = ips("10.96.0.1");
  assert.ok(vip !== undefined);
  const found = directory.serviceByVip(vip, "shop");
  assert.ok(found !== undefined);
  assert.deepEqual(directory.endpoints(found), []);
  assert.equal(directory.workload("shop/w")?.healthy, false);
});

describe("problems between resources", () => {
  const rows: [string, string, string[]][] = [
    ["a name twice", service("a") + service("a"), ["error 7: metadata.name: is there twice, first at f.yaml:2"]],
    ["a name of two kinds", service("a") + entry("a"), []],
    ["a Namespace twice", namespace({}) + namespace({}), ["error 6: metadata.name: is there twice, first at f.yaml:2"]],
    [
      "a cluster IP twice",
      service("a", {}, "clusterIP: 10.96.0.1") + service("b", {}, "clusterIP: '::ffff:10.96.0.1'"),
      ["error 7: spec.clusterIP: 10.96.0.1 is already taken by the Service at f.yaml:2"],
    ],
    [
      "a waypoint that is not there",
      service("a", { labels: `${USE}: w` }),
      ['- 2: metadata.labels["istio.io/use-waypoint"]: there is no waypoint shop/w'],
    ],
    [
      "also from a Namespace",
      namespace({ labels: `${USE}: w, istio.io/use-waypoint-namespace: infra` }),
      ['- 2: metadata.labels["istio.io/use-waypoint"]: there is no waypoint infra/w'],
    ],
    ["a label that cuts", service("a", { labels: `${USE}: none` }), []],
    [
      "a parent",
      route("parentRefs: [{group: '', kind: Service, name: a}]"),
      ["- 2: spec.parentRefs: there is no Service shop/a"],
    ],
    [
      "a parent's port",
      service("a") + route("parentRefs: [{group: '', kind: Service, name: a, port: 81}]"),
      ["- 7: spec.parentRefs: Service shop/a has no port 81"],
    ],
    [
      "a backend",
      route("rules: [{backendRefs: [{name: a, port: 80}]}]"),
      ["- 2: spec.rules[0].backendRefs[0]: there is no Service shop/a"],
    ],
    [
      "a backend's port",
      service("a") + route("rules: [{backendRefs: [{name: a, port: 81}]}]"),
      ["- 7: spec.rules[0].backendRefs[0]: Service shop/a has no port 81"],
    ],
    [
      "a policy's Service",
      policy("targetRefs: [{kind: Service, name: a}]"),
      ["- 2: spec.targetRefs[0]: there is no Service shop/a"],
    ],
    [
      "a policy's Gateway",
      policy("targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}]"),
      ["- 2: spec.targetRefs[0]: there is no Gateway shop/a"],
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => assert.deepEqual(brief(build(text).problems), expected));
  }

  test("a backend without Service keeps its share", () => {
    const { routes } = build(
      service("a") + route("rules: [{backendRefs: [{name: a, port: 80}, {name: b, port: 80}]}]"),
    );
    assert.deepEqual(
      routes[0]?.rules[0]?.backends.map(({ invalid }) => invalid),
      [undefined, "there is no Service shop/b"],
    );
  });
});

function exported(to: string): Snapshot {
  const spec = "clusterIP: 10.96.0.1, ports: [{port: 80}]";
  return build(service("reviews", { annotations: `networking.istio.io/exportTo: "${to}"` }, spec));
}

test("a Service is there for the namespaces that it is exported to", () => {
  const seenBy = (to: string): string[] =>
    ["shop", "pay", "other"].filter((caller) => {
      const { directory } = exported(to);
      const byHost = directory.serviceByHost("reviews.shop", caller);
      const byVip = ips("10.96.0.1").map((vip) => directory.serviceByVip(vip, caller));
      assert.deepEqual(byVip, [byHost]);
      return byHost !== undefined;
    });
  assert.deepEqual(seenBy("*"), ["shop", "pay", "other"]);
  assert.deepEqual(seenBy("."), ["shop"]);
  assert.deepEqual(seenBy("., pay"), ["shop", "pay"]);
  assert.deepEqual(seenBy("~"), []);
  assert.equal(exported("~").directory.isClusterIp(ips("10.96.0.1")[0] as Ip), true);
  assert.match(brief(exported("Not A Name").problems).join(), /error .*exportTo.*expected namespaces, \., \* or ~/);
});
