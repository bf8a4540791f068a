# SPDX-License-Identifier: MIT
"""vgpuctl attach and detach: a domain that is created paused gets its device by hand, and loses it."""
from xentest import dom0, example_passes, linux_config

# pylint: disable=wrong-import-order
import linuxguests as lg
import tap

OPTIONS = "--executor cpu --memory 256M"
# arguments of vgpuctl, and what it says
REFUSED = [
    (f"attach --domid 30000 {OPTIONS}", "domain 30000: not a running HVM domain: No such process"),
    ("attach --domid 30000 --memory 1G", "--executor is missing: cpu, cuda or null"),
    ("attach --domid 30000 --executor cpu --memory 100G", "memory=102400M is more than this host has"),
    ("attach --domid 30000 --executor cuda --memory 1G", "executor=cuda can't be used: "),
    (f"attach --domid 30000 --slot 0x20 {OPTIONS}", "slot=0x20: allowed is"),
    ("detach --domid 30000", "domain 30000 has no vGPU here"),
]


@tap.test("hand: what can't be attached or detached is refused with the reason, and nothing is left of it")
def refusals():
    before = lg.accounts()
    for arguments, reason in REFUSED:
        status, output = dom0().run(f"vgpuctl {arguments}")
        tap.true(status != 0, f"vgpuctl {arguments} fails")
        tap.contains(output, reason, f"vgpuctl {arguments}")
    tap.equal(sorted(lg.accounts()), sorted(before), "VMs")


@tap.test("hand: a domain created paused and attached computes; detached under a kernel, it loses the device "
          "and lives on")
def by_hand():
    with lg.dropped_on_failure("one"):
        lg.drop("one")
        domain = dom0().create("one", linux_config(), "-e -p")
        dom0().check(f"vgpuctl attach --domid {domain.id} --slot 0x13 {OPTIONS}")
        status, output = dom0().run(f"vgpuctl attach --domid {domain.id} --slot 0x14 {OPTIONS}")
        tap.true(status != 0, "a second vGPU is refused")
        tap.contains(output, f"domain {domain.id} has a vGPU already, 'xen-{domain.id}' in slot 0x13: detach that",
                     "the reason")
        dom0().check("xl unpause one")
        guest = lg.take(domain)
        tap.contains(guest.check("lspci -nn -d 1234:7667"), "00:13.0 3D controller [0302]", "lspci")
        example_passes(guest, "vecadd -n 4096")

        request = lg.spinning(guest)
        dom0().check(f"vgpuctl detach --domid {domain.id}")
        status, output = request.wait(lg.WAIT_S)
        tap.true(status != 0, f"the program in mid-kernel has an error: {output}")
        lg.wait_forgotten(guest)
        tap.true(guest.run("vecadd -n 1024", 60)[0] != 0, "programs fail without the device")
        tap.equal(guest.check("dd if=/sys/bus/pci/devices/0000:00:13.0/config bs=1 count=2 2>/dev/null | hexdump -e '\"%x\"'"),
                  "ffff", "config space without the device")
        guest.check_kernel_log()
        status, output = dom0().run(f"vgpuctl detach --domid {domain.id}")
        tap.true(status != 0, "nothing is there to be detached")
        tap.contains(output, f"domain {domain.id} has no vGPU here", "the reason")
        lg.drop("one")
        tap.true("one" not in dom0().domains(), "the domain ends")
