// Machine. Addresses of a name by the resolvers that the DNS proxy asks, and nobody else: for names that stand for a service of the
// mesh, whose endpoints are what the name means outside of it.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { DnsMetrics } from "@culvert/shared/observe/dns-metrics.ts";
import type { Forwarder } from "./forwarder.ts";
import { isTruncated, questionFor, RCODE, rcodeOf, readAddresses, readQuery, TYPE_A, TYPE_AAAA } from "./message.ts";

/** Asks for both families; rejects, with the reason, when neither has an answer. */
export async function lookupBeyond(
  host: string,
  forwarder: Pick<Forwarder, "ask">,
  metrics: DnsMetrics,
): Promise<readonly Ip[]> {
  const asked = await Promise.all([TYPE_A, TYPE_AAAA].map((type) => ask(host, type, forwarder, metrics)));
  const addresses = asked.flatMap((answer) => (typeof answer === "string" ? [] : answer));
  if (addresses.length > 0) return addresses;
  throw new Error(asked.find((answer) => typeof answer === "string") ?? `${host} has no address`);
}

/** The addresses of one family, or a sentence. */
async function ask(
  host: string,
  type: number,
  forwarder: Pick<Forwarder, "ask">,
  metrics: DnsMetrics,
): Promise<readonly Ip[] | string> {
  const question = questionFor(host, type);
  const query = question === undefined ? undefined : readQuery(question);
  if (question === undefined || query === undefined || query === "malformed") return `${host} is no DNS name`;
  const reply = await forwarder.ask(question, query, metrics.series(type, "udp", undefined));
  if (isFailure(reply)) return reply.detail;
  const rcode = rcodeOf(reply);
  if (rcode !== RCODE.noError && rcode !== RCODE.nxDomain) return `the resolver answers for ${host} with code ${rcode}`;
  const addresses = readAddresses(reply, type);
  // What did fit is enough to reach the host by.
  return addresses.length === 0 && isTruncated(reply) ? `the answer for ${host} does not fit a datagram` : addresses;
}
