#!/bin/sh
# What the units of uproxy and waypoint cannot say by themselves. systemd gives MAINPID, and reads the file with the process id again after
# each reload.
#
#   service.sh ready PROGRAM     waits until the process of the unit is ready
#   service.sh reload PROGRAM    makes it re-read its files; when an upgrade has replaced it, starts the new version beside it, which
#                                takes over without losing a connection
set -eu

action=$1
program=$2
pid_file=/run/culvert-$program/pid

# Waits until process $1 has said that it is ready, which fails when it ends, or after 80 s: sooner than systemd gives up.
await() {
  tenths=0
  while [ "$(cat "$pid_file" 2>/dev/null)" != "$1" ]; do
    # What has ended has no program any more, though the shell keeps its number.
    readlink "/proc/$1/exe" >/dev/null || return 1
    tenths=$((tenths + 1))
    [ "$tenths" -lt 800 ] || return 1
    sleep 0.1
  done
}

case $action in
ready)
  await "$MAINPID"
  ;;
reload)
  case $(readlink "/proc/$MAINPID/exe") in
  *' (deleted)')
    @BIN@/"$program" run --takeover --config "/etc/culvert/$program.yaml" --pid-file "$pid_file" &
    if ! await "$!"; then
      echo "the new version of $program did not become ready; the old one goes on" >&2
      kill "$!" 2>/dev/null || true
      exit 1
    fi
    ;;
  *)
    kill -HUP "$MAINPID"
    ;;
  esac
  ;;
*)
  echo "expected ready or reload, found $action" >&2
  exit 2
  ;;
esac
