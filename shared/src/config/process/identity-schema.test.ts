import assert from "node:assert/strict";
import { test } from "node:test";
import { formatConfigError, type ConfigError } from "../config-error.ts";
import { parseProcessConfig } from "./load-process-config.ts";
import { UPROXY_SCHEMA } from "./process-schema.ts";

/** The identity block as it is understood, or what is wrong with it. */
function read(block: string, environment: Readonly<Record<string, string>> = {}): unknown {
  const text = Buffer.from(`identity: ${block}\nresources: {files: /mesh}\n`);
  const config = parseProcessConfig(UPROXY_SCHEMA, "/etc/x.yaml", text, new Map(Object.entries(environment)));
  if (Array.isArray(config)) return (config as ConfigError[]).map(formatConfigError).join("\n");
  return "identity" in config ? config.identity : undefined;
}

const remote = { serverName: undefined, store: undefined, life: 86_400_000 };

test("each source has its keys, and relative paths are the configuration's", () => {
  assert.deepEqual(read("{authority: {address: 'authority:15012', bundle: root.pem, token: /t}}"), {
    kind: "authority",
    address: { host: "authority", port: 15012 },
    bundle: "/etc/root.pem",
    token: "/t",
    ...remote,
  });
  assert.deepEqual(
    read("{authority: {address: '[::1]:1', bundle: /b, serverName: authority, store: kept.pem, life: 10m}}"),
    {
      kind: "authority",
      address: { host: "::1", port: 1 },
      bundle: "/b",
      token: undefined,
      serverName: "authority",
      store: "/etc/kept.pem",
      life: 600_000,
    },
  );
  assert.deepEqual(read("{istiod: {address: 'istiod.istio-system.svc:15012', bundle: /b, token: /t}}"), {
    kind: "istiod",
    address: { host: "istiod.istio-system.svc", port: 15012 },
    bundle: "/b",
    token: "/t",
    trustDomain: "cluster.local",
    ...remote,
  });
  assert.deepEqual(read("{workloadApi: unix:///run/agent.sock}"), {
    kind: "workloadApi",
    socket: "/run/agent.sock",
    hint: undefined,
  });
  assert.deepEqual(read("{workloadApi: {socket: unix:///run/agent.sock, hint: internal}}"), {
    kind: "workloadApi",
    socket: "/run/agent.sock",
    hint: "internal",
  });
});

test("variables say the same", () => {
  assert.deepEqual(
    read("{istiod: {address: 'a:1', bundle: /b, token: /t}}", {
      CULVERT_IDENTITY_ISTIOD_TRUST_DOMAIN: "td.test",
      CULVERT_IDENTITY_ISTIOD_LIFE: "1h",
    }),
    {
      kind: "istiod",
      address: { host: "a", port: 1 },
      bundle: "/b",
      token: "/t",
      trustDomain: "td.test",
      ...remote,
      life: 3_600_000,
    },
  );
});

const wrong: readonly [block: string, says: RegExp][] = [
  ["{authority: {address: 'a:1'}}", /identity\.authority\.bundle/],
  ["{authority: {bundle: /b}}", /identity\.authority\.address/],
  ["{authority: {address: ':1', bundle: /b}}", /identity\.authority\.address: expected host:port/],
  ["{istiod: {address: 'a:1', bundle: /b}}", /identity\.istiod\.token/],
  ["{istiod: {address: 'a:1', bundle: /b, token: /t, trustDomain: Upper}}", /trustDomain: expected trust domain/],
  ["{authority: {address: 'a:1', bundle: /b, life: 30s}}", /life: expected from 1m to 90d/],
  ["{authority: {address: 'a:1', bundle: /b, life: 2161h}}", /life: expected from 1m to 90d/],
  ["{authority: {address: 'a:1', bundle: /b, serverName: 'a b'}}", /serverName: expected DNS name/],
  ["{authority: {address: 'a:1', bundle: /b, tokn: /t}}", /tokn: unknown key; did you mean token\?/],
  ["{workloadApi: /run/agent.sock}", /workloadApi: expected unix:\/\/\/path/],
  ["{workloadApi: {socket: 'tcp://1.2.3.4:1'}}", /workloadApi\.socket: expected unix:\/\/\/path/],
  ["{authority: {address: 'a:1', bundle: /b}, files: /f}", /expected exactly one of/],
];
for (const [block, says] of wrong) {
  test(`${block} is refused`, () => {
    assert.match(String(read(block)), says);
    assert.match(String(read(block)), /^\/etc\/x\.yaml:1: /);
  });
}
