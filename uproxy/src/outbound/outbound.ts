// Machine. App to mesh, one connection at a time, in phases: register, resolve, open (another endpoint while nothing
// has been sent), answer, carry, report.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint as Address } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { processMemoryCap } from "@culvert/shared/net/memory-cap.ts";
import { mayBeLate } from "@culvert/shared/tunnel/elsewhere.ts";
import { newTraceparent, tunnelHeaders } from "@culvert/shared/tunnel/headers.ts";
import type { LateNews } from "@culvert/shared/tunnel/late-news.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import type { OpenTunnel, TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { pump, type Pump } from "@culvert/shared/tunnel/pump.ts";
import type { Connections, LiveConnection } from "../connection/connections.ts";
import { dialPlain } from "../connection/dial.ts";
import type { Ejections } from "./ejections.ts";
import type { LoopGuard } from "./loop-guard.ts";
import { distanceOf } from "./nearness.ts";
import { EndpointGroup, pickShare, type Standing } from "./pick-endpoint.ts";
import { relay } from "../connection/relay.ts";
import type { Reporter, ConnectionReport } from "../connection/report.ts";
import type { Choices, Destination, Endpoint, Hop, UnknownDestinations } from "./hop.ts";
import { resolve } from "./resolve.ts";
import type { UproxyState } from "../state.ts";

/** How the app is told what became of its connection. */
export interface ClientAnswer {
  /** Bytes flow from now on. */
  granted(): void;
  /** Nothing was carried. Ends the client's socket so that it cannot be taken for a success. */
  refused(failure: Failure): void;
}

/** The app's end of a connection, as far as its way has to know it. */
export interface OutboundClient {
  /** `ip:port`, or where else it comes from. */
  readonly source: string;
  readonly remote: Address;
  /** Whether the app has left. */
  readonly destroyed: boolean;
}

/** What was opened toward the destination: a tunnel, or a plain socket where no mesh is. */
export type Opened =
  | { readonly kind: "tunnel"; readonly tunnel: OpenTunnel }
  | { readonly kind: "plain"; readonly socket: BulkSocket };

/** What `Outbound` stands on. */
export interface OutboundOptions<Client extends OutboundClient = BulkSocket> {
  readonly state: () => UproxyState;
  readonly pool: TunnelPool;
  readonly connections: Connections;
  readonly reporter: Reporter;
  readonly clock: Clock;
  readonly limits: TunnelLimits;
  readonly unknown: UnknownDestinations;
  /** Whether an address is a listener of this proxy. */
  readonly leadsBack: (host: string, port: number) => boolean;
  readonly ejections: Ejections;
  /** Where capture may turn our own connections back to us. */
  readonly loops?: LoopGuard;
  /** Joins both ends of a connection; bytes flow from then on. */
  readonly join: (client: Client, opened: Opened) => Pump;
  /** Where resources are asked for: undefined when they are there; else why they are not, once that is known. */
  readonly demand?: (destination: Destination) => Promise<Failure | undefined> | undefined;
}

/** Destinations whose hop is kept: more than one app talks to, and a bound on what a scanner can make us keep. */
const MAX_KEPT_HOPS = 256;

/** Joins a socket of the app to what was opened for it. */
export function joinSocket({ clock, limits }: Pick<OutboundOptions, "clock" | "limits">): OutboundOptions["join"] {
  const { halfClosedIdleMs, streamQueue } = limits;
  return (client, opened) =>
    opened.kind === "tunnel"
      ? pump(client, opened.tunnel.stream, { clock, streamLeads: "upstream", halfClosedIdleMs, streamQueue })
      : relay(client, opened.socket, streamQueue);
}

/** Carries the connections of the own app into the mesh. */
export class Outbound<Client extends OutboundClient = BulkSocket> {
  readonly #options: OutboundOptions<Client>;
  readonly #resolved = new Map<string, Hop | Failure>();
  readonly #groups = new WeakMap<Choices, EndpointGroup>();
  readonly #standing: Standing;
  #resolvedFor: UproxyState | undefined;
  /** Loaded at the first refusal that it may outlast. */
  #lateNews: LateNews | undefined;

  constructor(options: OutboundOptions<Client>) {
    this.#options = options;
    const { pool, ejections } = options;
    this.#standing = {
      inFlight: (endpoint) => pool.inFlight(endpoint),
      mayUse: (endpoint) => ejections.mayUse(endpoint),
    };
  }

  /** Carries one connection to its end; never throws or rejects. */
  async carry(client: Client, destination: Destination, answer: ClientAnswer): Promise<void> {
    const { state, connections, clock, reporter, demand } = this.#options;
    const asked = formatHostPort(destination.kind === "ip" ? destination.ip : destination.host, destination.port);
    const connection = connections.register({
      direction: "outbound",
      facts: undefined,
      source: client.source,
      destination: asked,
      to: destination,
      startedAt: clock.monotonic(),
    });
    const demanded = demand?.(destination);
    const missing = demanded === undefined ? undefined : await demanded;
    const now = state();
    const hop = processMemoryCap.shortage ?? missing ?? this.#resolve(now, destination, asked);
    const report = reporter.open({
      connection,
      ownId: now.id,
      peerId: undefined,
      sourceWorkload: isFailure(now.workload) ? undefined : now.workload,
      destinationWorkload: undefined,
      service: isFailure(hop) ? undefined : hop.service,
      hboneAddress: undefined,
      destinationAddress: asked,
    });
    let opened = isFailure(hop) ? hop : await this.#open(hop, now, client, report);
    if (isFailure(opened) && mayBeLate(opened)) {
      const isOver = (): boolean => client.destroyed || connection.ended !== undefined;
      opened = await this.#openLate(opened, asked, () => {
        if (isOver()) return Promise.resolve(connection.ended ?? fail("DOWNSTREAM_CLOSED", "the app left meanwhile"));
        const current = state();
        const again = this.#resolve(current, destination, asked);
        return isFailure(again) ? Promise.resolve(again) : this.#open(again, current, client, report);
      });
    } else this.#lateNews?.heard(asked);
    const failure = isFailure(opened) ? opened : await this.#forward(client, opened, connection, report, answer);
    if (failure !== undefined && connection.bytes === undefined) answer.refused(connection.ended ?? failure);
    connections.release(connection);
    report.end(connection.ended ?? failure);
  }

  /** Resolves; an app asks for the same few destinations again and again, so the answers of one state are kept. */
  #resolve(state: UproxyState, destination: Destination, asked: string): Hop | Failure {
    if (this.#resolvedFor !== state || this.#resolved.size >= MAX_KEPT_HOPS) {
      this.#resolvedFor = state;
      this.#resolved.clear();
    }
    let hop = this.#resolved.get(asked);
    if (hop === undefined) {
      hop = resolve(state.snapshot, state.self, destination, this.#options.unknown);
      // A listener of our own would bring the connection back to us, and that one the next, until nothing is left to open it with.
      if (!isFailure(hop) && hop.kind === "passthrough" && this.#options.leadsBack(hop.host, hop.port)) {
        hop = fail("SELF_CALL", asked);
      }
      this.#resolved.set(asked, hop);
    }
    return hop;
  }

  /** A waypoint or a workload has refused, as it may while a change of who stands before whom is on its way. */
  async #openLate(first: Failure, asked: string, again: () => Promise<Opened | Failure>): Promise<Opened | Failure> {
    if (this.#lateNews === undefined) {
      const { LateNews: Late } = await import("@culvert/shared/tunnel/late-news.ts");
      this.#lateNews ??= new Late(this.#options.clock, this.#options.limits);
    }
    return this.#lateNews.outlast(asked, first, again);
  }

  async #forward(
    client: Client,
    opened: Opened,
    connection: LiveConnection,
    report: ConnectionReport,
    answer: ClientAnswer,
  ): Promise<Failure | undefined> {
    if (client.destroyed || connection.ended !== undefined) {
      if (opened.kind === "plain") opened.socket.reset();
      else opened.tunnel.stream.close(fail("DOWNSTREAM_CLOSED", "").traits.resetCode);
      return connection.ended ?? fail("DOWNSTREAM_CLOSED", "the app left before its connection was open");
    }
    if (opened.kind === "tunnel") report.proved(opened.tunnel.peer.id, opened.tunnel.keyGroup);
    report.opened();
    answer.granted();
    const running = this.#options.join(client, opened);
    connection.bytes = running;
    connection.onEnd((reason) => running.abort(reason));
    return (await running.ended).failure;
  }

  /** The endpoints of a hop or of a share of it, nearest first; made once, for hops are kept. */
  #group(choices: Choices, state: UproxyState): EndpointGroup {
    let group = this.#groups.get(choices);
    if (group === undefined) {
      this.#groups.set(choices, (group = new EndpointGroup(choices.endpoints, distanceOf(state, choices))));
    }
    return group;
  }

  async #open(hop: Hop, state: UproxyState, client: Client, report: ConnectionReport): Promise<Opened | Failure> {
    const { limits, ejections } = this.#options;
    if (hop.kind === "passthrough") return this.#openPlain(hop.host, hop.port);
    const group = this.#group(hop.shares === undefined ? hop : pickShare(hop.shares), state);
    const tried: Endpoint[] = [];
    let failure: Failure = fail("NO_HEALTHY_UPSTREAM", "");
    while (tried.length < limits.maxTries) {
      if (client.destroyed) return fail("DOWNSTREAM_CLOSED", "the app left before its connection was open");
      const choice = group.pick(tried, this.#standing);
      if (choice === undefined) return failure;
      const { endpoint, lastResort } = choice;
      if (lastResort) ejections.usedLastResort(group.endpoints);
      ejections.chosen(endpoint);
      tried.push(endpoint);
      const hboneAddress = endpoint.authority === undefined ? undefined : formatHostPort(endpoint.ip, endpoint.port);
      report.trying(endpoint.workload, hboneAddress);
      const opened = await this.#openEndpoint(endpoint, hop, client);
      if (!isFailure(opened)) {
        ejections.succeeded(endpoint);
        return opened;
      }
      failure = opened;
      // Nothing has been sent yet, so another endpoint is always safe; a denial would be the same everywhere.
      if (ejections.failed(endpoint, group.endpoints, opened)) continue;
      const isNoNews = opened.told === "WAYPOINT_REQUIRED" && endpoint.workload.requireWaypoint;
      return isNoNews ? fail(opened.code, opened.detail) : opened;
    }
    return failure;
  }

  async #openEndpoint(
    endpoint: Endpoint,
    hop: Extract<Hop, { kind: "tunnel" }>,
    client: Client,
  ): Promise<Opened | Failure> {
    const { pool } = this.#options;
    if (endpoint.authority === undefined) return this.#openPlain(endpoint.ip, endpoint.port);
    const headers = tunnelHeaders({
      clientAddress: client.remote.ip,
      clientPort: client.remote.port,
      serviceHost: hop.service?.hostname,
      baggage: this.#options.state().baggage,
      traceparent: newTraceparent(),
    });
    if (endpoint.via !== undefined) headers["x-forwarded-network"] = this.#options.state().self.network ?? "";
    const tunnel = await pool.open(endpoint, { authority: endpoint.authority, headers });
    return isFailure(tunnel) ? tunnel : { kind: "tunnel", tunnel };
  }

  async #openPlain(host: string, port: number): Promise<Opened | Failure> {
    const { clock, limits, loops } = this.#options;
    const target = { host, port, timeoutMs: limits.connectTimeoutMs };
    const guard = loops === undefined ? {} : { onDialling: (made: BulkSocket) => loops.dialling(made, host, port) };
    const socket = await dialPlain({ ...target, ...guard }, clock);
    return isFailure(socket) ? socket : { kind: "plain", socket };
  }
}
