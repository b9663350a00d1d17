// Machine. Metrics of the tenants of a waypoint: what they hold, and what was refused to them.
import type { ObservedValue } from "./metric.ts";
import type { Metrics } from "./metrics.ts";

/** What may be over a share. */
const REFUSED = ["requests", "bodies", "copies", "connections"] as const;

/** One tenant as its numbers are now. */
export interface TenantFacts {
  readonly name: string;
  readonly requests: { readonly used: number };
  readonly heldBytes: { readonly used: number };
  readonly dials: number;
  readonly refused: Readonly<Record<(typeof REFUSED)[number], number>>;
}

/** Tenants with series of their own; the others are one, `other`. */
const MOST_SERIES = 200;

/** Registers them; `tenants` are asked for at a scrape only. */
export function registerTenantMetrics(metrics: Metrics, tenants: Iterable<TenantFacts>): void {
  const each = (read: (tenant: TenantFacts) => number): (() => ObservedValue[]) => {
    return () => summed(tenants, read).map(([name, value]) => [[name], value]);
  };
  metrics.observeAll(
    "culvert_tenant_requests",
    "Requests in flight, and connections that are passed through, by tenant.",
    ["tenant"],
    each((tenant) => tenant.requests.used),
  );
  metrics.observeAll(
    "culvert_tenant_held_bytes",
    "Bodies that are kept to be sent again or wait for copies, by tenant.",
    ["tenant"],
    each((tenant) => tenant.heldBytes.used),
  );
  metrics.observeAll(
    "culvert_tenant_dials",
    "Dials of endpoints' proxies that are under way, by the tenant that they were begun for.",
    ["tenant"],
    each((tenant) => tenant.dials),
  );
  metrics.observeTotals(
    "culvert_tenant_refused_total",
    "What was over a tenant's share: requests that were refused, bodies that were not kept, copies that were not sent, connections to endpoints that were not opened.",
    ["tenant", "what"],
    () =>
      REFUSED.flatMap((what) =>
        summed(tenants, (tenant) => tenant.refused[what])
          .filter(([, value]) => value > 0)
          .map(([name, value]): ObservedValue => [[name, what], value]),
      ),
  );
}

function summed(tenants: Iterable<TenantFacts>, read: (tenant: TenantFacts) => number): [string, number][] {
  const values: [string, number][] = [];
  let others: number | undefined;
  for (const tenant of tenants) {
    if (values.length < MOST_SERIES) values.push([tenant.name, read(tenant)]);
    else others = (others ?? 0) + read(tenant);
  }
  return others === undefined ? values : [...values, ["other", others]];
}
