// Root. `node test/bench/pick-endpoint.ts`: nanoseconds for the choice of an endpoint, by number of endpoints, their weights
// and what is known of them.
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { Ejections } from "../../uproxy/src/outbound/ejections.ts";
import { EndpointGroup, type Standing } from "../../uproxy/src/outbound/pick-endpoint.ts";
import type { Endpoint } from "../../uproxy/src/outbound/hop.ts";
import { ip, workload } from "../support/fixtures.ts";

const PICKS = 300_000;
const ROUNDS = 5;

function endpoints(count: number, weightOf: (index: number) => number): Endpoint[] {
  return Array.from({ length: count }, (_, index) => ({
    workload: workload(`app-${index}`, { weight: weightOf(index) }),
    ip: ip(`10.${index >> 8}.${index & 255}.1`),
    port: 15008,
    authority: `10.${index >> 8}.${index & 255}.1:80`,
    expected: [],
  }));
}

function measure(group: EndpointGroup, standing: Standing): number {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.hrtime.bigint();
    for (let pick = 0; pick < PICKS; pick += 1) group.pick([], standing);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / PICKS);
  }
  return best;
}

const events = { onEjected: () => undefined, onReadmitted: () => undefined, onLastResort: () => undefined };
for (const count of [1, 3, 100, 1_000]) {
  const line: string[] = [];
  for (const [name, weightOf] of [
    ["even", () => 1],
    ["weighted", (index: number) => 1 + (index % 3)],
  ] as const) {
    const all = endpoints(count, weightOf);
    const group = new EndpointGroup(all);
    const ejections = new Ejections(DEFAULT_TUNNEL_LIMITS, systemClock, events);
    const standing: Standing = { inFlight: () => 0, mayUse: (endpoint) => ejections.mayUse(endpoint) };
    line.push(`${name} ${measure(group, standing).toFixed(0)} ns`);
    for (const endpoint of all.slice(0, 1)) {
      for (let time = 0; time < 3; time += 1) ejections.failed(endpoint, all, fail("PEER_REFUSED", ""));
    }
    line.push(`one ejected ${measure(group, standing).toFixed(0)} ns`);
  }
  process.stdout.write(`${String(count).padStart(5)} endpoints: ${line.join(", ")}\n`);
}
