// Pure. The field names that the HTTP/2 codec itself acts upon. Names of HTTP/2 are in lower case (RFC 9113 section 8.2.1), and the
// library refuses others.

/** Any name that is not listed here. */
export const OTHER = 0;
/** Ends a connection's own business, or frames it: a message that has it is malformed (RFC 9113 section 8.2.2). */
export const FORBIDDEN = 1;
/** What this hop says itself, or what a reader may take for that: dropped. */
export const DROPPED = 2;
export const HOST = 3;
export const CONTENT_LENGTH = 4;
export const TE = 5;
export const COOKIE = 6;
export const EXPECT = 7;
export const X_FORWARDED_FOR = 8;
export const X_REQUEST_ID = 9;
export const X_CULVERT_VIA = 10;

const KNOWN: ReadonlyMap<string, number> = new Map([
  ["connection", FORBIDDEN],
  ["keep-alive", FORBIDDEN],
  ["proxy-connection", FORBIDDEN],
  ["transfer-encoding", FORBIDDEN],
  ["upgrade", FORBIDDEN],
  ["http2-settings", DROPPED],
  ["x-forwarded-client-cert", DROPPED],
  ["host", HOST],
  ["content-length", CONTENT_LENGTH],
  ["te", TE],
  ["cookie", COOKIE],
  ["expect", EXPECT],
  ["x-forwarded-for", X_FORWARDED_FOR],
  ["x-request-id", X_REQUEST_ID],
  ["x-culvert-via", X_CULVERT_VIA],
  // HTTP/1.1's proof that an answer is to a handshake; a stream of HTTP/2 needs none (RFC 8441 section 5).
  ["sec-websocket-key", DROPPED],
]);

/** Which of the names above a field has. */
export function knownField(name: string): number {
  const known = KNOWN.get(name);
  if (known !== undefined) return known;
  // Applications that turn names into variables read underscores as hyphens.
  return name.includes("_") && KNOWN.has(name.replaceAll("_", "-")) ? DROPPED : OTHER;
}
