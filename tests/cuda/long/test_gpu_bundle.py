#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The bundle of `make gpu-bundle`, unpacked elsewhere and run with an empty environment.

On the fake driver, all stages, the guest in the bundle's own QEMU included.
"""
import json
import glob
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
FAKE = os.path.join(BUILD, "rel", "fakecuda", "libcuda.so.1")
LIMIT = 60 * 1024 * 1024
STAGES = ("probe", "conformance", "faults", "quota", "bench", "vm")


def unpack(folder):
    os.chmod(folder, 0o755)
    archive = os.path.join(BUILD, "gpu-bundle.tar.gz")
    tap.true(os.path.getsize(archive) < LIMIT, "the bundle is too large")
    subprocess.run(["tar", "-C", folder, "-xzf", archive], check=True)
    shutil.copyfile(FAKE, os.path.join(folder, "libcuda.so.1"))
    return os.path.join(folder, "gpu-bundle")


def run(folder, *arguments):
    """In an empty environment, in a folder of its own."""
    return subprocess.run(
        [os.path.join(folder, "gpu-bundle", "gpu-check"), "--quick", *arguments], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1200,
        env={"PATH": "/usr/bin:/bin", "VGPU_LIBCUDA": os.path.join(folder, "libcuda.so.1")})


@tap.test("an unpacked bundle passes every stage, a real guest included")
def runs():
    with tempfile.TemporaryDirectory(prefix="gpu-bundle-") as folder:
        unpack(folder)
        done = run(folder, "--vm")
        tap.equal(done.returncode, 0, f"exit status; output:\n{done.stdout}")
        found = glob.glob(os.path.join(folder, "gpu-check-results", "gpu-check", "fake-*.json"))
        tap.equal(len(found), 1, "reports")
        with open(found[0], encoding="utf-8") as file:
            stages = json.load(file)["stages"]
        tap.equal([s for s in STAGES if stages[s]["passed"]], list(STAGES), "passed stages")
        rows = {row["name"]: row["detail"] for row in stages["vm"]["rows"]}
        tap.equal(rows["vecadd -n 1024"], "1:Vector add PASSED: 1024 elements, 0 errors "
                  "(CUDA on fake CUDA device 0)", "the first example")
        tap.contains(rows["lspci"], "1234:7667", "lspci")


@tap.test("its programs open nothing of this tree, its QEMU only its own libraries")
def own_libraries():
    with tempfile.TemporaryDirectory(prefix="gpu-bundle-") as folder:
        top = unpack(folder)
        listed = subprocess.run(
            [os.path.join(top, "qemu/lib/ld-linux-x86-64.so.2"), "--library-path",
             os.path.join(top, "qemu/lib"), "--list", os.path.join(top, "qemu/qemu-system-x86_64")],
            stdout=subprocess.PIPE, text=True, check=True, env={}).stdout
        for line in listed.splitlines():
            if "=>" in line:
                tap.contains(line, f"=> {top}/", "a library of QEMU's")
        for name in os.listdir(os.path.join(top, "bin")):
            with open(os.path.join(top, "bin", name), "rb") as file:
                tap.true(TOP.encode() not in file.read(), f"{name} names the tree it was built in")


@tap.test("a bundle that lacks a part says so")
def incomplete():
    with tempfile.TemporaryDirectory(prefix="gpu-bundle-") as folder:
        top = unpack(folder)
        os.unlink(os.path.join(top, "guest", "vmlinuz"))
        done = run(folder, "--stage", "vm")
        tap.equal(done.returncode, 1, "exit status without a kernel")
        tap.contains(done.stdout, "vmlinuz, which does not exist", "without a kernel")
        os.unlink(os.path.join(top, "data", "vectors", "add_s32.ptx"))
        done = run(folder, "--stage", "conformance")
        tap.equal(done.returncode, 1, "exit status without a vector")
        tap.contains(done.stdout, "add_s32.ptx can't be read", "without a vector")


if __name__ == "__main__":
    tap.main()
