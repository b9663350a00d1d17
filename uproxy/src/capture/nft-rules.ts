// Pure. The plan as a table of nftables, for IPv4 and IPv6 at once: a shell script that a person can read and run. Everything in it
// that comes from the configuration is a number or a block of addresses.
import type { NumberRange } from "@culvert/shared/config/process/process-config.ts";
import {
  ANSWER_MARK,
  ANSWER_MASK,
  blocksOf,
  PROBE_SOURCES,
  type CapturePlan,
  type KeptSource,
  type Turn,
} from "./plan.ts";
import { scriptHead } from "./script.ts";
import { hex, noRoutesScript, routesScript } from "./source-routes.ts";

/** Before other rules of address translation, such as Docker's: the first that translates a connection decides. */
const NAT_PRIORITY = -110;

/** The script that puts the rules in place of those that were there, in one transaction. */
export function nftApplyScript(plan: CapturePlan): string {
  return `${scriptHead("nftables", "capture")}command -v nft >/dev/null || { echo 'the program nft is not installed' >&2; exit 1; }

${routesScript(plan.source)}# One transaction: all of it or nothing. The first two lines make sure that only the new table is there.
nft -f - <<'RULES'
table inet culvert
delete table inet culvert
${nftTable(plan)}
RULES
${noRoutesScript(plan.source)}`;
}

/** The script that takes the rules away, if there are any. */
export function nftRemoveScript(): string {
  return `${scriptHead("nftables", "removal")}command -v nft >/dev/null || { echo 'the program nft is not installed' >&2; exit 1; }

nft -f - <<'RULES'
table inet culvert
delete table inet culvert
RULES
${noRoutesScript(undefined)}`;
}

function nftTable(plan: CapturePlan): string {
  const { dns, inbound, outbound, source } = plan;
  const chains: string[] = [];
  if (outbound !== undefined || inbound !== undefined || dns !== undefined) {
    chains.push(spared(plan), ...(dns === undefined ? [] : [dnsZone(dns)]), output(plan));
  }
  if (inbound !== undefined) chains.push(prerouting(plan, inbound));
  if (source !== undefined) chains.push(...answers(source));
  return `table inet culvert {\n${chains.join("\n\n")}\n}`;
}

function chain(name: string, rules: readonly string[]): string {
  return `\tchain ${name} {\n${rules.map((rule) => `\t\t${rule}`).join("\n")}\n\t}`;
}

/** What is left alone on its way out. */
function spared({ exempt, exclude, meshPorts, dns }: CapturePlan): string {
  const own = { user: "meta skuid", group: "meta skgid", mark: "meta mark" }[exempt.kind];
  return chain("spared", [
    "# connections of uproxy itself",
    `${own} ${exempt.id} accept`,
    "# loopback, and addresses of this host, which are reached through it",
    `oifname "lo" accept`,
    "# the mesh itself, and the source of probes by the kubelet",
    `tcp dport ${numbers(meshPorts)} accept`,
    `ip daddr ${PROBE_SOURCES.ipv4} accept`,
    `ip6 daddr ${PROBE_SOURCES.ipv6} accept`,
    ...section("capture.outbound.exclude", [
      ...list("meta skuid", exclude.users.map(rangeText)),
      ...list("meta skgid", exclude.groups.map(rangeText)),
      ...list("ip daddr", blocksOf(exclude.cidrs, 4)),
      ...list("ip6 daddr", blocksOf(exclude.cidrs, 6)),
      ...list("tcp dport", exclude.ports.map(rangeText)),
      ...(dns === undefined ? [] : list("udp dport", exclude.ports.map(rangeText))),
    ]),
  ]);
}

/**
 * Queries that are turned to us are tracked apart from all others: those that we pass on go to the same resolvers, and from the same
 * port one could be taken for the other.
 */
function dnsZone(dns: Turn): string {
  return chain("dns_zone", [
    "type filter hook output priority raw; policy accept;",
    ...(dns.ipv4 ? [`ip saddr 127.0.0.0/8 udp sport ${dns.port} ct zone set 1 accept`] : []),
    ...(dns.ipv6 ? [`ip6 saddr ::1 udp sport ${dns.port} ct zone set 1 accept`] : []),
    "udp dport != 53 accept",
    "meta l4proto != udp accept",
    "jump spared",
    ...familiesOf(dns, "udp dport 53 ct zone set 1"),
  ]);
}

function output(plan: CapturePlan): string {
  const { dns, include, outbound } = plan;
  const rules = [`type nat hook output priority ${NAT_PRIORITY}; policy accept;`, "jump spared"];
  if (dns !== undefined) {
    rules.push("# DNS");
    rules.push(...familiesOf(dns, `udp dport 53 redirect to :${dns.port}`));
    rules.push(...familiesOf(dns, `tcp dport 53 redirect to :${dns.port}`));
  }
  if (outbound !== undefined) {
    rules.push(
      ...section("capture.outbound.include: what is not in it is left alone", [
        ...notIn("meta skuid", include.users.map(rangeText)),
        ...notIn("meta skgid", include.groups.map(rangeText)),
        ...notInBlocks(plan),
        ...notIn("tcp dport", include.ports.map(rangeText)),
      ]),
      "# everything else",
      ...familiesOf(outbound, `meta l4proto tcp redirect to :${outbound.port}`),
    );
  }
  return chain("output", rules);
}

function prerouting(plan: CapturePlan, inbound: Turn): string {
  const { inboundExcluded, inboundPorts, meshPorts } = plan;
  return chain("prerouting", [
    `type nat hook prerouting priority ${NAT_PRIORITY}; policy accept;`,
    `iifname "lo" accept`,
    "# the mesh itself, and probes by the kubelet",
    `tcp dport ${numbers(meshPorts)} accept`,
    `ip saddr ${PROBE_SOURCES.ipv4} accept`,
    `ip6 saddr ${PROBE_SOURCES.ipv6} accept`,
    ...section("capture.inbound.exclude", [
      ...list("ip saddr", blocksOf(inboundExcluded.sources, 4)),
      ...list("ip6 saddr", blocksOf(inboundExcluded.sources, 6)),
      ...list("tcp dport", inboundExcluded.ports.map(rangeText)),
    ]),
    ...section("capture.inbound.include: what is not in it is left alone", [
      ...notIn("tcp dport", inboundPorts.map(rangeText)),
    ]),
    "# everything else",
    ...familiesOf(inbound, `meta l4proto tcp redirect to :${inbound.port}`),
  ]);
}

/**
 * Connections to the app that begin with our mark get another, and so do the app's packets on them, which are then routed anew. Only
 * those that stay on this host: a packet that the kernel sends for one of our sockets that is gone has no mark.
 */
function answers({ mark }: KeptSource): string[] {
  const others = hex((~ANSWER_MASK & 0xffff_ffff) >>> 0);
  const answer = `mark & ${hex(ANSWER_MASK)} == ${hex(ANSWER_MARK)}`;
  return [
    chain("source_begun", [
      "type filter hook output priority mangle; policy accept;",
      "# inbound.keepSource: connections to the app",
      `meta mark ${hex(mark)} oifname "lo" ct mark set ct mark & ${others} | ${hex(ANSWER_MARK)}`,
    ]),
    chain("source_answered", [
      "type route hook output priority mangle + 1; policy accept;",
      "# inbound.keepSource: what the app answers",
      `meta mark != ${hex(mark)} ct ${answer} meta mark set meta mark & ${others} | ${hex(ANSWER_MARK)}`,
    ]),
  ];
}

/** The rule for the families that the listener has. */
function familiesOf({ ipv4, ipv6 }: Turn, rule: string): string[] {
  if (ipv4 && ipv6) return [rule];
  return [`meta nfproto ${ipv4 ? "ipv4" : "ipv6"} ${rule}`];
}

/** Addresses of a family that no block is of are in no block. */
function notInBlocks({ include: { cidrs } }: CapturePlan): string[] {
  if (cidrs.length === 0) return [];
  const [ipv4, ipv6] = [blocksOf(cidrs, 4), blocksOf(cidrs, 6)];
  return [
    ...(ipv4.length === 0 ? ["meta nfproto ipv4 accept"] : notIn("ip daddr", ipv4)),
    ...(ipv6.length === 0 ? ["meta nfproto ipv6 accept"] : notIn("ip6 daddr", ipv6)),
  ];
}

function section(title: string, rules: readonly string[]): string[] {
  return rules.length === 0 ? [] : [`# ${title}`, ...rules];
}

function list(what: string, entries: readonly string[]): string[] {
  return entries.length === 0 ? [] : [`${what} ${set(entries)} accept`];
}

function notIn(what: string, entries: readonly string[]): string[] {
  return entries.length === 0 ? [] : [`${what} != ${set(entries)} accept`];
}

function numbers(ranges: readonly NumberRange[]): string {
  return set(ranges.map(rangeText));
}

function set(entries: readonly string[]): string {
  return `{ ${entries.join(", ")} }`;
}

function rangeText({ first, last }: NumberRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}
