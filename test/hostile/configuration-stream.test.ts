// Hostile, rows C1, C2 and C3 on the configuration stream: an authority that was broken into, or reads what somebody wrote to do harm. What
// can be read is refused with its field, what cannot ends the stream; the state in use stays, and the next good update is taken.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import process from "node:process";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { packDocument, type PackedDocument } from "@culvert/shared/config/stream/frames.ts";
import {
  documents,
  entry,
  fixture,
  opened,
  service,
  untilStream,
  update,
} from "@culvert/shared/config/stream/stream-fixtures.ts";
import type { MapEntry, Node } from "@culvert/shared/config/tree.ts";
import { until } from "../support/until.ts";

/** What one update may cost, ms of processor time; 0.1 to 0.3 s were measured on a busy machine. */
const MOST_CPU_MS = 3_000;
const PLACE = { source: "mesh.yaml", line: 1 } as const;

function scalar(value: string | number): Node {
  return { kind: "scalar", value, ...PLACE };
}

function list(items: readonly Node[]): Node {
  return { kind: "list", items, ...PLACE };
}

function map(entries: Iterable<readonly [string, Node]>): Node {
  return {
    kind: "map",
    entries: new Map([...entries].map(([key, value]): [string, MapEntry] => [key, { line: 1, value }])),
    ...PLACE,
  };
}

function resource(kind: string, apiVersion: string, more: Readonly<Record<string, Node>>): Node {
  return map([
    ["apiVersion", scalar(apiVersion)],
    ["kind", scalar(kind)],
    ["metadata", map([["name", scalar("p")]])],
    ...Object.entries(more),
  ]);
}

function one(id: string, document: Node): ReadonlyMap<string, PackedDocument> {
  return new Map([[id, packDocument(document)]]);
}

function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Levels of lists, whatever the loader of files would say of them. */
function deep(levels: number): Node {
  let node = scalar(1);
  for (let level = 0; level < levels; level++) node = list([node]);
  return node;
}

const POLICY = ["AuthorizationPolicy", "security.istio.io/v1"] as const;
const NAMESPACE = ["Namespace", "v1"] as const;

/** What is well formed, and must be refused by resource and field. */
const REFUSED: readonly (readonly [
  name: string,
  set: () => ReadonlyMap<string, PackedDocument>,
  resource: string,
  path: string,
  text: RegExp,
])[] = [
  [
    "another tenant's address",
    () => documents(`${service("mine", "10.96.0.1")}---\n${service("yours", "10.96.0.1")}`),
    "Service default/yours",
    "spec.clusterIP",
    /already taken by the Service at mesh\.yaml:1/,
  ],
  [
    "a document that is called otherwise than what it was sent as",
    () => new Map([...documents(service("mine")).values()].map((sent) => ["Service default/other", sent])),
    "Service default/other",
    "metadata",
    /expected Service default\/other, as it was sent, found Service default\/mine/,
  ],
  [
    "__proto__ as a field",
    () => one("Namespace p", resource(...NAMESPACE, { ["__proto__"]: map([["polluted", scalar(1)]]) })),
    "Namespace p",
    "__proto__",
    /this field is not supported/,
  ],
  [
    "fields without end",
    () =>
      one("Namespace p", resource(...NAMESPACE, { spec: map(many(49_000, (i) => [`f${i}`, scalar("x")] as const)) })),
    "Namespace p",
    "spec.f0",
    /this field is not supported/,
  ],
  [
    "labels without end, and none of them one",
    () =>
      one(
        "Namespace p",
        map([
          ["apiVersion", scalar("v1")],
          ["kind", scalar("Namespace")],
          [
            "metadata",
            map([
              ["name", scalar("p")],
              ["labels", map(many(49_000, (i) => [`!${i}`, scalar("x")] as const))],
            ]),
          ],
        ]),
      ),
    "Namespace p",
    "metadata.labels",
    /expected a label name/,
  ],
];

/** What no document is, so that the stream ends. */
const UNFIT: readonly (readonly [name: string, message: () => Uint8Array, why: RegExp])[] = [
  [
    "a million rules",
    () =>
      update(2, {
        set: one(
          "AuthorizationPolicy default/p",
          resource(...POLICY, { spec: map([["rules", list(many(240_000, () => map([])))]]) }),
        ),
      }),
    /set\["AuthorizationPolicy default\/p"\]: expected version, file, line and tree/,
  ],
  [
    "a hundred thousand numbers as keys",
    () =>
      update(2, {
        set: one(
          "ConfigMap default/p",
          resource("ConfigMap", "v1", { data: map(many(100_000, (i) => [String(i * 64), scalar("x")] as const)) }),
        ),
      }),
    /set\["ConfigMap default\/p"\]: expected version, file, line and tree/,
  ],
  ["levels beyond those of any resource", () => update(2, { set: one("Namespace p", deep(200)) }), /levels of nesting/],
  [
    "levels without end",
    () => Buffer.concat([Buffer.from([0x81, 0xa1, 0x61]), Buffer.alloc(1_000_000, 0x91)]),
    /levels of nesting/,
  ],
  [
    "a list of four thousand million",
    () => Buffer.from([0x81, 0xa3, 0x73, 0x65, 0x74, 0xdd, 0xff, 0xff, 0xff, 0xff]),
    /4294967295 items in 0 bytes/,
  ],
  [
    "a text of four thousand million",
    () => Buffer.from([0x81, 0xa3, 0x73, 0x65, 0x74, 0xdb, 0xff, 0xff, 0xff, 0xff]),
    /ends within a value/,
  ],
  [
    "a record of msgpackr",
    () => Buffer.from([0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01]),
    /byte 212 at 0 begins nothing that is allowed there/,
  ],
  ["nothing", () => Buffer.alloc(0), /ends within a value/],
];

describe("what is refused with its field", () => {
  for (const [name, set, about, path, text] of REFUSED) {
    test(name, async (context) => {
      const f = fixture(context, { routing, asker: () => ({ proxy: "waypoint", gateway: "default/waypoint" }) });
      const source = await opened(f);
      const good = source.get();
      const stream = await f.authority.stream(1);
      const poison = set();
      const start = process.cpuUsage();
      const outcome = await stream.outcome(stream.say({ set: poison }));
      const { user, system } = process.cpuUsage(start);
      assert.ok(outcome.kind === "nack");
      const [first] = outcome.problems;
      assert.deepEqual([first?.resource, first?.path], [about, path]);
      assert.match(first?.text ?? "", text);
      assert.ok(outcome.problems.length <= 100, `${outcome.problems.length} problems`);
      assert.equal(source.get(), good);
      assert.equal("polluted" in {}, false);
      assert.ok((user + system) / 1_000 < MOST_CPU_MS, `${(user + system) / 1_000} ms of processor time`);
      assert.equal((await stream.outcome(stream.say({ set: documents(entry("b", "10.0.0.2")) }))).kind, "ack");
      assert.ok(source.get().directory.workload("default/b") !== undefined);
    });
  }

  test("a route with a megabyte of regular expressions fails closed, and nothing but it", async (context) => {
    const f = fixture(context, { routing, asker: () => ({ proxy: "waypoint", gateway: "default/waypoint" }) });
    const source = await opened(f);
    const stream = await f.authority.stream(1);
    const path = map([
      ["type", scalar("RegularExpression")],
      ["value", scalar("(a|b)*".repeat(160))],
    ]);
    const parent = map([
      ["group", scalar("")],
      ["kind", scalar("Service")],
      ["name", scalar("reviews")],
    ]);
    const spec = map([
      ["parentRefs", list([parent])],
      ["rules", list(many(1_000, () => map([["matches", list([map([["path", path]])])]])))],
    ]);
    const route = resource("HTTPRoute", "gateway.networking.k8s.io/v1", { spec });
    const start = process.cpuUsage();
    const outcome = await stream.outcome(stream.say({ set: one("HTTPRoute default/p", route) }));
    const { user, system } = process.cpuUsage(start);
    assert.equal(outcome.kind, "ack");
    assert.match(source.get().routes[0]?.notUnderstood ?? "", /spec\.rules: expected at most 16 entries, found 1000/);
    assert.ok((user + system) / 1_000 < MOST_CPU_MS, `${(user + system) / 1_000} ms of processor time`);
  });
});

describe("what ends the stream", () => {
  for (const [name, message, why] of UNFIT) {
    test(name, async (context) => {
      const f = fixture(context);
      const source = await opened(f);
      const good = source.get();
      const stream = await f.authority.stream(1);
      await stream.outcome(1);
      const bytes = message();
      const start = process.cpuUsage();
      stream.raw(bytes);
      await until("the end of the stream", () => f.connection.length > 1);
      const { user, system } = process.cpuUsage(start);
      assert.match(f.connection.at(-1) ?? "", why);
      assert.equal(source.get(), good);
      assert.ok((user + system) / 1_000 < MOST_CPU_MS, `${(user + system) / 1_000} ms of processor time`);
      const next = await untilStream(f, 2);
      assert.equal((await next.outcome(next.say({ set: documents(entry("b", "10.0.0.2")) }))).kind, "ack");
      assert.ok(source.get().directory.workload("default/b") !== undefined);
    });
  }
});

test("an authority that goes back to an older state is followed, and one that repeats an update is not", async (context) => {
  const f = fixture(context);
  const source = await opened(f);
  const stream = await f.authority.stream(1);
  await stream.outcome(stream.say({ set: documents(entry("a", "10.0.0.9")) }));
  await stream.outcome(stream.say({ set: documents(entry("a")) }));
  assert.deepEqual(source.get().directory.workload("default/a")?.addresses, ["10.0.0.1"]);
  assert.equal(source.get().version, 3);
  stream.say({ nonce: 2, set: documents(entry("a", "10.0.0.9")) });
  await until("the end of the stream", () => f.connection.length > 1);
  assert.match(f.connection.at(-1) ?? "", /update 2 after 3/);
  assert.deepEqual(source.get().directory.workload("default/a")?.addresses, ["10.0.0.1"]);
});
