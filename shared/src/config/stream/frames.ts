// Pure. The messages of the configuration stream, both ways: one MessagePack map each. What comes from the other side is checked on
// its bytes before anything is built from them, and then field by field; a field that is not known is passed over, so that either
// side may be the newer one.
import { hash } from "node:crypto";
import { LOAD_LIMITS } from "../load.ts";
import { pack, Packed, refusal, unpack, type Plain, type PlainMap } from "../messagepack.ts";
import { packNode, TREE_DEPTH, unpackNode } from "../packed-tree.ts";
import type { Node } from "../tree.ts";

/** `:path` of the one call. */
export const CONFIG_STREAM_PATH = "/culvert.config.v1.ConfigService/Stream";
/** `content-type` of both directions. */
export const CONFIG_STREAM_TYPE = "application/grpc+msgpack";

/** What one message may hold. */
export const FRAME_LIMITS = {
  /** A client's message: a `have` of the most documents, 80 bytes each. */
  clientBytes: 8 * 1024 * 1024,
  /** An authority's message: one document of the largest size and its frame. */
  serverBytes: 2 * 1024 * 1024,
  /** What an authority puts into a message before it begins another. */
  fillBytes: 256 * 1024,
  /** A packed document; as large as a file may be. */
  documentBytes: 1024 * 1024,
  /** Values in one message, nested ones counted: a document of the most nodes, and others beside it. */
  values: 1_000_000,
  /** Documents in `have`, `set` or `removed`. */
  documents: 100_000,
  /** Keys in `subscribe`, `unsubscribe` or `answered`. */
  keys: 10_000,
  /** Characters of a key: a DNS name has 253. */
  keyLength: 300,
  /** Characters of an id: a kind, and twice 253. */
  idLength: 600,
  /** Addresses in a hello. */
  addresses: 16,
  /** Problems in a NACK; the others add nothing to the first ones. */
  problems: 100,
  /** Characters of a problem's text, and of a file's path. */
  textLength: 4096,
} as const;

/** The first message of a client; everything in it but `have` only chooses among what the caller's identity may see. */
export interface Hello {
  readonly proxy: "uproxy" | "waypoint";
  /** The WorkloadEntry that a uproxy stands for, `namespace/name`. */
  readonly workload: string | undefined;
  /** Addresses of the pod that a uproxy stands in, canonical. */
  readonly addresses: readonly string[];
  /** The Gateway that a waypoint is an instance of, `namespace/name`; a waypoint must name it. */
  readonly gateway: string | undefined;
  /**
   * Versions of the documents that the client holds, by id. The first update is the difference to them. What it holds beside
   * them it must forget when that update has come.
   */
  readonly have: ReadonlyMap<string, string>;
}

/** A field of a document that a client refuses. */
export interface RefusedField {
  /** Id of the document, `Kind namespace/name`; empty when the problem is none of one document's. */
  readonly resource: string;
  /** Path of the field, as in problems of files. */
  readonly path: string;
  readonly text: string;
}

/** What a client says. Keys are `host/NAME` (lower case) and `ip/ADDRESS` (canonical), see `isKey`. */
export type ClientFrame =
  | { readonly kind: "hello"; readonly hello: Hello; readonly subscribe: readonly string[] }
  | { readonly kind: "subscribe"; readonly subscribe: readonly string[]; readonly unsubscribe: readonly string[] }
  | { readonly kind: "ack"; readonly nonce: number }
  | { readonly kind: "nack"; readonly nonce: number; readonly problems: readonly RefusedField[] };

/** A document as it travels: `version` is `versionOf` its packed tree; its lines and file are the authority's. */
export interface SentDocument {
  readonly version: string;
  readonly document: Node;
}

/** What the authority says: a part of an update, or all of it. */
export interface UpdateFrame {
  /** Of the update: the same in all its messages, and what ACK and NACK name. Grows from update to update, from 1. */
  readonly nonce: number;
  /** The state of the authority's resources: equal text is an equal state, whatever authority tells it. */
  readonly version: string;
  /** New and changed documents by id, `Kind namespace/name` (`titleOf`). */
  readonly set: ReadonlyMap<string, SentDocument>;
  /** Nodes of all documents of `set`. */
  readonly nodes: number;
  /** Ids of documents that are to be forgotten. */
  readonly removed: readonly string[];
  /** Keys whose documents are all there once this update is applied. Each is told once for each subscription. */
  readonly answered: readonly string[];
  /** Whether other messages of the update follow; it is applied when the last has come. */
  readonly more: boolean;
}

/** A document that was packed once for all who get it. */
export interface PackedDocument {
  readonly version: string;
  /** `[version, file, line, tree]`, for `encodeUpdate`. */
  readonly packed: Packed;
}

/** An update's message as an authority makes it, of documents that are packed already. */
export interface PackedUpdate extends Omit<UpdateFrame, "set" | "nodes"> {
  readonly set: ReadonlyMap<string, PackedDocument>;
}

const HEX_VERSION = /^[0-9a-f]{16}$/;
const KEY = /^(?:host|ip)\/[!-~]+$/;

/** Whether text is a key of the stream: `host/` or `ip/` and a name without blanks. */
export function isKey(text: unknown): text is string {
  return typeof text === "string" && text.length <= FRAME_LIMITS.keyLength && KEY.test(text);
}

/** Packs a document; its version does not know its file and its first line, so that it may move within its folder. */
export function packDocument(document: Node): PackedDocument {
  const tree = pack(packNode(document, document.line));
  const version = versionOf(tree);
  return { version, packed: new Packed(pack([version, document.source, document.line, new Packed(tree)])) };
}

/** The first 8 bytes of SHA-256, in hex. */
export function versionOf(tree: Uint8Array): string {
  return hash("sha256", tree).slice(0, 16);
}

/** Encodes a client's message. */
export function encodeClientFrame(frame: ClientFrame): Uint8Array {
  if (frame.kind === "ack") return pack(new Map([["ack", frame.nonce]]));
  if (frame.kind === "nack") {
    const problems = frame.problems.slice(0, FRAME_LIMITS.problems).map(packProblem);
    return pack(
      new Map<string, Plain>([
        ["nack", frame.nonce],
        ["problems", problems],
      ]),
    );
  }
  const subscribe = filled("subscribe", frame.subscribe);
  if (frame.kind === "subscribe") return pack(new Map([...subscribe, ...filled("unsubscribe", frame.unsubscribe)]));
  const { proxy, workload, addresses, gateway, have } = frame.hello;
  const hello = new Map<string, Plain>([["proxy", proxy]]);
  if (workload !== undefined) hello.set("workload", workload);
  if (addresses.length > 0) hello.set("addresses", addresses);
  if (gateway !== undefined) hello.set("gateway", gateway);
  hello.set("have", have);
  return pack(new Map<string, Plain>([["hello", hello], ...subscribe]));
}

/** A problem, cut to what is read of it. */
function packProblem({ resource, path, text }: RefusedField): Plain {
  return new Map<string, Plain>([
    ["resource", resource.slice(0, FRAME_LIMITS.idLength)],
    ["path", path.slice(0, FRAME_LIMITS.textLength)],
    ["text", text.slice(0, FRAME_LIMITS.textLength)],
  ]);
}

/** Encodes one message of an update. */
export function encodeUpdate({ nonce, version, set, removed, answered, more }: PackedUpdate): Uint8Array {
  const documents = new Map<string, Plain>();
  for (const [id, { packed }] of set) documents.set(id, packed);
  return pack(
    new Map<string, Plain>([
      ["nonce", nonce],
      ["version", version],
      ...(documents.size === 0 ? [] : [["set", documents] as const]),
      ...filled("removed", removed),
      ...filled("answered", answered),
      ...(more ? [["more", true] as const] : []),
    ]),
  );
}

/** Reads a client's message, or says in one sentence why it is none. Never throws. */
export function decodeClientFrame(bytes: Uint8Array): ClientFrame | string {
  const fields = fieldsOf(bytes, FRAME_LIMITS.clientBytes);
  if (typeof fields === "string") return fields;
  const kinds = ["hello", "ack", "nack"].filter((name) => fields.has(name));
  if (kinds.length > 1) return `expected one of hello, ack and nack, found ${kinds.join(" and ")}`;
  if (fields.has("ack") || fields.has("nack")) {
    const nonce = fields.get("ack") ?? fields.get("nack");
    if (!isNonce(nonce)) return `${kinds[0]}: expected a nonce`;
    if (fields.has("ack")) return { kind: "ack", nonce };
    const problems = problemsOf(fields.get("problems"));
    return problems === undefined
      ? "problems: expected a list of resource, path and text"
      : { kind: "nack", nonce, problems };
  }
  const subscribe = textsOf(fields.get("subscribe"), FRAME_LIMITS.keys, isKey);
  const unsubscribe = textsOf(fields.get("unsubscribe"), FRAME_LIMITS.keys, isKey);
  if (subscribe === undefined || unsubscribe === undefined) {
    return `${subscribe === undefined ? "subscribe" : "unsubscribe"}: expected at most ${FRAME_LIMITS.keys} keys, such as host/shop.example`;
  }
  if (!fields.has("hello")) {
    if (!fields.has("subscribe") && !fields.has("unsubscribe"))
      return "expected hello, ack, nack, subscribe or unsubscribe";
    return { kind: "subscribe", subscribe, unsubscribe };
  }
  const hello = helloOf(fields.get("hello"));
  return typeof hello === "string" ? `hello${hello}` : { kind: "hello", hello, subscribe };
}

/** Reads an authority's message, or says in one sentence why it is none. Never throws. */
export function decodeUpdate(bytes: Uint8Array): UpdateFrame | string {
  const fields = fieldsOf(bytes, FRAME_LIMITS.serverBytes);
  if (typeof fields === "string") return fields;
  const nonce = fields.get("nonce");
  if (!isNonce(nonce)) return "nonce: expected a whole number from 1";
  const version = fields.get("version");
  if (!isText(version, FRAME_LIMITS.keyLength)) return "version: expected text";
  const removed = textsOf(fields.get("removed"), FRAME_LIMITS.documents, isId);
  if (removed === undefined) return "removed: expected a list of ids";
  const answered = textsOf(fields.get("answered"), FRAME_LIMITS.keys, isKey);
  if (answered === undefined) return "answered: expected a list of keys";
  const more = fields.get("more") ?? false;
  if (typeof more !== "boolean") return "more: expected true or false";
  const packed = fields.get("set") ?? new Map<string, Plain>();
  if (!isMap(packed) || packed.size > FRAME_LIMITS.documents) return "set: expected a map of documents by id";
  const set = new Map<string, SentDocument>();
  let nodes = 0;
  for (const [id, value] of packed) {
    const room = { nodes: LOAD_LIMITS.expandedNodes };
    const sent = isId(id) ? sentOf(value, room) : undefined;
    nodes += LOAD_LIMITS.expandedNodes - room.nodes;
    if (sent === undefined) return `set[${JSON.stringify(id.slice(0, 80))}]: expected version, file, line and tree`;
    set.set(id, sent);
  }
  return { nonce, version, set, nodes, removed, answered, more };
}

function sentOf(value: Plain, room: { nodes: number }): SentDocument | undefined {
  if (!isList(value) || value.length !== 4) return undefined;
  const [version, file, line, tree] = value;
  if (typeof version !== "string" || !HEX_VERSION.test(version) || !isText(file, FRAME_LIMITS.textLength))
    return undefined;
  if (typeof line !== "number" || !Number.isSafeInteger(line) || line < 0) return undefined;
  const document = unpackNode(tree, file, line, room);
  return document === undefined ? undefined : { version, document };
}

function helloOf(value: Plain | undefined): Hello | string {
  if (value === undefined || !isMap(value)) return ": expected a map";
  const proxy = value.get("proxy");
  if (proxy !== "uproxy" && proxy !== "waypoint") return ".proxy: expected uproxy or waypoint";
  const workload = value.get("workload");
  if (workload !== undefined && !isId(workload)) return ".workload: expected namespace/name";
  const gateway = value.get("gateway");
  if (gateway !== undefined && !isId(gateway)) return ".gateway: expected namespace/name";
  if (proxy === "waypoint" && gateway === undefined)
    return ".gateway: expected namespace/name of the waypoint's Gateway";
  const addresses = textsOf(value.get("addresses"), FRAME_LIMITS.addresses, (text) => isText(text, 64));
  if (addresses === undefined) return `.addresses: expected at most ${FRAME_LIMITS.addresses} addresses`;
  const packed = value.get("have") ?? new Map<string, Plain>();
  if (!isMap(packed) || packed.size > FRAME_LIMITS.documents) return ".have: expected a map of versions by id";
  const have = new Map<string, string>();
  for (const [id, version] of packed) {
    if (!isId(id) || typeof version !== "string" || !HEX_VERSION.test(version)) {
      return `.have[${JSON.stringify(id.slice(0, 80))}]: expected a version`;
    }
    have.set(id, version);
  }
  return { proxy, workload, addresses, gateway, have };
}

function problemsOf(value: Plain | undefined): readonly RefusedField[] | undefined {
  if (value === undefined) return [];
  if (!isList(value) || value.length > FRAME_LIMITS.problems) return undefined;
  const problems: RefusedField[] = [];
  for (const item of value) {
    if (!isMap(item)) return undefined;
    const [resource, path, text] = [item.get("resource"), item.get("path"), item.get("text")];
    if (!isText(resource, FRAME_LIMITS.idLength)) return undefined;
    if (!isText(path, FRAME_LIMITS.textLength) || !isText(text, FRAME_LIMITS.textLength)) return undefined;
    problems.push({ resource, path, text });
  }
  return problems;
}

function fieldsOf(bytes: Uint8Array, maxBytes: number): PlainMap | string {
  if (bytes.length > maxBytes) return `expected at most ${maxBytes} bytes, found ${bytes.length}`;
  const refused = refusal(bytes, TREE_DEPTH + 6, { maps: true, values: FRAME_LIMITS.values });
  if (refused !== undefined) return refused;
  const value = unpack(bytes);
  return isMap(value) ? value : "expected a map";
}

function textsOf(
  value: Plain | undefined,
  most: number,
  accepts: (text: unknown) => text is string,
): readonly string[] | undefined {
  if (value === undefined) return [];
  if (!isList(value) || value.length > most) return undefined;
  const texts = value.filter(accepts);
  return texts.length === value.length ? texts : undefined;
}

function filled(name: string, texts: readonly string[]): readonly (readonly [string, Plain])[] {
  return texts.length === 0 ? [] : [[name, texts]];
}

function isMap(value: Plain): value is PlainMap {
  return value instanceof Map;
}

function isList(value: Plain): value is readonly Plain[] {
  return Array.isArray(value);
}

function isText(value: unknown, length: number): value is string {
  return typeof value === "string" && value.length <= length;
}

function isId(value: unknown): value is string {
  return isText(value, FRAME_LIMITS.idLength) && value.length > 0;
}

function isNonce(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}
