#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compares our declarations of the CUDA driver API with cuda.h, where one is installed.

exec/cuda/cu.h declares by hand what the executor calls.  This test lets the C compiler
preprocess NVIDIA's header and ours, reads the prototypes off both, and compares for every
function the number of arguments and the class of each (pointer, or integer of so many
bytes), and for every constant its value.
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

CUDA_INCLUDE = os.environ.get("CUDA_INCLUDE", "/usr/local/cuda/include")
SIZES = {"int": 4, "unsigned int": 4, "unsigned char": 1, "unsigned short": 2, "size_t": 8,
         "unsigned long long": 8, "CUdeviceptr": 8, "CUdevice": 4, "CUresult": 4}


def preprocess(text, *flags):
    return subprocess.run(["gcc", "-E", "-P", *flags, "-xc", "-"], input=text, text=True,
                          check=True, capture_output=True).stdout


def classify(argument):
    """Class of one parameter: 'ptr' or its size in bytes."""
    argument = re.sub(r"\bconst\b", " ", argument).strip()
    if "*" in argument or "[" in argument:
        return "ptr"
    base = re.sub(r"\s+", " ", re.sub(r"\s*\b\w+$", "", argument)) if " " in argument else argument
    if base in SIZES:
        return SIZES[base]
    if re.fullmatch(r"CU(context|module|function|stream|event)", base):
        return "ptr"
    if re.fullmatch(r"CU\w+", base):
        return 4  # the API's enums
    return "unknown " + argument


def arguments(text):
    text = text.strip()
    return [] if text in ("", "void") else [classify(a) for a in text.split(",")]


def ours():
    text = preprocess('#include <exec/cuda/cu.h>\n', "-I" + os.path.join(TOP, "host-backend"))
    body = re.search(r"struct vgpu_cu \{(.*?)\};", text, re.S).group(1)
    return {m.group(1): arguments(m.group(2))
            for m in re.finditer(r"CUresult\s*\(\*(\w+)\)\s*\(([^)]*)\)", body)}


def theirs(names):
    found = {}
    # Without the header's renaming macros each prototype keeps its symbol's name; asking for the
    # internal view also declares the older versions (_v2) that we call.
    for flags in (["-D__CUDA_API_VERSION_INTERNAL"], []):
        text = preprocess("#include <cuda.h>\n", "-I" + CUDA_INCLUDE, *flags)
        for m in re.finditer(r"CUresult\s+(\w+)\s*\(([^)]*)\)\s*;", text):
            if m.group(1) in names:
                found.setdefault(m.group(1), arguments(m.group(2)))
    return found


def constants_program():
    return r"""
#include <stdio.h>
#include <stddef.h>
#define CUDA_NO_OURS
#include <cuda.h>
#define SHOW(name, value) printf("%s %lld %lld\n", #name, (long long)(name), (long long)(value));
int main(void) { VGPU_CU_CONSTANTS(SHOW) return 0; }
"""


def constants(tmp):
    """(name, NVIDIA's value, our value) for each constant, by a compiled program."""
    header = open(os.path.join(TOP, "host-backend/exec/cuda/cu.h"), encoding="utf-8").read()
    table = re.search(r"#define VGPU_CU_CONSTANTS\(X\).*?\n\n", header, re.S).group(0)
    source = os.path.join(tmp, "constants.c")
    with open(source, "w", encoding="utf-8") as out:
        out.write(table + constants_program())
    program = os.path.join(tmp, "constants")
    subprocess.run(["gcc", "-I" + CUDA_INCLUDE, "-o", program, source], check=True)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in lines.splitlines()]


def need_header():
    if not os.path.exists(os.path.join(CUDA_INCLUDE, "cuda.h")):
        raise tap.Skip("no cuda.h on this machine (set CUDA_INCLUDE)")


@tap.test("every function has cuda.h's arguments")
def functions():
    need_header()
    mine = ours()
    nvidia = theirs(set(mine))
    tap.true(len(mine) > 40, f"only {len(mine)} declarations were read off cu.h")
    for name, args in sorted(mine.items()):
        tap.true(name in nvidia, f"cuda.h has no prototype of {name}")
        tap.equal(args, nvidia[name], f"arguments of {name}")


@tap.test("every constant has cuda.h's value")
def values():
    need_header()
    with tempfile.TemporaryDirectory() as tmp:
        rows = constants(tmp)
    tap.true(len(rows) > 50, f"only {len(rows)} constants were read off cu.h")
    for name, value, our_value in rows:
        tap.equal(our_value, value, name)


if __name__ == "__main__":
    tap.main()
