#!/bin/sh
# Made by `uproxy capture`: turns connections to uproxy, by nftables. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH
command -v nft >/dev/null || { echo 'the program nft is not installed' >&2; exit 1; }

# One transaction: all of it or nothing. The first two lines make sure that only the new table is there.
nft -f - <<'RULES'
table inet culvert
delete table inet culvert
table inet culvert {
	chain spared {
		# connections of uproxy itself
		meta mark 1337 accept
		# loopback, and addresses of this host, which are reached through it
		oifname "lo" accept
		# the mesh itself, and the source of probes by the kubelet
		tcp dport { 15008, 15020-15021, 15912 } accept
		ip daddr 169.254.7.127 accept
		ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff accept
	}

	chain output {
		type nat hook output priority -110; policy accept;
		jump spared
		# everything else
		meta l4proto tcp redirect to :15001
	}
}
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
