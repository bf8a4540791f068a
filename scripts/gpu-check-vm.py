#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The vm stage of gpu-check: a real guest, under emulation, on this machine's GPU.

    gpu-check-vm.py [--programs DIR] [--device GPU] [--hmm allow] [--accel kvm|tcg]

Boots two Linux guests in QEMU with vgpu-pci, whose vgpud runs on cuda: finds the device with lspci, runs the
examples in one guest and then in both at the same time, and has one measure the device.  With KVM where a
guest boots with it, else under emulation: then no figures are taken.  What the guest is made of is built, or named by VGPU_QEMU, VGPU_KERNEL_CLOUD_AMD64 and
VGPU_INITRD_CLOUD_AMD64.  Prints rows as vgpu-gpu-check does; exit status 1 if a check failed.
"""
import argparse
import dataclasses
import fcntl
import json
import os
import re
import sys
import threading

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))

# pylint: disable=wrong-import-position
import images  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest, GuestError  # noqa: E402

EXAMPLES = ("vecadd -n 1024", "vecadd -n 100000", "saxpy", "matmul -n 64", "reduce", "hello")
AT_ONCE = ("vecadd -n 1000000 -r 20", "matmul -n 256 -r 20", "reduce -r 20", "saxpy -n 1000000 -r 20")
PASSED = re.compile(r"1:(.+) PASSED: (\d+) elements, 0 errors \(CUDA on (.+)\)")
FIGURE = re.compile(r"([a-z0-9-]+) ([0-9.e+]+) (us|B/s|1/s)")
KVM_BOOT_S = 20
KVM_GET_API_VERSION, KVM_CREATE_VM = 0xAE00, 0xAE01


def row(name, passed, detail):
    print(json.dumps({"kind": "check", "name": name, "status": "pass" if passed else "fail",
                      "detail": detail}), flush=True)
    return passed


def value(name, number, unit):
    print(json.dumps({"kind": "value", "name": name, "unit": unit, "value": number}), flush=True)


def kvm_works():
    """Whether this machine lets us make a virtual machine."""
    try:
        with open("/dev/kvm", "rb+", buffering=0) as kvm:
            if fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0) != 12:
                return False
            os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
            return True
    except OSError:
        return False


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


def both_at_once(guests):
    """The same programs in both guests, started together."""
    failed = {name: [] for name in guests}

    def work(name, guest):
        for command in AT_ONCE:
            status, output = guest.run(command, 300)
            if status != 0 or not PASSED.fullmatch(last_line(output)):
                failed[name].append(f"{command}: {last_line(output) or status}")

    threads = [threading.Thread(target=work, args=pair) for pair in guests.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all([row(f"two guests at once: {name}", not failed[name],
                    "; ".join(failed[name]) or ", ".join(AT_ONCE)) for name in guests])


def measure(guest):
    """vgpu-speed in the guest."""
    status, output = guest.run("vgpu-speed", 300)
    for match in FIGURE.finditer(output):
        value(f"in the guest: {match.group(1)}", float(match.group(2)), match.group(3))
    return row("vgpu-speed", status == 0 and PASSED.fullmatch(last_line(output)) is not None,
               last_line(output) or f"exit status {status}")


def boot(name, daemon, accel):
    """A guest that has booted; without `accel` by KVM if that is possible, else by emulation."""
    if accel or not kvm_works():
        return Guest(Config(name=name, socket=daemon.socket(name), accel=accel or "tcg"))
    config = Config(name=name, socket=daemon.socket(name), accel="kvm")
    try:
        with Guest(config, KVM_BOOT_S):
            pass
    except GuestError as error:
        print(f"KVM is there, but no guest boots with it, emulation is used: {error}", file=sys.stderr)
        config = dataclasses.replace(config, accel="tcg")
    return Guest(config)


def main():
    parser = argparse.ArgumentParser(description="the vm stage of gpu-check")
    parser.add_argument("--programs", help="folder of vgpud and vgpuctl")
    parser.add_argument("--device", help="UUID or PCI address, where there are several GPUs")
    parser.add_argument("--hmm", choices=("refuse", "allow"), default="refuse")
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="QEMU's (kvm where there is one)")
    args = parser.parse_args()
    if args.programs:
        images.binary = lambda name: os.path.join(args.programs, name)
    # what tells of trouble is for a person; standard output is for rows
    rows, sys.stdout = sys.stdout, sys.stderr
    more = ",".join([f"hmm={args.hmm}"] + ([f"device={args.device}"] if args.device else []))
    try:
        with Daemon([Vm(name, executor="cuda", memory="4G", more=more) for name in "AB"]) as daemon, \
                boot("A", daemon, args.accel) as guest, \
                boot("B", daemon, guest.config.accel) as other:
            accel = guest.config.accel
            info = guest.driver_up()
            other.driver_up()
            sys.stdout = rows
            row("guests", True, f"two, {accel}, up in {guest.boot_s:.1f} s and {other.boot_s:.1f} s")
            passed = row("driver", "CUDA on" in info, info.strip().splitlines()[0])
            passed &= in_guest(guest)
            passed &= both_at_once({"A": guest, "B": other})
            if accel == "kvm":
                passed &= measure(guest)
            sys.stdout = sys.stderr
            guest.check_kernel_log()
            other.check_kernel_log()
    except Exception as error:  # whatever it is, the stage has failed
        sys.stdout = rows
        passed = row("guest", False, f"{type(error).__name__}: {error}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
