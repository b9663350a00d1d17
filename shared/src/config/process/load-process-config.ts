// Machine. Reads `uproxy.yaml` or `waypoint.yaml` from disk, with its overrides from the environment, whole or not at all.
import { readBounded } from "../read-bounded.ts";
import { LOAD_LIMITS, loadOne } from "../load.ts";
import { withOverrides } from "./overrides.ts";
import type { ConfigError } from "../config-error.ts";
import type { UproxyConfig, WaypointConfig } from "./process-config.ts";
import { UPROXY_SCHEMA, WAYPOINT_SCHEMA } from "./process-schema.ts";
import { Errors, INVALID, type Schema } from "./schema.ts";
import type { MapNode } from "../tree.ts";

/** Reads and checks `uproxy.yaml`; every error is reported, not only the first. */
export function loadUproxyConfig(
  file: string,
  environment: ReadonlyMap<string, string>,
): Promise<UproxyConfig | readonly ConfigError[]> {
  return loadConfigFile(UPROXY_SCHEMA, file, environment);
}

/** Reads and checks `waypoint.yaml`; every error is reported, not only the first. */
export function loadWaypointConfig(
  file: string,
  environment: ReadonlyMap<string, string>,
): Promise<WaypointConfig | readonly ConfigError[]> {
  return loadConfigFile(WAYPOINT_SCHEMA, file, environment);
}

/** The same by any schema. */
export async function loadConfigFile<T>(
  schema: Schema<T>,
  file: string,
  environment: ReadonlyMap<string, string>,
): Promise<T | readonly ConfigError[]> {
  const bytes = await readBounded(file, LOAD_LIMITS.bytesPerFile);
  if (typeof bytes === "string") return [{ file, line: 0, path: "", text: bytes }];
  return parseProcessConfig(schema, file, bytes, environment);
}

/** The same from bytes. */
export function parseProcessConfig<T>(
  schema: Schema<T>,
  file: string,
  bytes: Uint8Array,
  environment: ReadonlyMap<string, string>,
): T | readonly ConfigError[] {
  const node = loadOne(file, bytes);
  if (node !== undefined && !("kind" in node)) return node;
  const empty: MapNode = { kind: "map", entries: new Map(), source: file, line: 1 };
  const root = node ?? empty;
  const errors = new Errors();
  if (root.kind !== "map") {
    errors.expected(root, "", "a mapping of keys");
    return errors.list;
  }
  const tree = withOverrides(root, schema, environment);
  if (!("kind" in tree)) return tree;
  const config = schema.read(tree, "", errors);
  return config === INVALID ? errors.list : config;
}
