// Machine. A reverse proxy on node:http2 as one would write it with the runtime alone: one session to each application, no policy, no
// log, no deadlines. What it costs is the floor of every proxy on this runtime.
import {
  connect,
  createServer,
  type ClientHttp2Session,
  type Http2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { Address } from "../support/envoy.ts";

/** Moves a body with backpressure. */
function forward(from: Http2Stream, to: Http2Stream): void {
  from.on("data", (chunk: Buffer) => {
    if (!to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
}

/** Serves at `listen` what comes from the application at `to`. */
export function proxyHttp2(listen: Address, to: Address): void {
  let session: ClientHttp2Session | undefined;
  const upstream = (): ClientHttp2Session => {
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(`http://${to.host}:${to.port}`);
      session.on("error", () => {});
    }
    return session;
  };
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const request = upstream().request(headers);
    let trailers: IncomingHttpHeaders = {};
    request.on("trailers", (fields: IncomingHttpHeaders) => (trailers = fields));
    request.on("response", (response: IncomingHttpHeaders) => {
      stream.respond(response, { waitForTrailers: true });
      forward(request, stream);
    });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.on("error", () => request.close());
    request.on("error", () => stream.close());
    stream.on("aborted", () => request.close());
    forward(stream, request);
  });
  server.listen(listen);
}
