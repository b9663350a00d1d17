// Pure. Every number that bounds a caller of the authority, each with its reason.
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";

const KIB = 1024;

/** What callers of the authority may take. Durations are milliseconds, sizes bytes. */
export interface AuthorityLimits {
  /** Sessions at once. */
  readonly maxSessions: number;
  /** Sessions of those whose callers have no certificate that counts. */
  readonly maxStrangers: number;
  /** Sessions that one identity, or one address without an identity, may hold; as many streams of configuration. */
  readonly maxSessionsPerCaller: number;
  /** A session without calls is told to go after this. */
  readonly idleSessionMs: number;
  /** Time from a call's head to the end of its message. */
  readonly requestMs: number;
  /** Time from a call's head to the answer, where there is one answer. */
  readonly answerMs: number;
  /** The largest message of a caller. */
  readonly maxMessageBytes: number;
  /** Messages of one client of the configuration stream. */
  readonly messageBurst: number;
  readonly messagesPerSecond: number;
  /** Bytes of messages of clients that have begun and are not whole, all together. */
  readonly maxHeldBytes: number;
  /** Keys that one client may subscribe to at once, and how fast it may ask for others. */
  readonly maxSubscriptions: number;
  readonly subscriptionBurst: number;
  readonly subscriptionsPerSecond: number;
  /** Scopes that are kept up, all clients together. */
  readonly maxScopes: number;
  /** Of these, for the clients of one namespace. */
  readonly maxScopesPerNamespace: number;
  /** How long a client may leave an update without an answer. */
  readonly acknowledgeMs: number;
  /** Calls that are being decided or signed at once. */
  readonly maxCalls: number;
  /** Token bucket of the calls of one caller. */
  readonly callBurst: number;
  readonly callsPerSecond: number;
  /** Token bucket of the refused calls of one address: while it is empty, its tokens are not looked at. */
  readonly refusalBurst: number;
  readonly refusalsPerSecond: number;
  /** Callers whose buckets are remembered; the one that has been quiet for longest is forgotten first. */
  readonly maxCallers: number;
  /** How TLS and HTTP/2 are bounded, in the words of the tunnels. */
  readonly session: TunnelLimits;
}

export const AUTHORITY_LIMITS: AuthorityLimits = {
  // One for each proxy that watches whom to trust and what its configuration is; an idle one costs about 60 KB.
  maxSessions: 16_384,
  // A quarter: however many come to join, there is room for those who have.
  maxStrangers: 4_096,
  // An account with many replicas; and a node, or a gateway, behind whose address many ask.
  maxSessionsPerCaller: 2_048,
  // An agent asks and goes; one that comes every few hours may shake hands again.
  idleSessionMs: 60_000,
  // One message of some KiB: many round trips on the worst path.
  requestMs: 10_000,
  // The review of a token (5 s) and a signature, behind a queue.
  answerMs: 15_000,
  // The longest request for a certificate (16 KiB) and metadata.
  maxMessageBytes: 64 * KIB,
  // An update is answered once; a pod that starts asks for its destinations one by one.
  messageBurst: 1_024,
  messagesPerSecond: 100,
  // Ten thousand clients that come back together say 20 KiB each of what they have.
  maxHeldBytes: 256 * 1024 * KIB,
  // An app that speaks to a thousand services is rare. A scope takes about a tenth of a millisecond, and those of a namespace are shared.
  maxSubscriptions: 4_096,
  subscriptionBurst: 4_096,
  subscriptionsPerSecond: 64,
  // Ten for each of 16,384 clients that share none; some KiB each.
  maxScopes: 262_144,
  // A quarter: whatever the clients of one namespace ask for, there is room for the others.
  maxScopesPerNamespace: 65_536,
  // A proxy that is starved of CPU still answers; one that does not holds an update's bytes.
  acknowledgeMs: 60_000,
  // A call takes a core a millisecond or two: some seconds' work. More would outlive their callers' deadlines.
  maxCalls: 2_048,
  // A deployment that starts a thousand pods of one account asks a thousand times at once; a loop gone wild has a tenth of a core.
  callBurst: 1_024,
  callsPerSecond: 64,
  // An honest caller is refused now and then; a wrong token in a loop is not worth a hash.
  refusalBurst: 64,
  refusalsPerSecond: 4,
  // A few hundred bytes each.
  maxCallers: 16_384,
  session: {
    ...DEFAULT_TUNNEL_LIMITS,
    // An agent has one call at a time, and one that watches.
    maxConcurrentStreams: 32,
    // Messages are small: what a caller may make us hold is 256 KiB.
    streamWindow: 64 * KIB,
    connectionWindow: 256 * KIB,
    maxFrameSize: 16 * KIB,
    // The largest token of Kubernetes, with room.
    maxHeaderListSize: 32 * KIB,
    // Megabytes of queued output: a few trust states, of which a slow reader gets the newest only.
    maxSessionMemoryMb: 8,
    // 64 KiB are two of the largest heads.
    maxUnacknowledgedHeaderBytes: 64 * KIB,
    // Nobody ends a call by a reset but who gives up.
    resetBurst: 200,
    resetsPerSecond: 20,
    earlyResetBurst: 50,
    earlyResetsPerSecond: 5,
    // Thousands of sessions that watch, and none of them carries an app's bytes.
    pingIntervalMs: 30_000,
    // A mesh starts together, at times from behind one address. 50 KB each while it lasts.
    maxHandshakes: 2_048,
    maxHandshakesPerAddress: 1_024,
  },
};
