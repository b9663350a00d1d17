// Machine. One client by TCP: its requests are answered here or go, as they are, through a connection to a resolver that is
// this client's alone; what comes back is passed on whole, message by message.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { deadlinesOf, type Deadline } from "@culvert/shared/net/deadlines.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import type { DnsSeries } from "@culvert/shared/observe/dns-metrics.ts";
import { TRIES, TRY_MS, type Forwarder } from "./forwarder.ts";
import { frame, FrameReader } from "./frames.ts";
import { isReplyTo, OPCODE_QUERY, type Query } from "./message.ts";
import { openResolver, type ResolverConnection } from "./resolver-connection.ts";
import type { Forward, Responder } from "./responder.ts";

/** A client that sends no whole request and is owed no answer for this long is gone, or dripping bytes. */
export const IDLE_MS = 10_000;
/** As by UDP: the client hears of it before it gives up. */
const ANSWER_MS = TRIES * TRY_MS;
/** Requests of one client that wait for a resolver. */
const MOST_WAITING = 64;
/** Answers that a client has not read, after which nothing more is read from it or for it. */
const MOST_UNREAD_BYTES = 128 * 1024;
/** AXFR and IXFR: the answer is many messages, and ends where the resolver ends it. */
const TRANSFERS: ReadonlySet<number> = new Set([251, 252]);

/** What a session stands on. */
export interface TcpSessionOptions {
  readonly client: BulkSocket;
  readonly responder: Responder;
  readonly forwarder: Forwarder;
  readonly ownSources: Set<string>;
  readonly clock: Clock;
  readonly onClose: () => void;
}

interface Waiting {
  readonly asked: Buffer;
  readonly query: Query;
  readonly series: DnsSeries;
  readonly beganMs: number;
  readonly deadline: Deadline;
  sends: number;
  isSent: boolean;
}

/** See the head of the file. Lives until its client goes. */
export class TcpSession {
  readonly #options: TcpSessionOptions;
  readonly #frames = new FrameReader();
  readonly #waiting = new Map<number, Waiting>();
  readonly #source: string;
  #resolver: ResolverConnection | undefined;
  /** Requests of which it is not yet known what becomes of them. */
  #coming = 0;
  #isDialling = false;
  #isTransfer = false;
  #isEnding = false;
  #isClosed = false;
  #idle: Deadline;

  constructor(options: TcpSessionOptions) {
    const { client, clock } = options;
    this.#options = options;
    this.#source = client.source;
    this.#idle = deadlinesOf(clock, IDLE_MS).after(() => client.reset());
    client.socket.on("drain", () => this.#drained());
    client.setSink({
      onBytes: (chunk, slab) => {
        this.#frames.push(slab === undefined ? chunk : Buffer.from(chunk));
        if (slab !== undefined) releaseSlab(slab);
        return this.#serve();
      },
      onEnd: () => {
        this.#isEnding = true;
        this.#endIfDone();
      },
      onClose: () => this.#closed(),
    });
    client.resume();
  }

  close(): void {
    this.#options.client.reset();
  }

  /** Serves the requests that have come whole; `false` when nothing more is to be read for now. */
  #serve(): boolean {
    const { client, responder } = this.#options;
    for (;;) {
      if (this.#isFull()) return false;
      const asked = this.#frames.next();
      if (asked === undefined) return true;
      this.#touch();
      const verdict = responder.judge(asked, "tcp", this.#source);
      // By TCP nothing is lost, so a client that gets no answer is told by the end of the connection.
      if (verdict === undefined) {
        client.reset();
        return false;
      }
      if (verdict instanceof Promise) void this.#answerLater(asked, verdict);
      else if (Buffer.isBuffer(verdict)) this.#answer(verdict);
      else this.#forward(asked, verdict.query, verdict.series);
    }
  }

  async #answerLater(asked: Buffer, coming: Promise<Buffer | Forward>): Promise<void> {
    this.#coming += 1;
    const verdict = await coming;
    this.#coming -= 1;
    if (this.#isClosed) return;
    this.#touch();
    if (Buffer.isBuffer(verdict)) this.#answer(verdict);
    else this.#forward(asked, verdict.query, verdict.series);
    this.#endIfDone();
    this.#drained();
  }

  #forward(asked: Buffer, query: Query, series: DnsSeries): void {
    const { clock, responder } = this.#options;
    if (this.#waiting.size >= MOST_WAITING || this.#waiting.has(query.id)) {
      const failure = fail("TOO_MANY_WAITERS", `${this.#waiting.size} DNS requests of one client wait`);
      return this.#answer(responder.failed(asked, query, "tcp", failure));
    }
    series.upstreamRequests.add();
    const deadline = deadlinesOf(clock, ANSWER_MS).after(() => {
      this.#fail(query.id, fail("DNS_UPSTREAM_FAILED", `no answer in ${ANSWER_MS} ms`));
    });
    const beganMs = clock.monotonic();
    this.#waiting.set(query.id, { asked, query, series, beganMs, deadline, sends: 0, isSent: false });
    if (TRANSFERS.has(query.question?.type ?? 0)) this.#isTransfer = true;
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    if (this.#resolver === undefined) return void this.#dial();
    for (const waiting of this.#waiting.values()) {
      if (waiting.isSent) continue;
      waiting.isSent = true;
      waiting.sends += 1;
      this.#resolver.send(waiting.asked);
    }
  }

  /** Never rejects. */
  async #dial(): Promise<void> {
    if (this.#isDialling) return;
    this.#isDialling = true;
    const { forwarder, clock, ownSources } = this.#options;
    const opened = await openResolver(
      forwarder.order(),
      { clock, timeoutMs: TRY_MS, ownSources },
      { onMessage: (message) => this.#received(message), onClose: (failure) => this.#lost(failure) },
    );
    this.#isDialling = false;
    if (isFailure(opened)) {
      forwarder.note(undefined, opened);
      for (const id of this.#waiting.keys()) this.#fail(id, opened);
      return;
    }
    if (this.#isClosed) return opened.close();
    this.#resolver = opened;
    this.#sendWaiting();
  }

  #received(message: Buffer): boolean {
    const id = message.readUInt16BE(0);
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) {
      if (!isReplyTo(message, id, waiting.asked, waiting.query)) return true;
      this.#waiting.delete(id);
      waiting.deadline.cancel();
      const { forwarder, clock } = this.#options;
      waiting.series.upstreamSeconds.observe((clock.monotonic() - waiting.beganMs) / 1_000);
      forwarder.note(this.#resolver?.resolver, undefined);
    } else if (!this.#isTransfer) {
      return true;
    }
    this.#touch();
    this.#answer(message);
    this.#endIfDone();
    return !this.#isFull();
  }

  /** The resolver closed: what it left unanswered is asked once more, unless that could do something twice. */
  #lost(failure: Failure | undefined): void {
    const { client } = this.#options;
    this.#resolver = undefined;
    if (this.#isTransfer) {
      if (failure === undefined) client.end();
      else client.reset();
      return;
    }
    for (const [id, waiting] of this.#waiting) {
      if (waiting.sends > 1 || waiting.query.opcode !== OPCODE_QUERY) {
        this.#fail(id, fail("DNS_UPSTREAM_FAILED", "the resolver closed the connection"));
      } else {
        waiting.isSent = false;
      }
    }
    if (this.#waiting.size > 0) this.#sendWaiting();
  }

  #fail(id: number, failure: Failure): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.deadline.cancel();
    waiting.series.upstreamFailures.add();
    this.#answer(this.#options.responder.failed(waiting.asked, waiting.query, "tcp", failure));
    this.#endIfDone();
  }

  #answer(reply: Buffer): void {
    if (!this.#isClosed) this.#options.client.write(frame(reply));
  }

  #isFull(): boolean {
    return this.#coming >= MOST_WAITING || this.#options.client.socket.writableLength > MOST_UNREAD_BYTES;
  }

  #drained(): void {
    if (this.#isClosed) return;
    this.#resolver?.resume();
    if (this.#serve()) this.#options.client.resume();
  }

  #endIfDone(): void {
    if (this.#isEnding && this.#waiting.size === 0 && this.#coming === 0 && !this.#isTransfer)
      this.#options.client.end();
  }

  #touch(): void {
    const { client, clock } = this.#options;
    this.#idle.cancel();
    if (!this.#isClosed) this.#idle = deadlinesOf(clock, IDLE_MS).after(() => client.reset());
  }

  #closed(): void {
    this.#isClosed = true;
    this.#idle.cancel();
    for (const { deadline } of this.#waiting.values()) deadline.cancel();
    this.#waiting.clear();
    this.#resolver?.close();
    processMemory.connectionEnded();
    this.#options.onClose();
  }
}
