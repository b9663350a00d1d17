// Machine. An `http.Server` that is given its connections: such a server enforces neither `headersTimeout` nor `requestTimeout` and ends no
// idle connection, so that all three are done here, by the server's own settings.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { deadlinesOf, type Deadline } from "@culvert/shared/net/deadlines.ts";
import type { MeshSocket } from "./mesh-socket.ts";

const TIMEOUT_ANSWER = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";

/** A connection, between two requests or in one. */
interface Exchange {
  readonly socket: MeshSocket;
  /** Until the head is whole, or until the request is. */
  deadline: Deadline | undefined;
  response: ServerResponse | undefined;
  /** Nothing of a request has come, or nothing of the next one. */
  idle: boolean;
}

/** What the server's own parser leaves on a socket: it is gone where the connection speaks another protocol by now. */
interface Parsed {
  readonly parser?: unknown;
  readonly _httpMessage?: unknown;
}

/** See the head of the file. */
export class HttpService {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #onTimeout: (failure: Failure) => void;
  readonly #exchanges = new Map<unknown, Exchange>();
  #draining = false;

  constructor(server: Server, clock: Clock, onTimeout: (failure: Failure) => void) {
    this.#server = server;
    this.#clock = clock;
    this.#onTimeout = onTimeout;
    server.prependListener("request", this.#onRequest);
  }

  /** Hands a connection to the server. */
  take(socket: MeshSocket): void {
    const exchange: Exchange = { socket, deadline: undefined, response: undefined, idle: false };
    this.#exchanges.set(socket, exchange);
    socket.once("close", () => {
      exchange.deadline?.cancel();
      this.#exchanges.delete(socket);
    });
    this.#awaitHead(exchange);
    this.#server.emit("connection", socket);
  }

  /** Connections end with the request that they have; idle ones now. */
  drain(): void {
    this.#draining = true;
    for (const { socket, response, idle } of this.#exchanges.values()) {
      if (idle) socket.destroySoon();
      else if (response !== undefined) closeAfter(response);
    }
  }

  /** Hands over nothing more, and leaves the server as it was. */
  leave(): void {
    this.#server.off("request", this.#onRequest);
  }

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = this.#exchanges.get(request.socket);
    if (exchange === undefined) return;
    exchange.deadline?.cancel();
    exchange.idle = false;
    exchange.response = response;
    if (this.#draining) closeAfter(response);
    const { requestTimeout } = this.#server;
    // One that is whole by now, as most are, needs no deadline.
    if (requestTimeout > 0 && !request.complete) {
      exchange.deadline = deadlinesOf(this.#clock, requestTimeout).after(() => {
        if (!request.complete) this.#timedOut(exchange, `the request is not whole after ${requestTimeout} ms`);
      });
    }
    response.once("close", () => this.#answered(exchange, request, response));
  };

  #answered(exchange: Exchange, request: IncomingMessage, response: ServerResponse): void {
    // The next of several requests that came together has its head already.
    if (exchange.response !== response || exchange.socket.destroyed) return;
    // Answered before it was whole: its deadline stays.
    if (!request.complete) return void request.once("close", () => this.#answered(exchange, request, response));
    exchange.deadline?.cancel();
    exchange.response = undefined;
    exchange.idle = true;
    if (this.#draining) return exchange.socket.destroySoon();
    exchange.socket.onNextBytes(() => {
      if (!exchange.idle) return;
      exchange.idle = false;
      this.#awaitHead(exchange);
    });
  }

  #awaitHead(exchange: Exchange): void {
    const { headersTimeout } = this.#server;
    if (!(headersTimeout > 0)) return;
    exchange.deadline = deadlinesOf(this.#clock, headersTimeout).after(() => {
      const { parser, _httpMessage: message } = exchange.socket as Parsed;
      // It is over the head, by a way that does not lead through "request", such as an upgrade.
      if (parser === undefined || parser === null || (message !== undefined && message !== null)) return;
      this.#timedOut(exchange, `no whole request head after ${headersTimeout} ms`);
    });
  }

  #timedOut({ socket, response }: Exchange, detail: string): void {
    const failure = fail("REQUEST_TIMEOUT", detail);
    this.#onTimeout(failure);
    const error = Object.assign(new Error("Request timeout"), { code: "ERR_HTTP_REQUEST_TIMEOUT" });
    if (this.#server.emit("clientError", error, socket)) return;
    if (response?.headersSent !== true && socket.writable) socket.write(TIMEOUT_ANSWER);
    socket.destroySoon();
  }
}

function closeAfter(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("connection", "close");
}
