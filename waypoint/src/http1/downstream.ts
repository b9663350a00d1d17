// Machine. One HTTP/1.1 connection of a client: reads its requests one after another, hands each to the exchange, and writes
// the responses in the same order. It is one thing, the life of a connection, and most of it is the order of its states.
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "../channel/channel.ts";
import { Stash } from "../channel/stash.ts";
import { type Due, NEVER } from "../deadlines.ts";
import type { ConnectionServices } from "../exchange-services.ts";
import { Exchange, type ExchangeClient } from "../exchange.ts";
import { NO_BODY } from "../http/body-kind.ts";
import type { ResponseHead } from "../http/message.ts";
import type { LocalAnswer } from "../local-answer.ts";
import type { UpstreamConnections } from "../upstream/connections.ts";
import { BROKEN, BodyDecoder, DATA, DONE } from "./parse/body.ts";
import { CR, LF, at } from "./parse/bytes.ts";
import { BAD, INCOMPLETE } from "./parse/scan.ts";
import { ResponseWriter } from "./response-writer.ts";
import type { Http1Shared } from "./shared-state.ts";

/** Between requests, or in the head of one. */
const WAITING = 0;
/** In the body of a request. */
const BODY = 1;
/** The request is whole, its response is not. */
const RESPONSE = 2;
/** Our side is ended; what still comes is thrown away, so that the client can read our last words before a reset. */
const LINGERING = 3;
const CLOSED = 4;
/** Both sides speak another protocol. */
const SWITCHED = 5;

type State = typeof WAITING | typeof BODY | typeof RESPONSE | typeof LINGERING | typeof CLOSED | typeof SWITCHED;

// Why nothing is read: bits of one number.
/** Bytes are here that cannot be used yet. */
const HELD = 1;
/** The upstream does not take the request body as fast. */
const UPSTREAM_FULL = 2;
/** The client does not take our answers. */
const CLIENT_FULL = 4;

/** See the head of the file. Made for a channel that nobody reads yet; `start` begins. */
export class Http1Downstream implements ByteSink, Due, ExchangeClient {
  dueAt: number;
  readonly #channel: ByteChannel;
  readonly #services: ConnectionServices;
  readonly #shared: Http1Shared;
  readonly #exchange: Exchange;
  readonly #out: ResponseWriter;
  readonly #decoder: BodyDecoder;
  readonly #stash: Stash;
  #state: State = WAITING;
  #holds = 0;
  /** `#run` is on the stack: what happens meanwhile is seen by its loop. */
  #running = false;
  /** The client has sent its FIN. */
  #ended = false;
  #draining = false;
  /** How long a client that draining has found at rest may take for one more request. */
  #lastWithinMs = 0;
  #keepAlive = true;
  /** Of the request in flight. */
  #expects = false;
  /** Protocol that the client asks to switch to, and its key if that is WebSocket. */
  #upgrade: string | undefined = undefined;
  #websocketKey: string | undefined = undefined;
  /** The application has ended the other protocol. */
  #hasEnded = false;
  /** Some byte of the next request has come, if only an empty line. */
  #headBegun = false;
  #emptyLineSeen = false;
  #lingeredBytes = 0;
  #lingeredSince = 0;

  constructor(
    channel: ByteChannel,
    services: ConnectionServices,
    shared: Http1Shared,
    connections: UpstreamConnections,
  ) {
    this.#channel = channel;
    this.#services = services;
    this.#shared = shared;
    this.#exchange = new Exchange(this, services, shared, connections);
    this.#out = new ResponseWriter(channel);
    this.#decoder = new BodyDecoder(shared.limits);
    this.#stash = new Stash(shared.limits.stashBytes);
    this.dueAt = shared.deadlines.in(shared.limits.idleMs);
  }

  /** Begins to read. */
  start(): void {
    this.#shared.deadlines.add(this);
    this.#channel.attach(this);
  }

  /** Ends the connection with the next response, which says so, or when none is asked for in a little while. */
  drain(withinMs: number = this.#shared.limits.drainIdleMs): void {
    this.#lastWithinMs = this.#draining ? Math.min(this.#lastWithinMs, withinMs) : withinMs;
    this.#draining = true;
    if (this.#state === WAITING && this.#stash.length === 0 && !this.#headBegun) this.#awaitLast();
  }

  /** Ends the connection because of `failure`, which is the answer to the request in flight if none has begun. */
  dismiss(failure: Failure): void {
    if (!this.#exchange.active) return this.abort(failure);
    this.#draining = true;
    return this.#exchange.breakOff(failure);
  }

  /** Ends the connection now, whatever it does, because of `failure`. */
  abort(failure: Failure): void {
    this.#exchange.clientGone(failure);
    this.cut(failure);
  }

  onBytes(chunk: Buffer, lent: boolean): void {
    if (this.#state === LINGERING) return this.#discard(chunk.length);
    if (this.#state === CLOSED) return undefined;
    if (this.#stash.length === 0 && !this.#running) return this.#run(chunk, 0, chunk.length, lent);
    if (!this.#stash.append(chunk, 0, chunk.length)) return this.abort(fail("REQUEST_TOO_LARGE", "bytes sent ahead"));
    // Held bytes wait for something else than more bytes.
    if (this.#running || (this.#holds & HELD) !== 0) return undefined;
    if (this.#state === WAITING && !this.#stash.worthScanning) return undefined;
    return this.#runStash();
  }

  onEnd(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#state === WAITING && !this.#running) {
      // A last look at a half head: it may have been broken before it was cut off.
      if (this.#stash.length > 0 && (this.#holds & HELD) === 0) this.#runStash();
      if (this.#state === WAITING && (this.#holds & HELD) === 0) this.#linger();
    } else if (this.#state === BODY && (this.#holds & HELD) === 0) this.#cutShort();
    else if (this.#state === SWITCHED) this.#endSwitched();
  }

  onDrain(): void {
    this.#out.drained();
    this.#unhold(CLIENT_FULL);
    this.#exchange.clientDrained();
  }

  onClose(failure: Failure | undefined): void {
    if (this.#state === CLOSED) return this.#forget();
    this.#state = CLOSED;
    this.#exchange.clientGone(
      failure === undefined ? fail("DOWNSTREAM_CLOSED", "") : fail("DOWNSTREAM_CLOSED", failure.detail),
    );
    return this.#forget();
  }

  onDue(): void {
    const { limits, deadlines } = this.#shared;
    if (this.#state === SWITCHED) return this.#dueSwitched();
    this.dueAt = deadlines.in(limits.lingerMs);
    if (this.#state === WAITING && (this.#holds & CLIENT_FULL) === 0) {
      return this.#headBegun ? this.#reject(fail("REQUEST_TIMEOUT", "head of the request")) : this.#linger();
    }
    if (this.#state === LINGERING || this.#state === CLOSED) return this.#letGo();
    // Whoever holds the other up is at fault.
    if ((this.#holds & CLIENT_FULL) !== 0) return this.abort(fail("REQUEST_TIMEOUT", "response not read"));
    if (this.#state === BODY && this.#exchange.takesBody && this.#holds === 0) {
      return this.abort(fail("REQUEST_TIMEOUT", "body of the request"));
    }
    return this.#exchange.timeOut();
  }

  proceed(): void {
    if (!this.#running) this.#runStash();
  }

  holdBody(hold: boolean): void {
    if (hold) this.#hold(UPSTREAM_FULL);
    else this.#unhold(UPSTREAM_FULL);
  }

  sendInterim(head: ResponseHead): void {
    this.#out.interim(head);
  }

  sendHead(head: ResponseHead, fields: string): void {
    if (this.#upgrade !== undefined) {
      if (head.status === 101) return this.#switch(this.#upgrade, fields);
      // What may be behind the request was meant for the other protocol.
      this.#keepAlive = false;
    }
    if (this.#draining) this.#keepAlive = false;
    // An early refusal: the rest of the body will not be read to its end. A client that waited may not even send it.
    if (this.#state === BODY && (head.status >= 300 || (this.#expects && this.#exchange.bytesReceived === 0)))
      this.#keepAlive = false;
    this.#out.head(head, fields, this.#keepAlive);
  }

  sendData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    this.#out.data(bytes, start, end, readEnd, lent);
  }

  sendEnd(trailers: string): void {
    if (this.#state === SWITCHED) {
      this.#hasEnded = true;
      this.#out.flush();
      this.#channel.end();
      return;
    }
    this.#out.end(trailers);
  }

  sendLocal(answer: LocalAnswer): void {
    // A client whose request makes no sense is not trusted with another one on this connection.
    if (this.#state !== RESPONSE || this.#draining || answer.status === 400 || this.#upgrade !== undefined)
      this.#keepAlive = false;
    this.#out.local(answer, this.#keepAlive);
  }

  flush(): boolean {
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
    if (this.#out.flush()) return true;
    // The directions of another protocol do not hold up each other.
    if (this.#state !== SWITCHED) this.#hold(CLIENT_FULL);
    return false;
  }

  cut(failure: Failure): void {
    if (this.#state !== CLOSED) this.#reset(failure);
  }

  finished(): void {
    if (this.#state === CLOSED || this.#state === LINGERING) return undefined;
    if (this.#state !== RESPONSE || !this.#keepAlive) return this.#linger();
    this.#state = WAITING;
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.idleMs);
    this.#headBegun = false;
    this.#emptyLineSeen = false;
    this.#unhold(UPSTREAM_FULL);
    if (this.#running) return undefined;
    if (this.#stash.length > 0) return this.#runStash();
    if (this.#ended) return this.#linger();
    return this.#draining ? this.#awaitLast() : undefined;
  }

  /** Nobody has told the client: its next request may be on its way. */
  #awaitLast(): void {
    this.dueAt = Math.min(this.dueAt, this.#shared.deadlines.in(this.#lastWithinMs));
  }

  /** Goes on with the bytes that were kept, and reads again if they are used up. */
  #runStash(): void {
    const { bytes, start, end } = this.#stash;
    if (this.#state !== CLOSED && this.#state !== LINGERING) this.#run(bytes, start, end, false);
  }

  /** Uses as many bytes as can be used now; keeps the others and says so to the channel. */
  #run(bytes: Buffer, start: number, end: number, lent: boolean): void {
    this.#running = true;
    const stashed = bytes === this.#stash.bytes;
    const position = this.#use(bytes, start, end, lent);
    if (this.#exchange.active) this.#exchange.requestFlush();
    this.#running = false;
    if (this.#state === CLOSED || this.#state === LINGERING) return this.#stash.clear();
    if (stashed) this.#stash.consume(position);
    else if (position < end && !this.#stash.append(bytes, position, end)) {
      return this.abort(fail("REQUEST_TOO_LARGE", "bytes sent ahead"));
    }
    // What is left in the head of a request waits for more bytes; anything else waits for something to happen.
    const stuck = this.#stash.length > 0 && (this.#state !== WAITING || (this.#holds & CLIENT_FULL) !== 0);
    if (stuck) this.#hold(HELD);
    else this.#unhold(HELD);
    if (this.#ended && !stuck) {
      if (this.#state === WAITING) this.#linger();
      else if (this.#state === BODY && this.#exchange.takesBody) this.#cutShort();
      else if (this.#state === SWITCHED) this.#endSwitched();
    } else if (this.#draining && this.#state === WAITING && !this.#headBegun) this.#awaitLast();
    return undefined;
  }

  /** Returns the position of the first byte that cannot be used yet. */
  #use(bytes: Buffer, start: number, end: number, lent: boolean): number {
    let position = start;
    for (;;) {
      switch (this.#state) {
        case WAITING: {
          if (position === end || (this.#holds & CLIENT_FULL) !== 0) return position;
          if (this.#isEmptyLine(bytes, position, end)) {
            if (position + 1 === end) return position;
            this.#emptyLineSeen = true;
            position += 2;
            break;
          }
          const next = this.#useHead(bytes, position, end);
          if (next < 0) return position;
          position = next;
          break;
        }
        case BODY: {
          if (!this.#exchange.takesBody) return position;
          const status = this.#decoder.next(bytes, position, end);
          position = this.#decoder.position;
          if (status === DATA) {
            this.#exchange.requestData(bytes, this.#decoder.dataStart, this.#decoder.dataEnd, end, lent);
          } else if (status === DONE) {
            this.#state = RESPONSE;
            this.#exchange.requestEnd(this.#decoder.trailers);
          } else if (status === BROKEN) {
            this.#breakBody(this.#decoder.problem);
            return end;
          } else {
            this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
            return position;
          }
          break;
        }
        case RESPONSE:
          return position;
        case SWITCHED:
          this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
          if (position < end) this.#exchange.requestData(bytes, position, end, end, lent);
          return end;
        default:
          return end;
      }
    }
  }

  /** RFC 9112 section 2.2: one empty line before a request is forgiven. */
  #isEmptyLine(bytes: Buffer, position: number, end: number): boolean {
    if (!this.#headBegun) {
      this.#headBegun = true;
      this.dueAt = this.#shared.deadlines.in(this.#shared.limits.headMs);
    }
    if (this.#emptyLineSeen || at(bytes, position) !== CR) return false;
    return position + 1 === end || at(bytes, position + 1) === LF;
  }

  /** Reads one head and begins its exchange. Returns the position after it, or -1 when more of it must come. */
  #useHead(bytes: Buffer, start: number, end: number): number {
    const head = this.#shared.requestHead;
    const { scanner } = head;
    const stashed = bytes === this.#stash.bytes;
    const status = stashed
      ? scanner.scanRequest(bytes, start, end, start + this.#stash.lineStart, this.#stash.lineCount)
      : scanner.scanRequest(bytes, start, end);
    if (status === INCOMPLETE) {
      this.#stash.noteScan(scanner.lineStart - start, scanner.lineCount, end - start);
      return -1;
    }
    this.#stash.forgetScan();
    if (status === BAD) {
      this.#reject(fail(scanner.tooLarge ? "REQUEST_TOO_LARGE" : "REQUEST_MALFORMED", scanner.problem));
      return end;
    }
    const failure = head.read(bytes, start);
    this.#out.begin(head.method === "HEAD", scanner.minor === 0, head.takesTrailers);
    this.#keepAlive = head.keepAlive;
    this.#expects = head.expectsContinue;
    this.#upgrade = head.upgrade;
    this.#websocketKey = head.websocketKey;
    const next = scanner.headEnd;
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
    if (failure !== undefined) {
      this.#state = BODY;
      this.#exchange.reject(failure, head);
      return end;
    }
    this.#state = head.body === NO_BODY ? RESPONSE : BODY;
    if (head.body !== NO_BODY) this.#decoder.begin(head.body, head.contentLength);
    this.#exchange.begin(head);
    head.release();
    return next;
  }

  /** Answers bytes that are no request; nothing that follows them can be trusted to be one. */
  #reject(failure: Failure): void {
    this.#out.begin(false, false, false);
    this.#upgrade = undefined;
    this.#state = BODY;
    this.#exchange.reject(failure, undefined);
  }

  /** The application has agreed to another protocol: from now on bytes are passed on as they come. */
  #switch(protocol: string, fields: string): void {
    this.#state = SWITCHED;
    this.#out.switched(protocol, this.#websocketKey, fields);
    // What came behind the request was meant for this.
    if (!this.#running) this.#runStash();
  }

  /** The client has ended the other protocol. */
  #endSwitched(): void {
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
    this.#exchange.requestEnd("");
    if (this.#exchange.active) this.#exchange.requestFlush();
  }

  /** Nobody needs to say anything, as long as both sides might. */
  #dueSwitched(): void {
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.progressMs);
    if (this.#ended || this.#hasEnded) this.abort(fail("DOWNSTREAM_CLOSED", "half-closed and silent"));
  }

  /** The framing of the body is broken: the upstream must not take what it has for the whole, nor the client its answer. */
  #breakBody(problem: string): void {
    this.#exchange.breakOff(fail("REQUEST_MALFORMED", problem));
  }

  /** The client ended inside its request. */
  #cutShort(): void {
    this.abort(fail("DOWNSTREAM_CLOSED", "ended inside a request body"));
  }

  /** Ends our side, and gives the client time to read what was written. */
  #linger(): void {
    this.#state = LINGERING;
    this.#stash.clear();
    this.#lingeredSince = this.#shared.deadlines.now;
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.lingerMs);
    this.#out.flush();
    this.#channel.end();
    if (this.#holds !== 0) {
      this.#holds = 0;
      this.#channel.resume();
    }
  }

  #discard(length: number): void {
    this.#lingeredBytes += length;
    if (this.#lingeredBytes > this.#shared.limits.lingerBytes) this.#reset(undefined);
  }

  /** The client had its moment; one that still reads what we have written gets longer. */
  #letGo(): void {
    const { limits, deadlines } = this.#shared;
    if (this.#channel.queued === 0) this.#reset(undefined);
    else if (deadlines.now - this.#lingeredSince > limits.progressMs)
      this.#reset(fail("REQUEST_TIMEOUT", "response not read"));
  }

  #reset(failure: Failure | undefined): void {
    this.#state = CLOSED;
    this.#channel.reset(failure);
  }

  #forget(): void {
    this.#stash.clear();
    this.dueAt = NEVER;
    this.#shared.deadlines.remove(this);
    this.#services.closed();
  }

  #hold(reason: number): void {
    if (this.#holds === 0) this.#channel.pause();
    this.#holds |= reason;
  }

  #unhold(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    // Held requests can be answered now.
    if (reason === CLIENT_FULL && (this.#holds & HELD) !== 0 && this.#state === WAITING && !this.#running) {
      this.#runStash();
      return;
    }
    if (this.#holds === 0 && this.#state !== CLOSED) this.#channel.resume();
  }
}
