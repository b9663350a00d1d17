import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AppProtocol } from "../../workload/workload.ts";
import type { ServiceResource } from "./resource.ts";
import { appProtocolOf } from "./service.ts";
import { brief, parseText } from "./text-fixtures.ts";

const HEAD = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\n";

function parse(spec: string): { service: ServiceResource | undefined; problems: string[] } {
  const { resources, problems } = parseText(`${HEAD}spec:\n  ${spec.replaceAll("\n", "\n  ")}`);
  const [service] = resources;
  return { service: service?.kind === "Service" ? service : undefined, problems: brief(problems) };
}

test("a Service as people write it", () => {
  const { service, problems } = parse(`selector: {app: reviews, version: v1}
clusterIP: 10.96.0.1
clusterIPs: [10.96.0.1, "2001:DB8::1"]
type: ClusterIP
sessionAffinity: None
internalTrafficPolicy: Cluster
ipFamilyPolicy: PreferDualStack
ports:
  - {name: http, port: 80, targetPort: 8080, protocol: TCP}
  - {name: grpc-api, port: 81, targetPort: grpc, nodePort: 30001}
  - {name: admin, port: 82, appProtocol: kubernetes.io/h2c}
  - {name: dns, port: 53, protocol: UDP}`);
  assert.deepEqual(problems, []);
  assert.deepEqual(service?.vips, ["10.96.0.1", "2001:db8::1"]);
  assert.deepEqual(
    service.selector,
    new Map([
      ["app", "reviews"],
      ["version", "v1"],
    ]),
  );
  assert.deepEqual(service.ports, [
    { name: "http", port: 80, targetPort: 8080, appProtocol: "http" },
    { name: "grpc-api", port: 81, targetPort: "grpc", appProtocol: "grpc" },
    { name: "admin", port: 82, targetPort: 82, appProtocol: "http2" },
  ]);
});

test("a headless Service, and one without selector", () => {
  const headless = parse("clusterIP: None\nselector: {a: b}\nports: [{port: 80}]").service;
  assert.deepEqual([headless?.vips, headless?.headless], [[], true]);
  assert.equal(parse("ports: [{port: 80}]").service?.headless, false);
  const { service, problems } = parse("ports: [{port: 80}]");
  assert.deepEqual(problems, []);
  assert.equal(service?.selector, undefined);
  assert.equal(parse("selector: {}\nports: [{port: 80}]").service?.selector, undefined);
});

test("trafficDistribution says which endpoints go first, under its older name too", () => {
  for (const [written, prefers] of [
    ["PreferClose", "same-zone"],
    ["PreferSameZone", "same-zone"],
    ["PreferSameNode", "same-node"],
  ]) {
    assert.equal(parse(`trafficDistribution: ${written}\nports: [{port: 80}]`).service?.prefers, prefers);
  }
  assert.equal(parse("ports: [{port: 80}]").service?.prefers, undefined);
  assert.equal(parse("trafficDistribution: Nearest\nports: [{port: 80}]").problems.length, 1);
});

describe("what is not understood leaves the Service without endpoints", () => {
  const rows: [string, string, string[]][] = [
    [
      "ExternalName",
      "type: ExternalName\nexternalName: example.com",
      ["- 5: spec.type: ExternalName is not supported"],
    ],
    ["session affinity", "sessionAffinity: ClientIP", ["- 5: spec.sessionAffinity: only None is supported"]],
    [
      "local traffic policy",
      "internalTrafficPolicy: Local",
      ["- 5: spec.internalTrafficPolicy: only Cluster is supported"],
    ],
    ["an unknown field", "selectr: {a: b}", ["- 5: spec.selectr: this field is not supported; did you mean selector?"]],
    [
      "an unknown field of a port",
      "ports: [{port: 80, weight: 1}]",
      ["- 5: spec.ports[0].weight: this field is not supported"],
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { service, problems } = parse(`${spec}\nselector: {app: reviews}`);
      assert.deepEqual(problems, expected);
      assert.equal(service?.isUnderstood, false);
    });
  }
});

describe("what is malformed is an error", () => {
  const rows: [string, string, string[]][] = [
    [
      "a cluster IP",
      "clusterIP: 10.96.0.300",
      ['error 5: spec.clusterIP: expected an IP address or None, found "10.96.0.300"'],
    ],
    [
      "a list of cluster IPs",
      "clusterIPs: [1]",
      ["error 5: spec.clusterIPs[0]: expected an IP address or None, found 1"],
    ],
    ["a selector", "selector: [a]", ["error 5: spec.selector: expected a mapping, found a list"]],
    [
      "a selector of null",
      "selector: {app: }",
      ["error 5: spec.selector.app: expected a string (in quotes if it looks like another type), found nothing"],
    ],
    ["ports", "ports: 80", ["error 5: spec.ports: expected a list, found 80"]],
    ["a port", "ports:\n- 80", ["error 6: spec.ports[0]: expected a mapping, found 80"]],
    [
      "a port number",
      "ports: [{port: 0}]",
      ["error 5: spec.ports[0].port: expected whole number from 1 to 65535, found 0"],
    ],
    [
      "a port in quotes",
      'ports: [{port: "80"}]',
      ['error 5: spec.ports[0].port: expected whole number from 1 to 65535, found "80"'],
    ],
    ["no port number", "ports: [{name: http}]", ["error 5: spec.ports[0].port: expected a port, found nothing"]],
    [
      "a target port",
      "ports: [{port: 80, targetPort: 1.5}]",
      ["error 5: spec.ports[0].targetPort: expected a port number or name, found 1.5"],
    ],
    [
      "a port name",
      "ports: [{port: 80, name: HTTP}]",
      ['error 5: spec.ports[0].name: expected a port name, found "HTTP"'],
    ],
    [
      "a protocol",
      "ports: [{port: 80, protocol: tcp}]",
      ['error 5: spec.ports[0].protocol: expected TCP | UDP | SCTP, found "tcp"'],
    ],
    [
      "several ports without names",
      "ports: [{port: 80, name: a}, {port: 81}]",
      ["error 5: spec.ports[1].name: expected a name, because there are several ports"],
    ],
    [
      "a port twice",
      "ports: [{port: 80, name: a}, {port: 80, name: b}]",
      ["error 5: spec.ports[1]: port 80 (a) is there already"],
    ],
    [
      "a name twice",
      "ports: [{port: 80, name: a}, {port: 81, name: a}]",
      ["error 5: spec.ports[1]: port 80 (a) is there already"],
    ],
  ];
  for (const [name, spec, expected] of rows) test(name, () => assert.deepEqual(parse(spec).problems, expected));

  test("no spec", () => {
    assert.deepEqual(brief(parseText(HEAD).problems), ["error 1: spec: expected a mapping, found nothing"]);
  });
});

describe("appProtocolOf", () => {
  const rows: [string | undefined, string, AppProtocol][] = [
    [undefined, "http", "http"],
    [undefined, "http-web", "http"],
    [undefined, "http2", "http2"],
    [undefined, "http2-x", "http2"],
    [undefined, "grpc-reviews", "grpc"],
    [undefined, "grpc-web", "grpc-web"],
    [undefined, "grpc-web-x", "grpc-web"],
    [undefined, "grpc-website", "grpc"],
    [undefined, "tcp-db", "tcp"],
    [undefined, "tls", "tls"],
    [undefined, "https-x", "tls"],
    [undefined, "mysql", "tcp"],
    [undefined, "httpx", "unspecified"],
    [undefined, "web", "unspecified"],
    [undefined, "", "unspecified"],
    ["http", "tcp", "http"],
    ["HTTP", "", "http"],
    ["kubernetes.io/h2c", "tcp", "http2"],
    ["kubernetes.io/ws", "", "http"],
    ["kubernetes.io/wss", "", "tls"],
    ["example.com/own", "http", "unspecified"],
  ];
  for (const [appProtocol, name, expected] of rows) {
    test(`${appProtocol ?? "-"} ${name}`, () => assert.equal(appProtocolOf(appProtocol, name), expected));
  }
});
