// Pure. Every number that bounds a tunnel, a session or a peer, each with its reason. Nothing else invents one.

const KIB = 1024;
const MIB = 1024 * KIB;

/** What one side of a tunnel grants and how long it waits. Durations are milliseconds, sizes bytes. */
export interface TunnelLimits {
  /** Deadline of the TCP connect to a peer proxy. */
  readonly connectTimeoutMs: number;
  /** Deadline of the TLS handshake, on both sides. */
  readonly handshakeTimeoutMs: number;
  /** Time in which the peer has to acknowledge our SETTINGS (RFC 9113 section 6.5.3). */
  readonly settingsTimeoutMs: number;
  /** Time from the end of the handshake to the first complete request of a session, or to an answered PING. */
  readonly firstHeadersTimeoutMs: number;
  /** Time that the peer has to answer a CONNECT; it dials its application in it. */
  readonly answerTimeoutMs: number;
  /** How often a quiet or busy session is asked whether it still lives. */
  readonly pingIntervalMs: number;
  /** How long an unanswered PING is tolerated. */
  readonly pingTimeoutMs: number;
  /** A pooled session without streams is closed after this. */
  readonly idleSessionMs: number;
  /** Sessions made under a replaced identity are replaced and told to go away within this time, spread evenly. */
  readonly rotationDrainMs: number;
  /** How long the tunnels of a session may outlive the certificate of its peer, or our own. */
  readonly expiredPeerGraceMs: number;
  /** A pooled session is replaced by a new one some time in the last quarter of this. */
  readonly maxSessionAgeMs: number;
  /** A tunnel of which one direction has ended and the other is silent is ended after this. */
  readonly halfClosedIdleMs: number;
  /** A connection that carries nothing in either direction is ended after this (uproxy); 0 is off. */
  readonly connectionIdleMs: number;
  /** A connection is ended at this age (uproxy); 0 is off. */
  readonly maxConnectionAgeMs: number;

  /** Endpoints tried for one connection before it is refused, the first included. */
  readonly maxTries: number;
  /** Failures in a row after which an endpoint is left out for a while. */
  readonly ejectAfter: number;
  /** How long it is left out at first; twice as long each time. */
  readonly ejectionMs: number;
  /** The longest time that an endpoint is left out before it is tried again. */
  readonly maxEjectionMs: number;
  /** Most endpoints of one destination that are left out at once, percent. */
  readonly maxEjectedPercent: number;

  /** Streams that a peer may hold open on one session. */
  readonly maxConcurrentStreams: number;
  /** Streams that we hold on one session before the peer's SETTINGS have arrived. */
  readonly assumedPeerStreams: number;
  /** Most streams that we ever hold on one session, whatever the peer allows. */
  readonly maxStreamsPerSession: number;
  /** Streams on each session to a peer at which the next session is opened, until there are `spreadSessions`. */
  readonly busyStreams: number;
  /** Sessions over which the tunnels to one busy peer are spread before any of them is full. */
  readonly spreadSessions: number;
  /** Sessions that one key of the pool may hold. */
  readonly maxSessionsPerKey: number;
  /** Sessions that the whole pool may hold. */
  readonly maxPooledSessions: number;
  /** Dials of the whole pool at once. */
  readonly maxDials: number;
  /** Callers that may wait for one key's dial. */
  readonly maxWaitersPerKey: number;
  /** Callers that may wait in the whole pool. */
  readonly maxWaiters: number;
  /** Sessions that a server holds at once. */
  readonly maxSessions: number;
  /** Sessions of those that one identity may hold. */
  readonly maxSessionsPerPeer: number;
  /** Tunnels that a server holds at once, over all sessions. */
  readonly maxTunnels: number;
  /** Tunnels of those that one identity may hold. */
  readonly maxTunnelsPerPeer: number;
  /** Handshakes that a server runs at once. */
  readonly maxHandshakes: number;
  /** Handshakes of those that one address may hold. */
  readonly maxHandshakesPerAddress: number;
  /** Bytes that stalled tunnels may hold, a stream window each, before new tunnels are answered 503 (uproxy). */
  readonly stalledBudget: number;
  /** Captured plaintext connections that a uproxy holds at once. */
  readonly maxPlaintext: number;

  /**
   * How long a connection to a destination that the authority has not been asked for yet waits for its answer (uproxy); and how late the
   * programs may hear that another waypoint stands before a destination.
   */
  readonly configurationWaitMs: number;
  /** A destination that nothing has gone to for this long is no longer asked of the authority (uproxy). */
  readonly subscriptionIdleMs: number;
  /** Destinations that are asked of the authority at once (uproxy). */
  readonly maxSubscriptions: number;

  /** Bytes that the process may use; the container's own limit counts where it is lower. At 85 % new streams are refused. */
  readonly memory: number;

  /** SETTINGS_INITIAL_WINDOW_SIZE: what one stream may have in flight toward us. */
  readonly streamWindow: number;
  /** Window of the whole connection. */
  readonly connectionWindow: number;
  /** SETTINGS_MAX_FRAME_SIZE. */
  readonly maxFrameSize: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE, and our own count (RFC 9113 section 6.5.2: names + values + 32 each). */
  readonly maxHeaderListSize: number;
  /** Header lines of one request or answer. */
  readonly maxHeaderListPairs: number;
  /** Node's `maxSessionMemory`, in megabytes: it counts queued output. */
  readonly maxSessionMemoryMb: number;
  /** Bytes given to a stream and not yet taken by the session, per tunnel. */
  readonly streamQueue: number;

  /** Token bucket of RST_STREAM frames of a peer, all kinds (enforced by the HTTP/2 library). */
  readonly resetBurst: number;
  readonly resetsPerSecond: number;
  /** Token bucket of streams that the peer reset before we had answered them: the rapid-reset pattern. */
  readonly earlyResetBurst: number;
  readonly earlyResetsPerSecond: number;
  /** Token bucket of requests that were refused as malformed or oversized. */
  readonly badRequestBurst: number;
  readonly badRequestsPerSecond: number;
  /** Requests whose header list is over the limit, after which the session ends. */
  readonly maxOversizedHeads: number;
  /** Header bytes of all requests of a session that has not yet acknowledged our SETTINGS. */
  readonly maxUnacknowledgedHeaderBytes: number;
}

/**
 * A session that has carried this many streams is replaced: identifiers end at 2^30, and nothing that leaks a little for
 * each stream lives for ever.
 */
export const STREAMS_BEFORE_RECYCLING = 1_000_000;

/** The age in milliseconds at which a pooled session is replaced, for a `random` number in [0, 1). */
export function agedAfter({ maxSessionAgeMs }: TunnelLimits, random: number): number {
  return maxSessionAgeMs * (1 - random / 4);
}

/** The defaults; each comment says why this number and not another. */
export const DEFAULT_TUNNEL_LIMITS: TunnelLimits = {
  // As ztunnel: long enough for two lost SYNs (1 s, 3 s), short enough for a caller that waits.
  connectTimeoutMs: 10_000,
  // A full mutual handshake takes milliseconds; ten seconds cover a machine that swaps, not a peer that drips bytes.
  handshakeTimeoutMs: 10_000,
  // One round trip is enough to acknowledge; five seconds are many round trips on the worst path.
  settingsTimeoutMs: 5_000,
  // A session that is opened for a stream has its request at once; one that is opened ahead answers a PING meanwhile, which
  // a peer that sends half a frame cannot.
  firstHeadersTimeoutMs: 5_000,
  // The peer's own connect deadline (10 s) plus the way there and back.
  answerTimeoutMs: 15_000,
  // As ztunnel and Istio's waypoint, so that both ends find a dead path in the same time.
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
  // As ztunnel's pool.
  idleSessionMs: 300_000,
  // Spreads the reconnects of a rotation so that they never meet.
  rotationDrainMs: 30_000,
  // Nobody stays authenticated by what has expired.
  expiredPeerGraceMs: 0,
  // One handshake an hour for a busy peer is nothing, and keys, routes and whatever leaks a little are fresh every hour.
  maxSessionAgeMs: 3_600_000,
  // Half-closed and silent for an hour: a lost peer, which otherwise holds two descriptors for ever.
  halfClosedIdleMs: 3_600_000,
  // Off: a quiet connection to a database is no fault, and PING finds lost peers.
  connectionIdleMs: 0,
  maxConnectionAgeMs: 0,

  // One endpoint that died and one that is dying, and the caller still gets through.
  maxTries: 3,
  // One failure may be chance, and each of them costs its caller a second try.
  ejectAfter: 3,
  // A process restarts in this time; an endpoint that is gone for good is soon tried every five minutes only.
  ejectionMs: 10_000,
  maxEjectionMs: 300_000,
  // Two of three. The rest must carry all of it, and a fault of our own must not empty a service.
  maxEjectedPercent: 67,

  // As ztunnel. With `streamWindow` it bounds what one session can make us hold: 200 MiB, only if every reader stalls.
  maxConcurrentStreams: 200,
  // RFC 9113 section 6.5.2 recommends no less than 100, and an Istio waypoint allows just that.
  assumedPeerStreams: 100,
  // As ztunnel's pool: spreading over more sessions bounds the damage of one that is lost.
  maxStreamsPerSession: 100,
  // Half of what one session takes. Below it one session gathers more bytes for each write than two would.
  busyStreams: 50,
  // A lost packet or a lost session then stops a quarter of the tunnels; more sessions cost memory and gather fewer bytes each.
  spreadSessions: 4,
  // 100 × 100 tunnels to one destination proxy: beyond that the caller is told.
  maxSessionsPerKey: 100,
  // About 80 KB each: 160 MB at the worst. An idle one makes room for one that is wanted.
  maxPooledSessions: 2_048,
  // As `maxHandshakes`: more at once makes all of them late. What is over waits its turn.
  maxDials: 256,
  // A burst of connections during one dial; more would outlive their own deadlines.
  maxWaitersPerKey: 4_096,
  // Four such bursts, about 2 KB and one descriptor each.
  maxWaiters: 16_384,
  // About 80 KB each: 80 MB at the worst.
  maxSessions: 1_024,
  // Half of it: one account, however many run under it, leaves room for the others.
  maxSessionsPerPeer: 512,
  // Two descriptors each; with `streamWindow` the most that peers can make us hold.
  maxTunnels: 32_768,
  maxTunnelsPerPeer: 16_384,
  // A handshake costs a core about a millisecond: more in flight than this only makes all of them late.
  maxHandshakes: 256,
  // Many clients may share an address, and none of them needs this many at once.
  maxHandshakesPerAddress: 128,
  // 512 tunnels at full window: many slow readers, and less than what a small machine has.
  stalledBudget: 512 * MIB,
  // Two sockets and up to 70 KB each while both are slow; the app itself rarely takes as many.
  maxPlaintext: 8_192,

  // An answer is one round trip away; five seconds bridge an authority that restarts, and apps wait longer than that.
  configurationWaitMs: 5_000,
  // What an app does every few minutes never waits again; what it did once is forgotten within the hour.
  subscriptionIdleMs: 900_000,
  // Many times what one app talks to, and what a scan of the mesh, or of names that are none, can make us hold.
  maxSubscriptions: 4_096,

  // None of our own: what a container allows is known without being told.
  memory: 1024 * 1024 * MIB,

  // Below 1 MiB one stream lost a third of its speed; above, memory grows and speed does not.
  streamWindow: 1 * MIB,
  // Sixteen streams at full window; a stalled stream holds no connection credit in this library.
  connectionWindow: 16 * MIB,
  // What ztunnel announces. Our own frames stay at 16 KiB.
  maxFrameSize: 1 * MIB,
  // ztunnel's limit as a server: room for baggage, no room for a bomb.
  maxHeaderListSize: 64 * KIB,
  // A CONNECT has two pseudo headers and a handful of fields.
  maxHeaderListPairs: 64,
  // 200 streams × `streamQueue` = 50 MiB of queued output, twice, so that an honest session never meets it.
  maxSessionMemoryMb: 128,
  // Four reads of 64 KiB: keeps the session fed between two turns of the loop.
  streamQueue: 256 * KIB,

  // Applications that end by a reset are honest, and one session carries them all: 33 a second, the library's default,
  // would kill it. What is costly to us is bounded by the early resets below.
  resetBurst: 4_000,
  resetsPerSecond: 1_000,
  // A caller that gives up while we dial is rare; a hundred at once is all streams of our own client's session.
  earlyResetBurst: 200,
  earlyResetsPerSecond: 20,
  // An honest peer sends none; some for a peer of another version.
  badRequestBurst: 100,
  badRequestsPerSecond: 5,
  // An honest peer knows the limit from our SETTINGS.
  maxOversizedHeads: 3,
  // 100 requests of the usual 600 bytes before the first acknowledgement, with room.
  maxUnacknowledgedHeaderBytes: 256 * KIB,
};
