// Pure. One end of a TCP connection.
import { parseIp, UNSPECIFIED_IP } from "./ip.ts";
import type { Ip } from "./ip.ts";

/** An address and a port, as the kernel knows them. */
export interface Endpoint {
  readonly ip: Ip;
  readonly port: number;
}

/** What is said of a socket that is closed and has forgotten its addresses. */
const UNKNOWN: Endpoint = { ip: UNSPECIFIED_IP, port: 0 };

/** From what a socket says of itself; `0.0.0.0:0` once it is closed. */
export function endpoint(address: string | undefined, port: number | undefined): Endpoint {
  const ip = address === undefined ? undefined : parseIp(address);
  return ip === undefined || port === undefined ? UNKNOWN : { ip, port };
}
