// Machine. A gRPC application that says one thing at a time: the message that it was asked with, then what the test tells it to.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { framed } from "./grpc.ts";

/** The application, at all addresses; one call at a time. */
export interface TurnsApp {
  readonly port: number;
  /** Metadata of the calls so far. */
  readonly calls: readonly IncomingHttpHeaders[];
  /** HTTP/2 codes with which callers have taken back theirs. */
  readonly takenBack: readonly number[];
  /** What it says next; `undefined`: it ends the call in order. */
  next(text: string | undefined): void;
  /** Breaks the call off in the middle of a message. */
  breakOff(): void;
  stop(): Promise<void>;
}

const PREFIX = 5;
/** The HTTP/2 code of an error that nobody has foreseen. */
const INTERNAL_ERROR = 2;

/** Starts it. What is called `Silent` is never answered. */
export async function startTurnsApp(): Promise<TurnsApp> {
  const sessions = new Set<ServerHttp2Session>();
  const calls: IncomingHttpHeaders[] = [];
  const takenBack: number[] = [];
  let current: ServerHttp2Stream | undefined;
  const server = createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session)).on("error", () => undefined);
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    current = stream;
    calls.push(headers);
    stream.on("aborted", () => takenBack.push(stream.rstCode ?? 0));
    const chunks: Buffer[] = [];
    stream.on("error", () => undefined);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      if (headers[":path"]?.endsWith("/Silent") === true) return;
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.write(framed(Buffer.concat(chunks).subarray(PREFIX)));
    });
  });
  server.listen(0);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    takenBack,
    next: (text) => void (text === undefined ? current?.end() : current?.write(framed(Buffer.from(text)))),
    breakOff: () => {
      current?.write(framed(Buffer.from("half")).subarray(0, PREFIX + 2));
      current?.close(INTERNAL_ERROR);
    },
    stop: async () => {
      for (const session of sessions) session.destroy();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}
