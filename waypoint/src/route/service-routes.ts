// Pure. Which routes apply to a request for a service port, by the namespace of the caller (GEP-1294).
import type { HttpRoute, RouteParent } from "@culvert/shared/config/http-route.ts";
import type { Service, ServicePort } from "@culvert/shared/workload/workload.ts";
import { RouteGroup } from "./route-group.ts";

/** A service port as routes name it. */
export interface RoutedPort {
  readonly kind: RouteParent["kind"];
  readonly namespace: string;
  /** Of the Service, or of the ServiceEntry whatever its hosts. */
  readonly name: string;
  /** The port of the Service, not of the workload. */
  readonly port: number;
  readonly portName: string;
}

/** How routes name a port of a service. */
export function routedPort({ namespace, name, entry }: Service, port: ServicePort): RoutedPort {
  const own = { namespace, port: port.port, portName: port.name };
  return entry === undefined ? { kind: "service", name, ...own } : { kind: "entry", name: entry.name, ...own };
}

/** The compiled routes of one service port. */
export class ServiceRoutes {
  readonly #producer: RouteGroup | undefined;
  readonly #consumers: ReadonlyMap<string, RouteGroup>;

  /** @param routes those attached to `port`: see `RouteIndex.attachedTo` */
  constructor(port: Pick<RoutedPort, "namespace">, routes: readonly HttpRoute[]) {
    const byNamespace = new Map<string, HttpRoute[]>();
    for (const route of routes) append(byNamespace, route.namespace, route);
    const groups = new Map<string, RouteGroup>();
    for (const [namespace, own] of byNamespace) groups.set(namespace, new RouteGroup(mostSpecific(own)));
    this.#producer = groups.get(port.namespace);
    groups.delete(port.namespace);
    this.#consumers = groups;
  }

  /**
   * The routes for callers of one namespace: those which that namespace has written for itself, else the service's own.
   * `undefined`: none is attached, requests go to the service's endpoints.
   *
   * @param callerNamespace of the caller's proved identity; `undefined` when its identity names none
   */
  forCaller(callerNamespace: string | undefined): RouteGroup | undefined {
    const own = callerNamespace === undefined ? undefined : this.#consumers.get(callerNamespace);
    return own ?? this.#producer;
  }

  /** A namespace has written routes for itself. */
  isOwn(callerNamespace: string | undefined): boolean {
    return callerNamespace !== undefined && this.#consumers.has(callerNamespace);
  }
}

/** All routes of a snapshot, those of HTTP or those of connections, by the service that they are attached to. */
export class RouteIndex<Route extends Pick<HttpRoute, "parents">> {
  readonly #byParent = new Map<string, Route[]>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      for (const key of new Set(route.parents.map(parentKey))) append(this.#byParent, key, route);
    }
  }

  /** The routes with a parent reference to that service port, or to the whole service. */
  attachedTo(port: RoutedPort): Route[] {
    const key = parentKey(port);
    const attached = this.#byParent.get(key) ?? [];
    return attached.filter((route) =>
      route.parents.some(
        (parent) =>
          parentKey(parent) === key &&
          (parent.port === undefined || parent.port === port.port) &&
          (parent.sectionName === undefined || parent.sectionName === port.portName),
      ),
    );
  }
}

/** The more specific kind rejects the other on the same port: a namespace with GRPCRoutes there has no HTTPRoutes. */
function mostSpecific(routes: readonly HttpRoute[]): readonly HttpRoute[] {
  const grpc = routes.filter(({ kind }) => kind === "GRPCRoute");
  return grpc.length === 0 ? routes : grpc;
}

function parentKey({ kind, namespace, name }: Pick<RouteParent, "kind" | "namespace" | "name">): string {
  return `${kind} ${namespace}/${name}`;
}

function append<Route>(lists: Map<string, Route[]>, key: string, route: Route): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [route]);
  else list.push(route);
}
