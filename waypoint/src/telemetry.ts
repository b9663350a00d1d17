// Machine. The waypoint's metrics through OpenTelemetry, so that they can be read by its exporters and joined by those of
// extensions that speak its API.
//
// The numbers live in our own registry: an OpenTelemetry instrument costs a microsecond per addition, a handle of the
// registry a few nanoseconds. Counters and gauges are registered as observable instruments of the API, which ask for
// their value when somebody exports. The API has no observable histogram; those are handed to the exporter as a
// `MetricProducer`, the SDK's way for metrics that were aggregated elsewhere. The SDK is loaded by the first export.
import { ValueType } from "@opentelemetry/api";
import type { Attributes, BatchObservableCallback, HrTime, Meter, Observable } from "@opentelemetry/api";
import type * as SdkMetrics from "@opentelemetry/sdk-metrics";
import type { HistogramMetricData, MetricProducer, ResourceMetrics } from "@opentelemetry/sdk-metrics";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { HttpHandler, HttpReply } from "@culvert/shared/observe/http-endpoint.ts";
import type { CollectedMetric } from "@culvert/shared/observe/exposition.ts";
import type { Metrics } from "@culvert/shared/observe/metrics.ts";
import { Counter, Gauge, Histogram } from "@culvert/shared/observe/series.ts";
import type { Series } from "@culvert/shared/observe/series.ts";

/** Name of the instrumentation scope. */
export const SCOPE = "culvert-waypoint";

/** Path of the OpenTelemetry exposition on the metrics port. */
export const TELEMETRY_PATH = "/metrics/otel";

type Sdk = typeof SdkMetrics;

/**
 * Registers every counter and gauge of the registry as an observable instrument of `meter`. To be called once all
 * metrics are registered; what comes later is not seen.
 */
export function observeMetrics(metrics: Metrics, meter: Meter): void {
  const instruments = new Map<string, Observable>();
  for (const { name, help, kind } of metrics.descriptions()) {
    if (kind === "histogram") continue;
    const options = { description: help };
    instruments.set(
      name,
      kind === "counter" ? meter.createObservableCounter(name, options) : meter.createObservableGauge(name, options),
    );
  }
  const observe: BatchObservableCallback = (result) => {
    for (const { description, series } of metrics.collect(({ kind }) => kind !== "histogram")) {
      const instrument = instruments.get(description.name);
      if (instrument === undefined) continue;
      for (const one of series) {
        if (one instanceof Counter || one instanceof Gauge) {
          result.observe(instrument, one.value, attributesOf(description.labelNames, one));
        }
      }
    }
  };
  meter.addBatchObservableCallback(observe, [...instruments.values()]);
}

/** The histograms of the registry, as an SDK's reader takes metrics from elsewhere. */
export function histogramProducer(metrics: Metrics, clock: Clock, sdk: Sdk): MetricProducer {
  const startTime = hrTime(clock.now());
  return {
    collect: () => {
      const endTime = hrTime(clock.now());
      const collected = metrics.collect(({ kind }) => kind === "histogram");
      return Promise.resolve({
        errors: [],
        resourceMetrics: {
          resource: NO_RESOURCE,
          scopeMetrics: [
            {
              scope: { name: SCOPE },
              metrics: collected.map((metric) => histogramData(metric, startTime, endTime, sdk)),
            },
          ],
        },
      });
    },
  };
}

/** Answers with all metrics in the text of OpenTelemetry's Prometheus exporter, for the metrics port. */
export function telemetryHandler(metrics: Metrics, clock: Clock): HttpHandler {
  let exposition: Promise<() => Promise<string>> | undefined;
  return async (): Promise<HttpReply> => {
    exposition ??= openExposition(metrics, clock);
    const render = await exposition;
    return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: await render() };
  };
}

async function openExposition(metrics: Metrics, clock: Clock): Promise<() => Promise<string>> {
  const sdk = await import("@opentelemetry/sdk-metrics");
  const { PrometheusExporter, PrometheusSerializer } = await import("@opentelemetry/exporter-prometheus");
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    metricProducers: [histogramProducer(metrics, clock, sdk)],
  });
  const provider = new sdk.MeterProvider({ readers: [exporter] });
  observeMetrics(metrics, provider.getMeter(SCOPE));
  const serializer = new PrometheusSerializer();
  return async () => {
    const { resourceMetrics, errors } = await exporter.collect();
    if (errors.length > 0) throw new Error(`metrics could not be collected: ${String(errors[0])}`);
    return serializer.serialize(resourceMetrics);
  };
}

/** A producer must name a resource; readers ignore it and take the provider's. */
const NO_RESOURCE: ResourceMetrics["resource"] = {
  attributes: {},
  merge: (other) => other ?? NO_RESOURCE,
  getRawAttributes: () => [],
};

function histogramData(
  { description, series }: CollectedMetric,
  startTime: HrTime,
  endTime: HrTime,
  sdk: Sdk,
): HistogramMetricData {
  return {
    descriptor: { name: description.name, description: description.help, unit: "", valueType: ValueType.DOUBLE },
    aggregationTemporality: sdk.AggregationTemporality.CUMULATIVE,
    dataPointType: sdk.DataPointType.HISTOGRAM,
    dataPoints: series
      .filter((one) => one instanceof Histogram)
      .map((one) => ({
        startTime,
        endTime,
        attributes: attributesOf(description.labelNames, one),
        value: {
          buckets: { boundaries: [...one.bounds], counts: [...one.counts] },
          sum: one.sum,
          count: one.counts.reduce((sum, count) => sum + count, 0),
        },
      })),
  };
}

function attributesOf(names: readonly string[], series: Series): Attributes {
  return Object.fromEntries(names.map((name, index) => [name, series.values[index] ?? ""]));
}

function hrTime(ms: number): HrTime {
  return [Math.trunc(ms / 1000), Math.trunc((ms % 1000) * 1e6)];
}
