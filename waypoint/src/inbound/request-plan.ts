// Pure. What one view means for the requests of one tunnel, worked out once and not once for each request.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { protocolOf, type Destination } from "../mesh/destination.ts";
import { ConnectionGuard } from "../mesh/guard.ts";
import type { MeshView } from "../mesh/view.ts";
import type { RouteGroup } from "../route/route-group.ts";
import { headerPlan, type HeaderPlan } from "./header-plan.ts";
import type { Tunnel } from "./tunnel.ts";

/** The part of the answers that a tunnel and a view settle. */
export class RequestPlan {
  readonly view: MeshView;
  readonly destination: Destination | Failure;
  /** `undefined` when the destination is a failure. */
  readonly guard: ConnectionGuard | undefined;
  readonly group: RouteGroup | undefined;
  readonly headers: HeaderPlan;
  /** Clients speak gRPC-Web, or gRPC, and the application gRPC only. */
  readonly isGrpcWeb: boolean;

  constructor(view: MeshView, tunnel: Tunnel) {
    this.view = view;
    this.destination = view.destination(tunnel.request.authority, tunnel.caller);
    const { destination } = this;
    this.guard = isFailure(destination) ? undefined : guardOf(view, tunnel, destination);
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
export function guardOf(view: MeshView, tunnel: Tunnel, destination: Destination): ConnectionGuard {
  return new ConnectionGuard(view.guard(destination), connectionFacts(tunnel));
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
