// Pure. The resources of one kind among all.
import type { Resource } from "./resource.ts";

/** The resources of one kind. */
export function ofKind<K extends Resource["kind"]>(
  resources: readonly Resource[],
  kind: K,
): Extract<Resource, { kind: K }>[] {
  return resources.filter((resource): resource is Extract<Resource, { kind: K }> => resource.kind === kind);
}
