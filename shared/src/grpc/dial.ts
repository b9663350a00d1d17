// Machine. Opens what a gRPC session runs over.
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions } from "node:tls";

/** A connection to the UNIX socket at `path`. */
export function dialUnix(path: string): Duplex {
  return connectTcp({ path });
}

/**
 * A TLS connection to `host:port` that agrees on HTTP/2. The server's name is checked against its certificate as the web does
 * it: `options.servername` where it is given, else the host.
 */
export function dialTls(host: string, port: number, options: ConnectionOptions): Duplex {
  return connectTls({ minVersion: "TLSv1.2", ...options, host, port, ALPNProtocols: ["h2"] });
}
