import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { brief, parseText } from "./text-fixtures.ts";

const NAMESPACE = "apiVersion: v1\nkind: Namespace\n";

test("metadata of a resource", () => {
  const { resources, problems } = parseText(`
apiVersion: v1
kind: Service
metadata:
  name: reviews
  namespace: shop
  labels: {app.kubernetes.io/name: reviews, empty: ""}
  annotations: {culvert.dev/require-waypoint: "true", note: "any text: at all"}
  creationTimestamp: "2026-01-02T03:04:05Z"
  uid: x
  resourceVersion: "1"
  managedFields: [{manager: kubectl}]
spec: {ports: [{port: 80}]}
status: {loadBalancer: {}}
`);
  assert.deepEqual(brief(problems), []);
  assert.deepEqual(resources[0]?.metadata, {
    namespace: "shop",
    name: "reviews",
    labels: new Map([
      ["app.kubernetes.io/name", "reviews"],
      ["empty", ""],
    ]),
    annotations: new Map([
      ["culvert.dev/require-waypoint", "true"],
      ["note", "any text: at all"],
    ]),
    createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    generation: 0,
    source: "f.yaml",
    line: 2,
  });
});

test("a resource without namespace is in default, a Namespace in none", () => {
  const text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n";
  const { resources } = parseText(`${text}${NAMESPACE}metadata: {name: shop}\nspec: {finalizers: [kubernetes]}\n`);
  assert.deepEqual(
    resources.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name]),
    [
      ["Service", "default", "a"],
      ["Namespace", "", "shop"],
    ],
  );
});

test("a List holds several", () => {
  const { resources, problems } = parseText(`
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: a}}
  - {apiVersion: v1, kind: Pod, metadata: {name: b}}
  - nothing
`);
  assert.equal(resources.length, 1);
  assert.deepEqual(brief(problems), [
    "- 6: kind: v1 Pod is not supported",
    'error 7: : expected a resource, found "nothing"',
  ]);
});

describe("what is wrong is named", () => {
  const rows: [string, string, string[]][] = [
    ["no resource", "- a\n", ["error 1: : expected a resource, found a list"]],
    ["no kind", "apiVersion: v1\n", ["error 1: kind: expected the kind of a resource"]],
    ["a kind that is no text", "kind: 1\n", ["error 1: kind: expected the kind of a resource"]],
    ["no apiVersion", "kind: Service\n", ["error 1: apiVersion: expected the apiVersion of a resource"]],
    ["an unknown kind", "apiVersion: apps/v1\nkind: Deployment\n", ["- 1: kind: apps/v1 Deployment is not supported"]],
    [
      "a misspelt kind",
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolcy\n",
      ["- 1: kind: security.istio.io/v1 AuthorizationPolcy is not supported; did you mean AuthorizationPolicy?"],
    ],
    [
      "a kind of another group",
      "apiVersion: networking.istio.io/v1\nkind: Gateway\n",
      ["- 1: kind: networking.istio.io/v1 Gateway is not supported"],
    ],
    ["no metadata", NAMESPACE, ["error 1: metadata: expected metadata with a name, found nothing"]],
    ["metadata of another form", `${NAMESPACE}metadata: a`, ["error 3: metadata: expected a mapping"]],
    ["no name", `${NAMESPACE}metadata: {labels: {a: b}}`, ["error 3: metadata.name: expected a name, found nothing"]],
    [
      "a bad name",
      `${NAMESPACE}metadata: {name: Shop}`,
      ['error 3: metadata.name: expected a DNS name in lower case, found "Shop"'],
    ],
    [
      "a dot where a label is wanted",
      `${NAMESPACE}metadata: {name: a.b}`,
      ['error 3: metadata.name: expected a DNS name in lower case, found "a.b"'],
    ],
    [
      "a bad namespace",
      "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: a/b}",
      ['error 3: metadata.namespace: expected a DNS label in lower case, found "a/b"'],
    ],
    [
      "a misspelt field of metadata",
      `${NAMESPACE}metadata:\n  name: a\n  label: {b: c}`,
      ["error 5: metadata.label: this field is not supported; did you mean labels?"],
    ],
    [
      "a misspelt field beside it",
      `${NAMESPACE}metadata: {name: a}\nspecs: {}`,
      ["error 4: specs: this field is not supported; did you mean spec?"],
    ],
    [
      "a label that is no string",
      `${NAMESPACE}metadata: {name: a, labels: {version: 1}}`,
      ["error 3: metadata.labels.version: expected a string (in quotes if it looks like another type), found 1"],
    ],
    [
      "a label without value",
      `${NAMESPACE}metadata: {name: a, labels: {version: }}`,
      ["error 3: metadata.labels.version: expected a string (in quotes if it looks like another type), found nothing"],
    ],
    [
      "a bad label",
      `${NAMESPACE}metadata: {name: a, labels: {"a b": "c d"}}`,
      [
        'error 3: metadata.labels: expected a label name, found "a b"',
        'error 3: metadata.labels["a b"]: expected a label value, found "c d"',
      ],
    ],
    [
      "a bad annotation",
      `${NAMESPACE}metadata: {name: a, annotations: {"/": x}}`,
      ['error 3: metadata.annotations: expected a name, found "/"'],
    ],
    [
      "a bad time",
      `${NAMESPACE}metadata: {name: a, creationTimestamp: yesterday}`,
      ['error 3: metadata.creationTimestamp: expected a time (RFC 3339), found "yesterday"'],
    ],
    [
      "a bad mode",
      `${NAMESPACE}metadata: {name: a, labels: {istio.io/dataplane-mode: off}}`,
      ['error 3: metadata.labels["istio.io/dataplane-mode"]: expected ambient | none, found "off"'],
    ],
    [
      "a bad annotation of ours",
      `${NAMESPACE}metadata: {name: a, annotations: {culvert.dev/require-waypoint: "yes"}}`,
      ['error 3: metadata.annotations["culvert.dev/require-waypoint"]: expected true | false, found "yes"'],
    ],
    [
      "a bad port in an annotation",
      `${NAMESPACE}metadata: {name: a, annotations: {culvert.dev/hbone-port: "070000"}}`,
      ['error 3: metadata.annotations["culvert.dev/hbone-port"]: expected a port, found "070000"'],
    ],
    [
      "an unknown field of a Namespace",
      `${NAMESPACE}metadata: {name: a}\nspec: {x: 1}`,
      ["error 4: spec.x: this field is not supported"],
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      assert.deepEqual(brief(parseText(text).problems), expected);
    });
  }

  test("with the resource", () => {
    const { problems } = parseText("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b, x: 1}\n");
    assert.equal(problems[0]?.resource, "Service b/a");
    assert.equal(parseText(`${NAMESPACE}metadata: {name: a, x: 1}`).problems[0]?.resource, "Namespace a");
  });
});

test("a problem shows a glimpse of what somebody wrote", () => {
  const long = "a".repeat(10_000);
  const { problems } = parseText(`apiVersion: v1\nkind: ${long}\nmetadata: {name: ${long}, ${long}: 1}`);
  assert.equal(problems.length, 1);
  const { problems: more } = parseText(`${NAMESPACE}metadata: {name: ${long}, ${long}: 1}`);
  assert.equal(more.length, 2);
  for (const { resource, path, text } of [...problems, ...more]) {
    for (const part of [resource, path, text]) assert.ok(part.length <= 512, `${part.length} characters`);
  }
});

test("of many problems the first are told, and always an error", () => {
  const fields = Array.from({ length: 500 }, (_, index) => `f${index}: 1`).join(", ");
  assert.equal(parseText(`${NAMESPACE}metadata: {name: a}\nspec: {${fields}}`).problems.length, 100);
  const head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n";
  const { problems, resources } = parseText(`${head}spec: {${fields}}`);
  assert.equal(problems.length, 100);
  const [policy] = resources;
  assert.ok(policy?.kind === "AuthorizationPolicy" && policy.policy.notUnderstood !== undefined);
});

test("keys like __proto__ are fields like others", () => {
  const { problems } = parseText(`${NAMESPACE}metadata: {name: a, __proto__: {x: 1}, constructor: 1}`);
  assert.deepEqual(brief(problems), [
    "error 3: metadata.__proto__: this field is not supported",
    "error 3: metadata.constructor: this field is not supported",
  ]);
});

test("a version that is not known makes the resource not understood, not absent", () => {
  const { resources } = parseText("apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy\nmetadata: {name: a}\n");
  const [policy] = resources;
  assert.ok(policy?.kind === "AuthorizationPolicy");
  assert.equal(policy.policy.notUnderstood, "f.yaml:1: apiVersion: expected v1 or v1beta1, found security.istio.io/v2");
});
