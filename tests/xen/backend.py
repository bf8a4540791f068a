# SPDX-License-Identifier: MIT
"""vgpud in the emulated Dom0, for one domain: its accounts, its log, its end.

The domain is created paused, vgpud is told its id, and when the device is registered the
domain may run.  It has a control socket and a runtime directory of its own.
"""
import json

import tap
from agent import AgentError, poll

# what a VM can hold, as vgpuctl names it
RESOURCES = ("contexts", "memory_bytes", "buffers", "exec_processes")
WAIT_S = 180


class Backend:
    def __init__(self, domain, options="executor=cpu,memory=256M,slot=0x10"):
        self.dom0, self.domid = domain.dom0, domain.id
        self.name = f"xen-{domain.id}"
        self.directory = f"/run/{self.name}"
        self.log_path = f"{self.directory}/log"
        self.control = f"{self.directory}/control.sock"
        self.dom0.check(f"mkdir -p {self.directory}")
        self.process = self.dom0.begin(
            f"echo $$ >{self.directory}/pid; exec vgpud --control {self.control} --runtime-dir {self.directory} "
            f"--vm name={self.name},xen={self.domid},{options} 2>{self.log_path}")
        try:
            self.wait_vm(lambda vm: vm["attached"], "attached")
        except AssertionError:
            tap.diagnose(self.log())
            raise

    def vms(self):
        """The accounts of all VMs, None while vgpud does not answer."""
        status, output = self.dom0.run(f"vgpuctl --control {self.control} --json stats")
        return json.loads(output)["vms"] if status == 0 else None

    def vm(self):
        """The domain's account, None while there is none."""
        vms = self.vms()
        return vms[0] if vms else None

    def wait_vm(self, condition, what, timeout_s=WAIT_S):
        """Wait until the account meets the condition; the account."""
        def look():
            if self.process.done():
                tap.fail(f"vgpud has ended:\n{self.log()}")
            vm = self.vm()
            return vm if vm and condition(vm) else None
        return poll(look, timeout_s, f"VM of domain {self.domid}: {what}", interval_s=0.3)

    def wait_idle(self, timeout_s=WAIT_S):
        """The VM holds nothing."""
        self.wait_vm(lambda vm: vm["responding"] and not any(vm[key] for key in RESOURCES),
                     "holds nothing", timeout_s)

    def wait_detached(self, timeout_s=WAIT_S):
        """The domain is gone, so vgpud has forgotten its VM: no process serves it any more."""
        def look():
            if self.process.done():
                tap.fail(f"vgpud has ended:\n{self.log()}")
            return self.vms() == []
        poll(look, timeout_s, f"VM of domain {self.domid}: forgotten", interval_s=0.3)

    def stop(self):
        """End vgpud the regular way, and insist that this works."""
        self.dom0.check(f"kill $(cat {self.directory}/pid)")
        try:
            status, _ = self.process.wait(WAIT_S)
        except AgentError as error:
            tap.fail(f"vgpud does not end: {error}")
        tap.equal(status, 0, f"vgpud's exit status; its log:\n{self.log()}")

    def log(self):
        return self.dom0.run(f"cat {self.log_path}")[1]
