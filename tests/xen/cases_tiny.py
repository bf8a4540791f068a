# SPDX-License-Identifier: MIT
"""The tiny guest (guest/tiny.c): the bus, seen by a guest without an operating system."""
import contextlib
import re

from xentest import dom0, tiny_config

# pylint: disable=wrong-import-order
import tap
from agent import poll
from backend import WAIT_S, Backend

OK = re.compile(r"^TINY ok (\S+)$")
FAILED = re.compile(r"^TINY not ok (.*)$")
# one of each chapter, so that a chapter that was left out can't look like one that passed
CHAPTERS = ("config.id", "bar.0-moved", "mmio.read-64-of-the-table",
            "string.rep-movs-to-device-and-back", "string.rep-outs-to-config",
            "dma.complement-across-pages",
            "doorbell.reads-0", "msix.unmasked-arrives", "flr.table-is-reset")


@contextlib.contextmanager
def paused(name, vcpus=1):
    """A domain that has not run yet; one that a test leaves behind would fail those after it."""
    domain = dom0().create(name, tiny_config(vcpus=vcpus), "-e -p")
    try:
        yield domain
    except BaseException:
        tap.diagnose(dom0().run(f"xl vcpu-list; tail -n 20 /run/xen-{domain.id}/log")[1])
        dom0().run(f"xl destroy {domain.id}; kill $(cat /run/xen-{domain.id}/pid)")
        raise


def passes(domain, backend, chapters):
    """It runs with a back end of its own, and all its checks pass."""
    dom0().check(f"xl unpause {domain.name}")
    lines = domain.wait_said("^TINY done", 240)
    failed = [hit[1] for hit in map(FAILED.match, lines) if hit]
    passed = [hit[1] for hit in map(OK.match, lines) if hit]
    tap.equal(failed, [], "failed checks")
    tap.equal([chapter for chapter in chapters if chapter not in passed], [], "checks left out")
    done = [line for line in lines if line.startswith("TINY done ")][0]
    tap.equal(len(passed), int(done.split()[2], 16), "checks it says it made")
    domain.destroy()
    backend.wait_detached()
    backend.stop()


@tap.test("tiny: config space, BARs, MMIO, rep movs, DMA, doorbells, MSI-X and FLR")
def one_processor():
    with paused("tiny1") as domain:
        passes(domain, Backend(domain), CHAPTERS)


@tap.test("tiny: the same on two processors, by the successor of a vm process killed before the domain ran")
def two_processors():
    with paused("tiny2", vcpus=2) as domain:
        backend = Backend(domain)
        first = backend.vm()
        dom0().check(f"kill -9 {first['pid']}")
        second = backend.wait_vm(lambda vm: vm["responding"] and vm["generation"] > first["generation"],
                                 "a new generation")
        tap.true(second["pid"] != first["pid"], f"another process than {first['pid']}")
        passes(domain, backend, CHAPTERS + ("smp.first-reads-right", "smp.second-reads-right"))


@tap.test("tiny: vgpud ended in mid-access of two processors: reads are ones, and none waits for ever")
def ended_in_mid_access():
    with paused("tiny3", vcpus=2) as domain:
        backend = Backend(domain)
        dom0().check("xl unpause tiny3")
        domain.wait_said("^TINY done", 240)
        backend.stop()
        domain.wait_said("^TINY taken", 240)
        domain.destroy()


@tap.test("tiny: vgpud killed in mid-access, and no other comes: xl destroy ends the domain that waits")
def killed_in_mid_access():
    with paused("tiny4", vcpus=2) as domain:
        backend = Backend(domain)
        dom0().check("xl unpause tiny4")
        domain.wait_said("^TINY done", 240)
        dom0().check(f"kill -9 $(cat {backend.directory}/pid)")
        tap.equal(backend.process.wait(WAIT_S)[0], 137, "vgpud's exit status")
        poll(lambda: not dom0().run("ps -o args | grep '[r]ole='")[1], WAIT_S, "vgpud's processes have ended")
        domain.destroy()
        tap.true("TINY taken" not in domain.said(), "both processors waited for an answer to the end")
        tap.equal(dom0().domains(), {"Domain-0": 0}, "domains")
