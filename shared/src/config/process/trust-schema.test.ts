import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfigError, type ConfigError } from "../config-error.ts";
import { parseProcessConfig } from "./load-process-config.ts";
import { UPROXY_SCHEMA } from "./process-schema.ts";

function read(keys: string, more = ""): unknown {
  const text = `identity: {files: /id, ${keys}}\nresources: {files: /mesh}\n${more}`;
  const config = parseProcessConfig(UPROXY_SCHEMA, "/etc/x.yaml", Buffer.from(text), new Map());
  if (Array.isArray(config)) return (config as ConfigError[]).map(formatConfigError);
  return "identity" in config && config.identity.trust;
}

test("bundles of other trust domains, aliases and revocation lists", () => {
  assert.deepEqual(
    read(
      "federation: {a.test: a.pem, b.test: {endpoint: 'https://b.test', profile: https_web}, " +
        "c.test: {endpoint: 'https://[::1]:8443/x?y', profile: https_spiffe, id: 'spiffe://c.test/spire/server', bundle: /c.pem}}, " +
        "trustDomainAliases: [old.test], crl: lists.pem",
    ),
    {
      federation: new Map<string, unknown>([
        ["a.test", "/etc/a.pem"],
        ["b.test", { host: "b.test", port: 443, path: "/", profile: { kind: "https_web", roots: undefined } }],
        [
          "c.test",
          {
            host: "::1",
            port: 8443,
            path: "/x?y",
            profile: { kind: "https_spiffe", id: "spiffe://c.test/spire/server", bundle: "/c.pem" },
          },
        ],
      ]),
      aliases: ["old.test"],
      crls: ["/etc/lists.pem"],
    },
  );
  assert.deepEqual(read("crl: [a.crl, /b.crl]"), {
    federation: new Map(),
    aliases: [],
    crls: ["/etc/a.crl", "/b.crl"],
  });
  assert.equal(read(""), undefined, "nothing configured is nothing to load");
});

describe("what is refused", () => {
  const rows: [string, string, string][] = [
    [
      "a name that is no trust domain",
      "federation: {A.test: a.pem}",
      'identity.federation["A.test"]: expected trust domain, found the key "A.test"',
    ],
    [
      "an endpoint without encryption",
      "federation: {a.test: {endpoint: 'http://a.test/', profile: https_web}}",
      'identity.federation["a.test"].endpoint: expected https://host[:port]/path, found "http://a.test/"',
    ],
    [
      "userinfo in an endpoint",
      "federation: {a.test: {endpoint: 'https://a@b/', profile: https_web}}",
      'identity.federation["a.test"].endpoint: expected https://host[:port]/path, found "https://a@b/"',
    ],
    [
      "https_spiffe without what proves it",
      "federation: {a.test: {endpoint: 'https://a/', profile: https_spiffe}}",
      'identity.federation["a.test"]: https_spiffe needs id and bundle',
    ],
    [
      "an id of another trust domain",
      "federation: {a.test: {endpoint: 'https://a/', profile: https_spiffe, id: 'spiffe://b.test/s', bundle: a.pem}}",
      "identity.federation: the endpoint of a.test must have an id of a.test, found spiffe://b.test/s",
    ],
    [
      "an id for https_web",
      "federation: {a.test: {endpoint: 'https://a/', profile: https_web, id: 'spiffe://a.test/s'}}",
      'identity.federation["a.test"]: https_web takes no id',
    ],
    [
      "an alias that is no trust domain",
      "trustDomainAliases: [x/y]",
      'identity.trustDomainAliases[0]: expected trust domain, found "x/y"',
    ],
    ["a list that is no path", "crl: {a: b}", "identity.crl: expected path, found a mapping"],
  ];
  for (const [what, keys, expected] of rows) {
    test(what, () => assert.deepEqual(read(keys), [`/etc/x.yaml:1: ${expected}`]));
  }
});
