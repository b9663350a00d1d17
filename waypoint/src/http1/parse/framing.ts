// Pure. How the end of a message body is found, and the two fields that say it, read without any leniency (RFC 9112 section 6):
// where two parsers disagree about them, requests are smuggled.
import { equalsName } from "../header-slots.ts";
import { at } from "./bytes.ts";
import { STRIDE, VALUE_END, VALUE_START } from "./scan.ts";

const CHUNKED_NAME = Buffer.from("chunked", "latin1");

function integer(list: Int32Array, index: number): number {
  return list[index] as number;
}

/** Nothing says how long the body is: a request has none then, a response goes on to the end of the connection. */
export const UNSAID = -1;
/** The chunks say it. */
export const IN_CHUNKS = -2;

/**
 * What Content-Length and Transfer-Encoding, at these places of the table (-1: not there), say together of the body: its bytes,
 * `UNSAID` or `IN_CHUNKS`; or in words why they are refused.
 */
export function readFraming(
  bytes: Uint8Array,
  fields: Int32Array,
  minor: number,
  contentLength: number,
  transferEncoding: number,
): number | string {
  if (transferEncoding >= 0) {
    if (minor === 0) return "Transfer-Encoding in HTTP/1.0";
    if (contentLength >= 0) return "both Content-Length and Transfer-Encoding";
    return isChunked(bytes, fields, transferEncoding) ? IN_CHUNKS : "Transfer-Encoding is not exactly chunked";
  }
  if (contentLength < 0) return UNSAID;
  const length = readContentLength(bytes, fields, contentLength);
  return length < 0 ? "Content-Length is not a plain decimal number" : length;
}

/** Whether the field at `index` of the table is `chunked` and nothing else. */
function isChunked(bytes: Uint8Array, fields: Int32Array, index: number): boolean {
  const start = integer(fields, index * STRIDE + VALUE_START);
  return (
    integer(fields, index * STRIDE + VALUE_END) - start === CHUNKED_NAME.length &&
    equalsName(bytes, start, CHUNKED_NAME)
  );
}

/**
 * The number in the field at `index`, or -1: a sign, a list, a blank, a leading zero (octal to some) or more digits than
 * a number holds exactly are all refused.
 */
function readContentLength(bytes: Uint8Array, fields: Int32Array, index: number): number {
  const start = integer(fields, index * STRIDE + VALUE_START);
  const end = integer(fields, index * STRIDE + VALUE_END);
  if (start === end || end - start > 15) return -1;
  if (at(bytes, start) === 0x30 && end - start > 1) return -1;
  let length = 0;
  for (let i = start; i < end; i += 1) {
    const digit = at(bytes, i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}
