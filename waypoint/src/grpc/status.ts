// Pure. The status of a gRPC call in the fields of a message, and what it would be in HTTP (google.rpc.Code).
import { GRPC } from "@culvert/shared/grpc/status.ts";

const STATUS_LINE = /(?:^|\n)grpc-status:[ \t]*([^\r\n]*?)[ \t]*\r\n/i;

/** By number, from OK on. */
const HTTP_STATUSES: readonly number[] = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

/** The `grpc-status` among field lines; `undefined` when there is none, UNKNOWN when it is none of gRPC's codes. */
export function grpcStatusIn(fields: string): number | undefined {
  const text = STATUS_LINE.exec(fields)?.[1];
  if (text === undefined) return undefined;
  const status = /^\d{1,2}$/.test(text) ? Number(text) : GRPC.unknown;
  return status < HTTP_STATUSES.length ? status : GRPC.unknown;
}

/** The HTTP status that says the same. */
export function httpStatusOf(status: number): number {
  return HTTP_STATUSES[status] ?? 500;
}
