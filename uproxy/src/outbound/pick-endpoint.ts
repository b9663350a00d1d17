// Pure but for chance. Which of several endpoints the next connection goes to.
import type { Endpoint, Share } from "./hop.ts";

/** What is known of endpoints beside the resources. */
export interface Standing {
  /** Tunnels in flight to an endpoint. */
  inFlight(endpoint: Endpoint): number;
  /** Whether it may be chosen: it does not fail. */
  mayUse(endpoint: Endpoint): boolean;
}

/** The share that a connection falls to, by weight. The choice is made once: the tries of one connection stay in it. */
export function pickShare(shares: readonly [Share, ...Share[]], random: () => number = Math.random): Share {
  let at = random() * shares.reduce((total, { weight }) => total + weight, 0);
  let [picked] = shares;
  for (const share of shares) {
    picked = share;
    at -= share.weight;
    if (at < 0) break;
  }
  return picked;
}

/** A choice, and whether it is an endpoint that should be left out because nothing better is left. */
export interface Choice {
  readonly endpoint: Endpoint;
  readonly lastResort: boolean;
}

/** The endpoints of one destination, nearest first. Immutable. */
export class EndpointGroup {
  readonly endpoints: readonly Endpoint[];
  readonly #tiers: readonly Tier[];

  /** @param distanceOf smaller is nearer; endpoints that are equally far stand in for each other before others do */
  constructor(endpoints: readonly Endpoint[], distanceOf: (endpoint: Endpoint) => number = () => 0) {
    this.endpoints = endpoints;
    const tiers = new Map<number, Endpoint[]>();
    for (const endpoint of endpoints) {
      const distance = distanceOf(endpoint);
      const tier = tiers.get(distance);
      if (tier === undefined) tiers.set(distance, [endpoint]);
      else tier.push(endpoint);
    }
    this.#tiers = [...tiers].toSorted(([one], [other]) => one - other).map(([, members]) => new Tier(members));
  }

  /**
   * Power of two choices among the nearest that may be used: two are drawn by their weight, and the one with fewer tunnels in
   * flight for its weight wins (Mitzenmacher 2001). Endpoints in `tried` are never chosen; `undefined` when no other is left.
   */
  pick(tried: readonly Endpoint[], standing: Standing, random: () => number = Math.random): Choice | undefined {
    const mayUse = (endpoint: Endpoint): boolean => !tried.includes(endpoint) && standing.mayUse(endpoint);
    for (const tier of this.#tiers) {
      // Nearly always both may be used, and nobody has to look at all of them.
      const endpoint = tier.drawTwo(standing, random, mayUse) ?? tier.only(mayUse)?.drawTwo(standing, random, anyone);
      if (endpoint !== undefined) return { endpoint, lastResort: false };
    }
    const left = this.endpoints.filter((endpoint) => !tried.includes(endpoint));
    const endpoint = left.length === 0 ? undefined : new Tier(left).drawTwo(standing, random, anyone);
    return endpoint && { endpoint, lastResort: true };
  }
}

/** Endpoints that are equally far; never empty. */
class Tier {
  readonly #members: readonly Endpoint[];
  /** Sum of the weights up to and with each member; `undefined` when all weigh the same, and an index is drawn instead. */
  readonly #sums: readonly number[] | undefined;

  constructor(members: readonly Endpoint[]) {
    this.#members = members;
    const [first] = members;
    const isEven = members.every(({ workload }) => workload.weight === first?.workload.weight);
    let sum = 0;
    if (!isEven) this.#sums = members.map(({ workload }) => (sum += workload.weight));
  }

  /** The less busy of two; `undefined` when neither of the two may be used. */
  drawTwo(standing: Standing, random: () => number, mayUse: (endpoint: Endpoint) => boolean): Endpoint | undefined {
    const members = this.#members;
    const firstAt = this.#draw(random, -1);
    const first = members[firstAt] as Endpoint;
    if (members.length === 1) return mayUse(first) ? first : undefined;
    const second = members[this.#draw(random, firstAt)] as Endpoint;
    const usable = mayUse(first);
    if (!mayUse(second)) return usable ? first : undefined;
    if (!usable) return second;
    const { weight } = first.workload;
    return standing.inFlight(second) * weight < standing.inFlight(first) * second.workload.weight ? second : first;
  }

  /** Those that may be used; `undefined` when there is none. */
  only(mayUse: (endpoint: Endpoint) => boolean): Tier | undefined {
    const usable = this.#members.filter(mayUse);
    return usable.length === 0 ? undefined : new Tier(usable);
  }

  /** Draws the index of a member by weight, other than `without`. */
  #draw(random: () => number, without: number): number {
    const sums = this.#sums;
    const { length } = this.#members;
    if (sums === undefined) {
      const index = Math.floor(random() * (without < 0 ? length : length - 1));
      return without >= 0 && index >= without ? index + 1 : index;
    }
    const start = without > 0 ? (sums[without - 1] as number) : 0;
    const width = without < 0 ? 0 : (sums[without] as number) - start;
    let at = random() * ((sums[length - 1] as number) - width);
    if (without >= 0 && at >= start) at += width;
    let [low, high] = [0, length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at < (sums[middle] as number)) high = middle;
      else low = middle + 1;
    }
    // Where all the rest weigh nothing, the draw falls on the one that is to be left out.
    return low === without ? (low + 1) % length : low;
  }
}

function anyone(): boolean {
  return true;
}
