# SPDX-License-Identifier: MIT
"""vgpu-dm in xl's hands: a plain `xl create` whose device model it is.

A refusal must end `xl create`, stand in xl's own log of the device model with its reason,
and leave no domain behind."""
import json

from xentest import TINY, WRAPPER, dom0, example_passes, linux_config, tiny_config, with_vgpu

# pylint: disable=wrong-import-order
import tap
from agent import poll
from dom0 import xl_text

GOOD = "executor=cpu,memory=64M"
WAIT_S = 180


def refused(name, reason, config):
    """xl create fails, the device model's log says why, and nothing is left."""
    log = f"/var/log/xen/qemu-dm-{name}.log"
    dom0().run(f"rm -f {log}*")
    status, output = dom0().xl_create(name, config)
    tap.true(status != 0, f"xl create fails; it said: {output}")
    tap.contains(output, "device model", "what xl says")
    tap.contains(dom0().run(f"cat {log}")[1], reason, f"{log}; xl said: {output}")
    tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")


def vms():
    """The VMs of the vgpud at the usual place, by name; None while none answers."""
    status, output = dom0().run("vgpuctl --json list")
    return {vm["name"]: vm for vm in json.loads(output)["vms"]} if status == 0 else None


def vgpud_pid():
    return json.loads(dom0().check("vgpuctl --json version"))["pid"]


def wait_left(domain):
    """vgpud has let the domain go: it is not in its list any more."""
    poll(lambda: f"xen-{domain.id}" not in vms(), WAIT_S, f"domain {domain.id} has left",
         interval_s=0.3)


# -- what argv alone decides, and what needs a vgpud that is not there -------

BAD = [
    ("an unknown key", f"{GOOD},colour=red", "unknown key 'colour'"),
    ("no executor", "memory=1G", "no executor given: add executor=cpu"),
    ("a slot of QEMU's own", f"{GOOD},slot=0x2", "choose one above, e.g. slot=0x10"),
    ("no vgpud, and none to be started", f"{GOOD},control=/run/none/c.sock,start=no",
     "no vgpud listens at /run/none/c.sock"),
]
# as above, but by vgpu-dm with arguments like xl's: a failed `xl create` takes seconds
DIRECTLY = [
    ("executor", "'executor': expected KEY=VALUE"),
    (f"{GOOD},memory=1M", "memory is given twice"),
    ("executor=gpu", "executor=gpu: allowed is cpu, null or cuda"),
    ("executor=cpu,memory=lots", "memory=lots: allowed is"),
    ("executor=cpu,memory=0", "memory=0: allowed is"),
    (f"{GOOD},slot=0x20", "slot=0x20: allowed is"),
    (f"{GOOD},xen=5", "the domain is the one that xl creates"),
    (f"{GOOD},socket=/run/s", "a Xen domain has no socket"),
    (f"{GOOD},qemu=/usr/bin/no-qemu", "qemu=/usr/bin/no-qemu: No such file"),
    (f"{GOOD},qemu={WRAPPER}", f"qemu={WRAPPER} is vgpu-dm itself"),
    (f"{GOOD},control=/run/none/c.sock,vgpud=/usr/bin/no-vgpud",
     "vgpud=/usr/bin/no-vgpud: No such file"),
    (f"{GOOD},control=/run/none/c.sock,vgpud=/bin/false",
     "/bin/false was started for control socket /run/none/c.sock, but ended at once"),
    (f"{GOOD},start=perhaps", "start=perhaps: allowed is yes or no"),
    (f"{GOOD},timeout=1h", "timeout=1h: allowed is a time like"),
    (f"{GOOD},deadline=soon", "deadline=soon: allowed is"),
    (f"{GOOD},contexts=0", "contexts=0: allowed is"),
    (f"{GOOD},log=vgpud.log", "log=vgpud.log: allowed is an absolute path"),
]


def _declare(what, options, reason):
    @tap.test(f"wrapper: {what} is refused with the reason")
    def refusal():
        refused("bad", reason, with_vgpu(tiny_config(), options))


for _row in BAD:
    _declare(*_row)


@tap.test("wrapper: every other bad option is refused with the reason")
def bad_options():
    for options, reason in DIRECTLY:
        status, output = dom0().run(f"{WRAPPER} -xen-domid 30000 -machine pc -vgpu '{options}'")
        tap.equal(status, 1, f"exit status with {options}")
        tap.contains(output, reason, f"with {options}")


@tap.test("wrapper: no -vgpu at all is refused with the reason")
def no_options():
    refused("bad", "no -vgpu among the arguments", tiny_config(device_model_override=WRAPPER))


@tap.test("wrapper: a slot that a device of QEMU's takes by its addr= is refused with the reason")
def slot_taken():
    config = tiny_config(device_model_args_hvm=["-device", "virtio-rng-pci,addr=0x11"])
    refused("bad", "slot=0x11 is taken by QEMU's device 'virtio-rng-pci,addr=0x11'",
            with_vgpu(config, f"{GOOD},slot=0x11"))


@tap.test("wrapper: a PVH guest, which xl gives a QEMU for its disk, is refused with the reason")
def pvh():
    dom0().check("dd if=/dev/zero of=/run/disk.img bs=1M count=1 2>&1")
    disk = "format=raw,vdev=xvda,access=rw,backendtype=qdisk,target=/run/disk.img"
    refused("pvh", "a PV or PVH guest (QEMU's machine is 'xenpv')",
            dict(type="pvh", memory=64, vcpus=1, kernel=TINY, disk=[disk],
                 device_model_override=WRAPPER, device_model_args=["-vgpu", GOOD]))


# -- with a vgpud ------------------------------------------------------------

@tap.test("wrapper: where no vgpud runs, xl create starts one; the guest sees the device and computes")
def starts_vgpud():
    tap.equal(vms(), None, "a vgpud before")
    domain = dom0().create("first", with_vgpu(linux_config(), "executor=cpu,memory=256M"))
    tap.equal(vms()[f"xen-{domain.id}"]["attached"], True, "attached")
    domain.connect(0)
    domain.poll("vgpu-info")
    tap.contains(domain.check("lspci -nn -d 1234:7667"), "00:10.0 3D controller [0302]", "lspci")
    example_passes(domain, "vecadd -n 4096")
    domain.check_kernel_log()
    domain.destroy()
    wait_left(domain)


@tap.test("wrapper: a vgpud that runs serves the next domain, too, in the slot that is asked for")
def attaches_to_vgpud():
    pid = vgpud_pid()
    domain = dom0().create("next", with_vgpu(tiny_config(), f"{GOOD},slot=0x15,name=mine"))
    tap.equal(vgpud_pid(), pid, "vgpud's process")
    tap.equal(sorted(vms()), ["mine"], "VMs")
    domain.destroy()
    poll(lambda: not vms(), WAIT_S, "no VM is left", interval_s=0.3)


SERVED = [
    ("memory over the host's", "executor=cpu,memory=100G",
     "memory=102400M is more than this host has"),
    ("an executor that can't work", "executor=cuda,memory=64M", "executor=cuda can't be used: "),
]


def _declare_served(what, options, reason):
    @tap.test(f"wrapper: {what} is refused by vgpud, and xl's log has its reason")
    def refusal():
        refused("bad", reason, with_vgpu(tiny_config(), options))
        tap.equal(vms(), {}, "VMs")


for _row in SERVED:
    _declare_served(*_row)


@tap.test("wrapper: a vgpud that does not answer is given up in time")
def silent():
    pid = vgpud_pid()
    dom0().check(f"kill -STOP {pid}")
    try:
        refused("mute", "control.sock: no answer within 2 s",
                with_vgpu(tiny_config(), f"{GOOD},timeout=2s"))
    finally:
        dom0().check(f"kill -CONT {pid}")
    poll(lambda: vms() == {}, WAIT_S, "vgpud serves nothing", interval_s=0.3)


@tap.test("wrapper: killed while it waits for vgpud, it fails xl create and leaves nothing")
def killed():
    pid = vgpud_pid()
    dom0().put("/run/slain.cfg", xl_text(dict(name="slain", **with_vgpu(tiny_config(), GOOD))))
    dom0().check(f"kill -STOP {pid}")
    try:
        request = dom0().begin("xl create -e /run/slain.cfg")
        wrapper = poll(lambda: dom0().run(f"ps -o pid,args | grep '[0-9] {WRAPPER} '")[1].split(), WAIT_S,
                       "vgpu-dm runs", interval_s=0.3)
        dom0().check(f"kill -9 {wrapper[0]}")
        tap.true(request.wait(WAIT_S)[0] != 0, "xl create fails")
        tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")
    finally:
        dom0().check(f"kill -CONT {pid}")
    poll(lambda: vms() == {}, WAIT_S, "vgpud serves nothing", interval_s=0.3)
