// Machine. Mutual TLS for clients that have none: a loopback port behind which each connection goes on over TLS with an account's
// identity, to a tunnel port. Whatever ends a connection is a FIN at its other end.
import { createServer, type AddressInfo, type Socket } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";

/** A forwarder that listens on 127.0.0.1. */
export interface TlsForwarder {
  readonly port: number;
  stop(): Promise<void>;
}

/** Forwards to `host:port` with ALPN h2 and these TLS options. */
export async function startTlsForwarder(host: string, port: number, options: ConnectionOptions): Promise<TlsForwarder> {
  const live = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const peer = connect({ ...options, host, port, ALPNProtocols: ["h2"], checkServerIdentity: () => undefined });
    for (const [from, to] of [
      [client, peer],
      [peer, client],
    ] as const) {
      live.add(from);
      from.on("data", (chunk) => void (to.writable && to.write(chunk)));
      from.on("end", () => to.end());
      // What came before the error is still to be read: a reset here would overtake it.
      from.on("error", () => to.end());
      from.on("close", () => {
        live.delete(from);
        to.end();
      });
    }
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of live) socket.destroy();
      }),
  };
}
