// Machine. Mesh to app, one tunnel request at a time, in phases: whose address is it, register, decide, dial, answer,
// carry, report. Not a byte of the caller is read before the answer.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { forwardedHost, parseBaggage } from "@culvert/shared/tunnel/headers.ts";
import { pump, type Pump } from "@culvert/shared/tunnel/pump.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import { isOtherNetwork } from "@culvert/shared/workload/directory.ts";
import type { Service, Workload } from "@culvert/shared/workload/workload.ts";
import type { Connections, LiveConnection } from "../connection/connections.ts";
import { inboundTarget, type AppPlace, type InboundTarget } from "./inbound-target.ts";
import type { Introduction } from "./introduce.ts";
import type { ConnectionReport, Reporter } from "../connection/report.ts";
import type { UproxyState } from "../state.ts";
import { reachApp, type AppAccess } from "./reach-app.ts";

/** How inbound connections come to the app, with an identity or without. */
export interface AppOptions extends AppAccess {
  readonly state: () => UproxyState;
  readonly connections: Connections;
  readonly reporter: Reporter;
  readonly app: AppPlace;
  /** How a caller is introduced to an app port that wants it. */
  readonly introduce?: ((introduction: Introduction) => Buffer) | undefined;
  /** Those ports. */
  readonly introducedTo: ReadonlySet<number>;
}

/** The app's side of a tunnel: how it is reached, and how both are joined. */
export interface AppSide<App> {
  /** Decides by `state`; what has been permitted, or why nothing was. */
  readonly reach: (
    state: UproxyState,
    target: InboundTarget,
    facts: ConnectionFacts,
    report: ConnectionReport,
  ) => Promise<App | Failure> | App | Failure;
  /** Joins it to a tunnel that was answered; bytes flow from then on. */
  readonly join: (app: App, request: TunnelRequest, target: InboundTarget, service: Service | undefined) => Pump;
  /** The caller has left meanwhile. */
  readonly giveUp: (app: App) => void;
}

/** What `Inbound` stands on. */
export interface InboundOptions<App = BulkSocket> {
  readonly state: () => UproxyState;
  readonly connections: Connections;
  readonly reporter: Reporter;
  readonly clock: Clock;
  readonly app: AppPlace;
  readonly side: AppSide<App>;
}

/** The side of an app that is dialled. */
export function dialledApp(options: AppOptions): AppSide<BulkSocket> {
  const { clock, limits, introduce, introducedTo } = options;
  const { halfClosedIdleMs, streamQueue } = limits;
  return {
    reach: (state, target, facts, report) => reachApp(options, state, target, facts, report),
    join: (app, { stream, source, peer }, target, service) => {
      if (introduce !== undefined && introducedTo.has(target.port)) {
        const introduction = { source, destination: target.asked, identity: peer.id, service: service?.hostname };
        app.write(introduce(introduction));
      }
      return pump(app, stream, { clock, streamLeads: "downstream", halfClosedIdleMs, streamQueue });
    },
    giveUp: (app) => app.reset(),
  };
}

/** Serves the tunnel requests of the mesh. */
export class Inbound<App = BulkSocket> {
  readonly #options: InboundOptions<App>;

  constructor(options: InboundOptions<App>) {
    this.#options = options;
  }

  /** Serves one request to its end; never throws or rejects. */
  async serve(request: TunnelRequest): Promise<void> {
    const { state, connections, clock, app } = this.#options;
    const now = state();
    const target = inboundTarget(now, request.authority, request.local.ip, app);
    const facts: ConnectionFacts | undefined = isFailure(target)
      ? undefined
      : {
          principal: request.peer.id,
          sourceIp: request.source.ip,
          destinationIp: target.ip,
          destinationPort: target.port,
        };
    // Registered before the decision: a policy that changes while the app is dialled finds the connection here.
    const connection = connections.register({
      direction: "inbound",
      facts,
      source: formatHostPort(request.source.ip, request.source.port),
      destination: request.rawAuthority,
      startedAt: clock.monotonic(),
    });
    connection.onEnd((failure) => request.refuse(failure));
    const service = isFailure(target) ? undefined : (target.service ?? serviceSaid(request, now));
    const report = this.#report(request, connection, now, isFailure(target) ? undefined : target, service);
    const failure =
      isFailure(target) || facts === undefined
        ? (target as Failure)
        : await this.#carry(request, connection, now, target, service, facts, report);
    if (failure !== undefined && connection.bytes === undefined) request.refuse(failure);
    connections.release(connection);
    report.end(connection.ended ?? failure);
  }

  /** From the decision to the last byte; the failure that ended it, if one did. */
  async #carry(
    request: TunnelRequest,
    connection: LiveConnection,
    state: UproxyState,
    target: InboundTarget,
    service: Service | undefined,
    facts: ConnectionFacts,
    report: ConnectionReport,
  ): Promise<Failure | undefined> {
    const { side } = this.#options;
    const app = await side.reach(state, target, facts, report);
    if (isFailure(app)) return app;
    if (connection.ended !== undefined || !request.accept()) {
      side.giveUp(app);
      return connection.ended ?? fail("DOWNSTREAM_CLOSED", "the caller left while the app was dialled");
    }
    report.opened();
    const running = side.join(app, request, target, service);
    connection.bytes = running;
    connection.onEnd((reason) => running.abort(reason));
    return (await running.ended).failure;
  }

  #report(
    request: TunnelRequest,
    connection: LiveConnection,
    state: UproxyState,
    target: InboundTarget | undefined,
    service: Service | undefined,
  ): ConnectionReport {
    return this.#options.reporter.open({
      connection,
      ownId: state.id,
      peerId: request.peer.id,
      keyGroup: request.keyGroup,
      sourceWorkload: sourceWorkload(request, state),
      destinationWorkload: isFailure(state.workload) ? undefined : state.workload,
      service,
      hboneAddress: formatHostPort(request.local.ip, request.local.port),
      destinationAddress: target === undefined ? request.rawAuthority : formatHostPort(target.ip, target.port),
    });
  }
}

/**
 * The workload that called, for labels: by its address, unless that is a gateway's because the caller is in another network. Then it is
 * the one that it says it is, if its identity is that one's.
 */
function sourceWorkload(
  { source, headers, peer }: TunnelRequest,
  { snapshot, self }: UproxyState,
): Workload | undefined {
  const { directory } = snapshot;
  const network = headers["x-forwarded-network"];
  if (typeof network !== "string" || !isOtherNetwork(network, self.network ?? "")) {
    return directory.workloadsAt(source.ip)[0];
  }
  const said = parseBaggage(headers["baggage"]);
  const workload = directory.workload(`${said.get("k8s.namespace.name")}/${said.get("k8s.pod.name")}`);
  const proved = workloadOf(peer.id);
  const isIt = workload?.serviceAccount === proved?.serviceAccount && workload?.namespace === proved?.namespace;
  return isIt ? workload : undefined;
}

/** What the caller says of the service it asked for: a label, and only if it is one of ours. */
function serviceSaid(request: TunnelRequest, { snapshot, self, workload }: UproxyState): Service | undefined {
  if (isFailure(workload)) return undefined;
  const said = forwardedHost(request.headers["forwarded"]);
  const named = said === undefined ? undefined : snapshot.directory.serviceByHost(said, self.namespace);
  return named !== undefined && snapshot.directory.servicesOf(workload).includes(named) ? named : undefined;
}
