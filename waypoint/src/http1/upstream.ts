// Machine. One HTTP/1.1 connection to an application: writes one request at a time, reads its responses, and decides whether
// the connection may serve again. It never does after anything out of order.
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "../channel/channel.ts";
import { Outgoing } from "../channel/outgoing.ts";
import { Stash } from "../channel/stash.ts";
import { type Due, NEVER } from "../deadlines.ts";
import { CHUNKED, UNTIL_CLOSE } from "../http/body-kind.ts";
import type { RequestMessage, ResponseSink, UpstreamRequest } from "../http/message.ts";
import { BROKEN, BodyDecoder, DATA, DONE } from "./parse/body.ts";
import type { ResponseHeadReader } from "./parse/response-head.ts";
import { BAD, INCOMPLETE } from "./parse/scan.ts";
import type { Http1Shared } from "./shared-state.ts";
import { SwitchRequest } from "./switching.ts";

/** Where the connection goes when it is free, and who is told when it is gone. */
export interface UpstreamHome {
  release(connection: Http1Upstream): void;
  remove(connection: Http1Upstream): void;
}

const IDLE = 0;
const HEAD = 1;
const BODY = 2;
/** Ended in order by us; the other side has a moment to do the same. */
const ENDING = 3;
const GONE = 4;
/** The application has ended what both sides have switched to, and the client has not. */
const HALF = 5;

type State = typeof IDLE | typeof HEAD | typeof BODY | typeof ENDING | typeof GONE | typeof HALF;

/** See the head of the file. */
export class Http1Upstream implements ByteSink, Due, UpstreamRequest {
  dueAt = NEVER;
  /** Key of the pool that it belongs to. */
  readonly key: string;
  reused = false;
  readonly #channel: ByteChannel;
  readonly #home: UpstreamHome;
  readonly #shared: Http1Shared;
  readonly #out: Outgoing;
  readonly #decoder: BodyDecoder;
  readonly #stash: Stash;
  #state: State = IDLE;
  #sink: ResponseSink | undefined = undefined;
  #toHead = false;
  #chunked = false;
  #requestDone = false;
  #answered = false;
  #interims = 0;
  #keepAlive = false;
  #paused = false;
  /** Another protocol was asked for. */
  #upgrade: SwitchRequest | undefined = undefined;
  /** Both sides speak another protocol. */
  #switched = false;

  constructor(channel: ByteChannel, key: string, home: UpstreamHome, shared: Http1Shared) {
    this.#channel = channel;
    this.key = key;
    this.#home = home;
    this.#shared = shared;
    this.#out = new Outgoing(channel);
    this.#decoder = new BodyDecoder(shared.limits);
    this.#stash = new Stash(shared.limits.stashBytes);
    this.dueAt = shared.deadlines.in(shared.limits.upstreamIdleMs);
    shared.deadlines.add(this);
    channel.attach(this);
  }

  get idle(): boolean {
    return this.#state === IDLE;
  }

  start(sink: ResponseSink, message: RequestMessage): void {
    this.#sink = sink;
    this.#state = HEAD;
    this.#toHead = message.method === "HEAD";
    this.#chunked = message.body === CHUNKED;
    this.#requestDone = false;
    this.#answered = false;
    this.#interims = 0;
    this.dueAt = NEVER;
    const { upgrade } = message;
    this.#upgrade = upgrade === undefined ? undefined : new SwitchRequest(upgrade, message.fields);
    const te = message.takesTrailers ? "te: trailers\r\nconnection: te\r\n" : "";
    const hop = this.#upgrade?.lines ?? te;
    const framing = this.#chunked ? "transfer-encoding: chunked\r\n" : "";
    this.#out.text(
      `${message.method} ${message.path} HTTP/1.1\r\nhost: ${message.authority}\r\n${message.fields}${hop}${framing}\r\n`,
    );
  }

  data(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    if (this.#chunked) this.#out.text(`${(end - start).toString(16)}\r\n`);
    this.#out.bytes(bytes, start, end, readEnd, lent);
    if (this.#chunked) this.#out.text("\r\n");
  }

  finish(trailers: string): void {
    if (this.#chunked) this.#out.text(`0\r\n${trailers}\r\n`);
    this.#requestDone = true;
    if (this.#switched) this.#endSwitched();
  }

  flush(): boolean {
    return this.#out.flush();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#channel.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#channel.resume();
  }

  giveBack(): void {
    this.#home.release(this);
  }

  abandon(failure: Failure | undefined): void {
    this.#sink = undefined;
    this.#discard(failure);
  }

  /** Ends an idle connection in order. */
  retire(): void {
    this.#home.remove(this);
    this.#state = ENDING;
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.lingerMs);
    this.#channel.end();
  }

  onBytes(chunk: Buffer, lent: boolean): void {
    // Bytes that nobody asked for: whoever gets them next would take them for his own response.
    if (this.#state === IDLE) return this.#discard(undefined);
    if (this.#state === GONE || this.#state === ENDING) return undefined;
    this.#answered = true;
    if (this.#stash.length === 0) return this.#read(chunk, 0, chunk.length, lent);
    if (!this.#stash.append(chunk, 0, chunk.length)) return this.#broken("response head over its limit");
    if (!this.#stash.worthScanning) return undefined;
    const { bytes, start, end } = this.#stash;
    return this.#read(bytes, start, end, false);
  }

  onEnd(): void {
    switch (this.#state) {
      case IDLE:
        return this.retire();
      case HEAD:
      case BODY:
        if (this.#switched) return this.#appEnded();
        if (this.#state === BODY && this.#decoder.endsWithConnection) return this.#complete(false);
        return this.#failed(fail("UPSTREAM_RESPONSE_TRUNCATED", "the connection ended"), undefined);
      default:
        return undefined;
    }
  }

  onDrain(): void {
    this.#out.drained();
    this.#sink?.onUpstreamDrain();
  }

  onClose(failure: Failure | undefined): void {
    const state = this.#state;
    this.#forget();
    if (state === HEAD || state === BODY || state === HALF) {
      this.#tell(failure ?? fail("UPSTREAM_RESPONSE_TRUNCATED", "the connection closed"));
    }
  }

  onDue(): void {
    if (this.#state === IDLE) this.retire();
    else this.#discard(undefined);
  }

  /** Goes through the bytes of one read, or of a half head with what was missing. */
  #read(bytes: Buffer, from: number, end: number, lent: boolean): void {
    let position = from;
    while (this.#state === HEAD) {
      if (position === end) return this.#pauseReading(bytes, position, end);
      const next = this.#readHead(bytes, position, end);
      if (next < 0) return undefined;
      position = next;
    }
    const sink = this.#sink;
    if (sink === undefined) return undefined;
    while (this.#state === BODY) {
      const status = this.#decoder.next(bytes, position, end);
      position = this.#decoder.position;
      if (status === DATA) sink.onData(bytes, this.#decoder.dataStart, this.#decoder.dataEnd, end, lent);
      else if (status === DONE) return this.#complete(position < end);
      else if (status === BROKEN) return this.#broken(this.#decoder.problem);
      else return this.#pauseReading(bytes, position, end);
    }
    return undefined;
  }

  /** All bytes but an unfinished head are used: says so, and keeps the rest. */
  #pauseReading(bytes: Buffer, position: number, end: number): void {
    if (bytes === this.#stash.bytes) this.#stash.consume(position);
    else if (position < end && !this.#stash.append(bytes, position, end))
      return this.#broken("response head over its limit");
    this.#sink?.onReadEnd();
    return undefined;
  }

  /** Reads one head. Returns the position after it, or -1 when the read is over. */
  #readHead(bytes: Buffer, position: number, end: number): number {
    const head = this.#shared.responseHead;
    const { scanner } = head;
    const stashed = bytes === this.#stash.bytes;
    const status = stashed
      ? scanner.scanResponse(bytes, position, end, position + this.#stash.lineStart, this.#stash.lineCount)
      : scanner.scanResponse(bytes, position, end);
    if (status === INCOMPLETE) {
      const { lineStart, lineCount } = scanner;
      this.#pauseReading(bytes, position, end);
      this.#stash.noteScan(lineStart - position, lineCount, end - position);
      return -1;
    }
    if (status === BAD) return this.#brokenHead(scanner.problem);
    this.#stash.forgetScan();
    const failure = head.read(bytes, position, this.#toHead);
    if (failure !== undefined) return this.#brokenHead(failure.detail);
    const next = scanner.headEnd;
    if (head.status < 200) return this.#readInterim(head, next);
    this.#state = BODY;
    this.#keepAlive = head.keepAlive && this.#upgrade === undefined;
    // A refused upgrade is a request without a body, of which nothing more is sent.
    if (this.#upgrade !== undefined) this.#requestDone = true;
    this.#decoder.begin(head.body, head.contentLength);
    this.#sink?.onHead(head);
    return this.#sink === undefined ? -1 : next;
  }

  #readInterim(head: ResponseHeadReader, next: number): number {
    if (head.status === 101) return this.#switch(head, next);
    this.#interims += 1;
    if (this.#interims > this.#shared.limits.interimResponses) return this.#brokenHead("too many interim responses");
    this.#sink?.onInterim(head);
    return this.#sink === undefined ? -1 : next;
  }

  /** The application switches: what follows is not HTTP, and the connection will never serve again. */
  #switch(head: ResponseHeadReader, next: number): number {
    if (this.#upgrade === undefined) return this.#brokenHead("101 without an upgrade");
    const problem = this.#upgrade.problem(head);
    if (problem !== undefined) return this.#brokenHead(problem);
    this.#state = BODY;
    this.#switched = true;
    this.#decoder.begin(UNTIL_CLOSE, 0);
    this.#sink?.onHead(head);
    return this.#sink === undefined ? -1 : next;
  }

  /** The client has ended what both have switched to. */
  #endSwitched(): void {
    this.#out.flush();
    if (this.#state !== HALF) return this.#channel.end();
    this.#sink = undefined;
    return this.retire();
  }

  /** The application has. */
  #appEnded(): void {
    const sink = this.#sink;
    if (this.#requestDone) {
      this.#sink = undefined;
      this.retire();
    } else this.#state = HALF;
    sink?.onResponseEnd("");
  }

  #brokenHead(problem: string): number {
    this.#broken(problem);
    return -1;
  }

  /** The response is whole; `more`: bytes came behind it. */
  #complete(more: boolean): void {
    const sink = this.#sink;
    this.#sink = undefined;
    this.#stash.clear();
    this.#shared.responseHead.release();
    if (this.#keepAlive && this.#requestDone && !more) {
      this.#state = IDLE;
      this.reused = true;
      this.dueAt = this.#shared.deadlines.in(this.#shared.limits.upstreamIdleMs);
      this.resume();
      this.#home.release(this);
    } else if (this.#requestDone && !more) {
      this.retire();
    } else {
      this.#discard(undefined);
    }
    sink?.onResponseEnd(this.#decoder.trailers);
  }

  #broken(problem: string): void {
    const failure = fail("UPSTREAM_RESPONSE_MALFORMED", problem);
    this.#failed(failure, failure);
  }

  #failed(failure: Failure, cause: Failure | undefined): void {
    const sink = this.#sink;
    const answered = this.#answered;
    this.#sink = undefined;
    this.#discard(cause);
    sink?.onUpstreamFailed(failure, answered);
  }

  #tell(failure: Failure): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.onUpstreamFailed(failure, this.#answered);
  }

  #discard(failure: Failure | undefined): void {
    this.#forget();
    this.#channel.reset(failure);
  }

  #forget(): void {
    if (this.#state === GONE) return;
    if (this.#state !== ENDING) this.#home.remove(this);
    this.#state = GONE;
    this.dueAt = NEVER;
    this.#stash.clear();
    this.#shared.deadlines.remove(this);
  }
}
