// Pure. Decides whether a connection or a request may pass. The one maker of `Permit`.
//
// A decision is made in two steps. `resolvePeer` answers, once per connection, everything that the connection alone
// can answer; what is left over are the request parts of the rules that still stand. `decideResolved` then asks only
// those, per request, without allocating. A decision on a connection is the same with nothing left over.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { ConnectionFacts, RequestFacts } from "./authorization.ts";
import type { CompiledPolicies, CompiledPolicy, CompiledRequestPart, CompiledRule, Layer } from "./compile.ts";
import { portMismatch, requestMismatch, sourceMismatch, viewPeer } from "./match.ts";
import type { PeerView } from "./match.ts";

declare const permitBrand: unique symbol;

/** Proof that policy lets a connection or request pass. Dialling an application takes one. */
export interface Permit {
  readonly allowed: true;
  /** `namespace/name` of the ALLOW policy that decided; empty when no ALLOW policy applies. */
  readonly policy: string;
  /** `rules[n]` of that policy; empty when no ALLOW policy applies. */
  readonly rule: string;
  /** What dry-run policies would have done. */
  readonly dryRun: readonly string[];
  readonly [permitBrand]: true;
}

/** Policy refuses. */
export interface Denial {
  readonly allowed: false;
  /** The policy that refuses; empty when ALLOW policies exist and none of them matches. */
  readonly policy: string;
  readonly rule: string;
  /** DENIED_BY_POLICY or POLICY_NOT_UNDERSTOOD. */
  readonly failure: Failure;
  readonly dryRun: readonly string[];
}

/** A rule that the connection has not refuted. */
interface StandingRule {
  readonly policy: string;
  readonly rule: string;
  /** What is left to ask of a request, any of which suffices; `undefined`: nothing, the rule matches. */
  readonly parts: readonly CompiledRequestPart[] | undefined;
  readonly outcome: Permit | Denial;
}

/** A dry-run policy with the rules of it that still stand. */
interface StandingDryRun {
  readonly uid: string;
  readonly action: "ALLOW" | "DENY";
  readonly rules: readonly StandingRule[];
}

/** What is left of the policies for the requests of one connection. Opaque: made by `resolvePeer`, asked by `decideResolved`. */
export interface ResolvedPeer {
  /** The answer to every request, when the connection alone settles it. */
  readonly settled: Permit | Denial | undefined;
  readonly deny: readonly StandingRule[];
  readonly allow: readonly StandingRule[];
  /** The answer when no rule matches. */
  readonly otherwise: Permit | Denial;
  readonly dryRun: readonly StandingDryRun[];
  /** Refusals of dry-run policies that are not understood; the same for every request. */
  readonly dryRefusals: readonly string[];
}

const NOTHING: readonly string[] = [];

/** Decides on a connection. Rules that ask for a request are read the strict way (see `standing`). */
export function decide(compiled: CompiledPolicies, facts: ConnectionFacts): Permit | Denial {
  return decideResolved(resolve(compiled, facts, "l4"), undefined);
}

/** Decides on one request of a connection. For more than one request, resolve the peer once. */
export function decideRequest(
  compiled: CompiledPolicies,
  facts: ConnectionFacts,
  request: RequestFacts,
): Permit | Denial {
  return decideResolved(resolvePeer(compiled, facts), request);
}

/** Answers what the connection alone answers. The result holds for these policies and this connection. */
export function resolvePeer(compiled: CompiledPolicies, facts: ConnectionFacts): ResolvedPeer {
  return resolve(compiled, facts, compiled.layer);
}

/**
 * Decides on a request of a resolved connection: DENY first, then ALLOW (Istio AuthorizationPolicy). Allocates nothing
 * unless a dry-run policy applies. `request` is `undefined` only for a connection resolved at layer l4.
 */
export function decideResolved(peer: ResolvedPeer, request: RequestFacts | undefined): Permit | Denial {
  const decision = peer.settled ?? firstMatch(peer, request);
  if (peer.dryRun.length === 0 && peer.dryRefusals.length === 0) return decision;
  return { ...decision, dryRun: dryRunOutcomes(peer, request) };
}

function firstMatch(peer: ResolvedPeer, request: RequestFacts | undefined): Permit | Denial {
  for (const rule of peer.deny) if (matches(rule, request)) return rule.outcome;
  for (const rule of peer.allow) if (matches(rule, request)) return rule.outcome;
  return peer.otherwise;
}

function matches(rule: StandingRule, request: RequestFacts | undefined): boolean {
  if (rule.parts === undefined) return true;
  if (request === undefined) return false;
  for (const part of rule.parts) if (requestMismatch(part, request) === undefined) return true;
  return false;
}

function resolve(compiled: CompiledPolicies, facts: ConnectionFacts, layer: Layer): ResolvedPeer {
  const view = viewPeer(facts, compiled.trustDomain, compiled.aliases);
  const dryRun: StandingDryRun[] = [];
  const standingOf = (policies: readonly CompiledPolicy[]): StandingRule[] => {
    const found: StandingRule[] = [];
    for (const policy of policies) {
      const rules = standingRules(policy, view, layer);
      if (policy.dryRun) dryRun.push({ uid: policy.uid, action: policy.action, rules });
      else found.push(...rules);
    }
    return found;
  };
  const deny = standingOf(compiled.deny);
  const allow = standingOf(compiled.allow);
  const otherwise = compiled.allow.some((policy) => !policy.dryRun)
    ? denial("", "", fail("DENIED_BY_POLICY", "allow policies exist, but none allowed"))
    : permit("", "");
  return {
    settled: settle(compiled, deny, allow, otherwise),
    deny,
    allow,
    otherwise,
    dryRun,
    dryRefusals: compiled.notUnderstood
      .filter((policy) => policy.dryRun)
      .map((policy) => `${policy.uid} would deny: not understood: ${policy.reason}`),
  };
}

/** The answer that no request can change, if there is one. */
function settle(
  compiled: CompiledPolicies,
  deny: readonly StandingRule[],
  allow: readonly StandingRule[],
  otherwise: Permit | Denial,
): Permit | Denial | undefined {
  const refusing = compiled.notUnderstood.find((policy) => !policy.dryRun);
  if (refusing !== undefined) {
    return denial(refusing.uid, "", fail("POLICY_NOT_UNDERSTOOD", `${refusing.uid}: ${refusing.reason}`));
  }
  if (deny.length > 0) return deny[0]?.parts === undefined ? deny[0]?.outcome : undefined;
  if (allow.length > 0) return allow[0]?.parts === undefined ? allow[0]?.outcome : undefined;
  return otherwise;
}

function standingRules(policy: CompiledPolicy, view: PeerView, layer: Layer): StandingRule[] {
  const found: StandingRule[] = [];
  for (const rule of policy.rules) {
    const parts = standing(rule, policy.action, view, layer);
    if (parts === "refuted") continue;
    const outcome =
      policy.action === "ALLOW"
        ? permit(policy.uid, rule.name)
        : denial(policy.uid, rule.name, fail("DENIED_BY_POLICY", `explicitly denied by: ${policy.uid} ${rule.name}`));
    found.push({ policy: policy.uid, rule: rule.name, parts, outcome });
  }
  return found;
}

/**
 * What a rule still asks of a request after the connection has had its say. At layer l4 there is no request to ask: an
 * ALLOW rule that needs one can never match, and a DENY rule takes the request part as matching, so that what cannot be
 * checked is refused.
 */
function standing(
  rule: CompiledRule,
  action: "ALLOW" | "DENY",
  view: PeerView,
  layer: Layer,
): readonly CompiledRequestPart[] | undefined | "refuted" {
  if (layer === "l4" && rule.needsRequest && action === "ALLOW") return "refuted";
  if (rule.from.length > 0 && !rule.from.some((source) => sourceMismatch(source, view, action) === undefined)) {
    return "refuted";
  }
  if (rule.to.length === 0) return undefined;
  const parts: CompiledRequestPart[] = [];
  for (const operation of rule.to) {
    if (portMismatch(operation, view.destinationPort) !== undefined) continue;
    if (operation.request === undefined || layer === "l4") return undefined;
    parts.push(operation.request);
  }
  return parts.length === 0 ? "refuted" : parts;
}

function dryRunOutcomes(peer: ResolvedPeer, request: RequestFacts | undefined): readonly string[] {
  const outcomes = [...peer.dryRefusals];
  const unmatchedAllows: string[] = [];
  let allowed = peer.allow.some((rule) => matches(rule, request));
  for (const policy of peer.dryRun) {
    const rule = policy.rules.find((candidate) => matches(candidate, request));
    if (policy.action === "DENY") {
      if (rule !== undefined) outcomes.push(`${policy.uid} would deny: ${rule.rule}`);
    } else if (rule === undefined) {
      unmatchedAllows.push(`${policy.uid} would deny: no rule matches`);
    } else {
      allowed = true;
      outcomes.push(`${policy.uid} would allow: ${rule.rule}`);
    }
  }
  if (!allowed) outcomes.push(...unmatchedAllows);
  return outcomes.length === 0 ? NOTHING : outcomes;
}

function permit(policy: string, rule: string): Permit {
  return { allowed: true, policy, rule, dryRun: NOTHING } as Permit;
}

function denial(policy: string, rule: string, failure: Failure): Denial {
  return { allowed: false, policy, rule, failure, dryRun: NOTHING };
}
