#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The device without a back end, and its coming alive.

A guest must boot, list the device and stay healthy whether or not anybody
answers behind it.
"""
import os
import tempfile

from vmtest import EXAMPLES, example_passes, program_fails, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest, GuestError

ALL_ONES = "0xFFFFFFFF"


def register(guest, bar, offset):
    """Read a register past the driver, which must not be loaded."""
    device = f"/sys/bus/pci/devices/{guest.pci_address()}"
    guest.check(f"echo 1 >{device}/enable")
    base = int(guest.check(f"sed -n {bar + 1}p {device}/resource").split()[0], 16)
    return guest.check(f"devmem {base + offset:#x} 32").strip()


@tap.test("with no back end the guest boots and lists the device; reads give all-ones")
def boots_without_back_end():
    with tempfile.TemporaryDirectory() as folder:
        config = Config(name="alone", socket=os.path.join(folder, "absent.sock"), vgpu_load=False)
        with Guest(config) as guest:
            line = guest.check("lspci -nn -d 1234:7667")
            tap.contains(line, "3D controller [0302]", "lspci")
            details = guest.check("lspci -vv -d 1234:7667")
            tap.contains(details, "MSI-X: Enable- Count=32", "lspci -vv")
            for bar, offset in ((0, 0x000), (0, 0x018), (0, 0x0c0), (0, 0x1fc)):
                tap.equal(register(guest, bar, offset), ALL_ONES, f"BAR {bar} offset {offset:#x}")
            guest.check_kernel_log()


@tap.test("with no back end the driver says why; both come alive when vgpud starts")
def comes_alive():
    """VGPU-UAPI-005"""
    daemon = Daemon([Vm("A")])
    try:
        with Guest(Config(name="early", socket=daemon.socket("A"))) as guest:
            program_fails(guest, "vgpu-info")
            tap.contains(guest.run("exec 3<>/dev/vgpu0")[1], "No such device", "open()")
            log = guest.check("dmesg | grep vgpu")
            tap.contains(log.lower(), "back end", "the driver's message")
            with daemon:
                guest.driver_up()
                for command in EXAMPLES:
                    example_passes(guest, command)
                example_passes(guest, "vgpu-speed -n 65536")
                wait_idle(daemon, "A")
                guest.check_kernel_log()
    finally:
        daemon.remove()


@tap.test("memory that cannot be shared is refused at start, with the option to add")
def private_memory_is_refused():
    for memory, advice in (("private", "share=on"), ("anonymous", "memory-backend-memfd")):
        with tempfile.TemporaryDirectory() as folder:
            guest = Guest(Config(name=memory, socket=os.path.join(folder, "absent.sock"),
                                 memory=memory))
            try:
                try:
                    guest.start()
                except GuestError:
                    pass    # QEMU ended before its monitor answered
                tap.true(guest.wait_exit(30) != 0, "QEMU's exit status is not 0")
                tap.contains(guest.qemu_log(), "share=on", f"QEMU's message for {memory} memory")
                tap.contains(guest.qemu_log(), advice, f"QEMU's message for {memory} memory")
            finally:
                guest.close()


if __name__ == "__main__":
    tap.main()
