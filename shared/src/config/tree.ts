// Pure. A YAML or JSON document as a tree in which every node knows its place; what `load` makes and schemas read.

/** A string, number, boolean or null. */
export interface ScalarNode {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  /** The file, or the name of the environment variable. */
  readonly source: string;
  /** 1-based; 0 for a value that stands in no file. */
  readonly line: number;
}

/** A sequence. */
export interface ListNode {
  readonly kind: "list";
  readonly items: readonly Node[];
  readonly source: string;
  readonly line: number;
}

/** A mapping. Its keys are strings and come from outside: they live in a `Map`, where `__proto__` is a key like others. */
export interface MapNode {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly source: string;
  readonly line: number;
}

/** One key of a mapping with its value. */
export interface MapEntry {
  /** Line of the key. */
  readonly line: number;
  readonly value: Node;
}

/** A node of the tree. Nodes that an alias repeats are shared, never copied. */
export type Node = ScalarNode | ListNode | MapNode;

/** What was found, for an error: short, and never more than a glimpse of the value. */
export function found(node: Node): string {
  if (node.kind === "list") return "a list";
  if (node.kind === "map") return "a mapping";
  if (node.value === null) return "nothing";
  const text = JSON.stringify(node.value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** A text that may hold a value or a key from outside, cut so that it can be shown. */
export function shown(text: string, most = 512): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Where a key stands: `a.b`, or `a["b.c"]` where the name would be misread. */
export function keyPath(path: string, name: string): string {
  const plain = /^[A-Za-z_][\w-]*$/.test(name);
  if (!plain) return `${path}[${JSON.stringify(name)}]`;
  return path === "" ? name : `${path}.${name}`;
}
