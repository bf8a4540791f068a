# SPDX-License-Identifier: MIT
"""vgpud in the emulated Dom0: its accounts, its log, its processes.

vgpu-dm starts it with the first guest and names each VM xen-DOMID.  Processes are
found by their names, and ended with signals, from Dom0's shell.
"""
import json

import tap
from agent import poll

CONTROL = "/run/vgpu/control.sock"
LOG = "/var/log/vgpud.log"
# what a VM can hold, as vgpuctl names it
RESOURCES = ("contexts", "memory_bytes", "buffers", "exec_processes")
WAIT_S = 120


class Backend:
    """The vgpud of one Dom0; dom0: a function that gives the running one."""

    def __init__(self, dom0):
        self._dom0 = dom0

    def vms(self):
        """Accounts of all VMs by name; none while no vgpud runs."""
        status, output = self._dom0().run("vgpuctl stats --json")
        if status != 0:
            return {}
        return {vm["name"]: vm for vm in json.loads(output)["vms"]}

    def vm(self, domid):
        """The account of a domain's VM, None if there is none."""
        return self.vms().get(f"xen-{domid}")

    def wait_vm(self, domid, condition, what, timeout_s=WAIT_S):
        """Wait until the account meets the condition; the account."""
        def look():
            vm = self.vm(domid)
            return vm if vm and condition(vm) else None
        return poll(look, timeout_s, f"VM of domain {domid}: {what}", interval_s=0.3)

    def wait_gone(self, domid, timeout_s=WAIT_S):
        """No VM and no process serves that domain any more."""
        poll(lambda: self.vm(domid) is None, timeout_s, f"vgpud lets domain {domid} go",
             interval_s=0.3)

    def wait_idle(self, domid, timeout_s=WAIT_S):
        """The domain's VM is served and holds nothing."""
        self.wait_vm(domid, lambda vm: vm["responding"] and not any(vm[key] for key in RESOURCES),
                     "holds nothing", timeout_s)

    def pids(self, name):
        """Processes of that name ("vgpud", "vgpu-vm", "vgpu-exec") that live."""
        return [int(word) for word in self._dom0().run(
            f"grep -lx 'Name:.{name}' /proc/[0-9]*/status | xargs -r grep -L 'State:.Z' |"
            " cut -d/ -f3")[1].split()]

    def kill(self, name):
        """SIGKILL to all processes of that name, of which there must be one."""
        pids = self.pids(name)
        tap.true(pids, f"a process named {name}")
        self._dom0().check(f"kill -9 {' '.join(map(str, pids))}")
        return pids

    def log(self):
        return self._dom0().run(f"cat {LOG}")[1]
