// Pure. TCPRoutes and TLSRoutes joined with the Services and hosts behind their backends.
import type { Directory } from "../../workload/directory.ts";
import { ofKind } from "../resources/of-kind.ts";
import type { Resource } from "../resources/resource.ts";
import type { Problem } from "../snapshot.ts";
import type { StreamRoute } from "../stream-route.ts";
import { ReferenceCheck } from "./reference-check.ts";

/** Joins the routes, and adds to `problems`. A backend that is missing keeps its share, whose connections fail. */
export function joinStreamRoutes(
  resources: readonly Resource[],
  directory: Directory,
  problems: Problem[],
): readonly StreamRoute[] {
  const routes: StreamRoute[] = [];
  for (const resource of [...ofKind(resources, "TLSRoute"), ...ofKind(resources, "TCPRoute")]) {
    const check = new ReferenceCheck(resource, directory, problems);
    const rules = resource.route.rules.map(({ name, backends }, index) => ({
      name,
      backends: backends.map((backend, at) =>
        Object.assign({}, backend, { invalid: check.unserved(backend, `spec.rules[${index}].backendRefs[${at}]`) }),
      ),
    }));
    routes.push({ ...resource.route, rules });
  }
  return routes;
}
