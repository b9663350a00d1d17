// Pure. The plan as chains of iptables and ip6tables: a shell script that a person can read and run. Everything in it that comes
// from the configuration is a number or a block of addresses.
import type { NumberRange } from "@culvert/shared/config/process/process-config.ts";
import { blocksOf, PROBE_SOURCES, type CapturePlan, type Turn } from "./plan.ts";
import { scriptHead } from "./script.ts";
import { ANSWER, hex, noRoutesScript, routesScript } from "./source-routes.ts";

/** `multiport` takes so many numbers; a range counts twice. */
const PORTS_PER_RULE = 15;

/** Our chains that a built-in one leads to: table, built-in chain, ours. */
const ENTRIES = [
  ["nat", "OUTPUT", "CULVERT_OUTPUT"],
  ["nat", "PREROUTING", "CULVERT_PREROUTING"],
  ["raw", "OUTPUT", "CULVERT_DNS"],
  ["mangle", "OUTPUT", "CULVERT_SOURCE"],
] as const;

/** Chains of `nat`, all of them each time, so that what an earlier configuration had in one is gone. */
const NAT_CHAINS: readonly string[] = [
  "CULVERT_OUTPUT",
  "CULVERT_USERS",
  "CULVERT_GROUPS",
  "CULVERT_BLOCKS",
  "CULVERT_PORTS",
  "CULVERT_TURN",
  "CULVERT_PREROUTING",
];

type Family = 4 | 6;

/** The script that puts the rules in place of those that were there: one transaction for each table. */
export function iptablesApplyScript(plan: CapturePlan): string {
  return `${scriptHead("iptables", "capture")}
# Prints the rule that leads from a built-in chain to one of ours, unless it is there.
jump() { # command, table, built-in chain, our chain
  "$1" -w -t "$2" -C "$3" -j "$4" 2>/dev/null || printf -- '-I %s 1 -j %s\\n' "$3" "$4"
}

# Takes a chain of ours away that an earlier configuration has had.
leave() { # command, table, our chain
  "$1" -w -t "$2" -S "$3" >/dev/null 2>&1 || return 0
  while "$1" -w -t "$2" -D OUTPUT -j "$3" 2>/dev/null; do :; done
  "$1" -w -t "$2" -F "$3"
  "$1" -w -t "$2" -X "$3"
}

${routesScript(plan.source)}${familyScript(plan, 4)}
${familyScript(plan, 6)}${noRoutesScript(plan.source)}`;
}

/** The script that takes the rules away, if there are any. */
export function iptablesRemoveScript(): string {
  const entries = ENTRIES.map((entry) => `'${entry.join(" ")}'`).join(" ");
  const chains = [...NAT_CHAINS.map((chain) => `'nat ${chain}'`), "'raw CULVERT_DNS'", "'mangle CULVERT_SOURCE'"].join(
    " ",
  );
  return `${scriptHead("iptables", "removal")}
for command in iptables ip6tables; do
  # Ends here, with its reason, where rules cannot be seen.
  "$command" -w -t nat -S >/dev/null
  for entry in ${entries}; do
    set -- $entry
    while "$command" -w -t "$1" -C "$2" -j "$3" 2>/dev/null; do "$command" -w -t "$1" -D "$2" -j "$3"; done
  done
  # Chains that lead to each other are emptied before the first is deleted.
  for action in -F -X; do
    for chain in ${chains}; do
      set -- $chain
      if "$command" -w -t "$1" -S "$2" >/dev/null 2>&1; then "$command" -w -t "$1" "$action" "$2"; fi
    done
  done
done
${noRoutesScript(undefined)}`;
}

function familyScript(plan: CapturePlan, version: Family): string {
  const [title, command] = version === 4 ? ["IPv4", "iptables"] : ["IPv6", "ip6tables"];
  const nat = [...outputRules(plan, version), ...preroutingRules(plan, version)];
  const dns = dnsRules(plan, version);
  const source = sourceRules(plan, version);
  // The rules that do nothing by themselves come first: between two tables there is no transaction.
  const tables = [
    ...(dns.length === 0 ? [] : ["*raw", ":CULVERT_DNS - [0:0]", ...dns, "$dns", "COMMIT"]),
    ...(source.length === 0 ? [] : ["*mangle", ":CULVERT_SOURCE - [0:0]", ...source, "$source", "COMMIT"]),
    "*nat",
    ...NAT_CHAINS.map((chain) => `:${chain} - [0:0]`),
    ...nat,
    "$output",
    "$prerouting",
    "COMMIT",
  ];
  return `# ${title}: each table is one transaction. Chains that are named with a colon are emptied first.
output=$(jump ${command} nat OUTPUT CULVERT_OUTPUT)
prerouting=$(jump ${command} nat PREROUTING CULVERT_PREROUTING)
${entryOf(command, "dns", "raw", "CULVERT_DNS", dns)}
${entryOf(command, "source", "mangle", "CULVERT_SOURCE", source)}
${command}-restore -w --noflush <<RULES
${tables.join("\n")}
RULES
`;
}

/** The way into a chain that there is only where it has rules. */
function entryOf(command: string, variable: string, table: string, chain: string, rules: readonly string[]): string {
  return rules.length > 0
    ? `${variable}=$(jump ${command} ${table} OUTPUT ${chain})`
    : `leave ${command} ${table} ${chain}`;
}

/** What is left alone on its way out. */
function spared(plan: CapturePlan, version: Family, chain: string): string[] {
  const { exempt, exclude, meshPorts, dns } = plan;
  const back = (match: string): string => `-A ${chain} ${match} -j RETURN`;
  const own = {
    user: `-m owner --uid-owner ${exempt.id}`,
    group: `-m owner --gid-owner ${exempt.id}`,
    mark: `-m mark --mark ${exempt.id}`,
  }[exempt.kind];
  const excluded = [
    ...exclude.users.map((range) => `-m owner --uid-owner ${rangeText(range, "-")}`),
    ...exclude.groups.map((range) => `-m owner --gid-owner ${rangeText(range, "-")}`),
    ...blocksOf(exclude.cidrs, version).map((block) => `-d ${block}`),
    ...ports(exclude.ports).map((list) => `-p tcp -m multiport --dports ${list}`),
    ...(dns === undefined ? [] : ports(exclude.ports).map((list) => `-p udp -m multiport --dports ${list}`)),
  ].map(back);
  return [
    "# connections of uproxy itself",
    back(own),
    "# loopback, and addresses of this host, which are reached through it",
    back("-o lo"),
    "# the mesh itself, and the source of probes by the kubelet",
    ...ports(meshPorts).map((list) => back(`-p tcp -m multiport --dports ${list}`)),
    back(`-d ${version === 4 ? PROBE_SOURCES.ipv4 : PROBE_SOURCES.ipv6}`),
    ...(excluded.length === 0 ? [] : ["# capture.outbound.exclude", ...excluded]),
  ];
}

function outputRules(plan: CapturePlan, version: Family): string[] {
  const { dns, include, outbound } = plan;
  const rules = spared(plan, version, "CULVERT_OUTPUT");
  if (isTurned(dns, version)) {
    rules.push("# DNS");
    for (const protocol of ["udp", "tcp"]) {
      rules.push(`-A CULVERT_OUTPUT -p ${protocol} --dport 53 -j REDIRECT --to-ports ${dns.port}`);
    }
  }
  if (!isTurned(outbound, version)) return rules;
  // One chain for each list that is not empty: who is in the list goes on to the next chain, who is not comes back.
  const lists = (
    [
      ["CULVERT_USERS", include.users, include.users.map((range) => `-m owner --uid-owner ${rangeText(range, "-")}`)],
      [
        "CULVERT_GROUPS",
        include.groups,
        include.groups.map((range) => `-m owner --gid-owner ${rangeText(range, "-")}`),
      ],
      ["CULVERT_BLOCKS", include.cidrs, blocksOf(include.cidrs, version).map((block) => `-d ${block}`)],
      ["CULVERT_PORTS", include.ports, ports(include.ports).map((list) => `-p tcp -m multiport --dports ${list}`)],
    ] as const
  ).filter(([, given]) => given.length > 0);
  const after = (index: number): string => lists[index]?.[0] ?? "CULVERT_TURN";
  if (lists.length > 0) rules.push("# capture.outbound.include: what is not in it is left alone");
  rules.push(`-A CULVERT_OUTPUT -p tcp -g ${after(0)}`);
  for (const [index, [chain, , matches]] of lists.entries()) {
    rules.push(...matches.map((match) => `-A ${chain} ${match} -g ${after(index + 1)}`));
  }
  rules.push("# everything else", `-A CULVERT_TURN -p tcp -j REDIRECT --to-ports ${outbound.port}`);
  return rules;
}

function preroutingRules(plan: CapturePlan, version: Family): string[] {
  const { inbound, inboundExcluded, inboundPorts, meshPorts } = plan;
  if (!isTurned(inbound, version)) return [];
  const excluded = [
    ...blocksOf(inboundExcluded.sources, version).map((block) => `-s ${block}`),
    ...ports(inboundExcluded.ports).map((list) => `-p tcp -m multiport --dports ${list}`),
  ].map(spareInbound);
  const turned = `-j REDIRECT --to-ports ${inbound.port}`;
  return [
    spareInbound("-i lo"),
    "# the mesh itself, and probes by the kubelet",
    ...ports(meshPorts).map((list) => spareInbound(`-p tcp -m multiport --dports ${list}`)),
    spareInbound(`-s ${version === 4 ? PROBE_SOURCES.ipv4 : PROBE_SOURCES.ipv6}`),
    ...(excluded.length === 0 ? [] : ["# capture.inbound.exclude", ...excluded]),
    ...(inboundPorts.length === 0
      ? ["# everything else", `-A CULVERT_PREROUTING -p tcp ${turned}`]
      : [
          "# capture.inbound.include",
          ...ports(inboundPorts).map((list) => `-A CULVERT_PREROUTING -p tcp -m multiport --dports ${list} ${turned}`),
        ]),
  ];
}

function spareInbound(match: string): string {
  return `-A CULVERT_PREROUTING ${match} -j RETURN`;
}

/**
 * Queries that are turned to us are tracked apart from all others: those that we pass on go to the same resolvers, and from the same
 * port one could be taken for the other.
 */
function dnsRules(plan: CapturePlan, version: Family): string[] {
  const { dns } = plan;
  if (!isTurned(dns, version)) return [];
  const loopback = version === 4 ? "127.0.0.0/8" : "::1";
  return [
    `-A CULVERT_DNS -s ${loopback} -p udp --sport ${dns.port} -j CT --zone 1`,
    `-A CULVERT_DNS ! -p udp -j RETURN`,
    `-A CULVERT_DNS -p udp ! --dport 53 -j RETURN`,
    ...spared(plan, version, "CULVERT_DNS"),
    `-A CULVERT_DNS -p udp --dport 53 -j CT --zone 1`,
  ];
}

/** As with nftables: connections to the app that begin with our mark get another, and so do the app's packets on them. */
function sourceRules({ source }: CapturePlan, version: Family): string[] {
  if (source === undefined || !(version === 4 ? source.ipv4 : source.ipv6)) return [];
  const own = hex(source.mark);
  return [
    "# inbound.keepSource: connections to the app, and what it answers",
    `-A CULVERT_SOURCE -o lo -m mark --mark ${own} -j CONNMARK --set-xmark ${ANSWER}`,
    `-A CULVERT_SOURCE -m mark ! --mark ${own} -m connmark --mark ${ANSWER} -j MARK --set-xmark ${ANSWER}`,
  ];
}

function isTurned(turn: Turn | undefined, version: Family): turn is Turn {
  return turn !== undefined && (version === 4 ? turn.ipv4 : turn.ipv6);
}

/** Ports in lists that `multiport` takes. */
function ports(ranges: readonly NumberRange[]): readonly string[] {
  const lists: string[] = [];
  let list: string[] = [];
  let numbers = 0;
  for (const range of ranges) {
    const size = range.first === range.last ? 1 : 2;
    if (numbers + size > PORTS_PER_RULE) {
      lists.push(list.join(","));
      [list, numbers] = [[], 0];
    }
    list.push(rangeText(range, ":"));
    numbers += size;
  }
  return list.length === 0 ? lists : [...lists, list.join(",")];
}

function rangeText({ first, last }: NumberRange, dash: string): string {
  return first === last ? String(first) : `${first}${dash}${last}`;
}
