// Pure. The answers that the waypoint gives itself, in no version of HTTP.
import type { Failure } from "@culvert/shared/failure/failure.ts";

/** A whole response of our own. Each codec writes it with the framing that is its own. */
export interface LocalAnswer {
  readonly status: number;
  /** Field lines, without Content-Length. */
  readonly fields: string;
  /** One byte for each character (latin1). */
  readonly body: string;
  /** Why no application was asked; `undefined` for an answer that a route gives on purpose. */
  readonly failure: Failure | undefined;
}

/** Whether responses of this status have no body, whatever they say (RFC 9110 sections 6.4.1 and 15.3.6). */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** The field line that announces the body: 204 must have none, and that of 304 would speak of another response (RFC 9110 section 8.6). */
export function lengthLine({ status, body }: LocalAnswer): string {
  return status === 204 || status === 304 ? "" : `content-length: ${body.length}\r\n`;
}

/**
 * The answer for a failure: its status, its code as `culvert-code` and in a short text body. The particulars stay in the log:
 * they are for the operator, not for the caller.
 */
export function failureAnswer(failure: Failure): LocalAnswer {
  const { httpStatus, text } = failure.traits;
  const allow = httpStatus === 405 ? "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" : "";
  return {
    status: httpStatus,
    fields: `culvert-code: ${failure.code}\r\ncontent-type: text/plain\r\n${allow}`,
    body: `${failure.code}: ${text}\n`,
    failure,
  };
}
