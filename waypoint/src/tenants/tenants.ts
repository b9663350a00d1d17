// Machine. The tenants of a waypoint, which are the namespaces of its callers or their accounts, and what each of them holds: requests,
// bodies that are kept, copies of requests, dials. One that floods meets its own share and nobody else does.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { type SpiffeId, type TrustDomain, trustDomainOf, workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { PoolUser } from "@culvert/shared/tunnel/pool-shares.ts";
import { Pool, Share } from "./share.ts";

/** How callers are told apart, and what there is for all of them together. */
export interface TenantLimits {
  readonly by: "namespace" | "account";
  /** Requests in flight, and connections that are passed through. */
  readonly requests: number;
  /** Bodies that are kept to be sent again, or wait for copies. */
  readonly heldBytes: number;
}

/** What holds when the configuration says nothing else. */
export const DEFAULT_TENANT_LIMITS: TenantLimits = {
  by: "namespace",
  // One tenant alone gets half, as many as the tunnels that one identity may hold.
  requests: 32_768,
  // Five hundred bodies of the largest size that is kept; half of them for one tenant alone.
  heldBytes: 32 * 1024 * 1024,
};

/** Copies on their way, of all tenants: half of them for one tenant alone. */
const MOST_COPIES = 2_000;

/** Names of the outside that are being resolved, for all tenants: each costs a socket and a question. */
const MOST_NAMES = 64;

/** Tenants that hold nothing and are remembered, for the sake of their counters. */
const MOST_IDLE = 1_024;

/** What was refused to a tenant since it is remembered. */
export interface Refused {
  requests: number;
  bodies: number;
  copies: number;
  connections: number;
}

/** One tenant. To the tunnels' pool it is one of its users. */
export class Tenant implements PoolUser {
  readonly name: string;
  /** Kept by `Tenants`; whoever holds one that is not asks for it anew. */
  isKept = true;
  readonly requests: Share;
  readonly heldBytes: Share;
  readonly copies: Share;
  /** Names of the outside that are being resolved for it. */
  readonly names: Share;
  dials = 0;
  waiting = 0;
  readonly refused: Refused = { requests: 0, bodies: 0, copies: 0, connections: 0 };

  constructor(name: string, pools: Pools) {
    this.name = name;
    this.requests = new Share(pools.requests);
    this.heldBytes = new Share(pools.heldBytes);
    this.copies = new Share(pools.copies);
    this.names = new Share(pools.names);
  }

  /** One more request; `requests.give(1)` is owed unless it fails with TENANT_OVER_SHARE. */
  begin(): Failure | undefined {
    if (this.requests.take(1)) return undefined;
    this.refused.requests += 1;
    return fail("TENANT_OVER_SHARE", `${this.requests.used} requests of ${this.name} in flight`);
  }

  /** Keeps `bytes` more of bodies; `false`: there is no room, and they are not to be kept. */
  hold(bytes: number): boolean {
    if (this.heldBytes.take(bytes)) return true;
    this.refused.bodies += 1;
    return false;
  }

  /** One more copy; `copies.give(1)` is owed unless it is `false`. */
  beginCopy(): boolean {
    if (this.copies.take(1)) return true;
    this.refused.copies += 1;
    return false;
  }

  get isIdle(): boolean {
    const held = this.requests.used + this.heldBytes.used + this.copies.used + this.names.used;
    return held + this.dials + this.waiting === 0;
  }
}

interface Pools {
  readonly requests: Pool;
  readonly heldBytes: Pool;
  readonly copies: Pool;
  readonly names: Pool;
}

/** All tenants of a process. */
export class Tenants {
  readonly #by: TenantLimits["by"];
  readonly #pools: Pools;
  readonly #tenants = new Map<string, Tenant>();

  constructor({ by, requests, heldBytes }: TenantLimits = DEFAULT_TENANT_LIMITS) {
    this.#by = by;
    this.#pools = {
      requests: new Pool(requests),
      heldBytes: new Pool(heldBytes),
      copies: new Pool(MOST_COPIES),
      names: new Pool(MOST_NAMES),
    };
  }

  /** Whose requests those of a caller are. `domain` is our own trust domain: names of others have theirs before them. */
  of(caller: SpiffeId, domain: TrustDomain): Tenant {
    return this.#named(tenantName(caller, domain, this.#by));
  }

  /** The same tenant, or its successor. */
  again(tenant: Tenant): Tenant {
    return tenant.isKept ? tenant : this.#named(tenant.name);
  }

  [Symbol.iterator](): Iterator<Tenant> {
    return this.#tenants.values();
  }

  #named(name: string): Tenant {
    let tenant = this.#tenants.get(name);
    if (tenant === undefined) {
      if (this.#tenants.size >= MOST_IDLE) this.#forgetIdle();
      tenant = new Tenant(name, this.#pools);
      this.#tenants.set(name, tenant);
    }
    return tenant;
  }

  #forgetIdle(): void {
    for (const [name, tenant] of this.#tenants) {
      if (!tenant.isIdle) continue;
      tenant.isKept = false;
      this.#tenants.delete(name);
    }
  }
}

/** `namespace`, or `namespace/account`; of another trust domain with that and a slash before it. */
export function tenantName(caller: SpiffeId, domain: TrustDomain, by: TenantLimits["by"]): string {
  const theirs = trustDomainOf(caller);
  const workload = workloadOf(caller);
  const name =
    workload === undefined
      ? ""
      : by === "namespace"
        ? workload.namespace
        : `${workload.namespace}/${workload.serviceAccount}`;
  return theirs === domain ? name : `${theirs}/${name}`;
}
