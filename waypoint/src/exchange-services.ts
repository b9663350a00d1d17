// Types. What one HTTP exchange needs from the parts around it: everything between the bytes of a request and the
// bytes of its response that is not HTTP itself. One `ExchangeServices` object serves one request at a time, so it may keep
// what it learns about the request in flight.
import type { RouteRetry } from "@culvert/shared/config/http-route.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { RequestFacts } from "@culvert/shared/policy/authorization.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import type { ByteChannel } from "./channel/channel.ts";
import type { GrpcCall } from "./grpc/call.ts";
import type { HopHeaders } from "./hop-headers.ts";
import type { HttpLimits } from "./http/limits.ts";
import type { HttpVersion, RequestDraft, RequestHead, RequestMessage } from "./http/message.ts";
import type { HeaderSlots } from "./http1/header-slots.ts";
import type { LocalAnswer } from "./local-answer.ts";
import type { BodyRoom } from "./replay.ts";

declare const canonicalTarget: unique symbol;

/**
 * What the request asks for, in the one spelling that is decided on, routed by and forwarded. Made by `canonical.ts`
 * alone. `host` is forwarded as `Host`, `path` + `query` as the request target (`*` for the asterisk form).
 */
export interface CanonicalTarget extends RequestFacts {
  readonly [canonicalTarget]: true;
  /** The query with its `?` as received, or empty. */
  readonly query: string;
}

/** What a route changes on the way. Absent for a route that changes nothing, which then costs nothing. */
export interface RouteEdits {
  /** Changes the request before it is sent, once, whatever the number of attempts. */
  request(draft: RequestDraft): void;
  /**
   * The field lines of a final response as the client gets them.
   *
   * @param endpoint that gave the response; `undefined` for an answer of the route itself
   */
  response(status: number, fields: string, endpoint: Endpoint | undefined): string;
}

/** What a route says of how its requests are carried. Extended by the router with what `pick` needs. */
export interface RouteChoice {
  /** Milliseconds from the request's head to the end of the response; 0 for the general limits only. */
  readonly timeoutMs: number;
  /** The same for one attempt, from when the request is sent. */
  readonly attemptTimeoutMs: number;
  readonly retry: RouteRetry | undefined;
  /** Waits so long before anything else. */
  readonly delayMs: number;
  /** The answer of the route itself: no application is asked. */
  readonly answer: LocalAnswer | undefined;
  readonly edits: RouteEdits | undefined;
  /** Copies are to be made: see `copies`. */
  readonly mirrored: boolean;
}

/** A route that only leads somewhere. */
export const PLAIN_CHOICE: RouteChoice = {
  timeoutMs: 0,
  attemptTimeoutMs: 0,
  retry: undefined,
  delayMs: 0,
  answer: undefined,
  edits: undefined,
  mirrored: false,
};

/** A copy of a request on its way to somewhere else. It looks after itself and never holds up the request. */
export interface RequestCopy {
  /** Body bytes; those that are kept are copied. */
  data(bytes: Buffer, start: number, end: number): void;
  finish(trailers: string): void;
  /** The exchange is over: nothing more of the request will come. A copy that has all of it goes on by itself. */
  over(): void;
}

/** One place that a request can be sent to. Extended by the balancer with what `open` needs. */
export interface Endpoint {
  /**
   * Key of the connection pool: two endpoints of equal key share their idle connections, so the key must name all that
   * a connection depends on (own identity, expected peer, address, and what the tunnel request says of the caller).
   */
  readonly key: string;
  /** `ip:port` of the application, for the log. */
  readonly address: string;
  /** Version of HTTP that it is spoken to in; `either`: as the client speaks; `alpn`: as the handshake of TLS finds out. */
  readonly speaks: "http1" | "http2" | "either" | "alpn";
}

/** The client as its connection proved it. Fixed for the life of the connection. */
export interface ExchangePeer {
  /** `undefined`: plaintext; then nothing that the client says of itself (request id) is believed. */
  readonly id: SpiffeId | undefined;
  /** The client's address, appended to `x-forwarded-for`. */
  readonly address: Ip;
  /** Our own identity, the `By` of `x-forwarded-client-cert`. */
  readonly ownId: SpiffeId | undefined;
  /**
   * Our entry in `x-culvert-via`, a token: gateway and destination (`waypoint.default/reviews.default`), so that a
   * request that returns to the same destination through the same gateway is a loop, and one that goes on is not.
   */
  readonly viaToken: string;
}

/** How one exchange ended. One object per connection, valid during the call of `record` only. */
export interface ExchangeFacts {
  /** Empty when no well-formed request line came. */
  readonly method: string;
  /** Path and query: as canonicalized and forwarded, else as received, else empty. */
  readonly path: string;
  readonly authority: string;
  readonly version: HttpVersion;
  /** Status sent to the client, 0 when none was sent. */
  readonly status: number;
  /** `true` when the answer was ours and not the upstream's. */
  readonly local: boolean;
  readonly failure: Failure | undefined;
  readonly requestId: string;
  /** Body bytes, without framing. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Head of the request complete, to the end of the exchange; milliseconds. */
  readonly durationMs: number;
  /** Request given to the upstream, to the head of its response; milliseconds; `undefined` when there was none. */
  readonly upstreamServiceMs: number | undefined;
  /** The last endpoint that was tried. */
  readonly endpoint: Endpoint | undefined;
  /** Endpoints tried, 0 when none was. */
  readonly attempts: number;
  /** `undefined` for what is not gRPC. */
  readonly grpc: GrpcCall | undefined;
}

/** What all exchanges of a process share. */
export interface ExchangeShared {
  readonly limits: Pick<HttpLimits, "viaHops" | "otherEndpoints" | "replayBytes">;
  readonly clock: Clock;
}

/** What stands behind one downstream connection. */
export interface ConnectionServices {
  /** What this hop says of the client. */
  readonly hop: HopHeaders;
  /** Services for requests that come one after another; requests in flight at the same time need one each. */
  requests(): ExchangeServices;
  /** The downstream connection is gone; nothing is called after this. */
  closed(): void;
}

/** What `exchange.ts` asks, in this order for each request. All but `open` answer at once; nothing throws. */
export interface ExchangeServices extends BodyRoom {
  /**
   * A request has come in: choose the snapshot that everything about it will be asked from, and say which fields of
   * the head its routes, policies and log read (compiled once for each snapshot, not once for each request).
   */
  begin(): HeaderSlots;
  /** Why the request that has come in may not be served, whatever it is: its tenant has as many in flight as it may. */
  admit(): Failure | undefined;
  /** The gRPC call that a request by POST is; `undefined` when it is none. */
  grpcCall(head: RequestHead): GrpcCall | undefined;
  /** One canonical spelling of host and path, or `REQUEST_MALFORMED`. */
  canonicalTarget(head: RequestHead): CanonicalTarget | Failure;
  /** Authorization at L7. */
  authorize(head: RequestHead, target: CanonicalTarget): Permit | Denial;
  /** `ROUTE_NOT_FOUND`, `ROUTE_NOT_UNDERSTOOD`, `BACKEND_INVALID` when there is none. */
  route(head: RequestHead, target: CanonicalTarget): RouteChoice | Failure;
  /** The copies of a request that its route makes; asked only of a route that says so. */
  copies(route: RouteChoice, message: RequestMessage, permit: Permit): readonly RequestCopy[];
  /**
   * An endpoint that is none of `tried`, counted as one more request in flight there until `settle`.
   * `NO_HEALTHY_UPSTREAM` when there is none; the answer to a retry that finds none is the failure before it.
   */
  pick(route: RouteChoice, tried: readonly Endpoint[]): Endpoint | Failure;
  /** The request has left `endpoint`: answered whole (`undefined`), or ended by `failure`. Once for each `pick`. */
  settle(endpoint: Endpoint, failure: Failure | undefined): void;
  /** For whom connections are opened: what is held up for one is not waited for by another. */
  readonly opener: object;
  /** A new connection to the application, bounded by its own deadlines; needs the permit of the request it is for. */
  open(endpoint: Endpoint, permit: Permit): Promise<ByteChannel | Failure>;
  /** The exchange is over: log and metrics. Once for each request that had begun, well-formed or not. */
  record(facts: ExchangeFacts): void;
}
