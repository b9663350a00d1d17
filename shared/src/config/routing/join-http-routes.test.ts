import assert from "node:assert/strict";
import { test } from "node:test";
import { buildSnapshot } from "../build.ts";
import type { HttpRouteRule } from "../http-route.ts";
import { brief, parseText } from "../resources/text-fixtures.ts";
import { routing } from "./routing.ts";

const MESH = `apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: culvert.dev/v1alpha1
kind: HTTPFilter
metadata: {name: slow}
spec: {fault: {delay: {duration: 1s}}}
---
apiVersion: culvert.dev/v1alpha1
kind: HTTPFilter
metadata: {name: gone}
spec: {directResponse: {status: 410}}
---
apiVersion: culvert.dev/v1alpha1
kind: HTTPFilter
metadata: {name: odd}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
`;
const SLOW = { kind: "fault" as const, fault: { delay: { ms: 1_000, percent: 100 }, abort: undefined } };

function rule(text: string): { rule: HttpRouteRule | undefined; problems: string[]; reasons: unknown[] } {
  const { routes, problems } = buildSnapshot(1, parseText(`${MESH}  - ${text}\n`), () => [], routing);
  const own = problems.filter(({ resource }) => resource === "HTTPRoute default/r");
  return { rule: routes[0]?.rules[0], problems: brief(own), reasons: own.map(({ reason }) => reason) };
}

function extension(name: string): string {
  return `{type: ExtensionRef, extensionRef: {group: culvert.dev, kind: HTTPFilter, name: ${name}}}`;
}

function mirror(name: string): string {
  return `{type: RequestMirror, requestMirror: {backendRef: {name: ${name}, port: 80}}}`;
}

test("filters of a resource stand where it is named", () => {
  const cors = "{type: CORS, cors: {}}";
  const { rule: read, problems } = rule(
    `{filters: [${cors}, ${extension("slow")}], backendRefs: [{name: reviews, port: 80, filters: [${extension("slow")}]}]}`,
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(read?.filters[1], SLOW);
  assert.deepEqual(read?.backends[0]?.filters, [SLOW]);
});

test("a resource that is not there, or not understood, makes the rule answer 500", () => {
  for (const [name, reason] of [
    ["nobody", "there is no HTTPFilter default/nobody"],
    ["odd", "f.yaml:19: spec: expected directResponse, fault or both"],
  ]) {
    const { rule: read, problems, reasons } = rule(`{filters: [${extension(name ?? "")}]}`);
    assert.deepEqual(problems, [`- 21: spec.rules[0].filters[0].extensionRef: ${reason}`]);
    assert.deepEqual(reasons, ["BackendNotFound"]);
    assert.equal(read?.notUnderstood, `spec.rules[0].filters[0].extensionRef: ${reason}`);
  }
});

test("with a backend it makes the share of that backend fail", () => {
  const { rule: read } = rule(
    `{backendRefs: [{name: reviews, port: 80, filters: [${extension("nobody")}]}, {name: reviews, port: 80}]}`,
  );
  assert.equal(read?.notUnderstood, undefined);
  assert.match(read?.backends[0]?.invalid ?? "", /there is no HTTPFilter default\/nobody/);
  assert.equal(read?.backends[1]?.invalid, undefined);
});

test("an answer and backends exclude each other", () => {
  const { rule: read, reasons } = rule(`{filters: [${extension("gone")}], backendRefs: [{name: reviews, port: 80}]}`);
  assert.match(read?.notUnderstood ?? "", /exclude each other/);
  assert.deepEqual(reasons, ["IncompatibleFilters"]);
  assert.equal(rule(`{filters: [${extension("gone")}]}`).rule?.notUnderstood, undefined);
});

test("a mirror that leads nowhere is left out, and the request is served", () => {
  const {
    rule: read,
    problems,
    reasons,
  } = rule(`{filters: [${mirror("nobody")}, ${mirror("reviews")}], backendRefs: [{name: reviews, port: 80}]}`);
  assert.equal(read?.notUnderstood, undefined);
  assert.deepEqual(
    read?.filters.map((filter) => filter.kind === "mirror" && filter.backend.name),
    ["reviews"],
  );
  assert.deepEqual(problems, [
    "- 21: spec.rules[0].filters[0].requestMirror.backendRef: there is no Service default/nobody",
  ]);
  assert.deepEqual(reasons, ["BackendNotFound"]);
});

test("a backend that is not there keeps its share", () => {
  const { rule: read, reasons } = rule(
    "{backendRefs: [{name: nobody, port: 80, weight: 3}, {name: reviews, port: 81}]}",
  );
  assert.deepEqual(
    read?.backends.map(({ weight, invalid }) => [weight, invalid]),
    [
      [3, "there is no Service default/nobody"],
      [1, "Service default/reviews has no port 81"],
    ],
  );
  assert.deepEqual(reasons, ["BackendNotFound", "BackendNotFound"]);
});

test("without a reader of routes they are passed over in silence", () => {
  const { routes, problems } = buildSnapshot(1, parseText(MESH), () => []);
  assert.deepEqual(routes, []);
  assert.deepEqual(
    problems.filter(({ resource }) => resource.startsWith("HTTPRoute")),
    [],
  );
});
