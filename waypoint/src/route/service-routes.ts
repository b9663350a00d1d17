// Pure. Which routes apply to a request for a service port, by the namespace of the caller (GEP-1294).
import type { HttpRoute, RouteParent } from "@culvert/shared/config/http-route.ts";
import type { StreamRoute } from "@culvert/shared/config/stream-route.ts";
import type { Service, ServicePort } from "@culvert/shared/workload/workload.ts";

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
function routedPort({ namespace, name, entry }: Service, port: ServicePort): RoutedPort {
  const own = { namespace, port: port.port, portName: port.name };
  return entry === undefined ? { kind: "service", name, ...own } : { kind: "entry", name: entry.name, ...own };
}

/** Routes of one sort: of requests, or of connections. */
export interface RouteSort<Route extends AttachedRoute, Group> {
  /** The kind that rejects the other on the same port: of a namespace that has some there, these alone apply. */
  readonly specific: Route["kind"];
  /** Makes of routes of one side, producer or consumers of one namespace, what finds one among them. */
  compile(routes: readonly Route[]): Group;
}

type AttachedRoute = Pick<HttpRoute | StreamRoute, "kind" | "namespace" | "parents">;

/** The compiled routes of one service port. */
export class ServiceRoutes<Group> {
  readonly #producer: Group | undefined;
  readonly #consumers: ReadonlyMap<string, Group>;

  constructor(producer: Group | undefined, consumers: ReadonlyMap<string, Group>) {
    this.#producer = producer;
    this.#consumers = consumers;
  }

  /**
   * The routes for callers of one namespace: those which that namespace has written for itself, else the service's own.
   * `undefined`: none is attached, requests and connections go to the service's endpoints.
   *
   * @param callerNamespace of the caller's proved identity; `undefined` when its identity names none
   */
  forCaller(callerNamespace: string | undefined): Group | undefined {
    const own = callerNamespace === undefined ? undefined : this.#consumers.get(callerNamespace);
    return own ?? this.#producer;
  }

  /** A namespace has written routes for itself. */
  isOwn(callerNamespace: string | undefined): boolean {
    return callerNamespace !== undefined && this.#consumers.has(callerNamespace);
  }
}

/** Compiles the routes that are attached to a service port: see `RouteIndex.attachedTo`. */
export function serviceRoutes<Route extends AttachedRoute, Group>(
  port: Pick<RoutedPort, "namespace">,
  routes: readonly Route[],
  sort: RouteSort<Route, Group>,
): ServiceRoutes<Group> {
  const groups = new Map<string, Group>();
  for (const [namespace, own] of Map.groupBy(routes, (route) => route.namespace)) {
    const specific = own.filter(({ kind }) => kind === sort.specific);
    groups.set(namespace, sort.compile(specific.length === 0 ? own : specific));
  }
  const producer = groups.get(port.namespace);
  groups.delete(port.namespace);
  return new ServiceRoutes(producer, groups);
}

/** All routes of one sort in a snapshot, by the service that they are attached to. Compiled at first use, and kept. */
export class RouteIndex<Route extends AttachedRoute, Group> {
  readonly #sort: RouteSort<Route, Group>;
  readonly #byParent = new Map<string, Route[]>();
  readonly #compiled = new Map<string, ServiceRoutes<Group> | undefined>();

  constructor(routes: readonly Route[], sort: RouteSort<Route, Group>) {
    this.#sort = sort;
    for (const route of routes) {
      for (const key of new Set(route.parents.map(parentKey))) append(this.#byParent, key, route);
    }
  }

  /** The routes of a service port; `undefined`: it has none. */
  of(service: Service, port: ServicePort): ServiceRoutes<Group> | undefined {
    if (this.#byParent.size === 0) return undefined;
    const key = `${service.uid}:${port.port}`;
    if (!this.#compiled.has(key)) {
      const routed = routedPort(service, port);
      const attached = this.attachedTo(routed);
      this.#compiled.set(key, attached.length === 0 ? undefined : serviceRoutes(routed, attached, this.#sort));
    }
    return this.#compiled.get(key);
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

function parentKey({ kind, namespace, name }: Pick<RouteParent, "kind" | "namespace" | "name">): string {
  return `${kind} ${namespace}/${name}`;
}

function append<Route>(lists: Map<string, Route[]>, key: string, route: Route): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [route]);
  else list.push(route);
}
