// Types. HTTPRoute and GRPCRoute (gateway.networking.k8s.io/v1) as Culvert understands them, after parsing. A GRPCRoute is an
// HTTPRoute that matches on `/service/method`: one engine serves both.

/** How a value is compared: as it is, or as a whole with a regular expression in RE2's syntax. */
export interface ValueMatch {
  readonly kind: "exact" | "regex";
  readonly value: string;
}

/** A header or a query parameter that must be there with a value. */
export interface NamedMatch extends ValueMatch {
  /** Of a header lower case; of a query parameter as it is. */
  readonly name: string;
}

/** How a path is matched; the value of a prefix is compared by whole segments. */
export interface HttpPathMatch {
  readonly kind: "exact" | "prefix" | "regex";
  readonly value: string;
}

/** One match of a rule: all of its parts must hold. */
export interface HttpRouteMatch {
  readonly path: HttpPathMatch;
  readonly method: string | undefined;
  /** Two entries of one name: the first counts. */
  readonly headers: readonly NamedMatch[];
  /** Likewise. */
  readonly query: readonly NamedMatch[];
}

/** What a filter does to the header fields of a message, in this order; names lower case, each at most once. */
export interface HeaderEdit {
  readonly set: readonly HeaderField[];
  readonly add: readonly HeaderField[];
  readonly remove: readonly string[];
}

/** One header field. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What the path becomes: another one, or another beginning in place of the prefix that matched. */
export interface PathRewrite {
  readonly kind: "full" | "prefix";
  readonly value: string;
}

/** Where a client is sent instead; what is `undefined` stays as it was asked for. */
export interface Redirect {
  readonly scheme: "http" | "https" | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly path: PathRewrite | undefined;
  readonly status: 301 | 302 | 303 | 307 | 308;
}

/** Cross-origin rules (GEP-1767). Origins as written: `*`, `scheme://host[:port]`, or with `*.` before the host. */
export interface Cors {
  readonly allowOrigins: readonly string[];
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly allowCredentials: boolean;
  readonly maxAgeSeconds: number;
}

/** An answer that no backend gives. */
export interface DirectAnswer {
  readonly status: number;
  readonly headers: readonly HeaderField[];
  readonly body: string;
}

/** A fault for a share of the requests: percentages of 0 to 100. */
export interface Fault {
  readonly delay: { readonly ms: number; readonly percent: number } | undefined;
  readonly abort:
    | { readonly status: number; readonly grpcStatus: number | undefined; readonly percent: number }
    | undefined;
}

/** One thing that a rule, or one of its backends, does to requests and responses. */
export type HttpRouteFilter =
  | { readonly kind: "request-headers"; readonly edit: HeaderEdit }
  | { readonly kind: "response-headers"; readonly edit: HeaderEdit }
  | { readonly kind: "rewrite"; readonly host: string | undefined; readonly path: PathRewrite | undefined }
  | ({ readonly kind: "redirect" } & Redirect)
  /** A copy of `numerator` of `denominator` requests. */
  | {
      readonly kind: "mirror";
      readonly backend: BackendRef;
      readonly numerator: number;
      readonly denominator: number;
    }
  | ({ readonly kind: "cors" } & Cors)
  | { readonly kind: "answer"; readonly answer: DirectAnswer }
  | { readonly kind: "fault"; readonly fault: Fault };

/** The Service port, or port of a host, that requests go to. */
export interface BackendRef {
  readonly namespace: string;
  /** Of a Service, or with `kind` host the host of whatever has it: a Service, or a ServiceEntry that `namespace` may see. */
  readonly name: string;
  readonly kind: "service" | "host";
  /** Service port. */
  readonly port: number;
  /** Why this reference can never be served (wrong kind, missing port); its share is answered 500. */
  readonly invalid: string | undefined;
}

/** One backend with its share of the requests. */
export interface HttpRouteBackend extends BackendRef {
  readonly weight: number;
  readonly filters: readonly HttpRouteFilter[];
}

/** How long a request, and each attempt of it, may take; 0: without bound. Milliseconds. */
export interface RouteTimeouts {
  readonly requestMs: number;
  readonly backendRequestMs: number;
}

/** When a request is sent again (GEP-1731). */
export interface RouteRetry {
  readonly codes: readonly number[];
  /** Attempts after the first. */
  readonly attempts: number;
  /** The least time before the next attempt. */
  readonly backoffMs: number;
}

/** Requests of one session go to one endpoint (GEP-1619). */
export interface SessionPersistence {
  readonly type: "cookie" | "header";
  /** Of the cookie or the header. */
  readonly name: string;
  /** 0: without bound. */
  readonly absoluteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** The cookie outlives the browser's session. */
  readonly permanent: boolean;
}

/** One rule: any of its matches, then its backends by weight. */
export interface HttpRouteRule {
  readonly name: string | undefined;
  readonly matches: readonly HttpRouteMatch[];
  readonly filters: readonly HttpRouteFilter[];
  readonly backends: readonly HttpRouteBackend[];
  readonly timeouts: RouteTimeouts;
  readonly retry: RouteRetry | undefined;
  readonly persistence: SessionPersistence | undefined;
  /** Why the rule cannot be understood (an unsupported filter or match); requests it matches are answered 500. */
  readonly notUnderstood: string | undefined;
}

/** The Service (and perhaps one port of it) that a route is attached to. */
export interface RouteParent {
  readonly namespace: string;
  readonly name: string;
  /** A Service, or with `kind` entry a ServiceEntry of that name. */
  readonly kind: "service" | "entry";
  /** Service port; `undefined`: all. */
  readonly port: number | undefined;
  /** Name of a Service port; `undefined`: all. */
  readonly sectionName: string | undefined;
}

/** What routes of every kind say beside their rules. */
export interface Route {
  /** `namespace/name`. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch; 0 when the resource carries no creation time. */
  readonly createdAt: number;
  readonly parents: readonly RouteParent[];
  /** Exact, or beginning with `*.`; empty: any. */
  readonly hostnames: readonly string[];
  /** Why the route as a whole cannot be understood: what no other route of its parents serves is then refused. */
  readonly notUnderstood: string | undefined;
}

/** One HTTPRoute or GRPCRoute. */
export interface HttpRoute extends Route {
  readonly kind: "HTTPRoute" | "GRPCRoute";
  readonly rules: readonly HttpRouteRule[];
}
