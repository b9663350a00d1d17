// Pure. The one spelling of a request path, which routes match, policies decide on and the destination receives.
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";

const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const FIRST_VISIBLE = 0x21;
const LAST_VISIBLE = 0x7e;

/**
 * Normalizes a path as far as `level` says (the levels of Istio):
 *
 * - `none`: not at all;
 * - `base`: `\` becomes `/`, escapes of unreserved characters (RFC 3986 section 2.3) are decoded once, dot segments are
 *   removed (section 5.2.4);
 * - `merge-slashes`: after that, `//` becomes `/`;
 * - `decode-and-merge-slashes`: escaped slashes and backslashes are decoded before all that.
 *
 * Whatever is not named stays as it is: parameters, the case of everything, at `base` empty segments.
 *
 * Refused with REQUEST_MALFORMED at every level, because two readers may take them for two paths: controls, spaces and bytes
 * outside ASCII, an escape that is none, `%00`.
 *
 * @param raw the path without query and fragment; begins with `/`
 */
export function normalizePath(raw: string, level: PathNormalization = "base"): string | Failure {
  const decodesSlashes = level === "decode-and-merge-slashes";
  const merges = decodesSlashes || level === "merge-slashes";
  let clean = true;
  let previous = 0;
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i);
    if (code < FIRST_VISIBLE || code > LAST_VISIBLE) {
      return fail("REQUEST_MALFORMED", `byte 0x${code.toString(16)} in the path, which must be escaped`);
    }
    if (code === PERCENT) {
      const escaped = escapedByte(raw, i);
      if (escaped === undefined) return fail("REQUEST_MALFORMED", "a % in the path without two hexadecimal digits");
      if (escaped === 0) return fail("REQUEST_MALFORMED", "%00 in the path");
      if (isUnreserved(escaped) || (decodesSlashes && isSlash(escaped))) clean = false;
    } else if (code === BACKSLASH || (previous === SLASH && (code === DOT || (merges && code === SLASH)))) {
      clean = false;
    }
    previous = code;
  }
  if (clean || level === "none") return raw;
  const path = removeDotSegments(decodeOnce(raw, decodesSlashes));
  return merges ? path.replaceAll(/\/{2,}/g, "/") : path;
}

function decodeOnce(raw: string, decodesSlashes: boolean): string {
  let out = "";
  let kept = 0;
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i);
    if (code === BACKSLASH) {
      out += `${raw.slice(kept, i)}/`;
      kept = i + 1;
    } else if (code === PERCENT) {
      const escaped = escapedByte(raw, i) ?? 0;
      if (isUnreserved(escaped) || (decodesSlashes && isSlash(escaped))) {
        out += raw.slice(kept, i) + (isSlash(escaped) ? "/" : String.fromCharCode(escaped));
        kept = i + 3;
      }
      i += 2;
    }
  }
  return out + raw.slice(kept);
}

function removeDotSegments(path: string): string {
  const segments = path.split("/");
  const kept: string[] = [];
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] ?? "";
    const dots = segment === "." || segment === "..";
    if (segment === "..") kept.pop();
    if (!dots) kept.push(segment);
    else if (i === segments.length - 1) kept.push("");
  }
  return `/${kept.join("/")}`;
}

function escapedByte(text: string, at: number): number | undefined {
  const high = hexDigit(text.charCodeAt(at + 1));
  const low = hexDigit(text.charCodeAt(at + 2));
  return high === undefined || low === undefined ? undefined : high * 16 + low;
}

function hexDigit(code: number): number | undefined {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined;
}

function isSlash(code: number): boolean {
  return code === SLASH || code === BACKSLASH;
}

function isUnreserved(code: number): boolean {
  if (code >= 0x30 && code <= 0x39) return true;
  const lower = code | 0x20;
  if (lower >= 0x61 && lower <= 0x7a && code < 0x80) return true;
  return code === 0x2d || code === DOT || code === 0x5f || code === 0x7e;
}
