#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`vgpud --probe` on the fake driver: a host where all is well, and one fault at a time.

The fake is named by VGPU_LIBCUDA, through a copy in a folder of the test's own, with its settings
in a file beside it.  Each fault must fail the check it belongs to and no earlier one, and
a daemon asked to serve a VM with the same driver must refuse to start.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
VGPUD = os.path.join(BUILD, "rel", "bin", "vgpud")
FAKE = os.path.join(BUILD, "rel", "fakecuda", "libcuda.so.1")
LINE = re.compile(r'VGPU_PROBE status=(PASS|FAIL|WARN) check=(\w+) detail="([^"]*)" '
                  r'remediation="([^"]*)"')
UUID = "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f"


class Result:
    """One run: `checks` by name (status, detail, remediation), `failures`, exit status `rc`."""

    def __init__(self, done):
        self.rc = done.returncode
        self.stderr = done.stderr
        lines = done.stdout.splitlines()
        tap.true(lines, f"no output; standard error: {done.stderr}")
        last = re.fullmatch(r"VGPU_PROBE failures=(\d+)", lines[-1])
        tap.true(last, f"last line is {lines[-1]!r}")
        self.failures = int(last.group(1))
        self.checks = {}
        for line in lines[:-1]:
            match = LINE.fullmatch(line)
            tap.true(match or line.startswith("VGPU_PROBE failures="), f"malformed: {line!r}")
            if match:
                self.checks[match.group(2)] = (match.group(1), match.group(3), match.group(4))


def vgpud(args, settings=None, library=FAKE, env=None):
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o755)
        # Not a link: the isolated processes may not reach the tree.
        copy = os.path.join(tmp, "libcuda.so.1")
        if library:
            shutil.copyfile(library, copy)
        with open(copy + ".conf", "w", encoding="utf-8") as out:
            out.write("".join(f"VGPU_FAKECUDA_{k}={v}\n" for k, v in (settings or {}).items()))
        args = [a.replace("@TMP@", tmp) for a in args]
        return subprocess.run([VGPUD, *args], capture_output=True, text=True, check=False,
                              timeout=240, env={**os.environ, "VGPU_LIBCUDA": copy, **(env or {})})


def fails(check, words, settings=None, args=(), **more):
    """The probe fails at `check` with `words` in its detail, and so does a daemon's start."""
    result = Result(vgpud(["--probe", *args], settings, **more))
    tap.equal(result.rc, 1, "exit status")
    tap.equal(result.failures, 1, "failures")
    tap.true(check in result.checks, f"checks seen: {result.checks}")
    status, detail, remediation = result.checks[check]
    tap.equal(status, "FAIL", check)
    tap.true(words in detail, f"{words!r} is not in {detail!r}")
    tap.true(remediation, "a failure must say what to do")
    device = f",device={args[1]}" if args else ""
    start = vgpud(["--vm", f"name=a,socket=@TMP@/a.sock,executor=cuda{device}", "--runtime-dir",
                   "@TMP@/run"], settings, **more)
    tap.equal(start.returncode, 1, "a daemon's exit status")
    tap.true("executor cuda can't be used" in start.stderr, start.stderr)


@tap.test("a good host passes every check")
def good():
    result = Result(vgpud(["--probe"]))
    tap.equal((result.rc, result.failures), (0, 0), "exit status and failures")
    for check in ("driver", "device", "compute_mode", "hmm", "context", "memory", "kernel"):
        tap.equal(result.checks.get(check, ("missing",))[0], "PASS", check)


@tap.test("a GPU is found by UUID and PCI address, not by index")
def identity():
    for name in (UUID, "0000:41:00.0", "41:00.0", "00000000:41:00.0"):
        tap.equal(Result(vgpud(["--probe", "--device", name])).rc, 0, name)
    fails("device", "is an index", args=("--device", "0"))
    fails("device", "none of 1 CUDA devices", args=("--device", "GPU-0"))
    fails("device", "none of 1 CUDA devices", args=("--device", "00010000:41:00.0"))
    fails("device", "name one by", {"DEVICES": 2})
    tap.equal(Result(vgpud(["--probe", "--device", "0000:42:00.0"], {"DEVICES": 2})).rc, 0,
              "the second GPU")


@tap.test("no library, a library that is not the driver, no device")
def driver():
    fails("driver", "no CUDA driver library", library=None)
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o755)
        other = os.path.join(tmp, "other.so")
        subprocess.run(["gcc", "-shared", "-o", other, "-xc", "-"], input="int cuInit;", text=True,
                       check=True)
        fails("driver", "cuDeviceGetCount", library=other)
    fails("driver", "CUDA_ERROR_NO_DEVICE (100)", {"DEVICES": 0})


@tap.test("each step that the driver refuses is named, with CUDA's number")
def refused():
    for check, function, code in (
            ("driver", "cuInit", 999), ("device", "cuDeviceGetCount", 999),
            ("device", "cuDeviceGet", 101),
            ("context", "cuCtxCreate_v2", 2), ("context", "cuCtxSetLimit", 1),
            ("context", "cuStreamCreateWithPriority", 2), ("memory", "cuMemAlloc_v2", 2),
            ("kernel", "cuModuleLoadDataEx", 218), ("kernel", "cuModuleGetFunction", 500),
            ("kernel", "cuLaunchKernel", 719), ("kernel", "cuMemcpyDtoHAsync_v2", 700),
            ("memory", "cuMemFree_v2", 1), ("kernel", "cuMemFreeHost", 719),
            ("kernel", "cuModuleUnload", 716), ("context", "cuStreamDestroy_v2", 400),
            ("context", "cuCtxDestroy_v2", 1)):
        words = "failed" if check == "memory" else f"({code})"
        fails(check, words, {"PLAN": f"{function}:0:{code}"})
    # An answer that does not come is no good answer: the compute mode and HMM are asked for after
    # 13 properties.
    fails("compute_mode", "(1)", {"PLAN": "cuDeviceGetAttribute:14:1"})
    fails("hmm", "(1)", {"PLAN": "cuDeviceGetAttribute:15:1"})
    fails("context_memory", "(1)", {"PLAN": "cuMemGetInfo_v2:0:1"})
    fails("driver", "(1)", {"PLAN": "cuDriverGetVersion:0:1"})
    # The second context, which is there to measure.
    fails("kernel", "(719)", {"PLAN": "cuLaunchKernel:2:719"})
    # The context of the probe itself, after those of two executors.
    fails("context", "(1)", {"PLAN": "cuCtxDestroy_v2:3:1"})


@tap.test("a driver that dies is a failure, not silence")
def dies():
    fails("executor", "no answer", {"PLAN": "cuCtxCreate_v2:1:die"})


@tap.test("compute mode: prohibited fails, exclusive process warns")
def compute_mode():
    fails("compute_mode", "prohibited", {"COMPUTE_MODE": 2})
    result = Result(vgpud(["--probe"], {"COMPUTE_MODE": 3}))
    tap.equal(result.checks["compute_mode"][0], "WARN", "exclusive process")
    tap.equal(result.rc, 0, "a warning is no failure")


@tap.test("HMM is refused unless the operator insists")
def hmm():
    fails("hmm", "dereference", {"HMM": 1})
    result = Result(vgpud(["--probe", "--hmm", "allow"], {"HMM": 1}))
    tap.equal((result.rc, result.checks["hmm"][0]), (0, "PASS"), "--hmm allow")
    tap.contains(result.checks["hmm"][1], "on, accepted", "detail")


@tap.test("warnings: a MIG instance, an old driver, no persistence")
def warnings():
    for settings, args in (({"NAME": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"}, []),
                           ({}, ["--device", UUID.replace("GPU-", "MIG-")])):
        result = Result(vgpud(["--probe", *args], settings))
        tap.equal((result.rc, result.checks["mig"][0]), (0, "WARN"), f"{settings} {args}")
    good_host = Result(vgpud(["--probe"]))
    tap.equal(good_host.checks["mig"][0], "PASS", "a whole GPU")
    tap.true("driver_age" not in good_host.checks, "a new driver")
    old = Result(vgpud(["--probe"], library=FAKE.replace("fakecuda", "fakecuda-old")))
    tap.equal((old.rc, old.checks["driver_age"][0]), (0, "WARN"), "a driver before CUDA 12.4")
    socket_there = os.path.exists("/run/nvidia-persistenced/socket")
    tap.equal("persistence" in good_host.checks, not socket_there, "persistence is warned of")


@tap.test("what a context takes for itself is measured")
def context_memory():
    # The printf buffer, 1 MiB, comes with the first kernel that may print.
    result = Result(vgpud(["--probe"], {"CONTEXT": 63 << 20}))
    tap.equal(result.rc, 0, "exit status")
    status, detail, _ = result.checks["context_memory"]
    tap.equal(status, "PASS", detail)
    tap.contains(detail, " 64 MiB ", "detail")
    start = vgpud(["--vm", "name=a,socket=@TMP@/a.sock,executor=cuda,memory=64M", "--runtime-dir",
                   "@TMP@/run"], {"CONTEXT": 63 << 20})
    tap.equal(start.returncode, 1, "a VM smaller than a context")
    tap.contains(start.stderr, "a context alone takes 64 MiB", "standard error")


@tap.test("--executor cpu, and options that make no sense")
def options():
    result = Result(vgpud(["--probe", "--executor", "cpu"], library=None))
    tap.equal((result.rc, result.checks["executor"][0]), (0, "PASS"), "cpu")
    for args in (["--probe", "--executor", "abacus"], ["--device", UUID],
                 ["--probe", "--vm", "name=a,socket=/x,executor=cpu"],
                 ["--probe", "--device", "a,memory=1G"]):
        done = vgpud(args)
        tap.equal(done.returncode, 2, " ".join(args))
        tap.true(done.stderr.startswith("vgpud: "), done.stderr)


if __name__ == "__main__":
    tap.main()
