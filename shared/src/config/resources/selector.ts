// Pure. `selector.matchLabels` of Istio's policies.
import { isLabelKey, isLabelValue } from "../names.ts";
import type { Fields } from "./fields.ts";
import type { Report } from "./report.ts";

/**
 * The labels that a policy selects workloads by; `undefined` when it selects all: without selector, with an empty one,
 * and with one that cannot be understood, which is reported.
 */
export function parseSelector(spec: Fields, report: Report): ReadonlyMap<string, string> | undefined {
  const selector = spec.fields("selector");
  if (selector === undefined) return undefined;
  const before = report.problems.length;
  const labels = selector.strings("matchLabels");
  for (const [key, value] of labels ?? []) {
    if (isLabelKey(key) && isLabelValue(value)) continue;
    report.malformed(selector.node, selector.at("matchLabels"), `expected a label, found ${JSON.stringify(key)}`);
  }
  selector.end();
  const understood = report.problems.length === before;
  return understood && labels !== undefined && labels.size > 0 ? labels : undefined;
}
