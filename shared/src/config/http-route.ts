// Types. HTTPRoute (gateway.networking.k8s.io/v1) as Culvert understands it, after parsing.

/** One match of a rule: all of its parts must hold. */
export interface HttpRouteMatch {
  readonly path: { readonly kind: "exact" | "prefix"; readonly value: string };
  readonly method: string | undefined;
  /** Names lower case, values exact. Two entries of one name: the first counts. */
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

/** One backend with its share of the requests. */
export interface HttpRouteBackend {
  readonly namespace: string;
  /** Of a Service, or with `kind` host the host of whatever has it: a Service, or a ServiceEntry that `namespace` may see. */
  readonly name: string;
  readonly kind: "service" | "host";
  /** Service port. */
  readonly port: number;
  readonly weight: number;
  /** Why this reference can never be served (wrong kind, missing port); its share is answered 500. */
  readonly invalid: string | undefined;
}

/** One rule: any of its matches, then its backends by weight. */
export interface HttpRouteRule {
  readonly name: string | undefined;
  readonly matches: readonly HttpRouteMatch[];
  readonly backends: readonly HttpRouteBackend[];
  /** Why the rule cannot be understood (an unsupported filter or match); requests it matches are answered 500. */
  readonly notUnderstood: string | undefined;
}

/** The Service (and perhaps one port of it) that a route is attached to. */
export interface HttpRouteParent {
  readonly namespace: string;
  readonly name: string;
  /** Service port; `undefined`: all. */
  readonly port: number | undefined;
}

/** One HTTPRoute. */
export interface HttpRoute {
  /** `namespace/name`. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch; 0 when the resource carries no creation time. */
  readonly createdAt: number;
  readonly parents: readonly HttpRouteParent[];
  readonly hostnames: readonly string[];
  readonly rules: readonly HttpRouteRule[];
  /** Why the route as a whole cannot be understood: every request of its parents is then answered 500. */
  readonly notUnderstood: string | undefined;
}
