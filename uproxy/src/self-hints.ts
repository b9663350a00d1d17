// Machine. What configuration and host say of which workload of the mesh this is.
import { networkInterfaces } from "node:os";
import type { UproxyConfig } from "@culvert/shared/config/process-config.ts";
import type { Asker } from "@culvert/shared/config/stream/stream-options.ts";
import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import type { SelfHints } from "./self.ts";

/** What the configuration and this host say of which workload we stand beside. */
export function selfHints(config: Pick<UproxyConfig, "workload" | "inbound">): Omit<SelfHints, "id"> {
  return { configured: config.workload, addresses: ownAddresses(config.inbound.hbone) };
}

/** What an authority is told of us beside the certificate. */
export function askerOf(config: UproxyConfig): Asker {
  const { configured, addresses } = selfHints(config);
  const workload = configured === undefined ? undefined : `${configured.namespace}/${configured.name}`;
  return { proxy: "uproxy", workload, addresses: [...new Set(addresses)] };
}

/** Addresses of this host, the one that the tunnel listener is bound to first. */
export function ownAddresses(hbone: ListenAddress | undefined): readonly Ip[] {
  const bound = parseIp(hbone?.host ?? "");
  const found = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [bound, ...found.map(({ address }) => parseIp(address.split("%")[0] ?? ""))].filter((ip) => ip !== undefined);
}
