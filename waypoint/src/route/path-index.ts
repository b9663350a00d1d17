// Pure. Finds the entries whose path match fits a request path, most specific first, without looking at the others.

/** How a path is matched: the whole, or whole segments from the start (Gateway API `Exact`, `PathPrefix`). */
export interface PathMatch {
  readonly kind: "exact" | "prefix" | "regex";
  readonly value: string;
}

interface Node<Entry> {
  readonly parent: Node<Entry> | undefined;
  readonly children: Map<string, Node<Entry>>;
  readonly entries: Entry[];
}

/**
 * Entries by path: a map for exact paths and a trie of segments for prefixes, so that ten thousand routes cost as much
 * as the segments of the request that are in the trie. Entries of one path keep the order in which they were added.
 */
export class PathIndex<Entry> {
  readonly #exact = new Map<string, Entry[]>();
  readonly #root: Node<Entry> = { parent: undefined, children: new Map(), entries: [] };

  add(match: PathMatch, entry: Entry): void {
    if (match.kind === "exact") {
      const entries = this.#exact.get(match.value);
      if (entries === undefined) this.#exact.set(match.value, [entry]);
      else entries.push(entry);
      return;
    }
    this.#nodeOf(match.value).entries.push(entry);
  }

  /**
   * The first entry that `accept` takes: exact matches, then prefixes from the longest to `/`.
   *
   * @param accept takes the entry and `context`, so that no closure is made per request
   */
  find<Context>(
    path: string,
    context: Context,
    accept: (entry: Entry, context: Context) => boolean,
  ): Entry | undefined {
    const exact = this.#exact.get(path);
    if (exact !== undefined) {
      for (const entry of exact) if (accept(entry, context)) return entry;
    }
    if (path.charCodeAt(0) !== 0x2f) return undefined;
    for (let node: Node<Entry> | undefined = this.#deepest(path); node !== undefined; node = node.parent) {
      for (const entry of node.entries) if (accept(entry, context)) return entry;
    }
    return undefined;
  }

  #deepest(path: string): Node<Entry> {
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

  #nodeOf(prefix: string): Node<Entry> {
    let node = this.#root;
    for (const segment of prefixSegments(prefix)) {
      let child = node.children.get(segment);
      if (child === undefined) {
        child = { parent: node, children: new Map(), entries: [] };
        node.children.set(segment, child);
      }
      node = child;
    }
    return node;
  }
}

/** Segments of a prefix; the slash at its end does not count. */
function prefixSegments(prefix: string): string[] {
  const segments = prefix.split("/");
  if (segments[0] === "") segments.shift();
  if (segments.at(-1) === "") segments.pop();
  return segments;
}
