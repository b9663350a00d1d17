// Pure. This proxy's own listeners, to which no connection that it makes may lead: it would carry its own connections without end, or
// open its admin port to a peer.
import { isLoopbackHost, type ListenAddress } from "@culvert/shared/net/listen-address.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";

/** How configuration writes "all interfaces". */
const EVERY_INTERFACE: ReadonlySet<string> = new Set(["", "0.0.0.0", "::"]);

/**
 * Whether the own app, as configuration or a tunnel request names it, is one of `listeners`. The host is known to be this one, so a name
 * on either side, such as `localhost`, is taken for any of its addresses.
 */
export function isOwnApp(listeners: readonly ListenAddress[], host: string, port: number): boolean {
  return listeners.some(
    (listener) =>
      listener.port === port && (listener.host === host || wide(listener) || isName(listener.host) || isName(host)),
  );
}

/** Whether a destination of any kind, a name of the world included, is one of `listeners`; `addresses` are this host's. */
export function leadsBack(
  listeners: readonly ListenAddress[],
  addresses: ReadonlySet<string>,
  host: string,
  port: number,
): boolean {
  const local = isLoopbackHost(host);
  const ours = local || addresses.has(host);
  const meets = (listener: ListenAddress): boolean =>
    listener.host === host ||
    (ours && wide(listener)) ||
    (local && isLoopbackHost(listener.host) && (isName(listener.host) || isName(host)));
  return listeners.some((listener) => listener.port === port && meets(listener));
}

function wide(listener: ListenAddress): boolean {
  return EVERY_INTERFACE.has(listener.host);
}

function isName(host: string): boolean {
  return parseIp(host) === undefined;
}
