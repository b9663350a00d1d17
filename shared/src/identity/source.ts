// Types. Where an identity comes from, as the rest of Culvert sees it: a value now, and word when it changes.
import type { X509Certificate } from "node:crypto";
import type { SpiffeId, TrustDomain } from "./spiffe-id.ts";

/** A workload's own X.509-SVID with its key (SPIFFE X509-SVID section 2). */
export interface Svid {
  readonly id: SpiffeId;
  /** Leaf first, then intermediates; the root is not part of it. */
  readonly chain: readonly X509Certificate[];
  /** The same chain as PEM, as TLS takes it. */
  readonly chainPem: string;
  /** Private key as PEM. Never logged, dumped or compared by text. */
  readonly keyPem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** The roots that may vouch for names of one trust domain (SPIFFE Trust Domain and Bundle section 4). */
export interface Bundle {
  readonly trustDomain: TrustDomain;
  readonly roots: readonly X509Certificate[];
  readonly pem: string;
}

/** One consistent state of an identity: certificate, key and the bundles of every trust domain that is trusted. */
export interface Identity {
  /** Grows with each change within one process; equal versions are equal identities. */
  readonly version: number;
  readonly svid: Svid;
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
}

/** A place that an identity comes from: files, the Workload API, a CA. */
export interface IdentitySource {
  /** The identity now. A source is only handed out once it has one. */
  get(): Identity;
  /** Calls `listener` after each change; returns the way to stop that. */
  onChange(listener: (identity: Identity) => void): () => void;
  close(): void;
}
