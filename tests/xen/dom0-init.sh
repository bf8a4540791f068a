#!/bin/sh
# SPDX-License-Identifier: MIT
#
# /init of the emulated Dom0 (busybox): brings up what `xl` needs, then runs the
# agent through which the host gives commands.  Ports are found by their names.
PATH=/usr/bin:/bin:/sbin:/usr/sbin:/usr/lib/xen-4.17/bin
export PATH
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mkdir -p /dev/pts /dev/shm /run/xen /run/xenstored /run/lock /run/vgpu /run/ports
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null
while read -r module; do
    insmod "/lib/modules/$module.ko" || echo "no module $module"
done </lib/modules/order
mount -t xenfs none /proc/xen
ip link set lo up
hostname dom0

xenstored --pid-file /run/xenstored.pid
until xenstore-read / >/dev/null 2>&1; do usleep 50000; done
xen-init-dom0
xenconsoled --pid-file=/run/xenconsoled.pid

until [ -n "$(ls /sys/class/virtio-ports 2>/dev/null)" ]; do usleep 50000; done
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    ln -sf "/dev/${port##*/}" "/run/ports/$name"
done
echo "Dom0 is up"
/bin/guest-agent /run/ports/agent
echo "the agent ended"
poweroff -f
