// Pure. What a failed handshake was: the runtime's and OpenSSL's words for it, as one of our codes.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";

/** OpenSSL's verdicts on the time of a certificate; each of its others is that there is no trust. */
const OUT_OF_TIME: ReadonlySet<string> = new Set(["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"]);

/** A server's words for a client that knows none of its groups. */
const NO_COMMON_GROUP: ReadonlySet<string> = new Set([
  "ERR_SSL_NO_SUITABLE_KEY_SHARE",
  "ERR_SSL_NO_SHARED_GROUP",
  "ERR_SSL_NO_SUITABLE_GROUPS",
]);
const HANDSHAKE_ALERT = "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE";

/** OpenSSL's verdict on the peer's certificate. */
export function certificateFailure(verdict: string, place = ""): Failure {
  return fail(OUT_OF_TIME.has(verdict) ? "IDENTITY_EXPIRED" : "IDENTITY_UNTRUSTED", `${place}${verdict}`);
}

/** A handshake that a server could not end. */
export function acceptFailure(error: NodeJS.ErrnoException): Failure {
  if (NO_COMMON_GROUP.has(error.code ?? "")) {
    return fail("KEY_EXCHANGE_REFUSED", "the client offers no key group that is accepted here");
  }
  return fail("PEER_TLS_FAILURE", error.message);
}

/** A handshake that a client could not end. `isStrict`: it offered one key group only, which a peer need not know. */
export function connectFailure(error: NodeJS.ErrnoException, remote: string, isStrict: boolean): Failure {
  const code = error.code ?? error.message;
  // A verdict is neither the system's word nor the library's.
  if (error.code !== undefined && error.syscall === undefined && !/^(ERR_|E[A-Z]+$)/.test(code)) {
    return certificateFailure(code, `${remote}: `);
  }
  if (isStrict && code === HANDSHAKE_ALERT) {
    return fail("KEY_EXCHANGE_REFUSED", `${remote}: the peer takes no handshake by X25519MLKEM768 alone`);
  }
  return fail("PEER_TLS_FAILURE", `${remote}: ${code}`);
}
