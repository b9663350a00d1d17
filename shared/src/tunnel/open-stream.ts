// Machine. One CONNECT on a session that is ready, until it is answered. Only 200 opens a tunnel.
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from "node:http2";
import {
  fail,
  Failure,
  isFailureCode,
  RESET_PROTOCOL_ERROR,
  RESET_REFUSED_STREAM,
  RESET_CANCEL,
  RESET_ENHANCE_YOUR_CALM,
} from "../failure/failure.ts";
import type { VerifiedPeer } from "../identity/verify.ts";
import type { Clock } from "../net/clock.ts";
import { deadlinesOf } from "../net/deadlines.ts";
import { resetStream } from "./reset-stream.ts";
import { mergeSmallFrames } from "./small-frames.ts";

const END_STREAM = 0x1;
const STAY_OPEN = { endStream: false };

/** What a tunnel request says. */
export interface StreamRequest {
  readonly authority: string;
  /** Field names in lower case. */
  readonly headers: Readonly<Record<string, string | string[]>>;
}

/** A tunnel that the peer has answered with 200. */
export interface OpenTunnel {
  readonly stream: ClientHttp2Stream;
  readonly peer: VerifiedPeer;
  /** The group by which the keys of its session were agreed, if the runtime tells. */
  readonly keyGroup: string | undefined;
  /** `ip:port` of the peer proxy. */
  readonly remote: string;
  /** Fields of the answer. */
  readonly headers: IncomingHttpHeaders;
}

export interface OpenStreamOptions {
  readonly session: ClientHttp2Session;
  readonly peer: VerifiedPeer;
  readonly keyGroup: string | undefined;
  readonly remote: string;
  readonly request: StreamRequest;
  readonly answerTimeoutMs: number;
  readonly clock: Clock;
  /** Called once, when the peer has answered, whatever it said. */
  readonly onAnswer: () => void;
  /** Called when the peer has refused the stream without looking at it. */
  readonly onRefused: () => void;
  /** Why we have ended the session, if we have. */
  readonly sessionFailure: () => Failure | undefined;
  /** Called once, when the stream no longer counts against the session's limit. */
  readonly onClose: () => void;
}

/**
 * Sends the request. Failures: by status 401 and 403 PEER_DENIED, 404 PEER_NO_DESTINATION, 400 PEER_BAD_REQUEST, any other
 * PEER_UNAVAILABLE (each with the peer's `culvert-code`), 2xx but 200 PEER_PROTOCOL_ERROR; without an answer
 * PEER_TIMEOUT, PEER_RESET, and, when no byte can have been acted on, PEER_REFUSED_STREAM or PEER_LOST.
 */
export function openStream(options: OpenStreamOptions): Promise<OpenTunnel | Failure> {
  const { session, peer, remote, request, answerTimeoutMs, clock } = options;
  return new Promise((resolve) => {
    let stream: ClientHttp2Stream;
    let answered = false;
    try {
      stream = session.request(requestLines(request), STAY_OPEN);
    } catch (error) {
      // A field that HTTP/2 cannot carry: of our own making, or of a resource.
      options.onClose();
      resolve(fail("INTERNAL", `${remote}: ${error instanceof Error ? error.message : "request refused"}`));
      return;
    }
    const deadline = deadlinesOf(clock, answerTimeoutMs).after(() => {
      resolve(fail("PEER_TIMEOUT", `${remote}: no answer in ${answerTimeoutMs} ms`));
      resetStream(stream, RESET_CANCEL);
    });
    mergeSmallFrames(stream);
    stream.on("error", ignore);
    stream.on("response", (headers, flags) => {
      answered = true;
      deadline.cancel();
      options.onAnswer();
      if (headers[":status"] === 200) {
        resolve({ stream, peer, keyGroup: options.keyGroup, remote, headers });
        return;
      }
      const failure = statusFailure(remote, headers);
      if ((flags & END_STREAM) === 0 || failure.code === "PEER_PROTOCOL_ERROR")
        resetStream(stream, failure.traits.resetCode);
      else stream.end().resume();
      resolve(failure);
    });
    stream.on("trailers", closeForProtocol);
    stream.on("close", () => {
      if (answered) return options.onClose();
      deadline.cancel();
      if (isRefusal(stream.rstCode)) options.onRefused();
      options.onClose();
      resolve(closeFailure(options, stream));
    });
  });
}

/** Names and values in turn: the form that the runtime prepares fastest. */
function requestLines(request: StreamRequest): string[] {
  const lines = [":method", "CONNECT", ":authority", request.authority];
  for (const name in request.headers) {
    const value = request.headers[name];
    if (typeof value === "string") lines.push(name, value);
    else for (const one of value ?? []) lines.push(name, one);
  }
  return lines;
}

function statusFailure(remote: string, headers: IncomingHttpHeaders & IncomingHttpStatusHeader): Failure {
  const status = headers[":status"] ?? 0;
  const code = headers["culvert-code"];
  const detail = `${remote}: ${status}${typeof code === "string" ? ` ${code.slice(0, 64)}` : ""}`;
  const told = isFailureCode(code) ? code : undefined;
  if (status === 401 || status === 403) return new Failure("PEER_DENIED", detail, told);
  if (status === 404) return new Failure("PEER_NO_DESTINATION", detail, told);
  if (status === 400) return fail("PEER_BAD_REQUEST", detail);
  if (status < 300) return fail("PEER_PROTOCOL_ERROR", detail);
  return new Failure("PEER_UNAVAILABLE", detail, told);
}

/** A peer that is full says so by the one code or, where it counts what it has not yet put away, by the other. */
function isRefusal(code: number | undefined): boolean {
  return code === RESET_REFUSED_STREAM || code === RESET_ENHANCE_YOUR_CALM;
}

/** The stream closed without an answer. */
function closeFailure(options: OpenStreamOptions, stream: ClientHttp2Stream): Failure {
  const { remote, session, sessionFailure } = options;
  if (isRefusal(stream.rstCode)) return fail("PEER_REFUSED_STREAM", remote);
  if (session.destroyed) return sessionFailure() ?? fail("PEER_LOST", `${remote}: the session ended before the answer`);
  if (stream.rstCode === RESET_PROTOCOL_ERROR) return fail("PEER_PROTOCOL_ERROR", remote);
  return fail("PEER_RESET", `${remote}: reset with code ${stream.rstCode} before the answer`);
}

/** RFC 9113 section 8.5: after the answer a tunnel carries DATA only. */
function closeForProtocol(this: ClientHttp2Stream): void {
  resetStream(this, RESET_PROTOCOL_ERROR);
}

function ignore(): void {}
