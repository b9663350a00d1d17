// Machine. Reads what a client says before its bytes begin.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Read } from "./socks5.ts";

/** Reads until `parse` has one whole message; what follows it is given back. */
export async function readMessage<T>(
  client: BulkSocket,
  parse: (bytes: Buffer) => Read<T> | Failure | undefined,
): Promise<T | Failure> {
  let bytes: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = await client.read();
    if (chunk === undefined || isFailure(chunk)) return chunk ?? closedEarly();
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const message = parse(bytes);
    if (isFailure(message)) return message;
    if (message === undefined) continue;
    if (message.consumed < bytes.length) client.unread(bytes.subarray(message.consumed));
    return message.value;
  }
}

/** The client has closed in the middle of it. */
export function closedEarly(): Failure {
  return fail("DOWNSTREAM_CLOSED", "the client closed before it had said what it wants");
}
