#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random C programs on the PTX machine against the same programs on the processor.

csmith writes a program without undefined behaviour; g++ compiles it for this processor, clang
(and nvcc, where one is installed) as CUDA device code, and vgpu-ptx runs that.  What all its
variables hold at the end, as one 64-bit value, must be the same.

VGPU_CSMITH_SEEDS (60) programs are tried, from VGPU_CSMITH_FIRST (1) on.  A program that does not
end soon on the processor is skipped, and so is one that a compiler can't take: clang 14 writes no
PTX for some static initialisers.  The last test sees to it that enough were compared.
Programs that failed stay in BUILD/csmith/SEED.
"""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
PTX = os.path.join(BUILD, "rel", "bin", "vgpu-ptx")
SEEDS = int(os.environ.get("VGPU_CSMITH_SEEDS", "60"))
FIRST = int(os.environ.get("VGPU_CSMITH_FIRST", "1"))
NVCC = os.environ.get("NVCC", "/usr/local/cuda/bin/nvcc")
HOST_S = 5          # csmith writes endless loops now and then
DEVICE_S = 300
FLAGS = ["-w", "-I" + HERE]
# Packed structures have misaligned fields, which no GPU can load; g++ is stricter than C about const.
CSMITH = ["--lang-cpp", "--no-argc", "--no-packed-struct", "--no-consts", "--no-const-pointers",
          "--max-array-len-per-dim", "5"]
CLANG = ["clang", *FLAGS, "-Wno-c++11-narrowing", "-x", "cuda", "--cuda-device-only",
         "-nocudainc", "-nocudalib", "-fwrapv", "-S"]
MAIN = """
#if defined(__CUDA__) || defined(__NVCC__)
extern "C" __global__ void k(unsigned long long *out) { run(out); }
#else
#include <stdio.h>
int main() { unsigned long long value; run(&value); printf("%016llx\\n", value); }
#endif
"""
compared = {}


def compilers():
    """Name: command line up to the output's name."""
    found = {"clang-O0": [*CLANG, "--cuda-gpu-arch=sm_80", "-O0"],
             "clang-O2": [*CLANG, "--cuda-gpu-arch=sm_70", "-O2"]}
    if os.path.exists(NVCC):
        found["nvcc-O3"] = [NVCC, *FLAGS, "-arch=sm_90", "-ptx", "-x", "cu"]
        found["nvcc-G"] = [NVCC, *FLAGS, "-arch=sm_75", "-G", "-ptx", "-x", "cu"]
    return found


def convert(text):
    """A program of csmith as one function run() in the language of device.h."""
    text = text.replace('#include "csmith.h"', '#include "device.h"')
    text = text.replace("static long __undefined;", "")
    text = re.sub(r"^static ", "static DEV ", text, flags=re.M)
    text = re.sub(r"^(\s+)(?=[\w& ]*operator=)", r"\1DEV ", text, flags=re.M)
    start = text.index("int main (void)")
    main = text[start:text.index("/************************ statistics")]
    main = re.sub(r"platform_main_begin\(\);|crc32_gentab\(\);|return 0;", "", main)
    main = re.sub(r"if \(print_hash_value\) printf.*\n", "\n", main)
    main = re.sub(r"platform_main_end\(.*\);", "*out = all_values;", main)
    main = main.replace("int main (void)", "static DEV void run(unsigned long long *out)")
    tap.true("*out = all_values" in main, "the program's main() has the known form")
    return text[:start] + main + MAIN


def on_host(folder):
    program = os.path.join(folder, "host")
    subprocess.run(["g++", "-x", "c++", *FLAGS, "-fpermissive", "-fwrapv", "-fno-strict-aliasing",
                    "-O1", "-o", program, "a.cu"], cwd=folder, check=True)
    try:
        run = subprocess.run([program], stdout=subprocess.PIPE, text=True, timeout=HOST_S,
                             check=True)
    except subprocess.TimeoutExpired:
        raise tap.Skip("runs long on the processor") from None
    return run.stdout.strip()


def on_machine(folder, name):
    out = os.path.join(folder, name + ".out")
    run = subprocess.run([PTX, "run", name + ".ptx", "-k", "k", "-g", "1", "-b", "1", "-a",
                          f"out:8:{out}"], cwd=folder, timeout=DEVICE_S, check=False, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tap.true(run.returncode == 0, f"{name}: vgpu-ptx gave {run.returncode}: {run.stdout[-500:]}")
    with open(out, "rb") as data:
        return f"{int.from_bytes(data.read(), 'little'):016x}"


def compare(seed):
    folder = os.path.join(BUILD, "csmith", str(seed))
    os.makedirs(folder, exist_ok=True)
    text = subprocess.run(["csmith", "--seed", str(seed), *CSMITH], cwd=folder, check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    with open(os.path.join(folder, "a.cu"), "w", encoding="ascii") as source:
        source.write(convert(text))
    want, refused = on_host(folder), []
    for name, command in compilers().items():
        with open(os.path.join(folder, name + ".err"), "w", encoding="utf-8") as errors:
            done = subprocess.run([*command, "-o", name + ".ptx", "a.cu"], cwd=folder, check=False,
                                  stdout=errors, stderr=errors)
        if done.returncode:
            refused.append(name)
            continue
        tap.equal(on_machine(folder, name), want, f"seed {seed}, {name}: all variables")
        compared[name] = compared.get(name, 0) + 1
    shutil.rmtree(folder)
    if len(refused) == len(compilers()):
        raise tap.Skip("no compiler takes it")


def declare(seed):
    @tap.test(f"program {seed} leaves on the PTX machine what it leaves on the processor")
    def _():
        compare(seed)


for each in range(FIRST, FIRST + SEEDS):
    declare(each)


@tap.test("enough programs were compared")
def enough():
    tap.diagnose(f"compared: {compared}")
    for name in compilers():
        tap.true(compared.get(name, 0) * 8 >= SEEDS, f"{name}: an eighth of the programs at least")


if __name__ == "__main__":
    tap.main()
