// Machine. Metrics of the rules of routes that have a name: who names a rule wants to know how it fares.
import type { Metric } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter } from "./series.ts";

/** A rule as it is counted. The object stands for the rule as long as its snapshot is in use. */
export interface NamedRule {
  readonly route: { readonly uid: string };
  readonly name: string;
}

/** See the head of the file. */
export class RuleMetrics {
  readonly #requests: Metric<Counter>;
  readonly #known = new WeakMap<NamedRule, Map<number, Counter>>();

  constructor(metrics: Metrics) {
    this.#requests = metrics.counter("culvert_rule_requests_total", "Requests that rules with a name have served.", [
      "route",
      "rule",
      "response_code",
    ]);
  }

  /** One request more. `code` is 0 when no response was begun. */
  record(rule: NamedRule, code: number): void {
    let codes = this.#known.get(rule);
    if (codes === undefined) {
      codes = new Map();
      this.#known.set(rule, codes);
    }
    let counter = codes.get(code);
    if (counter === undefined) {
      counter = this.#requests.with(rule.route.uid, rule.name, String(code));
      codes.set(code, counter);
    }
    counter.add();
  }
}
