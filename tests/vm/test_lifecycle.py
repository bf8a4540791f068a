#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A guest that ends, crashes, or rearranges its PCI bus under a running program.

After each, vgpud's accounting must be empty and the device work again.
"""
import time

from vmtest import example_passes, wait_held, wait_idle

# pylint: disable=wrong-import-order
import recovery
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

SETTLE_S = 2    # from the device's reset to the sleep of the machine


def hold(daemon, guest):
    """Start a program whose kernel never ends; it holds a context from here on."""
    held = guest.begin("spin")
    wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
    return held


def needs(guest, path):
    """Debian's kernels have it; the one for debugging has what a driver may trip over."""
    if guest.config.flavour == "debug" and guest.run(f"test -e {path}")[0]:
        raise tap.Skip(f"the guest's kernel was built without {path}")


def works_again(daemon, guest):
    guest.driver_up(120)
    example_passes(guest, "vecadd -n 1024")
    wait_idle(daemon, "A")
    guest.check_kernel_log()


class Descriptors:
    """Those of vgpud and of the VM's process: what they are after a first turn is all that
    they may be after later ones."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.first = None

    def check(self):
        pids = [self.daemon.process.pid, *recovery.find_named(self.daemon, "vgpu-vm")]
        now = [recovery.descriptors(pid) for pid in pids]
        self.first = self.first or now
        tap.equal(now, self.first, "descriptors of vgpud and its vm process")


@tap.test("a guest killed in mid-kernel leaves nothing; the next guest works")
def guest_killed():
    with Daemon([Vm("A", deadline="600s")]) as daemon:
        config = {"socket": daemon.socket("A")}
        with Guest(Config(name="killed", **config)) as guest:
            guest.driver_up()
            hold(daemon, guest)
            guest.process.kill()
            guest.process.wait(60)
        wait_idle(daemon, "A")
        tap.true(not daemon.vm("A")["attached"], "no guest is attached")
        with Guest(Config(name="next", **config)) as guest:
            works_again(daemon, guest)


@tap.test("a guest kernel that panics in mid-kernel reboots into a working device")
def guest_panics():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="panic", socket=daemon.socket("A"), allow_reboot=True)) as guest:
        guest.driver_up()
        hold(daemon, guest)
        boots = guest.agent.boots
        guest.begin("echo c >/proc/sysrq-trigger")
        guest.wait_boot(boots + 1)
        works_again(daemon, guest)


@tap.test("the device removed from the bus under a running program is found again by a rescan")
def remove_and_rescan():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="rescan", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        descriptors = Descriptors(daemon)
        for _ in range(3):
            held = hold(daemon, guest)
            guest.check(f"echo 1 >/sys/bus/pci/devices/{guest.pci_address()}/remove")
            tap.equal(held.wait(120)[0], 1, "exit status of the program whose device went away")
            wait_idle(daemon, "A")
            tap.equal(guest.pci_address(), "", "the device after its removal")
            guest.check("echo 1 >/sys/bus/pci/rescan")
            works_again(daemon, guest)
            descriptors.check()


@tap.test("a secondary bus reset under a running program loses the context, no more")
def secondary_bus_reset():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="sbr", socket=daemon.socket("A"), hotplug_ports=1,
                         device_options="bus=rp0")) as guest:
        guest.driver_up()
        device = f"/sys/bus/pci/devices/{guest.pci_address()}"
        guest.check(f"echo bus >{device}/reset_method")
        tap.equal(guest.check(f"cat {device}/reset_method").strip(), "bus", "the way of resetting")
        descriptors = Descriptors(daemon)
        for _ in range(3):
            held = hold(daemon, guest)
            guest.check(f"echo 1 >{device}/reset")
            tap.equal(held.wait(120)[0], 1, "exit status of the program whose device was reset")
            works_again(daemon, guest)
            descriptors.check()


@tap.test("a guest suspended in mid-kernel wakes up to a working device")
def suspend():
    """To idle, with every driver suspended: an emulated q35 does not come back from RAM.  The
    line of the next command wakes it up."""
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="sleeper", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        needs(guest, "/sys/power/state")
        guest.check("echo enabled >/sys/class/tty/ttyS1/power/wakeup")
        for _ in range(2):
            held = hold(daemon, guest)
            asleep = guest.begin("echo freeze >/sys/power/state")
            wait_idle(daemon, "A")
            time.sleep(SETTLE_S)
            tap.true(not asleep.done(), "the guest sleeps")
            guest.check("true")
            tap.equal(asleep.wait(120), (0, ""), "the suspend's outcome")
            tap.equal(held.wait(120)[0], 1, "exit status of the program whose device was reset")
            works_again(daemon, guest)


@tap.test("a guest with memory above the 4 GiB hole computes with buffers that lie there")
def split_memory():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="split", socket=daemon.socket("A"), memory_mb=5120)) as guest:
        guest.driver_up()
        guest.check("grep -q '^ *100000000-.*System RAM' /proc/iomem")
        example_passes(guest, "vecadd -n 100000")
        before = free_pages(guest)
        tap.true(before["Normal"] > 0 and before["DMA32"] > 0, f"free pages per zone: {before}")
        held = hold(daemon, guest)
        # the page allocator takes the highest zone first: a program's pages with it
        taken = {zone: before[zone] - count for zone, count in free_pages(guest).items()}
        tap.true(taken["Normal"] > max(taken["DMA32"], 0), f"pages taken by a program: {taken}")
        guest.check("killall -KILL spin")
        held.wait(120)
        works_again(daemon, guest)


def free_pages(guest):
    """{zone: free pages}; on x86 "Normal" is what lies above 4 GiB."""
    text = guest.check("awk '/zone /{z=$NF} /pages free/{print z, $NF}' /proc/zoneinfo")
    return {zone: int(count) for zone, count in (line.split() for line in text.splitlines())}


def auto_online(guest, how):
    guest.check(f"echo {how} >/sys/devices/system/memory/auto_online_blocks")


def memory_kb(guest):
    return int(guest.check("awk '/^MemTotal/ { print $2 }' /proc/meminfo"))


def plug_memory(guest, name, size_mb):
    """Plug a DIMM in and wait until the guest's kernel uses it."""
    before = memory_kb(guest)
    guest.qmp.command("object-add", **{"qom-type": "memory-backend-memfd", "id": f"mem-{name}",
                                       "size": size_mb << 20, "share": True})
    guest.qmp.command("device_add", driver="pc-dimm", id=name, memdev=f"mem-{name}")
    guest.poll(f"awk '/^MemTotal/ {{ exit $2 < {before + size_mb * 512} }}' /proc/meminfo", 120)


@tap.test("memory plugged in and unplugged under load: programs compute on, and in it")
def memory_hotplug():
    """The guest's first memory is filled, so that what is registered later lies on the first DIMM;
    the second, of movable memory, comes and goes."""
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="dimms", socket=daemon.socket("A"),
                         arguments=["-m", "size=512M,slots=2,maxmem=2G"])) as guest:
        guest.driver_up()
        needs(guest, "/sys/devices/system/memory/auto_online_blocks")
        guest.check("mount -t tmpfs -o size=100% none /mnt")
        guest.check("dd if=/dev/zero of=/mnt/fill bs=1M count=$(awk '/^MemAvailable/ "
                    "{ print int($2 / 1024) - 60 }' /proc/meminfo) 2>&1")
        auto_online(guest, "online_kernel")
        plug_memory(guest, "dimm0", 256)
        example_passes(guest, "vecadd -n 10000000", 300)    # 120 MB
        auto_online(guest, "online_movable")
        running = guest.begin("touch /run/more; while [ -e /run/more ]; do "
                              "vecadd -n 300000 || exit 9; vgpu-selftest copy >/dev/null || exit 8; "
                              "done")
        for _ in range(3):
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "a program runs")
            plug_memory(guest, "dimm1", 256)
            plugged = memory_kb(guest)
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "a program runs")
            guest.qmp.command("device_del", id="dimm1")
            guest.qmp.wait_event("DEVICE_DELETED", 300)
            guest.qmp.command("object-del", id="mem-dimm1")
            tap.true(memory_kb(guest) < plugged - (128 << 10), "the guest gave the memory back")
        guest.check("rm /run/more")
        status, output = running.wait(300)
        tap.equal(status, 0, f"the programs' exit status ({output[-1000:]})")
        works_again(daemon, guest)


if __name__ == "__main__":
    tap.main()
