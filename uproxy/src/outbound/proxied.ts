// Machine. Takes the PROXY header from the front of a connection. Import it by `await import`, for the listeners that want one.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { readProxyHeader } from "@culvert/shared/net/proxy-protocol.ts";
import { readMessage } from "./read-message.ts";
import type { Read } from "./socks5.ts";

/** A proxy writes the header as soon as it is connected, so a slow one is none. */
const HEADER_TIMEOUT_MS = 5_000;

/**
 * Reads the header; the client then speaks for whom it names. Fails with PROXY_HEADER_MALFORMED or REQUEST_TIMEOUT, and
 * with DOWNSTREAM_CLOSED when the client leaves before. The client is then still open unless it was late.
 */
export async function takeProxyHeader(client: BulkSocket, clock: Clock): Promise<Failure | undefined> {
  let late: Failure | undefined;
  const deadline = clock.after(HEADER_TIMEOUT_MS, () => {
    late = fail("REQUEST_TIMEOUT", `no PROXY header in ${HEADER_TIMEOUT_MS} ms`);
    client.reset();
  });
  const source = await readMessage(client, parse);
  deadline.cancel();
  if (isFailure(source)) return late ?? source;
  if (source !== undefined) client.speaksFor(source);
  return undefined;
}

function parse(bytes: Buffer): Read<Endpoint | undefined> | Failure | undefined {
  const header = readProxyHeader(bytes);
  return header === undefined || isFailure(header) ? header : { value: header.source, consumed: header.consumed };
}
