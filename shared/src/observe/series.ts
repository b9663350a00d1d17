// Machine. The typed handles of metrics: what a hot path holds and adds to. `counter.add(n)` touches three fields and
// nothing else. An idle series leaves the exposition; whoever still holds it may go on adding, which brings it back.

/** What all kinds of series have in common. */
export abstract class Series {
  /** `a="x",b="y"`, escaped; empty without labels. */
  readonly labels: string;
  readonly values: readonly string[];
  readonly #home: SeriesHome;
  live = true;
  touched = true;
  idleSince = 0;
  /** Shared with a series of the same labels that this one has become one with. */
  #holds = { count: 0 };

  constructor(labels: string, values: readonly string[], home: SeriesHome) {
    this.labels = labels;
    this.values = values;
    this.#home = home;
  }

  /** Whether somebody counts on this series to stay even while it is idle. */
  get held(): boolean {
    return this.#holds.count > 0;
  }

  /** Keeps the series from ending until as many `release` have followed: for counts that are compared to others. */
  hold(): void {
    this.#holds.count += 1;
  }

  release(): void {
    this.#holds.count -= 1;
  }

  protected touch(): void {
    this.touched = true;
    if (!this.live) this.#home.revive(this);
  }

  /** Takes the place of another series of the same labels: its numbers, and what it is held for. */
  replace(other: this): void {
    this.absorb(other);
    this.#holds.count += other.#holds.count;
    other.#holds = this.#holds;
    other.live = false;
    this.live = true;
  }

  /** Takes over the numbers of another series of the same kind and leaves it at zero. */
  abstract absorb(other: this): void;
  abstract reset(): void;
}

/** The part of a metric that its series know. */
export interface SeriesHome {
  revive(series: Series): void;
}

/** One number. */
abstract class NumberSeries extends Series {
  value = 0;

  absorb(other: this): void {
    this.value += other.value;
    other.reset();
  }

  reset(): void {
    this.value = 0;
  }
}

/** A number that only grows. */
export class Counter extends NumberSeries {
  add(amount = 1): void {
    this.value += amount;
    this.touch();
  }
}

/** A number that goes up and down. Does not end by lying idle. */
export class Gauge extends NumberSeries {
  set(value: number): void {
    this.value = value;
    this.touch();
  }

  add(amount: number): void {
    this.value += amount;
    this.touch();
  }
}

/** Counts of values by bucket. */
export class Histogram extends Series {
  /** Upper bounds, ascending, without infinity. */
  readonly bounds: readonly number[];
  /** How many values fell into each bucket, not accumulated; the last is for what is over every bound. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(labels: string, values: readonly string[], home: SeriesHome, bounds: readonly number[]) {
    super(labels, values, home);
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let bucket = 0;
    // A linear search: latencies and sizes mostly fall into the first few buckets.
    while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket += 1;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += value;
    this.touch();
  }

  absorb(other: this): void {
    for (let index = 0; index < this.counts.length; index += 1) {
      this.counts[index] = (this.counts[index] ?? 0) + (other.counts[index] ?? 0);
    }
    this.sum += other.sum;
    other.reset();
  }

  reset(): void {
    this.counts.fill(0);
    this.sum = 0;
  }
}
