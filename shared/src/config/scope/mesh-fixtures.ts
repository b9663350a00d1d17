// For tests: meshes in which everything meets. Names, labels and addresses come from a few, so that what claims the same host,
// address or waypoint is the rule and not the exception.
import * as fc from "fast-check";
import { must } from "@culvert/test/support/must.ts";
import { parseIp, type Ip } from "../../net/ip.ts";
import { buildSnapshot } from "../build.ts";
import { duplicates } from "../cross-check.ts";
import { parseText } from "../resources/text-fixtures.ts";
import type { ParsedResources } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import { routing } from "../routing/routing.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Scope } from "./walk.ts";

export const NAMESPACES = ["shop", "pay"] as const;
const ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"] as const;
const VIPS = ["10.96.0.1", "10.96.0.2", "10.0.0.3"] as const;
const HOSTS = ["api.example.com", "*.example.com", "db.example.net", "cart.shop", "*.com"] as const;
const APPS = ["cart", "web"] as const;
const GATEWAYS = ["wp", "canary"] as const;

/** Names that are worth asking for. */
export const ASKED_HOSTS: readonly string[] =
  "cart web cart.shop web.pay.svc cart.shop.svc.cluster.local cart.shop.pay.svc.cluster.local api.example.com other.example.com db.example.net a.b.com nobody.test shop-1.cart.shop".split(
    " ",
  );

/** Addresses that are worth asking for. */
export const ASKED_IPS: readonly Ip[] = [...ADDRESSES, ...VIPS, "10.0.0.77", "10.5.0.1", "192.0.2.1"].map((text) =>
  must(parseIp(text)),
);

/** What the names of places stand for. */
export function addressesOf(host: string): readonly Ip[] {
  return host === "named.test" ? [must(parseIp("10.0.0.1"))] : [must(parseIp("192.0.2.1"))];
}

const one = <T>(...of: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...of);
const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined });
const namespace = one(...NAMESPACES);
const app = one(...APPS);

function merged(...parts: readonly object[]): Record<string, string> {
  return Object.assign({}, ...parts) as Record<string, string>;
}

const useWaypoint = maybe(one("wp", "canary", "none", "gone")).chain((name) =>
  maybe(namespace).map((where) =>
    merged(
      name === undefined ? {} : { "istio.io/use-waypoint": name },
      name === undefined || where === undefined ? {} : { "istio.io/use-waypoint-namespace": where },
    ),
  ),
);
const required = maybe(one("true", "false")).map((value) =>
  value === undefined ? {} : { "culvert.dev/require-waypoint": value },
);

function metadata(
  name: fc.Arbitrary<string>,
  more: {
    readonly labels?: fc.Arbitrary<Record<string, string>>;
    readonly annotations?: fc.Arbitrary<Record<string, string>>;
  } = {},
): fc.Arbitrary<object> {
  const none = fc.constant({});
  return fc.record({ name, namespace, labels: more.labels ?? none, annotations: more.annotations ?? none });
}

const workload = fc.record({
  apiVersion: fc.constant("networking.istio.io/v1"),
  kind: fc.constant("WorkloadEntry"),
  metadata: metadata(one("shop-1", "shop-2", "shop-3", "shop-4"), { labels: useWaypoint, annotations: required }),
  spec: fc.record({
    address: one(...ADDRESSES, "named.test"),
    serviceAccount: one("cart", "web", "wp"),
    labels: fc
      .record({ app }, { requiredKeys: [] })
      .chain((labels) =>
        maybe(one(...GATEWAYS, "east")).map((name) =>
          merged(labels, name === undefined ? {} : { "gateway.networking.k8s.io/gateway-name": name }),
        ),
      ),
    network: one("", "", "far"),
  }),
});
const exportTo = maybe(one(".", "*", "pay", "~")).map((value) =>
  value === undefined ? {} : { "networking.istio.io/exportTo": value },
);
const service = fc.record({
  apiVersion: fc.constant("v1"),
  kind: fc.constant("Service"),
  metadata: metadata(app, {
    labels: useWaypoint,
    annotations: fc.tuple(required, exportTo).map((both) => merged(...both)),
  }),
  spec: fc.record(
    { clusterIP: one(...VIPS, "None"), selector: fc.record({ app }), ports: one([{ name: "http", port: 80 }]) },
    { requiredKeys: ["ports"] },
  ),
});
const entry = fc.record({
  apiVersion: fc.constant("networking.istio.io/v1"),
  kind: fc.constant("ServiceEntry"),
  metadata: metadata(one("out", "in"), { labels: useWaypoint }),
  spec: fc
    .record({
      hosts: fc.uniqueArray(one(...HOSTS), { minLength: 1, maxLength: 2 }),
      addresses: fc.uniqueArray(one(...VIPS, "10.0.0.0/24", "10.0.0.0/8"), { maxLength: 2 }),
      ports: one([{ name: "http", number: 80, protocol: "HTTP" }]),
      location: one("MESH_INTERNAL", "MESH_EXTERNAL"),
      resolution: one("NONE", "STATIC", "DNS"),
      exportTo: one([], ["."], ["pay"]),
      places: fc.array(fc.record({ address: one(...ADDRESSES), network: one("", "far") }), { maxLength: 2 }),
      selects: fc.boolean(),
    })
    .chain(({ places, selects, ...spec }) =>
      app.map((label) =>
        merged(
          spec,
          spec.resolution !== "STATIC"
            ? {}
            : selects
              ? { workloadSelector: { labels: { app: label } } }
              : { endpoints: places },
        ),
      ),
    ),
});
const gateway = fc
  .record({
    metadata: metadata(one(...GATEWAYS), {
      labels: maybe(one("service", "workload", "all", "none")).map((value) =>
        value === undefined ? {} : { "istio.io/waypoint-for": value },
      ),
      annotations: fc
        .tuple(maybe(one("wp=1,canary=1", "canary=1")), one("remote", "remote", "sidecar", "node"))
        .map(([weights, placement]) =>
          merged(
            { "culvert.dev/placement": placement },
            weights === undefined ? {} : { "culvert.dev/waypoint-weights": weights },
          ),
        ),
    }),
  })
  .map(({ metadata: each }) => ({
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: each,
    spec: { gatewayClassName: "culvert-waypoint", listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }] },
  }));
const east = metadata(one("east"), { labels: fc.constant({ "topology.istio.io/network": "far" }) }).map((each) => ({
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "Gateway",
  metadata: each,
  spec: { gatewayClassName: "istio-east-west", listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }] },
}));
const policy = fc.record({
  apiVersion: fc.constant("security.istio.io/v1"),
  kind: fc.constant("AuthorizationPolicy"),
  metadata: fc.record({ name: one("p1", "p2", "p3"), namespace: one(...NAMESPACES, "istio-system") }),
  spec: fc
    .tuple(one("ALLOW", "DENY"), app, one(...GATEWAYS), fc.nat(4))
    .map(([action, name, waypoint, target]) =>
      merged(
        { action, rules: [{ from: [{ source: { namespaces: ["shop"] } }] }] },
        [
          {},
          { selector: { matchLabels: { app: name } } },
          { targetRefs: [{ kind: "Service", group: "", name }] },
          { targetRefs: [{ kind: "Gateway", group: "gateway.networking.k8s.io", name: waypoint }] },
          { targetRefs: [{ kind: "ServiceEntry", group: "networking.istio.io", name: "out" }] },
        ][target] ?? {},
      ),
    ),
});
const peers = fc.record({
  apiVersion: fc.constant("security.istio.io/v1"),
  kind: fc.constant("PeerAuthentication"),
  metadata: fc.record({ name: one("m1", "m2"), namespace: one(...NAMESPACES, "istio-system") }),
  spec: fc
    .tuple(one("STRICT", "PERMISSIVE"), maybe(app))
    .map(([mode, name]) =>
      merged(
        { mtls: { mode } },
        name === undefined ? {} : { selector: { matchLabels: { app: name } }, portLevelMtls: { "80": { mode } } },
      ),
    ),
});
const backend = one<object>(
  { name: "web", port: 80 },
  { name: "cart", namespace: "shop", port: 80 },
  { kind: "Hostname", group: "networking.istio.io", name: "api.example.com", port: 80 },
  { kind: "Hostname", group: "networking.istio.io", name: "web.pay.svc.cluster.local", port: 80 },
);
const parent = one<object>(
  { kind: "Service", group: "", name: "cart", namespace: "shop" },
  { kind: "Service", group: "", name: "web", port: 80 },
  { kind: "ServiceEntry", group: "networking.istio.io", name: "out" },
);
const route = fc.tuple(
  one("HTTPRoute", "GRPCRoute", "TCPRoute"),
  metadata(one("r1", "r2")),
  fc.array(parent, { minLength: 1, maxLength: 2 }),
  fc.array(backend, { minLength: 1, maxLength: 2 }),
  one<object[]>(
    [],
    [{ type: "ExtensionRef", extensionRef: { group: "culvert.dev", kind: "HTTPFilter", name: "f" } }],
    [{ type: "RequestMirror", requestMirror: { backendRef: { name: "web", port: 80 } } }],
  ),
);
const routes = route.map(([kind, each, parentRefs, backendRefs, filters]) => ({
  apiVersion: kind === "TCPRoute" ? "gateway.networking.k8s.io/v1alpha2" : "gateway.networking.k8s.io/v1",
  kind,
  metadata: each,
  spec: { parentRefs, rules: [{ backendRefs, ...(kind === "TCPRoute" ? {} : { filters }) }] },
}));
const filter = metadata(one("f")).map((each) => ({
  apiVersion: "culvert.dev/v1alpha1",
  kind: "HTTPFilter",
  metadata: each,
  spec: { filters: [{ type: "RequestHeaderModifier", requestHeaderModifier: { set: [{ name: "x", value: "1" }] } }] },
}));
const tls = fc.tuple(metadata(one("t1", "t2")), app, one("ConfigMap", "Secret")).map(([each, name, kind]) => ({
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "BackendTLSPolicy",
  metadata: each,
  spec: {
    targetRefs: [{ kind: "Service", group: "", name }],
    validation: { hostname: "x.test", caCertificateRefs: [{ kind, group: "", name: "ca" }] },
  },
}));
const ca = fc.tuple(metadata(one("ca")), one("ConfigMap", "Secret")).map(([each, kind]) => ({
  apiVersion: "v1",
  kind,
  metadata: each,
  [kind === "Secret" ? "stringData" : "data"]: { "ca.crt": "none" },
}));
const space = fc.record({ name: one(...NAMESPACES), labels: useWaypoint, annotations: required }).chain((each) =>
  maybe(one("none", "ambient")).map((mode) => ({
    apiVersion: "v1",
    kind: "Namespace",
    metadata:
      mode === undefined ? each : merged(each, { labels: merged(each.labels, { "istio.io/dataplane-mode": mode }) }),
  })),
);

/** Documents of one mesh; the rarer kinds once or twice, so that most of them have something to be about. */
const mesh: fc.Arbitrary<ParsedResources> = fc
  .tuple(
    fc.array(fc.oneof(workload, workload, service), { minLength: 4, maxLength: 12 }),
    fc.array(fc.oneof(entry, gateway, gateway, space, east), { minLength: 2, maxLength: 8 }),
    fc.array(fc.oneof(policy, peers, routes, routes, tls, ca, filter), { maxLength: 8 }),
  )
  .map((groups) =>
    withoutDuplicates(
      parseText(
        groups
          .flat()
          .map((document) => JSON.stringify(document))
          .join("\n---\n"),
      ),
    ),
  );

/** Checks something for many meshes; `pick` is one of few numbers, for whatever else is to differ. */
export function forMeshes(numRuns: number, check: (all: ParsedResources, pick: number) => void): void {
  fc.assert(fc.property(mesh, fc.nat(7), check), { numRuns });
}

/** A folder with two resources of one name is refused as a whole. */
function withoutDuplicates({ resources, problems }: ParsedResources): ParsedResources {
  const bad = new Set([...problems].filter(({ severity }) => severity === "error").map(({ resource }) => resource));
  const seen = new Set<string>();
  const vips = new Set<string>();
  const exported = new Map<string, string | undefined>();
  const kept = resources.filter((resource) => {
    const id = titleOf(resource);
    const taken = resource.kind === "Service" && resource.vips.some((vip) => vips.has(vip));
    if (seen.has(id) || bad.has(id) || taken) return false;
    if (resource.kind === "ServiceEntry") {
      // Who may see the second of a host but not the first is not told of the first.
      const [seenBy] = [...(resource.exportedTo ?? ["*"])];
      const others = resource.hosts.map((host) => `${resource.metadata.namespace} ${host}`);
      if (others.some((host) => (exported.get(host) ?? seenBy) !== seenBy)) return false;
      for (const host of others) exported.set(host, seenBy);
    }
    seen.add(id);
    if (resource.kind === "Service") for (const vip of resource.vips) vips.add(vip);
    return true;
  });
  if ([...duplicates(kept)].length > 0) throw new Error("a mesh with duplicates");
  return { resources: kept, problems: problems.filter(({ severity }) => severity !== "error") };
}

/** The snapshot of all resources, or of a scope's. */
export function snapshotOf({ resources, problems }: ParsedResources, scope?: Scope): Snapshot {
  const kept = scope === undefined ? resources : resources.filter((each) => scope.ids.has(titleOf(each)));
  return buildSnapshot(1, { resources: kept, problems: scope === undefined ? problems : [] }, addressesOf, routing);
}
