// Machine. Lets the app see who calls: sockets toward it that have the caller's address. Import it by `await import`, where it
// is configured.
//
// The app's answers then go to an address that is not this host's, and only rules bring them back to us: our packets have a
// mark, connections that begin with it have another, and answers on those are routed to this host (see `capture/`).
// Measured, both ends in one process: 95 to 146 µs of CPU for a plain connection on loopback, 152 to 172 for one of these.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { ipFamily, isLoopback, parseIp } from "@culvert/shared/net/ip.ts";
import { loadSocketOptions, openPrepared } from "@culvert/shared/net/socket-options.ts";
import type { KeepSource } from "./dial.ts";
import { SOURCE_MARK } from "./source-mark.ts";

/** Fails with SOCKET_OPTION_REFUSED, at once and not at the first connection, where a privilege is missing. */
export async function loadKeepSource(mark: number = SOURCE_MARK): Promise<KeepSource | Failure> {
  const options = await loadSocketOptions();
  if (isFailure(options)) return options;
  const open = (family: 4 | 6): number | Failure =>
    openPrepared(
      options,
      "tcp",
      family,
      (descriptor) =>
        options.mark(descriptor, mark) ??
        options.transparent(descriptor, family) ??
        options.freebind(descriptor, family),
    );
  const trial = open(4);
  if (isFailure(trial)) return trial;
  options.close(trial);
  return (caller, host) => {
    const destination = parseIp(host);
    if (destination === undefined || caller === destination || isLoopback(caller)) return undefined;
    const family = ipFamily(destination);
    return ipFamily(caller) === family ? open(family) : undefined;
  };
}
