import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProcessConfig } from "./load-process-config.ts";
import { formatConfigError } from "../config-error.ts";
import { UPROXY_SCHEMA, WAYPOINT_SCHEMA } from "./process-schema.ts";

function read(resources: string): unknown {
  const text = Buffer.from(`identity: {files: /id}\nresources: ${resources}\n`);
  const config = parseProcessConfig(UPROXY_SCHEMA, "/etc/culvert/x.yaml", text, new Map());
  return "resources" in config ? config.resources : config.map(formatConfigError);
}

test("an authority is an address, by which it is known if nothing else is said", () => {
  assert.deepEqual(read('{authority: {address: "authority:15012"}}'), {
    kind: "authority",
    address: { host: "authority", port: 15012 },
    bundle: undefined,
    serverName: undefined,
    lastGood: undefined,
  });
});

test("roots, name and the file for the next start", () => {
  const text =
    '{authority: {address: "10.0.0.1:15012", bundle: roots.pem, serverName: authority.mesh}, lastGood: state/last}';
  assert.deepEqual(read(text), {
    kind: "authority",
    address: { host: "10.0.0.1", port: 15012 },
    bundle: "/etc/culvert/roots.pem",
    serverName: "authority.mesh",
    lastGood: "/etc/culvert/state/last",
  });
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["{authority: {}}", /resources.authority.address: expected host:port, found nothing/],
  ['{authority: {address: ":15012"}}', /resources.authority.address: expected host:port, found ":15012"/],
  [
    '{authority: {address: "a:1", token: /t}}',
    /resources.authority.token: unknown key; known here: address, bundle, serverName/,
  ],
  [
    '{files: /m, authority: {address: "a:1"}}',
    /expected exactly one of files, authority, istiod; found files and authority/,
  ],
  ["{lastGood: /x}", /expected exactly one of files, authority, istiod; found none/],
  ["{file: /x}", /x.yaml:2: resources.file: unknown key; did you mean files\?$/],
  ["{kubernetes: {}}", /resources.kubernetes: unknown key; known here: files, authority, istiod, lastGood/],
];

for (const [text, expected] of WRONG) {
  test(`refuses ${text}`, () => assert.match(String(read(text)), expected));
}

test("waypoints read the same", () => {
  const text = Buffer.from('gateway: {name: w}\nidentity: {files: /id}\nresources: {authority: {address: "a:1"}}\n');
  const config = parseProcessConfig(
    WAYPOINT_SCHEMA,
    "x.yaml",
    text,
    new Map([["CULVERT_RESOURCES_AUTHORITY_ADDRESS", "b:2"]]),
  );
  assert.ok("resources" in config && config.resources.kind === "authority");
  assert.deepEqual(config.resources.address, { host: "b", port: 2 });
});
