// Root. A mesh in this process: it connects and is connected to by mutual TLS tunnels as the service that it is, with no proxy beside it.
import type { AgentOptions, IncomingMessage } from "node:http";
import { addAbortSignal, type Duplex } from "node:stream";
import { ownAddresses } from "@culvert/shared/net/own-addresses.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { endpoint, type Endpoint } from "@culvert/shared/net/endpoint.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { renderMetrics } from "@culvert/shared/observe/exposition.ts";
import type { Foundation } from "@culvert/shared/service/service.ts";
import { Member } from "@culvert/uproxy/member.ts";
import { Outbound } from "@culvert/uproxy/outbound/outbound.ts";
import { leadsBack } from "@culvert/uproxy/own-listeners.ts";
import { selfHints } from "@culvert/uproxy/self-hints.ts";
import { readConfiguration, type MeshConfiguration } from "./configuration.ts";
import { openFoundation, type Holds, type MeshOptions, type OpenFoundation } from "./foundation.ts";
import { MeshAgent } from "./http-agent.ts";
import { MeshSocket } from "./mesh-socket.ts";
import { Serving, type Served, type Service } from "./serving.ts";

export type { MeshConfiguration, Value } from "./configuration.ts";
export type { MeshOptions } from "./foundation.ts";
export type { MeshSocket } from "./mesh-socket.ts";
export type { Served, Service } from "./serving.ts";
export { MeshConfigurationError, MeshError } from "./errors.ts";

/** Where a connection goes: a name of the mesh as the resources have it, or an address. */
export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  /** Ends the connection, or the wait for it, when it is aborted. */
  readonly signal?: AbortSignal;
}

/** What `fetch` takes as `dispatcher`; with the types of browsers, which know of none, an object. */
export type FetchDispatcher = RequestInit extends { dispatcher?: infer D } ? NonNullable<D> : object;

/**
 * Joins the mesh. Resolves once identity and resources are there.
 *
 * @param configuration keys of `uproxy.yaml`, or the path of such a file
 * @returns rejects with a MeshConfigurationError that names every problem, with a MeshError when there can be no identity, or with
 *   the reason of the signal
 */
export async function openMesh(configuration: MeshConfiguration | string, options: MeshOptions = {}): Promise<Mesh> {
  const config = await readConfiguration(configuration);
  return new Mesh(await openFoundation(config, options), config);
}

/**
 * The SPIFFE ID that the other end of a request's, or a response's, connection has proved; `undefined` where it came by another way
 * than the mesh. A response is to be asked before its body has been read: the connection is then for others.
 */
export function peerOf({ socket }: Pick<IncomingMessage, "socket">): string | undefined {
  const duplex: Duplex = socket;
  return duplex instanceof MeshSocket ? duplex.peer : undefined;
}

/** One member of the mesh. Make it with `openMesh`. */
export class Mesh {
  readonly #open: OpenFoundation;
  readonly #foundation: Foundation;
  readonly #config: UproxyConfig;
  readonly #member: Member;
  readonly #outbound: Outbound<MeshSocket>;
  readonly #serving: Serving;
  readonly #agents = new Set<MeshAgent>();
  readonly #dispatchers = new Set<{ close(): Promise<void> }>();
  readonly #stop: () => void;
  #agent: MeshAgent | undefined;
  #closing: Promise<void> | undefined;
  #closed = false;

  /** For `openMesh` alone. */
  constructor(open: OpenFoundation, config: UproxyConfig) {
    const { foundation } = open;
    const { clock, identity, tunnelLimits: limits } = foundation;
    this.#open = open;
    this.#foundation = foundation;
    this.#config = config;
    this.#member = new Member(foundation, () => selfHints(config), config.drain.timeoutMs);
    const { state, connections, reporter, pool, ejections, demand } = this.#member;
    const { hbone } = config.inbound;
    const own = hbone === undefined ? [] : [hbone];
    const addresses = new Set<string>(ownAddresses(hbone?.host));
    this.#outbound = new Outbound<MeshSocket>({
      state,
      pool,
      connections,
      reporter,
      clock,
      limits,
      ejections,
      unknown: config.outbound.unknown,
      leadsBack: (host, port) => leadsBack(own, addresses, host, port),
      join: (socket, opened) =>
        opened.kind === "plain"
          ? socket.overPlain(opened.socket)
          : socket.overTunnel(opened.tunnel.stream, opened.tunnel.peer.id),
      ...(demand === undefined ? {} : { demand }),
    });
    this.#serving = new Serving(foundation, config, this.#member);
    open.setHolds(() => this.#holds());
    this.#stop = identity.onChange(() => {
      for (const agent of this.#agents) agent.identityChanged();
    });
    const { workload } = state();
    if (isFailure(workload)) foundation.log.failure("own workload not found", workload);
    foundation.log.info("ready", { identity: identity.get().svid.id });
  }

  /** Who this process is now, a SPIFFE ID. */
  get identity(): string {
    return this.#foundation.identity.get().svid.id;
  }

  /**
   * Connects, as `net.connect` does: the answer is `connecting`, may be written to at once, emits "connect" when the peer has proved who
   * it is, and "error" with a MeshError when it cannot be reached or is cut short. Throws a TypeError for what is no destination.
   */
  readonly connect = ({ host, port, signal }: ConnectOptions): MeshSocket => {
    if (typeof host !== "string" || host === "") throw new TypeError("expected host to be a name or an address");
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new TypeError(`expected port to be a whole number from 1 to 65535, found ${String(port)}`);
    }
    const { clock, identity } = this.#foundation;
    const here = this.#here();
    const identityVersion = identity.get().version;
    const socket = new MeshSocket({ clock, direction: "outbound", local: here, remote: here, identityVersion });
    if (signal !== undefined) addAbortSignal(signal, socket);
    if (this.#closed) socket.refused(fail("DRAINING", "the mesh is closed"));
    if (socket.destroyed) return socket;
    const ip = parseIp(host);
    const destination = ip === undefined ? { kind: "name" as const, host, port } : { kind: "ip" as const, ip, port };
    void this.#outbound.carry(socket, destination, socket);
    return socket;
  };

  /**
   * An agent for `http.request` and whoever takes one. It keeps connections, by destination and while this process is who it was; the
   * same one is returned each time, unless it is asked for with options of its own.
   */
  httpAgent(options?: AgentOptions): MeshAgent {
    if (options === undefined && this.#agent !== undefined) return this.#agent;
    const { identity } = this.#foundation;
    const identityVersion = (): number => identity.get().version;
    const agent = new MeshAgent({ connect: this.connect, identityVersion, agent: options ?? {} });
    this.#agents.add(agent);
    if (options === undefined) this.#agent = agent;
    return agent;
  }

  /**
   * A dispatcher for `fetch` and for undici, which has to be installed. It is closed with the mesh.
   *
   * @param options those of undici's `Agent` but `connect`
   */
  async dispatcher(options: Readonly<Record<string, unknown>> = {}): Promise<FetchDispatcher> {
    const { MeshDispatcher } = await import("./dispatcher.ts");
    const { identity } = this.#foundation;
    const dispatcher = new MeshDispatcher({
      connect: this.connect,
      onIdentity: (listener) => identity.onChange(listener),
      agent: options,
    });
    this.#dispatchers.add(dispatcher);
    return dispatcher as unknown as FetchDispatcher;
  }

  /**
   * Serves a port of this workload: each tunnel to it that policy permits becomes a connection of `service`, with the caller's SPIFFE ID in
   * `socket.peer`. The first call binds `inbound.hbone`. Rejects with a MeshError.
   *
   * @param service an `http.Server` or any other `net.Server`, which need not listen; a function; or a port on 127.0.0.1
   */
  serve(service: Service, { port }: { readonly port: number }): Promise<Served> {
    return this.#serving.serve(service, port);
  }

  /** The mesh's metrics for Prometheus, to be served by the application; those of the process are its own. */
  metrics(): string {
    const ours = this.#foundation.metrics.collect(({ name }) => !name.startsWith("process_"));
    return renderMetrics(ours, "prometheus");
  }

  /**
   * Leaves the mesh: callers are told to go elsewhere, what runs may end within `drain.timeout`, then everything is ended. Requests that
   * are being served may still connect meanwhile. Never rejects.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { clock, log } = this.#foundation;
    const timeoutMs = this.#config.drain.timeoutMs;
    log.info("draining", { timeout_ms: timeoutMs });
    const over = Promise.withResolvers<void>();
    const timer = clock.after(timeoutMs, over.resolve);
    await Promise.race([this.#idle(), over.promise]);
    timer.cancel();
    this.#closed = true;
    this.#stop();
    this.#member.stop();
    this.#member.connections.endAll(fail("DRAINING", "the drain timeout has passed"));
    await this.#serving.close();
    this.#member.pool.close();
    this.#open.close();
  }

  /** What is served ends first: it may need to connect until then. */
  async #idle(): Promise<void> {
    const { connections } = this.#member;
    this.#serving.drain();
    await connections.empty("inbound");
    for (const agent of this.#agents) agent.drain();
    await Promise.allSettled([...this.#dispatchers].map((dispatcher) => dispatcher.close()));
    await connections.empty();
  }

  #holds(): Holds {
    const { connections, pool } = this.#member;
    const { sessions, streams } = pool.stats();
    return {
      connections: connections.counts(),
      sessions: { inbound: this.#serving.sessions, outbound: sessions },
      tunnels: { inbound: this.#serving.streams, outbound: streams },
    };
  }

  /** Where connections come from, as far as one can say that of a process. */
  #here(): Endpoint {
    const { workload } = this.#member.state();
    return endpoint(isFailure(workload) ? undefined : workload.addresses[0], 0);
  }
}
