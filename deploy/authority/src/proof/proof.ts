// Types. What a caller of the authority has shown, and what it amounts to.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { VerifiedPeer } from "@culvert/shared/identity/verify.ts";

/** How an identity can be proved. */
export type ProofKind = "join-token" | "kubernetes" | "certificate";

/** A caller as it appears on the wire. */
export interface Caller {
  /** `ip:port`. */
  readonly remote: string;
  /** The header `authorization`, as sent. */
  readonly authorization: string | undefined;
  /** Its client certificate, verified now; why it proves nothing; undefined when there is none. */
  readonly certificate: VerifiedPeer | Failure | undefined;
}

/** An identity that a caller has proved. The request itself has no say in it. */
export interface Proof {
  readonly kind: ProofKind;
  readonly id: SpiffeId;
  /** What exactly has proved it, for the audit: the id of a token, a pod, the serial number of a certificate. No secret. */
  readonly by: string;
  /**
   * Takes a use of a proof that can be used only so often. Called once, when all else is well, before anything is signed: after
   * it the use is gone, whatever happens. Fails with TOKEN_REFUSED, or as a disk fails.
   */
  readonly spend: () => Promise<Failure | undefined>;
}

/** A Kubernetes service account whose token has been verified. */
export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
  /** The pod that the token is bound to, or the token's id; for the audit. */
  readonly by: string;
}

/** Verifies tokens of Kubernetes service accounts. */
export interface ServiceAccountVerifier {
  /** Fails with TOKEN_REFUSED, or with TOKEN_NOT_CHECKED when nobody can say. */
  verify(token: string): Promise<ServiceAccount | Failure>;
  close(): void;
}
