// Pure. How a gRPC call has ended: the status in the trailers, or what HTTP says where there is none (gRPC over HTTP/2,
// "Responses" and "HTTP2 Transport Mapping").
import { constants } from "node:http2";

/** Status codes of gRPC that are told apart here. */
export const GRPC = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** Names of all codes, by number. */
const NAMES: readonly string[] = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

/** What a server says of its error is for people: no more of it is kept. */
const MAX_TEXT = 256;
const UNPRINTABLE = /[^\x20-\x7e\u00a1-\uffff]/gu;

/** The end of a call that brought no answer, or of a stream; status 0 is a stream's end in order. */
export class CallEnd {
  readonly status: number;
  /** What the other side, or the system, says of it: one line, bounded. */
  readonly detail: string;

  constructor(status: number, detail: string) {
    this.status = status >= 0 && status < NAMES.length ? status : GRPC.unknown;
    this.detail = detail.slice(0, MAX_TEXT).replaceAll(UNPRINTABLE, "?");
  }

  toString(): string {
    const name = NAMES[this.status] ?? "UNKNOWN";
    return this.detail === "" ? name : `${name}: ${this.detail}`;
  }
}

/** Header fields of a response, as `node:http2` gives them. */
export type ResponseFields = Readonly<Record<string, string | string[] | number | undefined>>;

/** The end that trailers, or headers that are all there is, tell of; undefined where they have no `grpc-status`. */
export function endOf(fields: ResponseFields): CallEnd | undefined {
  const status = fields["grpc-status"];
  if (status === undefined) return undefined;
  const code = /^\d{1,2}$/.test(String(status)) ? Number(status) : GRPC.unknown;
  return new CallEnd(code, decoded(String(fields["grpc-message"] ?? "")));
}

/** The end of a call whose response is none of gRPC's; undefined where it is one. */
export function refusalOf(fields: ResponseFields): CallEnd | undefined {
  const status = Number(fields[":status"]);
  if (status !== 200) return new CallEnd(statusOfHttp(status), `HTTP status ${status}`);
  const type = String(fields["content-type"] ?? "");
  return type.startsWith("application/grpc") ? undefined : new CallEnd(GRPC.unknown, `content type ${type}`);
}

/** The end of a call whose stream was reset with an HTTP/2 error code. */
export function endOfReset(code: number): CallEnd {
  switch (code) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return new CallEnd(GRPC.unavailable, "the stream was refused");
    case constants.NGHTTP2_CANCEL:
      return new CallEnd(GRPC.cancelled, "the stream was cancelled");
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return new CallEnd(GRPC.resourceExhausted, "the server asks for calm");
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return new CallEnd(GRPC.permissionDenied, "the server asks for more security");
    default:
      return new CallEnd(GRPC.internal, `the stream ended without a status, HTTP/2 error ${code}`);
  }
}

/** What an HTTP status says of a call that has no status of its own. */
export function statusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return GRPC.internal;
    case 401:
      return GRPC.unauthenticated;
    case 403:
      return GRPC.permissionDenied;
    case 404:
      return GRPC.unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GRPC.unavailable;
    default:
      return GRPC.unknown;
  }
}

/** `grpc-message` is percent-encoded UTF-8; what does not decode is shown as it came. */
function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}
