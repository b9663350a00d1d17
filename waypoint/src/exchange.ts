// Machine. One HTTP request through the waypoint, in order: canonical, strip, authorize, route, balance, set, upstream, and its
// response back; then one line for log and metrics. One object for each downstream connection serves its requests in turn. It is
// one thing, the states of a request in flight, so that what may still happen to one is seen in one place.
import { randomUUID } from "node:crypto";
import { type Failure, fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Timer } from "@culvert/shared/net/clock.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { mayTryElsewhere } from "@culvert/shared/tunnel/elsewhere.ts";
import type { ByteChannel } from "./channel/channel.ts";
import type { CanonicalTarget, Endpoint, ExchangeFacts, ExchangeServices, RouteChoice } from "./exchange-services.ts";
import { HopHeaders } from "./hop-headers.ts";
import { localBody } from "./local-reply.ts";
import { CHUNKED, NO_BODY, type BodyKind } from "./http1/parse/framing.ts";
import type { RequestHeadReader } from "./http1/parse/request-head.ts";
import type { ResponseHeadReader } from "./http1/parse/response-head.ts";
import type { Http1Shared } from "./http1/shared-state.ts";
import type { UpstreamPool } from "./http1/upstream-pool.ts";
import type { Http1Upstream, ResponseSink } from "./http1/upstream.ts";

/** The connection that the request came by, as the exchange sees it. */
export interface ExchangeClient {
  /** The upstream is open: request body may be handed over from now on. */
  proceed(): void;
  /** Holds the request body back, or lets it come again. */
  holdBody(hold: boolean): void;
  sendInterim(head: ResponseHeadReader): void;
  sendHead(head: ResponseHeadReader): void;
  sendData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void;
  sendEnd(trailers: string): void;
  /** An answer of our own, instead of a response of which nothing was sent yet. Returns its status. */
  sendLocal(failure: Failure): number;
  /** Writes what was sent; `false`: the client does not take it as fast, `clientDrained` will follow. */
  flush(): boolean;
  /** The response can not be finished: what was sent must not look whole. */
  cut(failure: Failure): void;
  /** The exchange is over: the next request may come. */
  finished(): void;
}

/** Methods that may be sent again when the connection that they went by turned out to be closed (RFC 9110 section 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

const NONE = 0;
/** Waiting for a connection to an endpoint. */
const OPENING = 1;
/** The request is with an upstream; no final response head yet. */
const ASKED = 2;
/** The response is on its way to the client. */
const ANSWERING = 3;

type Phase = typeof NONE | typeof OPENING | typeof ASKED | typeof ANSWERING;

/** See the head of the file. Its public fields are the facts of the request in flight. */
export class Exchange implements ResponseSink, ExchangeFacts {
  method = "";
  path = "";
  authority = "";
  version: "HTTP/1.1" | "HTTP/1.0" = "HTTP/1.1";
  status = 0;
  local = false;
  failure: Failure | undefined = undefined;
  requestId = "";
  bytesReceived = 0;
  bytesSent = 0;
  durationMs = 0;
  upstreamServiceMs: number | undefined = undefined;
  endpoint: Endpoint | undefined = undefined;
  attempts = 0;

  readonly #client: ExchangeClient;
  readonly #services: ExchangeServices;
  readonly #shared: Http1Shared;
  readonly #pool: UpstreamPool;
  readonly #hop: HopHeaders;
  readonly #tried: Endpoint[] = [];
  #phase: Phase = NONE;
  /** Counts exchanges and attempts, so that a connection that opens too late is not taken for the one that is waited for. */
  #turn = 0;
  #startedAt = 0;
  #askedAt = 0;
  #head = "";
  #body: BodyKind = NO_BODY;
  #permit: Permit | undefined = undefined;
  #route: RouteChoice | undefined = undefined;
  #upstream: Http1Upstream | undefined = undefined;
  #timer: Timer | undefined = undefined;
  /** The request may go to a fresh connection once more if the kept-alive one was closed. */
  #mayRepeat = false;

  constructor(client: ExchangeClient, services: ExchangeServices, shared: Http1Shared, pool: UpstreamPool) {
    this.#client = client;
    this.#services = services;
    this.#shared = shared;
    this.#pool = pool;
    this.#hop = new HopHeaders(services.peer);
  }

  /** A request is in flight. */
  get active(): boolean {
    return this.#phase !== NONE;
  }

  /** The upstream takes request body. */
  get takesBody(): boolean {
    return this.#upstream !== undefined;
  }

  /** Begins with a whole, well-formed head; ends, now or later, with `finished` or `cut`. */
  begin(head: RequestHeadReader): void {
    this.#reset(head);
    const services = this.#services;
    head.fill(services.begin());
    // Also for a request that is refused: its caller may ask after it by this id.
    this.requestId = services.peer.id === undefined ? "" : head.requestId();
    const target = services.canonicalTarget(head);
    if (isFailure(target)) return this.#refuse(target);
    this.path = target.query === "" ? target.path : target.path + target.query;
    this.authority = target.host;
    const via = head.via();
    const loop = this.#hop.loop(via, this.#shared.limits.viaHops);
    if (loop !== undefined) return this.#refuse(fail("LOOP_DETECTED", loop));
    const verdict = services.authorize(head, target);
    if (!verdict.allowed) return this.#refuse(verdict.failure);
    this.#permit = verdict;
    const route = services.route(head, target);
    if (isFailure(route)) return this.#refuse(route);
    this.#route = route;
    this.#body = head.body;
    this.#head = this.#compose(head, target, via);
    this.#mayRepeat = head.body === NO_BODY && IDEMPOTENT.has(head.method);
    if (route.timeoutMs > 0) this.#timer = this.#shared.clock.after(route.timeoutMs, () => this.timeOut());
    return this.#attempt(undefined);
  }

  /** Answers bytes that are no request that can be served. `head` is what could be read of it. */
  reject(failure: Failure, head: RequestHeadReader | undefined): void {
    this.#reset(head);
    this.#refuse(failure);
  }

  requestData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.bytesReceived += end - start;
    this.#upstream?.data(bytes, start, end, readEnd, lent);
  }

  requestEnd(trailers: string): void {
    this.#upstream?.finish(trailers);
  }

  /** Writes the head and what of the body was handed over since. */
  requestFlush(): void {
    if (this.#upstream?.flush() === false) this.#client.holdBody(true);
  }

  /** The client takes the response again. */
  clientDrained(): void {
    this.#upstream?.resume();
  }

  /** The client is gone, or broke the request off: nobody needs the response. */
  clientGone(failure: Failure): void {
    if (this.#phase === NONE) return;
    this.#dropUpstream(failure);
    this.#end(failure);
  }

  /** The rest of the request is malformed: the upstream must not take what it has for the whole. */
  breakOff(failure: Failure): void {
    if (this.#phase === NONE) return;
    this.#dropUpstream(failure);
    this.#giveUp(failure);
  }

  /** Too long without progress, or without a response. */
  timeOut(): void {
    if (this.#phase === NONE) return;
    const answering = this.#phase === ANSWERING;
    const what = answering ? "response stalled" : "no response";
    this.breakOff(fail("UPSTREAM_TIMEOUT", `${what} from ${this.endpoint?.address ?? "an endpoint"}`));
  }

  onInterim(head: ResponseHeadReader): void {
    this.#client.sendInterim(head);
  }

  onHead(head: ResponseHeadReader): void {
    this.#phase = ANSWERING;
    this.#timer?.cancel();
    this.status = head.status;
    this.upstreamServiceMs = this.#shared.clock.monotonic() - this.#askedAt;
    this.#client.sendHead(head);
  }

  onData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.bytesSent += end - start;
    this.#client.sendData(bytes, start, end, readEnd, lent);
  }

  onReadEnd(): void {
    if (!this.#client.flush()) this.#upstream?.pause();
  }

  onResponseEnd(trailers: string): void {
    this.#upstream = undefined;
    this.#client.sendEnd(trailers);
    this.#client.flush();
    this.#settle(undefined);
    this.#end(undefined);
    this.#client.finished();
  }

  onUpstreamDrain(): void {
    this.#client.holdBody(false);
  }

  onUpstreamFailed(failure: Failure, answered: boolean): void {
    const repeat = this.#mayRepeat && !answered && this.#upstream?.reused === true;
    this.#upstream = undefined;
    const { endpoint } = this;
    if (repeat && endpoint !== undefined) {
      // The application closed a kept-alive connection while the request was on its way: the endpoint is as good as before.
      this.#mayRepeat = false;
      this.#open(endpoint, failure);
      return;
    }
    this.#settle(failure);
    this.#giveUp(failure);
  }

  #reset(head: RequestHeadReader | undefined): void {
    this.method = head?.method ?? "";
    this.path = head?.target ?? "";
    this.authority = head?.authority ?? "";
    this.version = head?.version ?? "HTTP/1.1";
    this.status = 0;
    this.local = false;
    this.failure = undefined;
    this.requestId = "";
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.durationMs = 0;
    this.upstreamServiceMs = undefined;
    this.endpoint = undefined;
    this.attempts = 0;
    this.#tried.length = 0;
    this.#turn += 1;
    this.#startedAt = this.#shared.clock.monotonic();
    this.#phase = OPENING;
  }

  /** The whole head for the upstream: our request line and Host, what goes on as it came, what this hop says, the framing. */
  #compose(head: RequestHeadReader, target: CanonicalTarget, via: string): string {
    if (this.requestId === "") this.requestId = randomUUID();
    const inserted = this.#hop.insert(head.forwardedFor(), via, this.requestId);
    const te = head.takesTrailers ? "te: trailers\r\nconnection: te\r\n" : "";
    const framing = head.body === CHUNKED ? "transfer-encoding: chunked\r\n" : "";
    return (
      `${head.method} ${this.path} HTTP/1.1\r\nhost: ${target.host}\r\n` +
      `${head.keptFields()}${inserted}${te}${framing}\r\n`
    );
  }

  /** Sends the request to an endpoint that was not tried yet; `before` is how the last attempt failed. */
  #attempt(before: Failure | undefined): void {
    const route = this.#route;
    if (route === undefined) return;
    const endpoint = this.#services.pick(route, this.#tried);
    if (isFailure(endpoint)) return this.#refuse(before ?? endpoint);
    this.#tried.push(endpoint);
    this.attempts += 1;
    this.endpoint = endpoint;
    const connection = this.#pool.take(endpoint.key);
    if (connection === undefined) return this.#open(endpoint, before);
    return this.#ask(connection, before === undefined);
  }

  #open(endpoint: Endpoint, before: Failure | undefined): void {
    this.#phase = OPENING;
    const permit = this.#permit;
    if (permit === undefined) return;
    if (!this.#pool.reserve(endpoint.key)) {
      this.#notTaken(before ?? fail("TOO_MANY_CONNECTIONS", `to ${endpoint.address}`));
      return;
    }
    const turn = (this.#turn += 1);
    this.#services.open(endpoint, permit).then(
      (channel) => this.#opened(turn, endpoint, channel),
      (error: unknown) => this.#opened(turn, endpoint, fail("INTERNAL", String(error))),
    );
  }

  #opened(turn: number, endpoint: Endpoint, channel: ByteChannel | Failure): void {
    const wanted = turn === this.#turn && this.#phase === OPENING;
    if (isFailure(channel)) {
      this.#pool.cancel(endpoint.key);
      if (wanted) this.#notTaken(channel);
      return;
    }
    const connection = this.#pool.adopt(endpoint.key, channel);
    if (!connection.idle) {
      if (wanted) this.#notTaken(fail("APP_UNREACHABLE", `${endpoint.address} ended the connection at once`));
    } else if (wanted) this.#ask(connection, false);
    else this.#pool.release(connection);
  }

  /** No byte of the request has left: another endpoint may have it, unless the failure says that none should. */
  #notTaken(failure: Failure): void {
    this.#settle(failure);
    if (!mayTryElsewhere(failure) || this.#tried.length > this.#shared.limits.otherEndpoints)
      return this.#refuse(failure);
    return this.#attempt(failure);
  }

  #ask(connection: Http1Upstream, sameTurn: boolean): void {
    this.#phase = ASKED;
    this.#upstream = connection;
    this.#askedAt = sameTurn ? this.#startedAt : this.#shared.clock.monotonic();
    connection.start(this, this.#head, this.method === "HEAD", this.#body);
    if (this.#body === NO_BODY) {
      connection.finish("");
      connection.flush();
    } else {
      this.#client.proceed();
    }
  }

  #dropUpstream(failure: Failure): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.abandon(failure);
    this.#settle(failure);
  }

  /** Tells the balancer that the endpoint in use has one request less. */
  #settle(failure: Failure | undefined): void {
    const { endpoint } = this;
    if (endpoint !== undefined && this.#phase !== NONE) this.#services.settle(endpoint, failure);
  }

  /** The failure of a request that an endpoint had: a local answer if nothing was sent yet, else the response is cut. */
  #giveUp(failure: Failure): void {
    if (this.#phase !== ANSWERING) return this.#refuse(failure);
    this.#end(failure);
    return this.#client.cut(failure);
  }

  #refuse(failure: Failure): void {
    this.local = true;
    this.status = this.#client.sendLocal(failure);
    this.bytesSent = this.method === "HEAD" ? 0 : localBody(failure).length;
    this.#client.flush();
    this.#end(failure);
    this.#client.finished();
  }

  #end(failure: Failure | undefined): void {
    this.#phase = NONE;
    this.#turn += 1;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#head = "";
    this.#permit = undefined;
    this.#route = undefined;
    this.failure = failure;
    this.durationMs = this.#shared.clock.monotonic() - this.#startedAt;
    this.#services.record(this);
  }
}
