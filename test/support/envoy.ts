// Machine. Envoy as a real peer: bootstraps for the places it can take in an HBONE mesh (tunnel client, tunnel server,
// waypoint, plain router), shaped as Istio shapes them, and its start. Nothing that would make it slower than it has to
// be: no admin, no access log, no filter that the place does not need.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./env.ts";
import { startProgram, type Program } from "./process.ts";
import { accepts } from "./tcp.ts";

/** JSON as Envoy reads it. */
export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json };

/** Listeners and clusters of a bootstrap; fragments can be joined. */
export interface EnvoyParts {
  readonly listeners: readonly Json[];
  readonly clusters: readonly Json[];
}

/** Files of an identity (`svid.pem key.pem bundle.pem`). */
export interface EnvoyIdentity {
  readonly certificate: string;
  readonly key: string;
  readonly bundle: string;
}

/** An address to listen on or to dial. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const type = (name: string): string => `type.googleapis.com/envoy.${name}`;

const HTTP_CONNECTION_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const HTTP_PROTOCOL_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions";

const ROUTER: Json = {
  name: "envoy.filters.http.router",
  typed_config: { "@type": type("extensions.filters.http.router.v3.Router") },
};

/** Istio's limit for a waypoint; Envoy ends the whole connection of a peer that opens more. */
export const ENVOY_CONCURRENT_STREAMS = 100;

function socketAddress({ host, port }: Address): Json {
  return { socket_address: { address: host, port_value: port } };
}

function internalAddress(listener: string): Json {
  return { envoy_internal_address: { server_listener_name: listener, endpoint_id: listener } };
}

function cluster(name: string, addresses: readonly Json[], extra: { readonly [key: string]: Json } = {}): Json {
  return {
    name,
    type: "STATIC",
    connect_timeout: "10s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address } })) }],
    },
    // Envoy's circuit breakers would refuse at 1,024 connections or requests.
    circuit_breakers: {
      thresholds: [{ max_connections: 65_536, max_pending_requests: 65_536, max_requests: 65_536 }],
    },
    ...extra,
  };
}

function internalCluster(name: string, listener: string): Json {
  return cluster(name, [internalAddress(listener)], {
    transport_socket: {
      name: "envoy.transport_sockets.internal_upstream",
      typed_config: {
        "@type": type("extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"),
        transport_socket: {
          name: "envoy.transport_sockets.raw_buffer",
          typed_config: { "@type": type("extensions.transport_sockets.raw_buffer.v3.RawBuffer") },
        },
      },
    },
  });
}

function tlsContext(identity: EnvoyIdentity, expected: { readonly [key: string]: Json }): Json {
  return {
    alpn_protocols: ["h2"],
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      { certificate_chain: { filename: identity.certificate }, private_key: { filename: identity.key } },
    ],
    validation_context: {
      trusted_ca: { filename: identity.bundle },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: expected }],
    },
  };
}

function tunnelCluster(name: string, peer: Address, identity: EnvoyIdentity, expected: string): Json {
  return cluster(name, [socketAddress(peer)], {
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": type(HTTP_PROTOCOL_OPTIONS),
        explicit_http_config: { http2_protocol_options: { allow_connect: true } },
      },
    },
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": type("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        common_tls_context: tlsContext(identity, { exact: expected }),
      },
    },
  });
}

/** A filter chain that ends mutual TLS and takes CONNECT streams; `routes` says where each authority goes. */
function tunnelListener(
  name: string,
  listen: Address,
  identity: EnvoyIdentity,
  trustDomain: string,
  hosts: Json,
): Json {
  return {
    name,
    address: socketAddress(listen),
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type": type(HTTP_CONNECTION_MANAGER),
              stat_prefix: name,
              codec_type: "HTTP2",
              http2_protocol_options: { allow_connect: true, max_concurrent_streams: ENVOY_CONCURRENT_STREAMS },
              stream_idle_timeout: "0s",
              upgrade_configs: [{ upgrade_type: "CONNECT" }],
              route_config: { name, virtual_hosts: hosts },
              http_filters: [ROUTER],
            },
          },
        ],
        transport_socket: {
          name: "envoy.transport_sockets.tls",
          typed_config: {
            "@type": type("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            require_client_certificate: true,
            disable_stateless_session_resumption: true,
            common_tls_context: tlsContext(identity, { prefix: `spiffe://${trustDomain}/` }),
          },
        },
      },
    ],
  };
}

/** Virtual hosts that end CONNECT for one authority each in a cluster. */
function connectHosts(targets: readonly { readonly authority: string; readonly cluster: string }[]): Json {
  return targets.map((target, index) => ({
    name: `target-${index}`,
    domains: [target.authority],
    routes: [
      {
        match: { connect_matcher: {} },
        route: {
          cluster: target.cluster,
          timeout: "0s",
          upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
        },
      },
    ],
  }));
}

function tcpProxy(name: string, clusterName: string, authority?: string): Json {
  return {
    name: "envoy.filters.network.tcp_proxy",
    typed_config: {
      "@type": type("extensions.filters.network.tcp_proxy.v3.TcpProxy"),
      stat_prefix: name,
      cluster: clusterName,
      ...(authority === undefined ? {} : { tunneling_config: { hostname: authority } }),
    },
  };
}

/** TCP in, tunnels out: the client half of an HBONE pair. Each target is a listener of its own. */
export function tunnelClient(options: {
  readonly identity: EnvoyIdentity;
  readonly peer: Address;
  readonly expected: string;
  readonly targets: readonly { readonly listen: Address; readonly authority: string }[];
}): EnvoyParts {
  return {
    listeners: options.targets.map((target, index) => ({
      name: `outbound-${index}`,
      address: socketAddress(target.listen),
      filter_chains: [{ filters: [tcpProxy(`outbound-${index}`, "tunnel", target.authority)] }],
    })),
    clusters: [tunnelCluster("tunnel", options.peer, options.identity, options.expected)],
  };
}

/**
 * Tunnels in, TCP out: the server half of an HBONE pair; also a gateway into another network, where the TCP that goes out is what is
 * spoken inside, to one of several proxies. Any authority that is not a target is answered 404.
 */
export function tunnelServer(options: {
  readonly identity: EnvoyIdentity;
  readonly trustDomain: string;
  readonly listen: Address;
  readonly targets: readonly { readonly authority: string; readonly apps: readonly Address[] }[];
}): EnvoyParts {
  const targets = options.targets.map((target, index) => ({ authority: target.authority, cluster: `app-${index}` }));
  return {
    listeners: [
      tunnelListener("inbound", options.listen, options.identity, options.trustDomain, connectHosts(targets)),
    ],
    clusters: options.targets.map((target, index) => cluster(`app-${index}`, target.apps.map(socketAddress))),
  };
}

/**
 * Tunnels in, HTTP inside, tunnels out: a waypoint as Istio builds it, with its two internal listeners (the end of the
 * tunnel hands over to the one that speaks HTTP, whose router hands over to the one that opens the next tunnel).
 */
export function envoyWaypoint(options: {
  readonly identity: EnvoyIdentity;
  readonly trustDomain: string;
  readonly listen: Address;
  /** Authorities of the service, as a client's uproxy names them. */
  readonly authorities: readonly string[];
  readonly backend: { readonly authority: string; readonly peer: Address; readonly expected: string };
}): EnvoyParts {
  const targets = options.authorities.map((authority) => ({ authority, cluster: "main" }));
  return {
    listeners: [
      tunnelListener("terminate", options.listen, options.identity, options.trustDomain, connectHosts(targets)),
      {
        name: "main",
        internal_listener: {},
        filter_chains: [{ filters: [plainHttp("main", "backend")] }],
      },
      {
        name: "originate",
        internal_listener: {},
        filter_chains: [{ filters: [tcpProxy("originate", "tunnel", options.backend.authority)] }],
      },
    ],
    clusters: [
      internalCluster("main", "main"),
      internalCluster("backend", "originate"),
      tunnelCluster("tunnel", options.backend.peer, options.identity, options.backend.expected),
    ],
  };
}

function plainHttp(name: string, clusterName: string): Json {
  return {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type": type(HTTP_CONNECTION_MANAGER),
      stat_prefix: name,
      route_config: {
        name,
        virtual_hosts: [
          { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: clusterName } }] },
        ],
      },
      http_filters: [ROUTER],
    },
  };
}

/** Plain HTTP in, plain HTTP out; in HTTP/2 to the application where that is asked for, and from clients that begin so. */
export function envoyRouter(options: {
  readonly listen: Address;
  readonly app: Address;
  readonly http2?: boolean;
  /** Beside other routers in one process. */
  readonly name?: string;
}): EnvoyParts {
  const suffix = options.name === undefined ? "" : `-${options.name}`;
  const http2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": type(HTTP_PROTOCOL_OPTIONS),
      explicit_http_config: { http2_protocol_options: {} },
    },
  };
  const protocol = options.http2 === true ? { typed_extension_protocol_options: http2 } : {};
  return {
    listeners: [
      {
        name: `plain${suffix}`,
        address: socketAddress(options.listen),
        filter_chains: [{ filters: [plainHttp(`plain${suffix}`, `app${suffix}`)] }],
      },
    ],
    clusters: [cluster(`app${suffix}`, [socketAddress(options.app)], protocol)],
  };
}

/** Joins parts to one bootstrap. */
export function bootstrap(parts: readonly EnvoyParts[]): Json {
  return {
    static_resources: {
      listeners: parts.flatMap((part) => part.listeners),
      clusters: parts.flatMap((part) => part.clusters),
    },
    bootstrap_extensions: [
      {
        name: "envoy.bootstrap.internal_listener",
        typed_config: { "@type": type("extensions.bootstrap.internal_listener.v3.InternalListener") },
      },
    ],
  };
}

/** Starts an Envoy with one worker. Not waited for. */
export function spawnEnvoy(options: {
  readonly name: string;
  readonly folder: string;
  readonly parts: readonly EnvoyParts[];
}): Program {
  const file = join(options.folder, `${options.name}.json`);
  writeFileSync(file, JSON.stringify(bootstrap(options.parts), undefined, 2));
  return startProgram({
    name: options.name,
    command: command("envoy"),
    args: ["--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"],
  });
}

/** Starts an Envoy and waits until it accepts connections at `ready`. */
export async function startEnvoy(
  options: Parameters<typeof spawnEnvoy>[0] & { readonly ready: Address },
): Promise<Program> {
  const program = spawnEnvoy(options);
  await program.watch("the listener", () => accepts(options.ready.host, options.ready.port));
  return program;
}
