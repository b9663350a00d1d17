// Pure. What operators are told of where the resources in use come from, and how old they are.
import type { ResourceFolder } from "../config/files-source.ts";
import { formatDuration } from "../config/units.ts";

type Source = Pick<ResourceFolder, "asOf" | "isRestored">;

/** For the dump of the configuration. */
export function describeSource({ asOf, isRestored }: Source): { readonly restored: boolean; readonly asOf: string } {
  return { restored: isRestored, asOf: new Date(asOf).toISOString() };
}

/** For readiness: `undefined` when the resources come from where they should. `now` is in milliseconds since the epoch. */
export function restoredText({ asOf, isRestored }: Source, now: number): string | undefined {
  if (!isRestored) return undefined;
  const age = formatDuration(Math.max(0, Math.round((now - asOf) / 1000)) * 1000);
  return `resources: the last good ones, saved ${age} ago, because the source cannot be used`;
}
