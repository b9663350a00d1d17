// Machine. One request on its way to an application: picks an endpoint, gets a way to it, sends, and tries once more where
// nothing has been acted on yet, or where the route asks for it. It is one thing, the states of a request that is being sent.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Timer } from "@culvert/shared/net/clock.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { mayTryElsewhere } from "@culvert/shared/tunnel/elsewhere.ts";
import type { GrpcCall } from "./grpc/call.ts";
import { NO_BODY } from "./http/body-kind.ts";
import type { HttpVersion, RequestMessage, ResponseHead, ResponseSink, UpstreamRequest } from "./http/message.ts";
import type { Endpoint, ExchangeServices, ExchangeShared, RouteChoice } from "./exchange-services.ts";
import { Replay } from "./replay.ts";
import type { UpstreamConnections } from "./upstream/connections.ts";

/** Who waits for the response; the same events as those of one upstream, for whichever attempt succeeds. */
export interface AttemptsOwner extends Omit<ResponseSink, "onUpstreamFailed"> {
  /** An application takes the request: body may be handed over from now on. */
  onTaken(): void;
  /** The response will not come, or not whole, and nothing more will be tried. */
  onFailed(failure: Failure): void;
}

/** What is sent, and how it may be. */
export interface Sending {
  readonly route: RouteChoice;
  readonly message: RequestMessage;
  readonly permit: Permit;
  readonly version: HttpVersion;
  readonly call: GrpcCall | undefined;
  /** Monotonic milliseconds, of this turn of the event loop. */
  readonly now: number;
}

/** Methods that may be sent again when the connection that they went by turned out to be closed (RFC 9110 section 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** Added at random to the wait before another attempt, so that requests that failed together do not return together. */
const JITTER_MS = 25;

/** See the head of the file. One object serves requests one after another. */
export class Attempts implements ResponseSink {
  /** The last endpoint that was tried. */
  endpoint: Endpoint | undefined = undefined;
  /** Endpoints tried. */
  count = 0;
  /** From the request given to the application to the head of its response; milliseconds. */
  serviceMs: number | undefined = undefined;

  readonly #owner: AttemptsOwner;
  readonly #services: ExchangeServices;
  readonly #shared: ExchangeShared;
  readonly #connections: UpstreamConnections;
  readonly #tried: Endpoint[] = [];
  #sending: Sending | undefined = undefined;
  /** The endpoint that counts this request as in flight. */
  #picked: Endpoint | undefined = undefined;
  #upstream: UpstreamRequest | undefined = undefined;
  #replay: Replay | undefined = undefined;
  #retriesLeft = 0;
  #askedAt = 0;
  #isAnswering = false;
  /** Directions that are open after both sides have switched to another protocol. */
  #openHalves = 0;
  /** The request may go by a fresh connection once more if the kept-alive one was closed. */
  #mayRepeat = false;
  /** It has gone so once more. */
  #repeated = false;
  /** Counts what is waited for, so that a connection that opens too late is not taken for another. */
  #turn = 0;
  #timer: Timer | undefined = undefined;

  constructor(
    owner: AttemptsOwner,
    services: ExchangeServices,
    shared: ExchangeShared,
    connections: UpstreamConnections,
  ) {
    this.#owner = owner;
    this.#services = services;
    this.#shared = shared;
    this.#connections = connections;
  }

  /** Forgets the last request. */
  reset(): void {
    this.endpoint = undefined;
    this.count = 0;
    this.serviceMs = undefined;
    this.#tried.length = 0;
  }

  /** An application takes the request. */
  get takesBody(): boolean {
    return this.#upstream !== undefined;
  }

  /** Sends a request. Ends with `onResponseEnd` or `onFailed`, unless it is stopped. */
  begin(sending: Sending): void {
    const { route, message } = sending;
    this.#sending = sending;
    this.#isAnswering = false;
    this.#openHalves = 0;
    // A route that says how often does not want one more.
    this.#mayRepeat = route.retry === undefined && message.body === NO_BODY && IDEMPOTENT.has(message.method);
    this.#repeated = false;
    this.#retriesLeft = route.retry?.attempts ?? 0;
    if (route.retry !== undefined && message.body !== NO_BODY)
      this.#replay = new Replay(this.#shared.limits.replayBytes, this.#services);
    this.#attempt(undefined);
  }

  data(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.#replay?.keep(bytes, start, end);
    this.#upstream?.data(bytes, start, end, readEnd, lent);
  }

  finish(trailers: string): void {
    this.#replay?.end(trailers);
    this.#upstream?.finish(trailers);
    if (this.#openHalves === 1) {
      this.#upstream?.flush();
      this.#done();
    } else if (this.#openHalves === 2) this.#openHalves = 1;
  }

  /** Writes what was handed over. `false`: wait for `onUpstreamDrain`. */
  flush(): boolean {
    return this.#upstream?.flush() ?? true;
  }

  pause(): void {
    this.#upstream?.pause();
  }

  resume(): void {
    this.#upstream?.resume();
  }

  /** Nobody needs the response any more. */
  stop(failure: Failure): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.abandon(failure);
    this.#settle(failure);
    this.#over();
  }

  onInterim(head: ResponseHead): void {
    this.#owner.onInterim(head);
  }

  onHead(head: ResponseHead): void {
    const retry = this.#sending?.route.retry;
    if (retry?.codes.includes(this.#statusOf(head)) === true && this.#mayRetry()) {
      this.#upstream?.abandon(undefined);
      this.#upstream = undefined;
      this.#settle(undefined);
      this.#retry();
      return;
    }
    this.#isAnswering = true;
    this.#dropReplay();
    this.serviceMs = this.#shared.clock.monotonic() - this.#askedAt;
    // What was switched to has its own idea of time.
    if (head.status === 101) {
      this.#stopTimer();
      this.#openHalves = 2;
    }
    this.#owner.onHead(head);
  }

  /** What counts for a retry: a gRPC call that has failed is answered 200. */
  #statusOf(head: ResponseHead): number {
    return this.#sending?.call?.httpStatus(head) ?? head.status;
  }

  onData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.#owner.onData(bytes, start, end, readEnd, lent);
  }

  onReadEnd(): void {
    this.#owner.onReadEnd();
  }

  onResponseEnd(trailers: string): void {
    // The other half goes on.
    if (this.#openHalves === 2) this.#openHalves = 1;
    else this.#done();
    this.#owner.onResponseEnd(trailers);
  }

  onUpstreamDrain(): void {
    this.#owner.onUpstreamDrain();
  }

  onUpstreamFailed(failure: Failure, answered: boolean): void {
    // What HTTP/2 says not to have taken may be sent again whatever its method.
    const notTaken =
      failure.code === "APP_REFUSED_REQUEST" && this.#sending?.message.body === NO_BODY && !this.#repeated;
    const repeat = !answered && (notTaken || (this.#mayRepeat && this.#upstream?.reused === true));
    this.#upstream = undefined;
    const { endpoint } = this;
    if (repeat && endpoint !== undefined) {
      // The application closed a kept-alive connection while the request was on its way: the endpoint is as good as before.
      this.#mayRepeat = false;
      this.#repeated = true;
      this.#open(endpoint);
      return;
    }
    this.#settle(failure);
    this.#failed(failure);
  }

  /** Sends the request to an endpoint that was not tried yet; `before` is how the last attempt failed. */
  #attempt(before: Failure | undefined): void {
    const sending = this.#sending;
    if (sending === undefined) return;
    let endpoint = this.#services.pick(sending.route, this.#tried);
    if (isFailure(endpoint) && before === undefined && this.#tried.length > 0) {
      // For a retry the endpoints that have failed are better than none.
      this.#tried.length = 0;
      endpoint = this.#services.pick(sending.route, this.#tried);
    }
    if (isFailure(endpoint)) return before === undefined ? this.#fail(endpoint) : this.#failed(before);
    this.#picked = endpoint;
    this.#tried.push(endpoint);
    this.count += 1;
    this.endpoint = endpoint;
    const { attemptTimeoutMs } = sending.route;
    if (attemptTimeoutMs > 0) this.#startTimer(attemptTimeoutMs, () => this.#timeOut());
    const upstream = this.#connections.take(wayTo(endpoint, sending.message), sending.version);
    if (upstream === undefined) return this.#open(endpoint);
    return this.#ask(upstream, before === undefined ? sending.now : this.#shared.clock.monotonic());
  }

  #open(endpoint: Endpoint): void {
    const sending = this.#sending;
    if (sending === undefined) return;
    const turn = (this.#turn += 1);
    const { permit, version, message } = sending;
    const way = wayTo(endpoint, message);
    void this.#connections
      .open(way, version, this.#services.opener, () => this.#services.open(way, permit))
      .then((upstream) => this.#opened(turn, upstream));
  }

  #opened(turn: number, upstream: UpstreamRequest | Failure): void {
    const wanted = turn === this.#turn;
    if (isFailure(upstream)) {
      if (wanted) this.#notTaken(upstream);
    } else if (wanted) this.#ask(upstream, this.#shared.clock.monotonic());
    else upstream.giveBack();
  }

  /** No byte of the request has left: another endpoint may have it, unless the failure says that none should. */
  #notTaken(failure: Failure): void {
    this.#settle(failure);
    const elsewhere = mayTryElsewhere(failure) && this.#tried.length <= this.#shared.limits.otherEndpoints;
    return elsewhere ? this.#attempt(failure) : this.#failed(failure);
  }

  #ask(upstream: UpstreamRequest, now: number): void {
    const sending = this.#sending;
    if (sending === undefined) return;
    this.#upstream = upstream;
    this.#askedAt = now;
    const { call, message } = sending;
    upstream.start(this, call === undefined ? message : call.within(message, now));
    if (message.body === NO_BODY) {
      // What is switched to is ended by the client.
      if (message.upgrade === undefined) upstream.finish("");
      upstream.flush();
    } else if (this.#replay?.sendTo(upstream) === true) upstream.flush();
    else this.#owner.onTaken();
  }

  /** An endpoint had the request, or none could be had: once more if the route asks for that. */
  #failed(failure: Failure): void {
    if (!this.#isAnswering && this.#mayRetry()) return this.#retry();
    return this.#fail(failure);
  }

  #fail(failure: Failure): void {
    this.#over();
    this.#owner.onFailed(failure);
  }

  #mayRetry(): boolean {
    return this.#retriesLeft > 0 && this.#replay?.isWhole !== false;
  }

  #retry(): void {
    const sending = this.#sending;
    if (sending === undefined) return;
    this.#retriesLeft -= 1;
    const wait = (sending.route.retry?.backoffMs ?? 0) + Math.random() * JITTER_MS;
    this.#startTimer(wait, () => this.#attempt(undefined));
  }

  #timeOut(): void {
    const failure = fail("UPSTREAM_TIMEOUT", `no response from ${this.endpoint?.address ?? "an endpoint"}`);
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#turn += 1;
    upstream?.abandon(failure);
    this.#settle(failure);
    this.#failed(failure);
  }

  #done(): void {
    this.#upstream = undefined;
    this.#settle(undefined);
    this.#over();
  }

  /** Tells the balancer that the endpoint in use has one request less. */
  #settle(failure: Failure | undefined): void {
    const picked = this.#picked;
    this.#picked = undefined;
    if (picked !== undefined) this.#services.settle(picked, failure);
  }

  #over(): void {
    this.#turn += 1;
    this.#stopTimer();
    this.#sending = undefined;
    this.#dropReplay();
  }

  #dropReplay(): void {
    this.#replay?.drop();
    this.#replay = undefined;
  }

  /** Of this attempt, or until the next one. */
  #startTimer(ms: number, expired: () => void): void {
    this.#stopTimer();
    this.#timer = this.#shared.clock.after(ms, expired);
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

/**
 * The endpoint as this request goes to it. An upgrade belongs to HTTP/1.1: of the applications that agree on HTTP/2 inside TLS few
 * take an extended CONNECT there, and all of them the upgrade.
 */
function wayTo(endpoint: Endpoint, { upgrade }: RequestMessage): Endpoint {
  return upgrade === undefined || endpoint.speaks !== "alpn" ? endpoint : { ...endpoint, speaks: "http1" };
}
