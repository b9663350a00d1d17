// Machine. Istio's request metrics. A series object is made per route and peer and kept; recording a request then adds
// to numbers and builds no key.
import { labelText } from "./label-text.ts";
import type { Metric } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter, Histogram } from "./series.ts";
import { REQUEST_LABELS, requestLabelValues } from "./traffic-labels.ts";
import type { Traffic } from "./traffic-labels.ts";

/** Envoy's default buckets, which Istio's histograms have; for milliseconds and for bytes alike. */
const BOUNDS = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
];

/** Outcomes remembered per series; beyond it the oldest is looked up anew. */
const MAX_OUTCOMES = 32;

/** The four request metrics of a process. */
export class RequestMetrics {
  readonly requests: Metric<Counter>;
  readonly duration: Metric<Histogram>;
  readonly requestBytes: Metric<Histogram>;
  readonly responseBytes: Metric<Histogram>;

  constructor(metrics: Metrics) {
    this.requests = metrics.counter("istio_requests_total", "Requests that have ended.", REQUEST_LABELS);
    this.duration = metrics.histogram(
      "istio_request_duration_milliseconds",
      "Time from the head of a request to the end of its response.",
      BOUNDS,
      REQUEST_LABELS,
    );
    this.requestBytes = metrics.histogram("istio_request_bytes", "Size of request bodies.", BOUNDS, REQUEST_LABELS);
    this.responseBytes = metrics.histogram("istio_response_bytes", "Size of response bodies.", BOUNDS, REQUEST_LABELS);
  }

  /** The series of requests between these ends. Keep it per route and peer. */
  between(traffic: Traffic, protocol: "http" | "grpc"): RequestSeries {
    return new RequestSeries(this, traffic, protocol);
  }
}

/** The handles of requests that end alike. */
interface Outcome {
  readonly code: number;
  readonly grpcStatus: number | undefined;
  readonly flags: string;
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
}

/** The series of one pair of ends. */
export class RequestSeries {
  readonly #metrics: RequestMetrics;
  readonly #traffic: Traffic;
  readonly #protocol: "http" | "grpc";
  /** Few: an application answers with a handful of codes. The last one used stands first. */
  readonly #outcomes: Outcome[] = [];

  constructor(metrics: RequestMetrics, traffic: Traffic, protocol: "http" | "grpc") {
    this.#metrics = metrics;
    this.#traffic = traffic;
    this.#protocol = protocol;
  }

  /**
   * Counts one request. `code` is 0 when no response was begun, `grpcStatus` undefined for what is not gRPC, `flags`
   * the failure's flag or `-`; sizes are those of the bodies. Hot path: allocates nothing for an outcome seen before.
   */
  record(
    code: number,
    grpcStatus: number | undefined,
    flags: string,
    durationMs: number,
    requestBytes: number,
    responseBytes: number,
  ): void {
    const first = this.#outcomes[0];
    const outcome =
      first !== undefined && first.code === code && first.grpcStatus === grpcStatus && first.flags === flags
        ? first
        : this.#find(code, grpcStatus, flags);
    outcome.requests.add();
    outcome.duration.observe(durationMs);
    outcome.requestBytes.observe(requestBytes);
    outcome.responseBytes.observe(responseBytes);
  }

  #find(code: number, grpcStatus: number | undefined, flags: string): Outcome {
    const outcomes = this.#outcomes;
    const index = outcomes.findIndex(
      (one) => one.code === code && one.grpcStatus === grpcStatus && one.flags === flags,
    );
    const found = outcomes[index] ?? this.#make(code, grpcStatus, flags);
    if (index === -1) {
      if (outcomes.length >= MAX_OUTCOMES) outcomes.pop();
      outcomes.unshift(found);
    } else {
      outcomes[index] = outcomes[0] ?? found;
      outcomes[0] = found;
    }
    return found;
  }

  #make(code: number, grpcStatus: number | undefined, flags: string): Outcome {
    const { requests, duration, requestBytes, responseBytes } = this.#metrics;
    const values = requestLabelValues(this.#traffic, { protocol: this.#protocol, code, grpcStatus, flags });
    const labels = labelText(REQUEST_LABELS, values);
    return {
      code,
      grpcStatus,
      flags,
      requests: requests.withText(labels, values),
      duration: duration.withText(labels, values),
      requestBytes: requestBytes.withText(labels, values),
      responseBytes: responseBytes.withText(labels, values),
    };
  }
}
