// Machine. One CONNECT on an accepted session: its form, and the two ways to answer it.
import type {
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  ServerHttp2Stream,
  ServerStreamResponseOptions,
} from "node:http2";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { VerifiedPeer } from "../identity/verify.ts";
import type { Endpoint } from "../net/endpoint.ts";
import { parseAuthority } from "./authority.ts";
import type { Authority } from "./authority.ts";
import { resetStream } from "./reset-stream.ts";

/** A CONNECT whose peer is verified and whose form is right; nothing else about it has been decided. */
export interface TunnelRequest {
  readonly peer: VerifiedPeer;
  readonly authority: Authority;
  readonly rawAuthority: string;
  readonly headers: IncomingHttpHeaders;
  readonly stream: ServerHttp2Stream;
  /** The peer's end of the TLS connection. */
  readonly source: Endpoint;
  /** Our end of it: the address that the peer dialled. */
  readonly local: Endpoint;
  /** Answers 200: bytes may flow. `false`, and nothing done, if the stream is gone or was answered. */
  accept(headers?: Readonly<Record<string, string>>): boolean;
  /** Answers the failure's status with `culvert-code` and ends the stream; after `accept` it resets the stream. */
  refuse(failure: Failure): void;
}

/** Shared by all answers. `sendDate`, which the type does not know, spares a field that nobody reads. */
const OPEN: ServerStreamResponseOptions = { sendDate: false } as ServerStreamResponseOptions;
const SHUT: ServerStreamResponseOptions = { ...OPEN, endStream: true };

/** A request as `listenTunnels` hands it over. */
export class AcceptedRequest implements TunnelRequest {
  readonly peer: VerifiedPeer;
  readonly authority: Authority;
  readonly rawAuthority: string;
  readonly headers: IncomingHttpHeaders;
  readonly stream: ServerHttp2Stream;
  readonly source: Endpoint;
  readonly local: Endpoint;

  constructor(
    session: { readonly peer: VerifiedPeer; readonly source: Endpoint; readonly local: Endpoint },
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    authority: Authority,
  ) {
    this.peer = session.peer;
    this.source = session.source;
    this.local = session.local;
    this.stream = stream;
    this.headers = headers;
    this.authority = authority;
    this.rawAuthority = headers[":authority"] ?? "";
  }

  accept(headers?: Readonly<Record<string, string>>): boolean {
    return respond(this.stream, { ":status": 200, ...headers }, OPEN);
  }

  refuse(failure: Failure): void {
    if (this.stream.headersSent) resetStream(this.stream, failure.traits.resetCode);
    else refuseStream(this.stream, failure);
  }
}

/** Answers a stream with a failure. It ends by END_STREAM: every reset counts against a budget of the session. */
export function refuseStream(stream: ServerHttp2Stream, failure: Failure): void {
  const answer = { ":status": failure.traits.tunnelStatus, "culvert-code": failure.code };
  // What the caller still sends is thrown away; unread, the stream would be reset by the runtime.
  if (respond(stream, answer, SHUT)) stream.resume();
}

/** Checks what a CONNECT must and must not have (RFC 9113 section 8.5) and reads where it wants to go. */
export function checkRequest(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): Authority | Failure {
  if (headers[":method"] !== "CONNECT") return fail("METHOD_NOT_CONNECT", JSON.stringify(headers[":method"] ?? ""));
  for (const forbidden of [":scheme", ":path", ":protocol", "content-length", "transfer-encoding"]) {
    if (headers[forbidden] !== undefined) return fail("TUNNEL_REQUEST_MALFORMED", `it has ${forbidden}`);
  }
  const named = headers[":authority"];
  if (typeof named !== "string") return fail("AUTHORITY_MALFORMED", "none");
  const authority = parseAuthority(named);
  if (headers.host === undefined) return authority;
  // The runtime shows the first `host` only.
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name === "host").length;
  if (hosts > 1) return fail("TUNNEL_REQUEST_MALFORMED", `it has ${hosts} host fields`);
  if (headers.host.toLowerCase() === named.toLowerCase()) return authority;
  return fail("TUNNEL_REQUEST_MALFORMED", "its host is not its authority");
}

function respond(
  stream: ServerHttp2Stream,
  headers: OutgoingHttpHeaders,
  options: ServerStreamResponseOptions,
): boolean {
  if (stream.destroyed || stream.closed || stream.headersSent) return false;
  stream.respond(headers, options);
  return true;
}
