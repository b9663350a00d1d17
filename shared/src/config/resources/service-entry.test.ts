import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ServiceEntryResource } from "./resource.ts";
import { placesOf } from "./service-entry.ts";
import { brief, parseText } from "./text-fixtures.ts";

function parse(spec: string): { entry: ServiceEntryResource | undefined; problems: string[] } {
  const head = `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api, namespace: shop}\n`;
  const { resources, problems } = parseText(`${head}spec: {${spec}}\n`);
  const [entry] = resources;
  return { entry: entry?.kind === "ServiceEntry" ? entry : undefined, problems: brief(problems) };
}

test("a ServiceEntry as people write it", () => {
  const { entry, problems } = parse(
    'hosts: [API.example.com, "*.example.org"], addresses: [192.0.2.7, 192.0.2.7/32, "2001:db8::/32", 198.51.100.9/24], ' +
      "ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: http, targetPort: 8080}, " +
      "{number: 53, name: dns, protocol: UDP}], location: MESH_INTERNAL, resolution: STATIC, exportTo: [., web, '~'], " +
      "endpoints: [{address: 10.0.0.5, ports: {http: 9090}, labels: {zone: a}, locality: eu/a, weight: 3, serviceAccount: api}]",
  );
  assert.deepEqual(problems, []);
  assert.ok(entry !== undefined);
  const { metadata: _metadata, cidrs, ...rest } = entry;
  assert.deepEqual(
    cidrs.map(({ text }) => text),
    ["2001:db8::/32", "198.51.100.0/24"],
  );
  assert.deepEqual(rest, {
    kind: "ServiceEntry",
    hosts: ["api.example.com", "*.example.org"],
    vips: ["192.0.2.7"],
    ports: [
      { name: "tls", port: 443, targetPort: 443, appProtocol: "tls" },
      { name: "http", port: 80, targetPort: 8080, appProtocol: "http" },
    ],
    location: "internal",
    resolution: "static",
    endpoints: [
      {
        address: { kind: "ip", ip: "10.0.0.5" },
        serviceAccount: "api",
        ports: new Map([["http", 9090]]),
        weight: 3,
        labels: new Map([["zone", "a"]]),
        locality: "eu/a",
        network: undefined,
      },
    ],
    selector: undefined,
    exportedTo: new Set(["shop", "web"]),
    notUnderstood: undefined,
  });
});

test("the shortest ServiceEntry is outside, goes where it was asked to, and is there for all", () => {
  const { entry, problems } = parse("hosts: [api.example.com]");
  assert.deepEqual(problems, []);
  const { location, resolution, exportedTo, ports } = entry ?? {};
  assert.deepEqual([location, resolution, exportedTo, ports], ["external", "none", undefined, []]);
  assert.equal(parse("hosts: [a.b], exportTo: ['.', '*']").entry?.exportedTo, undefined);
  assert.deepEqual(parse("hosts: [a.b], exportTo: ['~']").entry?.exportedTo, new Set());
  assert.deepEqual(
    parse("hosts: [a.b], workloadSelector: {labels: {app: a}}").entry?.selector,
    new Map([["app", "a"]]),
  );
});

test("with resolution DNS and without endpoints each host stands for itself", () => {
  const { entry } = parse("hosts: [a.example.com, b.example.com], resolution: DNS_ROUND_ROBIN");
  assert.ok(entry !== undefined);
  assert.equal(entry.resolution, "dns");
  const address = (host: string): unknown => placesOf(entry, host).map((place) => place.address);
  assert.deepEqual(address("b.example.com"), [{ kind: "name", host: "b.example.com" }]);
  const { entry: given } = parse("hosts: ['*.example.com'], resolution: DNS, endpoints: [{address: x.example.com}]");
  assert.ok(given !== undefined);
  assert.deepEqual(
    placesOf(given, "*.example.com").map((place) => place.address),
    [{ kind: "name", host: "x.example.com" }],
  );
});

describe("what is not understood lets nobody through", () => {
  const rows: [string, string, string[]][] = [
    ["a host of one label", "hosts: [reviews]", ["- 4: spec.hosts[0]: a host without a dot is not supported"]],
    ["a whole domain", "hosts: ['*.com']", ["- 4: spec.hosts[0]: a host without a dot is not supported"]],
    [
      "an unknown field",
      "hosts: [a.b], subjectAltNames: [a.b]",
      ["- 4: spec.subjectAltNames: this field is not supported"],
    ],
    [
      "an unknown field of an endpoint",
      "hosts: [a.b], resolution: STATIC, endpoints: [{address: 10.0.0.1, wieght: 3}]",
      ["- 4: spec.endpoints[0].wieght: this field is not supported; did you mean weight?"],
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { entry, problems } = parse(spec);
      assert.deepEqual(problems, expected);
      assert.notEqual(entry?.notUnderstood, undefined);
    });
  }
});

describe("what is malformed is an error", () => {
  const rows: [string, string, string][] = [
    ["no hosts", "resolution: NONE", "error 4: spec.hosts: expected hosts, found nothing"],
    ["everything", "hosts: ['*']", 'error 4: spec.hosts[0]: expected a DNS name, or *. and a DNS name, found "*"'],
    ["a number", "hosts: [1]", "error 4: spec.hosts[0]: expected a DNS name, or *. and a DNS name, found 1"],
    [
      "an address",
      "hosts: [a.b], addresses: [10.0.0.256]",
      'error 4: spec.addresses[0]: expected an IP address or a block of them, found "10.0.0.256"',
    ],
    [
      "a port without number",
      "hosts: [a.b], ports: [{name: http}]",
      "error 4: spec.ports[0].number: expected the number of a port, found nothing",
    ],
    [
      "a port without name",
      "hosts: [a.b], ports: [{number: 80}]",
      "error 4: spec.ports[0].name: expected the name of a port, found nothing",
    ],
    [
      "a port twice",
      "hosts: [a.b], ports: [{number: 80, name: a}, {number: 80, name: b}]",
      "error 4: spec.ports[1]: port 80 (a) is there already",
    ],
    [
      "a protocol",
      "hosts: [a.b], ports: [{number: 80, name: a, protocol: FTP}]",
      'error 4: spec.ports[0].protocol: expected HTTP | HTTPS | HTTP2 | GRPC | GRPC-WEB | MONGO | MYSQL | REDIS | TCP | TLS | UDP, found "FTP"',
    ],
    [
      "a resolution",
      "hosts: [a.b], resolution: dns",
      'error 4: spec.resolution: expected NONE | STATIC | DNS | DNS_ROUND_ROBIN, found "dns"',
    ],
    [
      "a location",
      "hosts: [a.b], location: OUT",
      'error 4: spec.location: expected MESH_EXTERNAL | MESH_INTERNAL, found "OUT"',
    ],
    [
      "endpoints and a selector",
      "hosts: [a.b], resolution: STATIC, endpoints: [{address: 10.0.0.1}], workloadSelector: {labels: {app: a}}",
      "error 4: spec.workloadSelector: expected endpoints or a workloadSelector, found both",
    ],
    [
      "endpoints that nobody would use",
      "hosts: [a.b], endpoints: [{address: 10.0.0.1}]",
      "error 4: spec.endpoints: expected none with resolution NONE",
    ],
    [
      "a name where addresses belong",
      "hosts: [a.b], resolution: STATIC, endpoints: [{address: x.y}]",
      "error 4: spec.endpoints: expected IP addresses with resolution STATIC, found a DNS name",
    ],
    [
      "a wildcard that is to be resolved",
      "hosts: ['*.a.b'], resolution: DNS",
      "error 4: spec.hosts: expected endpoints, because *.a.b cannot be resolved, found none",
    ],
    [
      "a namespace",
      "hosts: [a.b], exportTo: [A]",
      'error 4: spec.exportTo[0]: expected a namespace, ., * or ~, found "A"',
    ],
    [
      "a label",
      "hosts: [a.b], workloadSelector: {labels: {'a b': c}}",
      'error 4: spec.workloadSelector.labels: expected a label, found "a b"',
    ],
  ];
  for (const [name, spec, expected] of rows) test(name, () => assert.deepEqual(parse(spec).problems, [expected]));
});
