// Pure. Why a request goes where it goes, or why it is refused: the same code that decides, asked for its reasons. Serves
// the command and the admin port alike.
import type { HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { explain as explainPolicies } from "@culvert/shared/policy/explain.ts";
import type { Explanation } from "@culvert/shared/service/explain-command.ts";
import { canonicalHost } from "./canonical/host.ts";
import { canonicalTarget } from "./canonical/target.ts";
import type { CanonicalTarget } from "./exchange-services.ts";
import { candidatesOf } from "./explain/candidates.ts";
import { describeFilter, describeMatch, describeRule } from "./explain/describe-rule.ts";
import { filteredOf, type FilteredQuestion } from "./explain/filtered.ts";
import { readQuestion, type Asked, type RequestQuestion } from "./explain/question.ts";
import { grpcContentType } from "./grpc/content-type.ts";
import { describeDestination, gatewayUid, protocolOf, type Destination } from "./mesh/destination.ts";
import { ConnectionGuard } from "./mesh/guard.ts";
import type { MeshView } from "./mesh/view.ts";
import { describeStanding } from "./mesh/own-placement.ts";
import type { RoutedRequest, RoutedRule } from "./route/entry.ts";
import type { RouteGroup } from "./route/route-group.ts";
import type { StreamGroup } from "./route/stream-routes.ts";
import type { EndpointGroup } from "./upstream/balance.ts";
import type { Reach } from "./upstream/endpoints.ts";

/** What has been found out so far: for people a line a step, for programs by name. */
class Account {
  readonly steps: string[] = [];
  readonly facts: Record<string, unknown> = {};

  note(step: string): void {
    this.steps.push(step);
  }
}

/** Explains one request: a line a step, the last of them the outcome. A failure is a question that cannot be read. */
export function explainRequest(view: MeshView, question: RequestQuestion): Explanation | Failure {
  const asked = readQuestion(view.self, question);
  if (isFailure(asked)) return asked;
  const account = new Account();
  const outcome = follow(view, asked, account);
  const isGrpc = grpcContentType(asked.headers.get("content-type") ?? "") !== undefined;
  const text = isFailure(outcome) ? failureText(outcome, isGrpc) : outcome;
  account.note(`=> ${text}`);
  account.facts["outcome"] = isFailure(outcome)
    ? { text, code: outcome.code, status: outcome.traits.httpStatus, grpc_status: outcome.traits.grpcStatus }
    : { text };
  return account;
}

function follow(view: MeshView, asked: Asked, account: Account): string | Failure {
  const { caller } = asked;
  const namespace = caller.namespace ?? "none of this trust domain";
  account.facts["caller"] = { id: caller.id ?? null, namespace: caller.namespace ?? null };
  account.note(
    `asked by ${caller.id ?? "a caller of whom nothing is known"}; short names are read in namespace ${namespace}`,
  );
  const destination = view.destination(asked.authority, caller);
  if (isFailure(destination)) return destination;
  const protocol = protocolOf(destination);
  const gateway = gatewayUid(view.self.gateway);
  account.facts["destination"] = { text: describeDestination(destination), protocol, waypoint: gateway };
  account.note(`${describeDestination(destination)}, declared ${protocol}, behind waypoint ${gateway}`);
  account.note(describeStanding(view.snapshot.directory, view.self));
  const host = canonicalHost(asked.headers.get("host") ?? `${asked.authority.host}:${asked.authority.port}`);
  if (isFailure(host)) return host;
  const target = canonicalTarget(asked.method, asked.target, host, view.self.pathNormalization);
  if (isFailure(target)) return target;
  account.facts["request"] = { ...target };
  account.note(`decided and forwarded as ${target.method} ${target.path}${target.query}, host ${target.host}`);
  const opaque = protocol === "tcp" || protocol === "tls";
  const denied = authorize(view, destination, asked.facts, opaque ? undefined : target, account);
  if (denied !== undefined) return denied;
  const streams = opaque ? view.streamRoutes(destination, caller.namespace) : undefined;
  if (streams !== undefined) return byStreamRoute(view, streams, host.hostname, account);
  const group = opaque ? undefined : view.routes(destination, caller.namespace);
  if (group === undefined) {
    account.note("no route is attached for this caller: requests go to the destination's own endpoints");
    const own = view.group(destination);
    return isFailure(own) ? own : endpointsOf(own, opaque ? "passed through as TCP" : "forwarded", account);
  }
  return byRoute(view, group, { ...asked, target, hostname: host.hostname, port: asked.authority.port }, account);
}

/** The refusal, if there is one. */
function authorize(
  view: MeshView,
  destination: Destination,
  facts: ConnectionFacts,
  target: CanonicalTarget | undefined,
  account: Account,
): Failure | undefined {
  const guard = view.guard(destination);
  let asked = 0;
  for (const policies of guard.policies) {
    for (const policy of explainPolicies(policies, facts, target).policies) {
      asked += 1;
      account.note(`${policy.action} policy ${policy.policy}${policy.dryRun ? " (dry run)" : ""}: ${policy.why}`);
      for (const rule of policy.rules) if (!rule.matched) account.note(`  ${rule.rule}: ${rule.why}`);
    }
  }
  if (asked === 0) account.note("no policy names this destination or this Gateway: everything is allowed");
  const connection = new ConnectionGuard(guard, facts);
  const decision = target === undefined ? connection.decideConnection() : connection.decideRequest(target);
  const { allowed, policy, rule } = decision;
  account.facts["policy"] = { allowed, policy: policy || null, rule: rule || null };
  if (!decision.allowed) return decision.failure;
  if (decision.policy !== "") account.note(`allowed by ${decision.policy} ${decision.rule}`);
  return undefined;
}

function byRoute(view: MeshView, group: RouteGroup, question: FilteredQuestion, account: Account): string | Failure {
  const { target, hostname } = question;
  const headers = group.headerNames.map((name) => question.headers.get(name));
  const request = { method: target.method, hostname, path: target.path, query: target.query, headers };
  const routed = group.find(request);
  noteCandidates(group, request, isFailure(routed) ? undefined : routed, account);
  if (isFailure(routed)) return routed;
  account.note(`route ${routed.route.uid}, ${routed.name}, matched by ${describeMatch(routed.match)}`);
  const does = describeRule(routed.rule);
  for (const text of does) account.note(`  ${text}`);
  const { kind, uid } = routed.route;
  account.facts["route"] = { kind, uid, rule: routed.name, match: describeMatch(routed.match), does };
  const own = filteredOf(routed, question, undefined);
  if (isFailure(own)) return own;
  if (own.answer !== undefined) return answerText(own.answer.status, own.answer.fields);
  return toBackends(view, routed, question, account);
}

/** Each backend with its share of the requests. */
function toBackends(
  view: MeshView,
  routed: RoutedRule,
  question: FilteredQuestion,
  account: Account,
): string | Failure {
  const outcomes: string[] = [];
  const facts: object[] = [];
  account.facts["backends"] = facts;
  for (const { backend, share } of sharesOf(routed.rule.backends)) {
    const from = account.steps.length;
    const outcome = toBackend(view, routed, question, backend, account);
    const text = isFailure(outcome) ? failureText(outcome, false) : outcome;
    outcomes.push(`${share} ${text}`);
    const name = `${backend.namespace}/${backend.name}:${backend.port}`;
    facts.push({ backend: name, weight: backend.weight, share, text, steps: account.steps.slice(from) });
  }
  return togetherOf(outcomes);
}

/** The backends that get something, each with its share in words. */
function sharesOf<Backend extends { readonly weight: number }>(
  backends: readonly Backend[],
): { readonly backend: Backend; readonly share: string }[] {
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  return backends
    .filter(({ weight }) => weight > 0)
    .map((backend) => ({ backend, share: `${Math.round((backend.weight / total) * 1_000) / 10} %` }));
}

function togetherOf(outcomes: readonly string[]): string | Failure {
  return outcomes.length === 0 ? fail("BACKEND_INVALID", "no backend has a weight") : outcomes.join("; ");
}

function toBackend(
  view: MeshView,
  routed: RoutedRule,
  question: FilteredQuestion,
  backend: HttpRouteBackend,
  account: Account,
): string | Failure {
  for (const filter of backend.filters) account.note(`  for ${backend.name}: ${describeFilter(filter)}`);
  const filtered = filteredOf(routed, question, backend);
  if (isFailure(filtered)) return filtered;
  if (filtered.answer !== undefined) return answerText(filtered.answer.status, filtered.answer.fields);
  if (filtered.sentAs !== undefined) account.note(`  sent on as ${filtered.sentAs}`);
  const group = backend.invalid === undefined ? view.backend(backend) : fail("BACKEND_INVALID", backend.invalid);
  return isFailure(group) ? group : endpointsOf(group, "forwarded", account);
}

function noteCandidates(
  group: RouteGroup,
  request: RoutedRequest,
  taken: RoutedRule | undefined,
  account: Account,
): void {
  const { shown, more } = candidatesOf(group, request, taken);
  account.facts["candidates"] = { shown, more };
  for (const { route, rule, host, match, why } of shown) {
    if (why.length > 0)
      account.note(`not ${route}, ${rule} (${host === undefined ? "" : `host ${host}, `}${match}): ${why.join("; ")}`);
  }
  if (more > 0) account.note(`not ${more} other matches`);
}

/** A connection that is passed through, whose server name would be the host that was asked for. */
function byStreamRoute(view: MeshView, group: StreamGroup, serverName: string, account: Account): string | Failure {
  const routed = group.find(group.needsServerName ? serverName : undefined);
  if (isFailure(routed)) return routed;
  account.note(`${routed.route.kind} ${routed.route.uid}, ${routed.name}`);
  account.facts["route"] = { kind: routed.route.kind, uid: routed.route.uid, rule: routed.name };
  const outcomes: string[] = [];
  for (const { backend, share } of sharesOf(routed.rule.backends)) {
    const found =
      backend.invalid === undefined ? view.streamBackend(backend) : fail("BACKEND_INVALID", backend.invalid);
    const outcome = isFailure(found) ? found : endpointsOf(found, "passed through", account);
    const text = isFailure(outcome) ? failureText(outcome, false) : outcome;
    outcomes.push(`${share} ${text}`);
  }
  return togetherOf(outcomes);
}

function endpointsOf(group: EndpointGroup, verb: string, account: Account): string | Failure {
  const { endpoints, first } = group;
  for (const endpoint of endpoints) {
    const { workload, address, reach } = endpoint;
    const rank = first.includes(endpoint) ? "" : ", when none in the own pod can be reached";
    account.note(`endpoint ${workload.uid} at ${address}, ${describeReach(reach)}${rank}`);
  }
  if (endpoints.length === 0) return fail("NO_HEALTHY_UPSTREAM", group.name);
  const among = first.length === 1 ? "its one endpoint" : "the less busy of two of its endpoints";
  if (first.length < endpoints.length) return `${verb} to ${group.name}, in the own pod ${among}`;
  return `${verb} to ${group.name}, ${among}`;
}

function describeReach(reach: Reach): string {
  if (reach.kind === "tunnel") return `tunnel, expecting ${reach.expected}`;
  return reach.kind === "plain" ? "plain TCP (not in the mesh)" : "plain TCP to what the name then resolves to";
}

/** What the rule says by itself, with where it sends the client. */
function answerText(status: number, fields: string): string {
  const location = /^location: ([^\r]*)/im.exec(fields)?.[1];
  return `${status}, answered by the route${location === undefined ? "" : `: location ${location}`}`;
}

function failureText(failure: Failure, isGrpc: boolean): string {
  const { httpStatus, grpcStatus } = failure.traits;
  return `${isGrpc ? `gRPC status ${grpcStatus}` : httpStatus}, ${failure.code}: ${failure.toString()}`;
}
