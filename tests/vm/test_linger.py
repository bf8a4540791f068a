#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""DMA that outlives its owner: an executor that goes on writing into a program's memory for
seconds after it was killed.

The rogue executor (tests/daemon/rogue) does that.  Whatever ends its program's context, the guest
must not use those pages for anything else before the last write; guest-linger takes all the memory
there is and looks.  Meanwhile calls fail at once, and afterwards the device works.
"""
import os
import time

from vmtest import wait_held, wait_idle

# pylint: disable=wrong-import-order
import agent
import images
import tap
from recovery import kill_vm
from vgpud import Daemon, Vm
from vm import Config, Guest

ROGUE = os.path.join(images.build_dir(), "rel", "daemon-test", "vgpud-rogue")
VICTIM_BYTES = 48 << 20
LINGER_MS = 4000 * agent.PATIENCE
WATCH_S = 6 * agent.PATIENCE    # longer than the rogue lingers
SPARE_MB = 40       # that the guest needs beside the watcher
# in which a call fails that must not wait for the rogue; an emulated guest is slow
PROMPT_S = 4 * agent.PATIENCE


def aim(daemon, guest):
    """Start a program into whose memory the rogue writes; the Pending of its shell."""
    guest.driver_up(120)
    guest.check("rm -f /run/victim")        # what the last one said must not pass for this one's
    held = guest.begin(f"guest-linger victim {VICTIM_BYTES} {LINGER_MS} >/run/victim 2>&1")
    try:
        guest.poll("grep -qx aimed /run/victim", 60)
    except AssertionError:
        tap.fail(f"the victim: {guest.check('cat /run/victim')}")
    wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "the victim's context")
    return held


def kill_victim(guest, held):
    status, output = guest.run("killall -KILL guest-linger")
    if status:
        tap.fail(f"{output}, the victim said: {guest.check('cat /run/victim')}")
    tap.equal(held.wait(30)[0] & 0x7f, 9, "the victim was killed")


def nothing_changes(guest):
    """Nearly all memory, from now until after the last write."""
    free = int(guest.check("awk '/^MemAvailable/{print int($2 / 1024)}' /proc/meminfo"))
    status, output = guest.run(f"guest-linger watch {free - SPARE_MB} {WATCH_S}", 120)
    tap.equal(status, 0, f"other memory: {output}")
    tap.diagnose(output)


def works_again(daemon, guest):
    wait_idle(daemon, "A")
    guest.driver_up(120)
    tap.equal(guest.check("cat /sys/class/vgpu/vgpu0/quarantine").strip(), "0", "quarantine")


def quarantined(guest):
    tap.true(int(guest.check("cat /sys/class/vgpu/vgpu0/quarantine")) >= 1,
             "the context is in quarantine")


@tap.test("a program's memory serves nothing else before the device's last write into it")
def memory_waits_for_the_last_write():
    """VGPU-LIFE-003, VGPU-LIFE-032, VGPU-GEN-001"""
    with Daemon([Vm("A", executor="null", deadline="600s")], program=ROGUE) as daemon, \
            Guest(Config(name="linger", socket=daemon.socket("A"))) as guest:
        tap.diagnose("the program is killed")
        held = aim(daemon, guest)
        kill_victim(guest, held)
        tap.true(daemon.vm("A")["exec_processes"] >= 1, "the rogue lives")
        nothing_changes(guest)
        works_again(daemon, guest)

        # QEMU holds the machine until a reset is done: what is seen is that it was
        tap.diagnose("the function is reset")
        held = aim(daemon, guest)
        reset = guest.begin(f"echo 1 >/sys/bus/pci/devices/{guest.pci_address()}/reset")
        kill_victim(guest, held)
        nothing_changes(guest)
        reset.wait(60)
        works_again(daemon, guest)

        tap.diagnose("the vm process is killed")
        held = aim(daemon, guest)
        kill_vm(daemon)
        kill_victim(guest, held)
        quarantined(guest)
        started = time.monotonic()
        tap.equal(guest.run("vgpu-info")[0], 1, "vgpu-info meanwhile")
        tap.true(time.monotonic() - started < PROMPT_S, "that failed at once")
        nothing_changes(guest)
        works_again(daemon, guest)

        tap.diagnose("the driver is unloaded")
        held = aim(daemon, guest)
        kill_victim(guest, held)
        unload = guest.begin("rmmod vgpu")
        nothing_changes(guest)
        tap.equal(unload.wait(60), (0, ""), "rmmod")
        guest.check("insmod /lib/modules/vgpu.ko")
        works_again(daemon, guest)
        guest.check_kernel_log()


if __name__ == "__main__":
    tap.main()
