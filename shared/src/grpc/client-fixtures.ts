// Machine. For tests of the client: a server of the runtime on a UNIX socket, whose streams the test answers.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { GrpcClient } from "./client.ts";
import { dialUnix } from "./dial.ts";

export const HEADERS = { ":status": 200, "content-type": "application/grpc" };

export type Answer = (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void;

/** A server and a client of it. */
export interface GrpcPair {
  readonly client: GrpcClient;
  readonly clock: FakeClock;
  readonly server: Http2Server;
  readonly path: string;
}

/** A server on a UNIX socket that answers each stream so, and a client of it that takes messages of 1,000 bytes. */
export async function pair(t: TestContext, answer: Answer): Promise<GrpcPair> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-grpc-"));
  const path = join(folder, "socket");
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined);
    answer(stream, headers);
  });
  server.on("sessionError", () => undefined);
  server.listen(path);
  await once(server, "listening");
  const clock = new FakeClock();
  const client = new GrpcClient({
    dial: () => dialUnix(path),
    authority: "localhost",
    secure: false,
    clock,
    maxMessageBytes: 1_000,
  });
  t.after(() => {
    client.close();
    server.close();
    rmSync(folder, { recursive: true });
  });
  return { client, clock, server, path };
}
