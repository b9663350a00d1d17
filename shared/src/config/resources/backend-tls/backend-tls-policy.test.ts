import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BackendTlsPolicyResource } from "../resource.ts";
import { brief, parseText } from "../text-fixtures.ts";

function parse(spec: string, version = "v1"): { read: BackendTlsPolicyResource | undefined; problems: string[] } {
  const head = `apiVersion: gateway.networking.k8s.io/${version}\nkind: BackendTLSPolicy\nmetadata: {name: p, namespace: shop}\n`;
  const { resources, problems } = parseText(`${head}spec: ${spec}\n`);
  const [resource] = resources;
  return { read: resource?.kind === "BackendTLSPolicy" ? resource : undefined, problems: brief(problems) };
}

const TARGET = "targetRefs: [{group: '', kind: Service, name: bank}]";

test("a policy as people write it", () => {
  for (const version of ["v1", "v1alpha3"]) {
    const { read, problems } = parse(
      `{targetRefs: [{group: "", kind: Service, name: bank, sectionName: https}], validation: {hostname: bank.example.com, subjectAltNames: [{type: Hostname, hostname: "*.example.com"}, {type: URI, uri: "spiffe://a/ns/b/sa/c"}], caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}, {group: "", kind: Secret, name: more}]}}`,
      version,
    );
    assert.deepEqual(problems, []);
    assert.deepEqual(read?.policy, {
      uid: "shop/p",
      namespace: "shop",
      name: "p",
      createdAt: 0,
      targets: [{ name: "bank", sectionName: "https" }],
      hostname: "bank.example.com",
      subjectAltNames: [
        { type: "hostname", value: "*.example.com" },
        { type: "uri", value: "spiffe://a/ns/b/sa/c" },
      ],
      notUnderstood: undefined,
    });
    const path = "spec.validation.caCertificateRefs";
    assert.deepEqual(read?.roots, [
      { kind: "ConfigMap", name: "ca", path: `${path}[0]` },
      { kind: "Secret", name: "more", path: `${path}[1]` },
    ]);
  }
});

test("the roots of the system", () => {
  const { read, problems } = parse(`{${TARGET}, validation: {hostname: a.example, wellKnownCACertificates: System}}`);
  assert.deepEqual(problems, []);
  assert.equal(read?.roots, "system");
});

describe("what is not understood lets nobody through", () => {
  const valid = "hostname: a.example, wellKnownCACertificates: System";
  const rows: [string, string][] = [
    [`{${TARGET}}`, "spec.validation: expected a mapping, found nothing"],
    [`{${TARGET}, validation: {wellKnownCACertificates: System}}`, "spec.validation.hostname: expected a host name"],
    [
      `{${TARGET}, validation: {hostname: a.example}}`,
      "spec.validation: expected caCertificateRefs or wellKnownCACertificates, found neither",
    ],
    [
      `{${TARGET}, validation: {${valid}, caCertificateRefs: [{kind: ConfigMap, name: a}]}}`,
      "spec.validation: expected caCertificateRefs or wellKnownCACertificates, found both",
    ],
    [
      `{${TARGET}, validation: {hostname: a.example, caCertificateRefs: [{kind: Pod, name: a}]}}`,
      "spec.validation.caCertificateRefs[0]: expected a ConfigMap or Secret, found /Pod",
    ],
    [
      `{${TARGET}, validation: {hostname: a.example, wellKnownCACertificates: Mine}}`,
      'spec.validation.wellKnownCACertificates: expected System, found "Mine"',
    ],
    [
      `{${TARGET}, validation: {${valid}, subjectAltNames: [{type: URI, uri: a}]}}`,
      'spec.validation.subjectAltNames[0].uri: expected a URI with a scheme and an authority, found "a"',
    ],
    [`{${TARGET}, validation: {${valid}}, options: {a: b}}`, "spec.options: this field is not supported"],
  ];
  for (const [spec, expected] of rows) {
    test(spec, () => {
      const { read, problems } = parse(spec);
      assert.ok(problems[0]?.startsWith(`- 4: ${expected}`), problems.join());
      assert.ok(read?.policy.notUnderstood?.startsWith(`f.yaml:4: ${expected}`));
    });
  }

  test("but a target of another kind, which is told", () => {
    const { read, problems } = parse(`{targetRefs: [{kind: Gateway, name: a}], validation: {${valid}}}`);
    assert.deepEqual(problems, ["- 4: spec.targetRefs[0]: expected a Service, found /Gateway"]);
    assert.equal(read?.policy.notUnderstood, undefined);
  });
});
