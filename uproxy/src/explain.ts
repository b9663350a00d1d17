// Pure. Why a connection goes where it goes, or why it may not come in: the same code that decides, asked for its
// reasons. Serves the command and the admin port alike.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseSpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, parseIp } from "@culvert/shared/net/ip.ts";
import { splitHostPort } from "@culvert/shared/net/listen-address.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { explain as explainPolicies } from "@culvert/shared/policy/explain.ts";
import type { Waypoint } from "@culvert/shared/workload/workload.ts";
import { modeOfPort } from "@culvert/shared/policy/peer-authentication.ts";
import { keyOf, type Ejections } from "./outbound/ejections.ts";
import { describeNearness, nearestOf } from "./outbound/nearness.ts";
import type { Choices, Destination, UnknownDestinations } from "./outbound/hop.ts";
import { resolve } from "./outbound/resolve.ts";
import { judge, type UproxyState } from "./state.ts";

/** An explanation: one line a step, the last of them the outcome. */
export type Explained = readonly string[];

/** Explains where a connection of the own app to `HOST:PORT` goes. */
export function explainOutbound(
  state: UproxyState,
  to: string,
  unknown: UnknownDestinations,
  ejections?: Ejections,
): Explained | Failure {
  const destination = parseDestination(to);
  if (isFailure(destination)) return destination;
  const steps: string[] = [];
  const workload = isFailure(state.workload) ? state.workload.toString() : state.workload.uid;
  steps.push(`asked by ${state.id} (${workload}); short names are read in namespace ${state.self.namespace}`);
  const hop = resolve(state.snapshot, state.self, destination, unknown, (step) => steps.push(step));
  if (isFailure(hop)) return [...steps, `=> refused, ${hop.code}: ${hop.toString()}`];
  if (hop.kind === "passthrough") {
    return [...steps, `=> passed through in plain TCP to ${formatHostPort(hop.host, hop.port)}`];
  }
  const shares = hop.shares ?? [hop];
  for (const choices of shares) steps.push(...explainChoices(state, choices, ejections));
  if (hop.waypoint === undefined) steps.push(...explainRefusals(hop));
  if (hop.shares !== undefined) {
    return [...steps, `=> one of ${shares.length} waypoints by weight, and there the less busy of two instances`];
  }
  const count = nearestOf(state, hop).length;
  const which = count < hop.endpoints.length ? "nearest endpoints" : "endpoints above";
  const among =
    count === 1 ? `the ${which.replace("endpoints", "endpoint")}` : `the less busy of two of the ${count} ${which}`;
  const whose =
    hop.waypoint === undefined ? "" : `, ${count === 1 ? "an instance" : "instances"} of ${placed(hop.waypoint)}`;
  return [...steps, `=> ${among}${whose}`];
}

/** Which of the endpoints above go first, and which are left out. */
function explainChoices(state: UproxyState, choices: Choices, ejections: Ejections | undefined): string[] {
  const steps: string[] = [];
  const nearness = describeNearness(state, choices);
  if (nearness !== undefined) steps.push(nearness);
  const nearest = new Set(nearestOf(state, choices));
  for (const endpoint of choices.endpoints) {
    const ejected = ejections?.describe(endpoint);
    if (ejected !== undefined) steps.push(`endpoint ${endpoint.workload.uid} at ${keyOf(endpoint)} is ${ejected}`);
    if (!nearest.has(endpoint))
      steps.push(`endpoint ${endpoint.workload.uid} is farther: used when no nearer one can be`);
  }
  return steps;
}

/** Which of the endpoints, reached without a waypoint, take nobody but one. */
function explainRefusals({ endpoints }: Choices): string[] {
  return endpoints
    .filter(({ workload }) => workload.requireWaypoint)
    .map(({ workload: { uid } }) => `endpoint ${uid} takes its waypoint only (require-waypoint): WAYPOINT_REQUIRED`);
}

function placed({ namespace, name, placement }: Waypoint): string {
  return `waypoint ${namespace}/${name} (placement ${placement})`;
}

/** The questions of `explainInbound`, as text. */
export interface InboundQuestion {
  /** SPIFFE ID of the caller; `undefined` for a caller without identity. */
  readonly from: string | undefined;
  /** `IP:PORT` of the own app. */
  readonly to: string;
  /** Address of the caller; any when not given. */
  readonly sourceIp: string | undefined;
}

/** Explains which policy and rule would decide about an inbound connection, and how. */
export function explainInbound(state: UproxyState, question: InboundQuestion): Explained | Failure {
  const facts = readFacts(question);
  if (isFailure(facts)) return facts;
  if (isFailure(state.workload)) return state.workload;
  const explanation = explainPolicies(state.policies, facts, undefined);
  const steps = [`${facts.principal ?? "a caller without identity"} to ${state.workload.uid} at ${question.to}`];
  if (facts.principal === undefined) {
    const mode = modeOfPort(state.peerModes, facts.destinationPort);
    steps.push(`PeerAuthentication of port ${facts.destinationPort}: ${mode}`);
  }
  for (const policy of explanation.policies) {
    steps.push(`${policy.action} policy ${policy.policy}${policy.dryRun ? " (dry run)" : ""}: ${policy.why}`);
    for (const rule of policy.rules) if (!rule.matched) steps.push(`  ${rule.rule}: ${rule.why}`);
  }
  if (explanation.policies.length === 0) steps.push("no policy selects this workload");
  const verdict = judge(state, facts);
  const by = [verdict.policy, verdict.rule].filter(Boolean).join(" ");
  if (verdict.allowed) return [...steps, `=> allowed${by === "" ? "" : ` by ${by}`}`];
  return [...steps, `=> denied, ${verdict.failure.code}: ${verdict.failure.toString()}`];
}

/** Reads `HOST:PORT`. Fails with AUTHORITY_MALFORMED. */
export function parseDestination(text: string): Destination | Failure {
  const parts = splitHostPort(text);
  if (parts === undefined || parts.host === "" || parts.port === 0) {
    return fail("AUTHORITY_MALFORMED", `expected HOST:PORT, found "${text}"`);
  }
  const ip = parseIp(parts.host);
  return ip === undefined ? { kind: "name", host: parts.host, port: parts.port } : { kind: "ip", ip, port: parts.port };
}

function readFacts(question: InboundQuestion): ConnectionFacts | Failure {
  const to = splitHostPort(question.to);
  const destinationIp = parseIp(to?.host ?? "");
  if (to === undefined || destinationIp === undefined) {
    return fail("AUTHORITY_MALFORMED", `expected IP:PORT of the own app, found "${question.to}"`);
  }
  const principal = question.from === undefined ? undefined : parseSpiffeId(question.from);
  if (isFailure(principal)) return principal;
  const sourceIp = parseIp(question.sourceIp ?? "0.0.0.0");
  if (sourceIp === undefined) return fail("AUTHORITY_MALFORMED", `not an IP address: "${question.sourceIp}"`);
  return { principal, sourceIp, destinationIp, destinationPort: to.port };
}
