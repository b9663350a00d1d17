// Messages of an authority that is mistaken, or is none: whatever comes, a message is refused in a sentence or judged whole, nothing
// throws, and nothing costs more than its size allows.
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { array, assert as check, asyncProperty, integer, tuple, uint8Array } from "fast-check";
import { loadDocuments } from "@culvert/shared/config/load.ts";
import { pack, Packed, type Plain } from "@culvert/shared/config/messagepack.ts";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { judgeUpdate, type Held } from "@culvert/shared/config/stream/documents.ts";
import { decodeUpdate, encodeUpdate, FRAME_LIMITS, packDocument } from "@culvert/shared/config/stream/frames.ts";
import { keepDocument, keptFiles, readKept } from "@culvert/shared/config/stream/kept-documents.ts";
import { packSnapshot, unpackSnapshot } from "@culvert/shared/config/last-good-format.ts";

const MESH = `apiVersion: v1
kind: Service
metadata: {name: cart, annotations: {a: "1"}}
spec: {clusterIP: 10.1.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, labels: {app: cart}}
spec: {address: 10.0.0.7, serviceAccount: cart, ports: {http: 8080}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/web"]}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec: {parentRefs: [{group: "", kind: Service, name: cart}], rules: [{backendRefs: [{name: cart, port: 80}]}]}
`;

const IDS = [
  "Service default/cart",
  "WorkloadEntry default/cart-1",
  "AuthorizationPolicy default/cart",
  "HTTPRoute default/cart",
];

function valid(): Uint8Array {
  const set = new Map<string, ReturnType<typeof packDocument>>();
  for (const loaded of loadDocuments("mesh.yaml", Buffer.from(MESH))) {
    assert.ok("node" in loaded);
    set.set(IDS[set.size] ?? "", packDocument(loaded.node));
  }
  return encodeUpdate({
    nonce: 1,
    version: "v",
    set,
    removed: ["Service default/x"],
    answered: ["host/cart"],
    more: false,
  });
}

const READING = { kinds: routing.kinds, keep: keepDocument };

/** What a proxy does with a message; what it holds then goes to the disk and back. */
async function take(message: Uint8Array): Promise<"refused" | "judged"> {
  const update = decodeUpdate(message);
  if (typeof update === "string") return "refused";
  const removed = new Set(update.removed);
  const judged = await judgeUpdate(new Map(), { set: update.set, removed, bytes: message.length }, READING);
  if (!("held" in judged)) return "refused";
  const kept = unpackSnapshot(Buffer.concat(packSnapshot(1, keptFiles(judged.held, update.answered))));
  assert.ok(typeof kept !== "string");
  const read = readKept(kept, READING);
  assert.ok(typeof read !== "string");
  assert.deepEqual(read.keys, update.answered);
  return "judged";
}

function versions(held: Held): unknown {
  return new Map([...held].map(([id, { version }]) => [id, version]));
}

test("what is kept is what was held, under the same versions", async () => {
  const update = decodeUpdate(valid());
  assert.ok(typeof update !== "string");
  const judged = await judgeUpdate(new Map(), { set: update.set, removed: new Set(), bytes: 1 }, READING);
  assert.ok("held" in judged);
  const kept = unpackSnapshot(Buffer.concat(packSnapshot(1, keptFiles(judged.held, []))));
  const read = typeof kept === "string" ? kept : readKept(kept, READING);
  assert.ok(typeof read !== "string");
  assert.deepEqual(versions(read.held), versions(judged.held));
  assert.equal(await take(valid()), "judged");
});

test("a valid message with bytes changed, cut or put in", async () => {
  const message = Buffer.from(valid());
  const change = tuple(integer({ min: 0, max: message.length - 1 }), integer({ min: 0, max: 255 }));
  const cut = tuple(integer({ min: 0, max: message.length - 1 }), integer({ min: 0, max: 40 }));
  await check(
    asyncProperty(
      array(change, { maxLength: 6 }),
      array(cut, { maxLength: 2 }),
      uint8Array({ maxLength: 8 }),
      async (changes, cuts, put) => {
        let bytes = Buffer.from(message);
        for (const [at, byte] of changes) bytes[at] = byte;
        for (const [at, length] of cuts)
          bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + length)]);
        await take(bytes);
      },
    ),
    { numRuns: 2_000 },
  );
});

const NAMES = ["kind", "apiVersion", "metadata", "spec", "__proto__", "constructor", "name", "toString", "1", ""];
const SCALARS: readonly Plain[] = ["Service", "v1", "cart", 80, -1, 1e300, true, null, ""];

/** A packed tree that the numbers choose, each of them one choice. */
function tree(choices: Iterator<number>, levels: number): Plain {
  const next = (most: number): number => (choices.next().value ?? 0) % most;
  if (levels === 0 || next(4) === 0) return [0, 1, SCALARS[next(SCALARS.length)] ?? null];
  if (next(3) === 0) return [1, 1, [tree(choices, levels - 1), tree(choices, levels - 1)]];
  const entries = NAMES.filter(() => next(2) === 0).flatMap((name): Plain[] => [name, 1, tree(choices, levels - 1)]);
  return [2, 1, entries];
}

test("trees of anything under names of anything", async () => {
  await check(
    asyncProperty(array(integer({ min: 0, max: 999 }), { maxLength: 200 }), async (choices) => {
      const packed = new Packed(pack(["0123456789abcdef", "f", 1, tree(choices.values(), 4)]));
      const set = new Map([["Service default/cart", { version: "0123456789abcdef", packed }]]);
      await take(encodeUpdate({ nonce: 1, version: "v", set, removed: [], answered: [], more: false }));
    }),
    { numRuns: 500 },
  );
  assert.equal(Object.hasOwn(Object.prototype, "kind"), false);
});

/** A byte that begins something of a length of 32 bits. */
function head(byte: number, count: number): Buffer {
  const bytes = Buffer.alloc(5, byte);
  bytes.writeUInt32BE(count, 1);
  return bytes;
}

/** As many levels as a message has bytes. */
function deep(open: number): Buffer {
  return Buffer.concat([Buffer.alloc(FRAME_LIMITS.serverBytes - 1, open), Buffer.from([1])]);
}

test("bombs cost what their size allows, and are refused", async () => {
  const bombs: readonly Uint8Array[] = [
    deep(0x91),
    Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.from([0x81, 0xa1, 0x61]))),
    head(0xdd, 0xffffffff),
    head(0xdf, 0xffffffff),
    head(0xdb, 0xffffffff),
    head(0xc6, 0xffffffff),
    Buffer.from([0xc9, 0xff, 0xff, 0xff, 0xff, 1]),
    Buffer.concat([head(0xdd, FRAME_LIMITS.serverBytes - 5), Buffer.alloc(FRAME_LIMITS.serverBytes - 5, 0xc0)]),
    Buffer.alloc(FRAME_LIMITS.serverBytes + 1),
  ];
  for (const [index, bomb] of bombs.entries()) {
    const began = performance.now();
    assert.equal(await take(bomb), "refused", `bomb ${index}`);
    assert.ok(performance.now() - began < 1_000, `bomb ${index}`);
  }
});

test("a hundred thousand names that look like numbers are read in a moment", () => {
  const names = Array.from({ length: 100_000 }, (_, index) => `Service default/${index * 7}`);
  const message = pack(
    new Map<string, Plain>([
      ["nonce", 1],
      ["version", "v"],
      ["removed", names.slice(0, 60_000)],
    ]),
  );
  const began = performance.now();
  const update = decodeUpdate(message);
  assert.ok(typeof update !== "string");
  assert.equal(new Set(update.removed).size, 60_000);
  assert.ok(performance.now() - began < 1_000);
});
