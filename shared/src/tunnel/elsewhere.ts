// Pure. Whether another endpoint may be tried for a tunnel that could not be opened.
import type { Failure, FailureCode } from "../failure/failure.ts";

/** Before the answer nothing has been sent, so another endpoint may be tried for these, which are final for an open tunnel. */
const OPENING: ReadonlySet<FailureCode> = new Set<FailureCode>([
  "PEER_LOST",
  "IDENTITY_MISMATCH",
  "IDENTITY_MALFORMED",
  "IDENTITY_UNTRUSTED",
  "IDENTITY_EXPIRED",
  "IDENTITY_REVOKED",
]);

/** `true` unless the failure would be the same everywhere. */
export function mayTryElsewhere({ code, traits }: Failure): boolean {
  return traits.retriable || OPENING.has(code);
}
