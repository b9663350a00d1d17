// Machine. The configuration of a mesh in this process: the keys of `uproxy.yaml`, as values or in such a file, read by its tables.
import { formatConfigError, type ConfigError } from "@culvert/shared/config/config-error.ts";
import { environment } from "@culvert/shared/config/env.ts";
import { LOAD_LIMITS, loadOne } from "@culvert/shared/config/load.ts";
import { withOverrides } from "@culvert/shared/config/process/overrides.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { UPROXY_SCHEMA } from "@culvert/shared/config/process/process-schema.ts";
import { readBounded } from "@culvert/shared/config/read-bounded.ts";
import { Errors, INVALID } from "@culvert/shared/config/process/schema.ts";
import type { MapEntry, MapNode, Node } from "@culvert/shared/config/tree.ts";
import { MeshConfigurationError } from "./errors.ts";

/** A value as `uproxy.yaml` could hold it. */
export type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value | undefined };

/** Keys of `uproxy.yaml` that mean something within a process, and nothing beside them; docs/configuration.md has all that they hold. */
export interface MeshConfiguration {
  /** Who I am: exactly one of `files`, `workloadApi`, `authority`, `istiod`. */
  readonly identity: { readonly [key: string]: Value | undefined };
  /** Where the mesh resources come from: exactly one of its kinds, such as `files`. */
  readonly resources: { readonly [key: string]: Value | undefined };
  /** Which workload this is; otherwise the one that has the certificate's account and one of this host's addresses. */
  readonly workload?: { readonly namespace?: string; readonly name: string };
  /** `hbone`: where `serve` takes tunnels, `:15008` if nothing is said. */
  readonly inbound?: { readonly hbone?: string | number };
  /** `unknown`: what becomes of a destination that is in no resource. */
  readonly outbound?: { readonly unknown?: "passthrough" | "refuse" };
  /** `timeout`: how long connections may live on after `close()`, `25s` if nothing is said. */
  readonly drain?: { readonly timeout?: string };
  /** What of the log is written, if there is a writer. */
  readonly log?: {
    readonly level?: "debug" | "info" | "warn" | "error";
    readonly access?: "all" | "failures" | "off" | number;
  };
  /** `pqc`: keys are agreed by X25519MLKEM768 and nothing else. */
  readonly compliance?: "pqc";
  readonly limits?: { readonly [key: string]: Value | undefined };
}

/** Keys of uproxy that would listen for an app, or act for one, beside the process; `off` and an empty list say the same as absence. */
const BESIDE: readonly (readonly [path: string, instead: string])[] = [
  ["inbound.app", "name a local port in serve()"],
  ["inbound.proxyProtocol", "the caller is socket.peer"],
  ["inbound.keepSource", "the caller is socket.peer"],
  ["inbound.plaintext", "nothing is captured"],
  ["outbound.listeners", "use connect(), httpAgent() or dispatcher()"],
  ["outbound.proxy", "use connect(), httpAgent() or dispatcher()"],
  ["outbound.transparent", "nothing is captured"],
  ["outbound.allowNonLoopback", "there are no such listeners"],
  ["capture", "nothing is captured"],
  ["dns", "names of the mesh are known to connect()"],
  ["admin", "there is no such port"],
  ["readiness", "openMesh() has resolved when it is ready"],
  ["metrics", "use metrics()"],
  ["limits.memory", "the memory of the process is the application's"],
];

/** How deep values may be nested: more than any key needs. */
const MAX_DEPTH = 16;

/** Where errors of values say that they were found. */
const SOURCE = "openMesh";

/**
 * Reads a configuration: values, or the path of a file, over which the `CULVERT_` variables of the environment win as they do
 * for uproxy. Throws a MeshConfigurationError that names every error.
 */
export async function readConfiguration(configuration: MeshConfiguration | string): Promise<UproxyConfig> {
  const tree = typeof configuration === "string" ? await treeOfFile(configuration) : treeOfValues(configuration);
  const errors = new Errors();
  for (const [path, instead] of BESIDE) {
    const node = nodeAt(tree, path.split("."));
    if (node !== undefined && !saysNothing(node)) {
      errors.add(node, path, `is a key of the program uproxy, not of a mesh in this process: ${instead}`);
    }
  }
  const config = UPROXY_SCHEMA.read(tree, "", errors);
  if (config === INVALID || errors.list.length > 0) throw refused(errors.list);
  return config;
}

async function treeOfFile(file: string): Promise<MapNode> {
  const bytes = await readBounded(file, LOAD_LIMITS.bytesPerFile);
  if (typeof bytes === "string") throw refusal(file, "", bytes);
  const node = loadOne(file, bytes);
  if (node !== undefined && !("kind" in node)) throw refused(node);
  if (node?.kind !== "map") throw refusal(file, "", "expected a mapping of keys");
  const tree = withOverrides(node, UPROXY_SCHEMA, environment());
  if (!("kind" in tree)) throw refused(tree);
  return tree;
}

function treeOfValues(values: MeshConfiguration): MapNode {
  const node = nodeOf(values, "", 0);
  if (node.kind !== "map") throw refusal(SOURCE, "", "expected an object of keys, or the path of a file");
  return node;
}

function nodeOf(value: unknown, path: string, depth: number): Node {
  const place = { source: SOURCE, line: 0 };
  if (depth > MAX_DEPTH) throw refusal(SOURCE, path, `expected at most ${MAX_DEPTH} levels`);
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    return { kind: "scalar", value, ...place };
  }
  if (Array.isArray(value)) {
    return { kind: "list", items: value.map((item, index) => nodeOf(item, `${path}[${index}]`, depth + 1)), ...place };
  }
  if (typeof value !== "object") throw refusal(SOURCE, path, `expected plain values, found a ${typeof value}`);
  const entries = new Map<string, MapEntry>();
  for (const [key, item] of Object.entries(value)) {
    const name = path === "" ? key : `${path}.${key}`;
    if (item !== undefined) entries.set(key, { line: 0, value: nodeOf(item, name, depth + 1) });
  }
  return { kind: "map", entries, ...place };
}

function nodeAt(tree: Node, [first, ...rest]: readonly string[]): Node | undefined {
  if (first === undefined) return tree;
  const entry = tree.kind === "map" ? tree.entries.get(first) : undefined;
  return entry && nodeAt(entry.value, rest);
}

function saysNothing(node: Node): boolean {
  if (node.kind === "list") return node.items.length === 0;
  return node.kind === "scalar" && (node.value === "off" || node.value === false || node.value === null);
}

function refusal(file: string, path: string, text: string): MeshConfigurationError {
  return refused([{ file, line: 0, path, text }]);
}

function refused(errors: readonly ConfigError[]): MeshConfigurationError {
  return new MeshConfigurationError(errors.map(formatConfigError));
}
