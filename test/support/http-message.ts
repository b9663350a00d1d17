// Pure. HTTP/1.1 messages out of bytes, for tests that must see what really went over the wire: the head as it was sent, the
// body without its framing, the trailers.

/** One message. */
export interface Message {
  /** Start line and field lines as sent, without the empty line. */
  readonly head: string;
  readonly body: Buffer;
  /** Lines after the last chunk, each with its CRLF. */
  readonly trailers: string;
}

/** What a message may be besides a request or a response to GET. */
export interface Reading {
  /** It has no body whatever its fields say: it answers a HEAD. */
  readonly bodiless?: boolean;
  /** Nothing more will come. */
  readonly ended?: boolean;
}

const EMPTY_LINE = "\r\n\r\n";

/** The first message of `bytes` and how long it is; `undefined` while it is not whole. */
export function parseMessage(bytes: Buffer, reading: Reading = {}): { message: Message; length: number } | undefined {
  const end = bytes.indexOf(EMPTY_LINE);
  if (end < 0) return undefined;
  const head = bytes.toString("latin1", 0, end);
  const start = end + EMPTY_LINE.length;
  const status = statusOf(head);
  const none = reading.bodiless === true || status === 204 || status === 304 || (status !== undefined && status < 200);
  if (none) return { message: { head, body: Buffer.alloc(0), trailers: "" }, length: start };
  if (field(head, "transfer-encoding") !== undefined) return parseChunked(bytes, head, start);
  const length = field(head, "content-length");
  // A response without any framing ends with its connection.
  if (length === undefined && status !== undefined) {
    if (reading.ended !== true) return undefined;
    return { message: { head, body: bytes.subarray(start), trailers: "" }, length: bytes.length };
  }
  const last = start + Number(length ?? 0);
  if (bytes.length < last) return undefined;
  return { message: { head, body: bytes.subarray(start, last), trailers: "" }, length: last };
}

function parseChunked(bytes: Buffer, head: string, start: number): { message: Message; length: number } | undefined {
  const chunks: Buffer[] = [];
  let at = start;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error(`no chunk size: ${bytes.toString("latin1", at, lineEnd)}`);
    at = lineEnd + 2;
    if (size === 0) break;
    if (bytes.length < at + size + 2) return undefined;
    chunks.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
  const end = bytes.subarray(at, at + 2).equals(Buffer.from("\r\n")) ? at : bytes.indexOf(EMPTY_LINE, at) + 2;
  if (end < at || bytes.length < end + 2) return undefined;
  const message = { head, body: Buffer.concat(chunks), trailers: bytes.toString("latin1", at, end) };
  return { message, length: end + 2 };
}

/** The status of a response's head; `undefined` for a request. */
export function statusOf(head: string): number | undefined {
  const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(head) ?? [];
  return status === undefined ? undefined : Number(status);
}

/** The values of a field in the order in which they came, as sent. */
export function fields(head: string, name: string): string[] {
  const lines = head.split("\r\n").slice(1);
  const wanted = `${name.toLowerCase()}:`;
  return lines.filter((line) => line.toLowerCase().startsWith(wanted)).map((line) => line.slice(wanted.length).trim());
}

/** The first value of a field. */
export function field(head: string, name: string): string | undefined {
  return fields(head, name)[0];
}
