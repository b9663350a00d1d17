// Machine. An identity from a SPIFFE Workload API, such as that of SPIRE's agent: one stream of answers, each of which replaces all
// before it. The last good one is kept whatever the agent does, and the stream is opened again until we are closed.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { GrpcClient } from "../../grpc/client.ts";
import type { GrpcStream } from "../../grpc/client.ts";
import { dialUnix } from "../../grpc/dial.ts";
import { GRPC } from "../../grpc/status.ts";
import type { CallEnd } from "../../grpc/status.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { BackoffShape } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { makeIdentity, sameTrust, selfCheck } from "../identity.ts";
import type { Identity, IdentityEvent, ReloadableSource, SourceState } from "../source.ts";
import { authoritiesOf, takeRevocations } from "../trust/revocations.ts";
import { Expiry } from "./expiry.ts";
import { Published } from "./published.ts";
import { readX509Response } from "./workload-response.ts";
import type { X509Response } from "./workload-response.ts";

/** What the source needs. */
export interface WorkloadApiOptions {
  /** Path of the agent's UNIX socket; it may be a link, and may come later than we. */
  readonly socket: string;
  /** The hint of the SVID that is meant; undefined: the first, which the agent means to be the default. */
  readonly hint: string | undefined;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
  /** Gives up what is opened. */
  readonly signal?: AbortSignal | undefined;
}

const CALL = {
  method: "/SpiffeWorkloadAPI/FetchX509SVID",
  message: new Uint8Array(),
  // Without it an agent refuses the call, so that nobody can be made to ask in a browser's way.
  metadata: { "workload.spiffe.io": "true" },
} as const;

/** What gRPC's implementations take when nobody says otherwise. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** An agent is on the same node and has few callers: to ask it often costs nothing, and the app waits. */
const BACKOFF: BackoffShape = { baseMs: 500, capMs: 10_000 };
const LOOK_MS = 1_000;

/**
 * Opens the identity that the Workload API at `socket` gives. Resolves with the first good one, however long it takes, and tells with
 * `awaited` what it waits for: an agent that is not there, one that does not know this process yet (PermissionDenied), an answer
 * that cannot be used.
 */
export async function openWorkloadApi(options: WorkloadApiOptions): Promise<ReloadableSource> {
  const source = new WorkloadApi(options);
  options.signal?.addEventListener("abort", () => source.close(), { once: true });
  await source.first;
  return source;
}

class WorkloadApi implements ReloadableSource {
  /** Resolves with the first identity. */
  readonly first: Promise<void>;
  readonly #options: WorkloadApiOptions;
  readonly #client: GrpcClient;
  readonly #published = new Published();
  readonly #look: Timer;
  readonly #settle: () => void;
  #stream: GrpcStream | undefined;
  #retry: Timer | undefined;
  #retryAtMs = 0;
  /** Streams in a row that brought nothing usable. */
  #failures = 0;
  #lastFailure: Failure | undefined;
  /** What has been told since the last good answer: the same again is silent. */
  #told = "";
  #toldProblems: ReadonlySet<string> = new Set();
  readonly #expiry = new Expiry();
  #closed = false;

  constructor(options: WorkloadApiOptions) {
    const { clock, socket } = options;
    this.#options = options;
    ({ promise: this.first, resolve: this.#settle } = Promise.withResolvers<void>());
    this.#client = new GrpcClient({
      dial: () => dialUnix(socket),
      authority: "localhost",
      secure: false,
      clock,
      maxMessageBytes: MAX_MESSAGE_BYTES,
    });
    this.#look = clock.every(LOOK_MS, () => this.#tellExpiry());
    this.#ask();
  }

  get(): Identity {
    return this.#published.get();
  }

  onChange(listener: (identity: Identity) => void): () => void {
    return this.#published.onChange(listener);
  }

  get state(): SourceState {
    const { socket, clock } = this.#options;
    const isWaiting = this.#retry !== undefined;
    return {
      source: `workloadApi: ${socket}`,
      state: isWaiting ? "failing" : this.#published.now === undefined ? "waiting" : "watching",
      nextInMs: isWaiting ? Math.max(0, this.#retryAtMs - clock.monotonic()) : undefined,
      failures: this.#failures,
      lastFailure: this.#lastFailure,
    };
  }

  close(): void {
    this.#closed = true;
    this.#look.cancel();
    this.#retry?.cancel();
    this.#client.close();
    this.#published.close();
  }

  /** Asks the agent anew, over a new connection: the one that there is may hang. */
  reload(): Promise<void> {
    if (!this.#closed) this.#askAnew();
    return Promise.resolve();
  }

  #askAnew(): void {
    this.#failures = 0;
    this.#stream = undefined;
    this.#client.reset();
    this.#ask();
  }

  #ask(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    const stream = this.#client.stream(CALL, (message) => {
      if (this.#stream === stream) this.#take(message);
    });
    this.#stream = stream;
    void stream.ended.then((end) => this.#onEnd(stream, end));
  }

  #onEnd(stream: GrpcStream, end: CallEnd): void {
    // A stream that was given up ends, too.
    if (this.#closed || this.#stream !== stream) return;
    const reason =
      end.status === GRPC.permissionDenied ? `the agent has no identity for this process (${end.toString()})` : end;
    // An agent that was started anew is there again at the first retry: not worth a line while we have an identity.
    const isQuiet = this.#published.now !== undefined && this.#failures === 0;
    this.#failed(this.#failure("IDENTITY_NOT_GIVEN", reason.toString()), isQuiet);
  }

  #failure(code: Failure["code"], detail: string): Failure {
    return fail(code, `Workload API at ${this.#options.socket}: ${detail}`);
  }

  /** The stream has ended or is worth nothing: another one later. */
  #failed(failure: Failure, isQuiet: boolean): void {
    const { clock, onEvent } = this.#options;
    this.#failures += 1;
    this.#lastFailure = failure;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    const delayMs = backoffDelay(BACKOFF, this.#failures, Math.random());
    this.#retryAtMs = clock.monotonic() + delayMs;
    this.#retry = clock.after(delayMs, () => this.#ask());
    if (isQuiet || failure.detail === this.#told) return;
    this.#told = failure.detail;
    onEvent({ kind: this.#published.now === undefined ? "awaited" : "kept", failure });
  }

  #take(message: Uint8Array): void {
    const read = readX509Response(message, this.#options.hint, this.#published.now?.bundles ?? new Map());
    const problems: Failure[] = [];
    const identity = isFailure(read) ? read : this.#compose(read, problems);
    if (isFailure(identity)) {
      // The agent may know better by then; it would say nothing more by itself before half of the life is over.
      return this.#failed(this.#failure(identity.code, identity.detail), false);
    }
    this.#failures = 0;
    this.#lastFailure = undefined;
    this.#told = "";
    this.#use(identity);
    this.#tellProblems(problems);
  }

  #use(identity: Identity): void {
    const before = this.#published.now;
    const isRenewed = before?.svid.chainPem !== identity.svid.chainPem;
    if (!isRenewed && sameTrust(before, identity)) return;
    if (before !== undefined) this.#options.onEvent({ kind: isRenewed ? "changed" : "trust-changed", identity });
    this.#published.put(identity);
    this.#settle();
  }

  /** An identity of the answer, if a peer that trusts the same would take it; what else is to be said goes to `problems`. */
  #compose({ svid, bundles, lists, problems: read }: X509Response, problems: Failure[]): Identity | Failure {
    problems.push(...read);
    const known = this.#published.now?.revocations ?? new Map();
    const taken =
      lists === undefined
        ? { revocations: known, problems: [] }
        : takeRevocations(known, lists, authoritiesOf(bundles, svid.chain));
    problems.push(...taken.problems);
    const identity = makeIdentity(svid, bundles, { revocations: taken.revocations });
    if (isFailure(identity)) return identity;
    const objection = selfCheck(identity, this.#options.clock.now());
    if (objection === undefined) return identity;
    // A root or an issuer that is trusted no longer must lose its trust at once, even if our own certificate hangs on it.
    const isOld = this.#published.now?.svid.chainPem === svid.chainPem;
    if (objection.code !== "IDENTITY_REVOKED" && !(isOld && objection.code === "IDENTITY_UNTRUSTED")) return objection;
    problems.push(objection);
    return identity;
  }

  #tellProblems(problems: readonly Failure[]): void {
    const told = this.#toldProblems;
    this.#toldProblems = new Set(problems.map(({ detail }) => detail));
    for (const failure of problems) {
      if (!told.has(failure.detail)) this.#options.onEvent({ kind: "doubtful", failure });
    }
  }

  #tellExpiry(): void {
    const failure = this.#expiry.due(this.#published.now?.svid, this.#options.clock.now());
    if (failure === undefined) return;
    this.#options.onEvent({ kind: "expired", failure });
    // An agent that hangs answers PINGs still.
    this.#askAnew();
  }
}
