// Pure. How files and trust domains are written in a configuration.
import { dirname, isAbsolute, join } from "node:path";
import { isFailure } from "../../failure/failure.ts";
import { parseTrustDomain } from "../../identity/spiffe-id.ts";
import { refine, scalar, type Schema } from "./schema.ts";

/**
 * A path; a relative one is read from the folder of the configuration file. One from the environment stays relative to
 * where the process runs: its source is the name of a variable, which has no folder.
 */
export const path: Schema<string> = refine(
  scalar("path", (value) => (typeof value === "string" && value !== "" ? value : undefined)),
  (value, _refuse, node) => (isAbsolute(value) ? value : join(dirname(node.source), value)),
);

/** Whether a key is the name of a trust domain. */
export function isTrustDomain(name: string): boolean {
  return !isFailure(parseTrustDomain(name));
}
