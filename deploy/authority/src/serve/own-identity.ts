// Machine. The certificate by which the authority itself serves: minted by itself, in memory, anew at half of its life and
// whenever another intermediate signs. It has the names by which callers dial, and an ID that no proof can lead to.
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { makeIdentity } from "@culvert/shared/identity/identity.ts";
import type { Identity, IdentitySource, Svid } from "@culvert/shared/identity/source.ts";
import { parseSpiffeId, trustDomainId } from "@culvert/shared/identity/spiffe-id.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { mintServerCertificate } from "../ca/sign.ts";
import type { AuthorityState, Issuer } from "../state/authority-state.ts";

const LIFE_MS = 24 * 3_600_000;
/** How often it is asked whether half of the life is over; by the wall clock, which may jump. */
const LOOK_MS = 30_000;

export interface OwnIdentityOptions {
  readonly state: AuthorityState;
  /** DNS names and IP addresses. */
  readonly names: readonly string[];
  readonly clock: Clock;
  /** A new certificate could not be had; the old one stays. */
  readonly onFailure: (failure: Failure) => void;
}

/** Mints the first certificate. Fails with IDENTITY_UNAVAILABLE when the authority itself has ended. */
export async function openOwnIdentity(options: OwnIdentityOptions): Promise<IdentitySource | Failure> {
  const own = new OwnIdentity(options);
  const identity = await own.renew();
  if (isFailure(identity)) {
    own.close();
    return identity;
  }
  return own;
}

class OwnIdentity implements IdentitySource {
  readonly #options: OwnIdentityOptions;
  readonly #listeners = new Set<(identity: Identity) => void>();
  readonly #stopWatching: () => void;
  readonly #timer: Timer;
  #identity: Identity | undefined;
  #issuer: Issuer | undefined;
  /** One renewal at a time, in order: each looks at the state of its own moment. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: OwnIdentityOptions) {
    this.#options = options;
    this.#stopWatching = options.state.onChange(() => void this.#renewOrTell());
    this.#timer = options.clock.every(LOOK_MS, () => {
      if (this.#isDue()) void this.#renewOrTell();
    });
  }

  get(): Identity {
    if (this.#identity === undefined) throw new Error("asked before the first certificate");
    return this.#identity;
  }

  onChange(listener: (identity: Identity) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#stopWatching();
    this.#timer.cancel();
    this.#listeners.clear();
  }

  /** Brings the identity up to the state of now. */
  renew(): Promise<Identity | Failure> {
    const turn = this.#turn.then(() => this.#renew());
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #renewOrTell(): Promise<void> {
    const outcome = await this.renew().catch((error: unknown) => fail("INTERNAL", String(error)));
    if (isFailure(outcome)) this.#options.onFailure(outcome);
  }

  async #renew(): Promise<Identity | Failure> {
    const { state } = this.#options;
    const issuer = state.issuer();
    const svid =
      this.#identity === undefined || issuer !== this.#issuer || this.#isDue()
        ? await this.#mint(issuer)
        : this.#identity.svid;
    if (isFailure(svid)) return svid;
    const { bundles, revocations } = state.trust();
    const identity = makeIdentity(svid, bundles, { revocations });
    if (isFailure(identity)) return identity;
    this.#issuer = issuer;
    this.#identity = identity;
    for (const listener of this.#listeners) listener(identity);
    return identity;
  }

  async #mint(issuer: Issuer): Promise<Svid | Failure> {
    const { names, clock } = this.#options;
    const id = parseSpiffeId(`${trustDomainId(issuer.trustDomain)}/culvert/authority`);
    if (isFailure(id)) return id;
    const minted = mintServerCertificate(issuer, { id, names, lifeMs: LIFE_MS, now: clock.now() });
    return isFailure(minted) ? minted : svidFromPem(minted.certificatePem + issuer.chainPem, minted.keyPem);
  }

  #isDue(): boolean {
    if (this.#identity === undefined) return true;
    const { notBefore, notAfter } = this.#identity.svid;
    return this.#options.clock.now() >= (notBefore + notAfter) / 2;
  }
}
