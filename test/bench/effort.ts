// Types. How long a bench takes its time.

/** Durations and repetitions of one run. */
export interface Effort {
  readonly rounds: number;
  /** Seconds of load before HTTP/2 is measured: what is compiled while it runs takes some, and a process that serves does it once. */
  readonly warmS: number;
  /** Seconds of each saturating load. */
  readonly saturateS: number;
  /** Seconds of each load at a fixed rate. */
  readonly rateS: number;
  /** Seconds of each bulk transfer. */
  readonly bulkS: number;
  /** Milliseconds of quiet before memory after load is read; a fifth of it before other readings. */
  readonly settleMs: number;
  readonly idleTunnels: number;
}

/** What the targets are judged by. */
export const FULL: Effort = {
  rounds: 3,
  warmS: 5,
  saturateS: 3,
  rateS: 8,
  bulkS: 3,
  settleMs: 10_000,
  idleTunnels: 1000,
};

/** One quick round: shows that everything works, and a regression by a factor. */
export const SHORT: Effort = {
  rounds: 1,
  warmS: 1,
  saturateS: 1,
  rateS: 2,
  bulkS: 1,
  settleMs: 3000,
  idleTunnels: 200,
};
