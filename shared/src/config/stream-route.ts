// Types. TCPRoute and TLSRoute (gateway.networking.k8s.io) as Culvert understands them: connections that are passed through.
import type { BackendRef, Route } from "./http-route.ts";

/** One TCPRoute or TLSRoute; the host names of the latter are those of the server (SNI). */
export interface StreamRoute extends Route {
  readonly kind: "TCPRoute" | "TLSRoute";
  /** The first rule serves; Gateway API allows one. */
  readonly rules: readonly StreamRouteRule[];
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
