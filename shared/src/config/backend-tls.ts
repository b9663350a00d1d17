// Types. BackendTLSPolicy (gateway.networking.k8s.io/v1) as Culvert understands it: TLS from the waypoint to a Service port.

/** What the certificate of a backend is checked against. */
export interface BackendTls {
  /** `namespace/name`. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since the epoch; the oldest policy of a target wins. */
  readonly createdAt: number;
  readonly targets: readonly BackendTlsTarget[];
  /** Sent as SNI; the name in the certificate unless `subjectAltNames` says others. */
  readonly hostname: string;
  /** Any one must be in the certificate; empty: `hostname` must. */
  readonly subjectAltNames: readonly { readonly type: "hostname" | "uri"; readonly value: string }[];
  /** PEM; `system`: the roots of the system. */
  readonly roots: readonly string[] | "system";
  /** Why it cannot be used: requests to its targets fail, they never go out in plaintext. */
  readonly notUnderstood: string | undefined;
}

/** A Service of the policy's namespace, or one port of it by name. */
export interface BackendTlsTarget {
  readonly name: string;
  readonly sectionName: string | undefined;
}
