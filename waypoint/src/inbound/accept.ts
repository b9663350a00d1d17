// Machine. Serves tunnel requests: whose destination is it, what is spoken there, may the caller, and then HTTP or TCP.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { streamChannel } from "../channel/stream-channel.ts";
import { Http1Downstream } from "../http1/downstream.ts";
import type { Http1Shared } from "../http1/shared-state.ts";
import { Http2Downstream } from "../http2/downstream.ts";
import type { Http2Shared } from "../http2/shared-state.ts";
import { protocolOf, type Destination } from "../mesh/destination.ts";
import type { MeshView } from "../mesh/view.ts";
import type { StreamGroup } from "../route/stream-routes.ts";
import type { UpstreamConnections } from "../upstream/connections.ts";
import { HeldChannel } from "./held-channel.ts";
import type { LiveTunnel, LiveTunnels } from "./live-tunnels.ts";
import { OpaqueTunnel, type Answer, type OpaqueTunnelOptions } from "./opaque-tunnel.ts";
import {
  protocolReader,
  serverNameReader,
  UNREAD,
  versionReader,
  type Opening,
  type OpeningReader,
} from "./opening.ts";
import { guardOf } from "./request-plan.ts";
import type { Standing } from "./standing.ts";
import { TunnelServices, type RequestServicesOptions } from "./tunnel-services.ts";
import { tenantOf, tunnelOf } from "./tunnel.ts";

export interface AcceptorOptions {
  readonly services: RequestServicesOptions;
  readonly opaque: OpaqueTunnelOptions;
  readonly live: LiveTunnels;
  readonly http: Http1Shared;
  readonly http2: Http2Shared;
  readonly connections: UpstreamConnections;
  readonly clock: Clock;
  readonly makeId: () => string;
}

/** What is known of a tunnel once its destination is. */
interface Arrival extends Standing {
  readonly live: LiveTunnel;
  /** Something before the destination can only be answered by an HTTP request. */
  readonly needsHttp: boolean;
  /** The routes by which its connections are passed through. */
  readonly streams: StreamGroup | undefined;
}

/** Takes over every tunnel request of the process. */
export class Acceptor {
  readonly #options: AcceptorOptions;

  constructor(options: AcceptorOptions) {
    this.#options = options;
  }

  /** Serves one request to its end; never throws. */
  readonly serve = (request: TunnelRequest): void => {
    const { services, live: tunnels, clock, makeId } = this.#options;
    const view = services.view();
    const tunnel = tunnelOf(makeId(), request, view.self, clock.monotonic());
    // Registered before the decision: a policy that changes in between finds the tunnel here.
    const live = tunnels.register(tunnel);
    const arrival = arrivalOf(live, view);
    if (isFailure(arrival)) return this.#refuse(live, view, undefined, refusal(request), arrival);
    const { destination, streams } = arrival;
    if (streams?.needsServerName === true) return this.#detect(arrival, serverNameReader());
    if (streams !== undefined) return this.#serveOpaque(arrival, refusal(request), UNREAD);

    switch (protocolOf(destination)) {
      // Whatever version the application speaks: the client may speak another.
      case "http":
      case "http2":
      case "grpc":
      case "grpc-web":
        return this.#detect(arrival, versionReader(this.#options.http.limits.idleMs));
      case "tcp":
      case "tls":
        return this.#serveOpaque(arrival, refusal(request), UNREAD);
      case "unspecified":
        return this.#detect(arrival, protocolReader(arrival.needsHttp));
    }
  };

  #serveHttp1(live: LiveTunnel, channel: ByteChannel): void {
    const { http, connections } = this.#options;
    const services = this.#servicesOf(live);
    const connection = new Http1Downstream(channel, services, http, connections);
    serveRequests(live, connection, (view) => services.recheck(view));
  }

  #serveHttp2(live: LiveTunnel, channel: ByteChannel): void {
    const { http2, connections } = this.#options;
    const services = this.#servicesOf(live);
    const connection = new Http2Downstream(channel, services, http2, connections);
    serveRequests(live, connection, (view) => {
      connection.breakOff(services.judge(view));
      return undefined;
    });
  }

  #servicesOf(live: LiveTunnel): TunnelServices {
    const { services, live: tunnels } = this.#options;
    return new TunnelServices(live, services, () => tunnels.release(live));
  }

  #serveOpaque(arrival: Arrival, answer: Answer, opening: Opening): void {
    const { live, view, destination } = arrival;
    const { services, opaque, live: tunnels } = this.#options;
    const tenant = tenantOf(services.tenants, live.tunnel, view.self);
    const over = tenant.begin();
    if (over !== undefined) return this.#refuse(live, view, destination, answer, over);
    live.protocol = "tcp";
    const report = services.reporter.connection(view, live.tunnel, destination);
    const ended = (): void => {
      tenant.requests.give(1);
      tunnels.release(live);
    };
    void new OpaqueTunnel(live, tenant, answer, report, opaque, ended).serve(arrival, opening);
  }

  /** The first bytes decide: answers, and reads them. */
  #detect(arrival: Arrival, reader: OpeningReader): void {
    const { live, view, destination } = arrival;
    const { request } = live.tunnel;
    // What no request can change is said while there is a status to say it with.
    const denial = reader.forHttp ? undefined : settledDenial(arrival);
    if (denial !== undefined) return this.#refuse(live, view, destination, refusal(request), denial);
    if (!request.accept()) return this.#refuse(live, view, destination, refusal(request), gone());
    return this.#listen(arrival, streamChannel(request.stream, "downstream"), reader);
  }

  #listen({ live, view, destination }: Arrival, channel: ByteChannel, reader: OpeningReader): void {
    let timer: Timer | undefined;
    let decided = false;
    let isDraining = false;
    const decide = (opening: Opening | Failure): void => {
      if (isFailure(opening)) return end(opening);
      decided = true;
      timer?.cancel();
      if (opening.protocol === "http1") return this.#serveHttp1(live, held.handOver());
      if (opening.protocol === "http2") return this.#serveHttp2(live, held.handOver());
      // What holds now decides, not what held when the tunnel was opened.
      const current = this.#options.services.view();
      const now = arrivalOf(live, current);
      if (isFailure(now)) return this.#refuse(live, current, undefined, heldAnswer(held), now);
      if (now.streams?.needsServerName === true && !reader.forServerName) {
        return this.#listen(now, held.handOver(), serverNameReader());
      }
      return this.#serveOpaque(now, heldAnswer(held), opening);
    };
    const held = new HeldChannel(channel, () => {
      if (decided) return;
      const opening = reader.read(held.bytes);
      if (opening !== undefined) decide(opening);
      else if (held.closed) end(held.failure ?? gone());
      else if (held.ended) decide(reader.conclude());
    });
    const end = (failure: Failure): void => {
      decided = true;
      timer?.cancel();
      this.#refuse(live, view, destination, heldAnswer(held), failure);
    };
    live.serve({
      recheck: (current) => {
        const now = arrivalOf(live, current);
        if (isFailure(now)) return now;
        const refused = reader.forHttp ? undefined : settledDenial(now);
        return refused === undefined ? undefined : fail("POLICY_CHANGED", refused.detail);
      },
      end,
      // Asked twice: who has just connected is about to speak, and who has not done so by the second time is not.
      drain: (withinMs) => {
        if (withinMs !== undefined) return;
        if (isDraining) end(fail("DRAINING", "nothing was said"));
        isDraining = true;
      },
    });
    if (decided) return;
    timer = this.#options.clock.after(reader.waitMs, () => decide(reader.conclude()));
    held.start();
  }

  #refuse(
    live: LiveTunnel,
    view: MeshView,
    destination: Destination | undefined,
    answer: Answer,
    failure: Failure,
  ): void {
    answer.refuse(failure);
    this.#options.services.reporter.connection(view, live.tunnel, destination).end(failure);
    this.#options.live.release(live);
  }
}

/** Begins to serve the requests of a connection, of either version. */
function serveRequests(
  live: LiveTunnel,
  connection: Http1Downstream | Http2Downstream,
  recheck: (view: MeshView) => Failure | undefined,
): void {
  live.protocol = "http";
  connection.start();
  live.serve({
    recheck,
    end: (failure) => connection.dismiss(failure),
    drain: (withinMs) => connection.drain(withinMs),
  });
}

/** What a view says of a tunnel. */
function arrivalOf(live: LiveTunnel, view: MeshView): Arrival | Failure {
  const { namespace } = live.tunnel.caller;
  const standing = live.stand(view);
  if (isFailure(standing)) return standing;
  const { destination, guard } = standing;
  const needsHttp = guard.needsHttp || standing.view.routes(destination, namespace) !== undefined;
  return { ...standing, live, needsHttp, streams: standing.view.streamRoutes(destination, namespace) };
}

/** Why nothing that a tunnel may say would be let through. */
function settledDenial({ live, guard }: Arrival): Failure | undefined {
  return guardOf(guard, live.tunnel).settledDenial?.failure;
}

/** The answer to a tunnel that has none yet. */
function refusal(request: TunnelRequest): Answer {
  return {
    refuse: (failure) => request.refuse(failure),
    accept: () => (request.accept() ? streamChannel(request.stream, "downstream") : undefined),
  };
}

/** The answer to a tunnel that was accepted so that it would speak. */
function heldAnswer(held: HeldChannel): Answer {
  return {
    refuse: (failure) => held.abandon(failure),
    accept: () => (held.closed ? undefined : held.handOver()),
  };
}

function gone(): Failure {
  return fail("DOWNSTREAM_CLOSED", "the caller left before it was answered");
}
