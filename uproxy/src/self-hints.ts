// Machine. What configuration and host say of which workload of the mesh this is.
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import type { Asker } from "@culvert/shared/config/stream/stream-options.ts";
import { ownAddresses } from "@culvert/shared/net/own-addresses.ts";
import type { SelfHints } from "./self.ts";

/** What the configuration and this host say of which workload we stand beside. */
export function selfHints(config: Pick<UproxyConfig, "workload" | "inbound">): Omit<SelfHints, "id"> {
  return { configured: config.workload, addresses: ownAddresses(config.inbound.hbone?.host) };
}

/** What an authority is told of us beside the certificate. */
export function askerOf(config: UproxyConfig): Asker {
  const { configured, addresses } = selfHints(config);
  const workload = configured === undefined ? undefined : `${configured.namespace}/${configured.name}`;
  return { proxy: "uproxy", workload, addresses: [...new Set(addresses)] };
}
