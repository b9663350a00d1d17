// Pure. One list of string matches of a policy, in the form in which it is asked: is the value one of these?
import type { StringMatch } from "./authorization.ts";

/** The values of one policy field, sorted by how they are compared. A value belongs to the set if any of them matches. */
export interface StringSet {
  readonly exact: ReadonlySet<string>;
  readonly prefixes: readonly string[];
  readonly suffixes: readonly string[];
  /** `*`: any value but the empty one. */
  readonly presence: boolean;
}

/**
 * Builds a set, or `undefined` for an absent or empty list, which asks nothing. A prefix or suffix of no characters is
 * `*`, so that it cannot match the empty value by accident. `fold` lowers the case of the values; the caller then asks
 * with lower-case values. No value ever becomes a regular expression: a dot is a dot.
 */
export function stringSet(matches: readonly StringMatch[] | undefined, fold = false): StringSet | undefined {
  if (matches === undefined || matches.length === 0) return undefined;
  const exact = new Set<string>();
  const prefixes: string[] = [];
  const suffixes: string[] = [];
  let presence = false;
  for (const match of matches) {
    const value = fold ? match.value.toLowerCase() : match.value;
    if (match.kind === "exact") exact.add(value);
    else if (match.kind === "presence" || value === "") presence = true;
    else if (match.kind === "prefix") prefixes.push(value);
    else suffixes.push(value);
  }
  return { exact, prefixes, suffixes, presence };
}

/** Whether `value` is in the set. */
export function inSet(set: StringSet, value: string): boolean {
  if (set.presence && value !== "") return true;
  if (set.exact.has(value)) return true;
  for (const prefix of set.prefixes) if (value.startsWith(prefix)) return true;
  for (const suffix of set.suffixes) if (value.endsWith(suffix)) return true;
  return false;
}
