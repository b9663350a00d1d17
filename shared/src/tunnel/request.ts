// Machine. One CONNECT on an accepted session: its form, and the two ways to answer it.
import type {
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  ServerHttp2Stream,
  ServerStreamResponseOptions,
} from "node:http2";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { VerifiedPeer } from "../identity/verify.ts";
import type { Endpoint } from "../net/endpoint.ts";
import { parseAuthority } from "./authority.ts";
import type { Authority } from "./authority.ts";
import { FIELD_OVERHEAD } from "./header-list.ts";
import { resetStream } from "./reset-stream.ts";

/** A CONNECT whose peer is verified and whose form is right; nothing else about it has been decided. */
export interface TunnelRequest {
  readonly peer: VerifiedPeer;
  /** The group by which the keys of its session were agreed, if the runtime tells. */
  readonly keyGroup: string | undefined;
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
/** The plain answer in the form that the runtime prepares fastest. */
const OK: readonly (string | number)[] = [":status", 200];

/** Fields that frame a message, which a tunnel is not; the library has refused those that HTTP/2 forbids everywhere. */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);
const KNOWN_AUTHORITIES = 64;

/** A request as `listenTunnels` hands it over. */
export class AcceptedRequest implements TunnelRequest {
  readonly peer: VerifiedPeer;
  readonly keyGroup: string | undefined;
  readonly authority: Authority;
  readonly rawAuthority: string;
  readonly headers: IncomingHttpHeaders;
  readonly stream: ServerHttp2Stream;
  readonly source: Endpoint;
  readonly local: Endpoint;

  constructor(
    session: Pick<TunnelRequest, "peer" | "keyGroup" | "source" | "local">,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    authority: Authority,
  ) {
    this.peer = session.peer;
    this.keyGroup = session.keyGroup;
    this.source = session.source;
    this.local = session.local;
    this.stream = stream;
    this.headers = headers;
    this.authority = authority;
    this.rawAuthority = headers[":authority"] ?? "";
  }

  accept(headers?: Readonly<Record<string, string>>): boolean {
    return respond(this.stream, headers === undefined ? OK : { ":status": 200, ...headers }, OPEN);
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

/** The authorities that a session asked for last: a peer asks for few, and again and again. */
export class AuthorityCache {
  readonly #known = new Map<string, Authority>();

  /** `parseAuthority`, remembered where it succeeds. */
  parse(text: string): Authority | Failure {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const parsed = parseAuthority(text);
    if (isFailure(parsed)) return parsed;
    if (this.#known.size >= KNOWN_AUTHORITIES) this.#known.clear();
    this.#known.set(text, parsed);
    return parsed;
  }
}

/** What a request head weighs and says. */
export interface RequestHead {
  /** RFC 9113 section 6.5.2: names, values, and 32 for each line. */
  readonly bytes: number;
  readonly authority: Authority | Failure;
}

/**
 * Reads a request head: what a CONNECT must and must not have (RFC 9113 section 8.5), and where it wants to go. `lines` are
 * names and values in turn, repeated fields included, as the runtime hands them over; the names are in lower case.
 */
export function readRequestHead(lines: readonly string[], authorities: AuthorityCache): RequestHead {
  let bytes = lines.length * (FIELD_OVERHEAD / 2);
  let isConnect = false;
  let authority: string | undefined;
  let host: string | undefined;
  let forbidden: string | undefined;
  for (let index = 0; index < lines.length; index += 2) {
    const name = lines[index] ?? "";
    const value = lines[index + 1] ?? "";
    bytes += name.length + value.length;
    if (name === ":method") isConnect = value === "CONNECT";
    else if (name === ":authority") authority = value;
    else if (name === "host" && host === undefined) host = value;
    else if (name === "host" || name.startsWith(":") || FRAMING.has(name)) forbidden ??= name;
  }
  if (!isConnect) return { bytes, authority: fail("METHOD_NOT_CONNECT", "") };
  if (forbidden !== undefined) return { bytes, authority: fail("TUNNEL_REQUEST_MALFORMED", `it has ${forbidden}`) };
  if (authority === undefined) return { bytes, authority: fail("AUTHORITY_MALFORMED", "none") };
  if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
    return { bytes, authority: fail("TUNNEL_REQUEST_MALFORMED", "its host is not its authority") };
  }
  return { bytes, authority: authorities.parse(authority) };
}

function respond(
  stream: ServerHttp2Stream,
  headers: OutgoingHttpHeaders | readonly (string | number)[],
  options: ServerStreamResponseOptions,
): boolean {
  if (stream.destroyed || stream.closed || stream.headersSent) return false;
  stream.respond(headers as OutgoingHttpHeaders, options);
  return true;
}
