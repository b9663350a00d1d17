// Root. `node waypoint-plain-hop.ts LISTEN APP HTTP2_LISTEN HTTP2_APP GRPC_LISTEN GRPC_APP` (each HOST:PORT): the waypoint's HTTP path in
// HTTP/1.1, HTTP/2 and gRPC as a plain TCP reverse proxy, with all that a request passes in a waypoint (canonical form, ten policy
// rules, routes, balancing, access log to /dev/null, metrics) and without tunnels. The applications are on one host.
import { openSync } from "node:fs";
import process from "node:process";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { AccessLog } from "@culvert/shared/observe/access-log.ts";
import { LineWriter } from "@culvert/shared/observe/line-writer.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { MirrorMetrics } from "@culvert/shared/observe/mirror-metrics.ts";
import { RequestMetrics } from "@culvert/shared/observe/request-metrics.ts";
import { descriptorWriter } from "@culvert/shared/observe/stdout.ts";
import { RuleMetrics } from "@culvert/shared/observe/rule-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import type { ByteChannel } from "@culvert/waypoint/channel/channel.ts";
import { socketChannel } from "@culvert/waypoint/channel/socket-channel.ts";
import { SessionKey } from "@culvert/waypoint/filter/session-key.ts";
import { Http1Downstream } from "@culvert/waypoint/http1/downstream.ts";
import { DEFAULT_HTTP_LIMITS } from "@culvert/waypoint/http/limits.ts";
import { Http1Shared } from "@culvert/waypoint/http1/shared-state.ts";
import { UpstreamPool } from "@culvert/waypoint/http1/upstream-pool.ts";
import { Http2Shared } from "@culvert/waypoint/http2/shared-state.ts";
import { Http2Downstream } from "@culvert/waypoint/http2/downstream.ts";
import { Http2Pool } from "@culvert/waypoint/http2/upstream-pool.ts";
import { LiveTunnels } from "@culvert/waypoint/inbound/live-tunnels.ts";
import { TunnelServices } from "@culvert/waypoint/inbound/tunnel-services.ts";
import { tunnelOf } from "@culvert/waypoint/inbound/tunnel.ts";
import { MeshView } from "@culvert/waypoint/mesh/view.ts";
import { Mirrors } from "@culvert/waypoint/mirror.ts";
import { Reporter } from "@culvert/waypoint/report.ts";
import { Tenants } from "@culvert/waypoint/tenants/tenants.ts";
import { OutsideNames } from "@culvert/waypoint/upstream/outside-names.ts";
import { UpstreamConnections } from "@culvert/waypoint/upstream/connections.ts";
import { Upstream } from "@culvert/waypoint/upstream/upstream.ts";
import {
  id,
  policy,
  route,
  routeBackend,
  routeMatch,
  routeParent,
  routeRule,
  service,
  snapshot,
  TRUST_DOMAIN,
  workload,
} from "../support/fixtures.ts";
import type { Address } from "../support/envoy.ts";
import { must } from "../support/must.ts";

const RULES = 10;
const ROUTES = 10;

function address(text: string): Address {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

const addresses = process.argv.slice(2).map(address);
const [listen, app, http2Listen, http2App, grpcListen, grpcApp] = addresses as [
  Address,
  Address,
  Address,
  Address,
  Address,
  Address,
];

const gateway = { namespace: "default", name: "waypoint" };
const self = {
  gateway,
  id: id("default/waypoint"),
  trustDomain: TRUST_DOMAIN,
  aliases: new Set<never>(),
  place: { addresses: [], port: 15008 },
  pathNormalization: "base",
} as const;

/** The services, each with its policy and its routes, by the port of the application. */
const SERVICES = {
  app: ["http", app.port],
  pages: ["http2", http2App.port],
  calls: ["grpc", grpcApp.port],
} as const;
const names = Object.keys(SERVICES);

const mesh = snapshot(
  {
    workloads: [
      workload("app-1", { serviceAccount: "app", addresses: [app.host], labels: { app: "app" }, protocol: "none" }),
    ],
    services: Object.entries(SERVICES).map(([name, [appProtocol, targetPort]]) =>
      service(name, {
        ports: [{ name, port: 80, targetPort, appProtocol }],
        selector: { app: "app" },
        waypoint: gateway,
      }),
    ),
  },
  {
    policies: names.map((name) =>
      policy(name, {
        target: { kind: "refs", refs: [{ kind: "Service", name }] },
        // The last of the rules lets everything through, so that all of them are asked.
        rules: Array.from({ length: RULES }, (_, index) => ({
          from: [],
          to: [{ paths: [{ kind: "prefix", value: index === RULES - 1 ? "/" : `/area-${index}/` }], methods: [] }],
        })),
      }),
    ),
    routes: names.map((name) =>
      route(name, {
        parents: [routeParent(name)],
        rules: Array.from({ length: ROUTES }, (_, index) =>
          routeRule({
            matches: [
              routeMatch({
                path: { kind: "prefix", value: index === 0 ? "/" : `/area-${index}` },
                headers: index === 0 ? [] : [{ name: "x-version", kind: "exact", value: `v${index}` }],
              }),
            ],
            backends: [routeBackend(name, 80)],
          }),
        ),
      }),
    ),
  },
);

const clock = systemClock;
const lines = new LineWriter(descriptorWriter(openSync("/dev/null", "w"), clock), clock);
const metrics = new Metrics({ clock });
const reporter = new Reporter({
  accessLog: new AccessLog({ mode: "all", write: lines.line, clock, random: Math.random }),
  requests: new RequestMetrics(metrics),
  rules: new RuleMetrics(metrics),
  tcp: new TcpMetrics(metrics),
  countFailure: () => {},
  ownId: () => self.id,
  clock,
});
const view = new MeshView(mesh, self);
// The application is reached by plain TCP: no tunnel is ever asked for.
const upstream = new Upstream({
  pool: {} as TunnelPool,
  names: new OutsideNames(clock),
  gateway,
  limits: DEFAULT_TUNNEL_LIMITS,
  clock,
});
const http = new Http1Shared(DEFAULT_HTTP_LIMITS, clock);
const http2 = new Http2Shared(http);
const ways = new UpstreamConnections(new UpstreamPool(http), new Http2Pool(http2));
const { random } = Math;
const copies = { connections: ways, upstream, clock, metrics: new MirrorMetrics(metrics), random };
const sessionKeys = [new SessionKey(Buffer.alloc(32), "")] as const;
const options = {
  view: () => view,
  upstream,
  reporter,
  mirrors: new Mirrors(copies),
  tenants: new Tenants(),
  sessionKeys,
  clock,
  random,
};
const caller = id("default/caller");
let connections = 0;
const live = new LiveTunnels(clock, { restMs: 0, untoldMs: 0 });

/** Serves what comes at an address as if it came by tunnels to a service. */
async function serve(
  at: Address,
  name: keyof typeof SERVICES,
  start: (channel: ByteChannel, services: TunnelServices) => void,
): Promise<void> {
  const authority = must(parseAuthority(`${name}.default.svc.cluster.local:80`));
  const listening = await acceptBulk({
    ...at,
    onSocket: (socket) => {
      const source = socket.remote;
      const local = socket.local;
      if (source === undefined || local === undefined) return socket.reset();
      const request = { peer: { id: caller }, authority, rawAuthority: `${name}:80`, source, local };
      connections += 1;
      const tunnel = tunnelOf(`c${connections}`, request as unknown as TunnelRequest, self, clock.monotonic());
      return start(socketChannel(socket, "downstream"), new TunnelServices(live.register(tunnel), options, () => {}));
    },
  });
  must(listening);
}

await serve(listen, "app", (channel, services) => new Http1Downstream(channel, services, http, ways).start());
for (const [at, name] of [
  [http2Listen, "pages"],
  [grpcListen, "calls"],
] as const) {
  await serve(at, name, (channel, services) => new Http2Downstream(channel, services, http2, ways).start());
}
