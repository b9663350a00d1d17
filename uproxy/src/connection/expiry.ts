// Machine. Ends connections that have carried nothing for too long, or have lived for too long. Loaded only where one of both
// is asked for: it looks at all connections now and then, so that carrying bytes costs no more with it than without.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import type { Connections, LiveConnection } from "./connections.ts";

/** What a connection had carried when it was last seen to have carried more. */
interface Progress {
  bytes: number;
  atMs: number;
}

/** Connections are looked at this many times within the shorter limit. */
const LOOKS = 10;
const LEAST_TICK_MS = 100;

/** Begins to watch; returns the way to stop. */
export function watchExpiry(
  connections: Connections,
  limits: Pick<TunnelLimits, "connectionIdleMs" | "maxConnectionAgeMs">,
  clock: Clock,
): () => void {
  const { connectionIdleMs, maxConnectionAgeMs } = limits;
  const progress = new WeakMap<LiveConnection, Progress>();

  const overdue = (connection: LiveConnection, now: number): Failure | undefined => {
    const { bytes, info } = connection;
    // Until bytes can flow, the deadlines of the handshakes hold.
    if (bytes === undefined) return undefined;
    if (maxConnectionAgeMs > 0 && now - info.startedAt >= maxConnectionAgeMs) {
      return fail("LIFETIME_REACHED", `${maxConnectionAgeMs} ms`);
    }
    if (connectionIdleMs === 0) return undefined;
    const carried = bytes.fromSocket + bytes.toSocket;
    const seen = progress.get(connection);
    if (seen?.bytes !== carried) progress.set(connection, { bytes: carried, atMs: now });
    else if (now - seen.atMs >= connectionIdleMs) return fail("IDLE_TIMEOUT", `nothing in ${connectionIdleMs} ms`);
    return undefined;
  };

  const shortest = Math.min(connectionIdleMs || Infinity, maxConnectionAgeMs || Infinity);
  const timer = clock.every(Math.max(LEAST_TICK_MS, shortest / LOOKS), () => {
    const now = clock.monotonic();
    for (const connection of connections) {
      const failure = overdue(connection, now);
      if (failure !== undefined) connection.end(failure);
    }
  });
  return () => timer.cancel();
}
