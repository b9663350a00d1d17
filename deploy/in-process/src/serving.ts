// Machine. The mesh to this process: the tunnel port, and which server of the application has the tunnels to which of its ports. Who may come in
// is decided by the same lines as in uproxy.
import { Server as HttpServer } from "node:http";
import type { Server } from "node:net";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { Foundation } from "@culvert/shared/service/service.ts";
import { pump, type Pump } from "@culvert/shared/tunnel/pump.ts";
import { listenTunnels, type TunnelRequest, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import type { ConnectionReport } from "@culvert/uproxy/connection/report.ts";
import { Inbound } from "@culvert/uproxy/inbound/inbound.ts";
import type { InboundTarget } from "@culvert/uproxy/inbound/inbound-target.ts";
import { reachApp } from "@culvert/uproxy/inbound/reach-app.ts";
import type { Member } from "@culvert/uproxy/member.ts";
import { judge, type UproxyState } from "@culvert/uproxy/state.ts";
import { MeshError } from "./errors.ts";
import { HttpService } from "./http-service.ts";
import { MeshSocket } from "./mesh-socket.ts";

/** What takes the connections to a port: a server, which need not listen, a function, or a port of this host's loopback. */
export type Service = Server | ((socket: MeshSocket) => void) | number;

/** A port of the application that is served. */
export interface Served {
  readonly port: number;
  /** Where tunnels come in, `host:port`. */
  readonly hbone: { readonly host: string; readonly port: number };
  /** Serves it no longer; what runs goes on. */
  readonly close: () => void;
}

/** How one service takes its connections. */
type Taker =
  | { readonly localPort: number }
  | { readonly take: (socket: MeshSocket) => void; readonly http?: HttpService };

/** What was permitted: a connection to a local port, or the service that takes the tunnel itself. */
type Reached = BulkSocket | ((socket: MeshSocket) => void);

/** See the head of the file. */
export class Serving {
  readonly #foundation: Foundation;
  readonly #config: UproxyConfig;
  readonly #member: Member;
  readonly #takers = new Map<number, Taker>();
  #listening: Promise<TunnelServer | Failure> | undefined;
  #tunnels: TunnelServer | undefined;
  #draining = false;

  constructor(foundation: Foundation, config: UproxyConfig, member: Member) {
    this.#foundation = foundation;
    this.#config = config;
    this.#member = member;
  }

  get sessions(): number {
    return this.#tunnels?.sessions ?? 0;
  }

  get streams(): number {
    return this.#tunnels?.streams ?? 0;
  }

  /** Serves a port; the first one binds the tunnel port. Rejects with a MeshError. */
  async serve(service: Service, port: number): Promise<Served> {
    if (this.#draining) throw new MeshError(fail("DRAINING", "the mesh is closed"));
    if (this.#takers.has(port)) throw new MeshError(fail("PORT_UNAVAILABLE", `port ${port} is served already`));
    const taker = this.#takerOf(service);
    this.#takers.set(port, taker);
    const tunnels = await (this.#listening ??= this.#listen());
    if (isFailure(tunnels)) {
      this.#listening = undefined;
      this.#leave(port, taker);
      throw new MeshError(tunnels);
    }
    this.#foundation.log.info("serving", { port });
    return { port, hbone: tunnels.address, close: () => this.#leave(port, taker) };
  }

  /** GOAWAY to all callers; HTTP connections end with the request that they have. */
  drain(): void {
    this.#draining = true;
    this.#tunnels?.stopAccepting();
    for (const taker of this.#takers.values()) if ("http" in taker) taker.http?.drain();
  }

  async close(): Promise<void> {
    this.#draining = true;
    for (const [port, taker] of this.#takers) this.#leave(port, taker);
    await this.#listening;
    this.#tunnels?.close();
  }

  #leave(port: number, taker: Taker): void {
    if (this.#takers.get(port) === taker) this.#takers.delete(port);
    if (!("http" in taker)) return;
    taker.http?.drain();
    taker.http?.leave();
  }

  #takerOf(service: Service): Taker {
    if (typeof service === "number") return { localPort: service };
    if (typeof service === "function") return { take: service };
    if (!(service instanceof HttpServer)) return { take: (socket) => void service.emit("connection", socket) };
    const { clock, log, countFailure } = this.#foundation;
    const http = new HttpService(service, clock, (failure) => {
      countFailure(failure);
      log.failure("request ended", failure);
    });
    return { take: (socket) => http.take(socket), http };
  }

  async #listen(): Promise<TunnelServer | Failure> {
    const { clock, identity, compliance, tunnelLimits: limits } = this.#foundation;
    const { hbone } = this.#config.inbound;
    if (hbone === undefined) return fail("PORT_UNAVAILABLE", "inbound.hbone is off, so nothing can be served");
    const { state, connections, reporter, tellSession } = this.#member;
    const inbound = new Inbound<Reached>({
      state,
      connections,
      reporter,
      clock,
      app: { host: undefined, notTo: [hbone] },
      side: {
        reach: (now, target, facts, report) => this.#reach(now, target, facts, report),
        join: (app, request, target) => this.#join(app, request, target),
        giveUp: (app) => void (app instanceof BulkSocket && app.reset()),
      },
    });
    const tunnels = await listenTunnels({
      host: hbone.host,
      port: hbone.port,
      identity,
      compliance,
      limits,
      clock,
      onRequest: (request) => void inbound.serve(request),
      onEvent: tellSession,
    });
    if (!isFailure(tunnels)) this.#tunnels = tunnels;
    return tunnels;
  }

  #reach(
    state: UproxyState,
    target: InboundTarget,
    facts: ConnectionFacts,
    report: ConnectionReport,
  ): Promise<Reached | Failure> | Reached | Failure {
    const { clock, tunnelLimits: limits } = this.#foundation;
    const taker = this.#takers.get(target.port);
    if (taker !== undefined && "localPort" in taker) {
      const local = { ...target, host: "127.0.0.1", port: taker.localPort };
      return reachApp({ clock, limits }, state, local, facts, report);
    }
    const verdict = judge(state, facts);
    report.decided(verdict);
    if (!verdict.allowed) return verdict.failure;
    return taker === undefined ? fail("APP_REFUSED", `port ${target.port} is not served`) : taker.take;
  }

  #join(app: Reached, { stream, source, peer }: TunnelRequest, target: InboundTarget): Pump {
    const { clock, identity, tunnelLimits } = this.#foundation;
    if (app instanceof BulkSocket) {
      const { halfClosedIdleMs, streamQueue } = tunnelLimits;
      return pump(app, stream, { clock, streamLeads: "downstream", halfClosedIdleMs, streamQueue });
    }
    const socket = new MeshSocket({
      clock,
      direction: "inbound",
      local: { ip: target.ip, port: target.port },
      remote: source,
      identityVersion: identity.get().version,
    }).overTunnel(stream, peer.id);
    // Not from here: an application that throws must not meet us on the stack.
    process.nextTick(() => socket.destroyed || app(socket));
    return socket;
  }
}
