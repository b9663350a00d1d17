// Pure. What only a waypoint reads of a mesh: routes, and what they refer to. uproxy carries bytes and never loads this.
import type { Directory } from "../../workload/directory.ts";
import type { HttpRoute } from "../http-route.ts";
import type { Kinds } from "../resources/kind-reader.ts";
import type { Resource } from "../resources/resource.ts";
import { parseHttpFilter } from "../resources/route/http-filter.ts";
import { parseHttpRoute } from "../resources/route/http-route.ts";
import type { Problem, Snapshot } from "../snapshot.ts";
import { joinHttpRoutes } from "./join-http-routes.ts";

/** The part of a snapshot that is about routes, with its problems. */
export interface RoutingParts extends Pick<Snapshot, "streamRoutes" | "backendTls"> {
  readonly routes: readonly HttpRoute[];
  readonly problems: readonly Problem[];
}

/** A way to read them. */
export interface Routing {
  readonly kinds: Kinds;
  readonly join: (resources: readonly Resource[], directory: Directory) => RoutingParts;
}

/** All of it. */
export const routing: Routing = {
  kinds: new Map([
    [
      "HTTPRoute",
      {
        group: "gateway.networking.k8s.io",
        versions: ["v1", "v1beta1"],
        malformed: "not-understood",
        read: (metadata, document, report) => parseHttpRoute(metadata, document.fields("spec"), report),
      },
    ],
    [
      "HTTPFilter",
      {
        group: "culvert.dev",
        versions: ["v1alpha1"],
        malformed: "not-understood",
        read: (metadata, document, report) => parseHttpFilter(metadata, document.fields("spec"), report),
      },
    ],
  ]),
  join: (resources, directory) => ({ ...joinHttpRoutes(resources, directory), streamRoutes: [], backendTls: [] }),
};
