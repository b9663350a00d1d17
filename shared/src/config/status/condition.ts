// Types. What the standards want told of a route or policy: conditions for each parent.
import type { ConditionReason } from "../snapshot.ts";

/** Who writes such a status (Gateway API, RouteParentStatus.controllerName). */
export const CONTROLLER_NAME = "culvert.dev/waypoint";

/** One condition, but for when it began to hold: see `statusObject`. */
export interface Condition {
  readonly type: "Accepted" | "ResolvedRefs" | "PartiallyInvalid";
  readonly status: "True" | "False";
  readonly reason: "Accepted" | "ResolvedRefs" | ConditionReason;
  readonly message: string;
  readonly observedGeneration: number;
}

/** A Service, ServiceEntry or waypoint as a route names it, or the target of a policy. */
export interface ObjectRef {
  readonly group: string;
  readonly kind: "Service" | "ServiceEntry" | "Gateway";
  readonly namespace: string;
  readonly name: string;
  readonly sectionName?: string;
  readonly port?: number;
}

/** What becomes of a resource for one of its parents. */
export interface ParentStatus {
  readonly ref: ObjectRef;
  readonly conditions: readonly Condition[];
}

/** The status of one resource. */
export interface ResourceStatus {
  readonly kind: "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" | "BackendTLSPolicy";
  readonly namespace: string;
  readonly name: string;
  /** Of a policy: its targets, which stand as ancestors in its status. */
  readonly parents: readonly ParentStatus[];
}
