#!/bin/sh
# SPDX-License-Identifier: MIT
#
# dom0-relay DOMAIN-ID PORT: carry a guest's PV console to and from one of Dom0's
# ports, where the host's agent client is, until the domain is gone.
node=/local/domain/$1/console/tty
until pty=$(xenstore-read "$node" 2>/dev/null) && [ -c "$pty" ]; do
    xenstore-read "/local/domain/$1" >/dev/null 2>&1 || exit 1
    usleep 100000
done
stty raw -echo <"$pty"
exec 3<>"/run/ports/$2" || exit 1
cat <&3 >"$pty" &
cat <"$pty" >&3
kill $!
