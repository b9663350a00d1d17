// Pure. A resource document's tree as a plain value of MessagePack, and back: what is kept for the next start, and what the
// configuration stream carries. Trees and not resources travel, so that what is read passes the same checks as a file of YAML.
import { LOAD_LIMITS } from "./load.ts";
import type { Plain } from "./messagepack.ts";
import type { MapEntry, Node } from "./tree.ts";

/** The levels of the encoding that the deepest tree has: each of its own is two, a node and its children. */
export const TREE_DEPTH: number = 2 * LOAD_LIMITS.depth;

const SCALAR = 0;
const LIST = 1;
const MAP = 2;

/**
 * `[0, line, value]` for a scalar, `[1, line, [items]]` for a list, `[2, line, [key, line of the key, value, …]]` for a mapping.
 *
 * @param base taken off every line, so that a document that moves within its file stays as it is
 */
export function packNode(node: Node, base = 0): Plain {
  if (node.kind === "scalar") return [SCALAR, node.line - base, node.value];
  if (node.kind === "list") return [LIST, node.line - base, node.items.map((item) => packNode(item, base))];
  const entries: Plain[] = [];
  for (const [key, { line, value }] of node.entries) entries.push(key, line - base, packNode(value, base));
  return [MAP, node.line - base, entries];
}

/** The tree, its nodes with `source` and their lines after `base`; undefined when the value is none, or has more nodes than a file may. */
export function unpackNode(
  value: unknown,
  source: string,
  base = 0,
  room: { nodes: number } = { nodes: LOAD_LIMITS.expandedNodes },
): Node | undefined {
  room.nodes -= 1;
  if (room.nodes < 0 || !Array.isArray(value) || value.length !== 3) return undefined;
  const [kind, packedLine, content] = value as [unknown, unknown, unknown];
  const line = lineOf(packedLine, base);
  if (line === undefined) return undefined;
  if (kind === SCALAR) return isScalar(content) ? { kind: "scalar", value: content, source, line } : undefined;
  if (!Array.isArray(content)) return undefined;
  if (kind === LIST) {
    const items: Node[] = [];
    for (const item of content) {
      const node = unpackNode(item, source, base, room);
      if (node === undefined) return undefined;
      items.push(node);
    }
    return { kind: "list", items, source, line };
  }
  if (kind !== MAP || content.length % 3 !== 0) return undefined;
  const entries = new Map<string, MapEntry>();
  for (let at = 0; at < content.length; at += 3) {
    const [key, packedKeyLine, item] = content.slice(at, at + 3) as [unknown, unknown, unknown];
    const keyLine = lineOf(packedKeyLine, base);
    const node = unpackNode(item, source, base, room);
    if (typeof key !== "string" || keyLine === undefined || node === undefined || entries.has(key)) return undefined;
    entries.set(key, { line: keyLine, value: node });
  }
  return { kind: "map", entries, source, line };
}

function lineOf(packed: unknown, base: number): number | undefined {
  if (typeof packed !== "number") return undefined;
  const line = packed + base;
  return Number.isSafeInteger(line) && line >= 0 ? line : undefined;
}

function isScalar(value: unknown): value is string | number | boolean | null {
  return value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}
