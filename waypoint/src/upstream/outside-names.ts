// Machine. Names of the outside that only the one who asks knows: below a wildcard, or with resolution NONE. They are resolved when a
// connection is made, by sockets and not by threads, so many at once and no more, and kept for a little while. What a resource names
// is resolved beforehand (`config/name-resolver.ts`).
import { Resolver } from "node:dns/promises";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import type { Share } from "../tenants/share.ts";

/** All addresses of a name; rejects when it cannot be resolved. */
export type LookupOutside = (host: string) => Promise<readonly Ip[]>;

/** Names that callers may make us remember. How many are asked for at once is a matter of shares. */
const MOST_KEPT = 1_024;
/** Records tell how long they live, and many say a minute or less; a name that moves is found again this soon. */
const KEPT_MS = 10_000;
/** After a failure: nobody asks the resolvers more often than this about one name. */
const FAILED_MS = 1_000;
const DEADLINE_MS = 5_000;
/** Addresses taken of one answer. */
const MOST_ADDRESSES = 16;

interface Kept {
  readonly answer: readonly Ip[] | Failure;
  readonly until: number;
}

/** See the head of the file. */
export class OutsideNames {
  readonly #clock: Clock;
  readonly #lookup: LookupOutside;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<readonly Ip[] | Failure>>();

  constructor(clock: Clock, lookup: LookupOutside = askResolvers) {
    this.#clock = clock;
    this.#lookup = lookup;
  }

  /**
   * The addresses of a name, the families in turns. Never rejects; fails with NO_HEALTHY_UPSTREAM,
   * DNS_UPSTREAM_FAILED or TENANT_OVER_SHARE.
   *
   * @param share of the names that may be asked for at once, of whoever asks
   */
  addresses(host: string, share: Share): Promise<readonly Ip[] | Failure> {
    const kept = this.#kept.get(host);
    if (kept !== undefined && kept.until > this.#clock.monotonic()) return Promise.resolve(kept.answer);
    const asked = this.#asked.get(host);
    if (asked !== undefined) return asked;
    if (!share.take(1)) return Promise.resolve(fail("TENANT_OVER_SHARE", `${share.used} names are being resolved`));
    const answer = this.#ask(host, share);
    this.#asked.set(host, answer);
    return answer;
  }

  async #ask(host: string, share: Share): Promise<readonly Ip[] | Failure> {
    const late = Promise.withResolvers<never>();
    const deadline = this.#clock.after(DEADLINE_MS, () => late.reject(new Error(`no answer in ${DEADLINE_MS} ms`)));
    let answer: readonly Ip[] | Failure;
    try {
      answer = (await Promise.race([this.#lookup(host), late.promise])).slice(0, MOST_ADDRESSES);
    } catch (error) {
      answer = failureOf(host, error);
    }
    deadline.cancel();
    share.give(1);
    this.#asked.delete(host);
    this.#keep(host, answer);
    return answer;
  }

  #keep(host: string, answer: readonly Ip[] | Failure): void {
    this.#kept.delete(host);
    if (this.#kept.size >= MOST_KEPT) for (const [oldest] of this.#kept.entries().take(1)) this.#kept.delete(oldest);
    this.#kept.set(host, { answer, until: this.#clock.monotonic() + (Array.isArray(answer) ? KEPT_MS : FAILED_MS) });
  }
}

/** A name that is not there, or has no address, is no trouble of the resolvers. */
function failureOf(host: string, error: unknown): Failure {
  const { code, message }: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error));
  const isAnswer = code === "ENOTFOUND" || code === "ENODATA";
  return fail(isAnswer ? "NO_HEALTHY_UPSTREAM" : "DNS_UPSTREAM_FAILED", `${host}: ${message}`);
}

/** By the resolvers of resolv.conf as it is now, which is read for each name; `/etc/hosts` says nothing of the outside. */
async function askResolvers(host: string): Promise<readonly Ip[]> {
  const resolver = new Resolver({ timeout: 1_500, tries: 2 });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  const [ipv4 = [], ipv6 = []] = answers.map((answer) => (answer.status === "fulfilled" ? answer.value : []));
  // In turns, because one family may lead nowhere from here.
  const inTurns = Array.from({ length: Math.max(ipv4.length, ipv6.length) }, (_, index) => [ipv4[index], ipv6[index]]);
  const addresses = inTurns
    .flat()
    .map((text) => parseIp(text ?? ""))
    .filter((ip) => ip !== undefined);
  if (addresses.length > 0) return addresses;
  const failed = answers.find((answer) => answer.status === "rejected");
  throw failed?.reason ?? new Error("the name has no address");
}
