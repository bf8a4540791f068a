#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`vgpu-ptx run` on both executors, the cuda one with the fake driver: the same request gives the
same output, messages and exit status; what only one of them can do is refused by the other.
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
TOOL = os.path.join(BUILD, "rel", "bin", "vgpu-ptx")
FAKE = os.path.join(BUILD, "rel", "fakecuda", "libcuda.so.1")
KERNELS = os.path.join(TOP, "guest-driver", "examples", "kernels")
UUID = "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f"
BOTH = ("cpu", "cuda")

tmp = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(tmp.name, name)


def write(name, data):
    with open(path(name), "wb") as out:
        out.write(data)
    return path(name)


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def tool(*words, library=FAKE, **settings):
    env = {k: v for k, v in os.environ.items() if not k.startswith("VGPU_")}
    env.update({f"VGPU_FAKECUDA_{k}": str(v) for k, v in settings.items()})
    return subprocess.run([TOOL, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=240, env={**env, "VGPU_LIBCUDA": library})


def run(executor, file, kernel, *args, grid="1", block="32", options=(), **more):
    if not file.startswith("/"):
        file = os.path.join(KERNELS, file + ".ptx")
    words = [w for arg in args for w in ("-a", arg)]
    return tool("run", file, "-x", executor, "-k", kernel, "-g", grid, "-b", block, *options, *words,
                **more)


def ok(done, what):
    tap.equal((done.returncode, done.stderr), (0, ""), what)
    return done.stdout


def says(done, status, *texts):
    for text in texts:
        tap.contains(done.stderr, text, "standard error")
    tap.equal(done.returncode, status, f"exit status ({done.stderr})")


@tap.test("buffers of several windows go to the kernel and come back")
def buffers():
    count = 3 << 20  # floats; a window has 4 MiB
    x = write("x", struct.pack(f"{count}f", *(i % 1000 for i in range(count))))
    y = write("y", struct.pack(f"{count}f", *(i % 77 for i in range(count))))
    for executor in BOTH:
        ok(run(executor, "saxpy", "saxpy", "f32:2", f"in:{x}", f"inout:{y}:{path(executor)}",
               f"u32:{count}", grid=str(count // 256), block="256"), executor)
    want = struct.pack(f"{count}f", *(2 * (i % 1000) + i % 77 for i in range(count)))
    for executor in BOTH:
        tap.true(read(executor) == want, f"{executor}: wrong sums")


@tap.test("what is not filled reads as zeroes, and an out buffer is written whole")
def zeroed():
    x = write("x16", struct.pack("16f", *range(16)))
    for executor in BOTH:
        write("z", b"before")
        ok(run(executor, "saxpy", "saxpy", "f32:1", f"in:{x}", f"out:100:{path('z')}", "u32:16"),
           executor)
        tap.equal(read("z"), struct.pack("16f", *range(16)) + bytes(36), executor)


@tap.test("printed text comes out, in order, before the time")
def text():
    for executor in BOTH:
        lines = ok(run(executor, "hello", "hello", "s32:0", grid="2", block="4",
                       options=["--time"]), executor).splitlines()
        tap.equal(sorted(lines[:-1])[0], "thread 0 of block 0: 0.0000 even", executor)
        tap.equal(len(lines), 9, executor)
        tap.true(re.fullmatch(r"time \d+\.\d{6} s", lines[-1]), lines[-1])


@tap.test("a faulting kernel, a missing one, a bad launch: exit status 1, FILE: error:")
def faults():
    file = os.path.join(KERNELS, "fault.ptx")
    for executor in BOTH:
        says(run(executor, "fault", "fault", "zero:4", "s64:100000000"), 1, file, "error: ")
        says(run(executor, "fault", "nobody"), 1, f"{file}: error: no kernel 'nobody'")
        for shape in ({"block": "2048"}, {"block": "70000"}, {"block": "1,1,65"}):
            says(run(executor, "fault", "fault", "zero:4", "s64:0", **shape), 1,
                 f"{file}: error: launch: ")
        says(run(executor, "spin", "spin", "zero:4", options=["--timeout", "200"]), 1,
             os.path.join(KERNELS, "spin.ptx"), "error: ")


@tap.test("a file that is not PTX is refused with its line, whoever compiles it")
def bad_files():
    bad = write("bad.ptx", b".version 7.0\n.target sm_70\n.address_size 64\n"
                           b".visible .entry k()\n{\n  frobnicate.u32 %r1;\n  ret;\n}\n")
    elf = write("code.cubin", b"\x7fELF\x02\x01\x01" + bytes(57))
    noise = write("noise", b"\x01\x02\x03" * 50)
    for executor in BOTH:
        says(run(executor, bad, "k"), 1, f"{bad}:6: error: ")
        says(run(executor, elf, "k"), 1, f"{elf}: error: ")
        says(run(executor, noise, "k"), 1, f"{noise}", "error: ")
        says(run(executor, path("absent"), "k"), 2, f"{path('absent')}: No such file")


@tap.test("arguments that don't fit the kernel are named")
def arguments():
    for executor in BOTH:
        says(run(executor, "fault", "fault", "zero:4"), 2, "fault has 2 parameters, 1 were given")
        says(run(executor, "fault", "fault", "zero:4", "s32:1"), 2,
             "argument 1 has 4 bytes, the kernel's parameter 8")
        says(run(executor, "fault", "fault", "zero:0", "s64:1"), 2, "an empty buffer")
        says(run(executor, "fault", "fault", "zero:-5", "s64:1"), 2, "bad argument '-5'")
        says(run(executor, "fault", "fault", "zero:0xffffffffffff", "s64:1"), 2,
             "no memory for a buffer of 281474976710655 bytes")
        says(run(executor, "fault", "fault", "u64:1x", "s64:1"), 2, "bad argument 'u64:1x'")


@tap.test("what a GPU can't do is refused with the way out")
def refused():
    for options, text in ((["--stats"], "a GPU does not count"), (["-j", "2"], "threads of -x cpu"),
                          (["--cooperative"], "no cooperative launches")):
        says(run("cuda", "spin", "spin", options=options), 2, text)
    says(run("cuda", "spin", "spin", options=[os.path.join(KERNELS, "fault.ptx")]), 2,
         "loads one file, 2 were given")
    says(run("abacus", "spin", "spin"), 2, "no executor 'abacus'")
    says(run("cuda,uuid=3", "spin", "spin"), 2, "no executor 'cuda,uuid=3'")


@tap.test("a GPU that is not there, or fails, ends it with the probe's reason and what to do")
def no_gpu():
    says(run("cuda", "spin", "spin", library="/nonexistent/libcuda.so.1"), 2,
         "executor cuda: driver: no CUDA driver library", "install the NVIDIA driver")
    says(run("cuda", "spin", "spin", DEVICES=0), 2, "executor cuda: driver: CUDA_ERROR_NO_DEVICE",
         "load the nvidia module")
    says(run("cuda,device=GPU-0", "spin", "spin"), 2,
         "executor cuda: device: none of 1 CUDA devices is GPU-0",
         "name a GPU this host has with device=")
    says(run("cuda", "spin", "spin", PLAN="cuLaunchKernel:0:719"), 2,
         "executor cuda: kernel: running a kernel: ", "see the kernel's log for Xid messages")
    tap.equal(run("cuda", "spin", "spin", DEVICES=0).stdout, "", "standard output")


@tap.test("of several GPUs one is named, as for vgpud")
def devices():
    says(run("cuda", "hello", "hello", "s32:0", DEVICES=2), 2, "2 CUDA devices: name one by")
    says(run("cuda,device=0", "hello", "hello", "s32:0", DEVICES=2), 2, "is an index")
    ok(run(f"cuda,device={UUID}", "hello", "hello", "s32:0", DEVICES=2), "by its UUID")
    ok(run("cuda,device=42:00.0", "hello", "hello", "s32:0", DEVICES=2), "by its PCI address")


@tap.test("several files are linked on the cpu executor")
def linked():
    head = b".version 7.0\n.target sm_70\n.address_size 64\n"
    declare = b".func (.param .b32 r) twice(.param .b32 a)"
    caller = write("caller.ptx", head + b".extern " + declare + b""";
.visible .entry k(.param .u64 out, .param .u32 x)
{
  .reg .b32 %r; .reg .b64 %d; .param .b32 pa; .param .b32 pr;
  ld.param.u64 %d, [out]; ld.param.u32 %r, [x];
  st.param.b32 [pa], %r;
  call.uni (pr), twice, (pa);
  ld.param.b32 %r, [pr]; st.global.u32 [%d], %r; ret;
}
""")
    callee = write("callee.ptx", head + b".visible " + declare + b"""
{
  .reg .b32 %r; .reg .pred %p; ld.param.b32 %r, [a]; setp.eq.u32 %p, %r, 7;
  @%p trap;
  add.u32 %r, %r, %r; st.param.b32 [r], %r; ret;
}
""")
    args = ["-k", "k", "-g", 1, "-b", 1, "-a", f"out:4:{path('twice')}", "-a", "u32:21"]
    ok(tool("run", caller, callee, *args), "two files")
    tap.equal(read("twice"), struct.pack("I", 42), "the result")
    says(tool("run", caller, callee, *args[:-1], "u32:7"), 1, f"{callee}:7: error: ", "trap")
    says(tool("run", caller, *args), 1, f"{caller}:10: error: unsupported: 'twice' is called and")
    says(tool("check", caller, callee), 1, f"{caller}:10: error: ")
    says(tool("check", "--link", caller, callee, callee), 1, f"{callee}:4: error: 'twice' is defined twice")
    tap.contains(ok(tool("check", "--link", caller, callee), "check --link"),
                 f"{caller} + {callee}: PTX ISA 7.0", "standard output")


if __name__ == "__main__":
    tap.main()
