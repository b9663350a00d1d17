// Machine. The only TCP connects of uproxy outside its tunnels.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { connectBulk, type BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";

/** An address to connect to, and how long that may take in milliseconds. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Told of the socket once its first packet is on its way, if `host` is an address. */
  readonly onDialling?: (socket: BulkSocket) => void;
}

/** Connects to the own app; only a policy's permit opens the way. */
export function dialApp(permit: Permit, target: DialTarget, clock: Clock): Promise<BulkSocket | Failure> {
  void permit;
  return connectBulk({ ...target, clock });
}

/** Connects in plain TCP to what is not in the mesh. */
export function dialPlain(target: DialTarget, clock: Clock): Promise<BulkSocket | Failure> {
  return connectBulk({ ...target, clock });
}
