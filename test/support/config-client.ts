// Machine. A client of the configuration stream for tests: it holds what it is told, and answers as the test says.
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import {
  CONFIG_STREAM_PATH,
  CONFIG_STREAM_TYPE,
  decodeUpdate,
  encodeClientFrame,
  type ClientFrame,
  type Hello,
  type SentDocument,
  type UpdateFrame,
} from "@culvert/shared/config/stream/frames.ts";
import { answerOf, beginCall, framed, type GrpcAnswer } from "./grpc.ts";
import { until } from "./until.ts";

/** See the head of the file. */
export class ConfigTestClient {
  /** What it holds, by id. */
  readonly held = new Map<string, SentDocument>();
  readonly updates: UpdateFrame[] = [];
  readonly answered = new Set<string>();
  /** Whether it acknowledges by itself. */
  isWilling = true;
  /** Told of each whole update. */
  onUpdate: (update: UpdateFrame) => void = () => undefined;
  readonly ended: Promise<GrpcAnswer>;
  /** Bytes of all messages that came. */
  bytes = 0;
  readonly #stream: ClientHttp2Stream;

  constructor(session: ClientHttp2Session, hello: Partial<Hello> | "none" = {}, subscribe: readonly string[] = []) {
    this.#stream = beginCall(session, CONFIG_STREAM_PATH, { "content-type": CONFIG_STREAM_TYPE });
    this.ended = answerOf(this.#stream, (message) => this.#take(message));
    if (hello === "none") return;
    const whole = { proxy: "uproxy", workload: undefined, addresses: [], gateway: undefined, have: new Map() } as const;
    this.say({ kind: "hello", hello: { ...whole, ...hello }, subscribe });
  }

  say(frame: ClientFrame): void {
    this.raw(framed(encodeClientFrame(frame)));
  }

  raw(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  ack(): void {
    const nonce = this.updates.at(-1)?.nonce;
    if (nonce !== undefined) this.say({ kind: "ack", nonce });
  }

  nack(resource: string, path: string, text: string): void {
    const nonce = this.updates.at(-1)?.nonce;
    if (nonce !== undefined) this.say({ kind: "nack", nonce, problems: [{ resource, path, text }] });
  }

  /** Versions of what it holds, for the next hello. */
  have(): ReadonlyMap<string, string> {
    return new Map([...this.held].map(([id, { version }]) => [id, version]));
  }

  /** The ids that it holds, once there has been that many updates. */
  async ids(updates = 1): Promise<readonly string[]> {
    await until(`update ${updates}`, () => this.updates.length >= updates || undefined);
    return [...this.held.keys()].toSorted();
  }

  /** Reads no more. */
  pause(): void {
    this.#stream.pause();
  }

  close(): void {
    this.#stream.close(8);
  }

  #take(message: Uint8Array): void {
    const update = decodeUpdate(message);
    if (typeof update === "string") throw new Error(update);
    this.bytes += message.length;
    for (const [id, document] of update.set) this.held.set(id, document);
    for (const id of update.removed) this.held.delete(id);
    for (const key of update.answered) this.answered.add(key);
    if (update.more) return;
    this.updates.push(update);
    this.onUpdate(update);
    if (this.isWilling) this.ack();
  }
}
