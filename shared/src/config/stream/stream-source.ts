// Machine. Mesh resources from the authority: the documents that this proxy needs and no others, kept while the authority is away.
// Loaded only where an authority is configured.
import { fail, isFailure, type Failure } from "../../failure/failure.ts";
import type { GrpcClient } from "../../grpc/client.ts";
import type { Identity } from "../../identity/source.ts";
import { workloadOf } from "../../identity/spiffe-id.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Timer } from "../../net/clock.ts";
import { formatHostPort } from "../../net/ip.ts";
import type { LastGoodStore } from "../last-good.ts";
import { formatProblem } from "../problem-text.ts";
import type { ResourceAuthority } from "../process-config.ts";
import type { ResourceSource } from "../resource-source.ts";
import { openLastGood, ResourcesInUse, type ResourcesOptions } from "../resources-in-use.ts";
import type { Demanded, Problem, Snapshot } from "../snapshot.ts";
import { clientOf, unfitRoots } from "./authority-client.ts";
import { joined, judgeUpdate, type DocumentReading, type Held } from "./documents.ts";
import { FRAME_LIMITS, type Hello } from "./frames.ts";
import { StreamCall, type WholeUpdate } from "./stream-call.ts";
import type { StreamEvents, StreamLimits, StreamNeeds, StreamStatus } from "./stream-options.ts";
import { Subscriptions } from "./subscriptions.ts";

/** What `openResourceStream` needs. */
export interface ResourceStreamOptions extends ResourcesOptions, StreamNeeds {
  readonly authority: ResourceAuthority;
  readonly limits: StreamLimits;
  readonly events: StreamEvents;
  /** Told again and again, one line each, while there are no resources. */
  readonly onWaiting: (reason: string) => void;
  /** Gives up what is opened. */
  readonly signal?: AbortSignal;
  /** Opens the way to the authority; mutual TLS as `identity` and `authority` say when not given. */
  readonly client?: (own: Identity) => Promise<GrpcClient | Failure>;
}

/** From half a second to a second after the first failure, at most half a minute: with jitter, for many are lost together. */
const RETRY = { baseMs: 1_000, capMs: 30_000 };
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

class ResourceStream implements ResourceSource {
  readonly #options: ResourceStreamOptions;
  readonly #name: string;
  readonly #inUse: ResourcesInUse;
  readonly #store: LastGoodStore | undefined;
  readonly #subscriptions: Subscriptions;
  readonly #stopWatching: () => void;
  readonly #opened = Promise.withResolvers<boolean>();
  readonly #counts = { applied: 0, refused: 0, connects: 0 };
  #reading: DocumentReading;
  #keptFiles: ((held: Held, keys: readonly string[]) => readonly Uint8Array[]) | undefined;
  #held: Held = new Map();
  #version = "";
  /** When an earlier process kept what is held, until something is in use. */
  #keptAt: number | undefined;
  #call: StreamCall | undefined;
  #client: GrpcClient | undefined;
  #retry: Timer | undefined;
  #restoring: Timer | undefined;
  #failures = 0;
  /** Whether the stream that is open has been answered. */
  #isConnected = false;
  /** What was told last of the connection; empty: that it is there. */
  #told: string | undefined;
  /** The problems that were last reported, as text; empty while the newest update is in use. */
  #reported = "";
  /** States are taken into use one after another. */
  #applying: Promise<void> = Promise.resolve();
  /** Whether a stream that ends now was ended here, to begin another. */
  #isRestarting = false;
  readonly #reloading: (() => void)[] = [];
  #isClosed = false;

  constructor(options: ResourceStreamOptions, store: LastGoodStore | undefined) {
    const { clock, limits, identity, authority } = options;
    this.#options = options;
    this.#store = store;
    this.#name = formatHostPort(authority.address.host, authority.address.port);
    this.#inUse = new ResourcesInUse(options);
    this.#reading = { kinds: options.routing?.kinds, keep: undefined };
    this.#subscriptions = new Subscriptions({
      clock,
      limits,
      namespace: () => workloadOf(identity.get().svid.id)?.namespace ?? "default",
      snapshot: () => (this.#inUse.any ? this.#inUse.get() : undefined),
      connected: () => this.#isConnected,
      onChange: (wanted, unwanted) => this.#call?.want(wanted, unwanted),
    });
    let shown = identity.get().svid;
    this.#stopWatching = identity.onChange(({ svid }) => {
      if (svid === shown) return;
      shown = svid;
      this.#restart();
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
    this.#options.onWaiting(`${this.#name}: waiting for the authority's first answer`);
    void this.#run();
    return this.#opened.promise;
  }

  get asOf(): number {
    // While the authority is there, what it has not changed is what it holds.
    return this.#isConnected && this.#reported === "" ? this.#options.clock.now() : this.#inUse.asOf;
  }

  get isRestored(): boolean {
    return this.#inUse.isRestored;
  }

  get stream(): StreamStatus {
    return {
      connected: this.#isConnected,
      version: this.#version,
      documents: this.#held.size,
      subscriptions: this.#subscriptions.size,
      waiting: this.#subscriptions.waiting,
      ...this.#counts,
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
      this.#restart();
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#restoring?.cancel();
    this.#stopWatching();
    this.#subscriptions.close();
    this.#store?.close();
    this.#inUse.close();
    this.#client?.close();
    this.#settled();
    this.#opened.resolve(false);
  }

  /** Begins anew, with the certificate of now; what is held stays. */
  #restart(): void {
    if (this.#retry === undefined) {
      this.#isRestarting = true;
      this.#client?.close();
      return;
    }
    this.#retry.cancel();
    this.#retry = undefined;
    void this.#run();
  }

  /** One stream from its beginning to its end. Never rejects. */
  async #run(): Promise<void> {
    this.#isRestarting = false;
    const { identity, authority, clock } = this.#options;
    const own = identity.get();
    const client = await (this.#options.client?.(own) ?? clientOf(authority, own, clock));
    // What is held is what hello tells, and what the first update adds to.
    await this.#applying;
    if (this.#isClosed) return isFailure(client) ? undefined : client.close();
    if (isFailure(client)) return this.#again(client);
    this.#client = client;
    this.#counts.connects += 1;
    const call = new StreamCall(client, this.#hello(), this.#subscriptions.keys(), (update) =>
      this.#take(call, update),
    );
    this.#call = call;
    // The certificate was replaced while the file was read.
    if (this.#isRestarting) client.close();
    const failure = await call.ended;
    client.close();
    this.#call = undefined;
    this.#client = undefined;
    if (this.#isConnected && this.#reported === "") this.#inUse.asOf = clock.now();
    this.#isConnected = false;
    if (this.#isClosed) return;
    if (this.#isRestarting) void this.#run();
    else this.#again(failure);
  }

  #hello(): Hello {
    const asker = this.#options.asker();
    const have = new Map([...this.#held].map(([id, { version }]) => [id, version]));
    return asker.proxy === "uproxy"
      ? { ...asker, addresses: asker.addresses.slice(0, FRAME_LIMITS.addresses), gateway: undefined, have }
      : { ...asker, workload: undefined, addresses: [], have };
  }

  #again(why: Failure): void {
    const { clock, events, onWaiting } = this.#options;
    this.#failures += 1;
    const failure = fail("CONFIGURATION_UNAVAILABLE", `${this.#name}: ${why.detail}`);
    if (this.#told !== failure.detail) events.onDisconnected(failure);
    this.#told = failure.detail;
    if (!this.#inUse.any) onWaiting(failure.toString());
    this.#restore(failure);
    this.#settled();
    this.#retry = clock.after(backoffDelay(RETRY, this.#failures, Math.random()), () => {
      this.#retry = undefined;
      void this.#run();
    });
  }

  #take(call: StreamCall, update: WholeUpdate): void {
    this.#failures = 0;
    this.#isConnected = true;
    if (this.#told !== "") this.#options.events.onConnected();
    this.#told = "";
    this.#applying = this.#apply(call, update, this.#applying);
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
    if (judged.parsed !== undefined || !this.#inUse.any || this.isRestored || this.#reported !== "") {
      const parsed = judged.parsed ?? joined(judged.held);
      if (!(await this.#inUse.use(parsed, () => this.#options.clock.now()))) return;
    }
    this.#held = judged.held;
    this.#version = update.version;
    this.#reported = "";
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
    const report = JSON.stringify(problems);
    if (report !== this.#reported) this.#options.onEvent({ kind: "kept", problems });
    this.#reported = report;
    if (this.#inUse.any) this.#settled();
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
    this.#settled();
    this.#opened.resolve(true);
  }

  #settled(): void {
    for (const resolve of this.#reloading.splice(0)) resolve();
  }
}
