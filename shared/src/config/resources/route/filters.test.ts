import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { routeBackend } from "@culvert/test/support/fixtures.ts";
import type { FilterDraft, HttpRuleDraft } from "../resource.ts";
import { brief, parseText } from "../text-fixtures.ts";

const HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n";
const SPEC = "spec:\n  parentRefs: [{group: '', kind: Service, name: reviews}]\n";
const PREFIX = "matches: [{path: {value: /a}}]";

function rule(text: string): { rule: HttpRuleDraft | undefined; problems: string[]; reasons: unknown[] } {
  const { resources, problems } = parseText(`${HEAD}${SPEC}  rules: [{${text}}]`);
  const [route] = resources;
  return {
    rule: route?.kind === "HTTPRoute" ? route.route.rules[0] : undefined,
    problems: brief(problems),
    reasons: problems.map(({ reason }) => reason),
  };
}

describe("a filter as people write it", () => {
  const rows: [string, string, FilterDraft][] = [
    [
      "request headers",
      "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: a}], add: [{name: x-b, value: 'b, c'}], remove: [X-C]}}",
      {
        kind: "request-headers",
        edit: { set: [{ name: "x-a", value: "a" }], add: [{ name: "x-b", value: "b, c" }], remove: ["x-c"] },
      },
    ],
    [
      "response headers",
      "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: a}]}}",
      { kind: "response-headers", edit: { set: [{ name: "x-a", value: "a" }], add: [], remove: [] } },
    ],
    [
      "another host and a whole path",
      "{type: URLRewrite, urlRewrite: {hostname: b.example, path: {type: ReplaceFullPath, replaceFullPath: /b}}}",
      { kind: "rewrite", host: "b.example", path: { kind: "full", value: "/b" } },
    ],
    [
      "another beginning of the path",
      "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}",
      { kind: "rewrite", host: undefined, path: { kind: "prefix", value: "" } },
    ],
    [
      "a redirect",
      "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: b.example, port: 8443, statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}",
      {
        kind: "redirect",
        scheme: "https",
        host: "b.example",
        port: 8443,
        path: { kind: "prefix", value: "/b" },
        status: 308,
      },
    ],
    [
      "a redirect that says nothing",
      "{type: RequestRedirect, requestRedirect: {}}",
      { kind: "redirect", scheme: undefined, host: undefined, port: undefined, path: undefined, status: 302 },
    ],
    [
      "a mirror of all requests",
      "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}",
      mirror(100, 100),
    ],
    [
      "a mirror of some in a hundred",
      "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 20}}",
      mirror(20, 100),
    ],
    [
      "a mirror of a fraction",
      "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, fraction: {numerator: 1, denominator: 2}}}",
      mirror(1, 2),
    ],
    [
      "other origins",
      "{type: CORS, cors: {allowOrigins: ['https://*.b.example', 'http://c.example:8080'], allowMethods: [GET, PUT], allowHeaders: [X-A], exposeHeaders: ['*'], allowCredentials: true, maxAge: 10}}",
      {
        kind: "cors",
        allowOrigins: ["https://*.b.example", "http://c.example:8080"],
        allowMethods: ["GET", "PUT"],
        allowHeaders: ["X-A"],
        exposeHeaders: ["*"],
        allowCredentials: true,
        maxAgeSeconds: 10,
      },
    ],
    [
      "a resource",
      "{type: ExtensionRef, extensionRef: {group: culvert.dev, kind: HTTPFilter, name: hello}}",
      { kind: "extension", name: "hello", path: "spec.rules[0].filters[0].extensionRef" },
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const read = rule(`${PREFIX}, filters: [${text}]`);
      assert.deepEqual(read.problems, []);
      assert.deepEqual(read.rule?.filters, [expected]);
    });
  }

  test("or with a backend", () => {
    const modifier = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}";
    const { rule: read, problems } = rule(`backendRefs: [{name: b, port: 80, filters: [${modifier}]}]`);
    assert.deepEqual(problems, []);
    const filters = [{ kind: "request-headers" as const, edit: { set: [], add: [], remove: ["x-a"] } }];
    assert.deepEqual(read?.backends, [routeBackend("shop/b", 80, { filters })]);
  });
});

function mirror(numerator: number, denominator: number): FilterDraft {
  const { kind, namespace, name, port, invalid } = routeBackend("shop/b", 80);
  const path = "spec.rules[0].filters[0].requestMirror.backendRef";
  return { kind: "mirror", backend: { kind, namespace, name, port, invalid }, numerator, denominator, path };
}

function edit(text: string): string {
  return `{type: RequestHeaderModifier, requestHeaderModifier: {${text}}}`;
}

function pathRewrite(text: string): string {
  return `{type: URLRewrite, urlRewrite: {path: {${text}}}}`;
}

function cors(text: string): string {
  return `{type: CORS, cors: {${text}}}`;
}

describe("a filter that says what it may not makes the rule answer 500", () => {
  const rows: [string, string, string][] = [
    ["nothing", "{type: CORS}", ".cors: expected a mapping, found nothing"],
    ["another's field", "{type: CORS, cors: {}, urlRewrite: {}}", ".urlRewrite: this field is not supported"],
    ["external authorization", "{type: ExternalAuth, externalAuth: {}}", ".type: expected one of"],
    ["a header twice", edit("set: [{name: A, value: b}], remove: [a]"), ".requestHeaderModifier: a is there twice"],
    [
      "Host",
      edit("set: [{name: Host, value: b}]"),
      ".requestHeaderModifier.set[0].name: expected a header name that may be edited",
    ],
    [
      "framing",
      edit("remove: [Content-Length]"),
      ".requestHeaderModifier.remove[0]: expected a header name that may be edited",
    ],
    [
      "a pseudo header",
      edit('set: [{name: ":path", value: b}]'),
      ".requestHeaderModifier.set[0].name: expected a header",
    ],
    [
      "a line in a value",
      edit('add: [{name: a, value: "b\\r\\nc: d"}]'),
      ".requestHeaderModifier.add[0].value: expected a header value",
    ],
    [
      "a path without slash",
      pathRewrite("type: ReplaceFullPath, replaceFullPath: a"),
      ".urlRewrite.path.replaceFullPath: expected a path",
    ],
    [
      "a path that goes up",
      pathRewrite("type: ReplaceFullPath, replaceFullPath: /../a"),
      ".urlRewrite.path.replaceFullPath: expected a path",
    ],
    [
      "a path of another type",
      pathRewrite("type: Regex"),
      ".urlRewrite.path.type: expected ReplaceFullPath | ReplacePrefixMatch",
    ],
    [
      "a status",
      "{type: RequestRedirect, requestRedirect: {statusCode: 300}}",
      ".requestRedirect.statusCode: expected 301 | 302 | 303 | 307 | 308, found 300",
    ],
    [
      "a scheme",
      "{type: RequestRedirect, requestRedirect: {scheme: ftp}}",
      '.requestRedirect.scheme: expected http | https, found "ftp"',
    ],
    [
      "a mirror of nothing",
      "{type: RequestMirror, requestMirror: {}}",
      ".requestMirror.backendRef: expected a backend, found nothing",
    ],
    [
      "two shares",
      "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 1, fraction: {numerator: 1}}}",
      ".requestMirror: expected percent or fraction, found both",
    ],
    [
      "more than all",
      "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, fraction: {numerator: 3, denominator: 2}}}",
      ".requestMirror.fraction: expected a numerator from 0 to 2",
    ],
    [
      "a path as origin",
      cors("allowOrigins: ['https://b.example/x']"),
      ".cors.allowOrigins[0]: expected an origin, or *",
    ],
    ["all and one", cors("allowMethods: ['*', GET]"), ".cors.allowMethods[0]: expected * alone"],
    ["an age of nothing", cors("maxAge: 0"), ".cors.maxAge: expected whole number from 1"],
    [
      "another resource",
      "{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}",
      ".extensionRef: expected HTTPFilter of culvert.dev, found a/B",
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { rule: read, problems } = rule(`${PREFIX}, filters: [${text}]`);
      assert.ok(problems[0]?.startsWith(`- 6: spec.rules[0].filters[0]${expected}`), problems.join());
      assert.ok(read?.notUnderstood?.startsWith(`f.yaml:6: spec.rules[0].filters[0]${expected}`));
    });
  }
});

describe("filters that do not go together", () => {
  const redirect = "{type: RequestRedirect, requestRedirect: {}}";
  const rewrite = "{type: URLRewrite, urlRewrite: {}}";
  const rows: [string, string, string][] = [
    ["two of a kind", `${rewrite}, ${rewrite}`, "filters[1]: there is another URLRewrite"],
    ["redirect and rewrite", `${redirect}, ${rewrite}`, "filters: RequestRedirect and URLRewrite exclude each other"],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { rule: read, problems, reasons } = rule(`filters: [${text}]`);
      assert.deepEqual(problems, [`- 6: spec.rules[0].${expected}`]);
      assert.deepEqual(reasons, ["IncompatibleFilters"]);
      assert.notEqual(read?.notUnderstood, undefined);
    });
  }

  test("a prefix is replaced where one prefix is matched", () => {
    const replace =
      "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]";
    const isTaken = (matches: string): boolean => rule(`${matches}${replace}`).rule?.notUnderstood === undefined;
    assert.ok(isTaken(""));
    assert.ok(isTaken("matches: [{method: GET}], "));
    assert.ok(!isTaken("matches: [{path: {type: Exact, value: /a}}], "));
    assert.ok(!isTaken("matches: [{path: {value: /a}}, {path: {value: /c}}], "));
  });

  test("what is wrong with a filter of a backend makes that backend's share fail", () => {
    const { rule: read } = rule(
      `backendRefs: [{name: a, port: 1, filters: [{type: CORS, cors: {}}]}, {name: b, port: 1, filters: []}]`,
    );
    assert.equal(read?.notUnderstood, undefined);
    assert.match(read?.backends[0]?.invalid ?? "", /belongs to the rule/);
    assert.equal(read?.backends[1]?.invalid, undefined);
  });
});
