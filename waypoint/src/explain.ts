// Pure. Why a request goes where it goes, or why it is refused: the same code that decides, asked for its reasons. Serves
// the command and the admin port alike.
import type { HttpRouteMatch } from "@culvert/shared/config/http-route.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { homeName, parseSpiffeId, trustDomainOf, workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { explain as explainPolicies } from "@culvert/shared/policy/explain.ts";
import { parseAuthority, type Authority } from "@culvert/shared/tunnel/authority.ts";
import { canonicalHost } from "./canonical/host.ts";
import { canonicalTarget } from "./canonical/target.ts";
import type { CanonicalTarget } from "./exchange-services.ts";
import { describeDestination, gatewayUid, protocolOf, type Caller, type Destination } from "./mesh/destination.ts";
import { ConnectionGuard } from "./mesh/guard.ts";
import type { MeshView } from "./mesh/view.ts";
import type { RouteGroup } from "./route/route-group.ts";
import type { EndpointGroup } from "./upstream/balance.ts";
import type { Reach } from "./upstream/endpoints.ts";

/** The question, as text. */
export interface RequestQuestion {
  /** `GET http://reviews:9080/x`: method, what the caller dials, path. */
  readonly request: string;
  /** SPIFFE ID of the caller; `undefined` for one of whom nothing is known. */
  readonly from: string | undefined;
  /** Address of the caller; any when not given. */
  readonly sourceIp: string | undefined;
  /** `name: value`, one for each field line. */
  readonly headers: readonly string[];
}

/** The question, read. */
interface Asked {
  readonly method: string;
  readonly authority: Authority;
  readonly target: string;
  readonly caller: Caller;
  readonly facts: ConnectionFacts;
  readonly headers: ReadonlyMap<string, string>;
}

type Note = (step: string) => void;

const REQUEST = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) http:\/\/([^/?#]+)(.*)$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/;

/** Explains one request: a line a step, the last of them the outcome. A failure is a question that cannot be read. */
export function explainRequest(view: MeshView, question: RequestQuestion): readonly string[] | Failure {
  const asked = readQuestion(view, question);
  if (isFailure(asked)) return asked;
  const steps: string[] = [];
  const note: Note = (step) => void steps.push(step);
  const outcome = follow(view, asked, note);
  note(`=> ${isFailure(outcome) ? `${outcome.traits.httpStatus}, ${outcome.code}: ${outcome.toString()}` : outcome}`);
  return steps;
}

function follow(view: MeshView, asked: Asked, note: Note): string | Failure {
  const { caller } = asked;
  const namespace = caller.namespace ?? "none of this trust domain";
  note(`asked by ${caller.id ?? "a caller of whom nothing is known"}; short names are read in namespace ${namespace}`);
  const destination = view.destination(asked.authority, caller);
  if (isFailure(destination)) return destination;
  const protocol = protocolOf(destination);
  note(`${describeDestination(destination)}, declared ${protocol}, behind waypoint ${gatewayUid(view.self.gateway)}`);
  const host = canonicalHost(asked.headers.get("host") ?? `${asked.authority.host}:${asked.authority.port}`);
  if (isFailure(host)) return host;
  const target = canonicalTarget(asked.method, asked.target, host, view.self.pathNormalization);
  if (isFailure(target)) return target;
  note(`decided and forwarded as ${target.method} ${target.path}${target.query}, host ${target.host}`);
  const opaque = protocol === "tcp" || protocol === "tls";
  const denied = authorize(view, destination, asked.facts, opaque ? undefined : target, note);
  if (denied !== undefined) return denied;
  if (opaque) {
    const group = view.group(destination);
    return isFailure(group) ? group : endpointsOf(group, "passed through as TCP", note);
  }
  const group = view.routes(destination, caller.namespace);
  if (group === undefined) {
    note("no route is attached for this caller: requests go to the destination's own endpoints");
    const own = view.group(destination);
    return isFailure(own) ? own : endpointsOf(own, "forwarded", note);
  }
  return byRoute(view, group, asked, target, host.hostname, note);
}

/** The refusal, if there is one. */
function authorize(
  view: MeshView,
  destination: Destination,
  facts: ConnectionFacts,
  target: CanonicalTarget | undefined,
  note: Note,
): Failure | undefined {
  const guard = view.guard(destination);
  let asked = 0;
  for (const policies of guard.policies) {
    for (const policy of explainPolicies(policies, facts, target).policies) {
      asked += 1;
      note(`${policy.action} policy ${policy.policy}${policy.dryRun ? " (dry run)" : ""}: ${policy.why}`);
      for (const rule of policy.rules) if (!rule.matched) note(`  ${rule.rule}: ${rule.why}`);
    }
  }
  if (asked === 0) note("no policy names this destination or this Gateway: everything is allowed");
  const connection = new ConnectionGuard(guard, facts);
  const decision = target === undefined ? connection.decideConnection() : connection.decideRequest(target);
  if (!decision.allowed) return decision.failure;
  if (decision.policy !== "") note(`allowed by ${decision.policy} ${decision.rule}`);
  return undefined;
}

function byRoute(
  view: MeshView,
  group: RouteGroup,
  asked: Asked,
  target: CanonicalTarget,
  hostname: string,
  note: Note,
): string | Failure {
  const headers = group.headerNames.map((name) => asked.headers.get(name));
  const routed = group.find({ method: target.method, hostname, path: target.path, query: target.query, headers });
  if (isFailure(routed)) return routed;
  note(`route ${routed.route.uid}, ${routed.name}, matched by ${describeMatch(routed.match)}`);
  const { backends } = routed.rule;
  const total = backends.reduce((sum, backend) => sum + backend.weight, 0);
  const outcomes: string[] = [];
  for (const backend of backends) {
    if (backend.weight === 0) continue;
    const share = `${Math.round((backend.weight / total) * 1_000) / 10} %`;
    const found = backend.invalid === undefined ? view.backend(backend) : fail("BACKEND_INVALID", backend.invalid);
    const outcome = isFailure(found) ? found : endpointsOf(found, "forwarded", note);
    outcomes.push(
      `${share} ${isFailure(outcome) ? `${outcome.traits.httpStatus}, ${outcome.code}: ${outcome.detail}` : outcome}`,
    );
  }
  return outcomes.length === 0 ? fail("BACKEND_INVALID", "no backend has a weight") : outcomes.join("; ");
}

function endpointsOf(group: EndpointGroup, verb: string, note: Note): string | Failure {
  for (const { workload, address, reach } of group.endpoints) {
    note(`endpoint ${workload.uid} at ${address}, ${describeReach(reach)}`);
  }
  if (group.endpoints.length === 0) return fail("NO_HEALTHY_UPSTREAM", group.name);
  const among = group.endpoints.length === 1 ? "its one endpoint" : "the less busy of two of its endpoints";
  return `${verb} to ${group.name}, ${among}`;
}

function describeReach(reach: Reach): string {
  if (reach.kind === "tunnel") return `tunnel, expecting ${reach.expected}`;
  return reach.kind === "plain" ? "plain TCP (not in the mesh)" : "plain TCP to what the name then resolves to";
}

function describeMatch({ path, method, headers }: HttpRouteMatch): string {
  const parts = [`${path.kind} path ${path.value}`];
  if (method !== undefined) parts.push(`method ${method}`);
  for (const { name, value } of headers) parts.push(`header ${name}: ${value}`);
  return parts.join(", ");
}

function readQuestion(view: MeshView, question: RequestQuestion): Asked | Failure {
  const parts = REQUEST.exec(question.request);
  const [, method, host, rest] = parts ?? [];
  if (method === undefined || host === undefined || rest === undefined) {
    return fail("REQUEST_MALFORMED", `expected 'GET http://host:port/path', found ${JSON.stringify(question.request)}`);
  }
  const authority = parseAuthority(/:\d+$/.test(host) ? host : `${host}:80`);
  if (isFailure(authority)) return authority;
  const id = question.from === undefined ? undefined : parseSpiffeId(question.from);
  if (isFailure(id)) return id;
  const sourceIp = parseIp(question.sourceIp ?? "0.0.0.0");
  if (sourceIp === undefined) return fail("REQUEST_MALFORMED", `not an IP address: ${question.sourceIp ?? ""}`);
  const headers = readHeaders(question.headers);
  if (isFailure(headers)) return headers;
  const { self } = view;
  const isOurs = id !== undefined && trustDomainOf(homeName(id, self.trustDomain, self.aliases)) === self.trustDomain;
  // Without a caller, names are read as the Gateway's neighbours read them.
  const namespace = id === undefined ? self.gateway.namespace : isOurs ? workloadOf(id)?.namespace : undefined;
  return {
    method,
    authority,
    target: rest.startsWith("/") ? rest : `/${rest}`,
    caller: { id, namespace },
    facts: {
      principal: id,
      sourceIp,
      destinationIp: authority.kind === "ip" ? authority.host : undefined,
      destinationPort: authority.port,
    },
    headers,
  };
}

function readHeaders(lines: readonly string[]): ReadonlyMap<string, string> | Failure {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      return fail("REQUEST_MALFORMED", `expected 'name: value', found ${JSON.stringify(line)}`);
    }
    const before = headers.get(name.toLowerCase());
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}
