// For tests: HTTP/2 applications behind fake uproxies, and what becomes of a client's requests.
import {
  performServerHandshake,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { Serve } from "./waypoint-fixtures.ts";

/** What became of a request. */
export interface Outcome {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly interims: readonly number[];
  /** Code of the reset; 0 when the stream ended in order. */
  readonly code: number;
}

export type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** An HTTP/2 app: one session for each connection that a fake uproxy brings. */
export class Http2App {
  readonly sessions: ServerHttp2Session[] = [];
  onStream: OnStream = () => {};
  readonly #options: ServerOptions;

  constructor(options: ServerOptions = {}) {
    this.#options = options;
  }

  readonly serve: Serve = (connection) => {
    connection.on("error", () => {});
    const session = performServerHandshake(connection, this.#options);
    this.sessions.push(session);
    session.on("error", () => {});
    session.on("close", () => this.sessions.splice(this.sessions.indexOf(session), 1));
    session.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      this.onStream(stream, headers);
    });
  };
}

/** Follows a request to its end. */
export function outcomeOf(stream: ClientHttp2Stream): Promise<Outcome> {
  return new Promise((resolve) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders | undefined;
    const interims: number[] = [];
    const chunks: Buffer[] = [];
    stream.on("error", () => {});
    stream.on("headers", (interim) => void interims.push(Number(interim[":status"])));
    stream.on("response", (head) => {
      headers = head;
      stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
    });
    stream.on("trailers", (fields) => {
      trailers = fields;
    });
    stream.on("close", () =>
      resolve({
        status: headers[":status"] === undefined ? undefined : Number(headers[":status"]),
        headers,
        body: Buffer.concat(chunks).toString("latin1"),
        trailers,
        interims,
        code: stream.rstCode ?? -1,
      }),
    );
  });
}

/** One request over a client's session. */
export async function ask(
  session: ClientHttp2Session,
  headers: Record<string, string | string[]>,
  body?: string,
): Promise<Outcome> {
  const stream = session.request({ ":path": "/", ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body, "latin1");
  return outcomeOf(stream);
}
