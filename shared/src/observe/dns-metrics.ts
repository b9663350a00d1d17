// Machine. Metrics of the DNS proxy, under ztunnel's names and labels, and of what it refused.
import type { Workload } from "../workload/workload.ts";
import type { Metric } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter, Histogram } from "./series.ts";
import { canonicalOf } from "./traffic-labels.ts";

const LABELS = [
  "request_query_type",
  "request_protocol",
  "source_canonical_service",
  "source_canonical_revision",
] as const;

/** Seconds, as ztunnel's. */
const BOUNDS = [0.0005, 0.001, 0.01, 0.1, 1, 5];

/** Types that have a label of their own; a client can ask for 65,536. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [1, "a"],
  [2, "ns"],
  [5, "cname"],
  [6, "soa"],
  [12, "ptr"],
  [15, "mx"],
  [16, "txt"],
  [28, "aaaa"],
  [33, "srv"],
  [35, "naptr"],
  [43, "ds"],
  [48, "dnskey"],
  [64, "svcb"],
  [65, "https"],
  [255, "any"],
]);
const OTHER_TYPE = "other";

/** Why a request got no answer of a resolver or of ours. */
export type DnsRefusal = "malformed" | "flood" | "busy" | "loop";

/** The series of requests that are alike. */
export interface DnsSeries {
  readonly requests: Counter;
  readonly upstreamRequests: Counter;
  readonly upstreamFailures: Counter;
  readonly upstreamSeconds: Histogram;
}

/** See the head of the file. */
export class DnsMetrics {
  readonly #requests: Metric<Counter>;
  readonly #upstreamRequests: Metric<Counter>;
  readonly #upstreamFailures: Metric<Counter>;
  readonly #upstreamSeconds: Metric<Histogram>;
  readonly #refused: Metric<Counter>;
  readonly #cached: Counter;
  readonly #known = new Map<string, DnsSeries>();
  #source: Workload | undefined;

  constructor(metrics: Metrics) {
    this.#requests = metrics.counter("istio_dns_requests_total", "DNS requests of the own app.", LABELS);
    this.#upstreamRequests = metrics.counter(
      "istio_dns_upstream_requests_total",
      "DNS requests that were passed on to a resolver.",
      LABELS,
    );
    this.#upstreamFailures = metrics.counter(
      "istio_dns_upstream_failures_total",
      "DNS requests that no resolver answered.",
      LABELS,
    );
    this.#upstreamSeconds = metrics.histogram(
      "istio_dns_upstream_request_duration_seconds",
      "Time until a resolver had answered.",
      BOUNDS,
      LABELS,
    );
    this.#refused = metrics.counter("culvert_dns_refused_total", "DNS requests that were refused or dropped.", [
      "reason",
    ]);
    this.#cached = metrics
      .counter("culvert_dns_cached_total", "DNS requests that were answered from the cache.")
      .with();
  }

  /** The series of a type of question (`undefined`: none) that came by UDP or TCP from the own app. */
  series(type: number | undefined, protocol: "udp" | "tcp", source: Workload | undefined): DnsSeries {
    if (source !== this.#source) {
      this.#source = source;
      this.#known.clear();
    }
    const typeName = (type === undefined ? undefined : TYPES.get(type)) ?? OTHER_TYPE;
    const key = `${typeName} ${protocol}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const { service, revision } = canonicalOf(source);
    const values = [typeName, protocol, service, revision];
    const made: DnsSeries = {
      requests: this.#requests.with(...values),
      upstreamRequests: this.#upstreamRequests.with(...values),
      upstreamFailures: this.#upstreamFailures.with(...values),
      upstreamSeconds: this.#upstreamSeconds.with(...values),
    };
    this.#known.set(key, made);
    return made;
  }

  refused(reason: DnsRefusal): void {
    this.#refused.with(reason).add();
  }

  cached(): void {
    this.#cached.add();
  }
}
