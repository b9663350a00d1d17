#!/bin/sh
# Made by `uproxy capture`: turns connections to uproxy, by nftables. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH
command -v nft >/dev/null || { echo 'the program nft is not installed' >&2; exit 1; }

# Packets with the mark of the app's answers are for this host, whatever their address. A host may be without IPv6.
command -v ip >/dev/null || { echo 'the program ip is not installed' >&2; exit 1; }
for family in -4 -6; do
  if [ "$family" = -6 ] && ! grep -qx 0 /proc/sys/net/ipv6/conf/lo/disable_ipv6 2>/dev/null; then continue; fi
  ip "$family" route replace local default dev lo table 15006
  [ -n "$(ip "$family" rule list table 15006)" ] ||
    ip "$family" rule add pref 15006 fwmark 0x111/0xfff lookup 15006
done

# One transaction: all of it or nothing. The first two lines make sure that only the new table is there.
nft -f - <<'RULES'
table inet culvert
delete table inet culvert
table inet culvert {
	chain spared {
		# connections of uproxy itself
		meta skuid 1337 accept
		# loopback, and addresses of this host, which are reached through it
		oifname "lo" accept
		# the mesh itself, and the source of probes by the kubelet
		tcp dport { 15008, 15020-15021 } accept
		ip daddr 169.254.7.127 accept
		ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff accept
	}

	chain output {
		type nat hook output priority -110; policy accept;
		jump spared
	}

	chain prerouting {
		type nat hook prerouting priority -110; policy accept;
		iifname "lo" accept
		# the mesh itself, and probes by the kubelet
		tcp dport { 15008, 15020-15021 } accept
		ip saddr 169.254.7.127 accept
		ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff accept
		# everything else
		meta l4proto tcp redirect to :15006
	}

	chain source_begun {
		type filter hook output priority mangle; policy accept;
		# inbound.keepSource: connections to the app
		meta mark 0x539 oifname "lo" ct mark set ct mark & 0xfffff000 | 0x111
	}

	chain source_answered {
		type route hook output priority mangle + 1; policy accept;
		# inbound.keepSource: what the app answers
		meta mark != 0x539 ct mark & 0xfff == 0x111 meta mark set meta mark & 0xfffff000 | 0x111
	}
}
RULES
