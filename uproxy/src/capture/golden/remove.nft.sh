#!/bin/sh
# Made by `uproxy capture`: takes the rules of uproxy away, by nftables. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH
command -v nft >/dev/null || { echo 'the program nft is not installed' >&2; exit 1; }

nft -f - <<'RULES'
table inet culvert
delete table inet culvert
RULES

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
