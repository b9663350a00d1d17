// For tests: a downstream connection of the codec whose client and whose applications are played by the test.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { compilePolicies } from "@culvert/shared/policy/compile.ts";
import { decide, type Denial, type Permit } from "@culvert/shared/policy/decide.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import { canonicalHost } from "./canonical/host.ts";
import { canonicalTarget } from "./canonical/target.ts";
import { FakeChannel } from "./channel-fixtures.ts";
import type { ByteChannel } from "./channel/channel.ts";
import {
  PLAIN_CHOICE,
  type CanonicalTarget,
  type ConnectionServices,
  type Endpoint,
  type ExchangeFacts,
  type ExchangePeer,
  type ExchangeServices,
  type RequestCopy,
  type RouteChoice,
} from "./exchange-services.ts";
import { HopHeaders } from "./hop-headers.ts";
import { GrpcCall } from "./grpc/call.ts";
import { grpcContentType } from "./grpc/content-type.ts";
import type { RequestHead } from "./http/message.ts";
import { Http1Downstream } from "./http1/downstream.ts";
import { HeaderSlots } from "./http1/header-slots.ts";
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from "./http/limits.ts";
import { Http1Shared } from "./http1/shared-state.ts";
import { UpstreamPool } from "./http1/upstream-pool.ts";
import { Http2Shared } from "./http2/shared-state.ts";
import { Http2Pool } from "./http2/upstream-pool.ts";
import { UpstreamConnections } from "./upstream/connections.ts";

export const PEER: ExchangePeer = {
  id: id("default/client"),
  address: ip("10.0.0.7"),
  ownId: id("default/waypoint"),
  viaToken: "waypoint.default/reviews.default",
};

/** What `record` was told, copied. */
interface Recorded {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly code: string;
  readonly local: boolean;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly attempts: number;
  readonly grpcStatus: number | undefined;
}

/** An endpoint that speaks HTTP/1.1. */
export function endpointNamed(key: string): Endpoint {
  return { key, address: `${key}:80`, speaks: "http1" };
}

/** Services that permit everything and know the endpoints a, b and c, and that write down what they are asked. */
export class FakeServices implements ConnectionServices, ExchangeServices {
  readonly hop: HopHeaders;
  readonly slots = new HeaderSlots(["user-agent", "x-flavour", "content-type", "grpc-timeout"]);
  readonly records: Recorded[] = [];
  /** Endpoint keys, `+a` when picked and `-a` when settled. */
  readonly load: string[] = [];
  readonly flavours: string[] = [];
  readonly opened: { readonly endpoint: Endpoint; readonly channel: FakeChannel }[] = [];
  endpoints: readonly Endpoint[] = ["a", "b", "c"].map(endpointNamed);
  /** Answers of the next `open` calls; a channel when empty. */
  readonly refusals: Failure[] = [];
  /** Opens wait for `letOpen`. */
  held = false;
  /** What the route says beyond the usual. */
  choice: Partial<RouteChoice> = {};
  copied: readonly RequestCopy[] = [];
  isClosed = false;
  /** What `admit` says. */
  overShare: Failure | undefined = undefined;
  heldBytes = 0;
  /** Bytes of bodies that may be kept. */
  room = Infinity;
  readonly #waiting: (() => void)[] = [];
  readonly #permit: Permit | Denial = decide(compilePolicies([], "l7"), {
    principal: PEER.id,
    sourceIp: PEER.address,
    destinationIp: undefined,
    destinationPort: 80,
  });

  constructor(peer: ExchangePeer = PEER) {
    this.hop = new HopHeaders(peer);
  }

  requests(): ExchangeServices {
    return this;
  }

  begin(): HeaderSlots {
    return this.slots;
  }

  admit(): Failure | undefined {
    return this.overShare;
  }

  hold(bytes: number): boolean {
    if (this.heldBytes + bytes > this.room) return false;
    this.heldBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.heldBytes -= bytes;
  }

  grpcCall(head: RequestHead): GrpcCall | undefined {
    const value = (name: string): string | undefined => head.fieldValue(this.slots.slotOf(name) ?? -1, 0);
    const type = grpcContentType(value("content-type") ?? "");
    return type === undefined ? undefined : new GrpcCall(type, value("grpc-timeout"), true);
  }

  canonicalTarget(head: RequestHead): CanonicalTarget | Failure {
    const host = canonicalHost(head.authority ?? "reviews");
    return isFailure(host) ? host : canonicalTarget(head.method, head.target, host);
  }

  authorize(head: RequestHead, target: CanonicalTarget): Permit | Denial {
    if (!target.path.startsWith("/denied")) return this.#permit;
    const failure = fail("DENIED_BY_POLICY", head.method);
    return { allowed: false, policy: "default/no", rule: "rules[0]", failure, dryRun: [] };
  }

  route(head: RequestHead, target: CanonicalTarget): RouteChoice | Failure {
    const slot = this.slots.slotOf("x-flavour") ?? -1;
    for (let i = 0; i < head.fieldCount(slot); i += 1) this.flavours.push(head.fieldValue(slot, i) ?? "");
    return target.path === "/nowhere" ? fail("ROUTE_NOT_FOUND", target.path) : { ...PLAIN_CHOICE, ...this.choice };
  }

  copies(): readonly RequestCopy[] {
    return this.copied;
  }

  pick(_route: RouteChoice, tried: readonly Endpoint[]): Endpoint | Failure {
    const endpoint = this.endpoints.find((candidate) => !tried.includes(candidate));
    if (endpoint === undefined) return fail("NO_HEALTHY_UPSTREAM", "");
    this.load.push(`+${endpoint.key}`);
    return endpoint;
  }

  settle(endpoint: Endpoint): void {
    this.load.push(`-${endpoint.key}`);
  }

  readonly opener = this;

  async open(endpoint: Endpoint): Promise<ByteChannel | Failure> {
    if (this.held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refusal;
    const channel = new FakeChannel();
    this.opened.push({ endpoint, channel });
    return channel;
  }

  letOpen(): void {
    this.held = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  record(facts: ExchangeFacts): void {
    const { method, path, status, local, bytesReceived, bytesSent, attempts } = facts;
    const code = facts.failure?.code ?? "";
    const grpcStatus = facts.grpc?.status;
    this.records.push({ method, path, status, code, local, bytesReceived, bytesSent, attempts, grpcStatus });
  }

  closed(): void {
    this.isClosed = true;
  }
}

/** One connection with everything around it. */
export class Bench {
  readonly clock = new FakeClock();
  readonly services: FakeServices;
  readonly client = new FakeChannel();
  readonly shared: Http1Shared;
  readonly connections: UpstreamConnections;
  readonly connection: Http1Downstream;

  constructor(limits: Partial<HttpLimits> = {}, peer: ExchangePeer = PEER) {
    this.services = new FakeServices(peer);
    this.shared = new Http1Shared({ ...DEFAULT_HTTP_LIMITS, ...limits }, this.clock);
    const http2 = new Http2Shared(this.shared);
    this.connections = new UpstreamConnections(new UpstreamPool(this.shared), new Http2Pool(http2));
    this.connection = new Http1Downstream(this.client, this.services, this.shared, this.connections);
    this.connection.start();
  }

  /** Another client of the same process. */
  another(services: FakeServices = new FakeServices()): { client: FakeChannel; services: FakeServices } {
    const client = new FakeChannel();
    new Http1Downstream(client, services, this.shared, this.connections).start();
    return { client, services };
  }

  /** Bytes from the client, then everything that follows from them. */
  async send(...pieces: readonly string[]): Promise<void> {
    for (const piece of pieces) {
      if (!this.client.wasReset) this.client.receive(piece);
      await turn();
    }
  }

  /** The application's end of the `index`-th connection. */
  app(index = 0): FakeChannel {
    const opened = this.services.opened[index];
    if (opened === undefined) throw new Error(`no connection ${index} to an application`);
    return opened.channel;
  }

  async answer(text: string, index = 0): Promise<void> {
    this.app(index).receive(text);
    await turn();
  }
}

/** Lets everything that is due happen, and what that puts off to the end of the turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));
}
