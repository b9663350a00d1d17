// Pure. Why a request is served as it is: the same code that decides, asked for its reasons. Serves the command and the
// admin port alike.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import {
  parseSpiffeId,
  trustDomainOf,
  workloadId,
  workloadOf,
  type SpiffeId,
} from "@culvert/shared/identity/spiffe-id.ts";
import { UNSPECIFIED_IP } from "@culvert/shared/net/ip.ts";
import { explain as explainPolicies } from "@culvert/shared/policy/explain.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { formatAuthority, parseAuthority, type Authority } from "@culvert/shared/tunnel/authority.ts";
import { canonicalHost, type CanonicalHost } from "./canonical/host.ts";
import { canonicalTarget } from "./canonical/target.ts";
import type { CanonicalTarget } from "./exchange-services.ts";
import { ConnectionGuard } from "./mesh/guard.ts";
import { describeDestination, type Destination } from "./mesh/destination.ts";
import type { MeshView } from "./mesh/view.ts";

/** A question, as text. */
export interface RequestQuestion {
  /** `METHOD http://host[:port]/path`. */
  readonly request: string;
  /** SPIFFE ID of the caller; an identity of the waypoint's own namespace when not given. */
  readonly from: string | undefined;
  /** `name: value`, each. */
  readonly headers: readonly string[];
}

interface Asked {
  readonly authority: Authority;
  readonly host: CanonicalHost;
  readonly target: CanonicalTarget;
  readonly caller: SpiffeId;
  readonly headers: ReadonlyMap<string, string>;
}

const HTTP_PORT = 80;

/** Explains which route, rule, backend and policy would act on a request, one line a step, the last the outcome. */
export function explainRequest(view: MeshView, question: RequestQuestion): readonly string[] | Failure {
  const asked = readQuestion(view, question);
  if (isFailure(asked)) return asked;
  const { authority, target, caller } = asked;
  const callerNamespace = trustDomainOf(caller) === view.self.trustDomain ? workloadOf(caller)?.namespace : undefined;
  const steps = [
    `${caller} asks ${target.method} ${target.path} of ${formatAuthority(authority.host, authority.port)}, Host ${target.host}`,
  ];
  const destination = view.destination(authority, { id: caller, namespace: callerNamespace });
  if (isFailure(destination)) return [...steps, refused(destination)];
  steps.push(`the destination is ${describeDestination(destination)}`);
  const denial = explainAuthorization(view, destination, asked, steps);
  if (denial !== undefined) return [...steps, refused(denial)];
  return [...steps, explainRoute(view, destination, callerNamespace, asked, steps)];
}

function explainAuthorization(
  view: MeshView,
  destination: Destination,
  asked: Asked,
  steps: string[],
): Failure | undefined {
  const guard = view.guard(destination);
  const facts: ConnectionFacts & { readonly principal: SpiffeId } = {
    principal: asked.caller,
    // Addresses of the caller are not asked for: what depends on them does not match.
    sourceIp: UNSPECIFIED_IP,
    destinationIp: asked.authority.kind === "ip" ? asked.authority.host : undefined,
    destinationPort: asked.authority.port,
  };
  for (const policies of guard.policies) {
    for (const policy of explainPolicies(policies, facts, asked.target).policies) {
      steps.push(`${policy.action} policy ${policy.policy}${policy.dryRun ? " (dry run)" : ""}: ${policy.why}`);
      for (const rule of policy.rules) if (!rule.matched) steps.push(`  ${rule.rule}: ${rule.why}`);
    }
  }
  const decision = new ConnectionGuard(guard, facts).decideRequest(asked.target);
  if (!decision.allowed) return decision.failure;
  steps.push(decision.policy === "" ? "no policy stands before it" : `allowed by ${decision.policy} ${decision.rule}`);
  return undefined;
}

function explainRoute(
  view: MeshView,
  destination: Destination,
  callerNamespace: string | undefined,
  asked: Asked,
  steps: string[],
): string {
  const group = view.routes(destination, callerNamespace);
  if (group === undefined) {
    steps.push("no route is attached: requests go to its own endpoints");
    return outcome([["", view.group(destination)]]);
  }
  const routed = group.find({
    method: asked.target.method,
    hostname: asked.host.hostname,
    path: asked.target.path,
    headers: group.headerNames.map((name) => asked.headers.get(name)),
  });
  if (isFailure(routed)) return refused(routed);
  steps.push(`route ${routed.route.uid} ${routed.name} matches`);
  const { backends } = routed.rule;
  const total = backends.reduce((sum, backend) => sum + backend.weight, 0);
  return outcome(
    backends.map((backend) => [
      `${total === 0 ? 0 : Math.round((backend.weight / total) * 1000) / 10} % `,
      backend.invalid === undefined
        ? view.backend(backend)
        : fail("BACKEND_INVALID", `${backend.namespace}/${backend.name}: ${backend.invalid}`),
    ]),
  );
}

function outcome(shares: readonly (readonly [share: string, group: ReturnType<MeshView["group"]>])[]): string {
  if (shares.length === 0) return refused(fail("BACKEND_INVALID", "the rule names no backend"));
  return shares
    .map(([share, group]) => {
      if (isFailure(group)) return refused(group).replace("=> ", `=> ${share}`);
      const endpoints = group.endpoints.map((endpoint) => endpoint.address);
      if (endpoints.length === 0) return refused(fail("NO_HEALTHY_UPSTREAM", group.name)).replace("=> ", `=> ${share}`);
      return `=> ${share}${group.name} (${endpoints.join(", ")})`;
    })
    .join("\n");
}

function refused(failure: Failure): string {
  return `=> ${failure.traits.httpStatus}, ${failure.code}: ${failure.toString()}`;
}

function readQuestion(view: MeshView, question: RequestQuestion): Asked | Failure {
  const parts = /^([A-Z]+) http:\/\/([^/?#\s]+)([/?]\S*)?$/.exec(question.request);
  const [, method, place, path] = parts ?? [];
  if (method === undefined || place === undefined) {
    return fail(
      "REQUEST_MALFORMED",
      `expected METHOD http://host[:port]/path, found ${JSON.stringify(question.request)}`,
    );
  }
  const authority = parseAuthority(/:\d+$/.test(place) ? place : `${place}:${HTTP_PORT}`);
  if (isFailure(authority)) return authority;
  const headers = readHeaders(question.headers);
  if (isFailure(headers)) return headers;
  const host = canonicalHost(headers.get("host") ?? place);
  if (isFailure(host)) return host;
  const target = canonicalTarget(method, path === undefined ? "/" : path.replace(/^\?/, "/?"), host);
  if (isFailure(target)) return target;
  const caller =
    question.from === undefined
      ? workloadId(view.self.trustDomain, view.self.gateway.namespace, "default")
      : parseSpiffeId(question.from);
  return isFailure(caller) ? caller : { authority, host, target, caller, headers };
}

function readHeaders(lines: readonly string[]): ReadonlyMap<string, string> | Failure {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      return fail("REQUEST_MALFORMED", `expected "name: value", found ${JSON.stringify(line)}`);
    }
    const before = headers.get(name.toLowerCase());
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}
