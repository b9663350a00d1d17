// For tests: a waypoint in the test's own process between a client that opens tunnels and applications behind fake
// uproxies, with real certificates over real sockets on loopback.
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type RequestListener,
  type Server,
} from "node:http";
import type { Duplex } from "node:stream";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { AccessLog } from "@culvert/shared/observe/access-log.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { MirrorMetrics } from "@culvert/shared/observe/mirror-metrics.ts";
import { RequestMetrics } from "@culvert/shared/observe/request-metrics.ts";
import { RuleMetrics } from "@culvert/shared/observe/rule-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import { tunnelDuplex } from "@culvert/shared/tunnel/duplex.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { listenTunnels, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { staticSource, testIdentity } from "@culvert/test/support/identity.ts";
import { must } from "@culvert/test/support/tunnel-pair.ts";
import { SessionKey } from "./filter/session-key.ts";
import { DEFAULT_HTTP_LIMITS } from "./http/limits.ts";
import { Http1Shared } from "./http1/shared-state.ts";
import { UpstreamPool } from "./http1/upstream-pool.ts";
import { Http2Shared } from "./http2/shared-state.ts";
import { Http2Pool } from "./http2/upstream-pool.ts";
import { Acceptor } from "./inbound/accept.ts";
import { LiveTunnels } from "./inbound/live-tunnels.ts";
import { SELF, snapshot, waypointInstance, workload, type MeshParts } from "./mesh-fixtures.ts";
import { MeshView } from "./mesh/view.ts";
import { Mirrors } from "./mirror.ts";
import { Reporter } from "./report.ts";
import { DEFAULT_TENANT_LIMITS, type TenantLimits, Tenants } from "./tenants/tenants.ts";
import { UpstreamConnections } from "./upstream/connections.ts";
import { OutsideNames } from "./upstream/outside-names.ts";
import { Upstream } from "./upstream/upstream.ts";

const GATEWAY = SELF.gateway;
const LOOPBACK = ip("127.0.0.1");

/** An answer as the client got it. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What an app behind a fake uproxy does with a connection. */
export type Serve = (connection: Duplex, authority: string) => void;

/** The waypoint, its client and its apps. Make it with `startBench`. */
export class Bench {
  readonly lines: Record<string, unknown>[] = [];
  readonly live = new LiveTunnels(systemClock, { restMs: 30_000, untoldMs: 60_000 });
  readonly metrics = new Metrics({ clock: systemClock });
  readonly tenants: Tenants;
  readonly #identities = new Map<string, Awaited<ReturnType<typeof testIdentity>>>();
  readonly #servers: TunnelServer[] = [];
  readonly #pools: TunnelPool[] = [];
  #authority = testAuthority("cluster.local");
  #view: MeshView | undefined;
  #port = 0;

  constructor(tenants: TenantLimits = DEFAULT_TENANT_LIMITS) {
    this.tenants = new Tenants(tenants);
  }

  /** The identity of an account of namespace `default`, or of that before its slash. */
  async identity(account: string): Promise<Awaited<ReturnType<typeof testIdentity>>> {
    const known = this.#identities.get(account);
    if (known !== undefined) return known;
    const [name = "", namespace = "default"] = account.split("/").toReversed();
    const made = await testIdentity(await this.#authority, namespace, name);
    this.#identities.set(account, made);
    return made;
  }

  /** Starts a fake uproxy under an account; returns the workload `default/<name>` that stands for it. */
  async app(name: string, serve: Serve): Promise<ReturnType<typeof workload>> {
    const account = name.replace(/-[^-]*$/, "");
    const server = must(
      await listenTunnels({
        host: "127.0.0.1",
        port: 0,
        identity: staticSource(await this.identity(account)),
        limits: DEFAULT_TUNNEL_LIMITS,
        clock: systemClock,
        onRequest: (request) => {
          if (request.accept()) serve(tunnelDuplex(request.stream), request.rawAuthority);
        },
        onEvent: () => {},
      }),
    );
    this.#servers.push(server);
    return workload(`default/${name}`, "127.0.0.1", { hbonePort: server.address.port });
  }

  /** Takes a mesh into use, as a changed folder would be; returns how many tunnels that ended. */
  async use(parts: MeshParts): Promise<number> {
    const { svid } = await this.identity("waypoint");
    const workloads = [...(parts.workloads ?? []), waypointInstance("127.0.0.9")];
    const self = {
      gateway: GATEWAY,
      id: svid.id,
      trustDomain: trustDomainOf(svid.id),
      aliases: new Set<never>(),
      place: { addresses: [], port: 15008 },
      pathNormalization: "base",
    } as const;
    this.#view = new MeshView(snapshot({ ...parts, workloads }), self, this.#view);
    return this.live.recheck(this.#view);
  }

  /** Starts the waypoint; `use` must have been called. */
  async start(): Promise<void> {
    const clock = systemClock;
    const identity = staticSource(await this.identity("waypoint"));
    const limits = DEFAULT_TUNNEL_LIMITS;
    const pool = new TunnelPool({ identity, limits, clock, onEvent: () => {} });
    const upstream = new Upstream({ pool, names: new OutsideNames(clock), gateway: GATEWAY, limits, clock });
    const reporter = new Reporter({
      accessLog: new AccessLog({
        mode: "all",
        write: (line) => void this.lines.push(JSON.parse(line) as Record<string, unknown>),
        clock,
      }),
      requests: new RequestMetrics(this.metrics),
      rules: new RuleMetrics(this.metrics),
      tcp: new TcpMetrics(this.metrics),
      countFailure: () => {},
      ownId: () => identity.get().svid.id,
      clock,
    });
    this.metrics.beforeCollect(() => reporter.progress());
    const http = new Http1Shared(DEFAULT_HTTP_LIMITS, clock);
    const http2 = new Http2Shared(http);
    const view = (): MeshView => {
      if (this.#view === undefined) throw new Error("no mesh is in use");
      return this.#view;
    };
    const connections = new UpstreamConnections(new UpstreamPool(http), new Http2Pool(http2));
    const metrics = new MirrorMetrics(this.metrics);
    const mirrors = new Mirrors({ connections, upstream, clock, metrics, random: Math.random });
    const sessionKeys = [new SessionKey(Buffer.alloc(32, 1), "default/waypoint")] as const;
    const acceptor = new Acceptor({
      services: { view, upstream, reporter, mirrors, tenants: this.tenants, sessionKeys, clock, random: Math.random },
      opaque: { upstream, clock, halfClosedIdleMs: limits.halfClosedIdleMs, random: Math.random },
      live: this.live,
      http,
      http2,
      connections,
      clock,
      makeId: () => `t${this.lines.length}`,
    });
    const server = must(
      await listenTunnels({
        host: "127.0.0.1",
        port: 0,
        identity,
        limits,
        clock,
        onRequest: acceptor.serve,
        onEvent: () => {},
      }),
    );
    this.#pools.push(pool);
    this.#servers.push(server);
    this.#port = server.address.port;
  }

  /** Opens a tunnel to the waypoint as an account. */
  async open(authority: string, account = "curl"): Promise<Duplex | Failure> {
    const pool = new TunnelPool({
      identity: staticSource(await this.identity(account)),
      limits: DEFAULT_TUNNEL_LIMITS,
      clock: systemClock,
      onEvent: () => {},
    });
    this.#pools.push(pool);
    const expected = [(await this.identity("waypoint")).svid.id];
    const tunnel = await pool.open({ ip: LOOPBACK, port: this.#port, expected }, { authority, headers: {} });
    return isFailure(tunnel) ? tunnel : tunnelDuplex(tunnel.stream);
  }

  /** One HTTP request in a tunnel of its own. */
  async ask(
    authority: string,
    path: string,
    options: { method?: string; headers?: Record<string, string>; account?: string; body?: string } = {},
  ): Promise<Answer> {
    const connection = must(await this.open(authority, options.account));
    return new Promise((resolve, reject) => {
      const { method = "GET", headers = {} } = options;
      const asked = httpRequest(
        { createConnection: () => connection, method, path, headers: { host: authority, ...headers } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks).toString("latin1"),
            }),
          );
        },
      );
      asked.on("error", reject);
      asked.end(options.body);
    });
  }

  async stop(): Promise<void> {
    for (const pool of this.#pools) pool.close();
    for (const server of this.#servers) server.close();
  }
}

/** An HTTP app: one server for all connections that a fake uproxy brings. */
export function httpApp(listener: RequestListener): Serve {
  const server: Server = createServer(listener);
  return (connection) => void server.emit("connection", connection);
}

/** Everything that comes, until the other side ends; rejects when it is reset. */
export function readAll(connection: Duplex): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    connection.on("data", (chunk: Buffer) => chunks.push(chunk));
    connection.on("error", reject);
    connection.on("end", () => resolve(Buffer.concat(chunks).toString("latin1")));
  });
}
