# SPDX-License-Identifier: MIT
"""The tiny guest (guest/tiny.c): the bus, seen by a guest without an operating system."""
import re

from xentest import dom0, tiny_config

# pylint: disable=wrong-import-order
import tap
from backend import Backend

OK = re.compile(r"^TINY ok (\S+)$")
FAILED = re.compile(r"^TINY not ok (.*)$")
# one of each chapter, so that a chapter that was left out can't look like one that passed
CHAPTERS = ("config.id", "bar.0-moved", "mmio.read-64-of-the-table",
            "string.rep-movs-to-device-and-back", "dma.complement-across-pages",
            "doorbell.reads-0", "msix.unmasked-arrives", "flr.table-is-reset")


def passes(name, vcpus, chapters):
    domain = dom0().create(name, tiny_config(vcpus=vcpus), "-e -p")
    try:
        with_backend(domain, chapters)
    except BaseException:
        tap.diagnose(dom0().run(f"xl vcpu-list; tail -n 20 /run/xen-{domain.id}/log")[1])
        # what is left of this would fail the tests that come after it
        dom0().run(f"xl destroy {domain.id}; kill $(cat /run/xen-{domain.id}/pid)")
        raise


def with_backend(domain, chapters):
    """It runs with a back end of its own, and all its checks pass."""
    backend = Backend(domain)
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
    passes("tiny1", 1, CHAPTERS)


@tap.test("tiny: the same with two processors, which then read registers at the same time")
def two_processors():
    passes("tiny2", 2, CHAPTERS + ("smp.first-reads-right", "smp.second-reads-right"))
