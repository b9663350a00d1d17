// Machine. One tunnel that is passed through as TCP: decided, connected, and only then answered.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { mayTryElsewhere } from "@culvert/shared/tunnel/elsewhere.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { protocolOf } from "../mesh/destination.ts";
import type { MeshView } from "../mesh/view.ts";
import type { ConnectionReport } from "../report.ts";
import { chooseBackend } from "../route/backend.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import type { Tenant } from "../tenants/tenants.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { LiveTunnel, TunnelUser } from "./live-tunnels.ts";
import { OpaqueRelay } from "./opaque.ts";
import type { Opening } from "./opening.ts";
import { guardOf } from "./request-plan.ts";
import type { Standing } from "./standing.ts";
import type { Tunnel } from "./tunnel.ts";

/** How the caller gets its answer: a status while the tunnel is unanswered, a reset after that. */
export interface Answer {
  refuse(failure: Failure): void;
  /** The caller's bytes from now on; `undefined` when it has gone. */
  accept(): ByteChannel | undefined;
}

export interface OpaqueTunnelOptions {
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly halfClosedIdleMs: number;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

/** Endpoints tried before the caller is told; nothing has been sent to any of them. */
const MOST_TRIES = 3;

/** Serves one tunnel to its end. */
export class OpaqueTunnel implements TunnelUser {
  readonly #live: LiveTunnel;
  readonly #tunnel: Tunnel;
  readonly #tenant: Tenant;
  readonly #report: ConnectionReport;
  readonly #options: OpaqueTunnelOptions;
  readonly #answer: Answer;
  readonly #ended: () => void;
  #relay: OpaqueRelay | undefined;
  /** Why it was ended while it was being connected. */
  #cut: Failure | undefined;

  /** @param ended called once, when nothing of the tunnel is left */
  constructor(
    live: LiveTunnel,
    tenant: Tenant,
    answer: Answer,
    report: ConnectionReport,
    options: OpaqueTunnelOptions,
    ended: () => void,
  ) {
    this.#live = live;
    this.#tunnel = live.tunnel;
    this.#tenant = tenant;
    this.#answer = answer;
    this.#report = report;
    this.#options = options;
    this.#ended = ended;
  }

  /** Never throws or rejects. */
  async serve(standing: Standing, opening: Opening): Promise<void> {
    this.#live.serve(this);
    const decision = guardOf(standing.guard, this.#tunnel).decideConnection();
    this.#report.decided(decision);
    const opened = decision.allowed ? await this.#connect(standing, opening, decision) : decision.failure;
    if (isFailure(opened)) return this.#refuse(opened);
    const { endpoint, channel } = opened;
    const client = this.#cut === undefined ? this.#answer.accept() : undefined;
    if (client !== undefined) return this.#carry(endpoint, channel, client);
    const failure = this.#cut ?? fail("DOWNSTREAM_CLOSED", "the caller left while its destination was dialled");
    channel.reset(failure);
    endpoint.load.inFlight -= 1;
    return this.#refuse(failure);
  }

  recheck(view: MeshView): Failure | undefined {
    const standing = this.#live.stand(view);
    if (isFailure(standing)) return standing;
    const decision = guardOf(standing.guard, this.#tunnel).decideConnection();
    if (decision.allowed) return undefined;
    this.#report.decided(decision);
    return fail("POLICY_CHANGED", decision.failure.detail);
  }

  end(failure: Failure): void {
    this.#cut ??= failure;
    this.#relay?.abort(failure);
  }

  /** A TCP connection has no moment at which it could be ended without harm. */
  drain(): void {}

  get bytes(): { readonly fromClient: number; readonly toClient: number } | undefined {
    return this.#relay;
  }

  async #connect(
    standing: Standing,
    opening: Opening,
    permit: Permit,
  ): Promise<{ endpoint: UpstreamEndpoint; channel: ByteChannel } | Failure> {
    const { destination } = standing;
    const group = this.#route(standing, opening);
    if (isFailure(group)) return group;
    const { source } = this.#tunnel.request;
    const origin = {
      clientAddress: source.ip,
      clientPort: source.port,
      serviceHost: destination.kind === "service" ? destination.service.hostname : undefined,
      speaksTls: opening.protocol === "tls" || protocolOf(destination) === "tls",
    };
    const tried: UpstreamEndpoint[] = [];
    let failure: Failure | undefined;
    while (tried.length < MOST_TRIES && this.#cut === undefined) {
      const endpoint = group.pick(tried, this.#options.random);
      if (isFailure(endpoint)) return failure ?? endpoint;
      tried.push(endpoint);
      endpoint.load.inFlight += 1;
      this.#report.trying(endpoint);
      const channel = await this.#options.upstream.open(endpoint, permit, this.#tenant, origin);
      if (!isFailure(channel)) return { endpoint, channel };
      endpoint.load.inFlight -= 1;
      failure = channel;
      if (!mayTryElsewhere(failure)) break;
    }
    return this.#cut ?? failure ?? fail("NO_HEALTHY_UPSTREAM", group.name);
  }

  /** Where the connection goes: a backend of the routes of its destination, else the endpoints of that itself. */
  #route({ view, destination }: Standing, { serverName }: Opening): EndpointGroup | Failure {
    const routes = view.streamRoutes(destination, this.#tunnel.caller.namespace);
    if (routes === undefined) return view.group(destination);
    const routed = routes.find(serverName);
    if (isFailure(routed)) return routed;
    this.#report.routed(routed.route.uid, routed.name, serverName);
    const backend = chooseBackend(routed, this.#options.random());
    return isFailure(backend) ? backend : view.streamBackend(backend);
  }

  #carry(endpoint: UpstreamEndpoint, upstream: ByteChannel, client: ByteChannel): void {
    const { clock, halfClosedIdleMs } = this.#options;
    const relay = new OpaqueRelay({
      client,
      upstream,
      clock,
      halfClosedIdleMs,
      onEnd: ({ failure }) => {
        endpoint.load.inFlight -= 1;
        this.#report.end(failure);
        this.#ended();
      },
    });
    this.#relay = relay;
    this.#report.opened(relay);
    relay.start();
  }

  #refuse(failure: Failure): void {
    this.#answer.refuse(failure);
    this.#report.end(failure);
    this.#ended();
  }
}
