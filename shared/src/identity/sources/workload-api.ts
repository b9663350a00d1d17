// Machine. An identity from the SPIFFE Workload API (SPIFFE_Workload_API section 5), such as SPIRE's agent has it: a stream on a UNIX
// socket in which each message replaces all before it. Keys and bundles are the agent's; what is unfit never replaces what is good.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { dialUnix } from "../../grpc/dial.ts";
import { bytesOf, decodeMessage, encodeMessage, mapOf, textOf } from "../../grpc/message.ts";
import type { Field } from "../../grpc/message.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { bundleFromDer } from "../bundle.ts";
import { makeIdentity, sameTrust, selfCheck } from "../identity.ts";
import type { Bundle, Identity, IdentityEvent, ReloadableSource, Revocations, SourceState, Svid } from "../source.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../spiffe-id.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { svidFromDer } from "../svid.ts";
import { authoritiesOf, revocationListsFromDers, takeRevocations } from "../trust/revocations.ts";
import { Published } from "./published.ts";

/** What the source needs. */
export interface WorkloadApiOptions {
  /** Path of the agent's socket. */
  readonly socket: string;
  /** Which identity to take where there are several; `undefined`: the first, which the agent means to be the default. */
  readonly hint: string | undefined;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
}

const METHOD = "/SpiffeWorkloadAPI/FetchX509SVID";
/** Without it an agent refuses the call, so that no browser can be made to ask. */
const METADATA = { "workload.spiffe.io": "true" };
/** Fields of X509SVIDResponse, and of X509SVID in it. */
const RESPONSE = { svids: 1, crl: 2, federatedBundles: 3 } as const;
const SVID = { id: 1, chain: 2, key: 3, bundle: 4, hint: 5 } as const;

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const MAX_SVIDS = 256;
const MAX_TRUST_DOMAINS = 256;
/** An agent answers at once or, where it does not know us yet, refuses. */
const RETRY = { baseMs: 500, capMs: 30_000 };
const EXPIRY_CHECK_MS = 1_000;

/** Opens the source; resolves once the agent has given us an identity, however long it takes: each try that fails is an event. */
export async function openWorkloadApi(options: WorkloadApiOptions): Promise<ReloadableSource> {
  const source = new WorkloadApi(options);
  await source.first;
  return source;
}

class WorkloadApi implements ReloadableSource {
  readonly #options: WorkloadApiOptions;
  readonly #client: GrpcClient;
  readonly #published = new Published();
  readonly #expiryCheck: Timer;
  readonly #first = Promise.withResolvers<void>();
  #revocations: Revocations = new Map();
  #failures = 0;
  #lastFailure: Failure | undefined;
  #retry: Timer | undefined;
  #retryAtMs = 0;
  #expiryTold = false;
  #closed = false;

  constructor(options: WorkloadApiOptions) {
    const { socket, clock } = options;
    this.#options = options;
    this.#client = new GrpcClient({
      dial: () => dialUnix(socket),
      authority: "localhost",
      secure: false,
      clock,
      maxMessageBytes: MAX_MESSAGE_BYTES,
    });
    this.#expiryCheck = clock.every(EXPIRY_CHECK_MS, () => this.#tellExpiry());
    void this.#watch();
  }

  /** Resolves with the first identity. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  get(): Identity {
    return this.#published.get();
  }

  onChange(listener: (identity: Identity) => void): () => void {
    return this.#published.onChange(listener);
  }

  /** Connects now, if it waits to do so; while the stream runs the agent tells by itself. */
  reload(): Promise<void> {
    if (this.#retry !== undefined) {
      this.#retry.cancel();
      this.#retry = undefined;
      void this.#watch();
    }
    return Promise.resolve();
  }

  get state(): SourceState {
    return {
      source: `workloadApi: ${this.#options.socket}`,
      state: this.#retry === undefined ? "watching" : "failing",
      nextInMs: this.#retry === undefined ? undefined : Math.max(0, this.#retryAtMs - this.#options.clock.monotonic()),
      failures: this.#failures,
      lastFailure: this.#lastFailure,
    };
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#expiryCheck.cancel();
    this.#client.close();
    this.#published.close();
  }

  async #watch(): Promise<void> {
    const call = { method: METHOD, message: encodeMessage([]), metadata: METADATA };
    const end = await this.#client.stream(call, (message) => this.#take(message)).ended;
    if (this.#closed) return;
    const { socket, clock } = this.#options;
    this.#tell(fail("IDENTITY_NOT_GIVEN", `Workload API at ${socket}: ${end.toString()}`));
    const delay = backoffDelay(RETRY, this.#failures, Math.random());
    this.#retryAtMs = clock.monotonic() + delay;
    this.#retry = clock.after(delay, () => {
      this.#retry = undefined;
      void this.#watch();
    });
  }

  #take(message: Buffer): void {
    const identity = this.#read(message);
    if (isFailure(identity)) {
      this.#tell(fail(identity.code, `Workload API at ${this.#options.socket}: ${identity.detail}`));
      return;
    }
    this.#failures = 0;
    this.#lastFailure = undefined;
    const before = this.#published.now;
    if (before?.svid.chainPem === identity.svid.chainPem && sameTrust(before, identity)) return;
    if (before !== undefined) {
      const kind = before.svid.chainPem === identity.svid.chainPem ? "trust-changed" : "changed";
      this.#options.onEvent({ kind, identity });
    }
    this.#expiryTold = false;
    this.#published.put(identity);
    this.#first.resolve();
  }

  /** All of a message counts, or nothing. */
  #read(message: Buffer): Identity | Failure {
    const { hint, clock } = this.#options;
    const fields = decodeMessage(message);
    if (fields === undefined) return fail("IDENTITY_MALFORMED", "the answer is no message");
    const chosen = chosenSvid(bytesOf(fields, RESPONSE.svids), hint);
    if (isFailure(chosen)) return chosen;
    const bundles = bundlesOf(fields, chosen);
    if (isFailure(bundles)) return bundles;
    const lists = revocationListsFromDers(bytesOf(fields, RESPONSE.crl), "crl");
    if (isFailure(lists)) return lists;
    const authorities = authoritiesOf(bundles, chosen.svid.chain);
    const { revocations, problems } = takeRevocations(this.#revocations, lists, authorities);
    for (const failure of problems) this.#options.onEvent({ kind: "doubtful", failure });
    const identity = makeIdentity(chosen.svid, bundles, { revocations });
    if (isFailure(identity)) return identity;
    const objection = selfCheck(identity, clock.now());
    if (objection !== undefined) return objection;
    this.#revocations = revocations;
    return identity;
  }

  #tell(failure: Failure): void {
    this.#failures += 1;
    this.#lastFailure = failure;
    this.#options.onEvent({ kind: this.#published.now === undefined ? "awaited" : "kept", failure });
  }

  #tellExpiry(): void {
    const svid = this.#published.now?.svid;
    if (svid === undefined || this.#expiryTold || this.#options.clock.now() <= svid.notAfter) return;
    this.#expiryTold = true;
    const ended = `${svid.id}: the certificate ended at ${new Date(svid.notAfter).toISOString()}`;
    this.#options.onEvent({ kind: "expired", failure: fail("IDENTITY_EXPIRED", ended) });
  }
}

/** One of the identities in an answer, with the bundle of its own trust domain. */
interface Chosen {
  readonly svid: Svid;
  readonly bundle: Bundle;
}

function chosenSvid(entries: readonly Uint8Array[], hint: string | undefined): Chosen | Failure {
  if (entries.length > MAX_SVIDS) return fail("IDENTITY_MALFORMED", `the answer has ${entries.length} identities`);
  const hints: string[] = [];
  for (const bytes of entries) {
    const fields = decodeMessage(bytes);
    if (fields === undefined) return fail("IDENTITY_MALFORMED", "an identity in the answer is no message");
    const found = textOf(fields, SVID.hint);
    if (hint === undefined || found === hint) return readSvid(fields);
    hints.push(found);
  }
  if (hint === undefined) return fail("IDENTITY_UNAVAILABLE", "the answer has no identity");
  const others = hints
    .slice(0, 8)
    .map((each) => JSON.stringify(each))
    .join(", ");
  return fail("IDENTITY_UNAVAILABLE", `no identity has the hint ${JSON.stringify(hint)}, found ${others || "none"}`);
}

function readSvid(fields: readonly Field[]): Chosen | Failure {
  const [chain, key, roots] = [SVID.chain, SVID.key, SVID.bundle].map(
    (number) => bytesOf(fields, number).at(-1) ?? new Uint8Array(),
  );
  const svid = svidFromDer(chain ?? new Uint8Array(), key ?? new Uint8Array());
  if (isFailure(svid)) return svid;
  const told = parseSpiffeId(textOf(fields, SVID.id));
  if (isFailure(told)) return told;
  if (told !== svid.id) return fail("IDENTITY_MISMATCH", `the certificate is ${svid.id}'s, the answer says ${told}`);
  const bundle = bundleFromDer(trustDomainOf(svid.id), roots ?? new Uint8Array());
  return isFailure(bundle) ? bundle : { svid, bundle };
}

function bundlesOf(fields: readonly Field[], { bundle }: Chosen): ReadonlyMap<TrustDomain, Bundle> | Failure {
  const federated = mapOf(fields, RESPONSE.federatedBundles);
  if (federated === undefined) return fail("IDENTITY_MALFORMED", "a federated bundle in the answer is no message");
  if (federated.size > MAX_TRUST_DOMAINS)
    return fail("IDENTITY_MALFORMED", `bundles of ${federated.size} trust domains`);
  const bundles = new Map<TrustDomain, Bundle>();
  for (const [name, der] of federated) {
    // Agents name a trust domain by its SPIFFE ID.
    const domain = parseTrustDomain(name.replace(/^spiffe:\/\//, ""));
    if (isFailure(domain)) return domain;
    const read = bundleFromDer(domain, der);
    if (isFailure(read)) return read;
    bundles.set(domain, read);
  }
  // The own domain's comes with the certificate, whatever else is said of it.
  return bundles.set(bundle.trustDomain, bundle);
}
