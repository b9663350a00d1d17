// Pure. Mesh resources as tests write them: plain objects in the shapes of Kubernetes, Gateway API and Istio.

/** A resource before it becomes YAML. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: unknown;
  readonly data?: Readonly<Record<string, string>>;
}

/** What all resources may carry. */
export interface Marks {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

function metadata(name: string, { namespace = "default", labels, annotations }: Marks): Resource["metadata"] {
  return {
    name,
    namespace,
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** A port of a Service. */
export interface Port {
  readonly name: string;
  readonly port: number;
  readonly targetPort?: number | string;
  readonly appProtocol?: string;
}

/** A Service that selects the workloads labelled `app: <name>`. */
export function service(
  name: string,
  ports: readonly Port[],
  options: Marks & { readonly app?: string; readonly clusterIP?: string; readonly trafficDistribution?: string } = {},
): Resource {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(name, options),
    spec: {
      selector: { app: options.app ?? name },
      ports,
      ...(options.clusterIP === undefined ? {} : { clusterIP: options.clusterIP }),
      ...(options.trafficDistribution === undefined ? {} : { trafficDistribution: options.trafficDistribution }),
    },
  };
}

/** A workload at an address, labelled `app: <app>`. */
export function workloadEntry(
  name: string,
  address: string,
  options: Marks & { readonly serviceAccount: string; readonly app?: string },
): Resource {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: metadata(name, { ...options, labels: { app: options.app ?? name, ...options.labels } }),
    spec: { address, serviceAccount: options.serviceAccount },
  };
}

/** A waypoint: the Gateway, and an instance of it at an address. */
export function waypoint(
  name: string,
  address: string,
  options: Marks & { readonly serviceAccount: string; readonly serves?: string },
): Resource[] {
  return [
    {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: metadata(name, {
        ...options,
        labels: { "istio.io/waypoint-for": options.serves ?? "service", ...options.labels },
      }),
      spec: {
        gatewayClassName: "culvert-waypoint",
        listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
      },
    },
    {
      apiVersion: "networking.istio.io/v1",
      kind: "WorkloadEntry",
      metadata: metadata(`${name}-1`, {
        ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
        labels: { "gateway.networking.k8s.io/gateway-name": name },
      }),
      spec: { address, serviceAccount: options.serviceAccount },
    },
  ];
}

/** A ServiceEntry of one host; `spec` is everything but the host. */
export function serviceEntry(name: string, host: string, spec: object, options: Marks = {}): Resource {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: metadata(name, options),
    spec: { hosts: [host], ...spec },
  };
}

/** An HTTPRoute on a Service. */
export function httpRoute(name: string, parent: string, rules: readonly unknown[], options: Marks = {}): Resource {
  return routeOf("HTTPRoute", name, parent, rules, options);
}

/** A GRPCRoute on a Service. */
export function grpcRoute(name: string, parent: string, rules: readonly unknown[], options: Marks = {}): Resource {
  return routeOf("GRPCRoute", name, parent, rules, options);
}

function routeOf(kind: string, name: string, parent: string, rules: readonly unknown[], options: Marks): Resource {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind,
    metadata: metadata(name, options),
    spec: { parentRefs: [{ group: "", kind: "Service", name: parent }], rules },
  };
}

/** A backend of a route. */
interface BackendRef {
  readonly name: string;
  readonly port: number;
  readonly weight?: number;
  readonly namespace?: string;
  readonly group?: string;
  readonly kind?: string;
}

/** A TCPRoute, or with host names a TLSRoute, on a Service. */
export function streamRoute(
  name: string,
  parent: string,
  backendRefs: readonly BackendRef[],
  hostnames?: readonly string[],
): Resource {
  return {
    apiVersion: "gateway.networking.k8s.io/v1alpha2",
    kind: hostnames === undefined ? "TCPRoute" : "TLSRoute",
    metadata: metadata(name, {}),
    spec: {
      parentRefs: [{ group: "", kind: "Service", name: parent }],
      ...(hostnames === undefined ? {} : { hostnames }),
      rules: [{ backendRefs }],
    },
  };
}

/** A BackendTLSPolicy on a Service, or on a port of it by name, with the certificates of a ConfigMap. */
export function backendTlsPolicy(
  name: string,
  on: { readonly name: string; readonly sectionName?: string },
  hostname: string,
  { roots, uri }: { readonly roots?: string; readonly uri?: string } = {},
): Resource {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "BackendTLSPolicy",
    metadata: metadata(name, {}),
    spec: {
      targetRefs: [{ group: "", kind: "Service", ...on }],
      validation: {
        hostname,
        ...(roots === undefined
          ? { wellKnownCACertificates: "System" }
          : { caCertificateRefs: [{ group: "", kind: "ConfigMap", name: roots }] }),
        ...(uri === undefined ? {} : { subjectAltNames: [{ type: "URI", uri }] }),
      },
    },
  };
}

/** A ConfigMap. */
export function configMap(name: string, data: Readonly<Record<string, string>>): Resource {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: metadata(name, {}), data };
}

/** What an AuthorizationPolicy applies to: workloads by label, others by kind and name, or the whole namespace. */
export type Applies =
  | { readonly app: string }
  | { readonly service: string }
  | { readonly entry: string }
  | { readonly gateway: string }
  | { readonly everything: true };

/** An AuthorizationPolicy. */
export function authorizationPolicy(
  name: string,
  action: "ALLOW" | "DENY",
  applies: Applies,
  rules: readonly unknown[],
  options: Marks = {},
): Resource {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: metadata(name, options),
    spec: { ...target(applies), action, rules },
  };
}

function target(applies: Applies): object {
  if ("app" in applies) return { selector: { matchLabels: { app: applies.app } } };
  if ("service" in applies) return { targetRefs: [{ group: "", kind: "Service", name: applies.service }] };
  if ("entry" in applies) {
    return { targetRefs: [{ group: "networking.istio.io", kind: "ServiceEntry", name: applies.entry }] };
  }
  if ("gateway" in applies) {
    return { targetRefs: [{ group: "gateway.networking.k8s.io", kind: "Gateway", name: applies.gateway }] };
  }
  return {};
}

type PeerMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

/** A PeerAuthentication for the workloads of an app, or for all of the namespace. */
export function peerAuthentication(
  name: string,
  mode: PeerMode,
  applies: { readonly app?: string },
  ports: Readonly<Record<number, PeerMode>> = {},
): Resource {
  const portLevelMtls = Object.fromEntries(Object.entries(ports).map(([port, portMode]) => [port, { mode: portMode }]));
  return {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: metadata(name, {}),
    spec: {
      ...(applies.app === undefined ? {} : { selector: { matchLabels: { app: applies.app } } }),
      mtls: { mode },
      ...(Object.keys(ports).length === 0 ? {} : { portLevelMtls }),
    },
  };
}
