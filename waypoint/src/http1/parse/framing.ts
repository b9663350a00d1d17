// Pure. How the end of a message body is found, and the two fields that say it, read without any leniency (RFC 9112 section 6):
// where two parsers disagree about them, requests are smuggled.
import { equalsName } from "../header-slots.ts";
import { at } from "./bytes.ts";
import { STRIDE, VALUE_END, VALUE_START } from "./scan.ts";

/** How the end of a body is found. */
export const NO_BODY = 0;
export const LENGTH = 1;
export const CHUNKED = 2;
/** Responses only: up to the end of the connection. */
export const UNTIL_CLOSE = 3;

export type BodyKind = typeof NO_BODY | typeof LENGTH | typeof CHUNKED | typeof UNTIL_CLOSE;

const CHUNKED_NAME = Buffer.from("chunked", "latin1");

function integer(list: Int32Array, index: number): number {
  return list[index] as number;
}

/** Whether the field at `index` of the table is `chunked` and nothing else. */
export function isChunked(bytes: Uint8Array, fields: Int32Array, index: number): boolean {
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
export function readContentLength(bytes: Uint8Array, fields: Int32Array, index: number): number {
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
