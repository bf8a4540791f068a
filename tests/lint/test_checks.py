#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The lint checks find what they are for.

Each case is a small tree with one thing wrong; the check must refuse it, name the
file, and accept the same tree with the thing put right.
"""
import os
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
C = "/* SPDX-License-Identifier: MIT */\n/*\n * A file with a comment that is long enough to say something.\n */\n"

# (name, script and arguments, path, bad text, good text)
CASES = [
    ("device_may_not_include_sockets", ["check-includes.py"], "host-backend/device/a.c",
     "#include <sys/socket.h>\n", "#include <string.h>\n"),
    ("device_may_not_include_bus", ["check-includes.py"], "host-backend/device/a.c",
     "#include <bus/dma.h>\n", "#include <device/device.h>\n"),
    ("bus_may_not_include_exec", ["check-includes.py"], "host-backend/bus/a.c",
     "#include <exec/exec.h>\n", "#include <bus/dma.h>\n"),
    ("exec_may_not_include_device", ["check-includes.py"], "host-backend/exec/a.c",
     "#include <device/device.h>\n", "#include <exec/job.h>\n"),
    ("cpu_may_not_include_cuda", ["check-includes.py"], "host-backend/exec/cpu/a.c",
     "#include <exec/cuda/api.h>\n", "#include <exec/job.h>\n"),
    ("xen_stays_in_its_bus", ["check-includes.py"], "host-backend/bus/dma.c",
     "#include <xenctrl.h>\n", "#include <sys/mman.h>\n"),
    ("qemu_stays_in_its_folder", ["check-includes.py"], "host-backend/daemon/a.c",
     '#include "qemu/osdep.h"\n', "#include <unistd.h>\n"),
    ("abi_includes_only_itself", ["check-includes.py"], "include/vgpu/hw.h",
     "#include <stdint.h>\n", "#include <linux/types.h>\n"),
    ("cuda_names_stay_in_their_folder", ["check-includes.py"], "host-backend/exec/a.c",
     "int x(void)\n{\n    return cuInit(0);\n}\n", "/* cuInit() is called elsewhere */\n"),
    ("unknown_folder_is_refused", ["check-includes.py"], "host-backend2/a.c", "int x;\n", None),
    ("missing_spdx", ["check-files.py", "spdx"], "host-backend/device/b.c", None, ""),
    ("wrong_licence", ["check-files.py", "spdx"], "qemu-device/b.c", "", None),
    ("missing_theory", ["check-files.py", "theory"], "host-backend/device/b.c", None, ""),
    ("file_too_long", ["check-files.py", "size"], "host-backend/device/b.c", "\n" * 1001, "\n" * 900),
    ("strcpy", ["check-files.py", "forbidden"], "host-backend/bus/b.c",
     "void f(char *a)\n{\n    strcpy(a, a);\n}\n", "/* strcpy(a, b) is not used */\n"),
    ("sprintf", ["check-files.py", "forbidden"], "tests/unit/b.c",
     "void f(char *a)\n{\n    sprintf(a, a);\n}\n", "void f(char *a)\n{\n    snprintf(a, 1, a);\n}\n"),
    ("home_path", ["check-files.py", "places"], "docs/x.md", "see /home/somebody/x\n", "see ~/x\n"),
    ("private_address", ["check-files.py", "places"], "docs/x.md", "ssh 192.168.7.9\n",
     "connect to 127.0.0.1\n"),
    ("unfinished_note", ["check-files.py", "places"], "host-backend/bus/b.c", "/* TODO later */\n", ""),
    ("dead_link", ["check-files.py", "links"], "docs/x.md", "[a](nowhere.md)\n", "[a](x.md)\n"),
    ("fault_without_test", ["check-files.py", "tests"], "docs/robustness.md", "| a | b | c |\n",
     '| a | b | [`it works`](robustness.md) |\n"it works"\n'),
    ("fault_with_unknown_test", ["check-files.py", "tests"], "docs/robustness.md",
     "| a | b | [`it works`](robustness.md) |\n",
     "| a | b | [`it_works`](robustness.md) |\nSTART_TEST(it_works)\n"),
    ("python_syntax", ["check-files.py", "python"], "scripts/x.py", "def f(:\n", "x = 1\n"),
]


def accepts(script, path, text):
    """Run the check on a tree with this one file: (accepted, output)."""
    with tempfile.TemporaryDirectory() as root:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full))
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        command = [sys.executable, os.path.join(TOP, "scripts", script[0]), "--root", root]
        done = subprocess.run(command + script[1:] + [path], capture_output=True, text=True,
                              check=False)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{script}: status {done.returncode}: {done.stderr}")
        return done.returncode == 0, done.stdout


def whole(path, text):
    """The file: C sources get their head, unless the case is about the head."""
    if text is None:
        return None
    return C + text if path.endswith((".c", ".h")) else text


def run_case(script, path, bad, good):
    # None as the bad text: the file without the required head
    accepted, output = accepts(script, path, "int x;\n" if bad is None else whole(path, bad))
    if accepted:
        return "the bad tree was accepted"
    if path not in output:
        return f"the finding does not name the file: {output!r}"
    if good is not None:
        accepted, output = accepts(script, path, whole(path, good))
        if not accepted:
            return f"the good tree was refused: {output!r}"
    return ""


def main():
    failures = 0
    print(f"1..{len(CASES)}")
    for number, (name, script, path, bad, good) in enumerate(CASES, 1):
        problem = run_case(script, path, bad, good)
        failures += bool(problem)
        print(f"{'not ok' if problem else 'ok'} {number} - {name}{': ' + problem if problem else ''}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
