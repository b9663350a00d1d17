import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { GatewayResource } from "./resource.ts";
import { brief, parseText } from "./text-fixtures.ts";

function parse(spec: string, metadata = ""): { gateway: GatewayResource | undefined; problems: string[] } {
  const head = `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: shop${metadata}}\n`;
  const { resources, problems } = parseText(`${head}${spec}\n`);
  const [gateway] = resources;
  return { gateway: gateway?.kind === "Gateway" ? gateway : undefined, problems: brief(problems) };
}

const LISTENER = "{name: mesh, port: 15008, protocol: HBONE}";

test("a waypoint as people write it", () => {
  const { gateway, problems } = parse(
    `spec:
  gatewayClassName: culvert-waypoint
  listeners: [{name: mesh, port: 25008, protocol: HBONE, allowedRoutes: {namespaces: {from: Same}}}]
  addresses: [{value: 10.0.0.9}, {type: Hostname, value: w.example.com}]
status: {addresses: [{type: IPAddress, value: 10.0.0.9}, {value: "2001:DB8::9"}]}`,
    ", labels: {istio.io/waypoint-for: all}, annotations: {culvert.dev/placement: node}",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(gateway?.waypoint, {
    namespace: "shop",
    name: "w",
    serves: "all",
    placement: "node",
    forServiceAccount: undefined,
    withoutLocal: "use-another",
    port: 25008,
    addresses: ["10.0.0.9", "w.example.com", "2001:db8::9"],
    shares: [],
  });
});

function placed(annotations: string): ReturnType<typeof parse> {
  const spec = `spec: {gatewayClassName: culvert-waypoint, listeners: [${LISTENER}]}`;
  return parse(spec, `, annotations: {${annotations}}`);
}

test("where its instances stand", () => {
  const rows: [annotations: string, expected: object][] = [
    ["culvert.dev/placement: sidecar", { placement: "sidecar" }],
    ["culvert.dev/placement: node, culvert.dev/without-local-instance: refuse", { withoutLocal: "refuse" }],
    ["culvert.dev/placement: node, culvert.dev/without-local-instance: use-another", { withoutLocal: "use-another" }],
    [
      "culvert.dev/placement: service-account, istio.io/for-service-account: reviews",
      { placement: "service-account", forServiceAccount: "reviews" },
    ],
    ["istio.io/for-service-account: reviews", { placement: "remote", forServiceAccount: undefined }],
  ];
  for (const [annotations, expected] of rows) {
    const { gateway, problems } = placed(annotations);
    assert.deepEqual(problems, []);
    assert.partialDeepStrictEqual(gateway?.waypoint, expected);
  }
});

test("a placement that cannot be served fails closed", () => {
  const account = 'metadata.annotations["istio.io/for-service-account"]: expected the service account that it serves';
  const without = 'metadata.annotations["culvert.dev/without-local-instance"]: is for placement node';
  const rows: [annotations: string, problem: string][] = [
    ["culvert.dev/placement: service-account", `${account}, found nothing`],
    ["culvert.dev/placement: service-account, istio.io/for-service-account: A/B", `${account}, found "A/B"`],
    ["culvert.dev/without-local-instance: refuse", `${without}, found placement remote`],
    [
      "culvert.dev/placement: sidecar, culvert.dev/without-local-instance: use-another",
      `${without}, found placement sidecar`,
    ],
  ];
  for (const [annotations, problem] of rows) {
    const { gateway, problems } = placed(annotations);
    assert.deepEqual(problems, [`- 1: ${problem}`]);
    assert.ok(gateway !== undefined);
    assert.equal(gateway.waypoint, undefined);
  }
  for (const [key, words] of [
    ["culvert.dev/placement", "sidecar | node | service-account | remote"],
    ["culvert.dev/without-local-instance", "use-another | refuse"],
  ] as const) {
    const { problems } = placed(`${key}: somewhere`);
    assert.deepEqual(problems, [`error 3: metadata.annotations["${key}"]: expected ${words}, found "somewhere"`]);
  }
});

function annotated(text: string): ReturnType<typeof parse> {
  return parse(
    `spec: {gatewayClassName: culvert-waypoint, listeners: [${LISTENER}]}`,
    `, annotations: {culvert.dev/waypoint-weights: "${text}"}`,
  );
}

test("a waypoint that shares its traffic with others of its namespace", () => {
  assert.deepEqual(annotated("w=90, w-canary=10").gateway?.waypoint?.shares, [
    { ref: { namespace: "shop", name: "w" }, weight: 90 },
    { ref: { namespace: "shop", name: "w-canary" }, weight: 10 },
  ]);
  for (const wrong of ["", "w", "w=", "w=0", "w=-1", "w=1000001", "w=1,w=2", "W=1", "w=1,", "w=1.5"]) {
    assert.deepEqual(annotated(wrong).problems, [
      `error 3: metadata.annotations["culvert.dev/waypoint-weights"]: expected NAME=WEIGHT,… with some weight, found "${wrong}"`,
    ]);
  }
});

test("Istio's class, and the defaults", () => {
  const { gateway } = parse(`spec: {gatewayClassName: istio-waypoint, listeners: [${LISTENER}]}`);
  assert.deepEqual(gateway?.waypoint, {
    namespace: "shop",
    name: "w",
    serves: "service",
    placement: "remote",
    forServiceAccount: undefined,
    withoutLocal: "use-another",
    port: 15008,
    addresses: [],
    shares: [],
  });
});

test("a Gateway of another class is let be", () => {
  const { gateway, problems } = parse("spec: {gatewayClassName: nginx, listeners: [{protocol: HTTPS, tls: {}}]}");
  assert.deepEqual(problems, []);
  assert.ok(gateway !== undefined);
  assert.equal(gateway.waypoint, undefined);
});

function withListeners(listeners: string): string {
  return `spec: {gatewayClassName: culvert-waypoint, listeners: [${listeners}]}`;
}

describe("what is not understood serves nobody", () => {
  const rows: [string, string, string[]][] = [
    [
      "another protocol",
      withListeners("{name: a, port: 80, protocol: HTTP}"),
      ["- 4: spec.listeners[0].protocol: expected HBONE, which is what its listeners speak"],
    ],
    [
      "two listeners",
      withListeners(`${LISTENER}, ${LISTENER}`),
      ["- 4: spec.listeners[1]: expected one HBONE listener, found another"],
    ],
    ["none", withListeners(""), ["- 4: spec.listeners: expected a listener of protocol HBONE, found none"]],
    [
      "an unknown field",
      `spec: {gatewayClassName: culvert-waypoint, listeners: [${LISTENER}], tls: {}}`,
      ["- 4: spec.tls: this field is not supported"],
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { gateway, problems } = parse(spec);
      assert.deepEqual(problems, expected);
      assert.ok(gateway !== undefined);
      assert.equal(gateway.waypoint, undefined);
    });
  }
});

describe("what is malformed is an error", () => {
  const rows: [string, string, string[]][] = [
    ["no class", "spec: {}", ["error 4: spec.gatewayClassName: expected a class name, found nothing"]],
    ["no spec", "", ["error 1: spec: expected a mapping, found nothing"]],
    [
      "no port",
      "spec: {gatewayClassName: culvert-waypoint, listeners: [{protocol: HBONE}]}",
      ["error 4: spec.listeners[0].port: expected a port, found nothing"],
    ],
    [
      "an address",
      `spec: {gatewayClassName: culvert-waypoint, listeners: [${LISTENER}], addresses: [{value: "a b"}]}`,
      ['error 4: spec.addresses[0].value: expected an IP address or a host name, found "a b"'],
    ],
  ];
  for (const [name, spec, expected] of rows) test(name, () => assert.deepEqual(parse(spec).problems, expected));

  test("a kind of destination that does not exist", () => {
    const { problems } = parse(
      `spec: {gatewayClassName: culvert-waypoint, listeners: [${LISTENER}]}`,
      ", labels: {istio.io/waypoint-for: services}",
    );
    assert.deepEqual(problems, [
      'error 3: metadata.labels["istio.io/waypoint-for"]: expected service | workload | all | none, found "services"',
    ]);
  });
});

test("an east-west gateway leads into the network of its label", () => {
  const spec = `spec: {gatewayClassName: istio-east-west, listeners: [{name: mesh, port: 15008, protocol: HBONE, tls: {mode: Terminate}}]}`;
  const { gateway, problems } = parse(spec, ", labels: {topology.istio.io/network: two}");
  assert.deepEqual(problems, []);
  assert.deepEqual([gateway?.entersNetwork, gateway?.waypoint], ["two", undefined]);
  const nameless = parse(spec);
  assert.deepEqual(nameless.problems, [
    '- 1: metadata.labels["topology.istio.io/network"]: expected the network that the gateway leads into, found nothing',
  ]);
  assert.equal(nameless.gateway?.entersNetwork, undefined);
});
