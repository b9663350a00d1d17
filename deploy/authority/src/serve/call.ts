// Machine. One gRPC call on an accepted stream, between `node:http2` and the protocol's handlers. Ours and not the library's own
// adapter, which builds URLs out of what callers send, and writes to stderr when they go away.
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { createContextKey, createContextValues } from "@connectrpc/connect";
import type { ContextKey } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { fail, RESET_CANCEL } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { deadlinesOf } from "@culvert/shared/net/deadlines.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";

/** Who calls, for the handlers. */
export const CALLER: ContextKey<Caller | undefined> = createContextKey<Caller | undefined>(undefined);

/** Handlers by their path, `/package.Service/Method`. */
export type Handlers = ReadonlyMap<string, UniversalHandler>;

/** Fields of HTTP/2 that are no metadata, and the caller's deadline, which it keeps itself; ours are below. */
const NOT_METADATA = /^:|^(te|grpc-timeout|authorization|cookie)$/;

export interface CallOptions {
  readonly handlers: Handlers;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  /** Told of what our own code did not foresee. */
  readonly onDefect: (failure: Failure) => void;
}

/** Answers one stream, whatever it asks for. Settles when it is over; never rejects. */
export async function serveCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  caller: Caller,
  options: CallOptions,
): Promise<void> {
  const handler = options.handlers.get(headers[":path"] ?? "");
  // An unknown method is told so in gRPC's words, which the caller's library turns into UNIMPLEMENTED.
  if (handler === undefined)
    return refuse(stream, { ":status": 200, "content-type": "application/grpc", "grpc-status": "12" });
  if (headers[":method"] !== "POST") return refuse(stream, { ":status": 405 });
  const { clock, limits } = options;
  const abort = new AbortController();
  stream.once("close", () => abort.abort());
  const late = deadlinesOf(clock, limits.requestMs).after(() => resetStream(stream, RESET_CANCEL));
  stream.once("end", () => late.cancel());
  stream.once("close", () => late.cancel());
  if (handler.method.methodKind === "unary") {
    const unanswered = deadlinesOf(clock, limits.answerMs).after(() => resetStream(stream, RESET_CANCEL));
    stream.once("close", () => unanswered.cancel());
  }
  try {
    const answer = await handler(requestOf(stream, headers, caller, abort.signal));
    await respond(stream, answer);
  } catch (error) {
    if (stream.closed || stream.destroyed) return;
    options.onDefect(fail("INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error)));
    resetStream(stream, RESET_CANCEL);
  }
}

function requestOf(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  caller: Caller,
  signal: AbortSignal,
): UniversalServerRequest {
  const metadata = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string" && !NOT_METADATA.test(name)) metadata.append(name, value);
  }
  return {
    httpVersion: "2.0",
    method: "POST",
    // Nobody resolves it; the path is one of ours.
    url: `https://authority${headers[":path"]}`,
    header: metadata,
    body: bodyOf(stream),
    signal,
    contextValues: createContextValues().set(CALLER, caller),
  };
}

/** The stream as its bytes. Leaving it early is no reason to destroy it: the answer goes the same way. */
async function* bodyOf(stream: ServerHttp2Stream): AsyncGenerator<Uint8Array> {
  yield* stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
}

async function respond(stream: ServerHttp2Stream, answer: UniversalServerResponse): Promise<void> {
  const trailers = answer.trailer;
  const parts = answer.body?.[Symbol.asyncIterator]();
  let part = await parts?.next();
  if (stream.closed || stream.destroyed) return void (await parts?.return?.());
  stream.respond({ ":status": answer.status, ...plain(answer.header) }, { waitForTrailers: trailers !== undefined });
  if (trailers !== undefined) stream.once("wantTrailers", () => stream.sendTrailers(plain(trailers)));
  for (; part !== undefined && part.done !== true; part = await parts?.next()) {
    if (!(await write(stream, part.value))) return void (await parts?.return?.());
  }
  stream.end();
  // What a refused caller still sends is not waited for.
  stream.resume();
}

/** Writes and waits until there is room for more; false once the stream is gone. */
async function write(stream: ServerHttp2Stream, bytes: Uint8Array): Promise<boolean> {
  if (stream.closed || stream.destroyed) return false;
  if (stream.write(bytes)) return true;
  return new Promise((resolve) => {
    const room = (): void => settle(true);
    const gone = (): void => settle(false);
    const settle = (open: boolean): void => {
      stream.off("drain", room);
      stream.off("close", gone);
      resolve(open);
    };
    stream.on("drain", room);
    stream.on("close", gone);
  });
}

function plain(fields: Headers | undefined): OutgoingHttpHeaders {
  return Object.fromEntries(fields ?? []);
}

function refuse(stream: ServerHttp2Stream, headers: OutgoingHttpHeaders): void {
  stream.resume();
  if (!stream.headersSent && !stream.destroyed && !stream.closed) stream.respond(headers, { endStream: true });
}
