# SPDX-License-Identifier: MIT
"""Linux guests: the driver as it is, on Xen, in two domains at once.

Each domain's results are compared in the guest, bit by bit, on data from a seed of its
own: data that reached the wrong domain would be seen as wrong results.
"""
from xentest import EXAMPLES, dom0, passed

# pylint: disable=wrong-import-order
import linuxguests as lg
import tap
from agent import poll

ROUNDS = 300
SEEDS = {"one": 1000, "two": 2000}


def both_pass(pair, command):
    """Run a command in both guests at the same time, each with its own seed; both must pass."""
    pending = [(guest, guest.begin(f"{command} -s {SEEDS[guest.name]}")) for guest in pair]
    for guest, request in pending:
        status, output = request.wait(600)
        tap.true(status == 0 and passed(output),
                 f"{guest.name}: {request.text}: exit status {status}, output:\n{output}")


@tap.test("linux: two domains from two xl creates at once each see the device, and their driver takes it")
def two_domains():
    """VGPU-BUS-010, VGPU-PCI-005: this bus refuses DMA and drops messages of a function that is no bus master"""
    with lg.dropped_on_failure(*lg.NAMES):
        for guest in lg.guests(*lg.NAMES):
            tap.contains(guest.check("cat /sys/hypervisor/type"), "xen", "the hypervisor")
            tap.equal(guest.check("nproc").strip(), str(lg.VCPUS[guest.name]), "processors")
            tap.contains(guest.check("lspci -nn -d 1234:7667"), "00:10.0 3D controller [0302]", "lspci")
            tap.contains(guest.check("vgpu-info"), "0:Ready", "vgpu-info")
            interrupts = guest.check("grep vgpu0 /proc/interrupts")
            tap.contains(interrupts, "xen-pirq", "interrupts are event channels")
            guest.check_kernel_log()
        tap.equal(sorted(vm["domid"] for vm in lg.accounts().values() if vm["attached"]),
                  sorted(guest.id for guest in lg.guests(*lg.NAMES)), "domains that vgpud serves")


@tap.test("linux: every example passes in both at the same time, and says so in its last line")
def examples():
    with lg.dropped_on_failure(*lg.NAMES):
        pair = lg.guests(*lg.NAMES)
        for command in EXAMPLES:
            both_pass(pair, command)
        for guest in pair:
            lg.wait_idle(guest)
            guest.check_kernel_log()


@tap.test(f"linux: {ROUNDS} rounds in each of two domains at once, all results right, both in vgpud's "
          "accounts and log")
def hundreds_of_rounds():
    with lg.dropped_on_failure(*lg.NAMES):
        pair = lg.guests(*lg.NAMES)
        before = {guest.name: lg.account(guest)["kernels"] for guest in pair}
        pending = [(guest, guest.begin(f"vecadd -n 1024 -r {ROUNDS} -s {SEEDS[guest.name]}"))
                   for guest in pair]

        def overlapping():
            """Both in mid-work, in one answer of vgpud's."""
            now = lg.accounts()
            done = [now[f"xen-{guest.id}"]["kernels"] - before[guest.name] for guest in pair]
            return all(0 < count < ROUNDS for count in done) and done
        seen = poll(overlapping, 120, "both at work at the same time", interval_s=0.2)
        for guest, request in pending:
            status, output = request.wait(900)
            tap.true(status == 0 and passed(output),
                     f"{guest.name}: {request.text}: exit status {status}, output:\n{output}")
        log = dom0().check(f"cat {lg.LOG}")
        for guest in pair:
            vm = lg.wait_idle(guest)
            tap.equal(vm["kernels"] - before[guest.name], ROUNDS, f"kernels of {guest.name}")
            tap.equal((vm["command_errors"], vm["guest_errors"], vm["contexts_lost"]), (0, 0, 0),
                      f"errors of {guest.name}")
            tap.contains(log, f"(xen-{guest.id}) ctx0: created", "vgpud's log")
            guest.check_kernel_log()
        tap.diagnose(f"in mid-work: {seen} kernels; at the end {ROUNDS} each")
