#!/bin/sh
# Made by `uproxy capture`: takes the rules of uproxy away, by iptables. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH

for command in iptables ip6tables; do
  # Ends here, with its reason, where rules cannot be seen.
  "$command" -w -t nat -S >/dev/null
  for entry in 'nat OUTPUT CULVERT_OUTPUT' 'nat PREROUTING CULVERT_PREROUTING' 'raw OUTPUT CULVERT_DNS' 'mangle OUTPUT CULVERT_SOURCE'; do
    set -- $entry
    while "$command" -w -t "$1" -C "$2" -j "$3" 2>/dev/null; do "$command" -w -t "$1" -D "$2" -j "$3"; done
  done
  # Chains that lead to each other are emptied before the first is deleted.
  for action in -F -X; do
    for chain in 'nat CULVERT_OUTPUT' 'nat CULVERT_USERS' 'nat CULVERT_GROUPS' 'nat CULVERT_BLOCKS' 'nat CULVERT_PORTS' 'nat CULVERT_TURN' 'nat CULVERT_PREROUTING' 'raw CULVERT_DNS' 'mangle CULVERT_SOURCE'; do
      set -- $chain
      if "$command" -w -t "$1" -S "$2" >/dev/null 2>&1; then "$command" -w -t "$1" "$action" "$2"; fi
    done
  done
done

# Rule and routes of an earlier configuration.
if command -v ip >/dev/null; then
  for family in -4 -6; do
    while [ -n "$(ip "$family" rule list table 15006 2>/dev/null)" ]; do
      ip "$family" rule delete lookup 15006
    done
    if [ -n "$(ip "$family" route list table 15006 2>/dev/null)" ]; then
      ip "$family" route flush table 15006
    fi
  done
fi
