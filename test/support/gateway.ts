// Machine. The gateway of another network, as far as its callers see it: ends the outer tunnels and carries what comes inside, opaque,
// to the place that stands behind the authority.
import { connect } from "node:net";
import type { IdentitySource } from "@culvert/shared/identity/source.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { tunnelDuplex } from "@culvert/shared/tunnel/duplex.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { listenTunnels, type TunnelRequest, type TunnelServer } from "@culvert/shared/tunnel/server.ts";

/** Where an authority leads: to each of the places in turns. */
export type Behind = Readonly<Record<string, readonly { readonly host: string; readonly port: number }[]>>;

/** A running gateway. */
export interface TestGateway {
  readonly server: TunnelServer;
  /** Authorities asked for, in their order. */
  readonly asked: readonly string[];
  /** Outer sessions so far. */
  readonly sessions: number;
}

/** Starts a gateway at `host:port`. What is not in `behind` is refused with 404. */
export async function startGateway(
  host: string,
  port: number,
  identity: IdentitySource,
  behind: Behind,
): Promise<TestGateway> {
  const asked: string[] = [];
  let sessions = 0;
  const onRequest = (request: TunnelRequest): void => {
    asked.push(request.rawAuthority);
    const places = behind[request.rawAuthority] ?? [];
    const place = places[asked.length % places.length];
    if (place === undefined) return request.refuse(fail("DESTINATION_UNKNOWN", request.rawAuthority));
    const socket = connect({ ...place, allowHalfOpen: true });
    socket.once("error", () => request.refuse(fail("APP_REFUSED", request.rawAuthority)));
    socket.once("connect", () => {
      if (!request.accept()) {
        socket.destroy();
        return;
      }
      const tunnel = tunnelDuplex(request.stream);
      tunnel.on("error", () => {}).on("data", (chunk: Buffer) => void socket.write(chunk));
      socket.on("error", () => tunnel.destroy()).on("data", (chunk: Buffer) => void tunnel.write(chunk));
      tunnel.on("end", () => socket.end()).on("close", () => socket.destroy());
      socket.on("end", () => tunnel.end());
    });
  };
  const server = await listenTunnels({
    host,
    port,
    identity,
    limits: DEFAULT_TUNNEL_LIMITS,
    clock: systemClock,
    onRequest,
    onEvent: ({ kind }) => {
      if (kind === "session-opened") sessions += 1;
    },
  });
  if (isFailure(server)) throw new Error(server.toString());
  return {
    server,
    asked,
    get sessions() {
      return sessions;
    },
  };
}
