// Pure. What of the documents that hold secrets may be written to disk.
import type { MapNode, Node } from "../../tree.ts";
import { CA_KEY } from "./ca-source.ts";

/**
 * A document without what a Secret in it holds beyond `ca.crt`, for what is written to disk; annotations may hold a copy of all of
 * it. Others are as they were.
 */
export function withoutSecrets(document: Node): Node {
  if (document.kind !== "map") return document;
  const kind = document.entries.get("kind")?.value;
  const name = kind?.kind === "scalar" ? kind.value : undefined;
  if (name === "SecretList") return only(document, (key) => key !== "items");
  if (name === "List") {
    return replaced(document, "items", (items) =>
      items.kind === "list" ? { ...items, items: items.items.map(withoutSecrets) } : items,
    );
  }
  if (name !== "Secret") return document;
  let kept = replaced(document, "metadata", (metadata) => only(metadata, (key) => key !== "annotations"));
  for (const key of ["data", "stringData"]) kept = replaced(kept, key, (data) => only(data, (each) => each === CA_KEY));
  return kept;
}

function replaced(map: MapNode, key: string, replace: (value: Node) => Node): MapNode {
  const entry = map.entries.get(key);
  if (entry === undefined) return map;
  return { ...map, entries: new Map(map.entries).set(key, { line: entry.line, value: replace(entry.value) }) };
}

function only(node: Node, keeps: (key: string) => boolean): Node {
  if (node.kind !== "map") return { kind: "scalar", value: null, source: node.source, line: node.line };
  return { ...node, entries: new Map([...node.entries].filter(([key]) => keeps(key))) };
}
