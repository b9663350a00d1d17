import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfigError } from "../config-error.ts";
import { CAPTURE_SCHEMA } from "./capture-schema.ts";
import { loadOne } from "../load.ts";
import type { CaptureConfig } from "./process-config.ts";
import { Errors, INVALID } from "./schema.ts";

function read(text: string): CaptureConfig | string[] {
  const node = loadOne("x.yaml", Buffer.from(text));
  assert.ok(node !== undefined && "kind" in node);
  const errors = new Errors();
  const config = CAPTURE_SCHEMA.read(node, "capture", errors);
  return config === INVALID ? errors.list.map(formatConfigError) : config;
}

const whole = (text: string): CaptureConfig => {
  const config = read(text);
  assert.ok(!Array.isArray(config), JSON.stringify(config));
  return config;
};

test("ports and ids are numbers or ranges, addresses are blocks in canonical form", () => {
  const { outbound, inbound } = whole(`
outbound:
  include: {ports: [80, "443", 8000-8100], cidrs: [10.1.2.3/8, "FD00::1"]}
  exclude: {users: [0, 1000-1999], groups: ["4294967294"]}
inbound: {include: {ports: [8080]}, exclude: {ports: [9000-9000], sources: [192.168.0.1]}}
`);
  assert.deepEqual(outbound.include.ports, [
    { first: 80, last: 80 },
    { first: 443, last: 443 },
    { first: 8000, last: 8100 },
  ]);
  assert.deepEqual(
    outbound.include.cidrs.map(({ text }) => text),
    ["10.0.0.0/8", "fd00::1/128"],
  );
  assert.deepEqual(outbound.exclude.users, [
    { first: 0, last: 0 },
    { first: 1000, last: 1999 },
  ]);
  assert.deepEqual(outbound.exclude.groups, [{ first: 4294967294, last: 4294967294 }]);
  assert.deepEqual(inbound.include.ports, [{ first: 8080, last: 8080 }]);
  assert.deepEqual(
    inbound.exclude.sources.map(({ text }) => text),
    ["192.168.0.1/32"],
  );
});

test("own traffic is told by user 1337, or by one other thing", () => {
  assert.deepEqual(whole("{}").exempt, { kind: "user", id: 1337 });
  assert.deepEqual(whole("exempt: {user: 0}").exempt, { kind: "user", id: 0 });
  assert.deepEqual(whole("exempt: {group: 15}").exempt, { kind: "group", id: 15 });
  assert.deepEqual(whole("exempt: {mark: 0x539}").exempt, { kind: "mark", id: 1337 });
  assert.deepEqual(whole("exempt: {mark: '0xFFffFFff'}").exempt, { kind: "mark", id: 0xffff_ffff });
});

describe("what is no entry is refused with its place and what was expected", () => {
  const PORT = "expected port from 1 to 65535 such as 15001, or a range such as 8000-8100";
  const ID = "expected id from 0 to 4294967294 such as 1000, or a range such as 1000-1999";
  const CIDR = "expected address or CIDR block such as 10.0.0.0/8 or fd00::/8";
  const cases: readonly (readonly [text: string, error: string])[] = [
    ["outbound: {exclude: {ports: [0]}}", `x.yaml:1: capture.outbound.exclude.ports[0]: ${PORT}, found 0`],
    ["outbound: {exclude: {ports: [22, 65536]}}", `x.yaml:1: capture.outbound.exclude.ports[1]: ${PORT}, found 65536`],
    ["inbound:\n  include: {ports: [90-80]}", `x.yaml:2: capture.inbound.include.ports[0]: ${PORT}, found "90-80"`],
    ["inbound: {exclude: {ports: [true]}}", `x.yaml:1: capture.inbound.exclude.ports[0]: ${PORT}, found true`],
    [
      'outbound: {exclude: {ports: ["80; reboot"]}}',
      `x.yaml:1: capture.outbound.exclude.ports[0]: ${PORT}, found "80; reboot"`,
    ],
    ["outbound: {exclude: {ports: 22}}", "x.yaml:1: capture.outbound.exclude.ports: expected a list, found 22"],
    ["outbound: {include: {users: [root]}}", `x.yaml:1: capture.outbound.include.users[0]: ${ID}, found "root"`],
    [
      "outbound: {include: {groups: [4294967295]}}",
      `x.yaml:1: capture.outbound.include.groups[0]: ${ID}, found 4294967295`,
    ],
    ["outbound: {include: {users: [-1]}}", `x.yaml:1: capture.outbound.include.users[0]: ${ID}, found -1`],
    [
      "outbound: {exclude: {cidrs: [10.0.0.0/33]}}",
      `x.yaml:1: capture.outbound.exclude.cidrs[0]: ${CIDR}, found "10.0.0.0/33"`,
    ],
    [
      "outbound: {exclude: {cidrs: [example.com]}}",
      `x.yaml:1: capture.outbound.exclude.cidrs[0]: ${CIDR}, found "example.com"`,
    ],
    ["inbound: {exclude: {sources: [10.0]}}", `x.yaml:1: capture.inbound.exclude.sources[0]: ${CIDR}, found 10`],
    ["exempt: {mark: 0}", "x.yaml:1: capture.exempt.mark: expected whole number from 1 to 0xffffffff, found 0"],
    ["exempt: {user: 1, mark: 2}", "x.yaml:1: capture.exempt: expected one of user, group, mark; found several"],
    ["outbound: {exlude: {}}", "x.yaml:1: capture.outbound.exlude: unknown key; did you mean exclude?"],
  ];
  for (const [text, error] of cases) test(text, () => assert.deepEqual(read(text), [error]));
});
