// Pure. What became of the application that a client asked for: refused, timed out, reset and denied are four things, and the
// peer that dialled it knows which.
import type { Failure, FailureCode } from "@culvert/shared/failure/failure.ts";

/** What a peer says of its own application. Anything else that it says is its own affair. */
const OF_THE_APP: ReadonlySet<FailureCode> = new Set<FailureCode>([
  "APP_REFUSED",
  "APP_TIMEOUT",
  "APP_UNREACHABLE",
  "APP_RESET",
]);

/** The code by which a way in answers its client. */
export function outcomeOf({ code, told }: Failure): FailureCode {
  return told !== undefined && OF_THE_APP.has(told) ? told : code;
}
