// Pure. Which routes apply to a request for a service port, by the namespace of the caller (GEP-1294).
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import { RouteGroup } from "./route-group.ts";

/** A service port as routes name it. */
export interface RoutedPort {
  readonly namespace: string;
  readonly name: string;
  /** The port of the Service, not of the workload. */
  readonly port: number;
}

/** The compiled routes of one service port. */
export class ServiceRoutes {
  readonly #producer: RouteGroup | undefined;
  readonly #consumers: ReadonlyMap<string, RouteGroup>;

  /** @param routes those attached to `port`: see `RouteIndex.attachedTo` */
  constructor(port: RoutedPort, routes: readonly HttpRoute[]) {
    const byNamespace = new Map<string, HttpRoute[]>();
    for (const route of routes) append(byNamespace, route.namespace, route);
    const groups = new Map<string, RouteGroup>();
    for (const [namespace, own] of byNamespace) groups.set(namespace, new RouteGroup(own));
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
}

/** All routes of a snapshot by the service that they are attached to. */
export class RouteIndex {
  readonly #byService = new Map<string, HttpRoute[]>();

  constructor(routes: readonly HttpRoute[]) {
    for (const route of routes) {
      for (const uid of new Set(route.parents.map((parent) => `${parent.namespace}/${parent.name}`))) {
        append(this.#byService, uid, route);
      }
    }
  }

  /** The routes with a parent reference to that service port, or to the whole service. */
  attachedTo(port: RoutedPort): HttpRoute[] {
    const attached = this.#byService.get(`${port.namespace}/${port.name}`) ?? [];
    return attached.filter((route) =>
      route.parents.some(
        (parent) =>
          parent.namespace === port.namespace &&
          parent.name === port.name &&
          (parent.port === undefined || parent.port === port.port),
      ),
    );
  }
}

function append(lists: Map<string, HttpRoute[]>, key: string, route: HttpRoute): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [route]);
  else list.push(route);
}
