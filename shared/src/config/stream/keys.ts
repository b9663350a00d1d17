// Pure. Destinations as keys of the configuration stream: `host/<name, lower case>` and `ip/<canonical address>`.
import { parseIp } from "../../net/ip.ts";
import type { Demanded } from "../snapshot.ts";

const HOST = "host/";
const IP = "ip/";

/** The key by which the authority is asked for a destination. */
export function keyOf(demanded: Demanded): string {
  return demanded.kind === "ip" ? IP + demanded.ip : HOST + demanded.host.toLowerCase();
}

/** The destination of a key; undefined when it is none that we would ask for. */
export function demandedOf(key: string): Demanded | undefined {
  if (key.startsWith(HOST)) return { kind: "name", host: key.slice(HOST.length) };
  const ip = key.startsWith(IP) ? parseIp(key.slice(IP.length)) : undefined;
  return ip === undefined ? undefined : { kind: "ip", ip };
}
