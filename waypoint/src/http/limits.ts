// Pure. Every bound and deadline of HTTP messages and of the connections of HTTP/1.1, with its reason. What only HTTP/2 has is in
// `../http2/limits.ts`.

/** Bounds in bytes and counts, deadlines in milliseconds. */
export interface HttpLimits {
  readonly headBytes: number;
  readonly fieldLines: number;
  readonly nameBytes: number;
  readonly valueBytes: number;
  readonly chunkExtensionBytes: number;
  readonly trailerBytes: number;
  readonly trailerLines: number;
  readonly interimResponses: number;
  readonly stashBytes: number;
  readonly lingerBytes: number;
  readonly viaHops: number;
  readonly headMs: number;
  readonly idleMs: number;
  readonly drainIdleMs: number;
  readonly progressMs: number;
  readonly lingerMs: number;
  readonly upstreamIdleMs: number;
  readonly upstreamIdlePerEndpoint: number;
  readonly upstreamPerEndpoint: number;
  readonly otherEndpoints: number;
  readonly replayBytes: number;
}

/** What holds when the configuration says nothing else. */
export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  /** Envoy's 60 KiB, rounded up: cookies and tokens of real applications fit, a thousand slow heads stay at 64 MiB. */
  headBytes: 64 * 1024,
  /** Envoy's and nghttp2's order of magnitude; bounds the table of offsets and every pass over it. */
  fieldLines: 100,
  /** Four times the longest registered name. */
  nameBytes: 256,
  /** A Kerberos ticket with many groups is the largest thing seen in one field. */
  valueBytes: 32 * 1024,
  /** For one message: nobody uses them, they are dropped, so there is no reason to read many. */
  chunkExtensionBytes: 4 * 1024,
  trailerBytes: 8 * 1024,
  trailerLines: 32,
  /** 100, 102 and 103 of one request; more of them is a storm. */
  interimResponses: 32,
  /** Bytes that came before they could be used: one read of the transport and what it had already taken. */
  stashBytes: 256 * 1024,
  /** Read and thrown away after a last response, so that the client gets to read that response before a reset. */
  lingerBytes: 1024 * 1024,
  /** A chain of four waypoints is longer than any sane mesh; a fifth is a loop. */
  viaHops: 4,
  /** From the first byte of a head to its last: against senders of one byte a second. */
  headMs: 10_000,
  /** Between two requests. Clients give up their idle connections before that, so that no request meets a close. */
  idleMs: 300_000,
  /** The same while draining: a client in the middle of its work asks once more, and is told then, instead of meeting a close. */
  drainIdleMs: 500,
  /** Without a byte in either direction while a request is in flight: long polls live, dead peers do not. */
  progressMs: 300_000,
  lingerMs: 2_000,
  /** Shorter than the keep-alive of most servers (nginx 75 s, Envoy 1 h); shorter ones (Node 5 s) are watched for. */
  upstreamIdleMs: 30_000,
  /** More idle connections than that to one endpoint serve nobody. */
  upstreamIdlePerEndpoint: 128,
  /** In use, idle and being opened: the most that one tenant gets, and as much again for the others. */
  upstreamPerEndpoint: 2048,
  /** Endpoints tried after the first one has failed to take the request. */
  otherEndpoints: 2,
  /** Of a request body, kept so that a route's retry can send it again; a longer one is sent once (Linkerd's bound). */
  replayBytes: 64 * 1024,
};
