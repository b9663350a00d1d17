// Types. TCPRoute and TLSRoute (gateway.networking.k8s.io) as Culvert understands them: connections that are passed through.
import type { BackendRef, RouteParent } from "./http-route.ts";

/** One TCPRoute or TLSRoute. */
export interface StreamRoute {
  readonly kind: "TCPRoute" | "TLSRoute";
  /** `namespace/name`. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch; 0 when the resource carries no creation time. */
  readonly createdAt: number;
  readonly parents: readonly RouteParent[];
  /** Of a TLSRoute: names of the server (SNI), exact or beginning with `*.`; empty: any. */
  readonly hostnames: readonly string[];
  /** The first rule serves; Gateway API allows one. */
  readonly rules: readonly StreamRouteRule[];
  /** Why the route cannot be understood: every connection of its parents is then refused. */
  readonly notUnderstood: string | undefined;
}

/** One rule: its backends by weight. */
export interface StreamRouteRule {
  readonly name: string | undefined;
  readonly backends: readonly StreamRouteBackend[];
}

/** One backend with its share of the connections. */
export interface StreamRouteBackend extends BackendRef {
  readonly weight: number;
}
