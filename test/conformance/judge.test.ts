import assert from "node:assert/strict";
import { test } from "node:test";
import type { Ask } from "./case.ts";
import type { Answer } from "./job.ts";
import { judge, judgeCopies, judgeShare, judgeStatuses, partsOf } from "./judge.ts";
import { PODS } from "./pods.ts";
import type { Saw } from "./saw.ts";

const URL = "http://echo/a?b=c";

function ask(parts: Partial<Ask> = {}): Ask {
  return {
    from: "echo-v1",
    url: URL,
    method: "GET",
    host: undefined,
    headers: [],
    body: undefined,
    http: "1.1",
    status: [200],
    grpc: undefined,
    pods: ["echo-v1"],
    path: undefined,
    sawHost: undefined,
    sawHttp: undefined,
    saw: [],
    answers: [],
    location: undefined,
    text: undefined,
    log: {},
    ...parts,
  };
}

function saw(parts: Partial<Saw> = {}): Saw {
  return { pod: PODS["echo-v1"].name, method: "GET", path: "/a?b=c", host: "echo", fields: [], ...parts };
}

function answer(seen: Saw | undefined, parts: Partial<Answer> = {}): Answer {
  return {
    status: 200,
    fields: [],
    text: seen === undefined ? "" : JSON.stringify(seen),
    grpc: -1,
    error: undefined,
    ...parts,
  };
}

const answers = (first: number, second: number): Answer[] => [
  ...Array.from({ length: first }, () => answer(saw())),
  ...Array.from({ length: second }, () => answer(saw({ pod: PODS["echo-v2"].name }))),
];

const share = (parts: Record<string, number>) => ({ ask: ask(), count: 100, parts, sawOfPod: undefined });

const mirror = (part: number) => ({ ask: ask(), count: 500, copies: { "echo-v2": part } });

const dumped = (accepted: string, refs: readonly [string, string]) => ({
  routes: {
    "n/a": {
      status: [
        {
          conditions: [
            { type: "Accepted", status: accepted, reason: "Accepted" },
            { type: "ResolvedRefs", status: refs[0], reason: refs[1] },
          ],
        },
      ],
    },
  },
});

test("URLs come apart, IPv6 and ports included", () => {
  assert.deepEqual(partsOf("http://echo/a?b"), { host: "echo", port: 80, authority: "echo", target: "/a?b" });
  assert.deepEqual(partsOf("http://[fd99::1]:8080"), {
    host: "fd99::1",
    port: 8080,
    authority: "[fd99::1]:8080",
    target: "/",
  });
});

test("an answer by the right pod that saw what was sent passes", () => {
  assert.deepEqual(judge(ask(), URL, answer(saw())), []);
});

test("every way to be wrong is told", () => {
  const wrong: readonly (readonly [Partial<Ask>, Answer, RegExp])[] = [
    [{}, answer(undefined, { error: "late" }), /^no answer: late/],
    [{}, answer(saw(), { status: 503 }), /^status is 503 in place of "200"/],
    [{}, answer(saw({ pod: PODS["echo-v2"].name })), /^echo-v2-\S+ answered in place of echo-v1/],
    [{}, answer(saw({ pod: PODS.consumer.name })), /^echo-v1-\S+ answered in place of echo-v1/],
    [{}, answer(saw({ path: "/a" })), /^path that the backend saw is \/a in place of \/a\?b=c/],
    [{}, answer(saw({ method: "POST" })), /^method that the backend saw is POST/],
    [{}, answer(saw({ host: "other" })), /^host that the backend saw is other in place of echo/],
    [{ sawHttp: "HTTP/2.0" }, answer(saw({ http: "HTTP/1.1" })), /^HTTP version that the backend saw is HTTP\/1.1/],
    [{ saw: [["X", ["a"]]] }, answer(saw()), /^backend saw X: \(absent\) in place of a/],
    [{ saw: [["X", [undefined]]] }, answer(saw({ fields: [["x", "a"]] })), /^backend saw X: a in place of \(absent\)/],
    [
      { saw: [["X", ["a,b"]]] },
      answer(
        saw({
          fields: [
            ["x", "b"],
            ["X", "a"],
          ],
        }),
      ),
      /^backend saw X: b,a in place of a,b/,
    ],
    [{ answers: [["X", ["a", "b"]]] }, answer(saw(), { fields: [["x", "c"]] }), /^answered X: c in place of a or b/],
    [{ status: [302], pods: [], location: "http://a/" }, answer(undefined, { status: 302 }), /^location is undefined/],
    [{ status: [404], pods: [] }, answer(saw(), { status: 404 }), /answered, though nobody should/],
    [{ grpc: 0 }, answer(saw(), { grpc: 12 }), /^grpc-status is 12 in place of 0/],
    [{}, answer(undefined), /^no pod answered/],
  ];
  for (const [parts, given, told] of wrong) {
    const [problem = ""] = judge(ask(parts), URL, given);
    assert.match(problem, told);
  }
});

test("shares may differ by 0.05, and no weight is no request", () => {
  assert.deepEqual(judgeShare(share({ "echo-v1": 0.7, "echo-v2": 0.3 }), URL, answers(66, 34)).parts, []);
  assert.equal(judgeShare(share({ "echo-v1": 0.7, "echo-v2": 0.3 }), URL, answers(64, 36)).parts.length, 2);
  assert.deepEqual(judgeShare(share({ "echo-v1": 1, "echo-v2": 0 }), URL, answers(99, 1)).parts.length, 1);
  assert.equal(judgeShare(share({ "echo-v1": 1 }), URL, answers(99, 1)).answered.length, 1);
});

test("copies are counted within four standard deviations, and all of them where all are demanded", () => {
  assert.deepEqual(judgeCopies(mirror(0.2), "echo-v2", 130), []);
  assert.equal(judgeCopies(mirror(0.2), "echo-v2", 140).length, 1);
  assert.deepEqual(judgeCopies(mirror(1), "echo-v2", 500), []);
  assert.equal(judgeCopies(mirror(1), "echo-v2", 499).length, 1);
  assert.equal(judgeCopies(mirror(0), "echo-v2", 1).length, 1);
});

test("a route's status is demanded of each parent", () => {
  const resources = [
    {
      apiVersion: "v1",
      kind: "HTTPRoute",
      metadata: { name: "a", namespace: "n" },
      spec: { parentRefs: [{ name: "echo" }] },
    },
  ];
  const one = {
    name: "A",
    suite: "mesh",
    features: [],
    provisional: false,
    ownEchoOnly: false,
    resources,
    requests: [],
    shares: [],
    mirrors: [],
    statuses: [],
  } as const;
  assert.deepEqual(judgeStatuses(one, dumped("True", ["True", "ResolvedRefs"])), []);
  assert.equal(judgeStatuses(one, dumped("False", ["True", "ResolvedRefs"])).length, 1);
  assert.equal(judgeStatuses(one, { routes: {} }).length, 1);
  const invalid = { ...one, statuses: [{ route: "HTTPRoute n/a", accepted: "Accepted", resolvedRefs: "InvalidKind" }] };
  assert.deepEqual(judgeStatuses(invalid, dumped("True", ["False", "InvalidKind"])), []);
  assert.equal(judgeStatuses(invalid, dumped("True", ["True", "ResolvedRefs"])).length, 1);
});
