// Machine. Metrics of the sessions to peer proxies: who waits for one, what is dialled, which peers are left out.
import type { PoolStats } from "../tunnel/pool.ts";
import type { Metrics } from "./metrics.ts";

/** Endpoints that fail and are therefore not chosen. */
export interface EjectionCounts {
  /** Left out now. */
  readonly count: number;
  /** How often one was, since the start. */
  readonly total: number;
}

/** Where the numbers come from; each is asked at a scrape only. */
export interface PoolFacts {
  readonly stats: () => PoolStats;
  /** What does not leave endpoints out by itself has none. */
  readonly ejections?: () => EjectionCounts;
}

/** Registers them. */
export function registerPoolMetrics(metrics: Metrics, { stats, ejections }: PoolFacts): void {
  metrics.observe("culvert_pool_peers", "Peer proxies to which there is or was lately a session.", () => stats().keys);
  metrics.observe("culvert_pool_dials", "Sessions that are being opened.", () => stats().dials);
  metrics.observe(
    "culvert_pool_waiting",
    "Connections that wait for a session to be opened, or for room on one.",
    () => stats().waiting,
  );
  metrics.observeTotals("culvert_pool_dials_total", "Sessions that were opened, or could not be.", ["result"], () => {
    const { opened, failed } = stats();
    return [
      [["opened"], opened],
      [["failed"], failed],
    ];
  });
  if (ejections === undefined) return;
  metrics.observe(
    "culvert_pool_ejected",
    "Endpoints that fail and are left out for a while, those that are due for a trial included.",
    () => ejections().count,
  );
  metrics.observeTotal("culvert_pool_ejections_total", "How often an endpoint was left out.", () => ejections().total);
}
