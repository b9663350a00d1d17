// For tests: both ends of the tunnel in one process, with real certificates over real sockets on loopback.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import type { Compliance } from "@culvert/shared/identity/tls.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import type { OpenTunnel, PoolEvent, TunnelTarget } from "@culvert/shared/tunnel/pool.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/request.ts";
import { listenTunnels } from "@culvert/shared/tunnel/server.ts";
import type { TunnelEvent, TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { testAuthority } from "./ca.ts";
import type { TestAuthority } from "./ca.ts";
import { staticSource, testIdentity } from "./identity.ts";
import type { TestSource } from "./identity.ts";

/** Who everybody is in tunnel tests. */
export interface Cast {
  readonly authority: TestAuthority;
  readonly client: Identity;
  readonly server: Identity;
}

let cast: Promise<Cast> | undefined;

/** One authority, one client and one server identity for the whole test process. */
export function tunnelCast(): Promise<Cast> {
  cast ??= (async () => {
    const authority = await testAuthority();
    const [client, server] = await Promise.all([
      testIdentity(authority, "default", "client"),
      testIdentity(authority, "default", "server"),
    ]);
    return { authority, client, server };
  })();
  return cast;
}

/** What a test may change. */
export interface PairOptions {
  readonly limits?: Partial<TunnelLimits>;
  readonly serverLimits?: Partial<TunnelLimits>;
  readonly clock?: Clock;
  readonly serverClock?: Clock;
  readonly onRequest?: (request: TunnelRequest) => void;
  /** Who the ends are instead of the cast. */
  readonly client?: Identity;
  readonly server?: Identity;
  readonly clientCompliance?: Compliance;
  readonly serverCompliance?: Compliance;
}

/** A pool and a listener that know each other. */
export interface TunnelPair {
  readonly server: TunnelServer;
  readonly pool: TunnelPool;
  readonly target: TunnelTarget;
  readonly clientSource: TestSource;
  readonly serverSource: TestSource;
  readonly serverEvents: TunnelEvent[];
  readonly poolEvents: PoolEvent[];
  /** The next request that arrives; those that came before it was asked for are kept. */
  request(): Promise<TunnelRequest>;
  /** Opens a tunnel; throws on a failure. */
  open(authority?: string): Promise<OpenTunnel>;
  /** Opens a tunnel and accepts it: both ends. */
  tunnel(): Promise<{ readonly opened: OpenTunnel; readonly accepted: TunnelRequest }>;
  close(): Promise<void>;
}

/** The address 127.0.0.1 as the product's type. */
export const LOOPBACK: Ip = must(parseIp("127.0.0.1") ?? new Error("127.0.0.1 is an address"));

/** Starts both ends. Without `onRequest` the test takes requests from `request()`. */
export async function tunnelPair(options: PairOptions = {}): Promise<TunnelPair> {
  const usual = await tunnelCast();
  const { client = usual.client, server: serverIdentity = usual.server } = options;
  const clientSource = staticSource(client);
  const serverSource = staticSource(serverIdentity);
  const serverEvents: TunnelEvent[] = [];
  const poolEvents: PoolEvent[] = [];
  const arrived: TunnelRequest[] = [];
  const asked: ((request: TunnelRequest) => void)[] = [];
  const limits = { ...DEFAULT_TUNNEL_LIMITS, ...options.limits };
  const clock = options.clock ?? systemClock;
  const server = must(
    await listenTunnels({
      host: "127.0.0.1",
      port: 0,
      identity: serverSource,
      compliance: options.serverCompliance,
      limits: { ...limits, ...options.serverLimits },
      clock: options.serverClock ?? clock,
      onRequest(request) {
        if (options.onRequest !== undefined) return options.onRequest(request);
        const next = asked.shift();
        if (next === undefined) arrived.push(request);
        else next(request);
      },
      onEvent: (event) => void serverEvents.push(event),
    }),
  );
  const pool = new TunnelPool({
    identity: clientSource,
    compliance: options.clientCompliance,
    limits,
    clock,
    onEvent: (event) => void poolEvents.push(event),
  });
  const target = { ip: LOOPBACK, port: server.address.port, expected: [serverIdentity.svid.id] };
  const request = (): Promise<TunnelRequest> => {
    const first = arrived.shift();
    return first === undefined ? new Promise((resolve) => void asked.push(resolve)) : Promise.resolve(first);
  };
  const open = async (authority = "10.0.0.1:80"): Promise<OpenTunnel> =>
    must(await pool.open(target, { authority, headers: {} }));
  return {
    server,
    pool,
    target,
    clientSource,
    serverSource,
    serverEvents,
    poolEvents,
    request,
    open,
    async tunnel() {
      const opening = open();
      const accepted = await request();
      accepted.accept();
      return { opened: await opening, accepted };
    },
    async close() {
      pool.close();
      server.close();
    },
  };
}

/** The value, or the failure as an error. */
export function must<T>(value: T): Exclude<T, Failure | Error> {
  if (isFailure(value)) throw new Error(`${value.code}: ${value.detail}`);
  if (value instanceof Error) throw value;
  return value as Exclude<T, Failure | Error>;
}
