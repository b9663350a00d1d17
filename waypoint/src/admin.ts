// Pure. What the waypoint adds to the admin port: its live tunnels, and why a request goes where it goes.
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

/** The dump shows as many as a person can look through; the count is whole. */
const MAX_TUNNELS_SHOWN = 10_000;

/** The admin handlers of a waypoint. */
export function waypointAdmin(options: WaypointAdminOptions): readonly AdminHandler[] {
  return [
    {
      method: "GET",
      path: "/connections",
      about: "live tunnels: who, where to, what is spoken",
      handle: () => ({ status: 200, body: describeTunnels(options) }),
    },
    {
      method: "GET",
      path: "/explain",
      about: "why: ?request=GET http://HOST:PORT/PATH&from=SPIFFE_ID&source-ip=IP&header=NAME: VALUE",
      handle: (query) => explain(options, query),
    },
  ];
}

function explain({ view }: WaypointAdminOptions, query: URLSearchParams): AdminReply {
  const request = query.get("request");
  if (request === null) return { status: 400, body: { error: "expected ?request=GET http://HOST:PORT/PATH" } };
  const explained = explainRequest(view(), {
    request,
    from: query.get("from") ?? undefined,
    sourceIp: query.get("source-ip") ?? undefined,
    headers: query.getAll("header"),
  });
  if (isFailure(explained)) return { status: 400, body: { error: explained.toString(), code: explained.code } };
  return { status: 200, body: { ...explained.facts, steps: explained.steps } };
}

function describeTunnels({ live, clock }: WaypointAdminOptions): object {
  const shown: object[] = [];
  const now = clock.monotonic();
  for (const { tunnel, protocol, bytes } of live) {
    if (shown.length === MAX_TUNNELS_SHOWN) break;
    shown.push({
      connection: tunnel.id,
      direction: "inbound",
      source: tunnel.source,
      destination: tunnel.request.rawAuthority,
      peer: tunnel.request.peer.id,
      protocol,
      age_ms: Math.round(now - tunnel.startedAt),
      ...(bytes === undefined ? {} : { bytes_recv: bytes.fromClient, bytes_sent: bytes.toClient }),
    });
  }
  return { open: live.size, connections: shown };
}
