// Pure. What one request asks for, in one spelling: the only maker of `CanonicalTarget`.
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { CanonicalTarget } from "../exchange-services.ts";
import type { CanonicalHost } from "./host.ts";
import { normalizePath } from "./path.ts";

const OUTSIDE_VISIBLE_ASCII = /[^\x21-\x7e]/;

/**
 * Canonicalizes a request target (RFC 9112 section 3.2) whose host is known: the origin form, or the asterisk of
 * OPTIONS. A fragment, which no client should send, is cut; the query passes as it was sent.
 *
 * @param method as sent
 * @param requestTarget one character a byte
 */
export function canonicalTarget(
  method: string,
  requestTarget: string,
  host: CanonicalHost,
  level: PathNormalization = "base",
): CanonicalTarget | Failure {
  if (requestTarget === "*") {
    return method === "OPTIONS" ? made(method, host.text, "*", "") : fail("REQUEST_MALFORMED", `${method} of *`);
  }
  if (requestTarget.charCodeAt(0) !== 0x2f)
    return fail("REQUEST_MALFORMED", "the request target does not begin with /");
  const fragment = requestTarget.indexOf("#");
  const whole = fragment < 0 ? requestTarget : requestTarget.slice(0, fragment);
  const mark = whole.indexOf("?");
  const query = mark < 0 ? "" : whole.slice(mark);
  if (query !== "" && OUTSIDE_VISIBLE_ASCII.test(query)) {
    return fail("REQUEST_MALFORMED", "a control, a space or a byte outside ASCII in the query");
  }
  const path = normalizePath(mark < 0 ? whole : whole.slice(0, mark), level);
  return isFailure(path) ? path : made(method, host.text, path, query);
}

function made(method: string, host: string, path: string, query: string): CanonicalTarget {
  return { method, host, path, query } as CanonicalTarget;
}
