// Machine. A gRPC client of a few lines for tests: raw `node:http2`, so that what is sent and what comes back are both plain to see.
import { connect, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import { within } from "./until.ts";

/** How a client shows itself. */
export interface GrpcClientOptions {
  readonly port: number;
  readonly host?: string;
  /** Roots, PEM. */
  readonly ca: string;
  /** The name that the server must have. */
  readonly servername?: string;
  /** A client certificate with its key, PEM. */
  readonly cert?: string;
  readonly key?: string;
}

/** What a call came to. */
export interface GrpcAnswer {
  /** `grpc-status`; -1 where none came. */
  readonly status: number;
  readonly message: string;
  /** Messages, as bytes. */
  readonly messages: readonly Buffer[];
  readonly headers: IncomingHttpHeaders;
}

const PREFIX = 5;

/** Opens a session. */
export async function grpcSession(options: GrpcClientOptions): Promise<ClientHttp2Session> {
  const { host = "127.0.0.1", port, ca, servername = "authority", cert, key } = options;
  const own = cert === undefined || key === undefined ? {} : { cert, key };
  const session = connect(`https://${host}:${port}`, { ca, servername, ALPNProtocols: ["h2"], ...own });
  session.on("error", () => undefined);
  await within(
    "the session",
    new Promise<void>((resolve, reject) => {
      session.once("remoteSettings", () => resolve());
      session.once("error", reject);
      session.once("close", () => reject(new Error("the session was closed")));
    }),
  );
  return session;
}

/** A message in its frame. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(PREFIX + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX);
  return frame;
}

/** Begins a call; the caller writes. */
export function beginCall(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

/** What comes on a stream until it ends. `onMessage` is told of each message as it comes. */
export async function answerOf(
  stream: ClientHttp2Stream,
  onMessage: (message: Buffer) => void = () => undefined,
): Promise<GrpcAnswer> {
  let headers: IncomingHttpHeaders = {};
  let pending = Buffer.alloc(0);
  const messages: Buffer[] = [];
  stream.on("response", (fields) => (headers = { ...headers, ...fields }));
  stream.on("trailers", (fields) => (headers = { ...headers, ...fields }));
  stream.on("data", (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= PREFIX && pending.length >= PREFIX + pending.readUInt32BE(1)) {
      const end = PREFIX + pending.readUInt32BE(1);
      messages.push(pending.subarray(PREFIX, end));
      onMessage(pending.subarray(PREFIX, end));
      pending = pending.subarray(end);
    }
  });
  await new Promise<void>((resolve) => stream.once("close", resolve));
  const status = headers["grpc-status"];
  return {
    status: typeof status === "string" ? Number(status) : -1,
    message: decodeURIComponent(String(headers["grpc-message"] ?? "")),
    messages,
    headers,
  };
}

/** One message there, and what comes back. */
export async function callOnce(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<GrpcAnswer> {
  const stream = beginCall(session, path, headers);
  stream.end(framed(message));
  return within(`an answer to ${path}`, answerOf(stream));
}
