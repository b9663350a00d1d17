// Types. Where an identity comes from, as the rest of Culvert sees it: a value now, and word when it changes.
import type { X509Certificate } from "node:crypto";
import type { Failure } from "../failure/failure.ts";
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

/** One certificate revocation list (RFC 5280 section 5). It counts against an issuer only once that issuer's key has proved it. */
export interface RevocationList {
  /** The issuer's name, its DER as hex. */
  readonly issuer: string;
  /** Identifier of the issuer's key, hex; undefined when the list does not name it. */
  readonly issuerKey: string | undefined;
  /** Serial numbers of what is revoked, as hex without leading zeros. */
  readonly serials: ReadonlySet<string>;
  /** CRL number (RFC 5280 section 5.2.3); undefined when the list has none. */
  readonly number: bigint | undefined;
  /** Milliseconds since the epoch. */
  readonly thisUpdate: number;
  /** When the issuer promised the next one, milliseconds since the epoch; undefined when it did not. */
  readonly nextUpdate: number | undefined;
  /** SHA-256 of the whole list, hex: equal digests are equal lists. */
  readonly digest: string;
  readonly signed: SignedContent;
}

/** What an issuer has signed, with its signature. */
export interface SignedContent {
  readonly content: Uint8Array;
  readonly signature: Uint8Array;
  /** Hex of the signature algorithm's OID. */
  readonly algorithm: string;
}

/** Revocation lists by their issuer's name: several where several keys have borne one name. */
export type Revocations = ReadonlyMap<string, readonly RevocationList[]>;

/** What of an identity says whom it trusts. */
export interface Trust {
  /** The bundles of every trust domain that is trusted. */
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
  /** What is on none of these lists is not revoked. */
  readonly revocations: Revocations;
  /** Trust domains whose names stand for the same names in our own; each is still proven by its own bundle. */
  readonly aliases: ReadonlySet<TrustDomain>;
}

/** One consistent state of an identity: certificate and key, and whom it trusts. */
export interface Identity extends Trust {
  /** Grows with each change within one process; equal versions are equal identities. */
  readonly version: number;
  readonly svid: Svid;
}

/** A place that an identity comes from: files, the Workload API, a CA. */
export interface IdentitySource {
  /** The identity now. A source is only handed out once it has one. */
  get(): Identity;
  /** Calls `listener` after each change; returns the way to stop that. */
  onChange(listener: (identity: Identity) => void): () => void;
  close(): void;
}

/** What happens to an identity; each is sent once per change. */
export type IdentityEvent =
  /** A new identity is in use. */
  | { readonly kind: "changed"; readonly identity: Identity }
  /** The certificate is the same; whom it trusts has changed. */
  | { readonly kind: "trust-changed"; readonly identity: Identity }
  /** There is no identity yet, and this is why; it is tried again. */
  | { readonly kind: "awaited"; readonly failure: Failure }
  /** What came is not usable (half-written, mismatched, another's, expired), or nothing came: the last good identity stays in use. */
  | { readonly kind: "kept"; readonly failure: Failure }
  /** The identity is in use, but a peer that trusts the same bundles would refuse it, or something around it is not as it should be. */
  | { readonly kind: "doubtful"; readonly failure: Failure }
  /** The identity in use has ended and nothing has replaced it. */
  | { readonly kind: "expired"; readonly failure: Failure }
  /** The system cannot report changes in this folder: they are seen by the slow poll only. */
  | { readonly kind: "unwatched"; readonly folder: string; readonly reason: string };

/** How a source stands, for the operator. */
export interface SourceState {
  /** What it is, and where. */
  readonly source: string;
  readonly state: "watching" | "waiting" | "asking" | "failing";
  /** Milliseconds until it asks again; undefined where it is told. */
  readonly nextInMs: number | undefined;
  /** Failures since it last brought an identity. */
  readonly failures: number;
  readonly lastFailure: Failure | undefined;
}

/** A source that can be told to look now. */
export interface ReloadableSource extends IdentitySource {
  /** Reads, or asks, now (SIGHUP). Resolves when the outcome is in use or reported. */
  reload(): Promise<void>;
  readonly state: SourceState;
}
