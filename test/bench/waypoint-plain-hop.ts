// Root. `node waypoint-plain-hop.ts LISTEN_HOST:PORT APP_HOST:PORT`: the waypoint's HTTP/1.1 path as a plain TCP reverse proxy,
// with all that a request passes in a waypoint (canonical form, ten policy rules, routes, balancing, access log to /dev/null,
// metrics) and without tunnels.
import { openSync } from "node:fs";
import process from "node:process";
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { type Failure, isFailure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain, type SpiffeId, workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import { acceptBulk } from "@culvert/shared/net/bulk-socket.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { AccessLog } from "@culvert/shared/observe/access-log.ts";
import { LineWriter } from "@culvert/shared/observe/line-writer.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { RequestMetrics } from "@culvert/shared/observe/request-metrics.ts";
import { descriptorWriter } from "@culvert/shared/observe/stdout.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { AuthorizationPolicy } from "@culvert/shared/policy/authorization.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import { Directory } from "@culvert/shared/workload/directory.ts";
import type { Service, Workload } from "@culvert/shared/workload/workload.ts";
import { socketChannel } from "@culvert/waypoint/channel/socket-channel.ts";
import { Http1Downstream } from "@culvert/waypoint/http1/downstream.ts";
import { DEFAULT_HTTP1_LIMITS } from "@culvert/waypoint/http1/limits.ts";
import { Http1Shared } from "@culvert/waypoint/http1/shared-state.ts";
import { UpstreamPool } from "@culvert/waypoint/http1/upstream-pool.ts";
import { RequestServices } from "@culvert/waypoint/inbound/request-services.ts";
import { tunnelOf } from "@culvert/waypoint/inbound/tunnel.ts";
import { MeshView } from "@culvert/waypoint/mesh/view.ts";
import { Reporter } from "@culvert/waypoint/report.ts";
import { Upstream } from "@culvert/waypoint/upstream/upstream.ts";

const RULES = 10;
const ROUTES = 10;

function good<T>(result: T): Exclude<T, Failure | undefined> {
  if (isFailure(result) || result === undefined) throw new Error(String(result));
  return result as Exclude<T, Failure | undefined>;
}

function address(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

const [listenText = "", appText = ""] = process.argv.slice(2);
const listen = address(listenText);
const app = address(appText);

const trustDomain = good(parseTrustDomain("cluster.local"));
const account = (name: string): SpiffeId => good(workloadId(trustDomain, "default", name));
const gateway = { namespace: "default", name: "waypoint" };
const self = { gateway, id: account("waypoint"), trustDomain, serves: "all" as const };

const appWorkload: Workload = {
  uid: "default/app-1",
  namespace: "default",
  name: "app-1",
  serviceAccount: "app",
  addresses: [good(parseIp(app.host))],
  hostname: undefined,
  labels: new Map([["app", "app"]]),
  protocol: "none",
  hbonePort: 15008,
  ports: new Map(),
  weight: 1,
  healthy: true,
  waypoint: undefined,
  requireWaypoint: false,
  node: undefined,
};
const appService: Service = {
  uid: "default/app",
  namespace: "default",
  name: "app",
  hostname: "app.default.svc.cluster.local",
  vips: [],
  ports: [{ name: "http", port: 80, targetPort: app.port, appProtocol: "http" }],
  selector: new Map([["app", "app"]]),
  waypoint: gateway,
  requireWaypoint: false,
};

/** The last of the rules lets everything through, so that all of them are asked. */
const policy: AuthorizationPolicy = {
  uid: "default/app",
  namespace: "default",
  name: "app",
  action: "ALLOW",
  dryRun: false,
  target: { kind: "refs", refs: [{ kind: "Service", name: "app" }] },
  rules: Array.from({ length: RULES }, (_, index) => ({
    from: [],
    to: [{ paths: [{ kind: "prefix", value: index === RULES - 1 ? "/" : `/area-${index}/` }], methods: [] }],
  })),
  notUnderstood: undefined,
};
const route: HttpRoute = {
  uid: "default/app",
  namespace: "default",
  name: "app",
  createdAt: 0,
  parents: [{ namespace: "default", name: "app", port: undefined }],
  hostnames: [],
  rules: Array.from({ length: ROUTES }, (_, index) => ({
    name: undefined,
    matches: [
      {
        path: { kind: "prefix", value: index === 0 ? "/" : `/area-${index}` },
        method: undefined,
        headers: index === 0 ? [] : [{ name: "x-version", value: `v${index}` }],
      },
    ],
    backends: [{ namespace: "default", name: "app", port: 80, weight: 1, invalid: undefined }],
    notUnderstood: undefined,
  })),
  notUnderstood: undefined,
};
const snapshot: Snapshot = {
  version: 1,
  directory: new Directory({ workloads: [appWorkload], services: [appService], waypoints: [] }),
  policies: [policy],
  peerAuthentications: [],
  routes: [route],
  problems: [],
};

const clock = systemClock;
const lines = new LineWriter(descriptorWriter(openSync("/dev/null", "w"), clock), clock);
const metrics = new Metrics({ clock });
const reporter = new Reporter({
  accessLog: new AccessLog({ mode: "all", write: lines.line, clock, random: Math.random }),
  requests: new RequestMetrics(metrics),
  tcp: new TcpMetrics(metrics),
  countFailure: () => {},
  ownId: () => self.id,
  clock,
});
const view = new MeshView(snapshot, self);
// The application is reached by plain TCP: no tunnel is ever asked for.
const upstream = new Upstream({ pool: {} as TunnelPool, gateway, limits: DEFAULT_TUNNEL_LIMITS, clock });
const options = { view: () => view, upstream, reporter, random: Math.random };
const http = new Http1Shared(DEFAULT_HTTP1_LIMITS, clock);
const pool = new UpstreamPool(http);
const caller = account("caller");
const authority = good(parseAuthority("app.default.svc.cluster.local:80"));
let connections = 0;

good(
  await acceptBulk({
    ...listen,
    onSocket: (socket) => {
      const source = socket.remote;
      const local = socket.local;
      if (source === undefined || local === undefined) return socket.reset();
      const request = { peer: { id: caller }, authority, rawAuthority: "app:80", source, local };
      connections += 1;
      const tunnel = tunnelOf(`c${connections}`, request as unknown as TunnelRequest, self, clock.monotonic());
      const services = new RequestServices(tunnel, options, () => {});
      return new Http1Downstream(socketChannel(socket, "downstream"), services, http, pool).start();
    },
  }),
);
