// Machine. What the exchange asks about one request: destination, policy, route, endpoint, log. Each request is answered from
// the one view that `begin` has chosen for it.
import type { HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import { canonicalTarget } from "../canonical/target.ts";
import type { ByteChannel } from "../channel/channel.ts";
import {
  PLAIN_CHOICE,
  type CanonicalTarget,
  type Endpoint,
  type ExchangeFacts,
  type ExchangeServices,
  type RequestCopy,
  type RouteChoice,
} from "../exchange-services.ts";
import { GrpcCall } from "../grpc/call.ts";
import { grpcContentType } from "../grpc/content-type.ts";
import type { RequestHead } from "../http/message.ts";
import type { HeaderSlots } from "../http1/header-slots.ts";
import { chooseBackend } from "../route/backend.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import { joinedValue } from "./header-plan.ts";
import type { RequestPlan } from "./request-plan.ts";
import type { TunnelServices } from "./tunnel-services.ts";

interface Choice extends RouteChoice {
  readonly group: EndpointGroup;
}

/** The services of requests that come one after another. */
export class RequestServices implements ExchangeServices {
  readonly #of: TunnelServices;

  // The request in flight.
  #plan: RequestPlan | undefined;
  #hostname = "";
  #target: CanonicalTarget | undefined;
  #decision: Permit | Denial | undefined;
  #userAgent = "";
  #forwardedFor = "";
  #cluster = "";
  #route = "";
  #rule = "";

  constructor(of: TunnelServices) {
    this.#of = of;
  }

  begin(): HeaderSlots {
    this.#plan = this.#of.begin(this);
    this.#hostname = "";
    this.#target = undefined;
    this.#decision = undefined;
    this.#userAgent = "";
    this.#forwardedFor = "";
    this.#cluster = "";
    this.#route = "";
    this.#rule = "";
    return this.#plan.headers.slots;
  }

  grpcCall(head: RequestHead): GrpcCall | undefined {
    const { headers, isGrpcWeb } = this.#planned();
    const type = grpcContentType(joinedValue(head, headers.contentType) ?? "");
    return type === undefined ? undefined : new GrpcCall(type, joinedValue(head, headers.grpcTimeout), isGrpcWeb);
  }

  canonicalTarget(head: RequestHead): CanonicalTarget | Failure {
    const { headers, destination } = this.#planned();
    this.#userAgent = head.fieldValue(headers.userAgent, 0) ?? "";
    this.#forwardedFor = joinedValue(head, headers.forwardedFor) ?? "";
    const host = this.#of.canonicalHost(head.authority ?? this.#of.tunnel.request.rawAuthority);
    if (isFailure(host)) return host;
    this.#hostname = host.hostname;
    const target = canonicalTarget(head.method, head.target, host);
    if (isFailure(target)) return target;
    // The tunnel was accepted for a destination that a later configuration may not know any more.
    if (isFailure(destination)) return destination;
    this.#target = target;
    return target;
  }

  authorize(_head: RequestHead, target: CanonicalTarget): Permit | Denial {
    const { guard } = this.#planned();
    if (guard === undefined) throw new Error("authorize without a target");
    this.#decision = guard.decideRequest(target);
    return this.#decision;
  }

  route(head: RequestHead, target: CanonicalTarget): RouteChoice | Failure {
    const { view, group, destination, headers } = this.#planned();
    if (isFailure(destination)) return destination;
    if (group === undefined) return this.#choose(view.group(destination), undefined);
    const values = headers.routed.map((slot) => joinedValue(head, slot));
    const routed = group.find({
      method: target.method,
      hostname: this.#hostname,
      path: target.path,
      query: target.query,
      headers: values,
    });
    if (isFailure(routed)) return routed;
    this.#route = routed.route.uid;
    this.#rule = routed.name;
    const backend = chooseBackend(routed, this.#of.options.random());
    return isFailure(backend) ? backend : this.#choose(view.backend(backend), routed.rule);
  }

  copies(): readonly RequestCopy[] {
    return [];
  }

  pick(route: RouteChoice, tried: readonly Endpoint[]): Endpoint | Failure {
    const endpoint = (route as Choice).group.pick(tried, this.#of.options.random);
    if (!isFailure(endpoint)) endpoint.load.inFlight += 1;
    return endpoint;
  }

  settle(endpoint: Endpoint): void {
    (endpoint as UpstreamEndpoint).load.inFlight -= 1;
  }

  open(endpoint: Endpoint, permit: Permit): Promise<ByteChannel | Failure> {
    return this.#of.options.upstream.open(endpoint as UpstreamEndpoint, permit);
  }

  record(facts: ExchangeFacts): void {
    const { failure } = facts;
    const flags = failure === undefined ? "-" : failure.traits.flag;
    const { status, durationMs, bytesReceived, bytesSent, grpc } = facts;
    const plan = this.#plan ?? this.#of.begin(this);
    const series = this.#of.seriesOf(plan, facts.endpoint as UpstreamEndpoint | undefined, grpc !== undefined);
    series.record(status, grpc?.status, flags, durationMs, bytesReceived, bytesSent);
    const context = {
      forwardedFor: this.#forwardedFor,
      userAgent: this.#userAgent,
      cluster: this.#cluster,
      route: this.#route,
      rule: this.#rule,
      decision: this.#decision,
    };
    this.#of.options.reporter.request(this.#of.tunnel, facts, context);
    this.#target = undefined;
    this.#of.end(this);
  }

  /** Why the request in flight may not go on under another plan; `undefined` when it may. */
  recheck({ destination, guard }: RequestPlan): Failure | undefined {
    if (this.#target === undefined || this.#decision?.allowed !== true) return undefined;
    if (isFailure(destination)) return destination;
    const decision = guard?.decideRequest(this.#target);
    if (decision?.allowed !== false) return undefined;
    this.#decision = decision;
    return fail("POLICY_CHANGED", decision.failure.detail);
  }

  #planned(): RequestPlan {
    if (this.#plan === undefined) throw new Error("a request before its begin");
    return this.#plan;
  }

  #choose(group: EndpointGroup | Failure, rule: HttpRouteRule | undefined): Choice | Failure {
    if (isFailure(group)) return group;
    this.#cluster = group.name;
    if (rule === undefined) return { ...PLAIN_CHOICE, group };
    const { timeouts, retry } = rule;
    return {
      ...PLAIN_CHOICE,
      timeoutMs: timeouts.requestMs,
      attemptTimeoutMs: timeouts.backendRequestMs,
      retry,
      group,
    };
  }
}
