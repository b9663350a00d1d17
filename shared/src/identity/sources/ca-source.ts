// Machine. An identity from a certificate authority: the key is made here, the certificate asked for and renewed in time, and the
// valid one kept whatever the authority does. Of Culvert's own authority, whom to trust is heard as well.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { bundleFromPem } from "../bundle.ts";
import { makeIdentity, sameTrust, selfCheck } from "../identity.ts";
import { readPublicFile } from "../read-file.ts";
import type { Identity, IdentityEvent, ReloadableSource, Revocations, SourceState } from "../source.ts";
import { trustDomainOf } from "../spiffe-id.ts";
import type { SpiffeId } from "../spiffe-id.ts";
import { authoritiesOf, takeRevocations } from "../trust/revocations.ts";
import { identityFromAnswer, objectionTo } from "./answer.ts";
import type { CertificateSigner } from "./certificate-signer.ts";
import { newKeyAndRequest } from "./csr.ts";
import { Expiry } from "./expiry.ts";
import { keepIdentity, readKeptIdentity } from "./kept-identity.ts";
import { Published } from "./published.ts";
import { Renewal } from "./renewal.ts";
import type { TrustState, TrustStream } from "./trust-stream.ts";

/** What a source needs. */
export interface CaSourceOptions {
  /** What the authority is called in `/certificates`. */
  readonly name: string;
  readonly signer: CertificateSigner;
  /** File of the token, read anew for each request. */
  readonly token: string | undefined;
  /** Whether a certificate in use is proof enough to be given the next. */
  readonly renewsByCertificate: boolean;
  /** Who we are by a token, as far as a token tells; `undefined`: whoever the authority says that we are. */
  readonly expected: (token: string) => SpiffeId | undefined | Failure;
  /** File that keeps the last certificate and key. */
  readonly store: string | undefined;
  /** The roots of the authority, PEM, where they are those of the certificates that it gives, too. */
  readonly roots?: string;
  readonly lifeMs: number;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
  readonly random?: () => number;
  /** Gives up what is opened. */
  readonly signal?: AbortSignal | undefined;
  /** Opens the stream of trust, where the authority has one. */
  readonly watchTrust?: (
    identity: () => Identity,
    onState: (state: TrustState) => void,
    onFailure: (failure: Failure) => void,
  ) => TrustStream;
}

const EXPIRY_CHECK_MS = 1_000;
const MAX_TOKEN = 16 * 1024;

/**
 * Opens the source; resolves once there is an identity, kept or new, however long the authority takes: each try that fails is an
 * event. Fails at once when the first try already finds a local file unfit: the token, or what is kept.
 */
export async function openCaSource(options: CaSourceOptions): Promise<ReloadableSource | Failure> {
  const kept = options.store === undefined ? undefined : await readKeptIdentity(options.store);
  if (isFailure(kept) && kept.code === "IDENTITY_UNAVAILABLE") return kept;
  const source = new CaSource(options);
  // What is kept and unfit is replaced by the first answer.
  if (isFailure(kept)) options.onEvent({ kind: "awaited", failure: kept });
  options.signal?.addEventListener("abort", () => source.close(), { once: true });
  const failure = await source.open(isFailure(kept) ? undefined : kept);
  if (failure === undefined) return source;
  source.close();
  return failure;
}

class CaSource implements ReloadableSource {
  readonly #options: CaSourceOptions;
  readonly #published = new Published();
  readonly #renewal: Renewal;
  readonly #expiryCheck: Timer;
  /** Resolves with the first identity, or with the reason for which there will be none. */
  readonly #first = Promise.withResolvers<Failure | undefined>();
  #trustStream: TrustStream | undefined;
  #trust: TrustState | undefined;
  #revocations: Revocations = new Map();
  readonly #expiry = new Expiry();
  #tried = false;
  #closed = false;
  /** The last write of what is kept. */
  #keeping: Promise<void> = Promise.resolve();
  /** The certificate was refused as proof: the token is, until one is given out again. */
  #certificateRefused = false;

  constructor(options: CaSourceOptions) {
    this.#options = options;
    this.#renewal = new Renewal({
      clock: options.clock,
      renew: () => this.#renew(),
      notAfter: () => this.#published.now?.svid.notAfter,
      random: options.random ?? Math.random,
    });
    this.#expiryCheck = options.clock.every(EXPIRY_CHECK_MS, () => this.#tellExpiry());
  }

  async open(kept: Identity | undefined): Promise<Failure | undefined> {
    const objection = kept === undefined ? undefined : await this.#objectionToKept(kept);
    if (objection !== undefined) this.#options.onEvent({ kind: "awaited", failure: objection });
    if (kept !== undefined && objection === undefined) {
      this.#publish(kept);
      const doubt = this.#doubtOf(kept);
      if (doubt === undefined) this.#renewal.schedule();
      else {
        this.#options.onEvent({ kind: "doubtful", failure: doubt });
        this.#certificateRefused = true;
        void this.#renewal.now();
      }
    } else void this.#renewal.now();
    return this.#first.promise;
  }

  /**
   * What is kept may be of an authority that was made anew since: peers would refuse it for the rest of its life. The token is tried at
   * once then; what is kept stays in use until there is another, for it may as well be the file of roots that is old.
   */
  #doubtOf({ svid }: Identity): Failure | undefined {
    const { roots, clock } = this.#options;
    if (roots === undefined) return undefined;
    const domain = trustDomainOf(svid.id);
    const bundle = bundleFromPem(domain, roots);
    if (isFailure(bundle)) return bundle;
    const judged = makeIdentity(svid, new Map([[domain, bundle]]));
    return isFailure(judged) ? judged : selfCheck(judged, clock.now());
  }

  /** What is kept may have ended, or be what another workload has left here. */
  async #objectionToKept(kept: Identity): Promise<Failure | undefined> {
    const proof = this.#options.renewsByCertificate ? undefined : await this.#proof(undefined);
    const expected = proof === undefined || isFailure(proof) ? undefined : proof.expected;
    return objectionTo(kept, expected, this.#options.clock.now());
  }

  get(): Identity {
    return this.#published.get();
  }

  onChange(listener: (identity: Identity) => void): () => void {
    return this.#published.onChange(listener);
  }

  /** Asks for a new certificate now. */
  reload(): Promise<void> {
    return this.#renewal.now();
  }

  get state(): SourceState {
    const { state, nextInMs, failures, lastFailure } = this.#renewal.state;
    return { source: this.#options.name, state, nextInMs, failures, lastFailure };
  }

  close(): void {
    this.#closed = true;
    this.#renewal.close();
    this.#expiryCheck.cancel();
    this.#trustStream?.close();
    this.#options.signer.close();
    this.#published.close();
  }

  async #renew(): Promise<Failure | undefined> {
    const failure = await this.#ask();
    const kind = this.#published.now === undefined ? "awaited" : "kept";
    if (failure !== undefined && !this.#closed) this.#options.onEvent({ kind, failure });
    return failure;
  }

  async #ask(): Promise<Failure | undefined> {
    const { signer, lifeMs, clock } = this.#options;
    const current = this.#published.now;
    const proof = await this.#proof(current);
    if (isFailure(proof)) {
      // At the start a wrong path is told at once; later the file may be just about to be replaced.
      if (!this.#tried) this.#first.resolve(proof);
      return proof;
    }
    this.#tried = true;
    const expected = current?.svid.id ?? proof.expected;
    const { keyPem, csrPem } = newKeyAndRequest(expected);
    const answer = await signer.sign({ csrPem, lifeMs, token: proof.token, current });
    if ("failure" in answer) {
      if (answer.isRefusal) this.#certificateRefused = proof.token === undefined;
      return answer.failure;
    }
    const identity = identityFromAnswer(answer.chain, keyPem);
    if (isFailure(identity)) return identity;
    const objection = objectionTo(identity, expected, clock.now());
    if (objection !== undefined) return objection;
    const trusting = this.#trusting(identity);
    // The roots in an answer are taken where nothing else tells of them, or nothing can: without a certificate that counts there is no
    // stream that would tell of a new root.
    if (current !== undefined && current.svid.notAfter > clock.now()) {
      const foreign = objectionTo(trusting, expected, clock.now());
      if (foreign !== undefined) return foreign;
    }
    // Before it is used: a one-time token is spent now.
    await this.#keep(trusting);
    if (this.#closed) return undefined;
    this.#certificateRefused = false;
    this.#publish(identity);
    return undefined;
  }

  /** What to prove ourselves with: the certificate in use where that is enough, else the token. */
  async #proof(
    current: Identity | undefined,
  ): Promise<{ readonly token: string | undefined; readonly expected: SpiffeId | undefined } | Failure> {
    const { token: path, renewsByCertificate, expected: expectedBy, clock } = this.#options;
    const certificateCounts =
      renewsByCertificate && current !== undefined && current.svid.notAfter > clock.now() && !this.#certificateRefused;
    if (certificateCounts || path === undefined) {
      if (current !== undefined) return { token: undefined, expected: undefined };
      return fail("IDENTITY_UNAVAILABLE", "neither a token nor a certificate that is kept: nothing proves who we are");
    }
    const text = await readPublicFile(path);
    if (isFailure(text)) return text;
    const token = text.trim();
    if (!/^[\x21-\x7e]+$/.test(token) || token.length > MAX_TOKEN) {
      return fail("IDENTITY_UNAVAILABLE", `${path}: holds no token`);
    }
    const expected = expectedBy(token);
    return isFailure(expected) ? fail(expected.code, `${path}: ${expected.detail}`) : { token, expected };
  }

  /** One write after the other, so that the last one is what stays. */
  #keep(identity: Identity): Promise<void> {
    const { store, onEvent } = this.#options;
    if (store === undefined) return this.#keeping;
    const before = this.#keeping;
    const keep = async (): Promise<void> => {
      await before;
      const failure = await keepIdentity(store, identity);
      if (failure !== undefined) onEvent({ kind: "doubtful", failure });
    };
    this.#keeping = keep();
    return this.#keeping;
  }

  #publish(identity: Identity): void {
    const isFirst = this.#published.now === undefined;
    const trusting = this.#trusting(identity);
    if (!isFirst) this.#options.onEvent({ kind: "changed", identity: trusting });
    this.#published.put(trusting);
    if (!isFirst) return this.#trustStream?.restart();
    this.#first.resolve(undefined);
    this.#trustStream = this.#options.watchTrust?.(
      () => this.#published.get(),
      (state) => this.#takeTrust(state),
      (failure) => this.#options.onEvent({ kind: "kept", failure }),
    );
  }

  #takeTrust(state: TrustState): void {
    const current = this.#published.get();
    const authorities = authoritiesOf(state.bundles, current.svid.chain);
    const { revocations, problems } = takeRevocations(this.#revocations, state.revocationLists, authorities);
    for (const failure of problems) this.#options.onEvent({ kind: "doubtful", failure });
    const identity = makeIdentity(current.svid, state.bundles, { revocations });
    if (isFailure(identity)) return this.#options.onEvent({ kind: "kept", failure: identity });
    this.#trust = state;
    this.#revocations = revocations;
    if (sameTrust(identity, current)) return;
    this.#options.onEvent({ kind: "trust-changed", identity });
    const doubt = objectionTo(identity, undefined, this.#options.clock.now());
    if (doubt !== undefined) this.#options.onEvent({ kind: "doubtful", failure: doubt });
    this.#published.put(identity);
    void this.#keep(identity);
  }

  /** An answer brings the roots above it; whom else to trust, and whom no longer, only the stream knows. */
  #trusting(identity: Identity): Identity {
    if (this.#trust === undefined) return identity;
    const trusting = makeIdentity(identity.svid, this.#trust.bundles, { revocations: this.#revocations });
    return isFailure(trusting) ? identity : trusting;
  }

  #tellExpiry(): void {
    const failure = this.#expiry.due(this.#published.now?.svid, this.#options.clock.now());
    if (failure !== undefined) this.#options.onEvent({ kind: "expired", failure });
  }
}
