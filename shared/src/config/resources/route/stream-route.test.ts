import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { routeParent } from "@culvert/test/support/fixtures.ts";
import type { StreamRoute } from "../../stream-route.ts";
import { brief, parseText } from "../text-fixtures.ts";

function parse(kind: string, version: string, spec: string): { route: StreamRoute | undefined; problems: string[] } {
  const head = `apiVersion: gateway.networking.k8s.io/${version}\nkind: ${kind}\nmetadata: {name: r, namespace: shop}\n`;
  const { resources, problems } = parseText(`${head}spec: ${spec}\n`);
  const [route] = resources;
  const isStream = route?.kind === "TCPRoute" || route?.kind === "TLSRoute";
  return { route: isStream ? route.route : undefined, problems: brief(problems) };
}

const PARENT = "parentRefs: [{group: '', kind: Service, name: db, port: 5432}]";
const BACKENDS = "backendRefs: [{name: db-v1, port: 5432, weight: 3}, {name: db-v2, namespace: other, port: 5432}]";

describe("routes as people write them", () => {
  const backends = [
    { kind: "service", namespace: "shop", name: "db-v1", port: 5432, invalid: undefined, weight: 3 },
    { kind: "service", namespace: "other", name: "db-v2", port: 5432, invalid: undefined, weight: 1 },
  ];
  const own = { uid: "shop/r", namespace: "shop", name: "r", createdAt: 0, notUnderstood: undefined };
  const parents = [routeParent("shop/db", { port: 5432 })];

  for (const version of ["v1", "v1alpha2"]) {
    test(`TCPRoute ${version}`, () => {
      const { route, problems } = parse("TCPRoute", version, `{${PARENT}, rules: [{name: all, ${BACKENDS}}]}`);
      assert.deepEqual(problems, []);
      assert.deepEqual(route, {
        kind: "TCPRoute",
        ...own,
        parents,
        hostnames: [],
        rules: [{ name: "all", backends }],
      });
    });
  }

  for (const version of ["v1", "v1alpha2", "v1alpha3"]) {
    test(`TLSRoute ${version}`, () => {
      const names = "hostnames: [db.example.com, '*.example.org']";
      const { route, problems } = parse("TLSRoute", version, `{${PARENT}, ${names}, rules: [{${BACKENDS}}]}`);
      assert.deepEqual(problems, []);
      const hostnames = ["db.example.com", "*.example.org"];
      assert.deepEqual(route, { kind: "TLSRoute", ...own, parents, hostnames, rules: [{ name: undefined, backends }] });
    });
  }
});

describe("what is not understood lets no connection through", () => {
  const rows: [string, string, string][] = [
    ["TCPRoute", `{${PARENT}, hostnames: [a.example]}`, "spec.hostnames: this field is not supported"],
    ["TCPRoute", `{${PARENT}, rules: [{matches: []}]}`, "spec.rules[0].matches: this field is not supported"],
    [
      "TLSRoute",
      `{${PARENT}, hostnames: [a b]}`,
      'spec.hostnames[0]: expected a host name, or *. and a host name, found "a b"',
    ],
    [
      "TLSRoute",
      `{${PARENT}, rules: [{backendRefs: [{name: a, port: 1, weight: -1}]}]}`,
      "spec.rules[0].backendRefs[0].weight: expected whole number from 0 to 1000000, found -1",
    ],
  ];
  for (const [kind, spec, expected] of rows) {
    test(`${kind} ${spec}`, () => {
      const { route, problems } = parse(kind, "v1", spec);
      assert.deepEqual(problems, [`- 4: ${expected}`]);
      assert.equal(route?.notUnderstood, `f.yaml:4: ${expected}`);
    });
  }

  test("but a backend that can never be served keeps its share", () => {
    const { route } = parse(
      "TCPRoute",
      "v1",
      `{${PARENT}, rules: [{backendRefs: [{kind: Pod, name: a, port: 1}, {name: b, port: 1}]}]}`,
    );
    assert.equal(route?.notUnderstood, undefined);
    const [rule] = route?.rules ?? [];
    assert.match(rule?.backends[0]?.invalid ?? "", /found \/Pod/);
    assert.equal(rule?.backends[1]?.invalid, undefined);
  });
});
