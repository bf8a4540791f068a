#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The demonstration: one daemon, two guests at once, real kernels in both.

    demo.py [--build DIR] [--rounds N]

Starts vgpud with two VMs on the CPU executor and boots two guests with Debian's
stock kernel.  Then both guests go through the same checks at the same time - a
barrier before each step makes sure of that - but on data made from a seed that
is different for each guest and round, so that data which reached the wrong guest
would be seen as a wrong result.  At the end the daemon's accounting must show that
nothing is left behind, and neither kernel may have complained.

Prints progress, then one table per guest: check, expected, seen.  Everything is
also written to DIR/demo.json.  The exit status is 0 only if every check held.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import sys
import threading
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))

# pylint: disable=wrong-import-position
import images  # noqa: E402
from vgpud import Daemon, Vm  # noqa: E402
from vm import Config, Guest  # noqa: E402

GUESTS = ("A", "B")
EXECUTOR = "CPU executor"
MEMORY_MB = 768
STEP_TIMEOUT_S = 300
ACCOUNT = "vgpuctl stats --json"
SEED_STEP = 1000003     # guests' seeds are far apart, rounds' seeds are not equal


@dataclasses.dataclass
class Step:
    """One program to run in each guest, and its last line."""
    name: str
    command: str            # {seed} is replaced
    expected: str           # a regular expression for the last line
    every_round: bool = True

    def expected_text(self):
        return self.expected.replace(r"\d+", "N").replace("\\", "")


def passed(what, elements):
    """The examples' last line when all is well."""
    return rf"1:{what} PASSED: {elements} elements, 0 errors \({EXECUTOR}\)"


STEPS = (
    Step("vector add, 1,024", "vecadd -n 1024 -s {seed}", passed("Vector add", 1024)),
    Step("vector add, 4,194,304", "vecadd -n 4194304 -s {seed}", passed("Vector add", 4194304),
         every_round=False),
    Step("saxpy", "saxpy -s {seed}", passed("SAXPY", r"\d+")),
    Step("matmul 256x256", "matmul -n 256 -s {seed}", passed("Matrix multiply", 65536)),
    Step("reduce", "reduce -s {seed}", passed("Reduction", r"\d+")),
    Step("printf in kernels", "hello -s {seed}", passed("Hello", r"\d+")),
)


@dataclasses.dataclass
class Check:
    """One row of the result."""
    guest: str
    round: int
    name: str
    command: str
    expected: str
    seen: str
    ok: bool
    at_s: float             # when it began, since the demonstration did
    seconds: float
    output: str = ""


_started = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", flush=True)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(no output)"


class Session:
    """One guest's way through the checks, in a thread of its own."""

    def __init__(self, name, daemon, barrier, rounds):
        self.name = name
        self.daemon = daemon
        self.barrier = barrier
        self.rounds = rounds
        self.checks = []
        self.kernel = ""
        self.boot_s = 0.0
        self.stats = None
        self.config = Config(name=name, socket=daemon.socket(name), memory_mb=MEMORY_MB)

    def record(self, name, command, expected, seen, ok, seconds=0.0, round_=0, output=""):
        at_s = time.monotonic() - _started - seconds
        self.checks.append(Check(self.name, round_, name, command, expected, seen, ok,
                                 round(at_s, 2), round(seconds, 2), output))
        where = f"guest {self.name}" + (f", round {round_}" if round_ else "")
        say(f"{where}: {name}: {'ok' if ok else 'FAILED'}: {seen}")

    def run_check(self, guest, name, command, pattern, shown, round_=0, whole=False):
        """Run a command; its exit status must be 0 and its last line (whole: any
        line) match the pattern."""
        started = time.monotonic()
        try:
            status, output = guest.run(command, STEP_TIMEOUT_S)
        except Exception as error:  # a dead guest is a failed check, with its reason
            self.record(name, command, shown, f"{type(error).__name__}: {error}", False,
                        time.monotonic() - started, round_)
            raise
        lines = output.splitlines() if whole else [last_line(output)]
        match = next((line for line in lines if re.fullmatch(pattern, line.strip())), None)
        seen = match.strip() if match is not None else last_line(output)
        if status != 0:
            seen = f"{seen} (exit status {status})"
        self.record(name, command, shown, seen, match is not None and status == 0,
                    time.monotonic() - started, round_, output)

    def run(self):
        """All of it; raises only if the guest could not go on."""
        try:
            with Guest(self.config) as guest:
                self.boot_s = guest.boot_s
                self.kernel = guest.check("uname -r").strip()
                say(f"guest {self.name}: Linux {self.kernel} is up after {guest.boot_s:.1f} s")
                guest.driver_up()
                self.look(guest)
                for round_ in range(1, self.rounds + 1):
                    self.compute(guest, round_)
                self.look_back(guest)
                self.barrier.wait(STEP_TIMEOUT_S)   # both are done, both are there
                self.account()
                self.barrier.wait(STEP_TIMEOUT_S)
        except BaseException:
            self.barrier.abort()    # the other guest must not wait for this one
            raise

    def look(self, guest):
        """The device is there and usable."""
        self.run_check(guest, "device in lspci", "lspci -nn -d 1234:7667",
                       r"[0-9a-f:.]+ 3D controller \[0302\]: .*\[1234:7667\].*",
                       "3D controller [0302] ... [1234:7667]", whole=True)
        self.run_check(guest, "driver is ready", "vgpu-info", "0:Ready.*", "0:Ready", whole=True)

    def compute(self, guest, round_):
        seed = (GUESTS.index(self.name) + 1) * SEED_STEP + round_
        for step in STEPS:
            if round_ > 1 and not step.every_round:
                continue
            self.barrier.wait(STEP_TIMEOUT_S)
            self.run_check(guest, step.name, step.command.format(seed=seed), step.expected,
                           step.expected_text(), round_)

    def look_back(self, guest):
        try:
            guest.check_kernel_log()
            seen, log = "clean", ""
        except Exception as error:
            seen, log = str(error).splitlines()[0], str(error)
        self.record("guest's kernel log", "dmesg", "clean", seen, seen == "clean", output=log)

    def account(self):
        """When its programs have ended, nothing of the guest's is left in the daemon,
        and what they did was counted.  Asked while the guest is attached: a detached
        VM's account would say nothing."""
        vm = self.daemon.vm(self.name)
        keys = ("contexts", "memory_bytes", "buffers", "exec_processes")
        seen = ", ".join(f"{key}={vm[key]}" for key in keys)
        expected = ", ".join(f"{key}=0" for key in keys)
        self.record("nothing left behind", ACCOUNT, expected, seen,
                    vm["attached"] and vm["responding"] and seen == expected)
        launches = len([check for check in self.checks if check.round])
        self.record("kernels counted", ACCOUNT, f"kernels >= {launches}, commands > kernels",
                    f"kernels={vm['kernels']}, commands={vm['commands']}",
                    vm["kernels"] >= launches and vm["commands"] > vm["kernels"])
        self.stats = vm


def table(session):
    """The guest's table as lines of text."""
    rows = [("", "check", "expected", "seen")]
    for check in session.checks:
        name = check.name + (f" (round {check.round})" if check.round else "")
        rows.append(("ok" if check.ok else "FAIL", name, check.expected, check.seen))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  " + row[3]
             for row in rows]
    return [lines[0], "-" * max(len(line) for line in lines)] + lines[1:]


def write_json(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def run_sessions(sessions):
    """Both guests at once; the reasons why one could not go on."""
    problems = []
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        futures = {pool.submit(session.run): session for session in sessions}
        for future in concurrent.futures.as_completed(futures):
            try:
                future.result()
            except threading.BrokenBarrierError:
                problems.append(f"guest {futures[future].name}: stopped, the other guest failed")
            except Exception as error:
                traceback.print_exc()
                problems.append(f"guest {futures[future].name}: {type(error).__name__}: {error}")
    return problems


def demonstrate(rounds):
    """Run everything; the result as data, ready for JSON."""
    sessions, problems = [], []
    started = time.time()
    qemu = images.qemu()
    images.boot_kernel(), images.initrd()  # once, not in each thread
    try:
        with Daemon([Vm(name) for name in GUESTS]) as daemon:
            say(f"vgpud serves {len(GUESTS)} VMs ({EXECUTOR}); booting {len(GUESTS)} guests")
            barrier = threading.Barrier(len(GUESTS))
            sessions = [Session(name, daemon, barrier, rounds) for name in GUESTS]
            problems = run_sessions(sessions)
    except Exception as error:
        traceback.print_exc()
        problems.append(f"vgpud: {type(error).__name__}: {error}")
    checks = [check for session in sessions for check in session.checks]
    wanted = len(GUESTS) * (5 + sum(rounds if s.every_round else 1 for s in STEPS))
    if len(checks) != wanted:
        problems.append(f"{len(checks)} checks were made, {wanted} are part of the demonstration")
    return sessions, {
        "ok": not problems and all(check.ok for check in checks),
        "executor": EXECUTOR, "rounds": rounds, "qemu": qemu,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "guests": [{"name": s.name, "kernel": s.kernel, "boot_s": round(s.boot_s, 2)}
                   for s in sessions],
        "problems": problems, "stats": [s.stats for s in sessions],
        "checks": [dataclasses.asdict(check) for check in checks]}


def main():
    parser = argparse.ArgumentParser(description="two guests share one virtual GPU")
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    os.environ["VGPU_BUILD"] = args.build
    try:
        sessions, data = demonstrate(args.rounds)
    except images.Missing as error:
        sys.exit(f"demo.py: {error}")
    path = os.path.join(images.build_dir(), "demo.json")
    write_json(path, data)
    for session in sessions:
        print(f"\nGuest {session.name}: Linux {session.kernel}, booted in {session.boot_s:.1f} s")
        print("\n".join(table(session)))
    held = sum(check["ok"] for check in data["checks"])
    print()
    for problem in data["problems"]:
        print(f"problem: {problem}")
    print(f"{held} of {len(data['checks'])} checks held in {data['seconds']} s; details: {path}")
    print("DEMO PASSED" if data["ok"] else "DEMO FAILED")
    sys.exit(0 if data["ok"] else 1)


if __name__ == "__main__":
    main()
