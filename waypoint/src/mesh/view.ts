// Pure. One snapshot as this waypoint serves it: destinations, policies, routes and endpoints that belong together.
import { RouteIndex } from "../route/service-routes.ts";
import { HTTP_ROUTES, type RouteGroup } from "../route/route-group.ts";
import { STREAM_ROUTES, type StreamGroup } from "../route/stream-routes.ts";
import type { BackendRef, HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { StreamRoute } from "@culvert/shared/config/stream-route.ts";
import { backendService } from "@culvert/shared/config/cross-check.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { Authority } from "@culvert/shared/tunnel/authority.ts";
import type { Service, ServicePort } from "@culvert/shared/workload/workload.ts";
import { EndpointGroup } from "../upstream/balance.ts";
import {
  endpointContext,
  EndpointLoads,
  passEndpoint,
  serviceEndpoints,
  workloadEndpoint,
  type EndpointContext,
  type UpstreamEndpoint,
} from "../upstream/endpoints.ts";
import { isOutside, resolveDestination, type Caller, type Destination, type WaypointSelf } from "./destination.ts";
import { ownPod, servesNoneOf } from "./own-placement.ts";
import { BackendTlsIndex } from "./backend-tls.ts";
import { compileGuard, type Guard } from "./guard.ts";

/**
 * Everything that one connection or request asks of the configuration. A request asks one view from its first byte to
 * its last, so it never sees half a change. What is compiled is compiled at first use and kept, bounded by the services
 * and workloads of the snapshot.
 */
export class MeshView {
  readonly snapshot: Snapshot;
  readonly self: WaypointSelf;
  readonly loads: EndpointLoads;
  readonly #context: EndpointContext;
  readonly #pod: ReadonlySet<Ip>;
  readonly #routes: RouteIndex<HttpRoute, RouteGroup>;
  readonly #streamRoutes: RouteIndex<StreamRoute, StreamGroup>;
  readonly #backendTls: BackendTlsIndex;
  readonly #guards = new Map<string, Guard>();
  readonly #groups = new Map<string, EndpointGroup>();
  readonly #backends = new Map<BackendRef, EndpointGroup | Failure>();
  readonly #streamBackends = new Map<BackendRef, EndpointGroup | Failure>();

  /** @param before the view that this one takes the place of, for the loads of endpoints */
  constructor(snapshot: Snapshot, self: WaypointSelf, before?: MeshView) {
    this.snapshot = snapshot;
    this.self = self;
    this.loads = new EndpointLoads(before?.loads);
    this.#context = endpointContext(snapshot.directory, self, this.loads);
    this.#pod = ownPod(snapshot.directory, self);
    this.#routes = new RouteIndex(snapshot.routes, HTTP_ROUTES);
    this.#streamRoutes = new RouteIndex(snapshot.streamRoutes, STREAM_ROUTES);
    this.#backendTls = new BackendTlsIndex(snapshot.backendTls);
  }

  /** What an authority means to this waypoint: see `resolveDestination`. */
  destination(authority: Authority, caller: Caller): Destination | Failure {
    return resolveDestination(this.snapshot.directory, this.self, authority, caller);
  }

  /** What it would mean if this waypoint stood before it, as it once did. */
  pastDestination(authority: Authority, caller: Caller): Destination | Failure {
    return resolveDestination(this.snapshot.directory, this.self, authority, caller, true);
  }

  /** Whether something is there that an earlier view has led to; `undefined`: that is not told to this waypoint. */
  holds(destination: Destination): boolean | undefined {
    const { self } = this;
    const { directory } = this.snapshot;
    const isThere =
      destination.kind === "service"
        ? directory.service(destination.service.uid) !== undefined
        : directory.workload(destination.workload.uid) !== undefined;
    if (isThere) return true;
    const isNarrow = self.holdsScope === true || directory.waypoint(self.gateway)?.placement === "service-account";
    return isNarrow ? undefined : false;
  }

  /** The policies before a destination. */
  guard(destination: Destination): Guard {
    const key = destination.kind === "service" ? `s ${destination.service.uid}` : `w ${destination.workload.uid}`;
    let guard = this.#guards.get(key);
    if (guard === undefined) {
      const services = destination.kind === "service" ? [destination.service] : destination.services;
      guard = compileGuard(this.snapshot.policies, this.self, services);
      this.#guards.set(key, guard);
    }
    return guard;
  }

  /**
   * The routes of a destination for callers of one namespace; `undefined`: requests go to its own endpoints. Routes for connections
   * that the callers' namespace has written for itself take the place of the service's own, whatever their kind (GEP-1294).
   */
  routes(destination: Destination, callerNamespace: string | undefined): RouteGroup | undefined {
    if (destination.kind === "workload") return undefined;
    const { service, port } = destination;
    const routes = this.#routes.of(service, port);
    if (routes === undefined) return undefined;
    if (!routes.isOwn(callerNamespace) && this.#streamRoutes.of(service, port)?.isOwn(callerNamespace) === true) {
      return undefined;
    }
    return routes.forCaller(callerNamespace);
  }

  /**
   * The routes of connections to a destination, for callers of one namespace; `undefined`: they go to its own endpoints. The
   * routes of HTTP go before them, except where it is declared that something else is spoken.
   */
  streamRoutes(destination: Destination, callerNamespace: string | undefined): StreamGroup | undefined {
    if (destination.kind === "workload") return undefined;
    const { service, port } = destination;
    const streams = this.#streamRoutes.of(service, port);
    if (streams === undefined) return undefined;
    const isStream = port.appProtocol === "tcp" || port.appProtocol === "tls";
    if (!isStream && this.routes(destination, callerNamespace) !== undefined) return undefined;
    return streams.forCaller(callerNamespace);
  }

  /** The endpoints of a destination itself. */
  group(destination: Destination): EndpointGroup | Failure {
    if (destination.kind === "service") {
      const { service, port, at, host } = destination;
      if (service.entry?.resolution === "none") {
        return new EndpointGroup(`${service.uid}:${port.port}`, [this.#passEndpoint(service, port, at ?? host)]);
      }
      const group = this.#groupOf(service, port);
      if (isFailure(group)) return group;
      const chosen = at === undefined ? [] : group.endpoints.filter(({ ip }) => ip === at);
      return chosen.length === 0 ? group : new EndpointGroup(group.name, chosen);
    }
    const { workload, ip, port, appProtocol } = destination;
    const endpoint = workloadEndpoint(this.#context, workload, ip, port, appProtocol);
    return isFailure(endpoint) ? endpoint : new EndpointGroup(`${workload.uid}:${port}`, [endpoint]);
  }

  /** The endpoints of what a route refers to; BACKEND_INVALID when there is no such service or port, or it speaks no HTTP. */
  backend(backend: BackendRef): EndpointGroup | Failure {
    let found = this.#backends.get(backend);
    if (found === undefined) {
      found = this.#resolve(backend, true);
      this.#backends.set(backend, found);
    }
    return found;
  }

  /** The same for connections that are passed through, to which every protocol is the same. */
  streamBackend(backend: BackendRef): EndpointGroup | Failure {
    let found = this.#streamBackends.get(backend);
    if (found === undefined) {
      found = this.#resolve(backend, false);
      this.#streamBackends.set(backend, found);
    }
    return found;
  }

  #resolve(backend: BackendRef, isHttp: boolean): EndpointGroup | Failure {
    const service = backendService(backend, this.snapshot.directory);
    const title = backend.kind === "host" ? `host ${backend.name}` : `service ${backend.namespace}/${backend.name}`;
    if (service === undefined) return fail("BACKEND_INVALID", `there is no ${title}`);
    if (service.entry?.notUnderstood !== undefined) {
      return fail("BACKEND_INVALID", `${title} is of a ServiceEntry: ${service.entry.notUnderstood}`);
    }
    const port = service.ports.find((candidate) => candidate.port === backend.port);
    if (port === undefined) return fail("BACKEND_INVALID", `${title} has no port ${backend.port}`);
    // TLS is spoken by us where a policy asks for it, and HTTP inside.
    if (isHttp && port.appProtocol === "tls" && this.#backendTls.of(service, port) === undefined) {
      return fail("BACKEND_INVALID", `${title} port ${port.port} is declared ${port.appProtocol}, not HTTP`);
    }
    if (service.entry?.resolution === "none") {
      return new EndpointGroup(`${service.uid}:${port.port}`, [this.#passEndpoint(service, port, backend.name)]);
    }
    return this.#groupOf(service, port);
  }

  /** Resolution NONE: the endpoint is the address or name that was asked for; else the host of the entry. */
  #passEndpoint(service: Service, port: ServicePort, asked: Ip | string = service.hostname): UpstreamEndpoint {
    const { directory } = this.snapshot;
    return passEndpoint(service, asked, port, (ip) => isOutside(directory, ip));
  }

  /** BACKEND_TLS_INVALID where a policy says that TLS is to be spoken, and cannot be understood. */
  #groupOf(service: Service, port: ServicePort): EndpointGroup | Failure {
    const key = `${service.uid}:${port.port}`;
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const refused = servesNoneOf(this.snapshot.directory, this.self, service);
    if (refused !== undefined) return refused;
    const tls = this.#backendTls.of(service, port);
    if (tls?.policy.notUnderstood !== undefined) {
      return fail("BACKEND_TLS_INVALID", `${tls.policy.uid}: ${tls.policy.notUnderstood}`);
    }
    const group = new EndpointGroup(key, serviceEndpoints(this.#context, service, port, tls), this.#pod);
    this.#groups.set(key, group);
    return group;
  }
}
