// Machine. One configuration stream as long as it lasts: hello, what is asked for and no longer, updates put together of their parts,
// one at a time, each to be acknowledged or refused. What breaks the rules ends it.
import { fail, type Failure } from "../../failure/failure.ts";
import type { GrpcClient, GrpcDuplex } from "../../grpc/client.ts";
import {
  CONFIG_STREAM_PATH,
  CONFIG_STREAM_TYPE,
  decodeUpdate,
  encodeClientFrame,
  FRAME_LIMITS,
  type ClientFrame,
  type Hello,
  type RefusedField,
  type SentDocument,
} from "./frames.ts";

/** What one update may hold. */
export const UPDATE_LIMITS = {
  /** All its messages: as much as a folder of resources. */
  bytes: 64 * 1024 * 1024,
  /** Messages: an update of that size in parts of the usual one, many times over. */
  parts: 4_096,
} as const;

/** Messages that wait for an authority that takes none: more changes than that are a stream that is dead. */
const MAX_WAITING_FRAMES = 1_000;

/** All of an update. */
export interface WholeUpdate {
  readonly nonce: number;
  readonly version: string;
  readonly set: ReadonlyMap<string, SentDocument>;
  readonly removed: ReadonlySet<string>;
  readonly answered: readonly string[];
  /** What its messages took. */
  readonly bytes: number;
}

interface Parts {
  readonly nonce: number;
  readonly set: Map<string, SentDocument>;
  readonly removed: Set<string>;
  readonly answered: string[];
  bytes: number;
  count: number;
}

/** See the head of the file. */
export class StreamCall {
  /** Why it has ended; CONFIGURATION_UNAVAILABLE. */
  readonly ended: Promise<Failure>;
  readonly #onUpdate: (update: WholeUpdate) => void;
  readonly #stream: GrpcDuplex;
  readonly #waiting: ClientFrame[] = [];
  #takes = true;
  #parts: Parts | undefined;
  /** Of the update that has neither been acknowledged nor refused. */
  #open: number | undefined;
  #lastNonce = 0;
  #broken: string | undefined;

  /** `onUpdate` must not throw. */
  constructor(client: GrpcClient, hello: Hello, subscribe: readonly string[], onUpdate: (update: WholeUpdate) => void) {
    this.#onUpdate = onUpdate;
    this.#stream = client.duplex(
      { method: CONFIG_STREAM_PATH, contentType: CONFIG_STREAM_TYPE },
      { onMessage: (message) => this.#take(message), onDrain: () => this.#flush() },
    );
    this.ended = this.#stream.ended.then((end) =>
      fail("CONFIGURATION_UNAVAILABLE", this.#broken ?? `the configuration stream has ended: ${end.toString()}`),
    );
    this.#send({ kind: "hello", hello, subscribe });
  }

  /** Asks for destinations, and for others no longer. */
  want(subscribe: readonly string[], unsubscribe: readonly string[]): void {
    this.#send({ kind: "subscribe", subscribe, unsubscribe });
  }

  ack(nonce: number): void {
    if (nonce !== this.#open) return;
    this.#open = undefined;
    this.#send({ kind: "ack", nonce });
  }

  nack(nonce: number, problems: readonly RefusedField[]): void {
    if (nonce !== this.#open) return;
    this.#open = undefined;
    this.#send({ kind: "nack", nonce, problems });
  }

  close(): void {
    this.#stream.cancel();
  }

  #send(frame: ClientFrame): void {
    this.#waiting.push(frame);
    if (this.#takes) this.#flush();
    else if (this.#waiting.length > MAX_WAITING_FRAMES) this.#breakOff("the authority takes no messages");
  }

  #flush(): void {
    this.#takes = true;
    for (let frame = this.#waiting.shift(); frame !== undefined; frame = this.#waiting.shift()) {
      this.#takes = this.#stream.send(encodeClientFrame(frame));
      if (!this.#takes) return;
    }
  }

  #take(message: Buffer): void {
    if (this.#broken !== undefined) return;
    const frame = decodeUpdate(message);
    if (typeof frame === "string") return this.#breakOff(`an unfit message of the authority: ${frame}`);
    if (this.#open !== undefined) {
      return this.#breakOff(`update ${frame.nonce} before ${this.#open} was acknowledged`);
    }
    if (this.#parts === undefined && frame.nonce <= this.#lastNonce) {
      return this.#breakOff(`update ${frame.nonce} after ${this.#lastNonce}`);
    }
    const parts: Parts = (this.#parts ??= {
      nonce: frame.nonce,
      set: new Map(),
      removed: new Set(),
      answered: [],
      bytes: 0,
      count: 0,
    });
    if (frame.nonce !== parts.nonce) return this.#breakOff(`a part of update ${frame.nonce} within ${parts.nonce}`);
    parts.bytes += message.length;
    parts.count += 1;
    for (const id of frame.removed) {
      parts.set.delete(id);
      parts.removed.add(id);
    }
    for (const [id, sent] of frame.set) {
      parts.removed.delete(id);
      parts.set.set(id, sent);
    }
    parts.answered.push(...frame.answered);
    const excess = excessOf(parts);
    if (excess !== undefined) return this.#breakOff(`update ${parts.nonce}: ${excess}`);
    if (frame.more) return;
    this.#parts = undefined;
    this.#open = parts.nonce;
    this.#lastNonce = parts.nonce;
    const { nonce, set, removed, answered, bytes } = parts;
    this.#onUpdate({ nonce, version: frame.version, set, removed, answered, bytes });
  }

  #breakOff(why: string): void {
    this.#broken ??= why;
    this.#stream.cancel();
  }
}

function excessOf({ set, removed, answered, bytes, count }: Parts): string | undefined {
  if (bytes > UPDATE_LIMITS.bytes) return `expected at most ${UPDATE_LIMITS.bytes} bytes, found more`;
  if (count > UPDATE_LIMITS.parts) return `expected at most ${UPDATE_LIMITS.parts} messages, found more`;
  const documents = Math.max(set.size, removed.size);
  if (documents > FRAME_LIMITS.documents) return `expected at most ${FRAME_LIMITS.documents} documents, found more`;
  return answered.length > FRAME_LIMITS.keys ? `expected at most ${FRAME_LIMITS.keys} answers, found more` : undefined;
}
