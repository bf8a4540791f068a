#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A real guest whose VM has executor=cuda, on the fake driver: programs see a CUDA device by its
name, every example computes through it, and a kernel's fault has CUDA's words.

The fake computes on the processor: what is proved here is the way from a program in a guest to
the driver API, not a GPU.  scripts/gpu-check-vm.py does the same on a real one.
"""
import os
import shutil
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "vm"))
# pylint: disable=wrong-import-position
from vmtest import EXAMPLES, example_passes, program_fails, wait_idle  # noqa: E402
import images  # noqa: E402
import tap  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

DEVICE = "CUDA on fake CUDA device 0"
FAKE = os.path.join(os.path.dirname(images.binary("vgpud")), "..", "fakecuda", "libcuda.so.1")


@tap.test("a guest runs the examples on CUDA, and survives a kernel's fault")
def runs_examples():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.environ["VGPU_LIBCUDA"] = os.path.join(folder, "libcuda.so.1")
        # Not a link: the isolated processes may not reach the tree.
        shutil.copyfile(FAKE, os.environ["VGPU_LIBCUDA"])
        with Daemon([Vm("A", executor="cuda")]) as daemon, \
                Guest(Config(name="cuda", socket=daemon.socket("A"))) as guest:
            tap.contains(guest.driver_up(), DEVICE, "vgpu-info")
            for command in EXAMPLES:
                example_passes(guest, command, executor=DEVICE)
            tap.contains(program_fails(guest, "fault"),
                         "CUDA_ERROR_ILLEGAL_ADDRESS (700)", "a fault")
            example_passes(guest, EXAMPLES[0], executor=DEVICE)
            wait_idle(daemon, "A")
            guest.check("rmmod vgpu")
            guest.check_kernel_log()


if __name__ == "__main__":
    tap.main()
