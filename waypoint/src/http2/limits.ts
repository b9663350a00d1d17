// Pure. Every bound and deadline of the HTTP/2 that applications speak inside tunnels. What it shares with the tunnel's own HTTP/2 it
// takes from there; a session here is one application's, so it gets less.
import type { ServerSessionOptions, SessionOptions } from "node:http2";
import { DEFAULT_TUNNEL_LIMITS, type TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import { clientSessionOptions, serverSessionOptions } from "@culvert/shared/tunnel/session-options.ts";

const KIB = 1024;

/** Bounds in bytes and counts, deadlines in milliseconds. */
export interface Http2Limits {
  /** What is bounded as in a tunnel's session. */
  readonly session: TunnelLimits;
  readonly upstreamStreams: number;
  readonly upstreamSessions: number;
  readonly upstreamIdleMs: number;
  readonly streamIdleMs: number;
  readonly earlyResetMs: number;
}

/** What holds when the configuration says nothing else. */
export const DEFAULT_HTTP2_LIMITS: Http2Limits = {
  session: {
    ...DEFAULT_TUNNEL_LIMITS,
    // With the window below, 64 MiB for one connection if everything stalls; clients open more connections beyond that.
    maxConcurrentStreams: 256,
    // A quarter of the tunnel's, in which all of them are: 256 KiB each millisecond is more than a tunnel carries.
    streamWindow: 256 * KIB,
    // The tunnel's window bounds all streams together; this one must never be the narrower.
    connectionWindow: 16 * 1024 * KIB,
    // The protocol's own: larger frames of one stream only hold up the others.
    maxFrameSize: 16 * KIB,
    // As HTTP/1.1's head here.
    maxHeaderListSize: 64 * KIB,
    // A hundred fields, as in HTTP/1.1, and a Cookie in many crumbs.
    maxHeaderListPairs: 256,
    // gRPC clients take back what is past its deadline, each of them many at once when an application is slow.
    earlyResetBurst: 1_000,
    earlyResetsPerSecond: 100,
  },
  /** Requests on one session to an application before the next one is opened; fewer where the application allows fewer. */
  upstreamStreams: 256,
  /** To one endpoint: 4,096 requests in flight at applications that allow no more than 64 each. */
  upstreamSessions: 64,
  /** A session to an application that has carried nothing for so long is ended: GOAWAY loses no request, so there is no hurry. */
  upstreamIdleMs: 300_000,
  /** Without a byte in either direction after the response has begun: streams of events are quiet for long. */
  streamIdleMs: 3_600_000,
  /** A request that is taken back unanswered sooner than this was never wanted; one that is taken back later was. */
  earlyResetMs: 1_000,
};

/** Options of a client's session. An application may send one field twice; whether it should is not ours to say. */
export function downstreamOptions({ session }: Http2Limits): ServerSessionOptions {
  const options = serverSessionOptions(session);
  return { ...options, settings: { ...options.settings, enableConnectProtocol: true }, strictSingleValueFields: false };
}

/** Options of a session to an application. */
export function upstreamOptions({ session }: Http2Limits): SessionOptions {
  const strictness = { strictSingleValueFields: false };
  return { ...clientSessionOptions(session), ...strictness };
}
