# SPDX-License-Identifier: MIT
"""The rig itself: what must hold before a test of ours means anything."""
from xentest import dom0, linux_config, tiny_config

# pylint: disable=wrong-import-order
import tap


@tap.test("rig: Xen boots a Dom0 in which xl works")
def boots():
    tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")
    info = dom0().check("xl info")
    tap.contains(info, "xen_version            : 4.17", "xl info")


@tap.test("rig: a guest without the device runs, and its checks fail")
def tiny_without_device():
    domain = dom0().create("bare", tiny_config())
    lines = domain.wait_said("^TINY done")
    tap.true(any(line.startswith("TINY not ok config.id: saw 0xffffffff") for line in lines),
             f"a failed check among: {lines}")
    domain.destroy()


@tap.test("rig: a Linux guest without the device boots and answers")
def linux_without_device():
    domain = dom0().create("plain", linux_config())
    domain.connect(0)
    tap.contains(domain.check("uname -r"), "vgpu-xen", "the kernel's release")
    tap.equal(domain.check("cat /sys/hypervisor/type").strip(), "xen", "the hypervisor")
    tap.equal(domain.check("lspci -d 1234:7667"), "", "our device")
    domain.destroy()
