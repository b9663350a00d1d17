import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import type { BackendTls } from "../backend-tls.ts";
import { buildSnapshot } from "../build.ts";
import { dumpSnapshot } from "../config-dump.ts";
import { brief, parseText } from "../resources/text-fixtures.ts";
import { routing } from "./routing.ts";

const PEM = (await testAuthority("a.example")).bundlePem;
const BANK = "apiVersion: v1\nkind: Service\nmetadata: {name: bank}\nspec: {ports: [{name: https, port: 443}]}\n";

function policy(name: string, more: string, created = 0): string {
  const at = new Date(created).toISOString();
  return `---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: ${name}, creationTimestamp: "${at}"}
spec: {targetRefs: [{group: "", kind: Service, name: bank}], validation: {hostname: bank.example, ${more}}}
`;
}

function source(kind: string, name: string, content: object): string {
  return `---\n${JSON.stringify({ apiVersion: "v1", kind, metadata: { name }, ...content })}\n`;
}

function join(...documents: string[]): { policies: readonly BackendTls[]; problems: string[]; reasons: unknown[] } {
  const { backendTls, problems } = buildSnapshot(1, parseText(BANK + documents.join("")), () => [], routing);
  const briefly = brief(problems).map((text) => text.replace(/^- \d+: /, ""));
  return { policies: backendTls, problems: briefly, reasons: problems.map(({ reason }) => reason) };
}

function refs(...names: string[]): string {
  const each = names.map((name) => name.split(" ")).map(([kind, own]) => `{group: "", kind: ${kind}, name: ${own}}`);
  return `caCertificateRefs: [${each.join(", ")}]`;
}

test("certificates come from ConfigMaps and Secrets", () => {
  const { policies, problems } = join(
    policy("p", refs("ConfigMap ca", "Secret ca", "Secret plain")),
    source("ConfigMap", "ca", { data: { "ca.crt": `two of them\n${PEM}${PEM}`, other: "x" } }),
    source("Secret", "ca", { type: "Opaque", data: { "ca.crt": Buffer.from(PEM).toString("base64"), "tls.key": "!" } }),
    source("Secret", "plain", { stringData: { "ca.crt": PEM } }),
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(policies[0]?.roots, [PEM, PEM, PEM, PEM]);
  assert.equal(policies[0]?.notUnderstood, undefined);
});

test("without any certificate the policy cannot be used; with some it can", () => {
  const good = source("ConfigMap", "good", { data: { "ca.crt": PEM } });
  const empty = source("ConfigMap", "empty", { data: {} });
  const none = join(policy("p", refs("ConfigMap nobody", "ConfigMap empty")), empty);
  const path = "spec.validation.caCertificateRefs";
  assert.deepEqual(none.problems, [
    `${path}[0]: there is no ConfigMap default/nobody`,
    `${path}[1]: ConfigMap default/empty has no certificates in ca.crt`,
  ]);
  assert.deepEqual(none.reasons, ["InvalidCACertificateRef", "InvalidCACertificateRef"]);
  assert.equal(none.policies[0]?.notUnderstood, `${path}[0]: there is no ConfigMap default/nobody`);
  const some = join(policy("p", refs("ConfigMap nobody", "ConfigMap good")), good);
  assert.deepEqual(some.policies[0]?.roots, [PEM]);
  assert.equal(some.policies[0]?.notUnderstood, undefined);
});

test("of several policies for one target the oldest counts, then the first by name", () => {
  const system = "wellKnownCACertificates: System";
  const { policies, problems, reasons } = join(policy("a", system, 2), policy("c", system, 1), policy("b", system, 1));
  assert.deepEqual(
    policies.map(({ name, targets }) => [name, targets.length]),
    [
      ["b", 1],
      ["c", 0],
      ["a", 0],
    ],
  );
  const text = "spec.targetRefs[0]: default/b has it already";
  assert.deepEqual(problems, [text, text]);
  assert.deepEqual(reasons, ["Conflicted", "Conflicted"]);
});

test("a target that is not there is told", () => {
  const elsewhere = policy("p", "wellKnownCACertificates: System").replace(
    "name: bank}",
    "name: bank, sectionName: h2}",
  );
  const { problems, reasons } = join(elsewhere);
  assert.deepEqual(problems, ["spec.targetRefs[0]: Service default/bank has no port h2"]);
  assert.deepEqual(reasons, ["TargetNotFound"]);
});

test("the dump has no certificate and nothing of a Secret", () => {
  const secret = source("Secret", "ca", { stringData: { "ca.crt": PEM, password: "hidden" } });
  const snapshot = buildSnapshot(1, parseText(BANK + policy("p", refs("Secret ca")) + secret), () => [], routing);
  const dumped = JSON.stringify({ ...dumpSnapshot(snapshot, routing), of: routing.statusObjects(snapshot, "now") });
  assert.match(dumped, /"roots":1/);
  assert.doesNotMatch(dumped, /CERTIFICATE|hidden|password/);
});

test("no problem quotes what a Secret holds", () => {
  const secret = "c2VjcmV0";
  const wrong = [
    source("Secret", "a", { data: { "ca.crt": secret } }),
    source("Secret", "b", { data: { "ca.crt": `${secret}!` } }),
    source("Secret", "c", { data: secret }),
    source("Secret", "d", { data: { "ca.crt": [secret] } }),
    source("Secret", "e", { stringData: { "ca.crt": secret } }),
    source("ConfigMap", "f", { data: { "ca.crt": secret } }),
  ];
  const { problems } = join(...wrong);
  assert.equal(problems.length, wrong.length);
  assert.doesNotMatch(problems.join(), new RegExp(`${secret}|${Buffer.from(secret, "base64").toString()}\\b`));
});
