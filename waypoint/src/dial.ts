// Machine. The only TCP connects of a waypoint outside its tunnels, to applications that are not in the mesh; and the only TLS that
// it begins, inside a connection that is there.
import * as tls from "node:tls";
import type { Duplex } from "node:stream";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";

/** An application and how long the connect may take, in milliseconds. */
export interface DialTarget {
  readonly ip: Ip;
  readonly port: number;
  readonly timeoutMs: number;
}

/** Connects to an endpoint of the directory in plain TCP; only a policy's permit opens the way. */
export function dialEndpoint(permit: Permit, target: DialTarget, clock: Clock): Promise<BulkSocket | Failure> {
  void permit;
  return connectBulk({ host: target.ip, port: target.port, timeoutMs: target.timeoutMs, clock });
}

/** Begins TLS as a client inside a connection; dials nothing. */
export function beginTls(options: tls.ConnectionOptions & { readonly socket: Duplex }): tls.TLSSocket {
  return tls.connect(options);
}
