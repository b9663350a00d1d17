// Machine. For tests: an authority on streams in memory that says what the test says, and a source that listens to it.
import { performServerHandshake, type ServerHttp2Stream } from "node:http2";
import { duplexPair } from "node:stream";
import type { TestContext } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { staticSource, testIdentity, type TestSource } from "@culvert/test/support/identity.ts";
import { until } from "@culvert/test/support/until.ts";
import { fail, type Failure } from "../../failure/failure.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { Deframer, framed } from "../../grpc/framing.ts";
import { CallEnd } from "../../grpc/status.ts";
import type { Identity } from "../../identity/source.ts";
import { systemClock } from "../../net/clock.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import { loadDocuments } from "../load.ts";
import type { ResourceEvent, ResourceSource } from "../resource-source.ts";
import type { Problem } from "../snapshot.ts";
import {
  decodeClientFrame,
  encodeUpdate,
  FRAME_LIMITS,
  packDocument,
  type ClientFrame,
  type Hello,
  type PackedDocument,
} from "./frames.ts";
import type { Asker, StreamLimits } from "./stream-options.ts";
import { openResourceStream, type ResourceStreamOptions } from "./stream-source.ts";

export const LIMITS: StreamLimits = { configurationWaitMs: 5_000, subscriptionIdleMs: 100_000, maxSubscriptions: 8 };

/** A workload of that name, label and address. */
export const entry = (name: string, address = "10.0.0.1"): string =>
  `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}, labels: {app: ${name}}}\nspec: {address: ${address}}\n`;
/** A Service that selects the workloads of its name. */
export const service = (name: string, vip?: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {${vip === undefined ? "" : `clusterIP: ${vip}, `}selector: {app: ${name}}, ports: [{port: 80}]}\n`;
/** A Service with a port that is none. */
export const BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: many}]}\n";

/** Documents of YAML, packed, under their ids. */
export function documents(text: string, file = "mesh.yaml"): Map<string, PackedDocument> {
  const set = new Map<string, PackedDocument>();
  for (const loaded of loadDocuments(file, Buffer.from(text))) {
    if ("error" in loaded) throw new Error(loaded.error.text);
    const { node } = loaded;
    const kind = /^kind: (\S+)/m.exec(
      text
        .split("\n")
        .slice(node.line - 1)
        .join("\n"),
    )?.[1];
    const rest = text
      .split("\n")
      .slice(node.line - 1)
      .join("\n");
    const name = /name: ([\w.-]+)/.exec(rest)?.[1];
    set.set(kind === "Namespace" ? `Namespace ${name}` : `${kind} default/${name}`, packDocument(node));
  }
  return set;
}

/** What an update of the fake says; the nonce and the version are its own. */
export interface Said {
  readonly set?: ReadonlyMap<string, PackedDocument>;
  readonly removed?: readonly string[];
  readonly answered?: readonly string[];
  readonly more?: boolean;
  readonly nonce?: number;
}

/** A message that says it. */
export function update(nonce: number, said: Said): Uint8Array {
  const { set = new Map(), removed = [], answered = [], more = false } = said;
  return encodeUpdate({ nonce, version: `v${nonce}`, set, removed, answered, more });
}

/** One stream as the authority sees it. */
export class FakeStream {
  readonly frames: ClientFrame[] = [];
  isOver = false;
  readonly #stream: ServerHttp2Stream;
  #nonce = 0;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
    const deframer = new Deframer(FRAME_LIMITS.clientBytes);
    stream.on("error", () => undefined);
    stream.on("close", () => (this.isOver = true));
    stream.on("data", (chunk: Buffer) => {
      const messages = deframer.take(chunk);
      if (messages instanceof CallEnd) throw new Error(messages.toString());
      for (const message of messages) {
        const frame = decodeClientFrame(message);
        if (typeof frame === "string") throw new Error(frame);
        this.frames.push(frame);
      }
    });
    stream.respond({ ":status": 200, "content-type": "application/grpc+msgpack" }, { waitForTrailers: true });
  }

  /** Of the update that was said last. */
  get lastNonce(): number {
    return this.#nonce;
  }

  get hello(): Hello & { readonly subscribe: readonly string[] } {
    const [first] = this.frames;
    if (first?.kind !== "hello") throw new Error("no hello");
    return { ...first.hello, subscribe: first.subscribe };
  }

  /** Says an update, or a part of one; returns its nonce. */
  say(said: Said): number {
    const nonce = said.nonce ?? this.#nonce + 1;
    if (said.more !== true) this.#nonce = nonce;
    this.raw(update(nonce, said));
    return nonce;
  }

  /** Messages in one piece. */
  raw(...messages: readonly Uint8Array[]): void {
    this.#stream.write(Buffer.concat(messages.map(framed)));
  }

  end(status: number, message = ""): void {
    this.#stream.on("wantTrailers", () =>
      this.#stream.sendTrailers({ "grpc-status": String(status), "grpc-message": message }),
    );
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.session?.destroy();
  }

  /** The keys that were asked for after the hello. */
  wanted(): string[] {
    return this.frames.flatMap((frame) => (frame.kind === "subscribe" ? frame.subscribe : []));
  }

  unwanted(): string[] {
    return this.frames.flatMap((frame) => (frame.kind === "subscribe" ? frame.unsubscribe : []));
  }

  /** Waits for the ACK, or NACK, of an update. */
  async outcome(nonce: number): Promise<ClientFrame> {
    const found = (): ClientFrame | undefined =>
      this.frames.find((frame) => (frame.kind === "ack" || frame.kind === "nack") && frame.nonce === nonce);
    await until(`an outcome of ${nonce}`, () => found() !== undefined);
    const frame = found();
    if (frame === undefined) throw new Error("gone");
    return frame;
  }
}

/** An authority that is there, or is not. */
export class FakeAuthority {
  readonly streams: FakeStream[] = [];
  away: Failure | undefined;
  /** Identities that were shown, one a stream. */
  readonly shown: string[] = [];
  readonly client = async (own: Identity): Promise<GrpcClient | Failure> => {
    if (this.away !== undefined) return this.away;
    this.shown.push(own.svid.id);
    const [ours, theirs] = duplexPair();
    const session = performServerHandshake(theirs);
    session.on("error", () => undefined);
    theirs.on("error", () => undefined);
    session.on("stream", (stream: ServerHttp2Stream) => this.streams.push(new FakeStream(stream)));
    return new GrpcClient({
      dial: () => ours,
      authority: "authority",
      secure: false,
      // Its PINGs are answered in real time.
      clock: systemClock,
      maxMessageBytes: FRAME_LIMITS.serverBytes,
    });
  };

  /** The stream of that number, from 1, once it has said hello. */
  async stream(number: number): Promise<FakeStream> {
    await until(`stream ${number}`, () => (this.streams[number - 1]?.frames.length ?? 0) > 0);
    const stream = this.streams[number - 1];
    if (stream === undefined) throw new Error("gone");
    return stream;
  }
}

/** A source that is being opened, and what it has said. */
export interface Fixture {
  readonly clock: FakeClock;
  readonly authority: FakeAuthority;
  readonly identity: TestSource;
  readonly events: ResourceEvent[];
  /** `connected`, or why not. */
  readonly connection: string[];
  readonly waiting: string[];
  readonly opening: Promise<ResourceSource>;
}

const testCa = await testAuthority("cluster.local");
/** The account that asks. */
export const OWN: Identity = await testIdentity(testCa, "default", "reviews");

export function fixture(context: TestContext, options: Partial<ResourceStreamOptions> = {}): Fixture {
  const clock = new FakeClock();
  const authority = new FakeAuthority();
  const identity = staticSource(OWN);
  const [events, connection, waiting]: [ResourceEvent[], string[], string[]] = [[], [], []];
  const asker: Asker = { proxy: "uproxy", workload: "default/reviews-1", addresses: [] };
  const givingUp = new AbortController();
  const opening = openResourceStream({
    clock,
    identity,
    asker: () => asker,
    authority: { address: { host: "authority", port: 15012 }, bundle: undefined, serverName: undefined },
    limits: LIMITS,
    onEvent: (event) => events.push(event),
    onWaiting: (reason) => waiting.push(reason),
    events: {
      onConnected: () => connection.push("connected"),
      onDisconnected: (failure) => connection.push(failure.toString()),
    },
    client: authority.client,
    signal: givingUp.signal,
    ...options,
  }).then((source) => {
    if (source === undefined || !("get" in source)) throw new Error(`not opened: ${String(source)}`);
    return source;
  });
  // A test that gives up looks at what it has found out itself.
  opening.catch(() => undefined);
  context.after(() => givingUp.abort());
  return { clock, authority, identity, events, connection, waiting, opening };
}

/** Opened with one workload. */
export async function opened(f: Fixture): Promise<ResourceSource> {
  const stream = await f.authority.stream(1);
  stream.say({ set: documents(entry("a")) });
  return f.opening;
}

/** Lets time pass until the authority has been asked that often. */
export async function untilStream({ clock, authority }: Fixture, number: number): Promise<FakeStream> {
  await until(`stream ${number}`, () => {
    clock.advance(500);
    return authority.streams.length >= number;
  });
  return authority.stream(number);
}

export function awayFailure(): Failure {
  return fail("CONFIGURATION_UNAVAILABLE", "connection refused");
}

/** What is wrong, of the events that say so. */
export function keptProblems(events: readonly ResourceEvent[]): readonly (readonly Problem[])[] {
  return events.flatMap((event) => (event.kind === "kept" ? [event.problems] : []));
}
