import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PeerAuthentication } from "../../policy/authorization.ts";
import { brief, parseText } from "./text-fixtures.ts";

function parse(spec: string): { resource: PeerAuthentication; problems: string[] } {
  const head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\n";
  const { resources, problems } = parseText(`${head}spec: {${spec}}\n`);
  const [resource] = resources;
  assert.ok(resource?.kind === "PeerAuthentication");
  return { resource: resource.peerAuthentication, problems: brief(problems) };
}

test("as people write it", () => {
  const { resource, problems } = parse(
    "selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}, '81': {}}",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(resource, {
    uid: "shop/p",
    namespace: "shop",
    name: "p",
    selector: new Map([["app", "a"]]),
    mode: "STRICT",
    portModes: new Map([
      [80, "DISABLE"],
      [81, "UNSET"],
    ]),
    notUnderstood: undefined,
  });
  assert.equal(parse("").resource.mode, "UNSET");
  assert.equal(parse("mtls: {mode: PERMISSIVE}").resource.selector, undefined);
});

describe("what is not understood is STRICT", () => {
  const rows: [string, string][] = [
    ["mtls: {mode: strict}", 'spec.mtls.mode: expected UNSET | DISABLE | PERMISSIVE | STRICT, found "strict"'],
    ["mtls: {mod: DISABLE}", "spec.mtls.mod: this field is not supported; did you mean mode?"],
    ["mtls: DISABLE", 'spec.mtls: expected a mapping, found "DISABLE"'],
    [
      "selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: DISABLE}}",
      "spec.portLevelMtls.http: expected a port",
    ],
    ["portLevelMtls: {80: {mode: DISABLE}}", "spec.portLevelMtls: expected a selector beside it"],
    ["mode: DISABLE", "spec.mode: this field is not supported"],
  ];
  for (const [spec, expected] of rows) {
    test(spec, () => {
      const { resource, problems } = parse(spec);
      assert.equal(problems[0], `- 4: ${expected}`);
      assert.equal(resource.mode, "STRICT");
      assert.equal(resource.portModes.size, 0);
      assert.equal(resource.notUnderstood, `f.yaml:4: ${expected}`);
    });
  }
});
