// Pure. What the first bytes of a connection look like, where no protocol is declared.

/** `more`: not to be told yet. */
export type Sniffed = "http1" | "http2" | "tls" | "opaque" | "more";

/** The first line of HTTP/2 with prior knowledge (RFC 9113 section 3.4); no method may be called so. */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n");
/** A record of a handshake, of any version since SSL 3; behind two bytes of length, a ClientHello (RFC 8446 section 5.1). */
const RECORD = Buffer.from([0x16, 3]);
const CLIENT_HELLO_AT = 5;
const CLIENT_HELLO = 1;
/** Longer than any registered method. */
const LONGEST_METHOD = 24;
/** A request line that is still well-formed after this many bytes is HTTP: the codec sets the real bound. */
const LONGEST_LINE = 4096;

const SPACE = 0x20;
const HYPHEN = 0x2d;
const LINE_FEED = 0x0a;
const VERSION = / HTTP\/1\.\d\r?$/;

/**
 * Tells HTTP by its whole first line, method to version, so that what only begins alike (RTSP, SIP, a key-value store's
 * `GET key`) stays what it is.
 *
 * @param bytes everything received so far
 */
export function sniff(bytes: Buffer): Sniffed {
  if (bytes.length === 0) return "more";
  const common = Math.min(bytes.length, PREFACE.length);
  if (bytes.compare(PREFACE, 0, common, 0, common) === 0) return common === PREFACE.length ? "http2" : "more";
  if (bytes[0] === RECORD[0]) return sniffTls(bytes);
  const space = bytes.subarray(0, LONGEST_METHOD + 1).indexOf(SPACE);
  const method = bytes.subarray(0, space < 0 ? Math.min(bytes.length, LONGEST_METHOD + 1) : space);
  if (method.length === 0 || method.length > LONGEST_METHOD || !method.every(isMethodByte)) return "opaque";
  if (space < 0 || bytes.length === space + 1) return "more";
  if (!startsTarget(bytes[space + 1])) return "opaque";
  const end = bytes.indexOf(LINE_FEED, space);
  if (end < 0) return bytes.length > LONGEST_LINE ? "http1" : "more";
  return VERSION.test(bytes.toString("latin1", Math.max(space, end - 12), end)) ? "http1" : "opaque";
}

/** Tells HTTP/2 from anything else, which is left to the codec of HTTP/1.1 to refuse where it is not that. */
export function sniffVersion(bytes: Buffer): "http1" | "http2" | "more" {
  const common = Math.min(bytes.length, PREFACE.length);
  if (bytes.compare(PREFACE, 0, common, 0, common) !== 0) return "http1";
  return common === PREFACE.length ? "http2" : "more";
}

function sniffTls(bytes: Buffer): Sniffed {
  if (bytes.length > 1 && bytes[1] !== RECORD[1]) return "opaque";
  if (bytes.length <= CLIENT_HELLO_AT) return "more";
  return bytes[CLIENT_HELLO_AT] === CLIENT_HELLO ? "tls" : "opaque";
}

function isMethodByte(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || byte === HYPHEN;
}

/** `/path`, `*`, or the `h` of `http://`. */
function startsTarget(byte: number | undefined): boolean {
  return byte === 0x2f || byte === 0x2a || byte === 0x68 || byte === 0x48;
}
