// Machine. Metrics of the copies of requests that routes send elsewhere.
import type { Metric } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter } from "./series.ts";

/** How a copy ended. */
export type MirrorResult =
  /** Answered, with whatever status. */
  | "answered"
  /** Could not be sent, or its connection broke. */
  | "failed"
  /** It took the body slower than the request itself, beyond what is held for it. */
  | "slow"
  /** No whole answer in time. */
  | "late"
  /** There were too many copies already. */
  | "dropped"
  /** The request itself was broken off. */
  | "broken-off";

/** See the head of the file. */
export class MirrorMetrics {
  readonly #copies: Metric<Counter>;
  readonly #known = new Map<string, Counter>();
  #inFlight = 0;

  constructor(metrics: Metrics) {
    this.#copies = metrics.counter("culvert_mirror_requests_total", "Copies of requests that routes sent elsewhere.", [
      "backend",
      "result",
    ]);
    metrics.observe("culvert_mirror_in_flight", "Copies of requests that are on their way.", () => this.#inFlight);
  }

  /** A copy is on its way. */
  began(): void {
    this.#inFlight += 1;
  }

  /** A copy that had begun has ended. @param backend `namespace/service:port` */
  ended(backend: string, result: MirrorResult): void {
    this.#inFlight -= 1;
    this.notBegun(backend, result);
  }

  /** There was none, where there should have been one. */
  notBegun(backend: string, result: MirrorResult): void {
    const key = `${result} ${backend}`;
    let counter = this.#known.get(key);
    if (counter === undefined) {
      counter = this.#copies.with(backend, result);
      this.#known.set(key, counter);
    }
    counter.add();
  }
}
