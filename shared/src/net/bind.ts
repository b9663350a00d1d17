// Machine. Binds a TCP port: what every listener does before it accepts the first connection.
//
// Every port can be shared, so that a process can be upgraded without a moment in which nobody listens; and no port is shared
// by accident: unless this process was started to take over, it first asks whether the port is free for one alone.
import { createServer } from "node:net";
import type { ListenOptions, Server } from "node:net";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { formatHostPort } from "./ip.ts";
import { processListeners } from "./listeners.ts";

/** Connections that the kernel completes while we are busy: a burst of clients after a restart must not be dropped. */
const BACKLOG = 4096;
/** Elsewhere the option does not exist, or does not deal connections out. */
const CAN_SHARE = process.platform === "linux";

/** Where a listener is bound. */
export interface BoundAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Binds `server`, at most once in its life. The empty `host` is all addresses, IPv6 and IPv4; port 0 lets the system choose.
 * Fails with PORT_UNAVAILABLE, whose detail is a sentence with the address and the system's code. Later errors of the
 * listener, such as a process that is out of descriptors, go to `onAcceptError`, with the system's code as their detail.
 *
 * @param traffic whether connections wait while descriptors are short; those of probes and operators do not
 */
export async function bind(
  server: Server,
  host: string,
  port: number,
  onAcceptError: (failure: Failure) => void,
  traffic = true,
): Promise<BoundAddress | Failure> {
  const where: ListenOptions = host === "" ? { port, backlog: BACKLOG } : { port, host, backlog: BACKLOG };
  const shared = CAN_SHARE && port !== 0;
  const error =
    (shared && !processListeners.beside ? await probe(where) : undefined) ??
    (await listen(server, shared ? { ...where, reusePort: true } : where));
  if (error !== undefined) {
    const name = formatHostPort(host === "" ? "*" : host, port);
    return fail("PORT_UNAVAILABLE", `cannot listen on ${name}: ${error.code ?? error.message}`);
  }
  server.on("error", (later: NodeJS.ErrnoException) => {
    onAcceptError(fail("TOO_MANY_CONNECTIONS", later.code ?? later.message));
  });
  processListeners.add(server, traffic);
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? { host: bound.address, port: bound.port } : { host, port };
}

/** Whether anybody listens there, in whatever way; what the system says if so. */
async function probe(where: ListenOptions): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  const error = await listen(server, where);
  if (error === undefined) await new Promise((closed) => server.close(closed));
  return error;
}

function listen(server: Server, where: ListenOptions): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once("error", resolve);
    server.listen(where, () => {
      server.off("error", resolve);
      resolve(undefined);
    });
  });
}
