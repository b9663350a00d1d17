// Machine. The addresses of this host.
import { networkInterfaces } from "node:os";
import { parseIp, type Ip } from "./ip.ts";

/** The addresses of this host, that which a listener is bound to first. @param bound host of the listener; any text that is no address says nothing */
export function ownAddresses(bound: string | undefined): readonly Ip[] {
  const found = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const all = [bound ?? "", ...found.map(({ address }) => address.split("%")[0] ?? "")];
  return all.map((address) => parseIp(address)).filter((ip) => ip !== undefined);
}
