// Pure. What one view means for the requests of one tunnel, worked out once and not once for each request.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { protocolOf, type Destination } from "../mesh/destination.ts";
import { ConnectionGuard, type Guard } from "../mesh/guard.ts";
import type { MeshView } from "../mesh/view.ts";
import type { RouteGroup } from "../route/route-group.ts";
import { headerPlan, type HeaderPlan } from "./header-plan.ts";
import type { LiveTunnel } from "./live-tunnels.ts";
import type { Tunnel } from "./tunnel.ts";

/** The part of the answers that a tunnel and a view settle. */
export class RequestPlan {
  /** What was asked for a plan. */
  readonly asked: MeshView;
  /** What routes and endpoints come from: an earlier one where another waypoint stands before the destination now. */
  readonly view: MeshView;
  readonly destination: Destination | Failure;
  /** `undefined` when the destination is a failure. */
  readonly guard: ConnectionGuard | undefined;
  readonly group: RouteGroup | undefined;
  readonly headers: HeaderPlan;
  /** Clients speak gRPC-Web, or gRPC, and the application gRPC only. */
  readonly isGrpcWeb: boolean;

  constructor(asked: MeshView, live: LiveTunnel) {
    const { tunnel } = live;
    const standing = live.stand(asked);
    this.asked = asked;
    this.view = isFailure(standing) ? asked : standing.view;
    this.destination = isFailure(standing) ? standing : standing.destination;
    const { destination, view } = this;
    this.guard = isFailure(standing) ? undefined : guardOf(standing.guard, tunnel);
    this.group = isFailure(destination) ? undefined : view.routes(destination, tunnel.caller.namespace);
    this.headers = headerPlan(this.group);
    this.isGrpcWeb = !isFailure(destination) && protocolOf(destination) === "grpc-web";
  }

  /** The destination as it stands in `x-culvert-via`. */
  get destinationToken(): string {
    const { destination } = this;
    if (isFailure(destination)) return "unknown";
    if (destination.kind === "service") return `${destination.service.name}.${destination.service.namespace}`;
    return `workload.${destination.workload.name}.${destination.workload.namespace}`;
  }
}

/** What the policies before a destination say to the connection of a tunnel. */
export function guardOf(guard: Guard, tunnel: Tunnel): ConnectionGuard {
  return new ConnectionGuard(guard, connectionFacts(tunnel));
}

/**
 * The facts of a tunnel. The port is that of the tunnel's authority: the Service's for a service, the application's for a
 * workload. Nothing that the caller says of itself (`forwarded`, `baggage`) is a fact.
 */
function connectionFacts(tunnel: Tunnel): ConnectionFacts {
  const { authority, source } = tunnel.request;
  return {
    principal: tunnel.request.peer.id,
    sourceIp: source.ip,
    destinationIp: authority.kind === "ip" ? authority.host : undefined,
    destinationPort: authority.port,
  };
}
