#!/bin/sh
# Captures the connections of an app by BPF, in place of rules of netfilter. As root, on the host (or in a container with CAP_BPF,
# CAP_NET_ADMIN, CAP_SYS_ADMIN for bpffs, and the host's control groups), before the app starts:
#
#   capture.sh apply --app CGROUP --proxy CGROUP [--port 15001] [--name NAME]
#   capture.sh remove --app CGROUP --proxy CGROUP [--name NAME]
#
# CGROUP is a folder of control groups version 2: connections of processes in --app are turned, and processes in --proxy may ask where
# they wanted to go. uproxy must not run in --app, or its own connections would be turned as well. Both commands may be repeated.
# Needs clang, bpftool and libbpf's headers (Debian: clang bpftool libbpf-dev), Linux 5.15 or newer.
set -eu

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
}

fail() {
  printf 'capture.sh: %s\n' "$1" >&2
  exit 1
}

[ $# -ge 1 ] || usage
command=$1
shift
app='' proxy='' port=15001 name=culvert
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --app) app=$2 ;;
    --proxy) proxy=$2 ;;
    --port) port=$2 ;;
    --name) name=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[ -n "$app" ] && [ -n "$proxy" ] || usage
case $port in '' | *[!0-9]*) fail "--port: expected a number, got $port" ;; esac
case $name in '' | *[!A-Za-z0-9_-]*) fail "--name: expected letters, digits, - and _, got $name" ;; esac

PATH=$PATH:/usr/sbin:/sbin
pins=/sys/fs/bpf/$name

# Attach point and program, of the app's group and of uproxy's.
APP_HOOKS='connect4:turn4 connect6:turn6 sock_ops:remember getpeername4:peer4 getpeername6:peer6'
PROXY_HOOKS='getsockopt:original'

detach() { # group, hooks
  for hook in $2; do
    [ -e "$pins/${hook#*:}" ] || continue
    bpftool cgroup detach "$1" "${hook%:*}" pinned "$pins/${hook#*:}" 2>/dev/null || true
  done
}

attach() { # group, hooks
  for hook in $2; do
    bpftool cgroup attach "$1" "${hook%:*}" pinned "$pins/${hook#*:}" multi
  done
}

remove() {
  [ -e "$pins" ] || return 0
  detach "$app" "$APP_HOOKS"
  detach "$proxy" "$PROXY_HOOKS"
  rm -rf "$pins"
}

[ "$(id -u)" = 0 ] || fail 'expected to run as root'
command -v bpftool >/dev/null || fail 'bpftool is not installed'

case $command in
  apply)
    command -v clang >/dev/null || fail 'clang is not installed'
    for group in "$app" "$proxy"; do
      [ -e "$group/cgroup.procs" ] && [ "$(stat -f -c %T "$group")" = cgroup2fs ] ||
        fail "$group: expected a folder of control groups version 2"
    done
    [ "$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    clang -O2 -g -Wall -Werror -target bpf -I "/usr/include/$(uname -m)-linux-gnu" -D "PROXY_PORT=$port" \
      -c "$(dirname "$0")/capture.bpf.c" -o "$work/capture.o"
    remove
    mkdir -p "$pins"
    # Whatever fails from here on leaves nothing behind.
    trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || remove' EXIT
    bpftool prog loadall "$work/capture.o" "$pins"
    attach "$proxy" "$PROXY_HOOKS"
    attach "$app" "$APP_HOOKS"
    ;;
  remove) remove ;;
  *) usage ;;
esac
