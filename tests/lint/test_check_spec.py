#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scripts/check-spec.py finds what it is for.

Each case copies the spec, the headers and the register table, changes one thing, and expects
the check to refuse the tree and to name what it is about.  The untouched copy must pass.
"""
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import tap  # noqa: E402

SPEC = "docs/spec/vgpu-abi.md"
HW = "include/vgpu/hw.h"
CMD = "include/vgpu/cmd.h"
REGS = "host-backend/device/regs.def"

# (name, file, text, replacement, what the output must name)
CASES = [
    ("register offset", SPEC, "| 0x024 | `VGPU_REG_HEARTBEAT`", "| 0x028 | `VGPU_REG_HEARTBEAT`",
     "offset of VGPU_REG_HEARTBEAT"),
    ("register access", SPEC, "`VGPU_REG_ADMIN_LOG2` | RW", "`VGPU_REG_ADMIN_LOG2` | RO",
     "VGPU_REG_ADMIN_LOG2"),
    ("register reset", SPEC, "| RW | 0xffffffff |", "| RW | 0 |", "VGPU_REG_TEST_ECHO"),
    ("register state", REGS, "REG(ADMIN_LOG2,       RW,  1,  VALUE,  0,           DISABLED, store)",
     "REG(ADMIN_LOG2,       RW,  1,  VALUE,  0,           ANY, store)", "VGPU_REG_ADMIN_LOG2"),
    ("register missing in the table of the device", REGS,
     "REG(MAX_SG,           RO,  1,  DEVICE, 0,           NONE,     ignore)", "", "VGPU_REG_MAX_SG"),
    ("register missing in the spec", SPEC,
     "| 0x064 | `VGPU_REG_MAX_SG` | RO | device | - | scatter-list entries of one buffer |\n", "",
     "VGPU_REG_MAX_SG"),
    ("access code of the header", HW, "VGPU_REG_CONTROL         0x01c /* WO",
     "VGPU_REG_CONTROL         0x01c /* RW", "VGPU_REG_CONTROL in hw.h"),
    ("opcode", SPEC, "| 0x0040 | `VGPU_CMD_LAUNCH`", "| 0x0041 | `VGPU_CMD_LAUNCH`",
     "VGPU_CMD_LAUNCH"),
    ("opcode that the spec does not know", CMD, "#define VGPU_CMD_LAUNCH ",
     "#define VGPU_CMD_NEW 0x0041\n#define VGPU_CMD_LAUNCH ", "VGPU_CMD_NEW"),
    ("name that no header knows", SPEC, "### 10.3 LAUNCH", "### 10.3 LAUNCH\n\nSee `VGPU_CMD_RUN`.",
     "VGPU_CMD_RUN"),
    ("constant of the header", HW, "VGPU_MAX_CONTEXTS        256", "VGPU_MAX_CONTEXTS        128",
     "VGPU_MAX_CONTEXTS"),
    ("status value", SPEC, "| 0x140 | `VGPU_ST_ILLEGAL_ADDRESS`",
     "| 0x139 | `VGPU_ST_ILLEGAL_ADDRESS`", "VGPU_ST_ILLEGAL_ADDRESS"),
    ("status loses the context", SPEC, "`VGPU_ST_TIMEOUT` | 702 | yes", "`VGPU_ST_TIMEOUT` | 702 | no",
     "VGPU_ST_TIMEOUT"),
    ("CUDA result", SPEC, "`VGPU_ST_TIMEOUT` | 702 |", "`VGPU_ST_TIMEOUT` | 701 |",
     "VGPU_ST_TIMEOUT"),
    ("structure size", SPEC, "`struct vgpu_cqe`, 32 bytes:", "`struct vgpu_cqe`, 64 bytes:",
     "size of struct vgpu_cqe"),
    ("field offset", SPEC, "| 22 | 2 | param_bytes |", "| 24 | 2 | param_bytes |",
     "struct vgpu_cmd_launch.param_bytes"),
    ("field missing", SPEC, "| 28 | 4 | sg_count | entries in all pages |\n", "",
     "struct vgpu_admin_buf_register.sg_count"),
    ("chapter cited by a header", SPEC, "### 11.5 Lost contexts", "### 11.6 Lost contexts",
     "cites chapter 11.5"),
    ("requirement defined twice", SPEC, "**VGPU-RING-002**", "**VGPU-RING-001**",
     "VGPU-RING-001: defined 2 times"),
    ("requirement cited but not defined", REGS, "The register file as data",
     "VGPU-RING-999: The register file as data", "VGPU-RING-999"),
]


def run(change=None, *args):
    """Exit status and output of the check on a copy of the tree with `change` made."""
    with tempfile.TemporaryDirectory() as root:
        for path in (SPEC, REGS, "scripts/check-spec.py"):
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            shutil.copy(os.path.join(TOP, path), os.path.join(root, path))
        shutil.copytree(os.path.join(TOP, "include"), os.path.join(root, "include"))
        if change:
            path, old, new = change
            with open(os.path.join(root, path), "r+", encoding="utf-8") as file:
                text = file.read()
                tap.equal(text.count(old) > 0, True, f"{old!r} is in {path}")
                file.seek(0)
                file.truncate()
                file.write(text.replace(old, new, 1))
        done = subprocess.run([sys.executable, os.path.join(root, "scripts", "check-spec.py"),
                               *args], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


@tap.test("untouched tree is accepted")
def untouched():
    status, output = run()
    tap.equal(status, 0, output)


@tap.test("uncited requirements fail only when asked to be strict")
def strict():
    status, output = run(None, "--strict")
    tap.equal(status, 1, output)
    tap.contains(output, "VGPU-RING-001 is cited by no test", "output")


@tap.test("headers that do not compile are no agreement")
def broken():
    status, output = run((CMD, "#define VGPU_CMD_H", "#define VGPU_CMD_H\n#error no"))
    tap.equal(status, 2, output)


def declare(name, path, old, new, named):
    @tap.test(f"{name} is compared")
    def case():
        status, output = run((path, old, new))
        tap.equal(status, 1, output)
        tap.contains(output, named, "output")


for _case in CASES:
    declare(*_case)

if __name__ == "__main__":
    tap.main()
