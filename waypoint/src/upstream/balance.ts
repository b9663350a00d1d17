// Pure. Which endpoint of a group gets the next request: power of two choices on requests in flight.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { UpstreamEndpoint } from "./endpoints.ts";

const NO_POD: ReadonlySet<Ip> = new Set();

/** The endpoints of one destination. Immutable but for their loads. */
export class EndpointGroup {
  /** `namespace/service:port`, or the workload and its port. */
  readonly name: string;
  readonly endpoints: readonly UpstreamEndpoint[];
  /** Those that go before the others until all of them were tried; all, where nobody goes first. */
  readonly first: readonly UpstreamEndpoint[];
  /** All weights are the same: an index is drawn instead of a share. */
  readonly #even: boolean;

  /** @param pod addresses of the own pod: endpoints there go first */
  constructor(name: string, endpoints: readonly UpstreamEndpoint[], pod: ReadonlySet<Ip> = NO_POD) {
    this.name = name;
    this.endpoints = endpoints;
    const own = pod.size === 0 ? [] : endpoints.filter(({ ip }) => ip !== undefined && pod.has(ip));
    this.first = own.length === 0 ? endpoints : own;
    this.#even = endpoints.every((endpoint) => endpoint.weight === endpoints[0]?.weight);
  }

  /**
   * Draws two endpoints by weight and takes the one with fewer requests in flight for its weight, the first drawn when
   * they are equal, so that an idle group is shared by weight alone (Mitzenmacher, "The power of two choices").
   * NO_HEALTHY_UPSTREAM when every endpoint was tried, or there is none.
   *
   * @param random gives numbers of at least 0 and less than 1
   */
  pick(tried: readonly object[], random: () => number): UpstreamEndpoint | Failure {
    const candidates = tried.length === 0 ? this.first : this.#untried(tried);
    const first = this.#draw(candidates, undefined, random);
    if (first === undefined) {
      return fail("NO_HEALTHY_UPSTREAM", tried.length === 0 ? this.name : `${this.name}: all endpoints were tried`);
    }
    const second = candidates.length === 1 ? undefined : this.#draw(candidates, first, random);
    if (second === undefined) return first;
    return first.load.inFlight * second.weight <= second.load.inFlight * first.weight ? first : second;
  }

  #untried(tried: readonly object[]): readonly UpstreamEndpoint[] {
    const first = this.first.filter((each) => !tried.includes(each));
    return first.length > 0 ? first : this.endpoints.filter((each) => !tried.includes(each));
  }

  /** One of `candidates`, which hold `without` if it is given, other than that one. */
  #draw(
    candidates: readonly UpstreamEndpoint[],
    without: UpstreamEndpoint | undefined,
    random: () => number,
  ): UpstreamEndpoint | undefined {
    if (this.#even) {
      const count = without === undefined ? candidates.length : candidates.length - 1;
      const index = Math.floor(random() * count);
      // The last one stands in for the one that is left out.
      return candidates[index] === without ? candidates.at(-1) : candidates[index];
    }
    let total = 0;
    for (const candidate of candidates) if (candidate !== without) total += candidate.weight;
    let left = random() * total;
    let last: UpstreamEndpoint | undefined;
    for (const candidate of candidates) {
      if (candidate === without) continue;
      last = candidate;
      left -= candidate.weight;
      if (left < 0) break;
    }
    return last;
  }
}
