import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { WorkloadEntryResource } from "./resource.ts";
import { brief, parseText } from "./text-fixtures.ts";

function parse(spec: string, metadata = ""): { entry: WorkloadEntryResource | undefined; problems: string[] } {
  const head = `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: reviews-1${metadata}}\n`;
  const { resources, problems } = parseText(`${head}spec: {${spec}}\n`);
  const [entry] = resources;
  return { entry: entry?.kind === "WorkloadEntry" ? entry : undefined, problems: brief(problems) };
}

test("a WorkloadEntry as people write it", () => {
  const { entry, problems } = parse(
    'address: "::ffff:10.0.0.5", serviceAccount: reviews, ports: {http: 8080, grpc: 9090}, weight: 3, locality: eu/a, network: "", labels: {app: b, tier: c}',
    ', labels: {app: a, version: v1}, annotations: {culvert.dev/hbone-port: "25008", culvert.dev/trust-domain: theirs.test}',
  );
  assert.deepEqual(problems, []);
  assert.ok(entry !== undefined);
  const { metadata: _metadata, ...rest } = entry;
  assert.deepEqual(rest, {
    kind: "WorkloadEntry",
    labels: new Map([
      ["app", "b"],
      ["version", "v1"],
      ["tier", "c"],
    ]),
    address: { kind: "ip", ip: "10.0.0.5" },
    serviceAccount: "reviews",
    ports: new Map([
      ["http", 8080],
      ["grpc", 9090],
    ]),
    weight: 3,
    locality: "eu/a",
    hbonePort: 25008,
    trustDomain: "theirs.test",
    network: undefined,
    healthy: true,
  });
});

test("the shortest WorkloadEntry", () => {
  const { entry } = parse("address: DB.example.com");
  assert.deepEqual(entry?.address, { kind: "name", host: "db.example.com" });
  assert.equal(entry.serviceAccount, "default");
  assert.equal(entry.weight, 1);
  assert.equal(entry.hbonePort, 15008);
  assert.equal(entry.trustDomain, undefined);
  assert.equal(parse("address: db, weight: 0").entry?.weight, 1);
});

describe("what is not understood gets no connections", () => {
  const rows: [string, string, string[]][] = [
    [
      "an unknown field",
      "servicAccount: x",
      ["- 4: spec.servicAccount: this field is not supported; did you mean serviceAccount?"],
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { entry, problems } = parse(`address: 10.0.0.5, ${spec}`);
      assert.deepEqual(problems, expected);
      assert.equal(entry?.healthy, false);
    });
  }
});

describe("what is malformed is an error", () => {
  const rows: [string, string, string[]][] = [
    [
      "a locality that is none",
      "address: a, locality: a/b/c/d",
      ['error 4: spec.locality: expected region/zone/subzone, found "a/b/c/d"'],
    ],
    ["no address", "weight: 1", ["error 4: spec.address: expected an IP address or a DNS name, found nothing"]],
    [
      "a socket",
      "address: unix:///x",
      ['error 4: spec.address: expected an IP address or a DNS name, found "unix:///x"'],
    ],
    [
      "an address with port",
      "address: '10.0.0.5:80'",
      ['error 4: spec.address: expected an IP address or a DNS name, found "10.0.0.5:80"'],
    ],
    [
      "a mistyped address",
      "address: 10.0.0.256",
      ['error 4: spec.address: expected an IP address or a DNS name, found "10.0.0.256"'],
    ],
    ["a number", "address: 10", ["error 4: spec.address: expected a string, found 10"]],
    [
      "an account",
      "address: a, serviceAccount: A/b",
      ['error 4: spec.serviceAccount: expected a service account name, found "A/b"'],
    ],
    [
      "a port",
      "address: a, ports: {http: 0}",
      ["error 4: spec.ports.http: expected whole number from 1 to 65535, found 0"],
    ],
    ["a port name", "address: a, ports: {HTTP: 1}", ['error 4: spec.ports: expected a port name, found "HTTP"']],
    [
      "a weight",
      "address: a, weight: -1",
      ["error 4: spec.weight: expected whole number from 0 to 4294967295, found -1"],
    ],
    ["a label", "address: a, labels: {a: 'b c'}", ['error 4: spec.labels: expected a label, found "a": "b c"']],
  ];
  for (const [name, spec, expected] of rows) test(name, () => assert.deepEqual(parse(spec).problems, expected));
});
