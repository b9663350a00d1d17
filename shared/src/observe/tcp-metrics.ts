// Machine. Istio's TCP metrics: connections opened, closed and failed, bytes both ways.
//
// Direction as Istio has it, for both reporters: received = bytes of the request, from the client to the server;
// sent = bytes of the response, from the server to the client.
import type { Failure } from "../failure/failure.ts";
import { labelText } from "./label-text.ts";
import type { Metric } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter } from "./series.ts";
import { TCP_LABELS, tcpLabelValues } from "./traffic-labels.ts";
import type { Traffic } from "./traffic-labels.ts";

const NO_FLAGS = "-";

/** The four (and one) TCP metrics of a process. */
export class TcpMetrics {
  readonly opened: Metric<Counter>;
  readonly closed: Metric<Counter>;
  readonly failed: Metric<Counter>;
  readonly received: Metric<Counter>;
  readonly sent: Metric<Counter>;

  constructor(metrics: Metrics) {
    this.opened = metrics.counter("istio_tcp_connections_opened_total", "Connections that were opened.", TCP_LABELS);
    this.closed = metrics.counter("istio_tcp_connections_closed_total", "Connections that have ended.", TCP_LABELS);
    this.failed = metrics.counter(
      "istio_tcp_connections_failed_total",
      "Connections that were refused or ended by a failure.",
      TCP_LABELS,
    );
    this.received = metrics.counter("istio_tcp_received_bytes_total", "Bytes from clients to servers.", TCP_LABELS);
    this.sent = metrics.counter("istio_tcp_sent_bytes_total", "Bytes from servers to clients.", TCP_LABELS);
  }

  /** The series of connections between these ends. Making it costs some microseconds; it may be kept per pair. */
  between(traffic: Traffic): TcpSeries {
    return new TcpSeries(this, traffic);
  }
}

/** The series of one pair of ends. */
export class TcpSeries {
  readonly #metrics: TcpMetrics;
  readonly #traffic: Traffic;
  readonly #opened: Counter;
  readonly #received: Counter;
  readonly #sent: Counter;
  readonly #closed: Counter;

  constructor(metrics: TcpMetrics, traffic: Traffic) {
    this.#metrics = metrics;
    this.#traffic = traffic;
    const values = tcpLabelValues(traffic, NO_FLAGS);
    const labels = labelText(TCP_LABELS, values);
    this.#opened = metrics.opened.withText(labels, values);
    this.#received = metrics.received.withText(labels, values);
    this.#sent = metrics.sent.withText(labels, values);
    this.#closed = metrics.closed.withText(labels, values);
  }

  /** A connection is open. */
  open(): TcpConnection {
    this.#opened.add();
    // Opened minus closed is the number of open connections, as long as neither ends before the other.
    this.#opened.hold();
    this.#closed.hold();
    return new TcpConnection(this, this.#received, this.#sent);
  }

  /** A connection was refused before it was open. */
  refused(failure: Failure): void {
    this.#flagged(this.#metrics.failed, failure).add();
  }

  /** For `TcpConnection` alone. */
  ended(failure: Failure | undefined): void {
    this.#opened.release();
    this.#closed.release();
    if (failure === undefined) {
      this.#closed.add();
      return;
    }
    this.#flagged(this.#metrics.closed, failure).add();
    this.#flagged(this.#metrics.failed, failure).add();
  }

  #flagged(metric: Metric<Counter>, failure: Failure): Counter {
    return metric.with(...tcpLabelValues(this.#traffic, failure.traits.flag));
  }
}

/** The metrics of one open connection. */
export class TcpConnection {
  readonly #series: TcpSeries;
  readonly #receivedTotal: Counter;
  readonly #sentTotal: Counter;
  #received = 0;
  #sent = 0;
  #ended = false;

  constructor(series: TcpSeries, received: Counter, sent: Counter) {
    this.#series = series;
    this.#receivedTotal = received;
    this.#sentTotal = sent;
  }

  /**
   * Bytes of this connection so far: from client to server, from server to client. Called from time to time (before a
   * scrape, by `Metrics.beforeCollect`), never per chunk.
   */
  progress(received: number, sent: number): void {
    if (received > this.#received) this.#receivedTotal.add(received - this.#received);
    if (sent > this.#sent) this.#sentTotal.add(sent - this.#sent);
    this.#received = received;
    this.#sent = sent;
  }

  /** The connection has ended, with its final counts. Only the first call counts. */
  closed(received: number, sent: number, failure: Failure | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.progress(received, sent);
    this.#series.ended(failure);
  }
}
