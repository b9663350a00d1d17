// Pure. Where connections of a service port go that are passed through: TCPRoutes, and TLSRoutes by the name of the server.
import type { StreamRoute, StreamRouteRule } from "@culvert/shared/config/stream-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { byAge } from "../mesh/by-age.ts";
import type { RoutedPort } from "./service-routes.ts";

/** The rule that serves a connection. */
export interface RoutedStream {
  readonly route: StreamRoute;
  readonly rule: StreamRouteRule;
  /** Name of the rule, else `rules[0]`. */
  readonly name: string;
}

/** The compiled routes of one service port. */
export class StreamRoutes {
  readonly #namespace: string;
  readonly #byKind: readonly (readonly StreamRoute[])[];
  readonly #groups = new Map<readonly StreamRoute[], Map<string, StreamGroup | undefined>>();

  /** @param routes those attached to `port`: see `RouteIndex.attachedTo` */
  constructor(port: Pick<RoutedPort, "namespace">, routes: readonly StreamRoute[]) {
    this.#namespace = port.namespace;
    this.#byKind = (["TLSRoute", "TCPRoute"] as const).map((kind) => routes.filter((route) => route.kind === kind));
  }

  /**
   * The routes for callers of one namespace: TLSRoutes before TCPRoutes; of one kind those which that namespace has written
   * for itself, else the service's own (GEP-1294). `undefined`: connections go to the service's endpoints.
   *
   * @param callerNamespace of the caller's proved identity; `undefined` when its identity names none
   */
  forCaller(callerNamespace: string | undefined): StreamGroup | undefined {
    for (const routes of this.#byKind) {
      const own = callerNamespace === undefined ? undefined : this.#groupOf(routes, callerNamespace);
      const group = own ?? this.#groupOf(routes, this.#namespace);
      if (group !== undefined) return group;
    }
    return undefined;
  }

  /** Namespaces without routes are not kept: callers may come from any number of them. */
  #groupOf(routes: readonly StreamRoute[], namespace: string): StreamGroup | undefined {
    let groups = this.#groups.get(routes);
    if (groups === undefined) this.#groups.set(routes, (groups = new Map()));
    let group = groups.get(namespace);
    if (group === undefined) {
      const own = routes.filter((route) => route.namespace === namespace);
      if (own.length === 0) return undefined;
      group = new StreamGroup(own);
      groups.set(namespace, group);
    }
    return group;
  }
}

/** Routes of one kind and one side: producer, or consumers of one namespace. */
export class StreamGroup {
  /** They go by the name in the ClientHello: it must be read first. */
  readonly needsServerName: boolean;
  readonly #notUnderstood: Failure | undefined;
  readonly #byName = new Map<string, StreamRoute>();
  /** Suffixes with their leading dot, the longest first. */
  readonly #wildcards: { readonly suffix: string; readonly route: StreamRoute }[] = [];
  readonly #anyName: StreamRoute | undefined;

  constructor(routes: readonly StreamRoute[]) {
    this.needsServerName = routes.some(({ kind }) => kind === "TLSRoute");
    const opaque = routes.find(({ notUnderstood }) => notUnderstood !== undefined);
    this.#notUnderstood =
      opaque === undefined ? undefined : fail("ROUTE_NOT_UNDERSTOOD", `${opaque.uid}: ${opaque.notUnderstood ?? ""}`);
    const byName = new Map<string, StreamRoute>();
    for (const route of routes.filter(({ notUnderstood }) => notUnderstood === undefined).toSorted(byAge)) {
      for (const hostname of route.hostnames.length === 0 ? [""] : route.hostnames) {
        const name = hostname.toLowerCase();
        if (!byName.has(name)) byName.set(name, route);
      }
    }
    for (const [name, route] of byName) {
      if (name === "") this.#anyName = route;
      else if (name.startsWith("*.")) this.#wildcards.push({ suffix: name.slice(1), route });
      else this.#byName.set(name, route);
    }
    this.#wildcards.sort((a, b) => b.suffix.length - a.suffix.length);
  }

  /**
   * The rule of the route with the most particular name: exact, longest wildcard, none; then the oldest, then by
   * `namespace/name`. Else ROUTE_NOT_FOUND, or ROUTE_NOT_UNDERSTOOD, as what no other route serves could be meant for one
   * that is not understood.
   *
   * @param serverName lower case; `undefined` when none was named, which routes without names serve alone
   */
  find(serverName: string | undefined): RoutedStream | Failure {
    const route = (serverName === undefined ? undefined : this.#findByName(serverName)) ?? this.#anyName;
    if (route === undefined) {
      if (this.#notUnderstood !== undefined) return this.#notUnderstood;
      const said = serverName === undefined ? "no server name" : `server name ${serverName}`;
      return fail("ROUTE_NOT_FOUND", `a connection with ${said}`);
    }
    const [rule] = route.rules;
    if (rule === undefined) return fail("BACKEND_INVALID", `${route.uid} has no rule`);
    return { route, rule, name: rule.name ?? "rules[0]" };
  }

  #findByName(serverName: string): StreamRoute | undefined {
    const exact = this.#byName.get(serverName);
    if (exact !== undefined) return exact;
    return this.#wildcards.find(({ suffix }) => serverName.length > suffix.length && serverName.endsWith(suffix))
      ?.route;
  }
}
