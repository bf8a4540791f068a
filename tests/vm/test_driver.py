#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The driver's life: loaded and unloaded, reset, hot-plugged, its back end lost."""
import re

from vmtest import example_passes, last_line, program_fails, wait_held, wait_idle

# pylint: disable=wrong-import-order
import loads
import tap
from vgpud import Daemon, Vm
from vm import PCI_ID, Config, Guest


loads.declare(20)


@tap.test("a stall window shorter than the back end may need is refused, with the numbers")
def short_stall_window():
    """VGPU-LIFE-041"""
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="stall", socket=daemon.socket("A"), vgpu_load=False)) as guest:
        guest.check("insmod /lib/modules/vgpu.ko stall_ms=1000")
        line = guest.poll("dmesg | grep 'stall_ms=1000 is too short'")
        numbers = re.search(r"may need (\d+) ms for a command and beats every (\d+) ms, "
                            r"so (\d+) is the least", line)
        tap.true(numbers, f"the numbers in: {line}")
        need, beat, least = (int(number) for number in numbers.groups())
        tap.equal(least, need + 2 * beat, "the least window")
        program_fails(guest, "vgpu-info")
        guest.check("rmmod vgpu")
        guest.check(f"insmod /lib/modules/vgpu.ko stall_ms={least}")
        guest.driver_up()
        tap.equal(guest.check("cat /sys/class/vgpu/vgpu0/stall_ms").strip(), str(least), "stall_ms")
        example_passes(guest, "vecadd -n 1024")
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("a driver in use cannot be unloaded, and can be afterwards")
def busy_driver_stays():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="busy", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        tap.true(guest.run("rmmod vgpu")[0] != 0, "rmmod is refused while a program runs")
        guest.check("killall -KILL spin")
        wait_idle(daemon, "A")
        guest.poll("rmmod vgpu")
        guest.check_kernel_log()


@tap.test("unbinding the driver under a running program loses the context, no more")
def unbind_under_load():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="unbind", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        address = guest.pci_address()
        guest.check(f"echo {address} >/sys/bus/pci/drivers/vgpu/unbind")
        wait_idle(daemon, "A")
        tap.equal(held.wait(60)[0], 1, "exit status of the program whose device went away")
        guest.check(f"echo {address} >/sys/bus/pci/drivers/vgpu/bind")
        guest.driver_up()
        example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


@tap.test("a function reset under a running program loses the context, no more")
def function_reset_under_load():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="flr", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        guest.check(f"echo 1 >/sys/bus/pci/devices/{guest.pci_address()}/reset")
        tap.equal(held.wait(60)[0], 1, "exit status of the program whose device was reset")
        wait_idle(daemon, "A")
        guest.driver_up()
        example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


@tap.test("a machine stopped and continued in mid-kernel computes on")
def stop_and_continue():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="stopped", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        for turn in range(5):
            running = guest.begin(f"vecadd -n 1000000 -s {turn}")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
            guest.qmp.command("stop")
            tap.equal(guest.qmp.command("query-status")["status"], "paused", "machine's state")
            tap.true(daemon.vm("A")["responding"], "the daemon answers meanwhile")
            guest.qmp.command("cont")
            status, output = running.wait(300)
            tap.equal(status, 0, f"the program's exit status ({output})")
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("a guest reset starts over with nothing left behind")
def guest_reset():
    config = {"name": "reset", "allow_reboot": True}
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(socket=daemon.socket("A"), **config)) as guest:
        guest.driver_up()
        guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        guest.reset()
        guest.driver_up()
        wait_idle(daemon, "A")
        example_passes(guest, "vecadd -n 1024")
        guest.check_kernel_log()


@tap.test("a back end that dies loses the contexts; a new one serves new programs")
def back_end_dies():
    """VGPU-LIFE-030"""
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="survivor", socket=daemon.socket("A"))) as guest:
        guest.driver_up()
        generation = int(guest.check("cat /sys/class/vgpu/vgpu0/generation"))
        held = guest.begin("spin")
        wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, "one context")
        daemon.kill()
        status, output = held.wait(120)
        tap.equal((status, last_line(output)[:2]), (1, "2:"), "end of the program")
        program_fails(guest, "vgpu-info")
        daemon.start()
        guest.driver_up(120)
        later = int(guest.check("cat /sys/class/vgpu/vgpu0/generation"))
        tap.true(later != generation, f"generation {generation} became {later}")
        example_passes(guest, "vecadd -n 1024")
        wait_idle(daemon, "A")
        guest.check_kernel_log()


@tap.test("the device is hot-plugged, used, unplugged under load, plugged again")
def hot_plug():
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="hotplug", hotplug_ports=1)) as guest:
        plug = {"driver": "vgpu-pci", "id": "vgpu0", "bus": "rp0", "socket": daemon.socket("A"),
                "reconnect_ms": 200}
        tap.equal(guest.pci_address(), "", "device before it is plugged")
        for turn in range(2):
            guest.qmp.command("device_add", **plug)
            guest.poll(f"lspci -d {PCI_ID} | grep -q .")
            guest.driver_up()
            example_passes(guest, "vecadd -n 1024")
            held = guest.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] == 1, f"one context, turn {turn}")
            guest.qmp.command("device_del", id="vgpu0")
            guest.qmp.wait_event("DEVICE_DELETED", 120)
            tap.equal(held.wait(60)[0], 1, "exit status of the program whose device went away")
            wait_idle(daemon, "A")
        guest.check_kernel_log()


if __name__ == "__main__":
    tap.main()
