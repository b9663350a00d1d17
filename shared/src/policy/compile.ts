// Pure. The policies of one enforcement point, turned once per snapshot into the form that decisions are made from.
import type { TrustDomain } from "../identity/spiffe-id.ts";
import type { Cidr } from "../net/ip.ts";
import type { AuthorizationPolicy, PolicyOperation, PolicyRule, PolicySource } from "./authorization.ts";
import { stringSet } from "./string-set.ts";
import type { StringSet } from "./string-set.ts";

const NO_ALIASES: ReadonlySet<TrustDomain> = new Set();

/** Where a decision is made: on connections alone (uproxy, TCP in a waypoint), or on requests too. */
export type Layer = "l4" | "l7";

/** One `from` entry: all fields must hold. */
export interface CompiledSource {
  readonly principals: StringSet | undefined;
  readonly notPrincipals: StringSet | undefined;
  readonly namespaces: StringSet | undefined;
  readonly notNamespaces: StringSet | undefined;
  readonly ipBlocks: readonly Cidr[];
  readonly notIpBlocks: readonly Cidr[];
}

/** What one `to` entry asks of a request: all fields must hold. */
export interface CompiledRequestPart {
  readonly hosts: StringSet | undefined;
  readonly notHosts: StringSet | undefined;
  readonly methods: StringSet | undefined;
  readonly notMethods: StringSet | undefined;
  readonly paths: StringSet | undefined;
  readonly notPaths: StringSet | undefined;
}

/** One `to` entry, split into what the connection answers and what only a request can. */
export interface CompiledOperation {
  readonly ports: readonly number[];
  readonly notPorts: readonly number[];
  /** `undefined`: the entry asks nothing of a request. */
  readonly request: CompiledRequestPart | undefined;
}

/** One rule: any `from` (or none given) and any `to` (or none given). */
export interface CompiledRule {
  /** `rules[2]`: where it stands in the resource. */
  readonly name: string;
  readonly from: readonly CompiledSource[];
  readonly to: readonly CompiledOperation[];
  /** Some `to` asks something of a request. */
  readonly needsRequest: boolean;
}

/** One policy that is understood. */
export interface CompiledPolicy {
  readonly uid: string;
  readonly action: "ALLOW" | "DENY";
  readonly dryRun: boolean;
  readonly rules: readonly CompiledRule[];
}

/** A policy that is not understood and therefore refuses everything. */
export interface RefusingPolicy {
  readonly uid: string;
  readonly dryRun: boolean;
  /** Field and expectation, as the parser said it. */
  readonly reason: string;
}

/** All policies of one enforcement point. Immutable. */
export interface CompiledPolicies {
  readonly layer: Layer;
  readonly trustDomain: TrustDomain | undefined;
  /** Trust domains whose names are names of `trustDomain`. */
  readonly aliases: ReadonlySet<TrustDomain>;
  readonly notUnderstood: readonly RefusingPolicy[];
  readonly deny: readonly CompiledPolicy[];
  readonly allow: readonly CompiledPolicy[];
}

/**
 * Compiles the policies that apply (`applies.ts` chooses them) for decisions at `layer`.
 *
 * `trustDomain` is the proxy's own. A policy's `namespaces` are namespaces of that domain; with it given, a caller of a
 * federated domain cannot be allowed by bearing the name of one of them, and a DENY by namespace takes such a caller as
 * possibly meant: unsure is always the stricter side. Without it, namespaces are compared by name alone, as Istio does.
 * Names in one of its `aliases` are the same names: a policy means both by either, in every field.
 */
export function compilePolicies(
  policies: readonly AuthorizationPolicy[],
  layer: Layer,
  trustDomain?: TrustDomain,
  aliases: ReadonlySet<TrustDomain> = NO_ALIASES,
): CompiledPolicies {
  const notUnderstood: RefusingPolicy[] = [];
  const deny: CompiledPolicy[] = [];
  const allow: CompiledPolicy[] = [];
  for (const policy of policies) {
    if (policy.notUnderstood !== undefined) {
      notUnderstood.push({ uid: policy.uid, dryRun: policy.dryRun, reason: policy.notUnderstood });
      continue;
    }
    (policy.action === "DENY" ? deny : allow).push({
      uid: policy.uid,
      action: policy.action,
      dryRun: policy.dryRun,
      rules: policy.rules.map(compileRule),
    });
  }
  return { layer, trustDomain, aliases, notUnderstood, deny, allow };
}

function compileRule(rule: PolicyRule, index: number): CompiledRule {
  const to = rule.to.map(compileOperation);
  return {
    name: `rules[${index}]`,
    from: rule.from.map(compileSource),
    to,
    needsRequest: to.some((operation) => operation.request !== undefined),
  };
}

function compileSource(source: PolicySource): CompiledSource {
  return {
    principals: stringSet(source.principals),
    notPrincipals: stringSet(source.notPrincipals),
    namespaces: stringSet(source.namespaces),
    notNamespaces: stringSet(source.notNamespaces),
    ipBlocks: source.ipBlocks ?? [],
    notIpBlocks: source.notIpBlocks ?? [],
  };
}

function compileOperation(operation: PolicyOperation): CompiledOperation {
  const request: CompiledRequestPart = {
    hosts: stringSet(operation.hosts, true),
    notHosts: stringSet(operation.notHosts, true),
    methods: stringSet(operation.methods),
    notMethods: stringSet(operation.notMethods),
    paths: stringSet(operation.paths),
    notPaths: stringSet(operation.notPaths),
  };
  const asks = Object.values(request).some((set) => set !== undefined);
  return {
    ports: operation.ports ?? [],
    notPorts: operation.notPorts ?? [],
    request: asks ? request : undefined,
  };
}
