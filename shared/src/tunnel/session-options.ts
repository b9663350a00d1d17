// Pure. The limits in the runtime's words: options and SETTINGS of an HTTP/2 session at either end of a tunnel. The
// runtime's own defaults are unlimited where it matters, so every one that exists is named here.
import { constants } from "node:http2";
import type { ServerSessionOptions, SessionOptions } from "node:http2";
import type { TunnelLimits } from "./limits.ts";

/** Malformed frames that a session may bring before the library ends it; an honest peer sends none. */
const MAX_INVALID_FRAMES = 100;
/** Streams that the library may refuse for memory before it ends the session. */
const MAX_REJECTED_STREAMS = 100;
/** Unanswered PINGs of ours: we send one at a time. */
const MAX_OUTSTANDING_PINGS = 2;
/** Entries of one SETTINGS frame: the standard defines seven. */
const MAX_SETTINGS = 32;
/** HPACK table: the protocol's initial size, so that it needs no negotiation. */
const HEADER_TABLE_BYTES = 4_096;

function common(limits: TunnelLimits): SessionOptions {
  return {
    settings: {
      headerTableSize: HEADER_TABLE_BYTES,
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxHeaderListSize: limits.maxHeaderListSize,
    },
    maxDeflateDynamicTableSize: HEADER_TABLE_BYTES,
    maxHeaderListPairs: limits.maxHeaderListPairs,
    maxOutstandingPings: MAX_OUTSTANDING_PINGS,
    maxSendHeaderBlockLength: limits.maxHeaderListSize,
    maxSessionMemory: limits.maxSessionMemoryMb,
    maxSettings: MAX_SETTINGS,
    paddingStrategy: constants.PADDING_STRATEGY_NONE,
    peerMaxConcurrentStreams: limits.assumedPeerStreams,
    strictFieldWhitespaceValidation: true,
  };
}

/** Options of an accepted session. */
export function serverSessionOptions(limits: TunnelLimits): ServerSessionOptions {
  const options = common(limits);
  return {
    ...options,
    settings: { ...options.settings, maxConcurrentStreams: limits.maxConcurrentStreams },
    maxSessionInvalidFrames: MAX_INVALID_FRAMES,
    maxSessionRejectedStreams: MAX_REJECTED_STREAMS,
    streamResetBurst: limits.resetBurst,
    streamResetRate: limits.resetsPerSecond,
  };
}

/** Options of a session that we open: the peer may push nothing. */
export function clientSessionOptions(limits: TunnelLimits): SessionOptions {
  const options = common(limits);
  return { ...options, settings: { ...options.settings, enablePush: false } };
}
