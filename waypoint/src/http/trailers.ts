// Pure. Which trailers pass, in every version of HTTP.
import { HeaderSlots } from "../http1/header-slots.ts";

/**
 * Trailers that pass (RFC 9110 section 6.5.1 wants those that are known to be harmless): gRPC's status, checksums of what
 * went before, timings. Whatever frames, routes, authenticates or names a caller is not among them.
 */
export const ALLOWED_TRAILERS: HeaderSlots = new HeaderSlots([
  "grpc-status",
  "grpc-message",
  "grpc-status-details-bin",
  "server-timing",
  "content-digest",
  "repr-digest",
  "digest",
  "etag",
  "x-checksum",
]);

/**
 * gRPC lets an application send any names of its own behind a response. These are never an application's own: they frame, route,
 * authenticate, condition or describe a message that has been read already, or are said by the mesh.
 */
const NEVER_TRAILERS: ReadonlySet<string> = new Set([
  "age",
  "authorization",
  "cache-control",
  "connection",
  "cookie",
  "date",
  "expect",
  "expires",
  "forwarded",
  "host",
  "keep-alive",
  "location",
  "max-forwards",
  "pragma",
  "range",
  "retry-after",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "vary",
  "via",
  "www-authenticate",
  "x-request-id",
]);
const NEVER_PREFIXES = ["content-", "if-", "proxy-", "sec-", "x-culvert-", "x-envoy-", "x-forwarded-", "x-istio-"];

/** The lines of those trailers that pass. `list` has names (lower case) and values in turn. */
export function trailerLines(list: readonly string[], isGrpc: boolean): string {
  let lines = "";
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] ?? "";
    if (isAllowed(name) || (isGrpc && isOwn(name))) lines += `${name}: ${list[i + 1]}\r\n`;
  }
  return lines;
}

function isAllowed(name: string): boolean {
  return ALLOWED_TRAILERS.slotOf(name) !== undefined;
}

function isOwn(name: string): boolean {
  const spelled = name.replaceAll("_", "-");
  return (
    !name.startsWith(":") &&
    !NEVER_TRAILERS.has(spelled) &&
    !NEVER_PREFIXES.some((prefix) => spelled.startsWith(prefix))
  );
}
