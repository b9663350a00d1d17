// Pure. What a waypoint adds to the admin port: its live tunnels, and why a request goes where it goes.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AdminHandler, AdminReply } from "@culvert/shared/observe/admin.ts";
import { explainRequest } from "./explain.ts";
import type { LiveTunnels } from "./inbound/live-tunnels.ts";
import type { MeshView } from "./mesh/view.ts";

/** What the handlers show. */
export interface WaypointAdminOptions {
  readonly view: () => MeshView;
  readonly live: LiveTunnels;
  readonly clock: Clock;
}

/** The dump of connections shows as many as a person can look through; the count is whole. */
const MAX_CONNECTIONS_SHOWN = 10_000;

/** The admin handlers of a waypoint. */
export function waypointAdmin(options: WaypointAdminOptions): readonly AdminHandler[] {
  return [
    {
      method: "GET",
      path: "/connections",
      about: "live tunnels with what is spoken inside",
      handle: () => ({ status: 200, body: describeTunnels(options) }),
    },
    {
      method: "GET",
      path: "/explain",
      about: "why: ?request=METHOD URL&from=SPIFFE_ID&header=name: value (repeatable)",
      handle: (query) => explain(options, query),
    },
  ];
}

function explain({ view }: WaypointAdminOptions, query: URLSearchParams): AdminReply {
  const request = query.get("request");
  if (request === null) return { status: 400, body: { error: "expected ?request=METHOD URL" } };
  const steps = explainRequest(view(), {
    request,
    from: query.get("from") ?? undefined,
    headers: query.getAll("header"),
  });
  if (isFailure(steps)) return { status: 400, body: { error: steps.toString(), code: steps.code } };
  return { status: 200, body: { steps } };
}

function describeTunnels({ live, clock }: WaypointAdminOptions): object {
  const shown: object[] = [];
  const now = clock.monotonic();
  for (const { tunnel, protocol } of live) {
    if (shown.length === MAX_CONNECTIONS_SHOWN) break;
    shown.push({
      connection: tunnel.id,
      protocol,
      source: tunnel.source,
      destination: tunnel.request.rawAuthority,
      peer: tunnel.caller.id,
      age_ms: Math.round(now - tunnel.startedAt),
    });
  }
  return { open: live.size, connections: shown };
}
