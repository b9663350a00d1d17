// Pure. What one snapshot and one identity mean to this uproxy: who it is, which policies hold, who may call it.
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import {
  homeName,
  trustDomainOf,
  workloadOf,
  type SpiffeId,
  type TrustDomain,
} from "@culvert/shared/identity/spiffe-id.ts";
import { formatBaggage } from "@culvert/shared/tunnel/headers.ts";
import { policiesForWorkload } from "@culvert/shared/policy/applies.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { compilePolicies, type CompiledPolicies } from "@culvert/shared/policy/compile.ts";
import { decide, type Denial, type Permit } from "@culvert/shared/policy/decide.ts";
import {
  effectiveModes,
  modeOfPort,
  PERMISSIVE_MODES,
  type PeerModes,
} from "@culvert/shared/policy/peer-authentication.ts";
import type { Directory } from "@culvert/shared/workload/directory.ts";
import { instancesBefore } from "@culvert/shared/workload/placement.ts";
import type { WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";
import { identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import {
  formerWaypoints,
  lateCallers,
  union,
  type Overlap,
  type RequiredWaypoint,
  type Requirement,
} from "./former-waypoints.ts";
import type { Self } from "./outbound/hop.ts";
import { findSelf, type SelfHints } from "./self.ts";

/** Everything that a connection is decided by; one connection sees one state whole. */
export interface UproxyState extends Requirement {
  readonly snapshot: Snapshot;
  readonly id: SpiffeId;
  readonly self: Self;
  /** The workload that this uproxy stands beside; a failure while the resources do not say which it is. */
  readonly workload: Workload | Failure;
  readonly policies: CompiledPolicies;
  /** Whether plaintext may come in, by port. */
  readonly peerModes: PeerModes;
  /** Who the own app is, for the labels of the other end's metrics; by Istio's keys, and never a proof of anything. Written as it is sent. */
  readonly baggage: string;
  /** Trust domains whose names are names of our own. */
  readonly aliases: ReadonlySet<TrustDomain>;
  /** Identities of the waypoints through which callers must come; `undefined`: callers may come directly. */
  readonly requiredCallers: ReadonlySet<SpiffeId> | undefined;
  /** Identities of those that were required until a moment ago, who may come all the same; and who may keep what they have open. */
  readonly lateCallers: ReadonlySet<SpiffeId>;
  readonly keptCallers: ReadonlySet<SpiffeId>;
}

/** The state that another takes the place of. */
export interface Predecessor {
  readonly state: UproxyState;
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  readonly overlap: Overlap;
}

const NOBODY: ReadonlySet<SpiffeId> = new Set();

/** Derives the state. Called on each change of resources or identity, never per connection. */
export function deriveState(
  snapshot: Snapshot,
  identity: Identity,
  hints: Omit<SelfHints, "id">,
  before?: Predecessor,
): UproxyState {
  const { id } = identity.svid;
  const trustDomain = trustDomainOf(id);
  const workload = findSelf(snapshot.directory, { ...hints, id });
  const known = isFailure(workload) ? undefined : workload;
  const applying =
    known === undefined
      ? []
      : policiesForWorkload(snapshot.policies, { namespace: known.namespace, labels: known.labels });
  const required = known === undefined ? undefined : requiredWaypoints(snapshot, known, trustDomain);
  const former = before === undefined || known === undefined ? [] : formerOf(before, snapshot, known, required);
  return {
    snapshot,
    id,
    self: {
      namespace: known?.namespace ?? workloadOf(id)?.namespace ?? "default",
      trustDomain,
      network: known?.network ?? "",
      node: known?.node,
      addresses: known?.addresses ?? [],
    },
    workload,
    aliases: identity.aliases,
    baggage: known === undefined ? "" : baggageOf(known),
    peerModes: known === undefined ? PERMISSIVE_MODES : effectiveModes(snapshot.peerAuthentications, known),
    policies: compilePolicies(applying, "l4", trustDomain, identity.aliases),
    required,
    former,
    requiredCallers: required === undefined ? undefined : union(required),
    lateCallers:
      before === undefined || former.length === 0 ? NOBODY : lateCallers(former, before.nowMs, before.overlap),
    keptCallers: former.length === 0 ? NOBODY : union(former),
  };
}

/**
 * Decides about one inbound connection: whether it may be plaintext, by the policies, and whether it must have come through
 * a waypoint. A caller without identity is plaintext: the tunnel port lets nobody in without one.
 *
 * @param isOpen it was let in before
 */
export function judge(state: UproxyState, facts: ConnectionFacts, isOpen = false): Permit | Denial {
  if (facts.principal === undefined && modeOfPort(state.peerModes, facts.destinationPort) === "STRICT") {
    return refusal("security.istio.io/PeerAuthentication", fail("MTLS_REQUIRED", `port ${facts.destinationPort}`));
  }
  const verdict = decide(state.policies, facts);
  if (!verdict.allowed || state.requiredCallers === undefined) return verdict;
  if (facts.principal !== undefined) {
    const name = homeName(facts.principal, state.self.trustDomain, state.aliases);
    if (state.requiredCallers.has(name) || state.lateCallers.has(name)) return verdict;
    if (isOpen && state.keptCallers.has(name)) return verdict;
  }
  const caller = facts.principal ?? "a caller without identity";
  const required = [...state.requiredCallers].join(", ") || "(no waypoint)";
  return refusal("culvert.dev/require-waypoint", fail("WAYPOINT_REQUIRED", `${caller} is none of ${required}`));
}

function refusal(policy: string, failure: Failure): Denial {
  return { allowed: false, policy, rule: "", dryRun: [], failure };
}

function baggageOf(workload: Workload): string {
  return formatBaggage(
    new Map([
      ["k8s.namespace.name", workload.namespace],
      ["k8s.pod.name", workload.name],
      ["service.name", workload.labels.get("app") ?? workload.name],
      ["service.version", workload.labels.get("version") ?? ""],
    ]),
  );
}

function requiredWaypoints(
  { directory }: Snapshot,
  workload: Workload,
  trustDomain: Self["trustDomain"],
): readonly RequiredWaypoint[] | undefined {
  if (!workload.requireWaypoint) return undefined;
  return directory
    .waypointsBefore(workload)
    .map((ref) => ({ ref, callers: callersOf(ref, directory, workload, trustDomain) }));
}

function callersOf(
  ref: WaypointRef,
  directory: Directory,
  workload: Workload,
  trustDomain: Self["trustDomain"],
): ReadonlySet<SpiffeId> {
  const callers = new Set<SpiffeId>();
  for (const instance of instancesBefore(directory, ref, workload)) {
    const id = identityOfWorkload(instance, trustDomain);
    if (!isFailure(id)) callers.add(id);
  }
  return callers;
}

function formerOf(
  { state, nowMs, overlap }: Predecessor,
  { directory }: Snapshot,
  workload: Workload,
  required: readonly RequiredWaypoint[] | undefined,
): UproxyState["former"] {
  const isTheSame = !isFailure(state.workload) && state.workload.uid === workload.uid;
  if (!isTheSame) return [];
  const { trustDomain } = state.self;
  const instances = (ref: WaypointRef): ReadonlySet<SpiffeId> | undefined =>
    directory.waypoint(ref) === undefined ? undefined : callersOf(ref, directory, workload, trustDomain);
  return formerWaypoints(state, required, instances, nowMs, overlap);
}
