// Pure. The answers that the waypoint gives itself.
import type { Failure } from "@culvert/shared/failure/failure.ts";

/** Reason phrases of the statuses in the table of failures. */
const REASONS: ReadonlyMap<number, string> = new Map([
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [408, "Request Timeout"],
  [417, "Expectation Failed"],
  [429, "Too Many Requests"],
  [431, "Request Header Fields Too Large"],
  [499, "Client Closed Request"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Unavailable"],
  [504, "Gateway Timeout"],
  [508, "Loop Detected"],
]);

/** The body of the answer for a failure: its code and what that means. */
export function localBody(failure: Failure): string {
  return `${failure.code}: ${failure.traits.text}\n`;
}

/**
 * A whole HTTP/1.1 response for a failure: its status, its code as `culvert-code` and in a short text body. The
 * particulars stay in the log: they are for the operator, not for the caller.
 *
 * @param close the connection ends after it
 * @param toHead the request was a HEAD: the body is announced and not sent
 */
export function localReply(failure: Failure, close: boolean, toHead: boolean): string {
  const { httpStatus } = failure.traits;
  const body = localBody(failure);
  const reason = REASONS.get(httpStatus) ?? "Error";
  const connection = close ? "connection: close\r\n" : "";
  const allow = httpStatus === 405 ? "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" : "";
  return (
    `HTTP/1.1 ${httpStatus} ${reason}\r\nculvert-code: ${failure.code}\r\ncontent-type: text/plain\r\n` +
    `content-length: ${body.length}\r\n${allow}${connection}\r\n${toHead ? "" : body}`
  );
}
