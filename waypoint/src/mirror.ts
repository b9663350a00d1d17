// Machine. Copies of requests to other services (Gateway API, HTTPRequestMirrorFilter): sent beside the request itself, their
// answers read and dropped. A copy never holds the request up: what it cannot take at once is held for it up to a bound,
// beyond which it is cut and counted.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { MirrorMetrics, MirrorResult } from "@culvert/shared/observe/mirror-metrics.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import type { RequestCopy } from "./exchange-services.ts";
import { NO_BODY } from "./http/body-kind.ts";
import type { HttpVersion, RequestMessage, ResponseHead, ResponseSink, UpstreamRequest } from "./http/message.ts";
import type { Tenant } from "./tenants/tenants.ts";
import type { EndpointGroup } from "./upstream/balance.ts";
import type { UpstreamConnections } from "./upstream/connections.ts";
import type { UpstreamEndpoint } from "./upstream/endpoints.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** Copies on their way to one backend: one that never answers stops no other's. */
const MOST_COPIES_TO_ONE = 250;
/** Body of one copy that waits for its connection. */
const MOST_HELD_BYTES = 256 * 1024;
/** Of an answer that nobody reads; closing a connection costs less than emptying it of more. */
const MOST_ANSWER_BYTES = 1024 * 1024;
/** From the end of the request to the end of its answer. */
const ANSWER_MS = 15_000;

/** What copies are sent with. */
export interface MirrorOptions {
  readonly connections: UpstreamConnections;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly metrics: MirrorMetrics;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

/** A request that is copied. */
export interface Mirrored {
  readonly message: RequestMessage;
  readonly permit: Permit;
  readonly version: HttpVersion;
  /** Whose request it is: copies, and what is held for them, count there. */
  readonly tenant: Tenant;
}

/** Sends the copies of a process, and bounds what they take together. */
export class Mirrors {
  readonly options: MirrorOptions;
  #inFlight = 0;
  #heldBytes = 0;
  readonly #toOne = new Map<string, number>();

  constructor(options: MirrorOptions) {
    this.options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Body bytes that wait for connections of copies. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Begins to send a copy to one endpoint of `group`; `undefined` when there is none, or there are too many copies. */
  send(group: EndpointGroup, mirrored: Mirrored): RequestCopy | undefined {
    const { metrics, random } = this.options;
    const backend = group.name;
    const toOne = this.#toOne.get(backend) ?? 0;
    const { tenant } = mirrored;
    if (toOne >= MOST_COPIES_TO_ONE || !tenant.beginCopy()) {
      metrics.notBegun(backend, "dropped");
      return undefined;
    }
    const endpoint = group.pick([], random);
    if (isFailure(endpoint)) {
      tenant.copies.give(1);
      metrics.notBegun(backend, "failed");
      return undefined;
    }
    metrics.began();
    this.#inFlight += 1;
    this.#toOne.set(backend, toOne + 1);
    endpoint.load.inFlight += 1;
    const copy = new MirrorCopy(this, endpoint, mirrored, (result) => {
      this.#inFlight -= 1;
      tenant.copies.give(1);
      endpoint.load.inFlight -= 1;
      const left = (this.#toOne.get(backend) ?? 1) - 1;
      if (left === 0) this.#toOne.delete(backend);
      else this.#toOne.set(backend, left);
      metrics.ended(backend, result);
    });
    copy.open();
    return copy;
  }

  /** Takes `bytes` more into what is held; `false`: the tenant has no room. */
  hold(tenant: Tenant, bytes: number): boolean {
    if (!tenant.hold(bytes)) return false;
    this.#heldBytes += bytes;
    return true;
  }

  /** So many bytes are held no more. */
  release(tenant: Tenant, bytes: number): void {
    this.#heldBytes -= bytes;
    tenant.heldBytes.give(bytes);
  }
}

/** One copy. It ends exactly once, with `ended`. */
class MirrorCopy implements RequestCopy, ResponseSink {
  readonly #mirrors: Mirrors;
  readonly #endpoint: UpstreamEndpoint;
  readonly #mirrored: Mirrored;
  readonly #ended: (result: MirrorResult) => void;
  #upstream: UpstreamRequest | undefined = undefined;
  #isOver = false;
  /** The upstream takes no more for the moment. */
  #isFull = false;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  /** The request is whole: its trailers. */
  #trailers: string | undefined = undefined;
  #isFinished = false;
  #answerBytes = 0;
  #mayRepeat: boolean;
  #timer: Timer | undefined = undefined;

  constructor(mirrors: Mirrors, endpoint: UpstreamEndpoint, mirrored: Mirrored, ended: (result: MirrorResult) => void) {
    this.#mirrors = mirrors;
    this.#endpoint = endpoint;
    this.#mirrored = mirrored;
    this.#ended = ended;
    this.#mayRepeat = mirrored.message.body === NO_BODY;
  }

  open(): void {
    if (this.#mirrored.message.body === NO_BODY) this.#whole("");
    const { connections } = this.#mirrors.options;
    const known = connections.take(this.#endpoint, this.#mirrored.version);
    if (known === undefined) this.#dial();
    else this.#start(known);
  }

  data(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver || start === end) return undefined;
    const upstream = this.#upstream;
    if (upstream !== undefined && !this.#isFull) {
      // Lent: what the connection cannot write at once it copies.
      upstream.data(bytes, start, end, end, true);
      this.#isFull = !upstream.flush();
      return undefined;
    }
    const length = end - start;
    if (this.#heldBytes + length > MOST_HELD_BYTES || !this.#mirrors.hold(this.#mirrored.tenant, length))
      return this.#cut("slow");
    this.#held.push(Buffer.from(bytes.subarray(start, end)));
    this.#heldBytes += length;
    return undefined;
  }

  finish(trailers: string): void {
    if (this.#isOver || this.#trailers !== undefined) return;
    this.#whole(trailers);
    this.#sendHeld();
  }

  over(): void {
    if (this.#trailers === undefined) this.#cut("broken-off");
  }

  onInterim(): void {
    // Nobody waits for it.
  }

  onHead(head: ResponseHead): void {
    if (head.status === 101) this.#cut("failed");
  }

  onData(_bytes: Buffer, start: number, end: number): void {
    this.#answerBytes += end - start;
    if (this.#answerBytes > MOST_ANSWER_BYTES) this.#cut("answered");
  }

  onReadEnd(): void {
    // What was read is dropped.
  }

  onResponseEnd(): void {
    this.#upstream = undefined;
    this.#end("answered");
  }

  onUpstreamDrain(): void {
    this.#isFull = false;
    this.#sendHeld();
  }

  onUpstreamFailed(_failure: Failure, answered: boolean): void {
    const repeat = this.#mayRepeat && !answered && this.#upstream?.reused === true;
    this.#upstream = undefined;
    this.#mayRepeat = false;
    // The application closed a kept-alive connection while the copy was on its way.
    if (repeat) this.#dial();
    else this.#end("failed");
  }

  #dial(): void {
    const { connections, upstream } = this.#mirrors.options;
    const { permit, version, tenant } = this.#mirrored;
    void connections
      .open(this.#endpoint, version, tenant, () => upstream.open(this.#endpoint, permit, tenant))
      .then((opened) => this.#opened(opened));
  }

  #opened(upstream: UpstreamRequest | Failure): void {
    if (isFailure(upstream)) this.#end("failed");
    else if (this.#isOver) upstream.giveBack();
    else this.#start(upstream);
  }

  #start(upstream: UpstreamRequest): void {
    this.#upstream = upstream;
    this.#isFull = false;
    this.#isFinished = false;
    upstream.start(this, this.#mirrored.message);
    this.#sendHeld();
  }

  /** Sends what was held, as far as it is taken, and the end behind it. */
  #sendHeld(): void {
    if (this.#isOver || this.#isFull) return;
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    for (let bytes = this.#held.shift(); bytes !== undefined; bytes = this.#held.shift()) {
      this.#heldBytes -= bytes.length;
      this.#mirrors.release(this.#mirrored.tenant, bytes.length);
      upstream.data(bytes, 0, bytes.length, bytes.length, false);
      this.#isFull = !upstream.flush();
      // The upstream may have failed while it wrote.
      if (this.#isFull || this.#upstream !== upstream) return;
    }
    if (this.#trailers !== undefined && !this.#isFinished) {
      this.#isFinished = true;
      upstream.finish(this.#trailers);
    }
    this.#isFull = !upstream.flush();
  }

  #whole(trailers: string): void {
    this.#trailers = trailers;
    this.#timer = this.#mirrors.options.clock.after(ANSWER_MS, () => this.#cut("late"));
  }

  #cut(result: MirrorResult): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#end(result);
    upstream?.abandon(fail("DOWNSTREAM_CLOSED", "a copy that is no longer needed"));
  }

  #end(result: MirrorResult): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.cancel();
    this.#mirrors.release(this.#mirrored.tenant, this.#heldBytes);
    this.#heldBytes = 0;
    this.#held.length = 0;
    this.#ended(result);
  }
}
