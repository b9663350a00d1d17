// Machine. One configuration stream as long as it lasts: hello, what is asked for and no longer, updates put together of their parts,
// one at a time, each to be acknowledged or refused. What breaks the rules ends it.
import { fail, type Failure } from "../../failure/failure.ts";
import type { GrpcClient, GrpcDuplex } from "../../grpc/client.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import {
  CONFIG_STREAM_PATH,
  CONFIG_STREAM_TYPE,
  decodeUpdate,
  encodeClientFrame,
  type ClientFrame,
  type Hello,
  type RefusedField,
} from "./frames.ts";
import { UpdateParts, type WholeUpdate } from "./update-parts.ts";

/** Messages that wait for an authority that takes none: more changes than that are a stream that is dead. */
const MAX_WAITING_FRAMES = 1_000;
/** Whoever has not heard an update by then asks again, perhaps another instance: ten thousand clients at once are told in two minutes. */
export const FIRST_UPDATE_MS = 300_000;

/** See the head of the file. */
export class StreamCall {
  /** Why it has ended; CONFIGURATION_UNAVAILABLE. */
  readonly ended: Promise<Failure>;
  readonly #onUpdate: (update: WholeUpdate) => void;
  readonly #stream: GrpcDuplex;
  readonly #waiting: ClientFrame[] = [];
  #takes = true;
  #parts: UpdateParts | undefined;
  /** Of the update that has neither been acknowledged nor refused. */
  #open: number | undefined;
  #lastNonce = 0;
  #broken: string | undefined;
  readonly #overdue: Timer;

  /** `onUpdate` must not throw. */
  constructor(
    client: GrpcClient,
    clock: Clock,
    hello: Hello,
    subscribe: readonly string[],
    onUpdate: (update: WholeUpdate) => void,
  ) {
    this.#overdue = clock.after(FIRST_UPDATE_MS, () => this.#breakOff(`no update within ${FIRST_UPDATE_MS / 1_000} s`));
    this.#onUpdate = onUpdate;
    this.#stream = client.duplex(
      { method: CONFIG_STREAM_PATH, contentType: CONFIG_STREAM_TYPE },
      { onMessage: (message) => this.#take(message), onDrain: () => this.#flush() },
    );
    this.ended = this.#stream.ended.then((end) => {
      this.#overdue.cancel();
      return fail("CONFIGURATION_UNAVAILABLE", this.#broken ?? `the configuration stream has ended: ${end.toString()}`);
    });
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
    const parts = (this.#parts ??= new UpdateParts(frame.nonce));
    if (frame.nonce !== parts.nonce) return this.#breakOff(`a part of update ${frame.nonce} within ${parts.nonce}`);
    const excess = parts.add(message, frame);
    if (excess !== undefined) return this.#breakOff(`update ${parts.nonce}: ${excess}`);
    if (frame.more) return;
    this.#overdue.cancel();
    this.#parts = undefined;
    this.#open = parts.nonce;
    this.#lastNonce = parts.nonce;
    this.#onUpdate(parts.whole(frame));
  }

  #breakOff(why: string): void {
    this.#broken ??= why;
    this.#parts = undefined;
    this.#stream.cancel();
  }
}
