// Where listeners are bound: their forms, and what is refused because strangers could reach it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatConfigError } from "../config-error.ts";
import { parseProcessConfig } from "./load-process-config.ts";
import { UPROXY_SCHEMA } from "./process-schema.ts";

const SOURCES = "identity: {files: /id}\nresources: {files: /mesh}\n";

const ROWS: readonly (readonly [name: string, text: string, error: string])[] = [
  [
    "an open explicit listener",
    `${SOURCES}outbound:\n  listeners:\n    - listen: "0.0.0.0:80"\n      to: a:80`,
    "x.yaml:5: outbound.listeners[0].listen: expected a loopback address such as 127.0.0.1:80, found 0.0.0.0:80; " +
      "others could then act with this workload's identity: outbound.allowNonLoopback: true allows it",
  ],
  [
    "an open proxy port",
    `${SOURCES}outbound:\n  proxy: ":15080"`,
    "x.yaml:4: outbound.proxy: expected a loopback address such as 127.0.0.1:15080, found :15080 (all interfaces); " +
      "others could then act with this workload's identity: outbound.allowNonLoopback: true allows it",
  ],
  [
    "a UNIX socket that the world may not read but write",
    `${SOURCES}outbound: {listeners: [{listen: "unix:/a", to: "a:1", mode: 0622}]}`,
    "x.yaml:3: outbound.listeners[0].mode: expected 0600 | 0660 | 0666, found 622",
  ],
  [
    "a UNIX socket with too long a path",
    `${SOURCES}outbound: {proxy: "unix:/${"a".repeat(95)}"}`,
    `x.yaml:3: outbound.proxy: expected loopback host:port, or unix:/path of at most 95 bytes, found "unix:/${"a".repeat(50)}…`,
  ],
  [
    "an explicit listener to port 0",
    `${SOURCES}outbound: {listeners: [{listen: "127.0.0.1:1", to: "a:0"}]}`,
    'x.yaml:3: outbound.listeners[0].to: expected host:port, found "a:0"',
  ],
  [
    "an explicit listener to nowhere",
    `${SOURCES}outbound: {listeners: [{listen: "127.0.0.1:1"}]}`,
    "x.yaml:3: outbound.listeners[0].to: expected host:port, found nothing",
  ],
  [
    "a kept source toward a name",
    `${SOURCES}inbound: {app: localhost, keepSource: true}`,
    "x.yaml:3: inbound: keepSource needs app to be same or an IP address, found localhost",
  ],
  [
    "an open admin port",
    `${SOURCES}admin: ":15000"`,
    "x.yaml:3: admin: expected a loopback address such as 127.0.0.1:15000, found :15000 (all interfaces)",
  ],
  [
    "an open admin address",
    `${SOURCES}admin: "10.0.0.5:15000"`,
    "x.yaml:3: admin: expected a loopback address such as 127.0.0.1:15000, found 10.0.0.5:15000",
  ],
  [
    "a relative admin socket",
    `${SOURCES}admin: "unix:admin.sock"`,
    'x.yaml:3: admin: expected loopback host:port, or unix:/path of at most 95 bytes, found "unix:admin.sock"',
  ],
];

for (const [name, text, error] of ROWS) {
  test(`refused: ${name}`, () => {
    const errors = parseProcessConfig(UPROXY_SCHEMA, "x.yaml", Buffer.from(text), new Map());
    assert.ok(Array.isArray(errors), "expected errors");
    assert.equal(formatConfigError(errors[0]), error);
  });
}

test("allowNonLoopback lets listeners and the proxy port be bound anywhere", () => {
  const text = `${SOURCES}outbound: {allowNonLoopback: true, proxy: ":15080", listeners: [{listen: ":80", to: "a:1"}]}`;
  const config = parseProcessConfig(UPROXY_SCHEMA, "x.yaml", Buffer.from(text), new Map());
  assert.ok("outbound" in config);
  assert.deepEqual(config.outbound.proxy, { kind: "tcp", host: "", port: 15_080 });
  assert.deepEqual(config.outbound.listeners[0]?.listen, { kind: "tcp", host: "", port: 80 });
});
