// Machine. The configuration stream: who is let in, each change to those whom it concerns and to nobody half of one, and an end in order.
// The protocol is in `shared/src/config/stream/frames.ts`.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { setImmediate as turn } from "node:timers/promises";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { Caller } from "../proof/proof.ts";
import { byCertificate } from "../proof/prover.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import { Tally } from "../tally.ts";
import { BegunMessages } from "./begun-messages.ts";
import { ConfigCall } from "./config-call.ts";
import type { CallKeeper, CallNeeds } from "./config-call.ts";
import type { ClientFacts } from "./config-client.ts";
import type { ConfigEvents } from "./config-events.ts";
import { ConfigLine } from "./config-line.ts";
import type { MeshChange } from "./mesh.ts";
import { SharedScopes } from "./shared-scopes.ts";
import type { WatchedMesh } from "./watched-mesh.ts";

export interface ConfigStreamsOptions {
  readonly trustDomain: () => TrustDomain;
  readonly source: Pick<WatchedMesh, "mesh" | "isUsable">;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly events: ConfigEvents;
}

/** Scopes that are worked out, and clients that are served, before others get a turn: some milliseconds. */
const PER_TURN = 16;
/** How often clients that do not answer are looked for. */
const TICK_MS = 5_000;

/** See the head of the file. */
export class ConfigStreams {
  readonly #options: ConfigStreamsOptions;
  readonly #scopes: SharedScopes;
  readonly #needs: CallNeeds;
  readonly #begun = new BegunMessages<ConfigLine>();
  /** Streams that were admitted, and how many of them each identity has. */
  readonly #lines = new Set<ConfigLine>();
  readonly #linesOf = new Tally<SpiffeId>();
  /** Calls that have said hello. */
  readonly #calls = new Set<ConfigCall>();
  /** Those of them that may have something to be told. */
  readonly #due = new Set<ConfigCall>();
  readonly #keeper: CallKeeper = {
    opened: (call) => void this.#calls.add(call),
    concerned: (call) => void this.#due.add(call),
    ready: (call) => {
      if (this.#settling > 0) this.#due.add(call);
      else this.#tell(call);
    },
    closed: (call) => {
      this.#calls.delete(call);
      this.#due.delete(call);
    },
  };
  readonly #tick: Timer;
  /** Changes that are being worked out: until they are, nobody is told half of them. */
  #settling = 0;
  #changes: Promise<void> = Promise.resolve();
  #isDraining = false;

  constructor(options: ConfigStreamsOptions) {
    const { source, limits, clock, events } = options;
    this.#options = options;
    this.#scopes = new SharedScopes(source.mesh.index);
    this.#needs = { mesh: source.mesh, scopes: this.#scopes, limits, clock, events };
    this.#tick = clock.every(TICK_MS, () => this.#endSilent());
  }

  /** Clients that have said hello. */
  get size(): number {
    return this.#calls.size;
  }

  /** Streams, those that have not said hello counted. */
  get open(): number {
    return this.#lines.size;
  }

  /** Bytes of messages that have begun. */
  get begunBytes(): number {
    return this.#begun.total;
  }

  /** Scopes that are kept up. */
  get scopes(): number {
    return this.#scopes.size;
  }

  /** What is known of each client. */
  clients(): readonly ClientFacts[] {
    return [...this.#calls].map((call) => call.facts).filter((facts) => facts !== undefined);
  }

  /** The mesh has changed; settles when all whom it concerns have been told, or will be with their next update. */
  changed(change: MeshChange): Promise<void> {
    this.#settling += 1;
    this.#changes = this.#settle(change, this.#changes);
    return this.#changes;
  }

  /** Serves one call, whatever it sends. */
  serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, caller: Caller): void {
    const { limits, clock, events } = this.#options;
    const line = new ConfigLine(stream, clock, limits, this.#begun);
    const id = this.#admit(headers, caller);
    if (isFailure(id)) {
      events.refused(caller.remote, undefined, id);
      return line.end(id);
    }
    this.#count(line, id);
    stream.once("close", () => this.#uncount(line, id));
    const call = new ConfigCall(line, id, caller.remote, this.#needs, this.#keeper);
    stream.once("close", () => call.close());
    line.start(id);
  }

  /** Ends every stream; who comes later is refused. */
  drain(): void {
    this.#isDraining = true;
    this.#tick.cancel();
    for (const line of this.#lines) line.end(shuttingDown());
  }

  /** Who calls, if it may at all. */
  #admit(headers: IncomingHttpHeaders, caller: Caller): SpiffeId | Failure {
    const { source, trustDomain, limits } = this.#options;
    if (headers[":method"] !== "POST") return fail("MISBEHAVING_PEER", "the method is not POST");
    if (this.#isDraining) return shuttingDown();
    if (caller.certificate === undefined) return fail("PROOF_MISSING", "no client certificate");
    if (isFailure(caller.certificate)) return caller.certificate;
    const proof = byCertificate(caller.certificate, trustDomain());
    if (isFailure(proof)) return proof;
    if (!source.isUsable) return fail("CONFIGURATION_UNAVAILABLE", "the authority has no usable resources yet");
    if (this.#lines.size >= limits.maxSessions) return fail("RATE_EXCEEDED", `${limits.maxSessions} streams`);
    // A session has room for many.
    if (this.#linesOf.of(proof.id) >= limits.maxSessionsPerCaller) {
      return fail("RATE_EXCEEDED", `${limits.maxSessionsPerCaller} streams of ${proof.id}`);
    }
    return proof.id;
  }

  #count(line: ConfigLine, id: SpiffeId): void {
    this.#lines.add(line);
    this.#linesOf.add(id);
  }

  #uncount(line: ConfigLine, id: SpiffeId): void {
    this.#lines.delete(line);
    this.#linesOf.remove(id);
  }

  /** Works a change out after those before it, and tells when it was the last one. */
  async #settle({ topics, ids }: MeshChange, before: Promise<void>): Promise<void> {
    await before;
    const scopes = this.#scopes.changed(topics, ids);
    for (let steps = 1; scopes.next().done !== true; steps += 1) if (steps % PER_TURN === 0) await turn();
    this.#settling -= 1;
    if (this.#settling > 0) return;
    let told = 0;
    for (const call of this.#due) {
      // A change that has come meanwhile tells those who are left of both.
      if (this.#settling > 0) return;
      const { unfit } = call;
      if (unfit === undefined) this.#tell(call);
      else call.refuse(unfit);
      told += 1;
      if (told % PER_TURN === 0) await turn();
    }
  }

  #tell(call: ConfigCall): void {
    this.#due.delete(call);
    call.send();
  }

  #endSilent(): void {
    const { acknowledgeMs } = this.#options.limits;
    for (const call of this.#calls) {
      if (call.waitingMs < acknowledgeMs) continue;
      call.refuse(fail("RATE_EXCEEDED", `an update has had no answer for ${acknowledgeMs / 1000} s`));
    }
  }
}

function shuttingDown(): Failure {
  return fail("DRAINING", "the authority is shutting down");
}
