// Pure. Where connections of a service port go that are passed through: TCPRoutes, and TLSRoutes by the name of the server.
import { byAge } from "@culvert/shared/config/by-age.ts";
import type { StreamRoute, StreamRouteRule } from "@culvert/shared/config/stream-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
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
  readonly #producer: StreamGroup | undefined;
  readonly #consumers: ReadonlyMap<string, StreamGroup>;

  /** @param routes those attached to `port`: see `RouteIndex.attachedTo` */
  constructor(port: Pick<RoutedPort, "namespace">, routes: readonly StreamRoute[]) {
    const groups = new Map<string, StreamGroup>();
    for (const namespace of new Set(routes.map((route) => route.namespace))) {
      groups.set(namespace, new StreamGroup(mostSpecific(routes.filter((route) => route.namespace === namespace))));
    }
    this.#producer = groups.get(port.namespace);
    groups.delete(port.namespace);
    this.#consumers = groups;
  }

  /**
   * The routes for callers of one namespace: those which that namespace has written for itself, else the service's own (GEP-1294).
   * `undefined`: connections go to the service's endpoints.
   *
   * @param callerNamespace of the caller's proved identity; `undefined` when its identity names none
   */
  forCaller(callerNamespace: string | undefined): StreamGroup | undefined {
    const own = callerNamespace === undefined ? undefined : this.#consumers.get(callerNamespace);
    return own ?? this.#producer;
  }

  /** A namespace has written routes for itself. */
  isOwn(callerNamespace: string | undefined): boolean {
    return callerNamespace !== undefined && this.#consumers.has(callerNamespace);
  }
}

/** TLSRoutes reject TCPRoutes on the same port. */
function mostSpecific(routes: readonly StreamRoute[]): readonly StreamRoute[] {
  const byName = routes.filter(({ kind }) => kind === "TLSRoute");
  return byName.length === 0 ? routes : byName;
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
