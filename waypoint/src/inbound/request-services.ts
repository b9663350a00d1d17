// Machine. What the HTTP codec asks about the requests of one tunnel: destination, policy, route, endpoint, log. Each
// request is answered from the one view that `begin` has chosen for it.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { RequestSeries } from "@culvert/shared/observe/request-metrics.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import { canonicalHost, type CanonicalHost } from "../canonical/host.ts";
import { canonicalTarget } from "../canonical/target.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type {
  CanonicalTarget,
  Endpoint,
  ExchangeFacts,
  ExchangePeer,
  ExchangeServices,
  RequestHead,
  RouteChoice,
} from "../exchange-services.ts";
import type { HeaderSlots } from "../http1/header-slots.ts";
import { gatewayToken } from "../mesh/destination.ts";
import type { ConnectionGuard } from "../mesh/guard.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Reporter } from "../report.ts";
import { chooseBackend } from "../route/backend.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { joinedValue } from "./header-plan.ts";
import { RequestPlan } from "./request-plan.ts";
import type { Tunnel } from "./tunnel.ts";

/** What the requests of a tunnel are served with; the same for all tunnels. */
export interface RequestServicesOptions {
  readonly view: () => MeshView;
  readonly upstream: Upstream;
  readonly reporter: Reporter;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

interface Choice extends RouteChoice {
  readonly group: EndpointGroup;
}

/** Series kept for one tunnel; beyond it they are looked up anew. */
const MOST_SERIES = 64;

/** The services behind one tunnel. One request is in flight at a time. */
export class RequestServices implements ExchangeServices {
  readonly peer: ExchangePeer;
  readonly #tunnel: Tunnel;
  readonly #options: RequestServicesOptions;
  readonly #onClosed: () => void;
  readonly #series = new Map<UpstreamEndpoint | undefined, RequestSeries>();
  #plan: RequestPlan;
  #host: CanonicalHost | Failure | undefined;
  #rawHost = "";

  // The request in flight.
  #target: CanonicalTarget | undefined;
  #decision: Permit | Denial | undefined;
  #userAgent = "";
  #forwardedFor = "";
  #cluster = "";
  #route = "";
  #rule = "";

  constructor(tunnel: Tunnel, options: RequestServicesOptions, onClosed: () => void) {
    this.#tunnel = tunnel;
    this.#options = options;
    this.#onClosed = onClosed;
    const view = options.view();
    this.#plan = new RequestPlan(view, tunnel);
    this.peer = {
      id: tunnel.request.peer.id,
      address: tunnel.request.source.ip,
      ownId: view.self.id,
      viaToken: `${gatewayToken(view.self.gateway)}/${this.#plan.destinationToken}`,
    };
  }

  begin(): HeaderSlots {
    const view = this.#options.view();
    if (view !== this.#plan.view) {
      this.#plan = new RequestPlan(view, this.#tunnel);
      this.#series.clear();
    }
    this.#target = undefined;
    this.#decision = undefined;
    this.#userAgent = "";
    this.#forwardedFor = "";
    this.#cluster = "";
    this.#route = "";
    this.#rule = "";
    return this.#plan.headers.slots;
  }

  canonicalTarget(head: RequestHead): CanonicalTarget | Failure {
    const { headers, destination } = this.#plan;
    this.#userAgent = head.fieldValue(headers.userAgent, 0) ?? "";
    this.#forwardedFor = joinedValue(head, headers.forwardedFor) ?? "";
    const host = this.#canonicalHost(head.authority ?? this.#tunnel.request.rawAuthority);
    if (isFailure(host)) return host;
    const target = canonicalTarget(head.method, head.target, host);
    if (isFailure(target)) return target;
    // The tunnel was accepted for a destination that a later configuration may not know any more.
    if (isFailure(destination)) return destination;
    this.#target = target;
    return target;
  }

  authorize(_head: RequestHead, target: CanonicalTarget): Permit | Denial {
    this.#decision = this.#guard().decideRequest(target);
    return this.#decision;
  }

  route(head: RequestHead, target: CanonicalTarget): RouteChoice | Failure {
    const { view, group, destination, headers } = this.#plan;
    if (isFailure(destination)) return destination;
    const hostname = isFailure(this.#host) || this.#host === undefined ? "" : this.#host.hostname;
    if (group === undefined) return this.#choose(view.group(destination));
    const values = headers.routed.map((slot) => joinedValue(head, slot));
    const routed = group.find({ method: target.method, hostname, path: target.path, headers: values });
    if (isFailure(routed)) return routed;
    this.#route = routed.route.uid;
    this.#rule = routed.name;
    const backend = chooseBackend(routed, this.#options.random());
    return isFailure(backend) ? backend : this.#choose(view.backend(backend));
  }

  pick(route: RouteChoice, tried: readonly Endpoint[]): Endpoint | Failure {
    const endpoint = (route as Choice).group.pick(tried, this.#options.random);
    if (!isFailure(endpoint)) endpoint.load.inFlight += 1;
    return endpoint;
  }

  settle(endpoint: Endpoint): void {
    (endpoint as UpstreamEndpoint).load.inFlight -= 1;
  }

  open(endpoint: Endpoint, permit: Permit): Promise<ByteChannel | Failure> {
    return this.#options.upstream.open(endpoint as UpstreamEndpoint, permit);
  }

  record(facts: ExchangeFacts): void {
    const { failure } = facts;
    const flags = failure === undefined ? "-" : failure.traits.flag;
    const { status, durationMs, bytesReceived, bytesSent } = facts;
    const series = this.#seriesOf(facts.endpoint as UpstreamEndpoint | undefined);
    series.record(status, undefined, flags, durationMs, bytesReceived, bytesSent);
    const context = {
      forwardedFor: this.#forwardedFor,
      userAgent: this.#userAgent,
      cluster: this.#cluster,
      route: this.#route,
      rule: this.#rule,
      decision: this.#decision,
    };
    this.#options.reporter.request(this.#tunnel, facts, context);
    this.#target = undefined;
  }

  closed(): void {
    this.#onClosed();
  }

  /** Why the request in flight may not go on under `view`; `undefined` when it may, or when there is none. */
  recheck(view: MeshView): Failure | undefined {
    if (this.#target === undefined || this.#decision?.allowed !== true) return undefined;
    const plan = new RequestPlan(view, this.#tunnel);
    if (isFailure(plan.destination)) return plan.destination;
    const decision = plan.guard?.decideRequest(this.#target);
    if (decision?.allowed !== false) return undefined;
    this.#decision = decision;
    return fail("POLICY_CHANGED", decision.failure.detail);
  }

  #guard(): ConnectionGuard {
    if (this.#plan.guard === undefined) throw new Error("authorize without a target");
    return this.#plan.guard;
  }

  #choose(group: EndpointGroup | Failure): Choice | Failure {
    if (isFailure(group)) return group;
    this.#cluster = group.name;
    return { timeoutMs: 0, group };
  }

  /** Most clients name the same host again and again. */
  #canonicalHost(raw: string): CanonicalHost | Failure {
    if (this.#host === undefined || raw !== this.#rawHost) {
      this.#host = canonicalHost(raw);
      this.#rawHost = raw;
    }
    return this.#host;
  }

  #seriesOf(endpoint: UpstreamEndpoint | undefined): RequestSeries {
    let series = this.#series.get(endpoint);
    if (series === undefined) {
      const { view, destination } = this.#plan;
      const known = isFailure(destination) ? undefined : destination;
      series = this.#options.reporter.requestSeries(view, this.#tunnel, known, endpoint);
      if (this.#series.size >= MOST_SERIES) this.#series.clear();
      this.#series.set(endpoint, series);
    }
    return series;
  }
}
