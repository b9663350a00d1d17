// Machine. Binds a TCP port: what every listener of connections does before it accepts the first.
import type { Server } from "node:net";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { formatHostPort } from "./ip.ts";

/** Connections that the kernel completes while we are busy: a burst of clients after a restart must not be dropped. */
const BACKLOG = 4096;

/** Where a listener is bound. */
export interface BoundAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Binds `server`, at most once in its life. The empty `host` is all addresses, IPv6 and IPv4; port 0 lets the system choose.
 * Fails with PORT_UNAVAILABLE, whose detail is a sentence with the address and the system's code. Later errors of the
 * listener, such as a process that is out of descriptors, go to `onAcceptError`, with the system's code as their detail.
 */
export function bind(
  server: Server,
  host: string,
  port: number,
  onAcceptError: (failure: Failure) => void,
): Promise<BoundAddress | Failure> {
  return new Promise((resolve) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const where = formatHostPort(host === "" ? "*" : host, port);
      resolve(fail("PORT_UNAVAILABLE", `cannot listen on ${where}: ${error.code ?? error.message}`));
    });
    const where = { port, backlog: BACKLOG };
    server.listen(host === "" ? where : { ...where, host }, () => {
      server.removeAllListeners("error");
      server.on("error", (error: NodeJS.ErrnoException) => {
        onAcceptError(fail("TOO_MANY_CONNECTIONS", error.code ?? error.message));
      });
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? { host: bound.address, port: bound.port } : { host, port });
    });
  });
}
