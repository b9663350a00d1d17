// Pure. The limits that a process configuration may override: their names, units and the bounds between which a value
// makes sense. The defaults, each with its reason, stand in `tunnel/limits.ts`; a limit that is added there is added here.
import { DEFAULT_TUNNEL_LIMITS, type TunnelLimits } from "../../tunnel/limits.ts";
import { defaulted, integer, objectOf, refine, scalar, type Key, type Schema } from "./schema.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../units.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const HOUR = 3_600_000;
const MANY = 1_000_000;

/** How one limit is written; bounds in milliseconds, bytes, mebibytes or units. */
interface LimitSpec {
  readonly unit: "duration" | "size" | "mebibytes" | "count";
  readonly least: number;
  readonly most: number;
  readonly about: string;
}

function limit(unit: LimitSpec["unit"], least: number, most: number, about: string): LimitSpec {
  return { unit, least, most, about };
}

/** The table, by field. The key that users write is the field without its unit: `connectTimeoutMs` is `connectTimeout`. */
const SPECS: { readonly [K in keyof TunnelLimits]: LimitSpec } = {
  connectTimeoutMs: limit("duration", 10, HOUR, "deadline of the TCP connect to a peer proxy"),
  handshakeTimeoutMs: limit("duration", 100, HOUR, "deadline of the TLS handshake, on both sides"),
  settingsTimeoutMs: limit("duration", 100, HOUR, "time in which the peer has to acknowledge our SETTINGS"),
  firstHeadersTimeoutMs: limit(
    "duration",
    100,
    HOUR,
    "time from the handshake to the first request, or to an answered PING",
  ),
  answerTimeoutMs: limit("duration", 100, HOUR, "time that the peer has to answer a tunnel request"),
  pingIntervalMs: limit("duration", 100, HOUR, "how often a session is asked whether it still lives"),
  pingTimeoutMs: limit("duration", 100, HOUR, "how long an unanswered PING is tolerated"),
  idleSessionMs: limit("duration", 100, 24 * HOUR, "a pooled session without streams is closed after this"),
  rotationDrainMs: limit("duration", 0, 24 * HOUR, "time over which sessions of a replaced certificate are replaced"),
  expiredPeerGraceMs: limit(
    "duration",
    0,
    24 * HOUR,
    "how long tunnels may outlive the certificate that proved their peer; new ones are refused at once",
  ),
  maxSessionAgeMs: limit("duration", 1000, 720 * HOUR, "a session to a peer is replaced by a new one at this age"),
  halfClosedIdleMs: limit("duration", 1000, 24 * HOUR, "a half-closed, silent tunnel is ended after this"),
  connectionIdleMs: limit(
    "duration",
    0,
    720 * HOUR,
    "a connection that carries nothing is ended after this; 0ms is off (uproxy)",
  ),
  maxConnectionAgeMs: limit("duration", 0, 720 * HOUR, "a connection is ended at this age; 0ms is off (uproxy)"),
  maxTries: limit("count", 1, 100, "endpoints tried for one connection, the first included (uproxy)"),
  ejectAfter: limit("count", 1, MANY, "failures in a row after which an endpoint is left out for a while (uproxy)"),
  ejectionMs: limit("duration", 100, HOUR, "how long it is left out at first; twice as long each time"),
  maxEjectionMs: limit(
    "duration",
    100,
    24 * HOUR,
    "longest time that an endpoint is left out before it is tried again",
  ),
  maxEjectedPercent: limit("count", 0, 100, "most endpoints of one destination that are left out at once, percent"),
  maxConcurrentStreams: limit("count", 1, MANY, "streams that a peer may hold open on one session"),
  assumedPeerStreams: limit("count", 1, MANY, "streams on one session before the peer has said its limit"),
  maxStreamsPerSession: limit("count", 1, MANY, "streams that we hold on one session, whatever the peer allows"),
  busyStreams: limit("count", 1, MANY, "streams on each session to a peer at which the next one is opened"),
  spreadSessions: limit("count", 1, 1000, "sessions over which the tunnels to one busy peer are spread"),
  maxSessionsPerKey: limit("count", 1, MANY, "sessions to one peer proxy"),
  maxPooledSessions: limit("count", 1, MANY, "sessions to all peer proxies"),
  maxDials: limit("count", 1, MANY, "dials of peer proxies at once"),
  maxWaitersPerKey: limit("count", 1, MANY, "connections that may wait for one peer proxy to be dialled"),
  maxWaiters: limit("count", 1, MANY, "connections that may wait for all peer proxies together"),
  maxSessions: limit("count", 1, MANY, "sessions that the tunnel port holds at once"),
  maxSessionsPerPeer: limit("count", 1, MANY, "sessions of those that one identity may hold"),
  maxTunnels: limit("count", 1, MANY, "tunnels that the tunnel port holds at once"),
  maxTunnelsPerPeer: limit("count", 1, MANY, "tunnels of those that one identity may hold"),
  maxHandshakesPerAddress: limit("count", 1, MANY, "handshakes that one address may have under way"),
  stalledBudget: limit(
    "size",
    MIB,
    1024 * 1024 * MIB,
    "bytes that stalled tunnels may hold before new ones are answered 503; in a waypoint those that it relays as TCP",
  ),
  maxHandshakes: limit("count", 1, MANY, "handshakes that the tunnel port runs at once"),
  maxPlaintext: limit("count", 1, MANY, "captured plaintext connections that the proxy holds at once"),
  configurationWaitMs: limit(
    "duration",
    100,
    HOUR,
    "how long a connection to a new destination waits for the authority's answer (uproxy), and for programs that hear late of another waypoint",
  ),
  subscriptionIdleMs: limit(
    "duration",
    1000,
    720 * HOUR,
    "a destination that nothing goes to is no longer asked of the authority after this (uproxy)",
  ),
  maxSubscriptions: limit("count", 1, MANY, "destinations that are asked of the authority at once (uproxy)"),
  memory: limit(
    "size",
    32 * MIB,
    1024 * 1024 * MIB,
    "memory that the process may use, where the container allows no less; from 85 % on new streams are refused",
  ),
  streamWindow: limit("size", 64 * KIB - 1, 1024 * MIB, "bytes that one stream may have in flight toward us"),
  connectionWindow: limit("size", 64 * KIB - 1, 1024 * MIB, "bytes that one session may have in flight toward us"),
  maxFrameSize: limit("size", 16 * KIB, 16 * MIB - 1, "largest HTTP/2 frame that a peer may send"),
  maxHeaderListSize: limit("size", 4 * KIB, MIB, "bytes of the headers of one tunnel request or answer"),
  maxHeaderListPairs: limit("count", 8, 1000, "header lines of one tunnel request or answer"),
  maxSessionMemoryMb: limit("mebibytes", 1, 4096, "memory of one session, its queued output included"),
  streamQueue: limit("size", 16 * KIB, 1024 * MIB, "bytes given to one stream that its session has not yet taken"),
  resetBurst: limit("count", 1, MANY, "resets that a peer may send at once"),
  resetsPerSecond: limit("count", 1, MANY, "resets that a peer may send each second"),
  earlyResetBurst: limit("count", 1, MANY, "tunnel requests that a peer may take back before the answer, at once"),
  earlyResetsPerSecond: limit("count", 1, MANY, "the same each second"),
  badRequestBurst: limit("count", 1, MANY, "malformed tunnel requests that a peer may send at once"),
  badRequestsPerSecond: limit("count", 1, MANY, "the same each second"),
  maxOversizedHeads: limit("count", 1, MANY, "requests with too large headers after which the session ends"),
  maxUnacknowledgedHeaderBytes: limit(
    "size",
    4 * KIB,
    64 * MIB,
    "header bytes before the peer has acknowledged SETTINGS",
  ),
};

/** The schema of `limits`: every limit, the default where none is given. */
export const LIMITS_SCHEMA: Schema<TunnelLimits> = limitsSchema();

function limitsSchema(): Schema<TunnelLimits> {
  const keys = new Map<string, Key<number>>();
  const fields = new Map<string, string>();
  for (const [field, spec] of Object.entries(SPECS)) {
    const key = field.replace(/(Ms|Mb)$/, "");
    const initial = new Map(Object.entries(DEFAULT_TUNNEL_LIMITS)).get(field) ?? 0;
    keys.set(key, defaulted(schemaOf(spec), written(spec, initial), spec.about));
    fields.set(key, field);
  }
  return refine(objectOf<Record<string, number>>(Object.fromEntries(keys)), (values) => {
    const overrides = [...fields].map(([key, field]) => [field, values[key]]);
    return { ...DEFAULT_TUNNEL_LIMITS, ...Object.fromEntries(overrides) };
  });
}

function schemaOf({ unit, least, most }: LimitSpec): Schema<number> {
  if (unit === "count") return integer(least, most);
  const parse = unit === "duration" ? parseDuration : parseSize;
  const scale = unit === "mebibytes" ? MIB : 1;
  const form = unit === "duration" ? "duration" : "size";
  const range = `${unitText(unit, least)} to ${unitText(unit, most)}`;
  return scalar(`${form} from ${range}`, (value) => {
    const amount = (typeof value === "string" ? parse(value) : undefined) ?? Number.NaN;
    return amount >= least * scale && amount <= most * scale ? amount / scale : undefined;
  });
}

/** A default as one would write it. */
function written({ unit }: LimitSpec, value: number): string | number {
  return unit === "count" ? value : unitText(unit, value);
}

function unitText(unit: LimitSpec["unit"], value: number): string {
  if (unit === "duration") return formatDuration(value);
  return formatSize(unit === "mebibytes" ? value * MIB : value);
}
