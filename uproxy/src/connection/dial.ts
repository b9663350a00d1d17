// Machine. The only TCP connects of uproxy outside its tunnels.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";

/** An address to connect to, and how long that may take in milliseconds. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Told of the socket once its first packet is on its way, if `host` is an address. */
  readonly onDialling?: (socket: BulkSocket) => void;
}

/** Makes a socket that may have a caller's address toward `host`; `undefined` where the own address has to do. */
export type KeepSource = (caller: Ip, host: string) => number | undefined | Failure;

/** Connects to the own app, from `caller`'s address where it is kept; only a policy's permit opens the way. */
export function dialApp(
  permit: Permit,
  target: DialTarget,
  clock: Clock,
  keepSource?: KeepSource,
  caller?: Ip,
): Promise<BulkSocket | Failure> {
  void permit;
  if (keepSource === undefined || caller === undefined) return connectBulk({ ...target, clock });
  const descriptor = keepSource(caller, target.host);
  if (isFailure(descriptor)) return Promise.resolve(descriptor);
  // Nothing to keep: the dial goes out as usual.
  if (descriptor === undefined) return connectBulk({ ...target, clock });
  return connectBulk({ ...target, clock, descriptor, localAddress: caller });
}

/** Connects in plain TCP to what is not in the mesh. */
export function dialPlain(target: DialTarget, clock: Clock): Promise<BulkSocket | Failure> {
  return connectBulk({ ...target, clock });
}
