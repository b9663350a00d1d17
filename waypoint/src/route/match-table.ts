// Pure. The entries of one path: finds the first that accepts a request, without asking each of ten thousand.
import type { Condition, Entry } from "./entry.ts";
import type { Search } from "./search.ts";

/** So many are asked one after the other: a look into a map costs as much. */
const FEW = 8;

/** The entries that ask for one value each of one header, of one parameter or of the method. */
interface Probe {
  readonly at: Condition;
  readonly byValue: ReadonlyMap<string, MatchTable>;
  /** The lowest rank among them. */
  readonly first: number;
}

/**
 * A tree of maps over the values that entries ask for: each entry lies below the rarest of its values, so that few lie below
 * any one. What asks for no value as it is (for regular expressions only, or for nothing) is asked in its turn.
 */
export class MatchTable {
  readonly #inTurn: readonly Entry[];
  /** By the first rank below them. */
  readonly #probes: readonly Probe[];

  /**
   * @param entries by rank
   * @param used the values that lead here, as `keyOf`
   */
  constructor(entries: readonly Entry[], used: ReadonlySet<string> = new Set()) {
    const own = used.size === 0 ? withoutShadowed(entries) : entries;
    const { inTurn, lists } = own.length <= FEW ? { inTurn: own, lists: [] } : divide(own, used);
    this.#inTurn = inTurn;
    this.#probes = probesOf(lists, used);
  }

  /** The first entry with a rank below `limit` that accepts the request. */
  find(search: Search, limit: number): Entry | undefined {
    let best: Entry | undefined;
    let below = limit;
    for (const entry of this.#inTurn) {
      if (entry.rank >= below) break;
      if (!search.accepts(entry)) continue;
      best = entry;
      below = entry.rank;
      break;
    }
    for (const { at, byValue, first } of this.#probes) {
      if (first >= below) break;
      const value = search.valueAt(at);
      const found = value === undefined ? undefined : byValue.get(value)?.find(search, below);
      if (found === undefined) continue;
      best = found;
      below = found.rank;
    }
    return best;
  }
}

/** Entries that ask for all that an earlier one asks for, and nothing else, are never reached. */
function withoutShadowed(entries: readonly Entry[]): readonly Entry[] {
  if (entries.length <= FEW) return entries;
  const seen = new Set<string>();
  return entries.filter(({ conditions }) => {
    const asked = JSON.stringify(conditions.map(keyOf).toSorted());
    if (seen.has(asked)) return false;
    seen.add(asked);
    return true;
  });
}

/** The entries that have the same rarest value. */
interface SharedValue {
  readonly at: Condition;
  readonly entries: Entry[];
}

function divide(
  entries: readonly Entry[],
  used: ReadonlySet<string>,
): { readonly inTurn: readonly Entry[]; readonly lists: Iterable<SharedValue> } {
  const counts = new Map<string, number>();
  for (const { conditions } of entries) {
    for (const condition of conditions) {
      if (condition.pattern === undefined) {
        const key = keyOf(condition);
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
  }
  const inTurn: Entry[] = [];
  const lists = new Map<string, SharedValue>();
  for (const entry of entries) {
    let rarest: Condition | undefined;
    // What all of them ask for tells none from another.
    let least = entries.length;
    for (const condition of entry.conditions) {
      const count = condition.pattern === undefined ? (counts.get(keyOf(condition)) ?? 0) : least;
      if (count >= least || used.has(keyOf(condition))) continue;
      rarest = condition;
      least = count;
    }
    if (rarest === undefined) {
      inTurn.push(entry);
      continue;
    }
    const key = keyOf(rarest);
    const list = lists.get(key);
    if (list === undefined) lists.set(key, { at: rarest, entries: [entry] });
    else list.entries.push(entry);
  }
  return { inTurn, lists: lists.values() };
}

/** @param lists by their first rank, as the probes then are too */
function probesOf(lists: Iterable<SharedValue>, used: ReadonlySet<string>): Probe[] {
  const probes = new Map<string, Probe & { readonly byValue: Map<string, MatchTable> }>();
  for (const { at, entries } of lists) {
    const place = `${at.of} ${at.slot}`;
    const probe = probes.get(place) ?? { at, byValue: new Map(), first: entries[0]?.rank ?? Infinity };
    probe.byValue.set(at.value, new MatchTable(entries, new Set([...used, keyOf(at)])));
    probes.set(place, probe);
  }
  return [...probes.values()];
}

function keyOf({ of, slot, value, pattern }: Condition): string {
  return `${of} ${slot} ${pattern === undefined ? "=" : "~"} ${value}`;
}
