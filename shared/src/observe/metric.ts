// Machine. One metric: its series by label values, a cap on how many there are, and the end of those that lie idle.
import { labelText } from "./label-text.ts";
import { Counter, Gauge } from "./series.ts";
import type { Series, SeriesHome } from "./series.ts";

/** Where a metric learns the time from, so that adding costs no clock. */
export interface SeriesTime {
  /** Milliseconds, monotonic. */
  monotonic(): number;
}

/** How many series a metric may have and how long an idle one stays. */
export interface SeriesLimits {
  /** Label sets beyond this share one series, all of whose labels say `other`. */
  readonly cap: number;
  /** Milliseconds without a change after which a series ends. */
  readonly idleMs: number;
}

/** Value of every label of the series that takes what is beyond the cap. */
export const OTHER = "other";

/** What a metric is, for the exposition and the documentation. */
export interface MetricDescription {
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge" | "histogram";
  readonly labelNames: readonly string[];
}

/** Something that a scrape reads. */
export interface Collectable {
  readonly description: MetricDescription;
  /** How often a label set found no room. */
  readonly overflowed: number;
  collect(): Iterable<Series>;
}

/** One metric with all of its series. */
export class Metric<S extends Series> implements Collectable, SeriesHome {
  readonly description: MetricDescription;
  readonly #make: (labels: string, values: readonly string[], home: SeriesHome) => S;
  readonly #limits: SeriesLimits;
  readonly #time: SeriesTime;
  readonly #series = new Map<string, S>();
  #other: S | undefined;
  #overflowed = 0;
  #sweptAt: number;

  constructor(
    description: MetricDescription,
    make: (labels: string, values: readonly string[], home: SeriesHome) => S,
    limits: SeriesLimits,
    time: SeriesTime,
  ) {
    this.description = description;
    this.#make = make;
    this.#limits = limits;
    this.#time = time;
    this.#sweptAt = time.monotonic();
  }

  /** How often a label set found no room. */
  get overflowed(): number {
    return this.#overflowed;
  }

  /** The series of these label values, one for each label name and in their order. Not for the hot path: keep the result. */
  with(...values: readonly string[]): S {
    return this.withText(labelText(this.description.labelNames, values), values);
  }

  /** The same for a label text that is shared by several metrics of the same label names. */
  withText(labels: string, values: readonly string[]): S {
    const known = this.#series.get(labels);
    if (known !== undefined) return known;
    if (!this.#hasRoom()) return this.#overflow();
    const series = this.#make(labels, values, this);
    this.#series.set(labels, series);
    return series;
  }

  /** All series that are in the exposition, after ending the idle ones. */
  *collect(): Iterable<S> {
    this.#sweep();
    yield* this.#series.values();
    if (this.#other !== undefined) yield this.#other;
  }

  /**
   * Takes an ended series back because it was added to. If its labels have a new series by now, both become one: the
   * one that was touched last carries the sum. Without room its numbers go to the series of the rest.
   */
  revive(series: S): void {
    const current = this.#series.get(series.labels);
    if (current === undefined && !this.#hasRoom()) {
      this.#overflow().absorb(series);
      return;
    }
    if (current === undefined) series.live = true;
    else series.replace(current);
    this.#series.set(series.labels, series);
  }

  #hasRoom(): boolean {
    if (this.#series.size < this.#limits.cap) return true;
    // Sweeping costs as much as there are series; not more often than it can find something.
    if (this.#time.monotonic() - this.#sweptAt >= this.#limits.idleMs / 10) this.#sweep();
    return this.#series.size < this.#limits.cap;
  }

  #overflow(): S {
    this.#overflowed += 1;
    const values = this.description.labelNames.map(() => OTHER);
    this.#other ??= this.#make(labelText(this.description.labelNames, values), values, this);
    return this.#other;
  }

  #sweep(): void {
    const now = this.#time.monotonic();
    this.#sweptAt = now;
    if (this.description.labelNames.length === 0 || this.description.kind === "gauge") return;
    for (const [labels, series] of this.#series) {
      if (series.touched || series.held) {
        series.touched = false;
        series.idleSince = now;
      } else if (now - series.idleSince >= this.#limits.idleMs) {
        this.#series.delete(labels);
        series.live = false;
        series.reset();
      }
    }
  }
}

/** A value that is not kept but asked for at each scrape: label values with their number. */
export type ObservedValue = readonly [values: readonly string[], value: number];

const NOWHERE: SeriesHome = { revive: () => undefined };

/** A metric whose numbers somebody else keeps. */
export class ObservedMetric implements Collectable {
  readonly description: MetricDescription;
  readonly #read: () => Iterable<ObservedValue>;
  readonly #cap: number;
  #overflowed = 0;

  constructor(description: MetricDescription, read: () => Iterable<ObservedValue>, cap: number) {
    this.description = description;
    this.#read = read;
    this.#cap = cap;
  }

  get overflowed(): number {
    return this.#overflowed;
  }

  *collect(): Iterable<Series> {
    let room = this.#cap;
    for (const [values, value] of this.#read()) {
      if (room === 0) {
        this.#overflowed += 1;
        return;
      }
      room -= 1;
      const Kind = this.description.kind === "counter" ? Counter : Gauge;
      const series = new Kind(labelText(this.description.labelNames, values), values, NOWHERE);
      series.value = value;
      yield series;
    }
  }
}
