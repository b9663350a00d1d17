// Pure. HTTPRoutes and GRPCRoutes joined with what they name: HTTPFilters, and the Services and hosts behind their backends.
import type { Directory } from "../../workload/directory.ts";
import { backendService } from "../cross-check.ts";
import type { BackendRef, HttpRoute, HttpRouteBackend, HttpRouteFilter, HttpRouteRule } from "../http-route.ts";
import { ofKind } from "../resources/of-kind.ts";
import type {
  FilterDraft,
  HttpBackendDraft,
  HttpFilterResource,
  GrpcRouteResource,
  HttpRouteResource,
  HttpRuleDraft,
  Resource,
} from "../resources/resource.ts";
import type { Problem } from "../snapshot.ts";
import type { TlsPorts } from "./join-backend-tls.ts";
import { ReferenceCheck } from "./reference-check.ts";

const EXCLUDE = "an answer of its own and backendRefs exclude each other";

/** Joins the routes. Nothing that is missing opens a way: its share of the requests fails. */
export function joinHttpRoutes(
  resources: readonly Resource[],
  directory: Directory,
  tls: TlsPorts,
  problems: Problem[],
): readonly HttpRoute[] {
  const filters = new Map(
    ofKind(resources, "HTTPFilter").map((filter) => [`${filter.metadata.namespace}/${filter.metadata.name}`, filter]),
  );
  const routes: HttpRoute[] = [];
  for (const resource of [...ofKind(resources, "HTTPRoute"), ...ofKind(resources, "GRPCRoute")]) {
    const join = new RouteJoin(resource, directory, filters, tls, problems);
    routes.push({ ...resource.route, rules: resource.route.rules.map((rule, index) => join.rule(rule, index)) });
  }
  return routes;
}

/** One route among the others. */
class RouteJoin {
  readonly #resource: HttpRouteResource | GrpcRouteResource;
  readonly #directory: Directory;
  readonly #filters: ReadonlyMap<string, HttpFilterResource>;
  readonly #tls: TlsPorts;
  readonly #check: ReferenceCheck;

  constructor(
    resource: HttpRouteResource | GrpcRouteResource,
    directory: Directory,
    filters: ReadonlyMap<string, HttpFilterResource>,
    tls: TlsPorts,
    problems: Problem[],
  ) {
    this.#tls = tls;
    this.#resource = resource;
    this.#directory = directory;
    this.#filters = filters;
    this.#check = new ReferenceCheck(resource, directory, problems);
  }

  rule(draft: HttpRuleDraft, index: number): HttpRouteRule {
    const path = `spec.rules[${index}]`;
    const filters = this.#resolve(draft.filters);
    const backends = draft.backends.map((backend, at) => this.#backend(backend, `${path}.backendRefs[${at}]`));
    const exclude = backends.length > 0 && filters.known.some(({ kind }) => kind === "answer");
    if (exclude) this.#check.report(`${path}.filters`, EXCLUDE, "IncompatibleFilters");
    const reason = filters.missing ?? (exclude ? `${path}.filters: ${EXCLUDE}` : undefined);
    return { ...draft, filters: filters.known, backends, notUnderstood: draft.notUnderstood ?? reason };
  }

  #backend(draft: HttpBackendDraft, path: string): HttpRouteBackend {
    const { known, missing } = this.#resolve(draft.filters);
    const invalid = this.#check.unserved(draft, path) ?? this.#unspoken(draft, path) ?? missing;
    return { ...draft, filters: known, invalid };
  }

  /** A port that wants TLS gets it by a policy; plain HTTP would be no use there. */
  #unspoken(backend: BackendRef, path: string): string | undefined {
    const service = backendService(backend, this.#directory);
    const port = service?.ports.find((candidate) => candidate.port === backend.port);
    if (service === undefined || port?.appProtocol !== "tls" || this.#tls(service, port)) return undefined;
    const reason = `port ${backend.port} of ${service.uid} speaks TLS, and no BackendTLSPolicy says how to check it`;
    this.#check.report(path, reason, "UnsupportedProtocol");
    return reason;
  }

  /** Filters with those of the resources that they name in place of the names; one that is missing is told, and never skipped. */
  #resolve(drafts: readonly FilterDraft[]): { known: HttpRouteFilter[]; missing: string | undefined } {
    const known: HttpRouteFilter[] = [];
    let missing: string | undefined;
    for (const draft of drafts) {
      if (draft.kind === "extension") {
        const uid = `${this.#resource.metadata.namespace}/${draft.name}`;
        const filter = this.#filters.get(uid);
        const reason = filter === undefined ? `there is no HTTPFilter ${uid}` : filter.notUnderstood;
        if (reason !== undefined) {
          missing ??= `${draft.path}: ${reason}`;
          this.#check.report(draft.path, reason, "BackendNotFound");
        }
        known.push(...(filter?.filters ?? []));
      } else if (draft.kind === "mirror") {
        // A copy that can go nowhere is not made; the request itself is none the worse for it.
        const invalid = this.#check.unserved(draft.backend, draft.path);
        const { kind, backend, numerator, denominator } = draft;
        if (invalid === undefined) known.push({ kind, backend, numerator, denominator });
      } else known.push(draft);
    }
    return { known, missing };
  }
}
