// Pure. The parts of a request line (RFC 9112 section 3) and the Host field, as far as their characters go; what they mean is for the
// canonicalizer to say.
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import { equalsName } from "../header-slots.ts";
import { HOST, SLASH, at } from "./bytes.ts";

const HTTP_SCHEME = Buffer.from("http://", "latin1");
const AT = 0x40;
const ASTERISK = 0x2a;
const QUESTION_MARK = 0x3f;

/** A target that does not begin with a slash. */
interface OtherForm {
  /** Path and query, or `*`. */
  readonly target: string;
  /** Of the absolute form. */
  readonly authority: string | undefined;
}

/** The value of Host at `start` to `end`. */
export function readHost(bytes: Buffer, start: number, end: number): string | Failure {
  if (start === end) return fail("REQUEST_MALFORMED", "empty Host");
  for (let i = start; i < end; i += 1) {
    const byte = at(bytes, i);
    if (HOST[byte] === 1) continue;
    return fail("REQUEST_MALFORMED", byte === AT ? "userinfo in Host" : "byte that Host must not hold");
  }
  return bytes.toString("latin1", start, end);
}

/** `http://authority/path`, or the `*` of OPTIONS. */
export function readOtherForm(bytes: Buffer, start: number, end: number, method: string): OtherForm | Failure {
  if (method === "OPTIONS" && end - start === 1 && at(bytes, start) === ASTERISK) {
    return { target: "*", authority: undefined };
  }
  if (end - start <= HTTP_SCHEME.length || !equalsName(bytes, start, HTTP_SCHEME)) {
    return fail("REQUEST_MALFORMED", "target is neither a path nor an http URL");
  }
  const from = start + HTTP_SCHEME.length;
  let i = from;
  while (i < end && HOST[at(bytes, i)] === 1) i += 1;
  if (i < end && at(bytes, i) === AT) return fail("REQUEST_MALFORMED", "userinfo in the target");
  if (i === from || (i < end && at(bytes, i) !== SLASH && at(bytes, i) !== QUESTION_MARK)) {
    return fail("REQUEST_MALFORMED", "authority of the target is malformed");
  }
  const rest = bytes.toString("latin1", i, end);
  return { target: rest.startsWith("/") ? rest : `/${rest}`, authority: bytes.toString("latin1", from, i) };
}

/** Whether two authorities of an http URL are one, whatever their case and whether they spell out port 80. */
export function sameAuthority(one: string, other: string): boolean {
  return one === other || withoutDefaultPort(one) === withoutDefaultPort(other);
}

function withoutDefaultPort(authority: string): string {
  const lower = authority.toLowerCase();
  return lower.endsWith(":80") ? lower.slice(0, -3) : lower;
}

/** The method: the commonest without making a string. */
export function methodText(bytes: Buffer, start: number, end: number): string {
  if (
    end - start === 3 &&
    at(bytes, start) === 0x47 &&
    at(bytes, start + 1) === 0x45 &&
    at(bytes, start + 2) === 0x54
  ) {
    return "GET";
  }
  return bytes.toString("latin1", start, end);
}
