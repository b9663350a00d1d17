// Machine. One member of the mesh: who it is by the identity and the resources of now, its live connections, its sessions to peers.
// Whatever brings connections to it, ports or the app itself, stands on this.
import type { Demanded } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { registerPoolMetrics } from "@culvert/shared/observe/pool-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { Timer } from "@culvert/shared/net/clock.ts";
import type { Foundation } from "@culvert/shared/service/service.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import type { TunnelEvent } from "@culvert/shared/tunnel/server.ts";
import { Connections } from "./connection/connections.ts";
import { Reporter } from "./connection/report.ts";
import { Ejections, keyOf } from "./outbound/ejections.ts";
import { untilLess, type Overlap } from "./former-waypoints.ts";
import type { SelfHints } from "./self.ts";
import { deriveState, judge, type UproxyState } from "./state.ts";

/** Endpoints that one line of the log names. */
const MAX_NAMED = 8;

/** See the head of the file. */
export class Member {
  readonly connections: Connections;
  readonly pool: TunnelPool;
  readonly ejections: Ejections;
  readonly reporter: Reporter;
  /** Where resources are asked for: undefined when they are there; else why they are not, once that is known. Absent: they all are. */
  readonly demand: ((destination: Demanded) => Promise<Failure | undefined> | undefined) | undefined;
  readonly #foundation: Foundation;
  readonly #hints: () => Omit<SelfHints, "id">;
  readonly #overlap: Overlap;
  readonly #stops: (() => void)[];
  /** Runs until less counts of what was required once. */
  #overlapping: Timer | undefined;
  #state: UproxyState;
  #onRefresh: () => void = () => undefined;

  /**
   * @param hints what configuration and host say of which workload this is, asked at each change
   * @param drainMs how long what is to end may go on
   */
  constructor(foundation: Foundation, hints: () => Omit<SelfHints, "id">, drainMs: number) {
    const { clock, identity, resources, log, tunnelLimits } = foundation;
    this.#foundation = foundation;
    this.#hints = hints;
    this.#overlap = { openMs: tunnelLimits.configurationWaitMs, keepMs: drainMs };
    this.connections = new Connections(foundation.newId);
    this.demand = resources.demand?.bind(resources);
    this.#state = deriveState(resources.get(), identity.get(), hints());
    this.pool = new TunnelPool({
      identity,
      compliance: foundation.compliance,
      limits: tunnelLimits,
      clock,
      onEvent: ({ kind, remote, keyGroup, failure }) => {
        if (kind === "session-opened") foundation.countHandshake("outbound", keyGroup);
        if (failure === undefined || failure.code === "DRAINING") log.debug(kind, { remote });
        else log.failure(kind, failure, { remote });
      },
    });
    this.ejections = new Ejections(tunnelLimits, clock, {
      onEjected: (endpoint, failure, forMs) => {
        log.failure("endpoint left out", failure, { endpoint: keyOf(endpoint), for_ms: Math.round(forMs) });
      },
      onReadmitted: (endpoint) => log.info("endpoint readmitted", { endpoint: keyOf(endpoint) }),
      onLastResort: (endpoints) => {
        const none = fail("NO_HEALTHY_UPSTREAM", "all endpoints fail, so all of them are used");
        log.failure("last resort", none, { endpoints: endpoints.map(keyOf).slice(0, MAX_NAMED).join(", ") });
      },
    });
    registerPoolMetrics(foundation.metrics, { stats: () => this.pool.stats(), ejections: () => this.ejections });
    const metrics = new TcpMetrics(foundation.metrics);
    const { accessLog, countFailure } = foundation;
    this.reporter = new Reporter({ accessLog, metrics, clock, countFailure });
    this.#stops = [
      foundation.metrics.beforeCollect(() => this.reporter.progress()),
      identity.onChange(() => this.#refresh()),
      resources.onChange(() => this.#refresh()),
    ];
    this.#keep(() => this.connections.destinations());
  }

  /** What a connection that begins now is decided by. */
  readonly state = (): UproxyState => this.#state;

  /** Calls `run` after each change of the state, before connections are judged by it; one at a time. */
  onRefresh(run: () => void): void {
    this.#onRefresh = run;
  }

  /** Asks for what is configured before the first connection goes there, and has it not forgotten. */
  keepAsked(configured: readonly Demanded[]): void {
    for (const destination of configured) void this.demand?.(destination);
    this.#keep(() => configured);
  }

  /** Tells what happens to the sessions of callers. */
  readonly tellSession = ({ kind, remote, peer, keyGroup, failure }: TunnelEvent): void => {
    const { log, countHandshake, countFailure } = this.#foundation;
    if (kind === "session-opened") countHandshake("inbound", keyGroup);
    // An end that we have made ourselves, in order, is no failure.
    if (failure === undefined || failure.code === "DRAINING") return log.debug(kind, { remote, peer });
    countFailure(failure);
    log.failure(kind, failure, { remote, peer });
  };

  /** Follows identity and resources no longer. */
  stop(): void {
    for (const stop of this.#stops) stop();
    this.#overlapping?.cancel();
  }

  #keep(users: () => Iterable<Demanded>): void {
    const stop = this.#foundation.resources.keep?.(users);
    if (stop !== undefined) this.#stops.push(stop);
  }

  #derive(): UproxyState {
    const { identity, resources, clock } = this.#foundation;
    const before = { state: this.#state, nowMs: clock.monotonic(), overlap: this.#overlap };
    const state = deriveState(resources.get(), identity.get(), this.#hints(), before);
    const lessInMs = untilLess(state.former, before.nowMs, this.#overlap);
    this.#overlapping?.cancel();
    this.#overlapping = lessInMs === undefined ? undefined : clock.after(lessInMs, () => this.#refresh());
    return state;
  }

  /** Takes new resources or a new identity into use, and ends the connections that they no longer permit. */
  #refresh(): void {
    const { log } = this.#foundation;
    const before = this.#state.workload;
    this.#state = this.#derive();
    this.reporter.forgetSeries();
    this.#onRefresh();
    const { workload } = this.#state;
    if (isFailure(workload) && !isFailure(before)) log.failure("own workload not found", workload);
    const ended = this.connections.recheck((facts) => this.#revoked(facts));
    if (ended > 0) log.info("connections ended by a policy change", { ended });
  }

  #revoked(facts: ConnectionFacts): Failure | undefined {
    const verdict = judge(this.#state, facts, true);
    if (verdict.allowed) return undefined;
    if (verdict.failure.code === "MTLS_REQUIRED") return verdict.failure;
    return fail("POLICY_CHANGED", [verdict.policy, verdict.rule, verdict.failure.code].filter(Boolean).join(" "));
  }
}
