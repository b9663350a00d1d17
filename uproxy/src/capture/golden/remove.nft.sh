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
