// Machine. How we end accepted sessions, and why we have ended those of which the proof was gone, for the tunnels that end with them:
// an operator who looks for a connection finds the reason on its own line.
import type { Http2Session, ServerHttp2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";

const reasons = new WeakMap<Http2Session, Failure>();

/** To be said before the session is destroyed; only failures of an identity are kept. */
export function endsFor(session: Http2Session, failure: Failure): void {
  if (failure.code.startsWith("IDENTITY_")) reasons.set(session, failure);
}

/** The failure of an identity for which a session was ended, if it was. */
export function endedFor(session: Http2Session | undefined): Failure | undefined {
  return session === undefined ? undefined : reasons.get(session);
}

/** How long the peer has to take our GOAWAY before its socket is destroyed. */
const FAREWELL_MS = 500;

/** Ends a session that carries nothing: an end in order, which neither side has to mind. */
export function sayFarewell(session: ServerHttp2Session, socket: TLSSocket, clock: Clock): void {
  session.close();
  clock.after(FAREWELL_MS, () => socket.destroy());
}

/** Ends a session at once: GOAWAY with the failure's code, every stream reset. */
export function cutOff(session: ServerHttp2Session, socket: TLSSocket, failure: Failure, clock: Clock): void {
  if (session.destroyed) return;
  endsFor(session, failure);
  // What the runtime sends at a destroy may be lost behind a write that is under way; this is sent now.
  session.goaway(failure.traits.resetCode);
  // Without an error the runtime would end the streams in order, and what was cut short would look whole.
  session.destroy(new Error(failure.toString()), failure.traits.resetCode);
  clock.after(FAREWELL_MS, () => socket.destroy());
}
