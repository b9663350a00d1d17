// Pure. How the app's answers to kept addresses find back, for both backends: a rule and a routing table for each family. What
// gives them their mark is the backend's own.
import { ANSWER_MARK, ANSWER_MASK, ANSWER_TABLE, type KeptSource } from "./plan.ts";

/** `0x111/0xfff`, as iptables and ip write a mark with its bits. */
export const ANSWER = `${hex(ANSWER_MARK)}/${hex(ANSWER_MASK)}`;

/** A number as marks are written. */
export function hex(number: number): string {
  return `0x${number.toString(16)}`;
}

/** The part of a script that brings rule and table, once. It comes before what marks: alone it changes nothing. */
export function routesScript(source: KeptSource | undefined): string {
  if (source === undefined) return "";
  return `# Packets with the mark of the app's answers are for this host, whatever their address. A host may be without IPv6.
command -v ip >/dev/null || { echo 'the program ip is not installed' >&2; exit 1; }
for family in ${familiesOf(source, true).join(" ")}; do
  if [ "$family" = -6 ] && ! grep -qx 0 /proc/sys/net/ipv6/conf/lo/disable_ipv6 2>/dev/null; then continue; fi
  ip "$family" route replace local default dev lo table ${ANSWER_TABLE}
  [ -n "$(ip "$family" rule list table ${ANSWER_TABLE})" ] ||
    ip "$family" rule add pref ${ANSWER_TABLE} fwmark ${ANSWER} lookup ${ANSWER_TABLE}
done

`;
}

/** The part of a script that takes both away, if an earlier configuration has brought them. It comes after what marks is gone. */
export function noRoutesScript(source: KeptSource | undefined): string {
  const families = source === undefined ? ["-4", "-6"] : familiesOf(source, false);
  if (families.length === 0) return "";
  return `
# Rule and routes of an earlier configuration.
if command -v ip >/dev/null; then
  for family in ${families.join(" ")}; do
    while [ -n "$(ip "$family" rule list table ${ANSWER_TABLE} 2>/dev/null)" ]; do
      ip "$family" rule delete lookup ${ANSWER_TABLE}
    done
    if [ -n "$(ip "$family" route list table ${ANSWER_TABLE} 2>/dev/null)" ]; then
      ip "$family" route flush table ${ANSWER_TABLE}
    fi
  done
fi
`;
}

function familiesOf({ ipv4, ipv6 }: KeptSource, wanted: boolean): string[] {
  return [...(ipv4 === wanted ? ["-4"] : []), ...(ipv6 === wanted ? ["-6"] : [])];
}
