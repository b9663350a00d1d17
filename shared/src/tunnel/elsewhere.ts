// Pure. What may be tried for a tunnel that could not be opened: another endpoint, or the same a moment later.
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

/**
 * Whether a peer may have refused only because a change of who stands before what has reached one of us and not the other yet: a
 * waypoint that does not serve the destination, a workload that requires another waypoint. See `LateNews`.
 */
export function mayBeLate({ told }: Failure): boolean {
  return told === "DESTINATION_UNKNOWN" || told === "ACCOUNT_NOT_SERVED" || told === "WAYPOINT_REQUIRED";
}
