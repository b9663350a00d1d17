// Pure. Finds the entries whose path match fits a request path, most specific first, without looking at the others.
import { literalBeginning, literalEnding, prefixSegments, type Condition, type Entry } from "./entry.ts";
import { MatchTable } from "./match-table.ts";
import type { Search } from "./search.ts";

/** The entries of one regular expression. */
interface PatternTable {
  readonly path: Condition;
  /** Compared first: most expressions of many are passed over by that. */
  readonly ending: string;
  readonly table: MatchTable;
  /** The lowest rank among them. */
  readonly first: number;
}

interface Node {
  readonly parent: Node | undefined;
  readonly children: Map<string, Node>;
  /** Those that begin with the segments up to here, by their first rank. */
  patterns: readonly PatternTable[];
  table: MatchTable | undefined;
}

/** Entries of one path, before they become a table. */
interface SamePath {
  readonly first: Entry;
  readonly entries: Entry[];
}

/**
 * The entries of one host: a map for exact paths, a trie of segments for prefixes and for the literal beginnings of regular
 * expressions, so that ten thousand routes cost as much as the segments of the request that are in the trie.
 */
export class PathIndex {
  readonly #exact = new Map<string, MatchTable>();
  readonly #root: Node = nodeBelow(undefined);

  /** @param entries by rank */
  constructor(entries: readonly Entry[]) {
    for (const { first, entries: same } of byPath(entries)) {
      const { path, routed } = first;
      const { kind, value } = routed.match.path;
      const table = new MatchTable(same);
      if (kind === "exact") this.#exact.set(value, table);
      else if (path === undefined) this.#nodeOf(value).table = table;
      else {
        const node = this.#nodeOf(literalBeginning(value));
        node.patterns = [...node.patterns, { path, ending: literalEnding(value), table, first: first.rank }];
      }
    }
  }

  /** The first entry that accepts the request: of exact matches, then up from the deepest segments to `/`. */
  find(search: Search): Entry | undefined {
    const { path } = search.request;
    const exact = this.#exact.get(path)?.find(search, Infinity);
    if (exact !== undefined || path.charCodeAt(0) !== 0x2f) return exact;
    for (let node: Node | undefined = this.#deepest(path); node !== undefined; node = node.parent) {
      const found = findPattern(node.patterns, search) ?? node.table?.find(search, Infinity);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #deepest(path: string): Node {
    let node = this.#root;
    let start = 1;
    while (node.children.size > 0 && start <= path.length) {
      const slash = path.indexOf("/", start);
      const end = slash < 0 ? path.length : slash;
      const child = node.children.get(path.slice(start, end));
      if (child === undefined) break;
      node = child;
      start = end + 1;
    }
    return node;
  }

  #nodeOf(prefix: string): Node {
    let node = this.#root;
    for (const segment of prefixSegments(prefix)) {
      let child = node.children.get(segment);
      if (child === undefined) {
        child = nodeBelow(node);
        node.children.set(segment, child);
      }
      node = child;
    }
    return node;
  }
}

function findPattern(patterns: readonly PatternTable[], search: Search): Entry | undefined {
  let best: Entry | undefined;
  for (const { path, ending, table, first } of patterns) {
    const below = best?.rank ?? Infinity;
    if (first >= below) break;
    if (search.request.path.endsWith(ending) && search.holds(path, first)) best = table.find(search, below) ?? best;
  }
  return best;
}

function nodeBelow(parent: Node | undefined): Node {
  return { parent, children: new Map(), patterns: [], table: undefined };
}

function byPath(entries: readonly Entry[]): Iterable<SamePath> {
  const paths = new Map<string, SamePath>();
  for (const entry of entries) {
    const { kind, value } = entry.routed.match.path;
    const key = `${kind} ${kind === "prefix" ? prefixSegments(value).join("/") : value}`;
    const same = paths.get(key);
    if (same === undefined) paths.set(key, { first: entry, entries: [entry] });
    else same.entries.push(entry);
  }
  return paths.values();
}
