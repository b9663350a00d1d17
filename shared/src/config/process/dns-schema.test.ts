import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfigError, type ConfigError } from "../config-error.ts";
import { parseProcessConfig } from "./load-process-config.ts";
import { UPROXY_SCHEMA } from "./process-schema.ts";

const SOURCES = "identity: {files: /id}\nresources: {files: /mesh}\n";

function dns(value: string): unknown {
  const config = parseProcessConfig(UPROXY_SCHEMA, "x.yaml", Buffer.from(`${SOURCES}dns: ${value}\n`), new Map());
  return Array.isArray(config) ? (config as ConfigError[]).map(formatConfigError) : "dns" in config && config.dns;
}

test("an address alone, or who is asked for other names beside it", () => {
  assert.equal(dns("off"), undefined);
  assert.deepEqual(dns('"[::1]:15053"'), { listen: { kind: "tcp", host: "::1", port: 15053 }, upstream: undefined });
  assert.deepEqual(dns('{listen: "localhost:53", upstream: [10.96.0.10, "[fd00::a]:5353"]}'), {
    listen: { kind: "tcp", host: "localhost", port: 53 },
    upstream: [
      { ip: "10.96.0.10", port: 53 },
      { ip: "fd00::a", port: 5353 },
    ],
  });
});

describe("what is refused", () => {
  const rows: [string, string, string][] = [
    ["no form", "yes", 'dns: expected host:port, :port or port, found "yes"'],
    ["for others", ":53", "dns: expected a loopback address such as 127.0.0.1:53, found :53 (all interfaces)"],
    [
      "a resolver by name",
      '{listen: "127.0.0.1:53", upstream: [dns.example]}',
      'dns.upstream[0]: expected IP address, or IP:port, found "dns.example"',
    ],
    [
      "more resolvers than are asked",
      '{listen: "127.0.0.1:53", upstream: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]}',
      "dns.upstream: expected at most 3 resolvers, found 4",
    ],
  ];
  for (const [name, value, error] of rows) test(name, () => assert.deepEqual(dns(value), [`x.yaml:3: ${error}`]));
});
