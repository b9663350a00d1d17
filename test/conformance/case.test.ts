import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeText, encodeText } from "./echo-message.ts";
import { parseCase, readCases, readWorld } from "./case.ts";
import { binaryFrame, clientFrame, maskedFrame, plainFrame, textFrame, unmaskedFrame } from "./frames.ts";
import { KNOWN_FAILURES } from "./known-failures.ts";
import { conformanceReport } from "./report.ts";
import { joined, readSaw } from "./saw.ts";

const CASES = [...readCases("mesh"), ...readCases("gateway")];

test("all cases are read: the 23 of the mesh profiles, and those of gateways", () => {
  assert.equal(readCases("mesh").length, 23);
  assert.equal(new Set(CASES.map(({ name }) => name)).size, CASES.length, "names are different");
  for (const one of CASES) {
    const size = one.requests.length + one.shares.length + one.mirrors.length;
    assert.ok(size > 0, `${one.name} asks nothing`);
    assert.ok(one.features.length > 0, `${one.name} has no feature`);
  }
  assert.ok(readWorld("world").length > 3);
  for (const name of Object.keys(KNOWN_FAILURES))
    assert.ok(
      CASES.some((one) => one.name === name),
      name,
    );
});

test("what a case must not say is refused, with its place", () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ["name: A\nrequest: []", /^Error: f\.request: no such key$/],
    ["name: a", /^Error: f\.name: a name like MeshBasic$/],
    ["name: A\nrequests: [{ url: echo }]", /^Error: f\.requests\[0\]\.url: http:\/\//],
    ["name: A\nrequests: [{ url: 'http://echo', pods: x }]", /^Error: f\.requests\[0\]\.pods: no such key$/],
    ["name: A\nrequests: [{ url: 'http://echo', pod: x }]", /^Error: f\.requests\[0\]\.pod: one of echo-v1/],
    ["name: A\nrequests: [{ url: 'http://echo', from: x }]", /^Error: f\.requests\[0\]\.from: one of echo-v1/],
    ["name: A\nshares: [{ url: 'http://echo', of: { x: 1 } }]", /^Error: f\.shares\[0\]\.of: one of echo-v1/],
    ["name: A\nprovisional: 1", /^Error: f\.provisional: true or false$/],
    ["- a", /^Error: f: a mapping$/],
  ];
  for (const [text, told] of wrong) assert.throws(() => parseCase("mesh", "f", text), told);
});

test("what Istio's echo server tells is read, of HTTP and of gRPC", () => {
  const told = readSaw(
    "ServiceVersion=v1\nHost=echo\nURL=/a?b=c\nMethod=GET\nProto=HTTP/1.1\nRequestHeader=X-A:one\nRequestHeader=X-A:two:2\nHostname=pod-1\n",
  );
  assert.deepEqual(
    [told?.pod, told?.host, told?.path, told?.method, told?.http],
    ["pod-1", "echo", "/a?b=c", "GET", "HTTP/1.1"],
  );
  assert.equal(joined(told?.fields ?? [], "x-a"), "one,two:2");
  const call = readSaw(
    "StatusCode=200\nHost=echo:7070\nRequestHeader=:authority:echo:7070\nProto=GRPC\nHostname=pod-2\n",
  );
  assert.deepEqual(
    [call?.pod, call?.path, call?.http, joined(call?.fields ?? [], ":authority")],
    ["pod-2", undefined, undefined, "echo:7070"],
  );
  assert.equal(readSaw("no healthy upstream"), undefined);
});

test("messages and frames come back as they went", () => {
  for (const text of ["", "a", "ä".repeat(200), "x".repeat(70_000)]) assert.equal(decodeText(encodeText(text)), text);
  const [text, binary] = [textFrame("hello"), binaryFrame(Buffer.from([0, 255]))];
  const both = Buffer.concat([plainFrame(text), plainFrame(binary)]);
  assert.deepEqual([unmaskedFrame(both, 0), unmaskedFrame(both, 1), unmaskedFrame(both, 2)], [text, binary, undefined]);
  const sent = maskedFrame(binary);
  assert.deepEqual(clientFrame(sent), { frame: binary, length: sent.length });
  assert.equal(clientFrame(sent.subarray(0, -1)), undefined);
});

test("a report says what failed, what was left out, and which features hold", () => {
  const about = {
    organization: "o",
    url: "u",
    contact: ["c"],
    version: "1",
    date: "2026-01-01T00:00:00Z",
    mode: "test",
  };
  const runs = CASES.map((of) => {
    const problems = of.name === "MeshPorts" ? ["x"] : [];
    return { of, outcome: of.name === "MeshBasic" ? undefined : { name: of.name, problems } };
  });
  const { profiles, succeededProvisionalTests } = conformanceReport(runs, about);
  const [http, grpc] = profiles;
  assert.equal(http?.name, "MESH-HTTP");
  assert.deepEqual(http.core.skippedTests, ["MeshBasic"]);
  assert.equal(http.core.result, "partial");
  assert.deepEqual(http.extended?.failedTests, ["MeshPorts"]);
  assert.equal(http.extended?.result, "failure");
  assert.ok(http.extended?.supportedFeatures?.includes("MeshClusterIPMatching"));
  assert.deepEqual(http.extended?.unsupportedFeatures, [
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
  ]);
  assert.deepEqual(grpc?.core.statistics, { Passed: 2, Skipped: 1, Failed: 0 });
  assert.ok(succeededProvisionalTests.includes("MeshHTTPRoute308Redirect"));
});
