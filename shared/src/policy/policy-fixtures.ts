// For tests: policies, connections and requests in few words.
import { ip, policy as usualPolicy } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { parseSpiffeId, parseTrustDomain } from "../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../identity/spiffe-id.ts";
import { parseCidr, type Cidr } from "../net/ip.ts";
import type { AuthorizationPolicy, ConnectionFacts, PolicyRule, RequestFacts, StringMatch } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { decide, decideRequest } from "./decide.ts";

/** Reads one value as the resources write it. */
export function match(text: string): StringMatch {
  if (text === "*") return { kind: "presence", value: "" };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  return { kind: "exact", value: text };
}

/** Several values as the resources write them. */
export const list = (...texts: string[]): StringMatch[] => texts.map(match);

/** A SPIFFE ID that is known to be well-formed. */
export const id = (text: string): SpiffeId => must(parseSpiffeId(text));
/** A trust domain that is known to be well-formed. */
export const domain = (text: string): TrustDomain => must(parseTrustDomain(text));
/** A block that is known to be well-formed. */
export const cidr = (text: string): Cidr => must(parseCidr(text));

/** A policy of namespace `default`, named after its action. */
export function policy(
  action: "ALLOW" | "DENY",
  rules: readonly PolicyRule[],
  more: Partial<AuthorizationPolicy> = {},
): AuthorizationPolicy {
  return usualPolicy(action.toLowerCase(), { action, rules, ...more });
}

/** The rule that matches everything. */
export const EVERYTHING: PolicyRule = { from: [], to: [] };
/** A rule with one `from`. */
export const from = (source: PolicyRule["from"][number]): PolicyRule => ({ from: [source], to: [] });
/** A rule with one `to`. */
export const to = (operation: PolicyRule["to"][number]): PolicyRule => ({ from: [], to: [operation] });

/** The caller of `facts`. */
export const CLIENT = id("spiffe://cluster.local/ns/default/sa/client");

/** A connection of `CLIENT` to port 9080. */
export function facts(more: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    principal: CLIENT,
    sourceIp: ip("10.0.0.7"),
    destinationIp: ip("10.0.0.5"),
    destinationPort: 9080,
    ...more,
  };
}

/** A GET of reviews. */
export function request(more: Partial<RequestFacts> = {}): RequestFacts {
  return { method: "GET", host: "reviews:9080", path: "/reviews/1", ...more };
}

/** Whether a connection may pass. */
export function allowed(policies: readonly AuthorizationPolicy[], connection: ConnectionFacts = facts()): boolean {
  return decide(compilePolicies(policies, "l4"), connection).allowed;
}

/** Whether a request may pass. */
export function allowedRequest(
  policies: readonly AuthorizationPolicy[],
  asked: RequestFacts,
  connection: ConnectionFacts = facts(),
): boolean {
  return decideRequest(compilePolicies(policies, "l7"), connection, asked).allowed;
}
