// Pure. Why a decision came out as it did: every policy that applies, every rule, and the field that refuted it.
import type { ConnectionFacts, RequestFacts } from "./authorization.ts";
import type { CompiledOperation, CompiledPolicies, CompiledPolicy, CompiledRule } from "./compile.ts";
import { decide, decideRequest } from "./decide.ts";
import type { Denial, Permit } from "./decide.ts";
import { portMismatch, requestMismatch, sourceMismatch, viewPeer } from "./match.ts";
import type { PeerView } from "./match.ts";

/** What one rule said. */
export interface RuleExplanation {
  readonly rule: string;
  readonly matched: boolean;
  /** For a rule that did not match, the field of each entry that refuted it. */
  readonly why: string;
}

/** What one policy said. */
export interface PolicyExplanation {
  /** `namespace/name`. */
  readonly policy: string;
  readonly action: "ALLOW" | "DENY";
  /** Decided, not enforced. */
  readonly dryRun: boolean;
  readonly matched: boolean;
  readonly why: string;
  readonly rules: readonly RuleExplanation[];
}

/** A decision with its reasons, policies in the order in which they are asked. */
export interface Explanation {
  readonly decision: Permit | Denial;
  readonly policies: readonly PolicyExplanation[];
}

/** Explains the decision on a connection (`request` undefined) or on a request of it. */
export function explain(
  compiled: CompiledPolicies,
  facts: ConnectionFacts,
  request: RequestFacts | undefined,
): Explanation {
  const asked = compiled.layer === "l7" ? request : undefined;
  const view = viewPeer(facts, compiled.trustDomain, compiled.aliases);
  return {
    decision: asked === undefined ? decide(compiled, facts) : decideRequest(compiled, facts, asked),
    policies: [
      ...compiled.notUnderstood.map((policy) => ({
        policy: policy.uid,
        action: "DENY" as const,
        dryRun: policy.dryRun,
        matched: true,
        why: `not understood, so it denies what it selects: ${policy.reason}`,
        rules: [],
      })),
      ...[...compiled.deny, ...compiled.allow].map((policy) => explainPolicy(policy, view, asked)),
    ],
  };
}

function explainPolicy(policy: CompiledPolicy, view: PeerView, request: RequestFacts | undefined): PolicyExplanation {
  const rules = policy.rules.map((rule) => explainRule(rule, policy.action, view, request));
  const hit = rules.find((rule) => rule.matched);
  const miss = policy.rules.length === 0 ? "has no rules, so it matches nothing" : "no rule matches";
  return {
    policy: policy.uid,
    action: policy.action,
    dryRun: policy.dryRun,
    matched: hit !== undefined,
    why: hit === undefined ? miss : `${hit.rule} matches`,
    rules,
  };
}

function explainRule(
  rule: CompiledRule,
  action: "ALLOW" | "DENY",
  view: PeerView,
  request: RequestFacts | undefined,
): RuleExplanation {
  if (request === undefined && rule.needsRequest && action === "ALLOW") {
    return refuted(rule, "asks for an HTTP field, which a connection cannot answer: an ALLOW rule then never matches");
  }
  const from = rule.from.map((source) => sourceMismatch(source, view, action));
  if (from.length > 0 && !from.includes(undefined)) return refuted(rule, fields("from", from));
  const to = rule.to.map((operation) => operationMismatch(operation, view, request));
  if (to.length > 0 && !to.includes(undefined)) return refuted(rule, fields("to", to));
  const widened = request === undefined && rule.needsRequest;
  return {
    rule: rule.name,
    matched: true,
    why: widened ? "matches; HTTP fields cannot be checked here and a DENY rule takes them as matching" : "matches",
  };
}

function operationMismatch(
  operation: CompiledOperation,
  view: PeerView,
  request: RequestFacts | undefined,
): string | undefined {
  const port = portMismatch(operation, view.destinationPort);
  if (port !== undefined || operation.request === undefined || request === undefined) return port;
  return requestMismatch(operation.request, request);
}

function refuted(rule: CompiledRule, why: string): RuleExplanation {
  return { rule: rule.name, matched: false, why };
}

function fields(list: string, mismatches: readonly (string | undefined)[]): string {
  return mismatches.map((field, index) => `${list}[${index}].${field} does not hold`).join("; ");
}
