// Pure. Updates of the configuration stream that somebody pushes to do harm, with what must come of each: the same for a source in memory
// and for a real proxy.
import { pack, Packed, type Plain } from "@culvert/shared/config/messagepack.ts";
import { packDocument, type PackedDocument } from "@culvert/shared/config/stream/frames.ts";
import { documents, entry, service, update } from "@culvert/shared/config/stream/stream-fixtures.ts";
import type { MapEntry, Node } from "@culvert/shared/config/tree.ts";

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

/** A Service with a port that is none. */
function bad(name: string): Node {
  return map([
    ["apiVersion", scalar("v1")],
    ["kind", scalar("Service")],
    ["metadata", map([["name", scalar(name)]])],
    ["spec", map([["ports", list([map([["port", scalar("many")]])])]])],
  ]);
}

const POLICY = ["AuthorizationPolicy", "security.istio.io/v1"] as const;
const NAMESPACE = ["Namespace", "v1"] as const;

/** An update that is well formed, and must be refused by the resource and the field. */
export type RefusedUpdate = readonly [
  name: string,
  set: () => ReadonlyMap<string, PackedDocument>,
  resource: string,
  path: string,
  text: RegExp,
];

/** Messages that are none, after which the stream has to end; `why` is what the proxy says of it. */
export type UnfitUpdate = readonly [name: string, messages: (nonce: number) => readonly Uint8Array[], why: RegExp];

/** What is well formed, and must be refused by resource and field. */
export const REFUSED_UPDATES: readonly RefusedUpdate[] = [
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
  [
    "an error in each of three thousand documents",
    () => new Map(many(3_000, (index) => [`Service default/bad-${index}`, packDocument(bad(`bad-${index}`))])),
    "Service default/bad-0",
    "spec.ports[0].port",
    /expected/,
  ],
];

/** What no document is, so that the stream ends. */
export const UNFIT_UPDATES: readonly UnfitUpdate[] = [
  [
    "a million rules",
    (nonce) => [
      update(nonce, {
        set: one(
          "AuthorizationPolicy default/p",
          resource(...POLICY, { spec: map([["rules", list(many(240_000, () => map([])))]]) }),
        ),
      }),
    ],
    /set\["AuthorizationPolicy default\/p"\]: expected version, file, line and tree/,
  ],
  [
    "a hundred thousand numbers as keys",
    (nonce) => [
      update(nonce, {
        set: one(
          "ConfigMap default/p",
          resource("ConfigMap", "v1", { data: map(many(100_000, (i) => [String(i * 64), scalar("x")] as const)) }),
        ),
      }),
    ],
    /set\["ConfigMap default\/p"\]: expected version, file, line and tree/,
  ],
  [
    "levels beyond those of any resource",
    (nonce) => [update(nonce, { set: one("Namespace p", deep(200)) })],
    /levels of nesting/,
  ],
  [
    "levels without end",
    () => [Buffer.concat([Buffer.from([0x81, 0xa1, 0x61]), Buffer.alloc(1_000_000, 0x91)])],
    /levels of nesting/,
  ],
  [
    "a list of four thousand million",
    () => [Buffer.from([0x81, 0xa3, 0x73, 0x65, 0x74, 0xdd, 0xff, 0xff, 0xff, 0xff])],
    /4294967295 items in 0 bytes/,
  ],
  [
    "a text of four thousand million",
    () => [Buffer.from([0x81, 0xa3, 0x73, 0x65, 0x74, 0xdb, 0xff, 0xff, 0xff, 0xff])],
    /ends within a value/,
  ],
  [
    "a record of msgpackr",
    () => [Buffer.from([0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01])],
    /byte 212 at 0 begins nothing that is allowed there/,
  ],
  ["nothing", () => [Buffer.alloc(0)], /ends within a value/],
  [
    "a key that is there twice",
    (nonce) => [
      update(nonce, {
        set: new Map([["Namespace p", packed([2, 0, ["kind", 0, [0, 0, "a"], "kind", 0, [0, 0, "b"]]])]]),
      }),
    ],
    /set\["Namespace p"\]: expected version, file, line and tree/,
  ],
  [
    "a document that is one level too deep",
    (nonce) => [update(nonce, { set: one("Namespace p", deep(65)) })],
    /levels of nesting/,
  ],
  [
    "an update in parts without end",
    (nonce) => endless(nonce),
    /update \d+: expected at most 4000000 nodes, found more/,
  ],
  [
    "a message of three megabytes",
    () => [Buffer.alloc(3 * 1024 * 1024)],
    /a message of 3145728 bytes, 2097152 are taken/,
  ],
  [
    "an update that comes again",
    (nonce) => [update(nonce - 1, { set: documents(entry("again", "10.99.0.1")) })],
    /update \d+ after \d+/,
  ],
  [
    "an update within another",
    (nonce) => [update(nonce, { more: true }), update(nonce + 1, {})],
    /a part of update \d+ within \d+/,
  ],
];

/** A tree as it travels, right or not. */
function packed(tree: Plain): PackedDocument {
  const version = "0123456789abcdef";
  return { version, packed: new Packed(pack([version, "mesh.yaml", 1, tree])) };
}

/** As many nodes as go into as few bytes, in parts of nearly the largest size, and no last one. */
function endless(nonce: number): readonly Uint8Array[] {
  const document = packDocument(
    map([
      ["apiVersion", scalar("v1")],
      ["kind", scalar("Namespace")],
      ["metadata", map([["name", scalar("p")]])],
      ["spec", list(many(80_000, () => scalar(1)))],
    ]),
  );
  return many(18, (part) =>
    update(nonce, { set: new Map(many(3, (index) => [`Namespace p${part}-${index}`, document])), more: true }),
  );
}

/** A route with a megabyte of regular expressions: it fails closed, and nothing but it. */
export function regularExpressions(): ReadonlyMap<string, PackedDocument> {
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
  return one("HTTPRoute default/p", route);
}
