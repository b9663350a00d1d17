// Machine. A peer of one's own on Node's HTTP/2: tunnel client and tunnel server that do what a test says, with the identity of an
// account of the mesh. For what HTTP/2 itself forbids there are raw frames.
import { readFileSync } from "node:fs";
import {
  connect,
  createSecureServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from "node:http2";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { IdentityFiles } from "./identities.ts";
import { within } from "./until.ts";

/** TLS options of an account's identity that trust the mesh's root. */
export function tlsOf(identity: IdentityFiles): { cert: Buffer; key: Buffer; ca: Buffer } {
  return {
    cert: readFileSync(identity.certificate),
    key: readFileSync(identity.key),
    ca: readFileSync(identity.bundle),
  };
}

/** Begins TLS as a tunnel client does: ALPN h2, no SNI, whatever name the server proves. */
export function dialTls(host: string, port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connectTls({ host, port, ALPNProtocols: ["h2"], checkServerIdentity: () => undefined, ...options });
  const connected = new Promise<TLSSocket>((resolve, reject) => {
    socket.once("secureConnect", () => resolve(socket));
    socket.on("error", reject);
  });
  return within(`TLS with ${host}:${port}`, connected);
}

/** An HTTP/2 session over mutual TLS. */
export async function openSession(
  host: string,
  port: number,
  options: ConnectionOptions,
  settings: Settings = {},
): Promise<ClientHttp2Session> {
  const socket = await dialTls(host, port, options);
  // With TLS 1.3 the client is done first, and the server's refusal may already have come.
  if (socket.destroyed) throw new Error("the server closed the connection after the handshake");
  const session = connect(`https://${formatHostPort(host, port)}`, {
    createConnection: () => socket,
    settings,
    // The default of 10 MB would refuse streams while much is queued.
    maxSessionMemory: 256,
  });
  session.on("error", () => {});
  await within(
    "the server's SETTINGS",
    new Promise<void>((resolve, reject) => {
      session.once("remoteSettings", () => resolve());
      const lost = (): void => reject(new Error("the session was closed before its SETTINGS"));
      session.once("close", lost);
      // The runtime tells the socket alone of an alert that comes after the client's part of the handshake.
      socket.once("error", reject);
    }),
  );
  return session;
}

/** The answer to a request on a session, with its stream. */
export interface TunnelAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly stream: ClientHttp2Stream;
}

/** Sends a request, CONNECT unless `headers` say otherwise, and waits for the answer. */
export function request(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  options: { readonly endStream?: boolean } = {},
): Promise<TunnelAnswer> {
  const stream = session.request({ ":method": "CONNECT", ...headers }, { endStream: false, ...options });
  const answer = new Promise<TunnelAnswer>((resolve, reject) => {
    stream.once("response", (answered) => resolve({ status: answered[":status"] ?? 0, headers: answered, stream }));
    stream.on("error", reject);
    stream.once("close", () => reject(new Error(`the stream was closed with code ${stream.rstCode}`)));
  });
  return within("the answer to a tunnel request", answer);
}

/** Reads a stream to its end. */
export function readAll(stream: ClientHttp2Stream | ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const whole = new Promise<Buffer>((resolve, reject) => {
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("end", () => resolve(Buffer.concat(chunks)));
    stream.on("error", reject);
    stream.once("aborted", () => reject(new Error(`aborted with code ${stream.rstCode}`)));
  });
  return within("the end of a stream", whole);
}

/** A tunnel server that runs. */
export interface FakePeer {
  readonly server: Http2SecureServer;
  readonly sessions: readonly ServerHttp2Session[];
  stop(): Promise<void>;
}

/** Listens like a tunnel server; `onStream` has every request. */
export function startPeer(
  host: string,
  port: number,
  options: SecureServerOptions,
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
): Promise<FakePeer> {
  const sessions: ServerHttp2Session[] = [];
  const server = createSecureServer({
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
    ...options,
  });
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("sessionError", () => {});
  server.on("tlsClientError", () => {});
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => {});
    onStream(stream, headers);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () =>
      resolve({
        server,
        sessions,
        stop: () =>
          new Promise((done) => {
            server.close(() => done());
            for (const session of sessions) session.destroy();
          }),
      }),
    );
  });
}
