// Machine. Mesh resources from the authority: the documents that this proxy needs and no others, kept while the authority is away.
// Loaded only where an authority is configured.
import { fail, type Failure } from "../../failure/failure.ts";
import { workloadOf } from "../../identity/spiffe-id.ts";
import type { Timer } from "../../net/clock.ts";
import type { LastGoodStore } from "../last-good.ts";
import { formatProblem } from "../problem-text.ts";
import type { ResourceSource } from "../resource-source.ts";
import { openLastGood, ResourcesInUse, type ResourcesOptions } from "../resources-in-use.ts";
import type { Demanded, Problem, Snapshot } from "../snapshot.ts";
import { unfitRoots } from "./authority-client.ts";
import { joined, judgeUpdate, type DocumentReading, type Held } from "./documents.ts";
import { FRAME_LIMITS, type Hello } from "./frames.ts";
import { ReconnectingStream, type ReconnectingOptions, type StreamUser } from "./reconnecting-stream.ts";
import type { StreamCall } from "./stream-call.ts";
import type { StreamLimits, StreamNeeds, StreamStatus } from "./stream-options.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { WholeUpdate } from "./update-parts.ts";

/** What `openResourceStream` needs. */
export interface ResourceStreamOptions extends ResourcesOptions, StreamNeeds, ReconnectingOptions {
  readonly limits: StreamLimits;
  /** Told again and again, one line each, while there are no resources. */
  readonly onWaiting: (reason: string) => void;
  /** Gives up what is opened. */
  readonly signal?: AbortSignal;
}

/** An authority that is there answers in this; then what was kept is better than nothing. */
const RESTORE_AFTER_MS = 3_000;

/**
 * Opens the stream, and waits for the first resources: the authority's, or those that were kept, if it cannot be had. Fails as
 * reading the roots does. Undefined when `signal` has given it up.
 */
export async function openResourceStream(
  options: ResourceStreamOptions,
): Promise<ResourceSource | Failure | undefined> {
  const unfit = options.client === undefined ? await unfitRoots(options.authority) : undefined;
  if (unfit !== undefined) return unfit;
  const source = new ResourceStream(options, await openLastGood(options));
  options.signal?.addEventListener("abort", () => source.close());
  return (await source.open()) ? source : undefined;
}

class ResourceStream implements ResourceSource, StreamUser {
  readonly #options: ResourceStreamOptions;
  readonly #inUse: ResourcesInUse;
  readonly #store: LastGoodStore | undefined;
  readonly #authority: ReconnectingStream;
  readonly #subscriptions: Subscriptions;
  readonly #opened = Promise.withResolvers<boolean>();
  readonly #counts = { applied: 0, refused: 0 };
  #reading: DocumentReading;
  #keptFiles: ((held: Held, keys: readonly string[]) => readonly Uint8Array[]) | undefined;
  #held: Held = new Map();
  #version = "";
  /** When an earlier process kept what is held, until something is in use. */
  #keptAt: number | undefined;
  #restoring: Timer | undefined;
  /** The first problems of the newest update; empty while it is in use. */
  #problems: readonly Problem[] = [];
  /** States are taken into use one after another. */
  #applying: Promise<void> = Promise.resolve();
  readonly #reloading: (() => void)[] = [];
  #isClosed = false;

  constructor(options: ResourceStreamOptions, store: LastGoodStore | undefined) {
    const { clock, limits, identity } = options;
    this.#options = options;
    this.#store = store;
    this.#inUse = new ResourcesInUse(options);
    this.#reading = { kinds: options.routing?.kinds, keep: undefined };
    this.#authority = new ReconnectingStream(options, this);
    this.#subscriptions = new Subscriptions({
      clock,
      limits,
      namespace: () => workloadOf(identity.get().svid.id)?.namespace ?? "default",
      snapshot: () => (this.#inUse.any ? this.#inUse.get() : undefined),
      connected: () => this.#authority.isConnected,
      onChange: (wanted, unwanted) => this.#authority.want(wanted, unwanted),
    });
  }

  /** Answers whether there are resources: not after `close`. */
  async open(): Promise<boolean> {
    await this.#readKept();
    if (this.#isClosed) return false;
    if (this.#keptAt !== undefined) {
      const why = fail("CONFIGURATION_UNAVAILABLE", "no answer yet");
      this.#restoring = this.#options.clock.after(RESTORE_AFTER_MS, () => this.#restore(why));
    }
    this.#options.onWaiting(`${this.#authority.name}: waiting for the authority's first answer`);
    this.#authority.open();
    return this.#opened.promise;
  }

  get asOf(): number {
    // While the authority is there, what it has not changed is what it holds.
    return this.#isUpToDate ? this.#options.clock.now() : this.#inUse.asOf;
  }

  get isRestored(): boolean {
    return this.#inUse.isRestored;
  }

  get stream(): StreamStatus {
    return {
      connected: this.#authority.isConnected,
      version: this.#version,
      documents: this.#held.size,
      subscriptions: this.#subscriptions.size,
      waiting: this.#subscriptions.waiting,
      connects: this.#authority.connects,
      ...this.#counts,
      problems: this.#problems,
    };
  }

  get(): Snapshot {
    return this.#inUse.get();
  }

  onChange(listener: (snapshot: Snapshot) => void): () => void {
    return this.#inUse.onChange(listener);
  }

  demand(destination: Demanded): Promise<Failure | undefined> | undefined {
    return this.#subscriptions.demand(destination);
  }

  keep(users: () => Iterable<Demanded>): () => void {
    return this.#subscriptions.keep(users);
  }

  reload(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reloading.push(resolve);
      this.#authority.restart();
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#restoring?.cancel();
    this.#subscriptions.close();
    this.#store?.close();
    this.#inUse.close();
    this.#authority.close();
    this.#answerReloads();
    this.#opened.resolve(false);
  }

  settled(): Promise<void> {
    return this.#applying;
  }

  greeting(): { readonly hello: Hello; readonly subscribe: readonly string[] } {
    const asker = this.#options.asker();
    const have = new Map([...this.#held].map(([id, { version }]) => [id, version]));
    const hello: Hello =
      asker.proxy === "uproxy"
        ? { ...asker, addresses: asker.addresses.slice(0, FRAME_LIMITS.addresses), gateway: undefined, have }
        : { ...asker, workload: undefined, addresses: [], have };
    return { hello, subscribe: this.#subscriptions.keys() };
  }

  take(call: StreamCall, update: WholeUpdate): void {
    this.#applying = this.#apply(call, update, this.#applying);
  }

  ended(): void {
    if (this.#isUpToDate) this.#inUse.asOf = this.#options.clock.now();
  }

  lost(failure: Failure): void {
    if (!this.#inUse.any) this.#options.onWaiting(failure.toString());
    this.#restore(failure);
    this.#answerReloads();
  }

  /** Whether what is in use is what the authority says now. */
  get #isUpToDate(): boolean {
    return this.#authority.isConnected && this.#problems.length === 0;
  }

  /** Never rejects. */
  async #apply(call: StreamCall, update: WholeUpdate, before: Promise<void>): Promise<void> {
    await before;
    const isSame = update.set.size === 0 && update.removed.size === 0;
    const judged = isSame
      ? { held: this.#held, parsed: undefined }
      : await judgeUpdate(this.#held, update, this.#reading);
    if (this.#isClosed) return;
    if (!("held" in judged)) return this.#refuse(call, update, judged);
    if (judged.parsed !== undefined || !this.#inUse.any || this.isRestored || this.#problems.length > 0) {
      const parsed = judged.parsed ?? joined(judged.held);
      if (!(await this.#inUse.use(parsed, () => this.#options.clock.now()))) return;
    }
    this.#held = judged.held;
    this.#version = update.version;
    this.#problems = [];
    this.#counts.applied += 1;
    this.#subscriptions.answered(update.answered);
    this.#store?.save(() => this.#keptFiles?.(this.#held, this.#subscriptions.answeredKeys()) ?? []);
    call.ack(update.nonce);
    this.#inUseNow();
  }

  #refuse(call: StreamCall, update: WholeUpdate, problems: readonly Problem[]): void {
    const [first] = problems;
    const text = first === undefined ? "" : formatProblem(first);
    this.#counts.refused += 1;
    call.nack(
      update.nonce,
      problems.map(({ resource, path, text: what }) => ({ resource, path, text: what })),
    );
    const failure = fail("CONFIGURATION_UNAVAILABLE", `what the authority sends is refused: ${text}`);
    this.#subscriptions.refused(update.answered, failure);
    const shown = problems.slice(0, FRAME_LIMITS.problems);
    if (JSON.stringify(shown) !== JSON.stringify(this.#problems)) this.#options.onEvent({ kind: "kept", problems });
    this.#problems = shown;
    if (this.#inUse.any) this.#answerReloads();
    else {
      this.#options.onWaiting(failure.toString());
      this.#restore(failure);
    }
  }

  async #readKept(): Promise<void> {
    const { lastGood, onEvent } = this.#options;
    if (lastGood === undefined) return;
    const { readLastGood } = await import("../last-good.ts");
    const { keepDocument, keptFiles, readKept } = await import("./kept-documents.ts");
    this.#reading = { ...this.#reading, keep: keepDocument };
    this.#keptFiles = keptFiles;
    const found = await readLastGood(lastGood);
    if (typeof found === "string") {
      // Nothing is kept before the first start.
      if (!found.includes("ENOENT")) onEvent({ kind: "not-restored", text: found });
      return;
    }
    const kept = readKept(found, this.#reading);
    if (typeof kept === "string") return onEvent({ kind: "not-restored", text: `${lastGood}: ${kept}` });
    this.#held = kept.held;
    this.#subscriptions.restore(kept.keys);
    this.#keptAt = found.savedAt;
  }

  /** Takes what was kept into use, if there is nothing better. */
  #restore(why: Failure): void {
    const savedAt = this.#keptAt;
    this.#keptAt = undefined;
    if (savedAt === undefined) return;
    const before = this.#applying;
    this.#applying = this.#useKept(savedAt, why, before);
  }

  async #useKept(savedAt: number, why: Failure, before: Promise<void>): Promise<void> {
    await before;
    if (this.#inUse.any || !(await this.#inUse.use(joined(this.#held), () => savedAt, true))) return;
    const { detail } = why;
    const problem: Problem = { file: "authority", line: 0, resource: "", path: "", text: detail, severity: "error" };
    this.#options.onEvent({ kind: "restored", savedAt, problems: [problem] });
    this.#inUseNow();
  }

  #inUseNow(): void {
    this.#restoring?.cancel();
    this.#keptAt = undefined;
    this.#answerReloads();
    this.#opened.resolve(true);
  }

  #answerReloads(): void {
    for (const resolve of this.#reloading.splice(0)) resolve();
  }
}
