#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The demonstration on Xen: two HVM domains at once on the real hypervisor, under emulation.

    demo-xen.py [--build DIR] [--rounds N]

As demo.py, with which it shares the checks: two plain `xl create`s with vgpu-dm as device
model, in a real Dom0, and Linux in both.  The steps are smaller, since everything runs in an
emulated machine.  Writes DIR/demo-xen.json; the exit status is 0 only if every check held.
"""
import argparse
import dataclasses
import importlib
import os
import sys
import threading
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "scripts"), os.path.join(TOP, "tests", "xen")]

# pylint: disable=wrong-import-position,import-error
import demo  # noqa: E402

STEPS = (
    demo.Step("vector add, 1,024", "vecadd -n 1024 -s {seed}", demo.passed("Vector add", 1024)),
    demo.Step("vector add, 1,024, 200 times", "vecadd -n 1024 -r 200 -s {seed}",
              demo.passed("Vector add", 1024), every_round=False),
    demo.Step("saxpy", "saxpy -s {seed}", demo.passed("SAXPY", r"\d+")),
    demo.Step("matmul 64x64", "matmul -n 64 -s {seed}", demo.passed("Matrix multiply", 4096)),
    demo.Step("reduce", "reduce -s {seed}", demo.passed("Reduction", r"\d+")),
    demo.Step("printf in kernels", "hello -s {seed}", demo.passed("Hello", r"\d+")),
)


class Accounts:
    """vgpud in Dom0, asked for one domain, as demo.Session asks its daemon."""

    def __init__(self, guests, domain):
        self.guests, self.domain = guests, domain

    def vm(self, _name):
        return self.guests.account(self.domain)


class Session(demo.Session):
    """One domain's way through the checks; the domain is up already."""

    def __init__(self, name, guests, domain, barrier, rounds):  # pylint: disable=super-init-not-called
        self.name, self.domain, self.barrier, self.rounds = name, domain, barrier, rounds
        self.daemon = Accounts(guests, domain)
        self.guests = guests
        self.checks, self.kernel, self.boot_s, self.stats = [], "", 0.0, None

    def run(self):
        try:
            self.kernel = self.domain.check("uname -r").strip()
            self.look(self.domain)
            for round_ in range(1, self.rounds + 1):
                self.compute(self.domain, round_)
            self.look_back(self.domain)
            self.barrier.wait(demo.STEP_TIMEOUT_S)
            self.guests.wait_idle(self.domain)
            self.account()
            self.barrier.wait(demo.STEP_TIMEOUT_S)
        except BaseException:
            self.barrier.abort()
            raise


def demonstrate(rounds):
    """Run everything; sessions, and the result as data."""
    started = time.time()
    problems, sessions, versions = [], [], {}
    guests = importlib.import_module("linuxguests")
    try:
        dom0 = guests.dom0()
        demo.say(f"Xen and Dom0 are up after {dom0.boot_s:.1f} s; creating two domains")
        began = time.monotonic()
        domains = guests.create(*guests.NAMES)
        boot_s = time.monotonic() - began
        barrier = threading.Barrier(len(domains))
        sessions = [Session(name, guests, domain, barrier, rounds)
                    for name, domain in zip(demo.GUESTS, domains)]
        for session in sessions:
            session.boot_s = boot_s
        problems = demo.run_sessions(sessions)
        versions = {"Xen": dom0.check("xl info xen_version").strip(),
                    "Dom0's kernel": dom0.check("uname -r").strip(),
                    "vgpud's log": dom0.check(f"cat {guests.LOG}")}
        if dom0.trouble():
            problems.append(f"Xen or Dom0 complains: {dom0.trouble()}")
    except Exception as error:  # whatever it is, the demonstration failed
        traceback.print_exc()
        problems.append(f"{type(error).__name__}: {error}")
    checks = [check for session in sessions for check in session.checks]
    wanted = len(demo.GUESTS) * (5 + sum(rounds if s.every_round else 1 for s in demo.STEPS))
    if len(checks) != wanted:
        problems.append(f"{len(checks)} checks were made, {wanted} are part of the demonstration")
    return {
        "ok": not problems and all(check.ok for check in checks),
        "executor": demo.EXECUTOR, "rounds": rounds, "versions": versions,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "guests": [{"name": s.name, "kernel": s.kernel, "boot_s": round(s.boot_s, 2)}
                   for s in sessions],
        "problems": problems, "stats": [s.stats for s in sessions],
        "checks": [dataclasses.asdict(check) for check in checks]}


def main():
    parser = argparse.ArgumentParser(description="two Xen domains share one virtual GPU")
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    os.environ["VGPU_BUILD"] = args.build
    demo.STEPS = STEPS
    data = demonstrate(args.rounds)
    path = os.path.join(demo.images.build_dir(), "demo-xen.json")
    demo.write_json(path, data)
    for problem in data["problems"]:
        print(f"problem: {problem}")
    held = sum(check["ok"] for check in data["checks"])
    print(f"{held} of {len(data['checks'])} checks held in {data['seconds']} s; details: {path}")
    sys.exit(0 if data["ok"] else 1)


if __name__ == "__main__":
    main()
