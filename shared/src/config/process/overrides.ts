// Pure. `CULVERT_…` variables that override keys of a process configuration: their names, and their place in the tree.
import { loadOne } from "../load.ts";
import { nearest } from "../near-miss.ts";
import type { ConfigError } from "../config-error.ts";
import type { Key, Schema } from "./schema.ts";
import type { MapEntry, MapNode, Node } from "../tree.ts";

const PREFIX = "CULVERT_";

/** Kubernetes and Docker describe a service called `culvert-…` by variables of this form: they are not meant for us. */
const SERVICE_LINK = /_SERVICE_(HOST|PORT)(_|$)|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;

/** The variable that overrides the key at a path: `log.level` is `CULVERT_LOG_LEVEL`. */
export function variableOf(path: readonly string[]): string {
  return PREFIX + path.map((name) => name.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()).join("_");
}

/**
 * Puts the values of `CULVERT_…` variables into a tree, over what stands there. A value of a key that holds a plain
 * scalar is taken as it is; that of another key is read as YAML (`[{listen: "127.0.0.1:9080", to: "reviews:9080"}]`).
 * An empty variable counts as absent; an unknown one is an error.
 */
export function withOverrides(
  root: MapNode,
  schema: Schema<unknown>,
  environment: ReadonlyMap<string, string>,
): MapNode | readonly ConfigError[] {
  const known = new Map<string, { readonly path: readonly string[]; readonly schema: Schema<unknown> }>();
  for (const { path, key } of keysOf(schema)) known.set(variableOf(path), { path, schema: key.schema });

  const errors: ConfigError[] = [];
  let tree: MapNode = root;
  // A section sorts before its own keys, which therefore win.
  for (const [name, value] of [...environment].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (!name.startsWith(PREFIX) || value === "") continue;
    const override = known.get(name);
    if (override === undefined) {
      if (!SERVICE_LINK.test(name)) errors.push(unknownVariable(name, known.keys()));
      continue;
    }
    const node = override.schema.plain ? plainText(name, value) : loadOne(name, Buffer.from(value));
    if (node === undefined) continue;
    if ("kind" in node) tree = place(tree, override.path, node);
    else for (const { text } of node) errors.push({ file: name, line: 0, path: override.path.join("."), text });
  }
  return errors.length > 0 ? errors : tree;
}

/** Every key of a schema with its path, sections before what is in them. */
export function* keysOf(
  schema: Schema<unknown>,
  path: readonly string[] = [],
): Generator<{ readonly path: readonly string[]; readonly key: Key<unknown> }> {
  for (const [name, key] of schema.keys ?? []) {
    yield { path: [...path, name], key };
    yield* keysOf(key.schema, [...path, name]);
  }
}

function plainText(source: string, value: string): Node {
  return { kind: "scalar", value, source, line: 0 };
}

/** The tree with `node` at `path`; a scalar or list in the way is an error of the file, which the schema will name. */
function place(tree: MapNode, path: readonly string[], node: Node): MapNode {
  const [name, ...rest] = path;
  if (name === undefined) return tree;
  const entries = new Map<string, MapEntry>(tree.entries);
  const there = tree.entries.get(name);
  let value = node;
  if (rest.length > 0) {
    const child = there?.value;
    if (child?.kind === "map") value = place(child, rest, node);
    else if (child !== undefined && !(child.kind === "scalar" && child.value === null)) return tree;
    else value = place({ kind: "map", entries: new Map(), source: node.source, line: 0 }, rest, node);
  }
  entries.set(name, { line: there?.line ?? 0, value });
  return { ...tree, entries };
}

function unknownVariable(name: string, known: Iterable<string>): ConfigError {
  const guess = nearest(name, known);
  const hint = guess === undefined ? "it overrides no key" : `did you mean ${guess}?`;
  return { file: name, line: 0, path: "", text: `unknown variable; ${hint}` };
}
