// Machine. What is done to each socket of this process before it connects: nothing, unless the rules of capture tell our packets
// by a mark. A process has one network namespace and one such rule, so there is one of these.
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { ipFamily, parseIp } from "./ip.ts";
import type { SocketKind } from "./socket-options.ts";

type OpenDescriptor = (kind: SocketKind, family: 4 | 6) => number | Failure;

let open: OpenDescriptor | undefined;

/** From now on each dial of this process is made with a descriptor of `opener`; `undefined`: with the runtime's own. */
export function prepareDials(opener: OpenDescriptor | undefined): void {
  open = opener;
}

/**
 * A descriptor to dial `host` with. `undefined` for the runtime's own, as nothing is to be prepared; also for names, whose family
 * is not known yet, and where none can be had: the runtime's will say why.
 */
export function preparedDescriptor(host: string, kind: SocketKind = "tcp"): number | undefined {
  if (open === undefined) return undefined;
  const ip = parseIp(host);
  const descriptor = ip === undefined ? undefined : open(kind, ipFamily(ip));
  return isFailure(descriptor) ? undefined : descriptor;
}
