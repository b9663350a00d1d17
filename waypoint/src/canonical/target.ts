// Pure. What one request asks for, in one spelling: the only maker of `CanonicalTarget`.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { canonicalHost, type CanonicalHost } from "./host.ts";
import { normalizePath } from "./path.ts";

declare const canonical: unique symbol;

/**
 * Host and path of a request after the one normalization. Routes, policies, the log and the forwarded request all take
 * this value, so none of them can see another path than the next.
 */
export interface CanonicalTarget {
  readonly [canonical]: true;
  /** Lower-case host with the port if one was sent: `Host` as it is forwarded. */
  readonly host: string;
  /** `host` without port and brackets, for the `hostnames` of routes. */
  readonly hostname: string;
  /** Normalized path without query. `*` in `OPTIONS *`. */
  readonly path: string;
  /** `path` with the query as it was sent: the request target as it is forwarded. */
  readonly target: string;
}

/** Letters of the scheme in either case: RFC 9110 section 4.2. */
const ABSOLUTE_FORM = /^http:\/\/([^/?#\\]*)/i;
const OUTSIDE_VISIBLE_ASCII = /[^\x21-\x7e]/;

/**
 * Canonicalizes the target of a request (RFC 9112 section 3.2): origin form, absolute form (whose authority takes the
 * place of `Host`) or the asterisk of OPTIONS. A fragment, which no client should send, is cut.
 *
 * @param method the method as sent, for the asterisk form
 * @param requestTarget second part of the request line, one character a byte
 * @param host value of the only `Host` line; `undefined` when there was none
 * @param authority the tunnel's own authority, the host of an HTTP/1.0 request that names none
 */
export function canonicalTarget(
  method: string,
  requestTarget: string,
  host: string | undefined,
  authority: string,
): CanonicalTarget | Failure {
  const first = requestTarget.charCodeAt(0);
  let origin = requestTarget;
  let named = host ?? authority;
  if (first !== 0x2f && first !== 0x5c) {
    if (requestTarget === "*" && method === "OPTIONS") return withHost(named, "*", "");
    const absolute = ABSOLUTE_FORM.exec(requestTarget);
    if (absolute === null) {
      return fail("REQUEST_MALFORMED", "the request target is neither /path nor http://host/path");
    }
    named = absolute[1] ?? "";
    origin = requestTarget.slice(absolute[0].length);
    if (origin.startsWith("?") || origin.startsWith("#") || origin === "") origin = `/${origin}`;
  }
  const fragment = origin.indexOf("#");
  if (fragment >= 0) origin = origin.slice(0, fragment);
  const mark = origin.indexOf("?");
  const query = mark < 0 ? "" : origin.slice(mark);
  if (OUTSIDE_VISIBLE_ASCII.test(query)) {
    return fail("REQUEST_MALFORMED", "a control, a space or a byte outside ASCII in the query");
  }
  const path = normalizePath(mark < 0 ? origin : origin.slice(0, mark));
  if (isFailure(path)) return path;
  return withHost(named, path, query);
}

function withHost(named: string, path: string, query: string): CanonicalTarget | Failure {
  const host: CanonicalHost | Failure = canonicalHost(named);
  if (isFailure(host)) return host;
  const target = { host: host.text, hostname: host.hostname, path, target: query === "" ? path : path + query };
  return target as unknown as CanonicalTarget;
}
