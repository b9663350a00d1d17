// Pure. What uproxy adds to the admin port: its live connections, and why.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AdminHandler, AdminReply } from "@culvert/shared/observe/admin.ts";
import type { Connections } from "./connection/connections.ts";
import { explainInbound, explainOutbound, parseDestination } from "./explain.ts";
import type { Ejections } from "./outbound/ejections.ts";
import type { UnknownDestinations } from "./outbound/hop.ts";
import type { OutboundOptions } from "./outbound/outbound.ts";
import type { UproxyState } from "./state.ts";

/** What the handlers show. */
export interface UproxyAdminOptions {
  readonly state: () => UproxyState;
  readonly connections: Connections;
  readonly unknown: UnknownDestinations;
  readonly ejections: Ejections;
  readonly clock: Clock;
  /** Where resources are asked for, as for a connection. */
  readonly demand: OutboundOptions["demand"];
}

/** The dump of connections shows as many as a person can look through; the count is whole. */
const MAX_CONNECTIONS_SHOWN = 10_000;

/** The admin handlers of uproxy. */
export function uproxyAdmin(options: UproxyAdminOptions): readonly AdminHandler[] {
  return [
    {
      method: "GET",
      path: "/connections",
      about: "live connections with their bytes so far",
      handle: () => ({ status: 200, body: describeConnections(options) }),
    },
    {
      method: "GET",
      path: "/explain",
      about: "why: ?to=HOST:PORT, or ?inbound&to=IP:PORT&from=SPIFFE_ID&source-ip=IP",
      handle: (query) => explain(options, query),
    },
  ];
}

async function explain(options: UproxyAdminOptions, query: URLSearchParams): Promise<AdminReply> {
  const { state, unknown, ejections, demand } = options;
  const to = query.get("to");
  if (to === null) return { status: 400, body: { error: "expected ?to=HOST:PORT" } };
  const destination = query.has("inbound") || demand === undefined ? undefined : parseDestination(to);
  const missing = destination === undefined || isFailure(destination) ? undefined : await demand?.(destination);
  if (missing !== undefined) {
    return { status: 200, body: { steps: [`=> refused, ${missing.code}: ${missing.toString()}`] } };
  }
  const explained = query.has("inbound")
    ? explainInbound(state(), {
        to,
        from: query.get("from") ?? undefined,
        sourceIp: query.get("source-ip") ?? undefined,
      })
    : explainOutbound(state(), to, unknown, ejections);
  if (isFailure(explained)) return { status: 400, body: { error: explained.toString(), code: explained.code } };
  return { status: 200, body: { steps: explained } };
}

function describeConnections({ connections, clock }: UproxyAdminOptions): object {
  const shown: object[] = [];
  const now = clock.monotonic();
  for (const { id, info, bytes } of connections) {
    if (shown.length === MAX_CONNECTIONS_SHOWN) break;
    const { direction, source, destination, facts, startedAt } = info;
    const inbound = direction === "inbound";
    shown.push({
      connection: id,
      direction,
      source,
      destination,
      peer: facts?.principal,
      age_ms: Math.round(now - startedAt),
      bytes_recv: (inbound ? bytes?.toSocket : bytes?.fromSocket) ?? 0,
      bytes_sent: (inbound ? bytes?.fromSocket : bytes?.toSocket) ?? 0,
    });
  }
  return { open: connections.size, connections: shown };
}
