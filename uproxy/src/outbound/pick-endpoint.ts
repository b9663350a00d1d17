// Pure but for chance. Which of several endpoints the next connection goes to.
import type { Endpoint, Share } from "./resolve.ts";

/**
 * Power of two choices: two different endpoints are drawn by their weight, the one with fewer tunnels in flight per
 * weight wins (Mitzenmacher 2001). Endpoints in `tried` are left out; `undefined` when none is left.
 */
export function pickEndpoint(
  endpoints: readonly Endpoint[],
  tried: readonly Endpoint[],
  inFlight: (endpoint: Endpoint) => number,
  random: () => number = Math.random,
): Endpoint | undefined {
  const candidates = tried.length === 0 ? endpoints : endpoints.filter((endpoint) => !tried.includes(endpoint));
  if (candidates.length < 2) return candidates[0];
  const first = draw(candidates, undefined, random);
  const second = draw(candidates, first, random);
  return inFlight(second) / second.workload.weight < inFlight(first) / first.workload.weight ? second : first;
}

/** The share that a connection falls to, by weight. The choice is made once: the tries of one connection stay in it. */
export function pickShare(shares: readonly Share[], random: () => number = Math.random): readonly Endpoint[] {
  let at = random() * shares.reduce((total, { weight }) => total + weight, 0);
  for (const share of shares) {
    at -= share.weight;
    if (at < 0) return share.endpoints;
  }
  return shares.at(-1)?.endpoints ?? [];
}

function draw(candidates: readonly Endpoint[], without: Endpoint | undefined, random: () => number): Endpoint {
  let total = 0;
  for (const candidate of candidates) if (candidate !== without) total += candidate.workload.weight;
  let at = random() * total;
  let last = candidates[0] as Endpoint;
  for (const candidate of candidates) {
    if (candidate === without) continue;
    last = candidate;
    at -= candidate.workload.weight;
    if (at < 0) break;
  }
  return last;
}
