// Machine. One HTTP request through the waypoint, in order: canonical, strip, authorize, route, set, attempts, and the response
// back; then one line for log and metrics. It knows no version of HTTP: the connections on both sides do. One object serves the
// requests of one connection of HTTP/1.1 in turn, or one stream of HTTP/2. It is one thing, the states of a request in flight.
import { randomUUID } from "node:crypto";
import { type Failure, fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Timer } from "@culvert/shared/net/clock.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { Attempts, type AttemptsOwner } from "./attempts.ts";
import type {
  ConnectionServices,
  Endpoint,
  ExchangeFacts,
  ExchangeServices,
  ExchangeShared,
  RequestCopy,
  RouteChoice,
} from "./exchange-services.ts";
import type { GrpcCall } from "./grpc/call.ts";
import type { HopHeaders } from "./hop-headers.ts";
import type { HttpVersion, RequestHead, RequestDraft, RequestMessage, ResponseHead } from "./http/message.ts";
import { failureAnswer, type LocalAnswer } from "./local-answer.ts";
import { countHop, LAST_HOP_ANSWER } from "./max-forwards.ts";
import type { UpstreamConnections } from "./upstream/connections.ts";

/** The connection or stream that the request came by, as the exchange sees it. */
export interface ExchangeClient {
  /** An application takes the request: body may be handed over from now on. */
  proceed(): void;
  /** Holds the request body back, or lets it come again. */
  holdBody(hold: boolean): void;
  sendInterim(head: ResponseHead): void;
  /** `fields` are the lines to send, in place of the head's own. */
  sendHead(head: ResponseHead, fields: string): void;
  sendData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void;
  sendEnd(trailers: string): void;
  /** An answer of our own, instead of a response of which nothing was sent yet. */
  sendLocal(answer: LocalAnswer): void;
  /** Writes what was sent; `false`: the client does not take it as fast, `clientDrained` will follow. */
  flush(): boolean;
  /** The response can not be finished: what was sent must not look whole. */
  cut(failure: Failure): void;
  /** The exchange is over: the next request may come. */
  finished(): void;
}

const NONE = 0;
/** The request is decided on, or waits, or is with an application; no final response head yet. */
const ASKING = 1;
/** The response is on its way to the client. */
const ANSWERING = 2;

type Phase = typeof NONE | typeof ASKING | typeof ANSWERING;

const NO_COPIES: readonly RequestCopy[] = [];

/** See the head of the file. Its public fields are the facts of the request in flight. */
export class Exchange implements AttemptsOwner, ExchangeFacts {
  method = "";
  path = "";
  authority = "";
  version: HttpVersion = "HTTP/1.1";
  status = 0;
  local = false;
  failure: Failure | undefined = undefined;
  requestId = "";
  bytesReceived = 0;
  bytesSent = 0;
  durationMs = 0;
  grpc: GrpcCall | undefined = undefined;

  readonly #client: ExchangeClient;
  readonly #services: ExchangeServices;
  readonly #shared: ExchangeShared;
  readonly #attempts: Attempts;
  readonly #hop: HopHeaders;
  #phase: Phase = NONE;
  #startedAt = 0;
  #route: RouteChoice | undefined = undefined;
  #copies: readonly RequestCopy[] = NO_COPIES;
  #timer: Timer | undefined = undefined;

  constructor(
    client: ExchangeClient,
    services: ConnectionServices,
    shared: ExchangeShared,
    connections: UpstreamConnections,
  ) {
    this.#client = client;
    this.#services = services.requests();
    this.#shared = shared;
    this.#attempts = new Attempts(this, this.#services, shared, connections);
    this.#hop = services.hop;
  }

  get endpoint(): Endpoint | undefined {
    return this.#attempts.endpoint;
  }

  get attempts(): number {
    return this.#attempts.count;
  }

  get upstreamServiceMs(): number | undefined {
    return this.#attempts.serviceMs;
  }

  /** A request is in flight. */
  get active(): boolean {
    return this.#phase !== NONE;
  }

  /** An application takes request body. */
  get takesBody(): boolean {
    return this.#attempts.takesBody;
  }

  /** Begins with a whole, well-formed head; ends, now or later, with `finished` or `cut`. */
  begin(head: RequestHead): void {
    this.#reset(head);
    const services = this.#services;
    head.fill(services.begin());
    if (head.method === "POST") this.grpc = services.grpcCall(head);
    // Also for a request that is refused: its caller may ask after it by this id.
    this.requestId = this.#hop.knowsPeer ? head.requestId() : "";
    const over = services.admit();
    if (over !== undefined) return this.#refuse(over);
    const target = services.canonicalTarget(head);
    if (isFailure(target)) return this.#refuse(target);
    this.path = target.query === "" ? target.path : target.path + target.query;
    this.authority = target.host;
    const via = head.via();
    const loop = this.#hop.loop(via, this.#shared.limits.viaHops);
    if (loop !== undefined) return this.#refuse(fail("LOOP_DETECTED", loop));
    const verdict = services.authorize(head, target);
    if (!verdict.allowed) return this.#refuse(verdict.failure);
    const route = services.route(head, target);
    if (isFailure(route)) return this.#refuse(route);
    this.#route = route;
    const message = this.#compose(head, route, via);
    if (message.method === "OPTIONS" && !countHop(message)) return this.#answer(LAST_HOP_ANSWER, route);
    if (route.delayMs === 0) return this.#carry(route, message, verdict);
    this.#timer = this.#shared.clock.after(route.delayMs, () => this.#carry(route, message, verdict));
    return undefined;
  }

  /** Answers bytes that are no request that can be served. `head` is what could be read of it. */
  reject(failure: Failure, head: RequestHead | undefined): void {
    this.#reset(head);
    // A head of HTTP/2 can be read to its end, whatever is wrong with it.
    if (head?.version === "HTTP/2" && head.method === "POST") {
      head.fill(this.#services.begin());
      this.grpc = this.#services.grpcCall(head);
    }
    this.#refuse(failure);
  }

  requestData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.bytesReceived += end - start;
    const web = this.grpc?.web;
    if (web?.takesBytes === false) return this.#decoded(web.decode(bytes, start, end));
    for (const copy of this.#copies) copy.data(bytes, start, end);
    return this.#attempts.data(bytes, start, end, readEnd, lent);
  }

  requestEnd(trailers: string): void {
    const failure = this.grpc?.web?.end();
    if (failure !== undefined) return this.breakOff(failure);
    for (const copy of this.#copies) copy.finish(trailers);
    this.#attempts.finish(trailers);
    if (this.status === 101 && !this.#attempts.takesBody) this.#finish();
  }

  /** Writes the head and what of the body was handed over since. */
  requestFlush(): void {
    if (!this.#attempts.flush()) this.#client.holdBody(true);
  }

  /** The client takes the response again. */
  clientDrained(): void {
    this.#attempts.resume();
  }

  /** The client is gone, or broke the request off: nobody needs the response. */
  clientGone(failure: Failure): void {
    if (this.#phase === NONE) return;
    this.#attempts.stop(failure);
    this.#end(failure);
  }

  /** The rest of the request is malformed: the upstream must not take what it has for the whole. */
  breakOff(failure: Failure): void {
    if (this.#phase === NONE) return;
    this.#attempts.stop(failure);
    this.onFailed(failure);
  }

  /** Too long without progress, or without a response. */
  timeOut(): void {
    if (this.#phase === NONE) return;
    const what = this.#phase === ANSWERING ? "response not whole" : "no response";
    this.breakOff(fail("UPSTREAM_TIMEOUT", `${what} from ${this.endpoint?.address ?? "an endpoint"}`));
  }

  onTaken(): void {
    this.#client.proceed();
  }

  onInterim(head: ResponseHead): void {
    this.#client.sendInterim(head);
  }

  onHead(head: ResponseHead): void {
    this.#phase = ANSWERING;
    this.status = head.status;
    // What was switched to has its own idea of time.
    if (head.status === 101) this.#stopTimer();
    const call = this.grpc;
    const shown = call?.web === undefined ? head : call.web.responseHead(head);
    const fields = shown.keptFields();
    call?.begun(fields, head.body);
    const edits = this.#route?.edits;
    this.#client.sendHead(shown, edits === undefined ? fields : edits.response(head.status, fields, this.endpoint));
  }

  onData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    const web = this.grpc?.web;
    if (web?.givesBytes === false) return this.#sendOwn(web.encode(bytes, start, end));
    this.bytesSent += end - start;
    return this.#client.sendData(bytes, start, end, readEnd, lent);
  }

  onReadEnd(): void {
    if (!this.#client.flush()) this.#attempts.pause();
  }

  onResponseEnd(trailers: string): void {
    const call = this.grpc;
    call?.ended(trailers);
    const last = call?.web?.trailers(trailers);
    if (last !== undefined) this.#sendOwn(last);
    this.#client.sendEnd(last === undefined ? trailers : "");
    this.#client.flush();
    // After a switch of protocols the client may still have something to say.
    if (this.status !== 101 || !this.#attempts.takesBody) this.#finish();
  }

  onUpstreamDrain(): void {
    this.#client.holdBody(false);
  }

  /** A local answer if nothing was sent yet, else the response is cut. */
  onFailed(cause: Failure): void {
    const failure = this.grpc === undefined ? cause : this.grpc.reason(cause, this.#shared.clock.monotonic());
    if (this.#phase !== ANSWERING) return this.#refuse(failure);
    this.#end(failure);
    return this.#client.cut(failure);
  }

  #reset(head: RequestHead | undefined): void {
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
    this.grpc = undefined;
    this.#attempts.reset();
    this.#startedAt = this.#shared.clock.monotonic();
    this.#phase = ASKING;
  }

  /** The request as it goes on: what came, what this hop says, what the route changes of it. */
  #compose(head: RequestHead, route: RouteChoice, via: string): RequestDraft & RequestMessage {
    if (this.requestId === "") this.requestId = randomUUID();
    const inserted = this.#hop.insert(head.forwardedFor(), via, this.requestId);
    const message = {
      method: head.method,
      path: this.path,
      authority: this.authority,
      fields: head.keptFields() + inserted,
      body: head.body,
      takesTrailers: head.takesTrailers,
      upgrade: head.upgrade,
    };
    this.grpc?.web?.request(message);
    route.edits?.request(message);
    return message;
  }

  /** To an application, or to the answer that the route gives itself. */
  #carry(route: RouteChoice, message: RequestMessage, permit: Permit): void {
    this.#stopTimer();
    if (route.answer !== undefined) return this.#answer(route.answer, route);
    const { clock } = this.#shared;
    const call = this.grpc;
    const timeoutMs = call === undefined ? route.timeoutMs : call.bound(route.timeoutMs, this.#startedAt);
    if (timeoutMs > 0) {
      const spent = route.delayMs === 0 ? 0 : clock.monotonic() - this.#startedAt;
      this.#timer = clock.after(Math.max(timeoutMs - spent, 0), () => this.timeOut());
    }
    if (route.mirrored && message.upgrade === undefined) this.#copies = this.#services.copies(route, message, permit);
    const now = route.delayMs === 0 ? this.#startedAt : clock.monotonic();
    return this.#attempts.begin({ route, message, permit, version: this.version, call, now });
  }

  /** Request bytes in another form than they came in. */
  #decoded(bytes: Buffer | Failure): void {
    if (isFailure(bytes)) return this.breakOff(bytes);
    for (const copy of this.#copies) copy.data(bytes, 0, bytes.length);
    return this.#attempts.data(bytes, 0, bytes.length, bytes.length, false);
  }

  /** Response bytes that did not come so from the application. */
  #sendOwn(bytes: Buffer): void {
    this.bytesSent += bytes.length;
    this.#client.sendData(bytes, 0, bytes.length, bytes.length, false);
  }

  /** What a route changes of responses it changes of failures too: a script needs leave to read them as well. */
  #refuse(failure: Failure): void {
    this.#answer(failureAnswer(failure), this.#route);
  }

  #answer(plain: LocalAnswer, route: RouteChoice | undefined): void {
    const answer = this.grpc === undefined ? plain : this.grpc.answer(plain);
    const edits = route?.edits;
    const fields = edits === undefined ? answer.fields : edits.response(answer.status, answer.fields, undefined);
    this.local = true;
    this.status = answer.status;
    this.bytesSent = this.method === "HEAD" ? 0 : answer.body.length;
    this.#client.sendLocal({ ...answer, fields });
    this.#client.flush();
    this.#end(answer.failure);
    this.#client.finished();
  }

  #finish(): void {
    this.#end(undefined);
    this.#client.finished();
  }

  #end(failure: Failure | undefined): void {
    this.#phase = NONE;
    this.#stopTimer();
    for (const copy of this.#copies) copy.over();
    this.#copies = NO_COPIES;
    this.#route = undefined;
    this.failure = failure;
    this.durationMs = this.#shared.clock.monotonic() - this.#startedAt;
    this.#services.record(this);
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
