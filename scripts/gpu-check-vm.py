#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The vm stage of gpu-check: a real guest, under emulation, on this machine's GPU.

    gpu-check-vm.py [--programs DIR] [--device GPU] [--hmm allow]

Boots Linux in QEMU with vgpu-pci, whose vgpud runs on cuda, finds the device with lspci and runs the examples.
What the guest is made of is built, or named by VGPU_QEMU, VGPU_KERNEL_CLOUD_AMD64 and
VGPU_INITRD_CLOUD_AMD64.  Prints rows as vgpu-gpu-check does; exit status 1 if a check failed.
"""
import argparse
import json
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))

# pylint: disable=wrong-import-position
import images  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

EXAMPLES = ("vecadd -n 1024", "vecadd -n 100000", "saxpy", "matmul -n 64", "reduce", "hello")
PASSED = re.compile(r"1:(.+) PASSED: (\d+) elements, 0 errors \(CUDA on (.+)\)")


def row(name, passed, detail):
    print(json.dumps({"kind": "check", "name": name, "status": "pass" if passed else "fail",
                      "detail": detail}), flush=True)
    return passed


def last_line(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def in_guest(guest):
    """All checks in a guest that has booted."""
    passed = True
    status, output = guest.run("lspci -nn")
    found = [line for line in output.splitlines() if "1234:7667" in line]
    passed &= row("lspci", status == 0 and len(found) == 1, found[0] if found else output)
    for command in EXAMPLES:
        status, output = guest.run(command, 180)
        line = last_line(output)
        passed &= row(command, status == 0 and PASSED.fullmatch(line) is not None,
                      line or f"exit status {status}")
    status, output = guest.run("fault", 120)
    passed &= row("fault", status == 1 and last_line(output).startswith("2:"), last_line(output))
    status, output = guest.run("vecadd -n 1024", 180)
    passed &= row("vecadd after a fault", status == 0, last_line(output))
    return passed


def main():
    parser = argparse.ArgumentParser(description="the vm stage of gpu-check")
    parser.add_argument("--programs", help="folder of vgpud and vgpuctl")
    parser.add_argument("--device", help="UUID or PCI address, where there are several GPUs")
    parser.add_argument("--hmm", choices=("refuse", "allow"), default="refuse")
    args = parser.parse_args()
    if args.programs:
        images.binary = lambda name: os.path.join(args.programs, name)
    # what tells of trouble is for a person; standard output is for rows
    rows, sys.stdout = sys.stdout, sys.stderr
    more = ",".join([f"hmm={args.hmm}"] + ([f"device={args.device}"] if args.device else []))
    try:
        with Daemon([Vm("A", executor="cuda", memory="4G", more=more)]) as daemon, \
                Guest(Config(name="gpu-check", socket=daemon.socket("A"))) as guest:
            info = guest.driver_up()
            sys.stdout = rows
            passed = row("driver", "CUDA on" in info, info.strip().splitlines()[0])
            passed &= in_guest(guest)
            sys.stdout = sys.stderr
            guest.check_kernel_log()
    except Exception as error:  # whatever it is, the stage has failed
        sys.stdout = rows
        passed = row("guest", False, f"{type(error).__name__}: {error}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
