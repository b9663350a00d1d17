// Types. AuthorizationPolicy as Culvert understands it (security.istio.io/v1), after parsing and before compiling, and
// the facts that a decision is made from.
import type { SpiffeId } from "../identity/spiffe-id.ts";
import type { Cidr, Ip } from "../net/ip.ts";

/** How one string of a policy is compared: `abc` exact, `abc*` prefix, `*abc` suffix, `*` presence. */
export interface StringMatch {
  readonly kind: "exact" | "prefix" | "suffix" | "presence";
  readonly value: string;
}

/** `rules[].from[].source`: fields AND, values of one field OR, each `not…` list NOR. An absent field is `undefined`. */
export interface PolicySource {
  readonly principals?: readonly StringMatch[];
  readonly notPrincipals?: readonly StringMatch[];
  readonly namespaces?: readonly StringMatch[];
  readonly notNamespaces?: readonly StringMatch[];
  readonly ipBlocks?: readonly Cidr[];
  readonly notIpBlocks?: readonly Cidr[];
}

/** `rules[].to[].operation`. Hosts, methods and paths exist at L7 only. */
export interface PolicyOperation {
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly hosts?: readonly StringMatch[];
  readonly notHosts?: readonly StringMatch[];
  readonly methods?: readonly StringMatch[];
  readonly notMethods?: readonly StringMatch[];
  readonly paths?: readonly StringMatch[];
  readonly notPaths?: readonly StringMatch[];
}

/** One rule: any `from` AND any `to`; an empty list matches everything. */
export interface PolicyRule {
  readonly from: readonly PolicySource[];
  readonly to: readonly PolicyOperation[];
}

/** What a policy applies to. */
export type PolicyTarget =
  /** Every workload of the policy's namespace, or of the mesh when that is the root namespace. */
  | { readonly kind: "namespace" }
  /** Workloads that carry all labels; enforced by their uproxy. */
  | { readonly kind: "selector"; readonly labels: ReadonlyMap<string, string> }
  /** Services, ServiceEntries or Gateways by name; enforced by the waypoint. */
  | { readonly kind: "refs"; readonly refs: readonly PolicyTargetRef[] };

/** One entry of `spec.targetRefs`. */
export interface PolicyTargetRef {
  readonly kind: "Service" | "ServiceEntry" | "Gateway";
  readonly name: string;
}

/** One AuthorizationPolicy. */
export interface AuthorizationPolicy {
  /** `namespace/name`. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly action: "ALLOW" | "DENY";
  /** Annotation `istio.io/dry-run`: decided and logged, not enforced. */
  readonly dryRun: boolean;
  readonly target: PolicyTarget;
  readonly rules: readonly PolicyRule[];
  /**
   * Set when the resource holds what Culvert does not understand: the policy then denies everything that it selects,
   * and this text names file, line, field and expectation.
   */
  readonly notUnderstood: string | undefined;
}

/** PeerAuthentication (security.istio.io/v1): whether plaintext may come in. */
export interface PeerAuthentication {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** `undefined`: the whole namespace, or the mesh when in the root namespace. */
  readonly selector: ReadonlyMap<string, string> | undefined;
  readonly mode: "STRICT" | "PERMISSIVE" | "DISABLE" | "UNSET";
  readonly portModes: ReadonlyMap<number, "STRICT" | "PERMISSIVE" | "DISABLE" | "UNSET">;
  readonly notUnderstood: string | undefined;
}

/** The facts of one connection that a policy may ask for. */
export interface ConnectionFacts {
  /** The identity proved by mutual TLS; `undefined` for plaintext. */
  readonly principal: SpiffeId | undefined;
  readonly sourceIp: Ip;
  readonly destinationIp: Ip | undefined;
  readonly destinationPort: number;
}

/** The facts of one request, for L7 decisions; `host` and `path` are canonical, the very strings that are forwarded. */
export interface RequestFacts {
  readonly method: string;
  /** `:authority` with its port if one was sent, lower case. */
  readonly host: string;
  /** Normalized path without query. */
  readonly path: string;
}
