// Machine. The registry of metrics of a process, and their text for Prometheus.
import type { Clock } from "../net/clock.ts";
import { renderMetrics } from "./exposition.ts";
import type { CollectedMetric, ExpositionFormat } from "./exposition.ts";
import { Metric, ObservedMetric } from "./metric.ts";
import type { Collectable, MetricDescription, ObservedValue, SeriesLimits } from "./metric.ts";
import { Counter, Gauge, Histogram } from "./series.ts";
import type { Series } from "./series.ts";

/** What a registry needs. */
export interface MetricsOptions {
  readonly clock: Clock;
  /** Series per counter or gauge. */
  readonly cap?: number;
  /** Series per histogram, of which each is some twenty lines of exposition. */
  readonly histogramCap?: number;
  /** Milliseconds after which an idle series ends. */
  readonly idleMs?: number;
}

const DEFAULT_CAP = 1000;
const DEFAULT_HISTOGRAM_CAP = 200;
/** As long as linkerd2-proxy keeps them; scrape intervals are far shorter. */
const DEFAULT_IDLE_MS = 10 * 60_000;

/** A registry. Metrics are registered once, at the start; names are unique. */
export class Metrics {
  readonly #clock: Clock;
  readonly #limits: SeriesLimits;
  readonly #histogramLimits: SeriesLimits;
  readonly #metrics = new Map<string, Collectable>();
  readonly #hooks = new Set<() => void>();

  constructor(options: MetricsOptions) {
    const idleMs = options.idleMs ?? DEFAULT_IDLE_MS;
    this.#clock = options.clock;
    this.#limits = { cap: options.cap ?? DEFAULT_CAP, idleMs };
    this.#histogramLimits = { cap: options.histogramCap ?? DEFAULT_HISTOGRAM_CAP, idleMs };
  }

  /** Registers a counter; by Prometheus' convention its name ends in `_total`. */
  counter(name: string, help: string, labelNames: readonly string[] = []): Metric<Counter> {
    return this.#register(
      new Metric(
        { name, help, kind: "counter", labelNames },
        (labels, values, home) => new Counter(labels, values, home),
        this.#limits,
        this.#clock,
      ),
    );
  }

  /** Registers a gauge that is set. */
  gauge(name: string, help: string, labelNames: readonly string[] = []): Metric<Gauge> {
    return this.#register(
      new Metric(
        { name, help, kind: "gauge", labelNames },
        (labels, values, home) => new Gauge(labels, values, home),
        this.#limits,
        this.#clock,
      ),
    );
  }

  /** Registers a histogram with ascending upper bounds. */
  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    labelNames: readonly string[] = [],
  ): Metric<Histogram> {
    return this.#register(
      new Metric(
        { name, help, kind: "histogram", labelNames },
        (labels, values, home) => new Histogram(labels, values, home, bounds),
        this.#histogramLimits,
        this.#clock,
      ),
    );
  }

  /** Registers a gauge whose only value is asked for at each scrape; `undefined` leaves it out. */
  observe(name: string, help: string, read: () => number | undefined): void {
    this.observeAll(name, help, [], () => {
      const value = read();
      return value === undefined ? [] : [[[], value]];
    });
  }

  /** Registers a gauge whose series are asked for at each scrape. */
  observeAll(name: string, help: string, labelNames: readonly string[], read: () => Iterable<ObservedValue>): void {
    this.#observed({ name, help, kind: "gauge", labelNames }, read);
  }

  /** Registers a counter whose series somebody else keeps; they are asked for at each scrape. */
  observeTotals(name: string, help: string, labelNames: readonly string[], read: () => Iterable<ObservedValue>): void {
    this.#observed({ name, help, kind: "counter", labelNames }, read);
  }

  /** Registers a counter that somebody else keeps; its value is asked for at each scrape. */
  observeTotal(name: string, help: string, read: () => number): void {
    this.#observed({ name, help, kind: "counter", labelNames: [] }, () => [[[], read()]]);
  }

  /** Calls `hook` before each scrape, for numbers that are cheaper to bring up to date then. Returns the way to stop. */
  beforeCollect(hook: () => void): () => void {
    this.#hooks.add(hook);
    return () => void this.#hooks.delete(hook);
  }

  /** What is registered, for bridges and for the test of the documentation. */
  descriptions(): readonly MetricDescription[] {
    return [...this.#metrics.values()].map((metric) => metric.description);
  }

  /** Everything as it is now, or what of it `wanted` wants. */
  collect(wanted: (description: MetricDescription) => boolean = () => true): readonly CollectedMetric[] {
    for (const hook of this.#hooks) hook();
    return [...this.#metrics.values()]
      .filter((metric) => wanted(metric.description))
      .map((metric) => ({ description: metric.description, series: [...metric.collect()] }));
  }

  /** How often a label set found no room, by metric; metrics without overflow are left out. */
  overflowed(): readonly ObservedValue[] {
    return [...this.#metrics.values()]
      .filter((metric) => metric.overflowed > 0)
      .map((metric) => [[metric.description.name], metric.overflowed]);
  }

  /** The exposition. */
  render(format: ExpositionFormat): string {
    return renderMetrics(this.collect(), format);
  }

  #register<S extends Series>(metric: Metric<S>): Metric<S> {
    this.#add(metric);
    return metric;
  }

  #observed(description: MetricDescription, read: () => Iterable<ObservedValue>): void {
    this.#add(new ObservedMetric(description, read, this.#limits.cap));
  }

  #add(metric: Collectable): void {
    const { name } = metric.description;
    if (this.#metrics.has(name)) throw new Error(`metric ${name} is registered twice`);
    this.#metrics.set(name, metric);
  }
}
