// Pure. How a resource is named in problems.
import type { Resource } from "./resource.ts";

/** `Kind namespace/name`. */
export function titleOf({ kind, metadata }: Pick<Resource, "kind" | "metadata">): string {
  return kind === "Namespace" ? `${kind} ${metadata.name}` : `${kind} ${metadata.namespace}/${metadata.name}`;
}
