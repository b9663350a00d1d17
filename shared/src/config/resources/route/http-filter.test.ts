import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { HttpFilterResource } from "../resource.ts";
import { brief, parseText } from "../text-fixtures.ts";

function parse(spec: string): { filter: HttpFilterResource | undefined; problems: string[] } {
  const head = "apiVersion: culvert.dev/v1alpha1\nkind: HTTPFilter\nmetadata: {name: f, namespace: shop}\n";
  const { resources, problems } = parseText(`${head}spec: ${spec}\n`);
  const [filter] = resources;
  return { filter: filter?.kind === "HTTPFilter" ? filter : undefined, problems: brief(problems) };
}

test("an answer of its own, behind a fault", () => {
  const { filter, problems } = parse(
    "{directResponse: {status: 403, headers: [{name: Content-Type, value: text/plain}], body: no}, fault: {delay: {duration: 1s, percent: 0.5}, abort: {status: 503, grpcStatus: 14, percent: 10}}}",
  );
  assert.deepEqual(problems, []);
  assert.equal(filter?.notUnderstood, undefined);
  assert.deepEqual(filter?.filters, [
    {
      kind: "fault",
      fault: { delay: { ms: 1_000, percent: 0.5 }, abort: { status: 503, grpcStatus: 14, percent: 10 } },
    },
    { kind: "answer", answer: { status: 403, headers: [{ name: "content-type", value: "text/plain" }], body: "no" } },
  ]);
});

test("a fault is for all requests unless it says for how many", () => {
  const { filter } = parse("{fault: {abort: {grpcStatus: 8}}}");
  const abort = { status: 500, grpcStatus: 8, percent: 100 };
  assert.deepEqual(filter?.filters, [{ kind: "fault", fault: { delay: undefined, abort } }]);
});

describe("what is refused", () => {
  const rows: [string, string][] = [
    ["{}", "spec: expected directResponse, fault or both"],
    ["{directResponse: {}}", "spec.directResponse.status: expected a status, found nothing"],
    ["{directResponse: {status: 101}}", "spec.directResponse.status: expected whole number from 200 to 599, found 101"],
    ["{directResponse: {status: 204, body: a}}", "spec.directResponse.body: an answer with status 204 has no body"],
    [
      `{directResponse: {status: 200, body: ${"a".repeat(65_537)}}}`,
      "spec.directResponse.body: expected a text of at most 65536 bytes",
    ],
    [
      "{directResponse: {status: 200, headers: [{name: Content-Length, value: '1'}]}}",
      "spec.directResponse.headers[0].name: expected a header name that may be edited",
    ],
    ["{fault: {}}", "spec.fault: expected delay, abort or both"],
    ["{fault: {delay: {duration: 1h}}}", "spec.fault.delay.duration: expected a duration of at most 300s"],
    ["{fault: {delay: {duration: soon}}}", "spec.fault.delay.duration: expected a duration such as"],
    ["{fault: {abort: {percent: 1}}}", "spec.fault.abort: expected status, grpcStatus or both"],
    [
      "{fault: {abort: {status: 500, percent: 101}}}",
      "spec.fault.abort.percent: expected number from 0 to 100, found 101",
    ],
    ["{directResponse: {status: 200}, faults: {}}", "spec.faults: this field is not supported; did you mean fault?"],
  ];
  for (const [spec, expected] of rows) {
    test(spec.slice(0, 80), () => {
      const { filter, problems } = parse(spec);
      assert.ok(problems[0]?.startsWith(`- 4: ${expected}`), problems.join());
      assert.ok(filter?.notUnderstood?.startsWith(`f.yaml:4: ${expected}`));
    });
  }
});
