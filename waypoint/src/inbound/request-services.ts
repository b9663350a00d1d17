// Machine. What the exchange asks about one request: destination, policy, route, endpoint, log. Each request is answered from
// the one view that `begin` has chosen for it.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import { canonicalTarget } from "../canonical/target.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type {
  CanonicalTarget,
  Endpoint,
  ExchangeFacts,
  ExchangeServices,
  RequestCopy,
  RouteChoice,
} from "../exchange-services.ts";
import { rulePlan, type RulePlan } from "../filter/rule-plan.ts";
import { GrpcCall } from "../grpc/call.ts";
import { grpcContentType } from "../grpc/content-type.ts";
import type { HttpVersion, RequestHead, RequestMessage } from "../http/message.ts";
import type { HeaderSlots } from "../http1/header-slots.ts";
import { chooseBackend } from "../route/backend.ts";
import type { RoutedRule } from "../route/entry.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import { Crowd, UNCOUNTED } from "../tenants/crowd.ts";
import type { Tenant } from "../tenants/tenants.ts";
import { choiceOf, type Choice } from "./choice.ts";
import { filteredChoice, type FilteredCall } from "./filtered-choice.ts";
import { joinedValue, routedValues, valuesOf } from "./header-plan.ts";
import type { RequestPlan } from "./request-plan.ts";
import type { TunnelServices } from "./tunnel-services.ts";

/** The services of requests that come one after another. */
export class RequestServices implements ExchangeServices {
  readonly #of: TunnelServices;

  // The request in flight.
  #plan: RequestPlan | undefined;
  /** Who has one request more in flight for it. */
  #tenant: Tenant | undefined;
  #overShare: Failure | undefined;
  /** Where the attempt in flight is counted. */
  #crowd: Crowd | undefined;
  #hostname = "";
  #version: HttpVersion = "HTTP/1.1";
  #target: CanonicalTarget | undefined;
  #decision: Permit | Denial | undefined;
  #userAgent = "";
  #forwardedFor = "";
  #cluster = "";
  #route = "";
  #rule = "";
  /** The rule that serves the request, if it has a name. */
  #named: RoutedRule | undefined;

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
    this.#named = undefined;
    this.#charge();
    return this.#plan.headers.slots;
  }

  admit(): Failure | undefined {
    return this.#overShare;
  }

  get opener(): object {
    return this.#of.tenant;
  }

  hold(bytes: number): boolean {
    return this.#tenant?.hold(bytes) === true;
  }

  release(bytes: number): void {
    this.#tenant?.heldBytes.give(bytes);
  }

  grpcCall(head: RequestHead): GrpcCall | undefined {
    const { headers, isGrpcWeb } = this.#planned();
    const type = grpcContentType(joinedValue(head, headers.contentType) ?? "");
    return type === undefined ? undefined : new GrpcCall(type, joinedValue(head, headers.grpcTimeout), isGrpcWeb);
  }

  canonicalTarget(head: RequestHead): CanonicalTarget | Failure {
    const { headers, destination, view } = this.#planned();
    this.#userAgent = head.fieldValue(headers.userAgent, 0) ?? "";
    this.#forwardedFor = joinedValue(head, headers.forwardedFor) ?? "";
    const host = this.#of.canonicalHost(head.authority ?? this.#of.tunnel.request.rawAuthority);
    if (isFailure(host)) return host;
    this.#hostname = host.hostname;
    this.#version = head.version;
    const target = canonicalTarget(head.method, head.target, host, view.self.pathNormalization);
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
    if (group === undefined) {
      const own = view.group(destination);
      return isFailure(own) ? own : this.#chosen(choiceOf(own, undefined, undefined));
    }
    const routed = group.find({
      method: target.method,
      hostname: this.#hostname,
      path: target.path,
      query: target.query,
      headers: routedValues(headers, head),
    });
    if (isFailure(routed)) return routed;
    this.#route = routed.route.uid;
    this.#rule = routed.name;
    if (routed.rule.name !== undefined) this.#named = routed;
    const plan = rulePlan(routed);
    if (isFailure(plan)) return plan;
    if (plan !== undefined) return this.#filtered(plan, routed, head, target);
    const backend = chooseBackend(routed, this.#of.options.random());
    if (isFailure(backend)) return backend;
    const chosen = view.backend(backend);
    return isFailure(chosen) ? chosen : this.#chosen(choiceOf(chosen, routed.rule, undefined));
  }

  copies(route: RouteChoice, message: RequestMessage, permit: Permit): readonly RequestCopy[] {
    // What was switched to is no request any more.
    if (message.upgrade !== undefined) return [];
    const mirrored = { message, permit, version: this.#version, tenant: this.#of.tenant };
    const sent = (route as Choice).mirrors.map((group) => this.#of.options.mirrors.send(group, mirrored));
    return sent.filter((copy) => copy !== undefined);
  }

  pick(route: RouteChoice, tried: readonly Endpoint[]): Endpoint | Failure {
    const { group, pinned } = route as Choice;
    const isKept = pinned !== undefined && !tried.includes(pinned);
    const endpoint = isKept ? pinned : group.pick(tried, this.#of.options.random);
    if (isFailure(endpoint)) return endpoint;
    if (endpoint.load.inFlight >= UNCOUNTED && this.#isOneTooMany(endpoint)) {
      return fail("TENANT_OVER_SHARE", `${endpoint.load.inFlight} requests in flight at ${endpoint.address}`);
    }
    endpoint.load.inFlight += 1;
    return endpoint;
  }

  settle(endpoint: Endpoint): void {
    (endpoint as UpstreamEndpoint).load.inFlight -= 1;
    if (this.#crowd === undefined) return;
    if (this.#tenant !== undefined) this.#crowd.leave(this.#tenant);
    this.#crowd = undefined;
  }

  open(endpoint: Endpoint, permit: Permit): Promise<ByteChannel | Failure> {
    return this.#of.options.upstream.open(endpoint as UpstreamEndpoint, permit, this.#of.tenant);
  }

  record(facts: ExchangeFacts): void {
    const { failure } = facts;
    const flags = failure === undefined ? "-" : failure.traits.flag;
    const { status, durationMs, bytesReceived, bytesSent, grpc } = facts;
    const plan = this.#plan ?? this.#of.begin(this);
    const series = this.#of.seriesOf(plan, facts.endpoint as UpstreamEndpoint | undefined, grpc !== undefined);
    if (this.#named !== undefined) this.#of.options.reporter.ruleServed(this.#named, status);
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
    this.#tenant?.requests.give(1);
    this.#tenant = undefined;
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

  #charge(): void {
    if (this.#tenant !== undefined) return;
    const { tenant } = this.#of;
    this.#overShare = tenant.begin();
    if (this.#overShare === undefined) this.#tenant = tenant;
  }

  /** Each request of HTTP/1.1 has a connection of its own; HTTP/2 has room for all that tenants may have in flight. */
  #isOneTooMany({ speaks, load }: UpstreamEndpoint): boolean {
    if (this.#tenant === undefined || speaks === "http2" || speaks === "alpn") return false;
    if (speaks === "either" && this.#version === "HTTP/2") return false;
    const crowd = (load.crowd ??= new Crowd());
    if (crowd.join(this.#tenant)) this.#crowd = crowd;
    else this.#tenant.refused.connections += 1;
    return this.#crowd === undefined;
  }

  #planned(): RequestPlan {
    if (this.#plan === undefined) throw new Error("a request before its begin");
    return this.#plan;
  }

  #filtered(plan: RulePlan, routed: RoutedRule, head: RequestHead, target: CanonicalTarget): Choice {
    const { view } = this.#planned();
    const { sessionKeys, random, clock } = this.#of.options;
    const context = { view, keys: sessionKeys, now: () => clock.now(), random };
    return this.#chosen(filteredChoice(plan, routed, this.#callOf(plan, head, target), context));
  }

  /** What filters and sessions look at; the fields of a plan are among those that were sorted. */
  #callOf({ sessions }: RulePlan, head: RequestHead, { method, path, query }: CanonicalTarget): FilteredCall {
    const { destination, headers } = this.#planned();
    const list = (name: string): string | undefined => {
      const values = valuesOf(headers, head, name);
      return values.length === 0 ? undefined : values.join(", ");
    };
    const isService = !isFailure(destination) && destination.kind === "service";
    return {
      facts: {
        method,
        path,
        query,
        hostname: this.#hostname,
        port: isService ? destination.port.port : this.#of.tunnel.request.authority.port,
        isGrpc: list("content-type")?.toLowerCase().startsWith("application/grpc") === true,
        origin: list("origin"),
        requestMethod: list("access-control-request-method"),
        requestHeaders: list("access-control-request-headers"),
      },
      sessionLines: sessions === undefined ? [] : valuesOf(headers, head, sessions.field),
    };
  }

  #chosen(choice: Choice): Choice {
    this.#cluster = choice.group.name;
    return choice;
  }
}
