// For tests: a whole relay in one process, as uproxy does it but without names and policies: client -> listener -> tunnel ->
// application, with everything that ended.
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import type { BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { OpenTunnel } from "@culvert/shared/tunnel/pool.ts";
import { pump } from "@culvert/shared/tunnel/pump.ts";
import type { Ended, Pump } from "@culvert/shared/tunnel/pump.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/request.ts";
import { must, tunnelPair } from "./tunnel-pair.ts";
import type { PairOptions, TunnelPair } from "./tunnel-pair.ts";

/** One connection, client side. */
export interface Carried {
  readonly client: BulkSocket;
  readonly tunnel: OpenTunnel;
  readonly pump: Pump;
}

/** A running relay. */
export interface Relay {
  readonly pair: TunnelPair;
  /** Where clients connect. */
  readonly port: number;
  readonly app: Server;
  /** How each connection ended, client side and application side, in the order of their ends. */
  readonly clientSide: Ended[];
  readonly appSide: Ended[];
  /** What was started, client side. */
  readonly carried: Carried[];
  readonly listener: BulkServer;
  close(): Promise<void>;
}

/** Starts a relay in front of an application that is given each of its connections, half-open allowed. */
export async function startRelay(onApp: (socket: Socket) => void, options: PairOptions = {}): Promise<Relay> {
  const clock = systemClock;
  const clientSide: Ended[] = [];
  const appSide: Ended[] = [];
  const carried: Carried[] = [];
  const sockets = new Set<Socket>();
  const app = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    onApp(socket);
  });
  await new Promise<void>((resolve) => void app.listen(0, "127.0.0.1", resolve));
  const appPort = (app.address() as AddressInfo).port;
  const serve = async (request: TunnelRequest): Promise<void> => {
    const socket = await connectBulk({ host: "127.0.0.1", port: appPort, timeoutMs: 5_000, clock });
    if (isFailure(socket)) return request.refuse(socket);
    if (!request.accept()) return socket.reset();
    appSide.push(await pump(socket, request.stream, { clock, streamLeads: "downstream" }).ended);
  };
  const pair = await tunnelPair({
    ...options,
    onRequest: (request) => void serve(request),
  });
  const carry = async (client: BulkSocket): Promise<void> => {
    const tunnel = await pair.pool.open(pair.target, { authority: "10.0.0.1:80", headers: {} });
    if (isFailure(tunnel)) return client.reset();
    const running = pump(client, tunnel.stream, { clock, streamLeads: "upstream" });
    carried.push({ client, tunnel, pump: running });
    clientSide.push(await running.ended);
  };
  const listener = must(
    await acceptBulk({
      host: "127.0.0.1",
      port: 0,
      onSocket: (client) => void carry(client),
    }),
  );
  return {
    pair,
    port: listener.address.port,
    app,
    clientSide,
    appSide,
    carried,
    listener,
    async close() {
      await listener.close();
      await pair.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => app.close(resolve));
    },
  };
}
