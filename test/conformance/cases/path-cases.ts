// Pure. The table of paths, for one level of normalization.
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import cases from "./path.json" with { type: "json" };

interface PathRow {
  readonly raw: string;
  readonly path: string;
  readonly merged?: string;
  readonly decoded?: string;
}

/** What each path of the table becomes at a level. */
export function pathCases(level: PathNormalization): readonly { readonly raw: string; readonly path: string }[] {
  return cases.normalized.map((row: PathRow) => ({ raw: row.raw, path: spelling(row, level) }));
}

function spelling({ raw, path, merged = path, decoded = merged }: PathRow, level: PathNormalization): string {
  return { none: raw, base: path, "merge-slashes": merged, "decode-and-merge-slashes": decoded }[level];
}
