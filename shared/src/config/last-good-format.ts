// Pure. The bytes of a last good snapshot: the resource documents of each file as trees, in plain MessagePack, behind a header
// with version and checksum. Trees and not resources are kept, so that what is read back passes the same checks as a file of
// YAML, in whatever version of Culvert that happens.
//
// Whoever can write the file could write policies, so it is read as hostile all the same: every length, type and depth is
// checked on the bytes before the decoder sees any of them.
import { hash } from "node:crypto";
import { pack, refusal, unpack } from "./messagepack.ts";
import { packNode, TREE_DEPTH, unpackNode } from "./packed-tree.ts";
import type { Node } from "./tree.ts";

/** What one snapshot may hold. */
export const LAST_GOOD_LIMITS = {
  /** The folder's own bound with room for the places of nodes. */
  bytes: 128 * 1024 * 1024,
  files: 10_000,
  depth: TREE_DEPTH + 4,
} as const;

/** One file of the folder. */
export interface SavedFile {
  readonly path: string;
  readonly documents: readonly Node[];
}

/** What was saved, and when: milliseconds since the epoch. */
export interface LastGood {
  readonly savedAt: number;
  readonly files: readonly SavedFile[];
}

const MAGIC = Buffer.from("CULVERT-SNAPSHOT");
/** Grows when the form of the trees changes; what they may say is for the resources to check. */
const FORMAT = 1;
const CHECKSUM_AT = MAGIC.length + 4;
const BODY_AT = CHECKSUM_AT + 32;

/** One file's part of a snapshot. */
export function packFile(path: string, documents: readonly Node[]): Uint8Array {
  return pack([path, documents.map((document) => packNode(document))]);
}

/** The pieces of a snapshot, to be written one after another. */
export function packSnapshot(savedAt: number, files: readonly Uint8Array[]): readonly Uint8Array[] {
  const head = Buffer.alloc(12);
  head.writeDoubleBE(savedAt, 0);
  head.writeUInt32BE(files.length, 8);
  const body: Uint8Array[] = [head];
  for (const file of files) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(file.length);
    body.push(length, file);
  }
  const format = Buffer.alloc(4);
  format.writeUInt32BE(FORMAT);
  return [MAGIC, format, checksum(Buffer.concat(body)), ...body];
}

/** Reads a snapshot back, or says in one sentence why it is refused. Never throws. */
export function unpackSnapshot(bytes: Uint8Array): LastGood | string {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (all.length > LAST_GOOD_LIMITS.bytes)
    return `expected at most ${LAST_GOOD_LIMITS.bytes} bytes, found ${all.length}`;
  if (all.length < BODY_AT + 12 || !all.subarray(0, MAGIC.length).equals(MAGIC)) return "is no snapshot of Culvert";
  const format = all.readUInt32BE(MAGIC.length);
  if (format !== FORMAT) return `has format ${format}, expected ${FORMAT}: another version of Culvert wrote it`;
  const body = all.subarray(BODY_AT);
  if (!checksum(body).equals(all.subarray(CHECKSUM_AT, BODY_AT))) return "is damaged: its checksum is wrong";
  const savedAt = body.readDoubleBE(0);
  const count = body.readUInt32BE(8);
  if (!Number.isFinite(savedAt) || count > LAST_GOOD_LIMITS.files) return "has a header that makes no sense";
  const files: SavedFile[] = [];
  let at = 12;
  for (let index = 0; index < count; index++) {
    const end = at + 4 <= body.length ? at + 4 + body.readUInt32BE(at) : Infinity;
    if (end > body.length) return `ends within file ${index + 1} of ${count}`;
    const file = unpackFile(body.subarray(at + 4, end));
    if (typeof file === "string") return `file ${index + 1} of ${count}: ${file}`;
    files.push(file);
    at = end;
  }
  return at === body.length ? { savedAt, files } : `has ${body.length - at} bytes after its end`;
}

function unpackFile(packed: Uint8Array): SavedFile | string {
  const refused = refusal(packed, LAST_GOOD_LIMITS.depth);
  if (refused !== undefined) return refused;
  const value = unpack(packed);
  if (!Array.isArray(value) || value.length !== 2) return "expected a path and documents";
  const [path, documents] = value as [unknown, unknown];
  if (typeof path !== "string" || !Array.isArray(documents)) return "expected a path and documents";
  const nodes = documents.map((document) => unpackNode(document, path));
  return nodes.every((node) => node !== undefined) ? { path, documents: nodes } : "expected a tree";
}

function checksum(body: Uint8Array): Buffer {
  return hash("sha256", body, "buffer");
}
