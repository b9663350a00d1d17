// Machine. What the authority says of whom to trust, as long as it runs: bundles of all trust domains and revocation lists
// (culvert.identity.v1.TrustService/WatchTrust). Each message replaces all before it; what was last said stays when it is gone.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { GrpcClient } from "../../grpc/client.ts";
import { bytesOf, decodeMessage, mapOf } from "../../grpc/message.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { bundleFromDer } from "../bundle.ts";
import type { Bundle, Identity, RevocationList } from "../source.ts";
import { parseTrustDomain } from "../spiffe-id.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { revocationListsFromDers } from "../trust/revocations.ts";
import { grpcTo, nameOf, tlsTo } from "./certificate-signer.ts";
import type { AuthorityAddress } from "./certificate-signer.ts";

/** What one message says. */
export interface TrustState {
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
  readonly revocationLists: readonly RevocationList[];
}

/** What the stream needs. */
export interface TrustStreamOptions {
  readonly address: AuthorityAddress;
  readonly clock: Clock;
  /** Who asks: shown to the authority. */
  readonly identity: () => Identity;
  readonly onState: (state: TrustState) => void;
  /** The stream has ended, or a message is unfit. It is opened again by itself. */
  readonly onFailure: (failure: Failure) => void;
}

const METHOD = "/culvert.identity.v1.TrustService/WatchTrust";
/** Fields of TrustState. */
const BUNDLES = 2;
const CRLS = 3;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const MAX_TRUST_DOMAINS = 256;
/** From half a second to a second after the first failure, at most 150 s. */
const RETRY = { baseMs: 1_000, capMs: 150_000 };

/** See the head of the file. */
export class TrustStream {
  readonly #options: TrustStreamOptions;
  #client: GrpcClient | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #closed = false;

  constructor(options: TrustStreamOptions) {
    this.#options = options;
    void this.#run();
  }

  /** Asks again with the identity of now. */
  restart(): void {
    if (this.#retry !== undefined) {
      this.#retry.cancel();
      this.#retry = undefined;
      void this.#run();
    } else this.#client?.reset();
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#client?.close();
  }

  async #run(): Promise<void> {
    const { address, clock, identity } = this.#options;
    const own = identity();
    const tls = await tlsTo(address, own);
    if (this.#closed) return;
    if (isFailure(tls)) return this.#again(tls);
    // The certificate was replaced while the file was read.
    if (identity().svid !== own.svid) return void this.#run();
    this.#client = grpcTo(address, () => tls, clock, MAX_MESSAGE_BYTES);
    const stream = this.#client.stream({ method: METHOD, message: Buffer.alloc(0) }, (message) => this.#take(message));
    const end = await stream.ended;
    this.#client.close();
    this.#client = undefined;
    if (this.#closed) return;
    // A new certificate of ours ends the stream: not a failure, and no reason to wait.
    if (identity().svid !== own.svid) void this.#run();
    else this.#again(fail("IDENTITY_NOT_GIVEN", `${nameOf(address)}: the trust stream has ended: ${end.toString()}`));
  }

  #again(failure: Failure): void {
    this.#failures += 1;
    this.#options.onFailure(failure);
    this.#retry = this.#options.clock.after(backoffDelay(RETRY, this.#failures, Math.random()), () => {
      this.#retry = undefined;
      void this.#run();
    });
  }

  #take(message: Buffer): void {
    const state = trustStateOf(message);
    if (isFailure(state)) {
      this.#options.onFailure(fail(state.code, `${nameOf(this.#options.address)}: ${state.detail}`));
      return;
    }
    this.#failures = 0;
    this.#options.onState(state);
  }
}

/** Reads a message of the stream. Fails with IDENTITY_MALFORMED; all of it counts, or nothing. */
export function trustStateOf(message: Uint8Array): TrustState | Failure {
  const fields = decodeMessage(message);
  const entries = fields === undefined ? undefined : mapOf(fields, BUNDLES);
  if (fields === undefined || entries === undefined) return fail("IDENTITY_MALFORMED", "the trust is no message");
  if (entries.size > MAX_TRUST_DOMAINS) return fail("IDENTITY_MALFORMED", `bundles of ${entries.size} trust domains`);
  const bundles = new Map<TrustDomain, Bundle>();
  for (const [name, der] of entries) {
    const domain = parseTrustDomain(name);
    if (isFailure(domain)) return domain;
    const bundle = bundleFromDer(domain, der);
    if (isFailure(bundle)) return bundle;
    bundles.set(domain, bundle);
  }
  const revocationLists = revocationListsFromDers(bytesOf(fields, CRLS), "revocation lists");
  return isFailure(revocationLists) ? revocationLists : { bundles, revocationLists };
}
