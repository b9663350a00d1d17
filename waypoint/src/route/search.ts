// Machine. The request that a group of routes looks at, and what it has found out about it: nothing twice, nothing unasked.
import { isUtf8 } from "node:buffer";
import type { Pattern } from "@culvert/shared/config/pattern.ts";
import { readQuery } from "./query.ts";
import type { Condition, Entry, RoutedRequest } from "./entry.ts";

const NO_REQUEST: RoutedRequest = { method: "", hostname: "", path: "", query: "", headers: [] };

/** One for each group, used for one request after the other: `find` is never interrupted. */
export class Search {
  request = NO_REQUEST;
  /** Rank of the first entry of which nobody can say whether it matches: a value is too long for its expression. */
  unsure = Infinity;
  #turn = 0;
  #queryTurn = 0;
  readonly #querySlots: ReadonlyMap<string, number>;
  readonly #query: (string | undefined)[];

  constructor(querySlots: ReadonlyMap<string, number>) {
    this.#querySlots = querySlots;
    this.#query = Array.from({ length: querySlots.size });
  }

  begin(request: RoutedRequest): void {
    this.request = request;
    this.unsure = Infinity;
    this.#turn += 1;
  }

  /** What the request has where a condition looks; `undefined` when it has none. */
  valueAt({ of, slot }: Condition): string | undefined {
    if (of === "header") return this.request.headers[slot];
    if (of === "query") return this.#queryValue(slot);
    return of === "method" ? this.request.method : this.request.path;
  }

  /** Whether all conditions of an entry hold but that of its path, which is the business of the index. */
  accepts(entry: Entry): boolean {
    for (const condition of entry.conditions) if (!this.holds(condition, entry.rank)) return false;
    return true;
  }

  /** @param rank of the entry that asks */
  holds(condition: Condition, rank: number): boolean {
    const { pattern } = condition;
    if (pattern === undefined) return this.valueAt(condition) === condition.value;
    if (condition.turn !== this.#turn) {
      condition.turn = this.#turn;
      condition.verdict = this.#verdict(condition, pattern);
    }
    if (condition.verdict === undefined && rank < this.unsure) this.unsure = rank;
    return condition.verdict === true;
  }

  #verdict(condition: Condition, pattern: Pattern): boolean | undefined {
    const value = this.valueAt(condition);
    if (value === undefined) return false;
    const text = condition.of === "header" ? utf8Of(value) : value;
    return text === undefined ? false : pattern.matches(text);
  }

  #queryValue(slot: number): string | undefined {
    if (this.#queryTurn !== this.#turn) {
      this.#queryTurn = this.#turn;
      this.#query.fill(undefined);
      readQuery(this.request.query, this.#querySlots, this.#query);
    }
    return this.#query[slot];
  }
}

/** The text of a field value of one character a byte; `undefined` when its bytes are no text: no expression matches that. */
function utf8Of(value: string): string | undefined {
  if (!/[\x80-\xff]/.test(value)) return value;
  const bytes = Buffer.from(value, "latin1");
  return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
}
