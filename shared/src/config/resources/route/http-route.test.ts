import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { HttpRouteDraft } from "../resource.ts";
import { routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { brief, parseText } from "../text-fixtures.ts";

const HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n";
const PARENT = "parentRefs: [{group: '', kind: Service, name: reviews}]";

function parse(spec: string): { route: HttpRouteDraft | undefined; problems: string[] } {
  const { resources, problems } = parseText(`${HEAD}spec:\n  ${spec.replaceAll("\n", "\n  ")}`);
  const [route] = resources;
  return { route: route?.kind === "HTTPRoute" ? route.route : undefined, problems: brief(problems) };
}

function rule(text: string): ReturnType<typeof parse> {
  return parse(`${PARENT}\nrules:\n- ${text}`);
}

test("a route as people write it", () => {
  const { route, problems } = parse(`parentRefs:
- {group: "", kind: Service, name: reviews}
- {group: core, kind: Service, namespace: other, name: ratings, port: 9080}
- {name: ingress}
- {group: gateway.networking.k8s.io, kind: Gateway, name: ingress, sectionName: https}
hostnames: [reviews.example.com, "*.example.org"]
rules:
- name: canary
  matches:
  - path: {type: Exact, value: /v2}
    method: GET
    headers: [{name: X-Canary, value: "yes"}, {type: Exact, name: Accept, value: a/b}]
  - path: {value: /v3/}
  - {}
  filters: []
  backendRefs:
  - {name: reviews-v1, port: 9080, weight: 90}
  - {group: "", kind: Service, name: reviews-v2, namespace: other, port: 9080, weight: 0}
- backendRefs: [{name: reviews, port: 80}]`);
  assert.deepEqual(problems, []);
  assert.deepEqual(route, {
    kind: "HTTPRoute",
    uid: "shop/r",
    namespace: "shop",
    name: "r",
    createdAt: 0,
    parents: [routeParent("shop/reviews"), routeParent("other/ratings", { port: 9080 })],
    hostnames: ["reviews.example.com", "*.example.org"],
    rules: [
      routeRule({
        name: "canary",
        matches: [
          routeMatch({
            path: { kind: "exact", value: "/v2" },
            method: "GET",
            headers: [
              { name: "x-canary", kind: "exact", value: "yes" },
              { name: "accept", kind: "exact", value: "a/b" },
            ],
          }),
          routeMatch({ path: { kind: "prefix", value: "/v3/" } }),
          routeMatch(),
        ],
        backends: [
          routeBackend("shop/reviews-v1", 9080, { weight: 90 }),
          routeBackend("other/reviews-v2", 9080, { weight: 0 }),
        ],
      }),
      routeRule({ backends: [routeBackend("shop/reviews", 80)] }),
    ],
    notUnderstood: undefined,
  });
});

test("no rules are one rule that matches all and leads nowhere", () => {
  const { route } = parse(PARENT);
  assert.deepEqual(route?.rules, [routeRule()]);
  assert.deepEqual(parse(`${PARENT}\nrules: []`).route?.rules, []);
});

describe("what a rule cannot do makes the rule answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a filter that nobody knows",
      "filters: [{type: Wasm}]",
      "- 7: spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS, ExtensionRef, found Wasm",
    ],
    [
      "a duration of another form",
      "timeouts: {request: 1.5s}",
      '- 7: spec.rules[0].timeouts.request: expected a duration such as 500ms, 10s or 1h30m, found "1.5s"',
    ],
    [
      "an attempt that takes longer than the request",
      "timeouts: {request: 1s, backendRequest: 2s}",
      "- 7: spec.rules[0].timeouts.backendRequest: expected at most the time of request",
    ],
    [
      "a retry on a success",
      "retry: {codes: [200]}",
      "- 7: spec.rules[0].retry.codes[0]: expected a status from 400 to 599, found 200",
    ],
    [
      "a permanent cookie without an end",
      "sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}",
      "- 7: spec.rules[0].sessionPersistence.absoluteTimeout: expected how long a permanent cookie lives",
    ],
    [
      "a redirect beside backends",
      "filters: [{type: RequestRedirect, requestRedirect: {}}]\n  backendRefs: [{name: a, port: 1}]",
      "- 7: spec.rules[0].filters: RequestRedirect and backendRefs exclude each other",
    ],
    [
      "an unknown field",
      "backendRef: []",
      "- 7: spec.rules[0].backendRef: this field is not supported; did you mean backendRefs?",
    ],
    [
      "a malformed weight",
      "backendRefs: [{name: a, port: 1, weight: 1.5}]",
      "- 7: spec.rules[0].backendRefs[0].weight: expected whole number from 0 to 1000000, found 1.5",
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = rule(text);
      assert.deepEqual(problems, [expected]);
      assert.equal(
        route?.rules[0]?.notUnderstood,
        `f.yaml:${expected.slice(2).replace(" ", "")}`.replace(":spec", ": spec"),
      );
      assert.equal(route?.notUnderstood, undefined);
    });
  }

  test("and leaves the others alone", () => {
    const { route } = parse(`${PARENT}\nrules:\n- filters: [{}]\n- backendRefs: [{name: a, port: 1}]`);
    assert.notEqual(route?.rules[0]?.notUnderstood, undefined);
    assert.equal(route?.rules[1]?.notUnderstood, undefined);
  });
});

describe("what a match cannot tell apart makes the whole route answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a path of another type",
      "path: {type: Glob, value: '/a*'}",
      "path.type: only Exact, PathPrefix and RegularExpression are supported",
    ],
    [
      "a regular expression without text",
      "path: {type: RegularExpression, value: ''}",
      'path.value: expected a regular expression of at most 1024 characters, found ""',
    ],
    [
      "a header of another type",
      "headers: [{type: Prefix, name: a, value: b}]",
      "headers[0].type: only Exact and RegularExpression are supported",
    ],
    ["a query parameter without value", "queryParams: [{name: a}]", "queryParams[0]: expected a name and a value"],
    ["an unknown field", "paths: /a", "paths: this field is not supported; did you mean path?"],
    [
      "a method",
      "method: get",
      'method: expected GET | HEAD | POST | PUT | DELETE | CONNECT | OPTIONS | TRACE | PATCH, found "get"',
    ],
    ["a header without value", "headers: [{name: a}]", "headers[0]: expected a name and a value"],
    ["a header name", "headers: [{name: 'a b', value: c}]", 'headers[0].name: expected a header name, found "a b"'],
    ...["a", "//a", "/a//b", "/./a", "/a/..", "/%2Fa", "/a?b", "/a#b", "/a b"].map(
      (value): [string, string, string] => [
        `the path ${value}`,
        `path: {value: ${JSON.stringify(value)}}`,
        `path.value: expected a path that begins with / and is in normal form, found ${JSON.stringify(value)}`,
      ],
    ),
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = rule(`matches: [{${text}}]`);
      assert.equal(problems[0], `- 7: spec.rules[0].matches[0].${expected}`);
      assert.ok(route?.notUnderstood?.startsWith(`f.yaml:7: spec.rules[0].matches[0].${expected}`));
    });
  }
});

describe("what the route itself cannot do makes it answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a host name",
      `hostnames: ["a*"]\n${PARENT}`,
      'spec.hostnames[0]: expected a host name, or *. and a host name, found "a*"',
    ],
    ["an unknown field", `useDefaultGateways: All\n${PARENT}`, "spec.useDefaultGateways: this field is not supported"],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = parse(text);
      assert.deepEqual(problems, [`- 5: ${expected}`]);
      assert.equal(route?.notUnderstood, `f.yaml:5: ${expected}`);
    });
  }
});

test("a parent that is nobody's here is told, and the others are served", () => {
  const other = "{group: networking.istio.io, kind: VirtualService, name: a}";
  const { route, problems } = parse(`parentRefs: [${other}, {group: '', kind: Service, name: b, sectionName: http}]`);
  assert.deepEqual(problems, [
    "- 5: spec.parentRefs[0]: expected a Service, ServiceEntry or Gateway, found networking.istio.io/VirtualService",
  ]);
  assert.equal(route?.notUnderstood, undefined);
  assert.deepEqual(route?.parents, [routeParent("shop/b", { sectionName: "http" })]);
});

test("a ServiceEntry may be a parent", () => {
  const { route } = parse("parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: bank, port: 443}]");
  assert.deepEqual(route?.parents, [routeParent("shop/bank", { kind: "entry", port: 443 })]);
});

test("matches by regular expression and query", () => {
  const { route, problems } = rule(`matches:
  - path: {type: RegularExpression, value: "/v[0-9]+/.*"}
    headers: [{type: RegularExpression, name: X-Version, value: "v(1|2)"}]
    queryParams: [{name: Animal, value: whale}, {type: RegularExpression, name: n, value: "[0-9]+"}]`);
  assert.deepEqual(problems, []);
  assert.deepEqual(route?.rules[0]?.matches, [
    routeMatch({
      path: { kind: "regex", value: "/v[0-9]+/.*" },
      headers: [{ name: "x-version", kind: "regex", value: "v(1|2)" }],
      query: [
        { name: "Animal", kind: "exact", value: "whale" },
        { name: "n", kind: "regex", value: "[0-9]+" },
      ],
    }),
  ]);
});

test("time-outs, retries and sessions", () => {
  const { route, problems } = rule(`timeouts: {request: 1m30s, backendRequest: 500ms}
  retry: {codes: [500, 503, 500], attempts: 3, backoff: 100ms}
  sessionPersistence: {sessionName: Shop, absoluteTimeout: 1h, idleTimeout: 5m, cookieConfig: {lifetimeType: Permanent}}`);
  assert.deepEqual(problems, []);
  const [read] = route?.rules ?? [];
  assert.deepEqual(read?.timeouts, { requestMs: 90_000, backendRequestMs: 500 });
  assert.deepEqual(read?.retry, { codes: [500, 503], attempts: 3, backoffMs: 100 });
  assert.deepEqual(read?.persistence, {
    type: "cookie",
    name: "Shop",
    absoluteTimeoutMs: 3_600_000,
    idleTimeoutMs: 300_000,
    permanent: true,
  });
});

test("a time-out that no timer could wait for is as long as one can", () => {
  const { route, problems } = rule("timeouts: {request: 99999h, backendRequest: 99999h}");
  assert.deepEqual(problems, []);
  assert.deepEqual(route?.rules[0]?.timeouts, { requestMs: 2 ** 31 - 1_000, backendRequestMs: 2 ** 31 - 1_000 });
});

test("a session without a name gets one that no other rule has", () => {
  const { route } = parse(`${PARENT}\nrules:\n- sessionPersistence: {}\n- sessionPersistence: {type: Header}`);
  const names = route?.rules.map(({ persistence }) => persistence?.name) ?? [];
  assert.match(names[0] ?? "", /^culvert-session-[0-9a-f]{8}$/);
  assert.equal(new Set(names).size, 2);
});

function many(count: number, text: string): string {
  return `[${Array.from({ length: count }, () => text).join(", ")}]`;
}

describe("Gateway API bounds what one route may say", () => {
  const rows: [string, string, string][] = [
    [
      "parents",
      `parentRefs: ${many(33, "{group: '', kind: Service, name: a}")}`,
      "spec.parentRefs: expected at most 32 entries, found 33",
    ],
    ["host names", `hostnames: ${many(17, "a.example")}`, "spec.hostnames: expected at most 16 entries, found 17"],
    ["rules", `rules: ${many(17, "{}")}`, "spec.rules: expected at most 16 entries, found 17"],
    [
      "matches of a rule",
      `rules: [{matches: ${many(65, "{}")}}]`,
      "spec.rules[0].matches: expected at most 64 entries, found 65",
    ],
    [
      "matches of all rules",
      `rules: ${many(3, `{matches: ${many(43, "{}")}}`)}`,
      "spec.rules: expected at most 128 matches in all, found 129",
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { route, problems } = parse(spec);
      assert.deepEqual(problems, [`- 5: ${expected}`]);
      assert.equal(route?.notUnderstood, `f.yaml:5: ${expected}`);
    });
  }

  test("filters and backends of a rule", () => {
    const mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}}}";
    const { route, problems } = rule(`filters: ${many(17, mirror)}\n  backendRefs: ${many(17, "{name: a, port: 1}")}`);
    assert.deepEqual(problems, [
      "- 7: spec.rules[0].filters: expected at most 16 entries, found 17",
      "- 8: spec.rules[0].backendRefs: expected at most 16 entries, found 17",
    ]);
    assert.notEqual(route?.rules[0]?.notUnderstood, undefined);
  });
});

test("a backend may be a host", () => {
  const { route, problems } = rule(
    "backendRefs: [{kind: Hostname, group: networking.istio.io, name: api.example.com, port: 443}]",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(route?.rules[0]?.backends, [routeBackend("shop/api.example.com", 443, { kind: "host" })]);
});

describe("a backend that can never be served keeps its share", () => {
  const rows: [string, string][] = [
    [
      "{kind: ServiceEntry, group: networking.istio.io, name: a, port: 1}",
      "expected a Service, or a Hostname of networking.istio.io, found networking.istio.io/ServiceEntry",
    ],
    ["{name: a}", "expected a port of the Service"],
    [
      "{kind: Hostname, name: a.example, port: 1}",
      "expected a Service, or a Hostname of networking.istio.io, found /Hostname",
    ],
    ["{kind: Hostname, group: networking.istio.io, name: a.example}", "expected a port of the host"],
    ["{kind: Hostname, group: networking.istio.io, port: 1}", "expected the name of a host"],
    ["{port: 1}", "expected the name of a Service"],
  ];
  for (const [backend, reason] of rows) {
    test(backend, () => {
      const { route, problems } = rule(`backendRefs: [${backend}, {name: b, port: 1}]`);
      assert.deepEqual(problems, [`- 7: spec.rules[0].backendRefs[0]: ${reason}`]);
      assert.equal(route?.rules[0]?.notUnderstood, undefined);
      assert.equal(route?.rules[0]?.backends[0]?.invalid, reason);
      assert.equal(route?.rules[0]?.backends[1]?.invalid, undefined);
    });
  }
});
