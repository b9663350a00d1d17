// Machine. For tests: somebody at the authority's address who is not it, or who is it and means harm.
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from "node:http2";
import type { Server } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { FakeStream } from "@culvert/shared/config/stream/stream-fixtures.ts";
import { until } from "./until.ts";

/** A chain and its key, PEM. */
export interface Shown {
  readonly chainPem: string;
  readonly keyPem: string;
}

/** Somebody who listens, and how often who called has gone again. */
export interface Listening {
  /** Bytes that came after the handshake. */
  readonly heard: number;
  /** Connections that have ended. */
  readonly ended: number;
  stop(): Promise<void>;
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, resolve);
  });
}

/** Shows a certificate that must not do, speaks HTTP/2 as far as TLS goes, and takes note of every byte that it is told. */
export async function startImpostor(host: string, port: number, { chainPem, keyPem }: Shown): Promise<Listening> {
  let [heard, ended] = [0, 0];
  const server = createTlsServer({
    cert: chainPem,
    key: keyPem,
    ALPNProtocols: ["h2"],
    requestCert: true,
    rejectUnauthorized: false,
  });
  const sockets = new Set<TLSSocket>();
  server.on("connection", (socket) => socket.on("close", () => (ended += 1)));
  server.on("tlsClientError", () => undefined);
  server.on("secureConnection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => (heard += chunk.length));
  });
  await listening(server, host, port);
  return {
    get heard() {
      return heard;
    },
    get ended() {
      return ended;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** The authority itself, broken into: its own certificate and its own port, and whatever the test says on the streams. */
export class HostileAuthority {
  /** Streams by the SPIFFE ID of who opened them, oldest first. */
  readonly #streams = new Map<string, FakeStream[]>();
  readonly #server: Http2SecureServer;

  private constructor(server: Http2SecureServer, onStream: ((stream: ServerHttp2Stream) => void) | undefined) {
    this.#server = server;
    server.on("sessionError", () => undefined);
    server.on("stream", (stream: ServerHttp2Stream) => {
      if (onStream !== undefined) return onStream(stream);
      const id = idOf(stream);
      this.#streams.set(id, [...(this.#streams.get(id) ?? []), new FakeStream(stream)]);
    });
  }

  /** Listens; `onStream` answers in place of what is said by `streamOf`. */
  static async start(
    host: string,
    port: number,
    { chainPem, keyPem }: Shown,
    onStream?: (stream: ServerHttp2Stream) => void,
  ): Promise<HostileAuthority> {
    const server = createSecureServer({ cert: chainPem, key: keyPem, requestCert: true, rejectUnauthorized: false });
    const authority = new HostileAuthority(server, onStream);
    await listening(server, host, port);
    return authority;
  }

  /** The newest stream of an identity, once it has said hello; another than `before`, where that is given. */
  async streamOf(id: string, before?: FakeStream): Promise<FakeStream> {
    return until(`a stream of ${id}`, () => {
      const stream = this.#streams.get(id)?.at(-1);
      return stream !== undefined && stream !== before && stream.frames.length > 0 ? stream : undefined;
    });
  }

  async stop(): Promise<void> {
    for (const streams of this.#streams.values()) for (const stream of streams) stream.destroy();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}

function idOf(stream: ServerHttp2Stream): string {
  const socket = stream.session?.socket as TLSSocket | undefined;
  const names = socket?.getPeerX509Certificate()?.subjectAltName ?? "";
  return /URI:(spiffe:[^,"]+)/.exec(names)?.[1] ?? "";
}
