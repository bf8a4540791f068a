#!/bin/sh
# SPDX-License-Identifier: MIT
#
# guest-agent TTY: runs shell commands that the host sends over a serial port of
# its own, so that no kernel message can mix with them (busybox sh).
#
# Host to guest, one line per request:      run ID BASE64-OF-A-SHELL-COMMAND
# Guest to host, once at start:             @ready 1
# and for each request, in order of ending: @reply ID EXIT-STATUS BYTES
#                                           base64 of stdout and stderr, lines
#                                           @end ID
# Requests run at the same time, each in a session of its own, so that one which
# hangs keeps nobody from asking why.  Only the reporter writes to the port: a
# request that ends puts its id into a pipe, whose short lines are atomic.
tty=$1
dir=/run/agent
mkdir -p "$dir"
mkfifo "$dir/ended"

report()
{
    while read -r id status; do
        printf '@reply %s %s %s\n' "$id" "$status" "$(wc -c <"$dir/$id")"
        base64 "$dir/$id"
        printf '@end %s\n' "$id"
        rm -f "$dir/$id"
    done
}

serve()
{
    text=$(echo "$2" | base64 -d)
    setsid sh -c "$text" >"$dir/$1" 2>&1 </dev/null
    echo "$1 $?" >"$dir/ended"
}

# once and in both directions: a virtio port can't be opened twice, and has no
# terminal settings
exec <>"$tty" >&0
stty raw -echo 2>/dev/null
# read-write, so that the pipe never ends when the last writer closes it
report <>"$dir/ended" &
echo '@ready 1'
while read -r verb id text; do
    case $verb in
    run) serve "$id" "$text" & ;;
    esac
done
