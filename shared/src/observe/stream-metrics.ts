// Machine. Metrics of the configuration stream. Registered only where resources come by one.
import type { StreamStatus } from "../config/stream/stream-options.ts";
import type { Metrics } from "./metrics.ts";

/** Registers them; each is asked at a scrape only. */
export function registerStreamMetrics(metrics: Metrics, status: () => StreamStatus | undefined): void {
  metrics.observe("culvert_configuration_connected", "1 while the authority answers on the configuration stream.", () =>
    status()?.connected === true ? 1 : 0,
  );
  metrics.observe(
    "culvert_configuration_documents",
    "Resource documents that are held of the authority's.",
    () => status()?.documents ?? 0,
  );
  metrics.observe(
    "culvert_configuration_subscriptions",
    "Destinations that the authority is asked for.",
    () => status()?.subscriptions ?? 0,
  );
  metrics.observe(
    "culvert_configuration_waiting",
    "Destinations that have not been answered yet.",
    () => status()?.waiting ?? 0,
  );
  metrics.observeTotal(
    "culvert_configuration_streams_total",
    "How often a configuration stream was begun.",
    () => status()?.connects ?? 0,
  );
  metrics.observeTotals("culvert_configuration_updates_total", "Updates of the authority.", ["result"], () => [
    [["applied"], status()?.applied ?? 0],
    [["refused"], status()?.refused ?? 0],
  ]);
}
