#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the tests feed the PTX machine must be PTX to NVIDIA's assembler too, where that is installed.

The conformance vectors are put together to one module for each .target (their kernels get names of
their own), which takes the assembler seconds instead of minutes; other files are assembled as they
are.  Nothing is run, so no GPU is needed.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

PTXAS = os.environ.get("VGPU_PTXAS") or shutil.which("ptxas") or "/usr/local/cuda/bin/ptxas"
NEEDED = 12.3  # the first whose PTX version has everything in the files
HEAD = re.compile(r"(\.version \S+)\s+(\.target (sm_\d+)\w*)\s+(\.address_size 64)\s+", re.ASCII)


def need_ptxas():
    """Skips where there is no assembler or one that is too old."""
    if not os.access(PTXAS, os.X_OK):
        raise tap.Skip(f"no {PTXAS}: install the CUDA toolkit or set VGPU_PTXAS")
    text = subprocess.run([PTXAS, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", text)
    tap.true(found, f"{PTXAS} --version says {text!r}")
    if float(found.group(1)) < NEEDED:
        raise tap.Skip(f"{PTXAS} is of release {found.group(1)}, {NEEDED} is needed")


def assemble(path):
    return subprocess.run([PTXAS, "-arch", "sm_90", "-O0", "-o", os.devnull, path],
                          capture_output=True, text=True, check=False, timeout=600)


def refused(path, sources, names):
    """One line for each source file that `path`, joined from them, got errors for."""
    done = assemble(path)
    if done.returncode == 0:
        return []
    errors = {}
    for line in (done.stderr + done.stdout).splitlines():
        at = re.search(r"line (\d+);", line)
        if at:
            owner = max(start for start in sources if start <= int(at.group(1)))
            errors.setdefault(sources[owner], line)
    return [f"{name}: {line}" for name, line in sorted(errors.items())] or \
        [f"{names}: {done.stderr}{done.stdout}"]


@tap.test("every conformance vector assembles, at its own .target")
def vectors():
    need_ptxas()
    groups = {}
    for path in sorted(glob.glob(os.path.join(TOP, "tests/conformance/vectors/*.ptx"))):
        with open(path, encoding="utf-8") as source:
            text = source.read()
        head = HEAD.match(text)
        tap.true(head, f"{path}: an unexpected head")
        groups.setdefault(head.group(0), []).append((os.path.basename(path), text[head.end():]))
    tap.true(sum(len(g) for g in groups.values()) > 1000, "the vectors are not there")
    bad = []
    with tempfile.TemporaryDirectory() as tmp:
        for number, (head, members) in enumerate(sorted(groups.items())):
            joined, sources, line = [head], {}, head.count("\n") + 1
            for k, (name, body) in enumerate(members):
                tap.true(".entry test(" in body, f"{name}: no kernel 'test'")
                body = body.replace(".entry test(", f".entry test{k}(", 1).rstrip("\n") + "\n"
                sources[line] = name
                joined.append(body)
                line += body.count("\n")
            path = os.path.join(tmp, f"joined{number}.ptx")
            with open(path, "w", encoding="utf-8") as out:
                out.write("".join(joined))
            bad += refused(path, sources, head)
    tap.true(not bad, "refused:\n" + "\n".join(bad))


@tap.test("every other PTX file of the tree assembles")
def other_files():
    need_ptxas()
    paths = sorted(p for folder in ("tests", "guest-driver")
                   for p in glob.glob(os.path.join(TOP, folder, "**", "*.ptx"), recursive=True)
                   if "/vectors/" not in p)
    tap.true(len(paths) >= 10, f"only {len(paths)} files")
    bad = []
    for path in paths:
        done = assemble(path)
        if done.returncode:
            bad.append(f"{path}: {(done.stderr + done.stdout).strip()}")
    tap.true(not bad, "refused:\n" + "\n".join(bad))


@tap.test("a refused kernel of a joined module is told by its file")
def refusal_is_told():
    """The check itself: a joined module with one bad kernel names the file of that kernel."""
    need_ptxas()
    good = ".visible .entry {}()\n{{\n\tret;\n}}\n"
    head = ".version 7.8\n.target sm_80\n.address_size 64\n"
    text = head + good.format("a") + good.replace("ret", "add.rn.bf16 %x, %x, %x; ret").format("b")
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "bad.ptx")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        bad = refused(path, {4: "a.ptx", 8: "b.ptx"}, "both")
    tap.equal([b.split(":")[0] for b in bad], ["b.ptx"], str(bad))


if __name__ == "__main__":
    tap.main()
