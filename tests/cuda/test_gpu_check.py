#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scripts/gpu-check.py on the fake driver: all of its stages pass, and each fails when it should.

The fake computes on the processor; what is proved here is the checks, not a GPU.
Reports go to a folder of the test's own and must say that there is no GPU.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
PROGRAMS = os.path.join(BUILD, "rel", "bin")
FAKE = os.path.join(BUILD, "rel", "fakecuda", "libcuda.so.1")
VECTORS = os.path.join(TOP, "tests", "conformance", "vectors")
STAGES = ["probe", "conformance", "faults", "quota", "bench"]


class Check:
    """One gpu-check in a folder of its own, which `with` removes."""

    def __init__(self, settings=None):
        self.folder = tempfile.mkdtemp(prefix="gpu-check-")
        os.chmod(self.folder, 0o755)
        # Not a link: the isolated processes may not reach the tree.
        self.library = os.path.join(self.folder, "libcuda.so.1")
        shutil.copyfile(FAKE, self.library)
        self.configure(settings or {})
        self.output = ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        shutil.rmtree(self.folder, ignore_errors=True)

    def configure(self, settings):
        with open(self.library + ".conf", "w", encoding="utf-8") as out:
            out.write("".join(f"VGPU_FAKECUDA_{k}={v}\n" for k, v in settings.items()))

    def some_vectors(self):
        """Arguments for as few of the vectors as the conformance stage takes for all of them."""
        data = os.path.join(self.folder, "data")
        os.makedirs(os.path.join(data, "vectors"))
        for name, target in (("gpu", "gpu/kernels"), ("kernels", "kernels")):
            os.symlink(os.path.join(TOP, "tests", target), os.path.join(data, name))
        with open(os.path.join(TOP, "tests", "lib", "vectors.h"), encoding="utf-8") as file:
            least = int(re.search(r"#define VECTORS_MIN_FAMILIES (\d+)", file.read())[1])
        names = sorted(name.removesuffix(".vec") for name in os.listdir(VECTORS)
                       if name.endswith(".vec"))
        for name in {names[i * len(names) // least] for i in range(least)} | {"add_s32"}:
            for ending in (".vec", ".ptx"):
                os.symlink(os.path.join(VECTORS, name + ending),
                           os.path.join(data, "vectors", name + ending))
        return "--data", data

    def run(self, *arguments, programs=PROGRAMS, library=None):
        done = subprocess.run(
            [sys.executable, os.path.join(TOP, "scripts", "gpu-check.py"), "--quick",
             "--programs", programs, "--build", self.folder,
             "--results", os.path.join(self.folder, "results"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900,
            env={**os.environ, "VGPU_LIBCUDA": library or self.library})
        self.output = done.stdout
        return done.returncode

    def report(self):
        found = glob.glob(os.path.join(self.folder, "gpu-check", "fake-*.json"))
        tap.equal(len(found), 1, f"reports; output:\n{self.output}")
        with open(found[0], encoding="utf-8") as file:
            data = json.load(file)
        with open(found[0].removesuffix("json") + "md", encoding="utf-8") as file:
            return data, file.read()

    def failed(self, stage):
        """The names of the stage's failed checks."""
        stage = self.report()[0]["stages"][stage]
        tap.equal(stage["passed"], False, "the stage's verdict")
        return {row["name"] for row in stage["rows"] if row.get("status") == "fail"}


@tap.test("every stage passes, and the report names no GPU")
def passes():
    with Check() as check:
        tap.equal(check.run(), 0, f"exit status; output:\n{check.output}")
        data, text = check.report()
        tap.equal([s for s, r in data["stages"].items() if r["passed"]], STAGES, "passed stages")
        tap.equal(data["stages"]["vm"]["passed"], None, "the stage that was not asked for")
        tap.contains(text, "**This is no GPU.**", "the report")
        tap.contains(text, "## vm: not run", "the report")
        tap.true("| GPU |" not in text, "the report names a GPU")
        tap.true(not os.path.exists(os.path.join(check.folder, "results")),
                 "a report of the fake among the results")
        rows = data["stages"]["bench"]["rows"]
        figures = {row["name"] for row in rows if row["kind"] == "figure"}
        for name in ("null launch rate", "null launch latency", "copy H2D 4 KiB", "kernel sgemm",
                     "kernel triad", "kernel nbody", "kernel fma64", "module load",
                     "context creation", "matrix products, 4 contexts"):
            tap.true(name in figures, f"no figure of {name}")
        # resumed: nothing is run again, unless asked
        tap.equal(check.run(), 0, "exit status of the second run")
        tap.equal(check.output.count("not run again"), len(STAGES), "stages left out")
        tap.equal(check.run("--stage", "quota", "--again"), 0, "exit status with --again")
        tap.contains(check.output, "stage quota: passed", "the stage run again")


# Opening a context ends with unloading the module that warmed the driver up: what is counted from
# there on does not keep a context from being opened.
OPEN = {"PLAN_AFTER": "cuModuleUnload"}


def must_fail(plan, stage, *names, **more):
    """The stage fails with at least the checks named; returns the names of all that failed."""
    with Check({"PLAN": plan, **more}) as check:
        vectors = check.some_vectors() if stage == "conformance" else ()
        tap.equal(check.run("--stage", stage, *vectors), 1,
                  f"exit status; output:\n{check.output}")
        failed = check.failed(stage)
        for name in names:
            tap.true(name in failed, f"{name} is not among the failed: {sorted(failed)[:20]}")
        tap.contains(check.output, f"FAILED: {stage}", "the last line")
        tap.true("not all there" not in check.output, "vectors were missing")
        return failed


@tap.test("kernels that compute nothing fail the conformance and the probe")
def kernels_skipped():
    failed = must_fail("cuLaunchKernel:2+:skip", "conformance", "vectors", "kernels", "add_s32",
                       "random programs", "random block program 3", **OPEN)
    tap.true(len(failed) > 800, f"only {len(failed)} failed")
    must_fail("cuLaunchKernel:0:skip", "probe", "kernel")


@tap.test("one kernel of many that computes nothing fails the conformance")
def one_kernel_skipped():
    failed = must_fail("cuLaunchKernel:700:skip", "conformance", "vectors")
    tap.equal(len(failed), 2, f"the family and the verdict, not {sorted(failed)[:20]}")


@tap.test("memory that is not cleared fails the quota stage")
def not_cleared():
    must_fail("cuMemsetD8Async:3+:skip", "quota",
              "memory is cleared", **OPEN)


@tap.test("copies that do nothing fail the benchmarks")
def copies_skipped():
    must_fail("cuMemcpyDtoHAsync_v2:2+:skip", "bench", "kernel sgemm: results", **OPEN)


@tap.test("a fault that costs a context nothing fails the fault stage")
def faults_skipped():
    must_fail("cuLaunchKernel:2:skip", "faults", **OPEN)


@tap.test("a driver that dies in the middle is a failure, and its stage is kept as failed")
def driver_dies():
    with Check({"PLAN": "cuMemAlloc_v2:5:die"}) as check:
        tap.equal(check.run("--stage", "quota"), 1, "exit status")
        tap.true(check.failed("quota"), "no failed check")
        tap.contains(check.output, "VGPU_ST_EXEC_DIED", "the output")
        check.configure({})
        tap.equal(check.run("--stage", "quota"), 0, f"a later run; output:\n{check.output}")


@tap.test("no driver, no programs, no such stage: an error that says so, and no report")
def refusals():
    with Check() as check:
        tap.equal(check.run(library="/nonexistent/libcuda.so.1"), 1, "exit status without a driver")
        tap.contains(check.output, "no CUDA driver library", "without a driver")
        tap.equal(check.run(programs=check.folder), 1, "exit status without programs")
        tap.contains(check.output, "is not there", "without programs")
        tap.equal(check.run("--stage", "everything"), 2, "exit status of a bad stage")
        tap.equal(check.run("--device", "GPU-0000"), 1, "exit status of a device that is not there")
        tap.contains(check.output, "none of 1 devices is GPU-0000", "a device that is not there")
        tap.equal(glob.glob(os.path.join(check.folder, "gpu-check", "fake-*")), [], "reports")


@tap.test("a program whose library is not installed is named, with the library")
def library_missing():
    with Check() as check:
        gone = os.path.join(check.folder, "libgone.so.7")
        subprocess.run(["gcc", "-shared", "-Wl,-soname,libgone.so.7", "-o", gone, "-xc", "-"],
                       input="int gone;", text=True, check=True)
        subprocess.run(["gcc", "-o", os.path.join(check.folder, "vgpu-gpu-check"), "-xc", "-",
                        "-xnone", gone], input="extern int gone; int main(void){return gone;}",
                       text=True, check=True)
        os.unlink(gone)
        tap.equal(check.run(programs=check.folder), 1, "exit status")
        tap.contains(check.output, "these libraries are not installed: libgone.so.7", "output")


@tap.test("docs/operations/gpu.md has a row for each check of the probe, and no other")
def documented():
    source = ""
    for path in ("host-backend/exec/cuda/cuda_probe.c", "host-backend/daemon/probe.c"):
        with open(os.path.join(TOP, path), encoding="utf-8") as file:
            source += file.read()
    printed = set(re.findall(r'\b(?:pass|warn|fail|fail_cu)\((?:probe, )?"(\w+)"', source))
    printed |= set(re.findall(r"VGPU_PROBE status=\w+ check=(\w+)", source))
    tap.true({"driver", "hmm", "kernel", "executor"} <= printed, f"checks in the source: {printed}")
    with open(os.path.join(TOP, "docs", "operations", "gpu.md"), encoding="utf-8") as file:
        text = file.read()
    table = text.partition("## What the probe says")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    tap.equal(sorted(rows), sorted(printed), "rows")


if __name__ == "__main__":
    tap.main()
