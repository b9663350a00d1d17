#!/bin/sh
# Made by `uproxy capture`: turns connections to uproxy, by iptables. Needs CAP_NET_ADMIN in the network namespace that it is
# run in; may be run again and again.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
export PATH

# Prints the rule that leads from a built-in chain to one of ours, unless it is there.
jump() { # command, table, built-in chain, our chain
  "$1" -w -t "$2" -C "$3" -j "$4" 2>/dev/null || printf -- '-I %s 1 -j %s\n' "$3" "$4"
}

# Takes a chain of ours away that an earlier configuration has had.
leave() { # command, table, our chain
  "$1" -w -t "$2" -S "$3" >/dev/null 2>&1 || return 0
  while "$1" -w -t "$2" -D OUTPUT -j "$3" 2>/dev/null; do :; done
  "$1" -w -t "$2" -F "$3"
  "$1" -w -t "$2" -X "$3"
}

# IPv4: each table is one transaction. Chains that are named with a colon are emptied first.
output=$(jump iptables nat OUTPUT CULVERT_OUTPUT)
prerouting=$(jump iptables nat PREROUTING CULVERT_PREROUTING)
leave iptables raw CULVERT_DNS
leave iptables mangle CULVERT_SOURCE
iptables-restore -w --noflush <<RULES
*nat
:CULVERT_OUTPUT - [0:0]
:CULVERT_USERS - [0:0]
:CULVERT_GROUPS - [0:0]
:CULVERT_BLOCKS - [0:0]
:CULVERT_PORTS - [0:0]
:CULVERT_TURN - [0:0]
:CULVERT_PREROUTING - [0:0]
# connections of uproxy itself
-A CULVERT_OUTPUT -m mark --mark 1337 -j RETURN
# loopback, and addresses of this host, which are reached through it
-A CULVERT_OUTPUT -o lo -j RETURN
# the mesh itself, and the source of probes by the kubelet
-A CULVERT_OUTPUT -p tcp -m multiport --dports 15008,15020:15021,15912 -j RETURN
-A CULVERT_OUTPUT -d 169.254.7.127 -j RETURN
-A CULVERT_OUTPUT -p tcp -g CULVERT_TURN
# everything else
-A CULVERT_TURN -p tcp -j REDIRECT --to-ports 15001
$output
$prerouting
COMMIT
RULES

# IPv6: each table is one transaction. Chains that are named with a colon are emptied first.
output=$(jump ip6tables nat OUTPUT CULVERT_OUTPUT)
prerouting=$(jump ip6tables nat PREROUTING CULVERT_PREROUTING)
leave ip6tables raw CULVERT_DNS
leave ip6tables mangle CULVERT_SOURCE
ip6tables-restore -w --noflush <<RULES
*nat
:CULVERT_OUTPUT - [0:0]
:CULVERT_USERS - [0:0]
:CULVERT_GROUPS - [0:0]
:CULVERT_BLOCKS - [0:0]
:CULVERT_PORTS - [0:0]
:CULVERT_TURN - [0:0]
:CULVERT_PREROUTING - [0:0]
# connections of uproxy itself
-A CULVERT_OUTPUT -m mark --mark 1337 -j RETURN
# loopback, and addresses of this host, which are reached through it
-A CULVERT_OUTPUT -o lo -j RETURN
# the mesh itself, and the source of probes by the kubelet
-A CULVERT_OUTPUT -p tcp -m multiport --dports 15008,15020:15021,15912 -j RETURN
-A CULVERT_OUTPUT -d fd16:9254:7127:1337:ffff:ffff:ffff:ffff -j RETURN
-A CULVERT_OUTPUT -p tcp -g CULVERT_TURN
# everything else
-A CULVERT_TURN -p tcp -j REDIRECT --to-ports 15001
$output
$prerouting
COMMIT
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
