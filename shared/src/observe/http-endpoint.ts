// Machine. A small bounded HTTP/1.1 server for readiness, metrics and admin: short requests without bodies, whole answers.
import { chmodSync, lstatSync, renameSync, rmSync } from "node:fs";
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from "node:http";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { bind } from "../net/bind.ts";
import type { Clock } from "../net/clock.ts";
import { formatHostPort } from "../net/ip.ts";

// An `import` would evaluate all that `node:http` exports, its fetch and WebSocket too: 2.8 MiB, and 80 modules.
const { createServer } = process.getBuiltinModule("node:http");

/** Where to listen: a TCP address (`host` empty: all interfaces), or a UNIX socket. */
export type HttpListen = { readonly host: string; readonly port: number } | { readonly path: string };

/** One request. */
export interface HttpRequest {
  readonly method: string;
  /** The path as sent, without query; compared, never resolved against anything. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
}

/** One whole answer. */
export interface HttpReply {
  readonly status: number;
  /** Media type. */
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type HttpHandler = (request: HttpRequest) => HttpReply | Promise<HttpReply>;

/** What an endpoint needs. */
export interface HttpEndpointOptions {
  readonly listen: HttpListen;
  readonly handle: HttpHandler;
  readonly clock: Clock;
  /** Told when a handler failed; the client gets a 500 without particulars. */
  readonly onError: (failure: Failure) => void;
}

/** A bound endpoint. */
export interface HttpEndpoint {
  /** The address that was bound, with the port that the system chose if 0 was asked for. */
  readonly address: HttpListen;
  /** `host:port`, or the path of the socket. */
  readonly text: string;
  /** Stops listening and ends all connections. */
  close(): Promise<void>;
}

/** Every number of the server. */
const LIMITS = {
  /** Probes, a scraper or two, an operator: far fewer than this. */
  maxConnections: 64,
  /** A probe's head is some hundred bytes. */
  maxHeaderBytes: 8 * 1024,
  maxHeaderCount: 64,
  /** A head or request that takes longer is no probe. */
  requestMs: 5000,
  /** Between requests, longer than usual scrape clients take to pipeline, shorter than they keep idle sockets. */
  keepAliveMs: 5000,
  /** No byte in either direction for so long ends the connection: a reader of a large dump that has stopped. */
  idleMs: 30_000,
  maxRequestsPerSocket: 1000,
  /** How often the deadlines above are looked at. */
  checkMs: 1000,
  /** What a handler may take. */
  handlerMs: 10_000,
} as const;

/** Binds an endpoint. Fails with PORT_UNAVAILABLE, naming the address and the system's reason. */
export function listenHttp(options: HttpEndpointOptions): Promise<HttpEndpoint | Failure> {
  const { listen } = options;
  const server = createServer(
    {
      maxHeaderSize: LIMITS.maxHeaderBytes,
      headersTimeout: LIMITS.requestMs,
      requestTimeout: LIMITS.requestMs,
      keepAliveTimeout: LIMITS.keepAliveMs,
      connectionsCheckingInterval: LIMITS.checkMs,
      noDelay: true,
    },
    (request, response) => void answer(request, response, options),
  );
  server.maxConnections = LIMITS.maxConnections;
  server.maxHeadersCount = LIMITS.maxHeaderCount;
  server.maxRequestsPerSocket = LIMITS.maxRequestsPerSocket;
  server.timeout = LIMITS.idleMs;
  return "path" in listen ? bindPath(server, listen.path) : bindPort(server, listen.host, listen.port);
}

async function bindPort(server: Server, host: string, port: number): Promise<HttpEndpoint | Failure> {
  const address = await bind(server, host, port, () => undefined, false);
  if (isFailure(address)) return address;
  return { address, text: formatHostPort(address.host, address.port), close: () => close(server) };
}

/**
 * Binds a socket file that only its owner may connect to. It is bound beside its place and moved there: a file left by
 * a process that died is replaced, and so is that of a process which is being taken over from.
 */
function bindPath(server: Server, path: string): Promise<HttpEndpoint | Failure> {
  const fresh = `${path}.${process.pid}`;
  return new Promise((resolve) => {
    server.once("error", (error) => resolve(unavailable(path, error)));
    server.listen({ path: fresh }, () => {
      server.on("error", () => undefined);
      try {
        if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false)
          throw new Error("a file that is no socket");
        chmodSync(fresh, 0o600);
        renameSync(fresh, path);
        const { ino } = lstatSync(path);
        resolve({ address: { path }, text: path, close: () => close(server).then(() => removeIfOurs(path, ino)) });
      } catch (error) {
        server.close();
        resolve(unavailable(path, error));
      }
    });
  });
}

function removeIfOurs(path: string, ino: number): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
}

function unavailable(address: string, error: unknown): Failure {
  return fail("PORT_UNAVAILABLE", `${address}: ${error instanceof Error ? error.message : String(error)}`);
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function answer(request: IncomingMessage, response: ServerResponse, options: HttpEndpointOptions): Promise<void> {
  response.on("error", () => undefined);
  const reply = hasBody(request) ? plainReply(413, "requests to this port have no body") : await call(request, options);
  if (response.destroyed) return;
  const headers: Record<string, string | number> = {
    "content-type": reply.type,
    "content-length": Buffer.byteLength(reply.body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...reply.headers,
  };
  if (hasBody(request)) headers["connection"] = "close";
  // For HEAD, Node leaves the body out.
  response.writeHead(reply.status, headers).end(reply.body);
}

function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

async function call(request: IncomingMessage, options: HttpEndpointOptions): Promise<HttpReply> {
  const target = request.url ?? "";
  const mark = target.indexOf("?");
  const asked: HttpRequest = {
    method: request.method ?? "",
    path: mark === -1 ? target : target.slice(0, mark),
    query: new URLSearchParams(mark === -1 ? "" : target.slice(mark + 1)),
    headers: request.headers,
  };
  try {
    return await withDeadline(options.handle(asked), options.clock);
  } catch (error) {
    options.onError(
      fail("INTERNAL", `${asked.method} ${asked.path}: ${error instanceof Error ? error.message : String(error)}`),
    );
    return plainReply(500, "this answer could not be made; the log says why");
  }
}

async function withDeadline(reply: HttpReply | Promise<HttpReply>, clock: Clock): Promise<HttpReply> {
  if (!(reply instanceof Promise)) return reply;
  const late = Promise.withResolvers<HttpReply>();
  const timer = clock.after(LIMITS.handlerMs, () => late.resolve(plainReply(503, "this answer took too long")));
  try {
    return await Promise.race([reply, late.promise]);
  } finally {
    timer.cancel();
  }
}

/** An answer of one line of text. */
export function plainReply(status: number, line: string): HttpReply {
  return { status, type: "text/plain; charset=utf-8", body: `${line}\n` };
}
