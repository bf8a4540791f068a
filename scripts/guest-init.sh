#!/bin/sh
# SPDX-License-Identifier: MIT
#
# /init of the test guests (busybox).  Mounts what programs expect, loads the
# driver, and starts the agent through which the host runs commands.
#
# Kernel command line:
#   vgpu.load=0     do not load the driver
#   vgpu.params=P   module parameters, comma separated ("a=1,b=2")
#   vgpu.agent=DEV  the agent's port, /dev/ttyS1 unless given; on the only console
#                   there is, so messages go to the kernel's log then
#
# The driver's outcome is left in /run/vgpu.insmod (exit status) and
# /run/vgpu.insmod.log for tests to look at; a failure does not stop the boot.
PATH=/bin:/sbin:/usr/bin
export PATH
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev 2>/dev/null
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mount -t debugfs none /sys/kernel/debug 2>/dev/null
mkdir -p /dev/shm
mount -t tmpfs none /dev/shm
hostname vgpu-guest

agent=/dev/ttyS1
load=1
params=
read -r cmdline </proc/cmdline
for word in $cmdline; do
    case $word in
    vgpu.load=*) load=${word#*=} ;;
    vgpu.agent=*) agent=${word#*=} ;;
    vgpu.params=*) params=$(echo "${word#*=}" | tr ',' ' ') ;;
    esac
done

if [ "$agent" = /dev/ttyS1 ]; then
    exec </dev/console >/dev/console 2>&1
else
    exec </dev/null >/dev/kmsg 2>&1
fi

echo "guest-init: begins"

# what `modprobe` would do with the module's dependencies: none are needed
if [ "$load" = 1 ] && [ -f /lib/modules/vgpu.ko ]; then
    # shellcheck disable=SC2086 # one word per parameter
    insmod /lib/modules/vgpu.ko $params >/run/vgpu.insmod.log 2>&1
    echo $? >/run/vgpu.insmod
    echo "guest-init: insmod gave $(cat /run/vgpu.insmod)"
fi

/bin/guest-agent "$agent"
echo "the agent ended"
poweroff -f
