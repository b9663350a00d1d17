// Machine. The admin port: for whoever has a shell on this host, and for nobody else.
//
// Who can reach a loopback port is every process of the host and, through the user, every page in a browser. So: only
// loopback or a UNIX socket is bound; a Host that is not loopback is refused (DNS rebinding), and so is what a browser
// marks as coming from a page; changes need POST and a header that no form and no simple cross-origin request can send;
// answers are JSON, never HTML.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { isLoopbackHost, parseHost, splitHostPort } from "../net/listen-address.ts";
import { listenHttp } from "./http-endpoint.ts";
import type { HttpEndpoint, HttpListen, HttpReply, HttpRequest } from "./http-endpoint.ts";

/** One thing that the admin port can do. */
export interface AdminHandler {
  /** GET shows, POST changes. */
  readonly method: "GET" | "POST";
  readonly path: string;
  /** One line for the table at `/`. */
  readonly about: string;
  handle(query: URLSearchParams): AdminReply | Promise<AdminReply>;
}

/** An answer; `body` is anything that JSON can say, and holds no secret. */
export interface AdminReply {
  readonly status: number;
  readonly body: unknown;
}

/** Serves the handlers on loopback or a UNIX socket; any other address is refused. Fails with PORT_UNAVAILABLE. */
export async function serveAdmin(options: {
  readonly listen: HttpListen;
  readonly handlers: readonly AdminHandler[];
  readonly clock: Clock;
  readonly onError: (failure: Failure) => void;
}): Promise<HttpEndpoint | Failure> {
  const { listen, handlers, clock, onError } = options;
  const overTcp = !("path" in listen);
  if (overTcp && !isLoopbackHost(listen.host)) {
    return fail("PORT_UNAVAILABLE", `the admin port is for loopback or a UNIX socket, not for "${listen.host}"`);
  }
  const endpoint = await listenHttp({
    listen,
    clock,
    onError,
    handle: (request) => (overTcp ? refuseStranger(request) : undefined) ?? dispatch(handlers, request),
  });
  if (isFailure(endpoint) || "path" in endpoint.address) return endpoint;
  // `localhost` is what the hosts file says it is.
  if (isLoopbackHost(endpoint.address.host)) return endpoint;
  await endpoint.close();
  return fail("PORT_UNAVAILABLE", `the admin port is for loopback, not for ${endpoint.text}`);
}

function refuseStranger(request: HttpRequest): HttpReply | undefined {
  const { host, origin, "sec-fetch-site": site } = request.headers;
  if (host === undefined || !namesLoopback(host))
    return jsonReply(403, { error: "the Host of the request is not loopback" });
  if (origin !== undefined || (site !== undefined && site !== "none")) {
    return jsonReply(403, { error: "requests from web pages are refused" });
  }
  return undefined;
}

function namesLoopback(host: string): boolean {
  const name = splitHostPort(host)?.host ?? parseHost(host.replace(/^\[(.*)\]$/, "$1"));
  return name !== undefined && isLoopbackHost(name);
}

async function dispatch(handlers: readonly AdminHandler[], request: HttpRequest): Promise<HttpReply> {
  const method = request.method === "HEAD" ? "GET" : request.method;
  const atPath = handlers.filter((handler) => handler.path === request.path);
  if (request.path === "/" && method === "GET") return jsonReply(200, table(handlers));
  if (atPath.length === 0) return jsonReply(404, { error: "no such path; GET / lists them" });
  const handler = atPath.find((one) => one.method === method);
  if (handler === undefined) {
    const allow = atPath.map((one) => one.method).join(", ");
    return { ...jsonReply(405, { error: `this path takes ${allow}` }), headers: { allow } };
  }
  if (handler.method === "POST" && request.headers["culvert-admin"] !== "1") {
    return jsonReply(403, { error: "a change needs the header culvert-admin: 1" });
  }
  const { status, body } = await handler.handle(request.query);
  return jsonReply(status, body);
}

function table(handlers: readonly AdminHandler[]): Record<string, string> {
  return Object.fromEntries(handlers.map((handler) => [`${handler.method} ${handler.path}`, handler.about]));
}

function jsonReply(status: number, body: unknown): HttpReply {
  const text = JSON.stringify(body, null, 2);
  // The last line of defence, should a handler ever hand out more than it should.
  if (text.includes("PRIVATE KEY")) throw new Error("the answer holds a private key");
  return { status, type: "application/json", body: `${text}\n` };
}
