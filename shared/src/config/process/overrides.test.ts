import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfigError } from "../config-error.ts";
import { parseProcessConfig } from "./load-process-config.ts";
import { variableOf } from "./overrides.ts";
import type { UproxyConfig } from "./process-config.ts";
import { UPROXY_SCHEMA } from "./process-schema.ts";

const SOURCES = "identity: {files: /id}\nresources: {files: /mesh}\n";

function uproxy(text: string, environment: Record<string, string>): UproxyConfig {
  const variables = new Map(Object.entries(environment));
  const config = parseProcessConfig(UPROXY_SCHEMA, "x.yaml", Buffer.from(text), variables);
  assert.ok(!Array.isArray(config), JSON.stringify(config));
  return config as UproxyConfig;
}

function errorsOf(text: string, environment: Record<string, string>): string[] {
  const variables = new Map(Object.entries(environment));
  const config = parseProcessConfig(UPROXY_SCHEMA, "x.yaml", Buffer.from(text), variables);
  assert.ok(Array.isArray(config), "expected errors");
  return config.map(formatConfigError);
}

test("a variable is named after the path of its key", () => {
  assert.equal(variableOf(["log", "level"]), "CULVERT_LOG_LEVEL");
  assert.equal(variableOf(["identity", "workloadApi"]), "CULVERT_IDENTITY_WORKLOAD_API");
  assert.equal(variableOf(["dns"]), "CULVERT_DNS");
});

describe("variables override keys", () => {
  test("plain values, lists and sections", () => {
    const config = uproxy(`${SOURCES}log: {level: info, access: failures}\ninbound:\n`, {
      CULVERT_LOG_LEVEL: "debug",
      CULVERT_INBOUND_HBONE: ":25008",
      CULVERT_INBOUND_APP: "127.0.0.1",
      CULVERT_OUTBOUND_LISTENERS: '[{listen: "127.0.0.1:9080", to: "reviews:9080"}]',
      CULVERT_OUTBOUND_UNKNOWN: "refuse",
      CULVERT_WORKLOAD: "{namespace: a, name: b}",
      CULVERT_WORKLOAD_NAME: "123",
      CULVERT_IDENTITY_FILES: "relative/to/where/it/starts",
      CULVERT_METRICS: "off",
      CULVERT_LIMITS_MAX_SESSIONS: "7",
      CULVERT_LIMITS: "{maxSessions: 6, maxHandshakes: 5}",
      CULVERT_LOG_ACCESS: "0.5",
      CULVERT_ADMIN: "",
      PATH: "/bin",
    });
    assert.deepEqual(config.log, { level: "debug", format: "json", access: 0.5 });
    assert.equal(config.inbound.hbone?.port, 25008);
    assert.equal(config.inbound.app, "127.0.0.1");
    assert.equal(config.outbound.listeners[0]?.to.host, "reviews");
    assert.equal(config.outbound.unknown, "refuse");
    assert.deepEqual(config.workload, { namespace: "a", name: "123" });
    assert.deepEqual(config.identity, { kind: "files", location: "relative/to/where/it/starts" });
    assert.equal(config.metrics, undefined);
    assert.equal(config.limits.maxSessions, 7);
    assert.equal(config.limits.maxHandshakes, 5);
    assert.deepEqual(config.admin, { kind: "tcp", host: "127.0.0.1", port: 15000 });
  });

  test("they suffice without a file's content", () => {
    const config = uproxy("", { CULVERT_IDENTITY_FILES: "/id", CULVERT_RESOURCES_FILES: "/mesh" });
    assert.deepEqual(config.resources, { kind: "files", folder: "/mesh", lastGood: undefined });
  });

  test("a value replaces one of another form", () => {
    const text = "identity:\n  files: {certificate: a, key: b, bundles: {c: d}}\nresources: {files: /m}\n";
    assert.deepEqual(uproxy(text, { CULVERT_IDENTITY_FILES: "/id" }).identity, { kind: "files", location: "/id" });
  });

  const rows: [string, Record<string, string>, string][] = [
    [
      "a misspelt variable",
      { CULVERT_LOG_LEVL: "debug" },
      "CULVERT_LOG_LEVL: unknown variable; did you mean CULVERT_LOG_LEVEL?",
    ],
    ["an unknown variable", { CULVERT_COLOUR: "red" }, "CULVERT_COLOUR: unknown variable; it overrides no key"],
    [
      "a bad value",
      { CULVERT_LOG_LEVEL: "loud" },
      'CULVERT_LOG_LEVEL: log.level: expected debug | info | warn | error, found "loud"',
    ],
    ["bad YAML", { CULVERT_OUTBOUND_LISTENERS: "[{" }, "CULVERT_OUTBOUND_LISTENERS: outbound.listeners: Flow"],
    [
      "a bad list item",
      { CULVERT_OUTBOUND_LISTENERS: '[{listen: 1, to: "a:1"}]' },
      "CULVERT_OUTBOUND_LISTENERS:1: outbound.listeners[0].listen: expected a loopback address such as 127.0.0.1:1",
    ],
  ];
  for (const [name, environment, expected] of rows) {
    test(name, () => {
      const [first = ""] = errorsOf(SOURCES, environment);
      assert.ok(first.startsWith(expected), first);
    });
  }

  test("a scalar in the way of an override is the file's error", () => {
    const errors = errorsOf(`${SOURCES}log: loud`, { CULVERT_LOG_LEVEL: "debug" });
    assert.deepEqual(errors, ['x.yaml:3: log: expected a mapping, found "loud"']);
  });

  test("variables by which Kubernetes describes a service of that name are let be", () => {
    const environment = {
      CULVERT_WAYPOINT_SERVICE_HOST: "10.0.0.1",
      CULVERT_WAYPOINT_SERVICE_PORT_MESH: "15008",
      CULVERT_WAYPOINT_PORT: "tcp://10.0.0.1:15008",
      CULVERT_WAYPOINT_PORT_15008_TCP_ADDR: "10.0.0.1",
    };
    assert.equal(uproxy(SOURCES, environment).log.level, "info");
  });
});
