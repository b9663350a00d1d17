// Pure. Where connections of a service port go that are passed through: TCPRoutes, and TLSRoutes by the name of the server.
import { byAge } from "@culvert/shared/config/by-age.ts";
import type { StreamRoute, StreamRouteRule } from "@culvert/shared/config/stream-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { RouteSort } from "./service-routes.ts";

/** The rule that serves a connection. */
export interface RoutedStream {
  readonly route: StreamRoute;
  readonly rule: StreamRouteRule;
  /** Name of the rule, else `rules[0]`. */
  readonly name: string;
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

/** Routes of connections; a TLSRoute goes before a TCPRoute. */
export const STREAM_ROUTES: RouteSort<StreamRoute, StreamGroup> = {
  specific: "TLSRoute",
  compile: (routes) => new StreamGroup(routes),
};
