// Pure. The authorization of one destination: which policies stand before it, and what they say to one connection.
import { policiesForWaypoint } from "@culvert/shared/policy/applies.ts";
import type { AuthorizationPolicy, ConnectionFacts, RequestFacts } from "@culvert/shared/policy/authorization.ts";
import { compilePolicies, type CompiledPolicies } from "@culvert/shared/policy/compile.ts";
import {
  decide,
  decideResolved,
  resolvePeer,
  type Denial,
  type Permit,
  type ResolvedPeer,
} from "@culvert/shared/policy/decide.ts";
import type { Service } from "@culvert/shared/workload/workload.ts";
import type { WaypointSelf } from "./destination.ts";

/** What decides at one destination. */
export interface Guard {
  /**
   * One set for each service that leads there, the Gateway's own policies in each. All of them must permit: who asks for
   * the address of a workload must not get past what its services refuse.
   */
  readonly policies: readonly CompiledPolicies[];
  /** Some policy asks something that only an HTTP request can answer. */
  readonly needsHttp: boolean;
}

/** Compiles the policies of a destination; `services` is one for a service, any number for a workload. */
export function compileGuard(
  policies: readonly AuthorizationPolicy[],
  self: WaypointSelf,
  services: readonly Service[],
): Guard {
  const targets: readonly (Service | undefined)[] = services.length === 0 ? [undefined] : services;
  const compiled = targets.map((service) =>
    compilePolicies(
      policiesForWaypoint(policies, { gateway: self.gateway, service }),
      "l7",
      self.trustDomain,
      self.aliases,
    ),
  );
  return { policies: compiled, needsHttp: compiled.some(asksForRequests) };
}

function asksForRequests(compiled: CompiledPolicies): boolean {
  return [...compiled.deny, ...compiled.allow].some((policy) => policy.rules.some((rule) => rule.needsRequest));
}

/** The answers of one guard to one connection. The part of the peer is worked out once. */
export class ConnectionGuard {
  readonly #guard: Guard;
  readonly #facts: ConnectionFacts;
  readonly #resolved: readonly ResolvedPeer[];

  constructor(guard: Guard, facts: ConnectionFacts) {
    this.#guard = guard;
    this.#facts = facts;
    this.#resolved = guard.policies.map((policies) => resolvePeer(policies, facts));
  }

  /** The refusal that no request can change, if there is one. */
  get settledDenial(): Denial | undefined {
    for (const { settled } of this.#resolved) if (settled !== undefined && !settled.allowed) return settled;
    return undefined;
  }

  /** Decides on the connection as plain TCP: what asks for HTTP attributes fails closed. */
  decideConnection(): Permit | Denial {
    return allPermit(this.#guard.policies.map((policies) => decide(policies, this.#facts)));
  }

  /** Decides on one request. */
  decideRequest(request: RequestFacts): Permit | Denial {
    const [only, another] = this.#resolved;
    if (only !== undefined && another === undefined) return decideResolved(only, request);
    return allPermit(this.#resolved.map((resolved) => decideResolved(resolved, request)));
  }
}

/** The first refusal; else the permit that names a policy, or any. */
function allPermit(decisions: readonly (Permit | Denial)[]): Permit | Denial {
  const denial = decisions.find((decision) => !decision.allowed);
  const decision = denial ?? decisions.find(({ policy }) => policy !== "") ?? decisions[0];
  if (decision === undefined) throw new Error("a guard without policies to ask");
  return decision;
}
