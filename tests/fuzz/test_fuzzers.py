#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Each fuzzer for a moment: what a change broke near the surface shows at once.

The long runs are `make fuzz SECONDS=N`; here each target has VGPU_FUZZ_SECONDS (10), as many at a
time as there are processors.  A target is a fragment NAME.mk beside this file.  A finding fails
the target's test, with its output; the input is left in BUILD/fuzz.
"""
import concurrent.futures
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

SECONDS = int(os.environ.get("VGPU_FUZZ_SECONDS", "10"))
BUILD = os.environ.get("VGPU_BUILD", "build")
NAMES = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "*.mk"))
               if os.path.basename(path) != "module.mk")


def fuzz(name):
    return subprocess.run(["make", "-C", TOP, "--no-print-directory", f"BUILD={BUILD}",
                           f"SECONDS={SECONDS}", "fuzz-" + name],
                          capture_output=True, text=True, errors="replace", check=False)


pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)
runs = {}


def declare(name):
    @tap.test(f"fuzz {name}: {SECONDS} s without a finding")
    def judge():
        if not runs:
            runs.update((each, pool.submit(fuzz, each)) for each in NAMES)
        done = runs[name].result()
        units = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        if done.returncode:
            tap.fail(f"exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
        tap.true(units and int(units[1]) > 100, "more than 100 inputs were tried:\n"
                 + done.stderr[-2000:])


tap.true(NAMES, "there are fuzzers")
for target in NAMES:
    declare(target)
tap.main()
