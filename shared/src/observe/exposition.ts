// Pure. Metrics as text: Prometheus' text format 0.0.4, or OpenMetrics 1.0.0 for who asks for it.
import type { MetricDescription } from "./metric.ts";
import { Histogram } from "./series.ts";
import type { Counter, Gauge, Series } from "./series.ts";

/** One metric as a scrape or a bridge to another system sees it. */
export interface CollectedMetric {
  readonly description: MetricDescription;
  readonly series: readonly Series[];
}

export type ExpositionFormat = "prometheus" | "openmetrics";

/** The media type of each format. */
export const EXPOSITION_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** The format that an `Accept` header asks for: OpenMetrics if it is named and not refused, else Prometheus' own. */
export function negotiateExposition(accept: string | undefined): ExpositionFormat {
  const wanted = (accept ?? "")
    .split(",")
    .some(
      (entry) => /^\s*application\/openmetrics-text\s*(;|$)/i.test(entry) && !/;\s*q=0(\.0*)?\s*(;|$)/i.test(entry),
    );
  return wanted ? "openmetrics" : "prometheus";
}

/** The exposition of all metrics. Metrics without series are left out. */
export function renderMetrics(metrics: readonly CollectedMetric[], format: ExpositionFormat): string {
  let text = "";
  for (const { description, series } of metrics) {
    if (series.length === 0) continue;
    const { name, kind } = description;
    const family = format === "openmetrics" && kind === "counter" ? name.replace(/_total$/, "") : name;
    text += `# HELP ${family} ${helpText(description.help, format)}\n# TYPE ${family} ${kind}\n`;
    for (const one of series)
      text += one instanceof Histogram ? histogramText(name, one, format) : numberText(name, one);
  }
  return format === "openmetrics" ? `${text}# EOF\n` : text;
}

/** A number as both formats have it. */
function valueText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

function numberText(name: string, series: Series): string {
  const { value } = series as Counter | Gauge;
  return series.labels === "" ? `${name} ${valueText(value)}\n` : `${name}{${series.labels}} ${valueText(value)}\n`;
}

function histogramText(name: string, series: Histogram, format: ExpositionFormat): string {
  const labels = series.labels === "" ? "" : `${series.labels},`;
  let text = "";
  let below = 0;
  for (let index = 0; index < series.bounds.length; index += 1) {
    below += series.counts[index] ?? 0;
    text += `${name}_bucket{${labels}le="${boundText(series.bounds[index] ?? 0, format)}"} ${below}\n`;
  }
  below += series.counts[series.bounds.length] ?? 0;
  const own = series.labels === "" ? "" : `{${series.labels}}`;
  return `${text}${name}_bucket{${labels}le="+Inf"} ${below}\n${name}_sum${own} ${valueText(series.sum)}\n${name}_count${own} ${below}\n`;
}

/** OpenMetrics wants bounds that cannot be taken for integers. */
function boundText(bound: number, format: ExpositionFormat): string {
  return format === "openmetrics" && Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function helpText(help: string, format: ExpositionFormat): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return format === "openmetrics" ? escaped.replaceAll('"', '\\"') : escaped;
}
