// Types. What the server asks of the folder of an authority, and nothing more: `state` reads, writes, locks and watches it.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Bundle, Revocations } from "@culvert/shared/identity/source.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { CertificateAndKey } from "../ca/certificate.ts";

/** Who signs leaves now. The same object as long as nothing about it has changed. */
export interface Issuer {
  readonly trustDomain: TrustDomain;
  /** Which root it is below, for the record of what was issued. */
  readonly rootId: string;
  /** The intermediate. */
  readonly signer: CertificateAndKey;
  /** What stands between a leaf and its root, PEM, the signer first. */
  readonly chainPem: string;
  /** The earliest end of validity from the signer to its root, milliseconds since the epoch. */
  readonly notAfter: number;
}

/** Whom the mesh is to trust now. The same object as long as nothing about it has changed. */
export interface TrustState {
  /** Grows with each change within one process. */
  readonly version: number;
  /** The roots of our own trust domain, the ones that come and those that go included, and of others. */
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
  /** What the lists below say, for our own decisions. */
  readonly revocations: Revocations;
  /** Certificate revocation lists, DER. */
  readonly crls: readonly Uint8Array[];
}

/** A certificate that was signed. */
export interface IssuedRecord {
  readonly id: SpiffeId;
  /** `rootId` of the issuer that has signed it. */
  readonly rootId: string;
  /** Upper-case hex, as `node:crypto` writes it. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** The folder of an authority, open. What commands write meanwhile is seen within a second. */
export interface AuthorityState {
  issuer(): Issuer;
  trust(): TrustState;
  /** Notes a certificate before it is handed out, so that it can be revoked by its identity. Fails when it cannot be kept. */
  record(issued: IssuedRecord): Promise<Failure | undefined>;
  /** Calls `listener` after each change of issuer or trust; returns the way to stop that. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
