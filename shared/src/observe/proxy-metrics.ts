// Machine. Culvert's own metrics: failures by code, the process, its certificates, what it knows and what it holds.
import { readdirSync } from "node:fs";
import { FAILURES } from "../failure/failure.ts";
import type { FailureCode } from "../failure/failure.ts";
import { KEY_GROUPS } from "../identity/key-group.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { processDescriptors } from "../net/descriptors.ts";
import { processMemoryCap } from "../net/memory-cap.ts";
import type { Metric, ObservedValue } from "./metric.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter } from "./series.ts";

/** A count for each direction. */
export interface ByDirection {
  readonly inbound: number;
  readonly outbound: number;
}

/** Version of the mesh configuration in use, and the problems found in the newest one. */
export interface ConfigFacts {
  readonly version: number;
  readonly errors: number;
  readonly notUnderstood: number;
  /** When the source was last seen to hold what is in use, milliseconds since the epoch. */
  readonly asOf: number;
  /** Whether it is the last good snapshot from the disk, in place of a source that cannot be used. */
  readonly isRestored: boolean;
  /** How often what is in use could not be saved. */
  readonly notSaved: number;
}

/** Where the numbers come from; each is asked at a scrape only. What a program does not have, it leaves out. */
export interface ProxyFacts {
  readonly component: "uproxy" | "waypoint" | "authority" | "in-process";
  readonly version: string;
  readonly commit: string;
  readonly ready: () => boolean;
  /** Own certificate: SPIFFE ID and end of validity, milliseconds since the epoch. */
  readonly certificate?: () => { readonly id: string; readonly notAfter: number } | undefined;
  /** What has happened to the own identity. */
  readonly identityEvents?: () => {
    readonly changes: number;
    readonly failures: ReadonlyMap<FailureCode, number>;
  };
  readonly config?: () => ConfigFacts;
  /** Connections of applications that are open. */
  readonly connections?: () => ByDirection;
  /** TLS sessions that carry tunnels. */
  readonly sessions?: () => ByDirection;
  /** Tunnels in those sessions. */
  readonly tunnels?: () => ByDirection;
  /** Log lines lost because stdout did not take them. */
  readonly droppedLines: () => number;
  /** Log lines held back because too many said the same. */
  readonly suppressedLines: () => number;
}

const LAG_PERIOD_MS = 1000;
const UNKNOWN_GROUP = "unknown";

/** The metrics of a process that are no traffic metrics. */
export class ProxyMetrics {
  readonly #failures: ReadonlyMap<string, Counter>;
  readonly #lag: EventLoopLag;
  readonly #handshakes: Metric<Counter> | undefined;

  constructor(metrics: Metrics, facts: ProxyFacts, clock: Clock) {
    const failures = metrics.counter("culvert_failures_total", "Refusals and failures by code.", ["code"]);
    this.#failures = new Map(
      Object.keys(FAILURES).map((code) => {
        const counter = failures.with(code);
        // A closed set, there from the start: an alert on a rate needs the zero before the first failure.
        counter.hold();
        return [code, counter];
      }),
    );
    this.#lag = new EventLoopLag(clock);
    if (facts.sessions !== undefined) {
      this.#handshakes = registerHandshakes(metrics);
    }
    registerProcess(metrics, this.#lag);
    registerBuild(metrics, facts);
    registerState(metrics, facts, clock);
  }

  /** Counts a session that was opened, by the group of its keys. */
  handshake(direction: keyof ByDirection, keyGroup: string | undefined): void {
    this.#handshakes?.with(direction, keyGroup ?? UNKNOWN_GROUP).add();
  }

  /** Counts one failure. */
  failure(code: FailureCode): void {
    this.#failures.get(code)?.add();
  }

  close(): void {
    this.#lag.close();
  }
}

function registerHandshakes(metrics: Metrics): Metric<Counter> {
  const handshakes = metrics.counter(
    "culvert_tunnel_handshakes_total",
    "TLS sessions of tunnels that were opened, by the group of their key exchange.",
    ["direction", "group"],
  );
  for (const direction of ["inbound", "outbound"]) {
    for (const group of [...KEY_GROUPS, UNKNOWN_GROUP]) handshakes.with(direction, group).hold();
  }
  return handshakes;
}

function registerBuild(metrics: Metrics, { component, version, commit }: ProxyFacts): void {
  metrics.observeAll(
    "culvert_build_info",
    "What is running; always 1.",
    ["component", "version", "commit", "node"],
    () => [[[component, version, commit, process.version], 1]],
  );
  metrics.observeAll("istio_build", "The same under Istio's name; always 1.", ["component", "tag"], () => [
    [[component, version], 1],
  ]);
}

function registerState(metrics: Metrics, facts: ProxyFacts, clock: Clock): void {
  const { certificate, identityEvents, config, connections, sessions, tunnels } = facts;
  metrics.observe("culvert_ready", "1 while the process may get traffic.", () => (facts.ready() ? 1 : 0));
  if (certificate !== undefined) {
    metrics.observeAll(
      "culvert_certificate_expiration_timestamp_seconds",
      "End of validity of the own certificate, seconds since the epoch.",
      ["identity"],
      () => {
        const now = certificate();
        return now === undefined ? [] : [[[now.id], now.notAfter / 1000]];
      },
    );
  }
  if (identityEvents !== undefined) {
    metrics.observeTotal(
      "culvert_identity_changes_total",
      "Changes of the own certificate, or of whom it trusts.",
      () => identityEvents().changes,
    );
    metrics.observeTotals(
      "culvert_identity_failures_total",
      "Times that no usable identity came, or that the one in use was found wanting, by code.",
      ["code"],
      () => [...identityEvents().failures].map(([code, count]) => [[code], count]),
    );
  }
  if (config !== undefined) {
    metrics.observe("culvert_config_version", "Version of the mesh configuration in use.", () => config().version);
    metrics.observeAll(
      "culvert_config_problems",
      "Problems in the newest mesh configuration. error: the last good one stays in use; not_understood: a resource fails closed.",
      ["severity"],
      () => {
        const { errors, notUnderstood } = config();
        return [
          [["error"], errors],
          [["not_understood"], notUnderstood],
        ];
      },
    );
    metrics.observe(
      "culvert_config_age_seconds",
      "Time since the source was last seen to hold the configuration in use.",
      () => Math.max(0, clock.now() - config().asOf) / 1000,
    );
    metrics.observe(
      "culvert_config_restored",
      "1 while the last good snapshot from the disk is in use, because the source could not be used at the start.",
      () => (config().isRestored ? 1 : 0),
    );
    metrics.observeTotal(
      "culvert_config_save_failures_total",
      "How often the configuration in use could not be saved as the last good snapshot.",
      () => config().notSaved,
    );
  }
  observeDirections(metrics, "culvert_connections_open", "Connections of applications that are open.", connections);
  observeDirections(metrics, "culvert_tunnel_sessions", "TLS sessions that carry tunnels.", sessions);
  observeDirections(metrics, "culvert_tunnels_open", "Tunnels that are open.", tunnels);
  metrics.observeTotal("culvert_log_lines_dropped_total", "Log lines lost because stdout did not take them.", () =>
    facts.droppedLines(),
  );
  metrics.observeTotal(
    "culvert_log_lines_suppressed_total",
    "Log lines held back because too many said the same.",
    () => facts.suppressedLines(),
  );
  metrics.observeAll(
    "culvert_metrics_overflow",
    "How often a label set found no room in a metric and was counted under `other`.",
    ["metric"],
    () => metrics.overflowed(),
  );
}

function observeDirections(metrics: Metrics, name: string, help: string, read: (() => ByDirection) | undefined): void {
  if (read === undefined) return;
  metrics.observeAll(name, help, ["direction"], (): readonly ObservedValue[] => {
    const { inbound, outbound } = read();
    return [
      [["inbound"], inbound],
      [["outbound"], outbound],
    ];
  });
}

/** The names that Prometheus' client libraries have for a process, and the lag of the event loop. */
function registerProcess(metrics: Metrics, lag: EventLoopLag): void {
  metrics.observe("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss());
  metrics.observe(
    "culvert_memory_used_bytes",
    "Memory that counts toward the limit: anonymous pages.",
    () => processMemoryCap.used,
  );
  metrics.observe(
    "culvert_memory_limit_bytes",
    "Memory that the process may use; from 85 % on new streams are refused.",
    () => {
      const { limit } = processMemoryCap;
      return Number.isFinite(limit) ? limit : undefined;
    },
  );
  metrics.observe("process_open_fds", "Open file descriptors.", openDescriptors);
  metrics.observe("process_max_fds", "The limit of open file descriptors.", () => {
    const { limit } = processDescriptors;
    return Number.isFinite(limit) ? limit : undefined;
  });
  metrics.observeTotal(
    "culvert_accept_pauses_total",
    "How often accepting paused because few descriptors were left.",
    () => processDescriptors.pauses,
  );
  metrics.observeTotal("process_cpu_seconds_total", "User and system CPU time.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.observe("culvert_event_loop_lag_seconds", "Longest delay of the event loop since the last scrape.", () =>
    lag.take(),
  );
}

/** `undefined` where `/proc` is not or may not be read. */
function openDescriptors(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}

/** By how much a timer comes late. */
class EventLoopLag {
  readonly #timer: Timer;
  #longest = 0;

  constructor(clock: Clock) {
    let due = clock.monotonic() + LAG_PERIOD_MS;
    this.#timer = clock.every(LAG_PERIOD_MS, () => {
      const now = clock.monotonic();
      this.#longest = Math.max(this.#longest, now - due);
      due = now + LAG_PERIOD_MS;
    });
  }

  /** Seconds; starts anew. */
  take(): number {
    const longest = this.#longest;
    this.#longest = 0;
    return longest / 1000;
  }

  close(): void {
    this.#timer.cancel();
  }
}
