// Machine. A gRPC application that answers every call with what it has got: its own name, the path, the metadata.
import { once } from "node:events";
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { framed } from "./grpc.ts";

/** What it tells of a call. */
export interface SeenCall {
  readonly app: string;
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The application. */
export interface NamedGrpcApp {
  stop(): Promise<void>;
}

/** Starts one. */
export async function startNamedGrpcApp(host: string, port: number, app: string): Promise<NamedGrpcApp> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session)).on("error", () => undefined);
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined).resume();
    const metadata = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
    const seen: SeenCall = { app, path: headers[":path"] ?? "", metadata };
    stream.respond({ ":status": 200, "content-type": "application/grpc", "x-from": app }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-trailer": app }));
    stream.end(framed(Buffer.from(JSON.stringify(seen))));
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    stop: async () => {
      for (const session of sessions) session.destroy();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}
