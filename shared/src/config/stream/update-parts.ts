// Pure. An update put together of its messages. What the messages hold stays packed until it is judged, message after message: trees take
// twenty times the bytes that they came in.
import { decodeUpdate, FRAME_LIMITS, type SentDocument, type UpdateFrame } from "./frames.ts";

/** What one update may hold. */
export const UPDATE_LIMITS = {
  /** All its messages: as much as a folder of resources. */
  bytes: 64 * 1024 * 1024,
  /** Nodes of all documents: of the smallest ones many go into few bytes, and each takes its time. */
  nodes: 4_000_000,
  /** Messages: an update of that size in parts of the usual one, many times over. */
  parts: 4_096,
} as const;

/** Documents by id, each once. A `Map` of them is one. */
export interface SentDocuments extends Iterable<readonly [id: string, sent: SentDocument]> {
  readonly size: number;
}

/** All of an update. */
export interface WholeUpdate {
  readonly nonce: number;
  readonly version: string;
  readonly set: SentDocuments;
  readonly removed: ReadonlySet<string>;
  readonly answered: readonly string[];
  /** What its messages took. */
  readonly bytes: number;
}

/** See the head of the file. */
export class UpdateParts {
  readonly nonce: number;
  readonly #messages: Buffer[] = [];
  /** The message that each document stands in last. */
  readonly #set = new Map<string, number>();
  readonly #removed = new Set<string>();
  readonly #answered: string[] = [];
  #bytes = 0;
  #nodes = 0;

  constructor(nonce: number) {
    this.nonce = nonce;
  }

  /** Adds a message; what is wrong with all of them when it is too much. */
  add(message: Buffer, { set, nodes, removed, answered }: UpdateFrame): string | undefined {
    for (const id of removed) {
      this.#set.delete(id);
      this.#removed.add(id);
    }
    for (const id of set.keys()) {
      this.#removed.delete(id);
      this.#set.set(id, this.#messages.length);
    }
    this.#answered.push(...answered);
    this.#messages.push(message);
    this.#bytes += message.length;
    this.#nodes += nodes;
    return this.#excess();
  }

  /** All of it, with `last` as the message that was added last. */
  whole({ nonce, version, set }: UpdateFrame): WholeUpdate {
    const all = { nonce, version, removed: this.#removed, answered: this.#answered, bytes: this.#bytes };
    if (this.#messages.length === 1) return { ...all, set };
    return { ...all, set: { size: this.#set.size, [Symbol.iterator]: () => this.#documents() } };
  }

  *#documents(): Generator<readonly [string, SentDocument]> {
    for (const [index, message] of this.#messages.entries()) {
      const frame = decodeUpdate(message);
      // It was one when it came.
      if (typeof frame === "string") continue;
      for (const one of frame.set) if (this.#set.get(one[0]) === index) yield one;
    }
  }

  #excess(): string | undefined {
    const { bytes, nodes, parts } = UPDATE_LIMITS;
    if (this.#bytes > bytes) return `expected at most ${bytes} bytes, found more`;
    if (this.#nodes > nodes) return `expected at most ${nodes} nodes, found more`;
    if (this.#messages.length > parts) return `expected at most ${parts} messages, found more`;
    const { documents, keys } = FRAME_LIMITS;
    if (Math.max(this.#set.size, this.#removed.size) > documents)
      return `expected at most ${documents} documents, found more`;
    return this.#answered.length > keys ? `expected at most ${keys} answers, found more` : undefined;
  }
}
