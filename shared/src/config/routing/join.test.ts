import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildSnapshot } from "../build.ts";
import { parseText } from "../resources/text-fixtures.ts";
import type { Snapshot } from "../snapshot.ts";
import { routing } from "./routing.ts";

const MESH = `apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: grpc, port: 7070}, {name: https, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: a.example, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank}
spec: {hosts: [bank.example], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}
`;
const ECHO = "{group: '', kind: Service, name: echo}";
const BACKEND = "backendRefs: [{name: echo, port: 80}]";

/** `Kind name`, then the `spec` in flow style. */
function route(title: string, content: string): string {
  const [kind, name] = title.split(" ");
  const [own = "", namespace = "default"] = (name ?? "").split(".");
  const metadata = `{name: ${own}, namespace: ${namespace}, generation: 3}`;
  return `---\napiVersion: gateway.networking.k8s.io/v1\nkind: ${kind}\nmetadata: ${metadata}\nspec: ${content}\n`;
}

function join(...documents: string[]): Snapshot {
  return buildSnapshot(1, parseText(MESH + documents.join("")), () => [], routing);
}

/** `Accepted ResolvedRefs` of each parent of the first status, or what is said instead. */
function told(...documents: string[]): string[] {
  const [status] = join(...documents).statuses;
  return (status?.parents ?? []).map(({ conditions }) =>
    conditions.map(({ status: is, type, reason }) => (is === "True" ? type : `!${type}=${reason}`)).join(" "),
  );
}

/** A route's `spec` with one backend. */
function spec(parent: string): string {
  return `{parentRefs: [${parent}], rules: [{${BACKEND}}]}`;
}

function port(number: number): string {
  return `{group: '', kind: Service, name: echo, port: ${number}}`;
}

/** Each route with the ports that it has in the snapshot. */
function served({ routes, streamRoutes }: Snapshot): string[] {
  const all = [...routes, ...streamRoutes];
  return all.map(({ kind, parents }) => `${kind} ${parents.map((parent) => parent.port ?? "all").join()}`);
}

function policy(name: string, target: string, roots: string): string {
  const targets = `targetRefs: [{group: '', kind: Service, name: ${target}}]`;
  return route(`BackendTLSPolicy ${name}`, `{${targets}, validation: {hostname: a.example, ${roots}}}`);
}

test("a route that is as it should be", () => {
  const { statuses } = join(route("HTTPRoute r", `{parentRefs: [${ECHO}], rules: [{${BACKEND}}]}`));
  const condition = { status: "True", message: "", observedGeneration: 3 };
  assert.deepEqual(statuses, [
    {
      kind: "HTTPRoute",
      namespace: "default",
      name: "r",
      parents: [
        {
          ref: { group: "", kind: "Service", namespace: "default", name: "echo" },
          conditions: [
            { type: "Accepted", reason: "Accepted", ...condition },
            { type: "ResolvedRefs", reason: "ResolvedRefs", ...condition },
          ],
        },
      ],
    },
  ]);
});

describe("parents", () => {
  const rows: [string, string, string][] = [
    ["a port", "{group: '', kind: Service, name: echo, port: 80}", "Accepted ResolvedRefs"],
    ["a section", "{group: '', kind: Service, name: echo, sectionName: http}", "Accepted ResolvedRefs"],
    ["both", "{group: '', kind: Service, name: echo, port: 80, sectionName: http}", "Accepted ResolvedRefs"],
    ["a ServiceEntry", "{group: networking.istio.io, kind: ServiceEntry, name: bank}", "Accepted ResolvedRefs"],
    ["nobody", "{group: '', kind: Service, name: nobody}", "!Accepted=NoMatchingParent ResolvedRefs"],
    ["no such port", "{group: '', kind: Service, name: echo, port: 81}", "!Accepted=NoMatchingParent ResolvedRefs"],
    [
      "no such section",
      "{group: '', kind: Service, name: echo, sectionName: x}",
      "!Accepted=NoMatchingParent ResolvedRefs",
    ],
    [
      "two that differ",
      "{group: '', kind: Service, name: echo, port: 80, sectionName: grpc}",
      "!Accepted=NoMatchingParent ResolvedRefs",
    ],
    ["a headless Service", "{group: '', kind: Service, name: headless}", "!Accepted=NoMatchingParent ResolvedRefs"],
    ["a name for another", "{group: '', kind: Service, name: alias}", "!Accepted=NoMatchingParent ResolvedRefs"],
    [
      "no such entry",
      "{group: networking.istio.io, kind: ServiceEntry, name: x}",
      "!Accepted=NoMatchingParent ResolvedRefs",
    ],
  ];
  for (const [name, parent, expected] of rows) {
    test(name, () => {
      const document = route("HTTPRoute r", `{parentRefs: [${parent}], rules: [{${BACKEND}}]}`);
      assert.deepEqual(told(document), [expected]);
      const { routes, problems } = join(document);
      const isAccepted = expected.startsWith("Accepted");
      assert.equal(routes[0]?.parents.length, isAccepted ? 1 : 0);
      assert.equal(
        problems.some(({ resource }) => resource === "HTTPRoute default/r"),
        !isAccepted,
      );
    });
  }

  test("a waypoint has no listener for routes", () => {
    const gateway = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: waypoint}\n";
    const listeners = "listeners: [{name: mesh, port: 15008, protocol: HBONE}]";
    const waypoint = `${gateway}spec: {gatewayClassName: culvert-waypoint, ${listeners}}\n`;
    const document = route("HTTPRoute r", `{parentRefs: [{name: waypoint}, ${ECHO}], rules: [{${BACKEND}}]}`);
    assert.deepEqual(told(waypoint, document), [
      "Accepted ResolvedRefs",
      "!Accepted=NotAllowedByListeners ResolvedRefs",
    ]);
    assert.equal(join(waypoint, document).statuses[0]?.parents[1]?.ref.kind, "Gateway");
  });

  test("each has its own, and those of others none", () => {
    const parents = `[${ECHO}, {name: ingress}, {group: '', kind: Service, name: nobody}]`;
    const said = told(route("HTTPRoute r", `{parentRefs: ${parents}, rules: [{${BACKEND}}]}`));
    assert.deepEqual(said, ["Accepted ResolvedRefs", "!Accepted=NoMatchingParent ResolvedRefs"]);
  });
});

describe("references", () => {
  const rows: [string, string, string][] = [
    ["a kind", "{kind: Pod, name: a, port: 1}", "InvalidKind"],
    ["a Service", "{name: nobody, port: 80}", "BackendNotFound"],
    ["a port", "{name: echo, port: 81}", "BackendNotFound"],
    ["TLS without a policy", "{name: echo, port: 443}", "UnsupportedProtocol"],
  ];
  for (const [name, backend, reason] of rows) {
    test(name, () => {
      const document = route("HTTPRoute r", `{parentRefs: [${ECHO}], rules: [{backendRefs: [${backend}]}]}`);
      assert.deepEqual(told(document), [`Accepted !ResolvedRefs=${reason}`]);
      assert.notEqual(join(document).routes[0]?.rules[0]?.backends[0]?.invalid, undefined);
    });
  }

  test("TLS with a policy", () => {
    const validation = "validation: {hostname: a.example, wellKnownCACertificates: System}";
    const tls = route(
      "BackendTLSPolicy p",
      `{targetRefs: [{group: '', kind: Service, name: echo, sectionName: https}], ${validation}}`,
    );
    const document = route("HTTPRoute r", `{parentRefs: [${ECHO}], rules: [{backendRefs: [{name: echo, port: 443}]}]}`);
    assert.deepEqual(told(tls, document), ["Accepted ResolvedRefs"]);
  });

  test("of another namespace need no grant", () => {
    const backend = "backendRefs: [{name: echo, namespace: default, port: 80}]";
    const document = route(
      "HTTPRoute r.consumer",
      `{parentRefs: [{group: '', kind: Service, name: echo, namespace: default}], rules: [{${backend}}]}`,
    );
    assert.deepEqual(told(document), ["Accepted ResolvedRefs"]);
  });

  test("of connections", () => {
    assert.deepEqual(
      told(route("TCPRoute r", `{parentRefs: [${ECHO}], rules: [{backendRefs: [{name: x, port: 1}]}]}`)),
      ["Accepted !ResolvedRefs=BackendNotFound"],
    );
    assert.deepEqual(
      told(route("TLSRoute r", `{parentRefs: [${ECHO}], rules: [{backendRefs: [{name: echo, port: 443}]}]}`)),
      ["Accepted ResolvedRefs"],
    );
  });
});

describe("values that are not supported", () => {
  const glob = "matches: [{path: {type: Glob, value: /a}}]";
  const wasm = "filters: [{type: Wasm}]";
  const both = "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]";
  const rows: [string, string, string][] = [
    ["in a match", `[{${glob}}, {${BACKEND}}]`, "!Accepted=UnsupportedValue ResolvedRefs"],
    ["in the only rule", `[{${wasm}}]`, "!Accepted=UnsupportedValue ResolvedRefs"],
    ["in one rule of two", `[{${wasm}}, {${BACKEND}}]`, "Accepted ResolvedRefs PartiallyInvalid"],
    ["filters that exclude each other", `[{${both}}]`, "!Accepted=IncompatibleFilters ResolvedRefs"],
    [
      "an expression that RE2 does not know",
      "[{matches: [{path: {type: RegularExpression, value: '(?=a)'}}]}]",
      "!Accepted=UnsupportedValue ResolvedRefs",
    ],
    [
      "a filter that is not there",
      `[{filters: [{type: ExtensionRef, extensionRef: {group: culvert.dev, kind: HTTPFilter, name: x}}]}]`,
      "!Accepted=UnsupportedValue !ResolvedRefs=BackendNotFound",
    ],
  ];
  for (const [name, rules, expected] of rows) {
    test(name, () => {
      assert.deepEqual(told(route("HTTPRoute r", `{parentRefs: [${ECHO}], rules: ${rules}}`)), [expected]);
    });
  }

  test("leave other routes alone, and name the rule that is dropped", () => {
    const good = route("HTTPRoute good", `{parentRefs: [${ECHO}], rules: [{${BACKEND}}]}`);
    const odd = route("HTTPRoute odd", `{parentRefs: [${ECHO}], rules: [{name: first, ${wasm}}, {${BACKEND}}]}`);
    const [first, second] = join(good, odd).statuses;
    assert.equal(first?.parents[0]?.conditions.length, 2);
    assert.match(
      second?.parents[0]?.conditions[2]?.message ?? "",
      /^Dropped Rule: .*first: f\.yaml:\d+: spec\.rules\[0\]\.filters/,
    );
  });
});

describe("two kinds on one port", () => {
  test("the more specific has it", () => {
    const kinds = ["TCPRoute", "TLSRoute", "HTTPRoute", "GRPCRoute"];
    const snapshot = join(...kinds.map((kind) => route(`${kind} r`, spec(port(80)))));
    assert.deepEqual(served(snapshot), ["HTTPRoute ", "GRPCRoute 80", "TLSRoute ", "TCPRoute "]);
    const reasons = snapshot.statuses.map(({ kind, parents }) => `${kind} ${parents[0]?.conditions[0]?.reason}`);
    assert.deepEqual(reasons.toSorted(), [
      "GRPCRoute Accepted",
      "HTTPRoute Conflicted",
      "TCPRoute Conflicted",
      "TLSRoute Conflicted",
    ]);
  });

  test("the other keeps the rest of the ports", () => {
    const snapshot = join(route("HTTPRoute r", spec(ECHO)), route("GRPCRoute r", spec(port(7070))));
    assert.deepEqual(served(snapshot), ["HTTPRoute 80,443", "GRPCRoute 7070"]);
    assert.equal(snapshot.statuses[0]?.parents[0]?.conditions[0]?.reason, "Accepted");
  });

  test("routes of a consumer and of the producer do not meet", () => {
    const parent = "{group: '', kind: Service, name: echo, namespace: default}";
    const snapshot = join(route("HTTPRoute r.consumer", spec(parent)), route("GRPCRoute r", spec(ECHO)));
    assert.deepEqual(served(snapshot), ["HTTPRoute all", "GRPCRoute all"]);
  });
});

describe("policies of backends", () => {
  const system = "wellKnownCACertificates: System";
  const missing = "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]";
  const rows: [string, string[], string][] = [
    ["as it should be", [policy("p", "echo", system)], "Accepted ResolvedRefs"],
    ["no such Service", [policy("p", "nobody", system)], "!Accepted=TargetNotFound ResolvedRefs"],
    [
      "no certificate",
      [policy("p", "echo", missing)],
      "!Accepted=NoValidCACertificate !ResolvedRefs=InvalidCACertificateRef",
    ],
    [
      "another kind of reference",
      [policy("p", "echo", "caCertificateRefs: [{group: '', kind: Pod, name: x}]")],
      "!Accepted=NoValidCACertificate !ResolvedRefs=InvalidKind",
    ],
  ];
  for (const [name, documents, expected] of rows) {
    test(name, () => assert.deepEqual(told(...documents), [expected]));
  }

  test("the younger of two", () => {
    const { statuses } = join(policy("b", "echo", system), policy("a", "echo", system));
    const reasons = statuses.map(({ name, parents }) => `${name} ${parents[0]?.conditions[0]?.reason}`);
    assert.deepEqual(reasons, ["a Accepted", "b Conflicted"]);
  });
});

test("the dump has routes of every kind with their status", () => {
  const snapshot = join(
    route("HTTPRoute r", `{parentRefs: [${ECHO}], rules: [{${BACKEND}, retry: {attempts: 2}}]}`),
    route("TLSRoute t", `{parentRefs: [{group: '', kind: Service, name: nobody}], hostnames: [a.example]}`),
  );
  const dumped = JSON.parse(JSON.stringify(routing.dump(snapshot))) as Record<string, Record<string, unknown>>;
  assert.deepEqual(Object.keys(dumped), ["routes", "grpcRoutes", "tlsRoutes", "tcpRoutes", "backendTls"]);
  assert.match(JSON.stringify(dumped["routes"]?.["default/r"]), /"service":"default\/echo".*"attempts":2.*"Accepted"/);
  assert.match(JSON.stringify(dumped["tlsRoutes"]?.["default/t"]), /"hostnames":\["a\.example"\].*NoMatchingParent/);
});
