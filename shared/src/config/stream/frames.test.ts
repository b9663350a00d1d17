import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { loadDocuments } from "../load.ts";
import { pack, type Plain } from "../messagepack.ts";
import type { Node } from "../tree.ts";
import {
  decodeClientFrame,
  decodeUpdate,
  encodeClientFrame,
  encodeUpdate,
  FRAME_LIMITS,
  isKey,
  packDocument,
  type ClientFrame,
} from "./frames.ts";

const HAVE = new Map([["Service shop/cart", "0123456789abcdef"]]);

function versionOfText(text: string): string {
  return packDocument(documentsOf(text)[0] as Node).version;
}

function of(fields: Record<string, Plain>): unknown {
  return decodeClientFrame(pack(new Map(Object.entries(fields))));
}

function update(fields: Record<string, Plain>): unknown {
  return decodeUpdate(pack(new Map<string, Plain>([["nonce", 1], ["version", "v"], ...Object.entries(fields)])));
}

/** The sentence with which bytes are refused. */
function refused(read: unknown): string {
  assert.ok(typeof read === "string", "expected a refusal");
  return read;
}

function documentsOf(text: string): readonly Node[] {
  return [...loadDocuments("mesh/shop.yaml", Buffer.from(text))].map((loaded) => {
    assert.ok("node" in loaded);
    return loaded.node;
  });
}

test("what a client says is read as it was said", () => {
  const hello = {
    proxy: "uproxy",
    workload: "shop/cart-1",
    addresses: ["10.0.0.7"],
    gateway: undefined,
    have: HAVE,
  } as const;
  const frames: readonly ClientFrame[] = [
    { kind: "hello", hello, subscribe: ["host/web.shop"] },
    {
      kind: "hello",
      hello: { proxy: "waypoint", workload: undefined, addresses: [], gateway: "shop/waypoint", have: new Map() },
      subscribe: [],
    },
    { kind: "subscribe", subscribe: ["host/web.shop", "ip/fd00::7"], unsubscribe: ["ip/10.0.0.9"] },
    { kind: "ack", nonce: 7 },
    { kind: "nack", nonce: 2 ** 40, problems: [{ resource: "Service shop/cart", path: "spec.ports[0]", text: "no" }] },
  ];
  for (const frame of frames) assert.deepEqual(decodeClientFrame(encodeClientFrame(frame)), frame);
});

test("an update carries trees with their file and lines", () => {
  const text = "a: &x {b: [1, true, null, 2.5]}\nc: *x\n---\n\nkind: Service\nmetadata:\n  name: cart\n";
  const documents = documentsOf(text);
  const set = new Map(documents.map((document, index) => [`Service shop/s${index}`, packDocument(document)]));
  const sent = { nonce: 3, version: "v", removed: ["Gateway a/b"], answered: ["host/x"], more: true };
  const read = decodeUpdate(encodeUpdate({ ...sent, set }));
  assert.ok(typeof read !== "string");
  assert.deepEqual({ ...read, set: undefined }, { ...sent, set: undefined, nodes: 17 });
  assert.deepEqual(
    [...read.set.values()].map(({ document }) => document),
    documents,
  );
  assert.deepEqual(
    [...read.set.values()].map(({ version }) => version),
    [...set.values()].map(({ version }) => version),
  );
});

test("a document that moves within its file keeps its version; one that changes does not", () => {
  assert.equal(
    versionOfText("kind: Service\nspec: {x: 1}\n"),
    versionOfText("# moved\n\nkind: Service\nspec: {x: 1}\n"),
  );
  assert.notEqual(versionOfText("kind: Service\nspec: {x: 1}\n"), versionOfText("kind: Service\nspec: {x: 2}\n"));
});

test("a field that is not known is passed over", () => {
  const ack = pack(
    new Map<string, Plain>([
      ["ack", 1],
      ["later", [1]],
    ]),
  );
  assert.deepEqual(decodeClientFrame(ack), { kind: "ack", nonce: 1 });
});

test("what is no frame is refused with its field", () => {
  const hello = (fields: Record<string, Plain>): unknown => of({ hello: new Map(Object.entries(fields)) });
  assert.equal(decodeClientFrame(pack([])), "expected a map");
  assert.match(refused(decodeClientFrame(new Uint8Array())), /ends within/);
  assert.match(refused(decodeClientFrame(Buffer.from([0x81, 1, 1]))), /key at 1 that is no string/);
  assert.equal(of({}), "expected hello, ack, nack, subscribe or unsubscribe");
  assert.equal(of({ ack: 1, nack: 1 }), "expected one of hello, ack and nack, found ack and nack");
  assert.equal(of({ ack: 0 }), "ack: expected a nonce");
  assert.match(refused(of({ nack: 1, problems: [1] })), /^problems: /);
  assert.match(refused(of({ subscribe: ["cart"] })), /^subscribe: /);
  assert.match(refused(of({ unsubscribe: "host/cart" })), /^unsubscribe: /);
  assert.match(refused(of({ hello: 1 })), /^hello: /);
  assert.match(refused(hello({ proxy: "envoy" })), /^hello\.proxy: /);
  assert.match(refused(hello({ proxy: "waypoint" })), /^hello\.gateway: /);
  assert.match(refused(hello({ proxy: "uproxy", workload: 1 })), /^hello\.workload: /);
  assert.match(refused(hello({ proxy: "uproxy", addresses: [1] })), /^hello\.addresses: /);
  assert.match(refused(hello({ proxy: "uproxy", have: new Map([["a", "b"]]) })), /^hello\.have\["a"\]: /);

  assert.match(refused(update({ nonce: 1.5 })), /^nonce: /);
  assert.match(refused(update({ version: 1 })), /^version: /);
  assert.match(refused(update({ removed: [""] })), /^removed: /);
  assert.match(refused(update({ answered: ["x"] })), /^answered: /);
  assert.match(refused(update({ more: 1 })), /^more: /);
  for (const bad of [
    1,
    ["0123456789abcdef", "f", -1, [0, 0, 1]],
    ["0123456789abcdef", "f", 1, [0, -2, 1]],
  ] as Plain[]) {
    assert.match(refused(update({ set: new Map([["A b/c", bad]]) })), /^set\["A b\/c"\]: expected version, file, line/);
  }
});

test("what is too much is refused before it is built", () => {
  assert.match(refused(decodeUpdate(new Uint8Array(FRAME_LIMITS.serverBytes + 1))), /expected at most/);
  const deep = Buffer.concat([Buffer.alloc(1000, 0x91), Buffer.from([1])]);
  assert.match(refused(decodeUpdate(deep)), /levels of nesting/);
  const many = Buffer.alloc(1_500_005, 1);
  many[0] = 0xdd;
  many.writeUInt32BE(1_500_000, 1);
  assert.match(refused(decodeUpdate(many)), /values/);
});

test("keys", () => {
  for (const key of ["host/a", "ip/10.0.0.1", "ip/fd00::1"]) assert.equal(isKey(key), true);
  for (const key of ["host/", "a/b", "host/a b", `host/${"a".repeat(300)}`, 1]) assert.equal(isKey(key), false);
});

test("whatever the bytes, reading them throws nothing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeClientFrame(bytes);
      decodeUpdate(bytes);
    }),
    { numRuns: 3_000 },
  );
});
