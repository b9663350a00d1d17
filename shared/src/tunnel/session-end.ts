// Machine. Why we have ended sessions of which the proof was gone, for the tunnels that end with them: an operator who looks for a
// connection finds the reason on its own line.
import type { Http2Session } from "node:http2";
import type { Failure } from "../failure/failure.ts";

const reasons = new WeakMap<Http2Session, Failure>();

/** To be said before the session is destroyed; only failures of an identity are kept. */
export function endsFor(session: Http2Session, failure: Failure): void {
  if (failure.code.startsWith("IDENTITY_")) reasons.set(session, failure);
}

/** The failure of an identity for which a session was ended, if it was. */
export function endedFor(session: Http2Session | undefined): Failure | undefined {
  return session === undefined ? undefined : reasons.get(session);
}
