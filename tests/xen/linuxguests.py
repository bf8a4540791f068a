# SPDX-License-Identifier: MIT
"""Linux guests with a vGPU by vgpu-dm, and what vgpud knows of them.

Booting one takes ten seconds and more, so tests share two, by name.  A test that ends or
breaks its guest says drop(), and the next one that asks for it gets another: so each
test can be run alone, and one that fails does not take the others along.
"""
import contextlib
import json

from xentest import dom0, linux_config, with_vgpu

# pylint: disable=wrong-import-order
import tap
from agent import poll
from dom0 import Dom0Error, Domain, xl_text

NAMES = ("one", "two")      # each has the console port of its place here
VCPUS = {"one": 1, "two": 2}
OPTIONS = "executor=cpu,memory=256M,deadline=600s"
LOG = "/var/log/vgpud.log"
WAIT_S = 180
# what a VM can hold, as vgpuctl names it
RESOURCES = ("contexts", "memory_bytes", "buffers", "exec_processes")

_guests = {}


def driver_up(domain):
    """Its driver has taken the device into use, also after a loss."""
    domain.poll("grep -qx ready /sys/class/vgpu/vgpu0/state")


def take(domain):
    """The guest of its name is this domain from now on, which has been created; once it is up."""
    _guests[domain.name] = domain
    domain.connect(NAMES.index(domain.name))
    driver_up(domain)
    return domain


def create(*names, options=OPTIONS):
    """Create these at the same time, one `xl create` each, which stays in the background to start
    its domain again when that reboots; the guests, when all are up."""
    for name in names:
        config = with_vgpu(linux_config(vcpus=VCPUS[name]), options)
        dom0().put(f"/run/{name}.cfg", xl_text(dict(name=name, **config)))
    pending = [dom0().begin(f"xl create /run/{name}.cfg") for name in names]
    for name, request in zip(names, pending):
        status, output = request.wait(WAIT_S)
        if status != 0:
            raise Dom0Error(f"xl create {name}: exit status {status}\n{output}\n{dom0().logs(name)}")
    return [take(Domain(dom0(), name)) for name in names]


def guests(*names):
    """The guests of these names, those that are there or else new ones."""
    missing = [name for name in names if name not in _guests]
    if missing:
        create(*missing)
    return [_guests[name] for name in names]


def drop(name):
    """This guest is of no use to the next test."""
    domain = _guests.pop(name, None)
    if domain and domain.id in dom0().domains().values():
        domain.destroy()


def drop_all():
    for name in NAMES:
        drop(name)


@contextlib.contextmanager
def dropped_on_failure(*names):
    """A test that fails in here leaves its guests in an unknown state."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            tap.diagnose(f"--- vgpud's log:\n{dom0().run(f'tail -n 40 {LOG}')[1]}")
            for name in names:
                drop(name)
        raise


def rebooted(name):
    """The guest after it rebooted, which is a new domain to Xen."""
    old = _guests.pop(name)

    def other():
        number = dom0().domains().get(name)
        return number if number not in (None, old.id) else None
    poll(other, WAIT_S, f"{name} is another domain than {old.id}", interval_s=0.3)
    return take(Domain(dom0(), name))


# -- vgpud -------------------------------------------------------------------

def vgpud_pid():
    return int(json.loads(dom0().check("vgpuctl --json version"))["pid"])


def accounts():
    """The accounts of all VMs, by name."""
    return {vm["name"]: vm for vm in json.loads(dom0().check("vgpuctl --json stats"))["vms"]}


def account(domain):
    """This domain's account, None if vgpud knows none."""
    return accounts().get(f"xen-{domain.id}")


def wait_account(domain, condition, what, timeout_s=WAIT_S):
    """Wait until the account meets the condition; the account."""
    def look():
        vm = account(domain)
        return vm if vm and vm["responding"] and condition(vm) else None
    return poll(look, timeout_s, f"account of {domain.name}: {what}", interval_s=0.2)


def wait_idle(domain):
    """Nothing is held for it."""
    return wait_account(domain, lambda vm: not any(vm[key] for key in RESOURCES), "holds nothing")


def wait_forgotten(*domains):
    """vgpud does not know them any more, and no process of theirs is left."""
    names = {f"xen-{domain.id}" for domain in domains}
    poll(lambda: not names & set(accounts()), WAIT_S, f"{names} forgotten", interval_s=0.3)
    for name in names:
        tap.equal(dom0().run(f"ps -o args | grep -w '[r]ole=.* {name}'")[1], "", f"processes of {name}")


def spinning(domain):
    """Start a kernel that never ends; the request, once the kernel runs."""
    request = domain.begin("spin")
    wait_account(domain, lambda vm: vm["contexts"] == 1 and vm["exec_processes"] == 1
                 and vm["memory_bytes"], "a kernel runs")
    return request
