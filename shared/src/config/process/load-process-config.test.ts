import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { DEFAULT_TUNNEL_LIMITS } from "../../tunnel/limits.ts";
import { formatConfigError } from "../config-error.ts";
import { loadUproxyConfig, parseProcessConfig } from "./load-process-config.ts";
import type { UproxyConfig, WaypointConfig } from "./process-config.ts";
import { UPROXY_SCHEMA, WAYPOINT_SCHEMA } from "./process-schema.ts";
import type { Schema } from "./schema.ts";

const SOURCES = "identity: {files: /id}\nresources: {files: /mesh}\n";
const NOTHING: ReadonlyMap<string, string> = new Map();

function read<T>(schema: Schema<T>, text: string): T {
  const config = parseProcessConfig(schema, "/etc/culvert/x.yaml", Buffer.from(text), NOTHING);
  assert.ok(!Array.isArray(config), JSON.stringify(config));
  return config as T;
}

function uproxy(text: string): UproxyConfig {
  return read(UPROXY_SCHEMA, text);
}

function waypoint(text: string): WaypointConfig {
  return read(WAYPOINT_SCHEMA, text);
}

function errorsOf(schema: Schema<unknown>, text: string): string[] {
  const config = parseProcessConfig(schema, "x.yaml", Buffer.from(text), NOTHING);
  assert.ok(Array.isArray(config), "expected errors");
  return config.map(formatConfigError);
}

test("the shortest uproxy.yaml has every default", () => {
  assert.deepEqual(uproxy(SOURCES), {
    workload: undefined,
    identity: { kind: "files", location: "/id" },
    resources: { kind: "files", folder: "/mesh", lastGood: undefined },
    inbound: {
      hbone: { kind: "tcp", host: "", port: 15008 },
      app: undefined,
      proxyProtocol: [],
      keepSource: false,
      plaintext: undefined,
    },
    outbound: {
      listeners: [],
      proxy: { kind: "tcp", host: "127.0.0.1", port: 15080 },
      transparent: undefined,
      unknown: "passthrough",
    },
    capture: {
      exempt: { kind: "user", id: 1337 },
      outbound: {
        include: { ports: [], cidrs: [], users: [], groups: [] },
        exclude: { ports: [], cidrs: [], users: [], groups: [] },
      },
      inbound: { include: { ports: [] }, exclude: { ports: [], sources: [] } },
    },
    dns: undefined,
    admin: { kind: "tcp", host: "127.0.0.1", port: 15000 },
    readiness: { kind: "tcp", host: "", port: 15021 },
    metrics: { kind: "tcp", host: "", port: 15020 },
    drain: { timeoutMs: 25_000 },
    log: { level: "info", format: "json", access: "all" },
    compliance: undefined,
    limits: DEFAULT_TUNNEL_LIMITS,
  });
});

test("the shortest waypoint.yaml has every default", () => {
  assert.deepEqual(waypoint(`gateway: {name: waypoint}\n${SOURCES}`), {
    gateway: { namespace: "default", name: "waypoint" },
    identity: { kind: "files", location: "/id" },
    resources: { kind: "files", folder: "/mesh", lastGood: undefined },
    hbone: { kind: "tcp", host: "", port: 15008 },
    sessionSecrets: undefined,
    upgrades: ["websocket"],
    pathNormalization: "base",
    tenants: { by: "namespace", requests: 32_768, heldBytes: 32 * 1024 * 1024 },
    tracing: undefined,
    admin: { kind: "tcp", host: "127.0.0.1", port: 15000 },
    readiness: { kind: "tcp", host: "", port: 15021 },
    metrics: { kind: "tcp", host: "", port: 15020 },
    drain: { timeoutMs: 25_000 },
    log: { level: "info", format: "json", access: "all" },
    compliance: undefined,
    limits: DEFAULT_TUNNEL_LIMITS,
  });
});

test("every key of uproxy.yaml", () => {
  const config = uproxy(`
workload: {namespace: shop, name: reviews-1}
identity:
  files: {certificate: svid.pem, key: /keys/key.pem, bundles: {cluster.local: b/cl.pem, __proto__: p.pem}}
resources: {files: mesh, lastGood: state/snapshot}
inbound: {hbone: "10.0.0.5:25008", app: "::1", proxyProtocol: [8080, "9090"], keepSource: true, plaintext: ":15006"}
outbound:
  listeners:
    - {listen: "127.0.0.1:9080", to: "reviews.default:9080"}
    - {listen: "[::1]:0", to: "[2001:DB8::1]:80", proxyProtocol: v2, prewarm: true}
    - {listen: "unix:/run/app/reviews.sock", to: "reviews:80", mode: 0600}
  proxy: off
  transparent: 15001
  unknown: refuse
capture: {exempt: {user: 0}, outbound: {exclude: {ports: [22]}}}
dns: {listen: "localhost:15053", upstream: [10.96.0.10, "[fd00::a]:5353"]}
admin: unix:///run/culvert/admin.sock
readiness: 8080
metrics: off
drain: {timeout: 0s}
log: {level: debug, format: json, access: 0.01}
limits: {streamWindow: 2MiB, connectTimeout: 3s, maxSessions: 5, maxSessionMemory: 64MiB}
`);
  assert.deepEqual(config, {
    workload: { namespace: "shop", name: "reviews-1" },
    identity: {
      kind: "files",
      location: {
        certificate: "/etc/culvert/svid.pem",
        key: "/keys/key.pem",
        bundles: Object.fromEntries([
          ["cluster.local", "/etc/culvert/b/cl.pem"],
          ["__proto__", "/etc/culvert/p.pem"],
        ]),
      },
    },
    resources: { kind: "files", folder: "/etc/culvert/mesh", lastGood: "/etc/culvert/state/snapshot" },
    inbound: {
      hbone: { kind: "tcp", host: "10.0.0.5", port: 25008 },
      app: "::1",
      proxyProtocol: [8080, 9090],
      keepSource: true,
      plaintext: { kind: "tcp", host: "", port: 15006 },
    },
    outbound: {
      listeners: [
        {
          listen: { kind: "tcp", host: "127.0.0.1", port: 9080 },
          to: { host: "reviews.default", port: 9080 },
          mode: 0o660,
          proxyProtocol: undefined,
          prewarm: false,
        },
        {
          listen: { kind: "tcp", host: "::1", port: 0 },
          to: { host: "2001:db8::1", port: 80 },
          mode: 0o660,
          proxyProtocol: "v2",
          prewarm: true,
        },
        {
          listen: { kind: "unix", path: "/run/app/reviews.sock" },
          to: { host: "reviews", port: 80 },
          mode: 0o600,
          proxyProtocol: undefined,
          prewarm: false,
        },
      ],
      proxy: undefined,
      transparent: { kind: "tcp", host: "", port: 15001 },
      unknown: "refuse",
    },
    capture: {
      exempt: { kind: "user", id: 0 },
      outbound: {
        include: { ports: [], cidrs: [], users: [], groups: [] },
        exclude: { ports: [{ first: 22, last: 22 }], cidrs: [], users: [], groups: [] },
      },
      inbound: { include: { ports: [] }, exclude: { ports: [], sources: [] } },
    },
    dns: {
      listen: { kind: "tcp", host: "localhost", port: 15053 },
      upstream: [
        { ip: "10.96.0.10", port: 53 },
        { ip: "fd00::a", port: 5353 },
      ],
    },
    admin: { kind: "unix", path: "/run/culvert/admin.sock" },
    readiness: { kind: "tcp", host: "", port: 8080 },
    metrics: undefined,
    drain: { timeoutMs: 0 },
    log: { level: "debug", format: "json", access: 0.01 },
    compliance: undefined,
    limits: {
      ...DEFAULT_TUNNEL_LIMITS,
      streamWindow: 2 * 1024 * 1024,
      connectTimeoutMs: 3000,
      maxSessions: 5,
      maxSessionMemoryMb: 64,
    },
  });
});

describe("errors name file, line, path, expectation and finding", () => {
  const rows: [string, string, string][] = [
    ["a misspelt key", `${SOURCES}inbund: {}`, "x.yaml:3: inbund: unknown key; did you mean inbound?"],
    [
      "an unknown key",
      "identity: {files: /id, spire: x}\nresources: {files: /m}",
      "x.yaml:1: identity.spire: unknown key; known here: files, workloadApi, authority, istiod, federation, trustDomainAliases, crl",
    ],
    [
      "a missing source",
      "resources: {files: /m}",
      "x.yaml:1: identity: expected mapping of files, workloadApi, authority, istiod, federation, trustDomainAliases, crl, found nothing",
    ],
    [
      "no source in it",
      "identity: {}\nresources: {files: /m}",
      "x.yaml:1: identity: expected exactly one of files, workloadApi, authority, istiod; found none",
    ],
    [
      "two sources",
      "identity: {files: /i, workloadApi: unix:///s}\nresources: {files: /m}",
      "x.yaml:1: identity: expected exactly one of files, workloadApi, authority, istiod; found files and workloadApi",
    ],
    [
      "a source of a later release",
      "identity: {files: /i}\nresources:\n  istiod: {address: 'istiod.istio-system.svc:15012'}",
      "x.yaml:3: resources.istiod: is not supported in this release; use files or authority",
    ],
    [
      "its form, first",
      "identity: {files: /i}\nresources:\n  authority: {adress: 'a:1'}",
      "x.yaml:3: resources.authority.adress: unknown key; did you mean address?",
    ],
    [
      "a port out of range",
      `${SOURCES}readiness: 65536`,
      "x.yaml:3: readiness: expected host:port, :port or port, found 65536",
    ],
    [
      "a duration without unit",
      `${SOURCES}drain: {timeout: 25}`,
      "x.yaml:3: drain.timeout: expected duration such as 250ms, 10s, 5m or 24h, found 25",
    ],
    [
      "a word of another list",
      `${SOURCES}log: {level: warning}`,
      'x.yaml:3: log.level: expected debug | info | warn | error, found "warning"',
    ],
    [
      "a fraction over 1",
      `${SOURCES}log: {access: 1.5}`,
      "x.yaml:3: log.access: expected all | failures | off | fraction such as 0.01, found 1.5",
    ],
    [
      "a limit that is none",
      `${SOURCES}limits: {streamWindw: 1MiB}`,
      "x.yaml:3: limits.streamWindw: unknown key; did you mean streamWindow?",
    ],
    [
      "a limit out of bounds",
      `${SOURCES}limits: {streamWindow: 1KiB}`,
      'x.yaml:3: limits.streamWindow: expected size from 65535B to 1GiB, found "1KiB"',
    ],
    [
      "a limit in another unit",
      `${SOURCES}limits: {connectTimeout: 1KiB}`,
      'x.yaml:3: limits.connectTimeout: expected duration from 10ms to 1h, found "1KiB"',
    ],
    [
      "a workload without name",
      `${SOURCES}workload: {namespace: a}`,
      "x.yaml:3: workload.name: expected resource name, found nothing",
    ],
    [
      "a bad trust domain",
      "identity: {files: {certificate: a, key: b, bundles: {A: c}}}\nresources: {files: /m}",
      'x.yaml:1: identity.files.bundles.A: expected trust domain, found the key "A"',
    ],
    ["a list in place of a mapping", `${SOURCES}inbound: []`, "x.yaml:3: inbound: expected a mapping, found a list"],
    ["a document that is no mapping", "- a", "x.yaml:1: expected a mapping of keys, found a list"],
    ["a duplicate key", `${SOURCES}dns: off\ndns: off`, 'x.yaml:4: key "dns" is there twice, first in line 3'],
    [
      "bad YAML",
      `${SOURCES}dns: [`,
      "x.yaml:3: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => assert.equal(errorsOf(UPROXY_SCHEMA, text)[0], expected));
  }

  const gateway = `gateway: {name: w}\n${SOURCES}`;
  const more: [string, string, string][] = [
    ["workers", `${gateway}workers: 2`, "x.yaml:4: workers: is not supported in this release; leave it at 1"],
    ["workers: auto", `${gateway}workers: auto`, "x.yaml:4: workers: is not supported in this release; leave it at 1"],
    ["no workers", `${gateway}workers: 0`, "x.yaml:4: workers: expected number of processes, or auto, found 0"],
    ["bad tracing", `${gateway}tracing: {otlp: collector}`, 'x.yaml:4: tracing.otlp: expected URL, found "collector"'],
    [
      "HTTP/2 among the upgrades",
      `${gateway}upgrades: [websocket, h2c]`,
      'x.yaml:4: upgrades[1]: expected protocol such as websocket, and not h2c, found "h2c"',
    ],
    [
      "an upgrade that is no token",
      `${gateway}upgrades: ["a b"]`,
      'x.yaml:4: upgrades[0]: expected protocol such as websocket, and not h2c, found "a b"',
    ],
    ["no gateway", SOURCES, "x.yaml:1: gateway: expected mapping of namespace, name, found nothing"],
    [
      "a tunnel port that is off",
      `${gateway}hbone: off`,
      'x.yaml:4: hbone: expected host:port, :port or port, found "off"',
    ],
  ];
  for (const [name, text, expected] of more) {
    test(name, () => assert.equal(errorsOf(WAYPOINT_SCHEMA, text)[0], expected));
  }

  test("workers: 1 is what runs", () => assert.equal(waypoint(`${gateway}workers: 1`).gateway.name, "w"));

  test("all of them at once", () => {
    const errors = errorsOf(UPROXY_SCHEMA, "admin: ':1'\nlog: {level: x, acess: all}\nidentity: {files: /i}\n");
    assert.deepEqual(
      errors.map((error) => error.split(": ", 2).join(": ")),
      ["x.yaml:1: resources", "x.yaml:1: admin", "x.yaml:2: log.acess", "x.yaml:2: log.level"],
    );
  });
});

test("a file is read from disk, an unreadable one is named", async () => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-config-"));
  try {
    const file = join(folder, "uproxy.yaml");
    await writeFile(file, "identity: {files: id}\nresources: {files: /mesh}\n");
    const config = await loadUproxyConfig(file, NOTHING);
    assert.ok(!Array.isArray(config));
    assert.deepEqual((config as UproxyConfig).identity, { kind: "files", location: join(folder, "id") });

    await writeFile(file, `#${"x".repeat(1024 * 1024)}`);
    const rows: [string, RegExp][] = [
      [file, /expected at most 1048576 bytes, found 1048577$/],
      [folder, /expected a regular file$/],
      [join(folder, "none.yaml"), /cannot be read: ENOENT/],
    ];
    for (const [place, expected] of rows) {
      const errors = await loadUproxyConfig(place, NOTHING);
      assert.ok(Array.isArray(errors));
      assert.match(errors.map(formatConfigError).join("\n"), expected);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
