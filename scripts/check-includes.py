#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check that includes point one way.

    check-includes.py [--root DIR] FILE...

The tree is layered: daemon -> bus, exec; bus -> device -> include; exec ->
include and the validated-job header.  CUDA's names appear only under exec/cuda,
Xen's only in bus/xen*, QEMU's only in qemu-device.  The device core is
freestanding: the C library's memory and string functions, nothing else.

Each area below lists what its files may include; the first area whose pattern
matches a file holds.  A host or guest source that no area matches is itself an
error, so a new folder cannot escape the rules.  Comments and strings are not
looked at, except for what an #include names.
"""
import argparse
import os
import re
import sys

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)

ABI = r"vgpu/(hw|ring|cmd|status|uapi|layout)\.h"
FREESTANDING = r"(assert|inttypes|limits|stdalign|stdarg|stdbool|stddef|stdint|stdio|stdlib|string)\.h"
SYSTEM = r"(?!vgpu/|device/|bus/|exec/|daemon/|qemu/|hw/|xen)[a-z0-9_/.+-]+\.h"
X86 = r"(immintrin|emmintrin|cpuid|x86intrin)\.h"

# (area, files it holds for, what they may include by <...> or "..." from the include path)
AREAS = [
    ("ABI", r"include/vgpu/(hw|ring|cmd|status|uapi|layout)\.h",
     [ABI, r"linux/(types|ioctl|build_bug|stddef)\.h", r"stddef\.h"]),
    ("public library header", r"include/vgpu/.*\.h", [ABI, SYSTEM, r"vgpu/.*\.h"]),
    ("device", r"host-backend/device/.*", [ABI, FREESTANDING, r"device/.*\.h"]),
    ("xen bus", r"host-backend/bus/xen.*",
     [ABI, SYSTEM, r"device/device\.h", r"device/msix\.h", r"bus/.*\.h", r"xen.*\.h"]),
    ("bus", r"host-backend/bus/.*", [ABI, SYSTEM, r"device/device\.h", r"bus/(?!xen).*\.h"]),
    ("cuda executor", r"host-backend/exec/cuda/.*", [ABI, SYSTEM, r"exec/.*\.h", r"cuda.*\.h"]),
    ("cpu executor", r"host-backend/exec/cpu/.*",
     [ABI, SYSTEM, X86, r"exec/(?!cuda/|null/).*\.h"]),
    ("null executor", r"host-backend/exec/null/.*",
     [ABI, SYSTEM, r"exec/(?!cuda/|cpu/).*\.h"]),
    ("exec", r"host-backend/exec/[^/]*", [ABI, SYSTEM, r"exec/.*\.h"]),
    ("daemon", r"host-backend/daemon/.*",
     [ABI, SYSTEM, r"daemon/.*\.h", r"bus/.*\.h", r"device/device\.h", r"exec/[^/]*\.h"]),
    ("host tools", r"host-backend/tools/.*", [ABI, SYSTEM, r"exec/.*\.h", r"daemon/.*\.h"]),
    ("kernel module", r"guest-driver/kmod/.*", [ABI, r"linux/.*\.h", r"asm/.*\.h", r"drm/.*\.h"]),
    ("guest library", r"guest-driver/.*", [ABI, r"vgpu/libvgpu\.h", SYSTEM]),
    ("qemu device", r"qemu-device/.*",
     [ABI, SYSTEM, r"(qemu|hw|exec|sysemu|migration|qapi|qom|standard-headers)/.*\.h",
      r"(vgpu|vfio)[a-z-]*\.h"]),
    ("guestsim", r"tests/lib/[^/]*", [ABI, SYSTEM, r"exec/cpu/.*\.h"]),
    ("tests", r"tests/.*", [r".*"]),
]

# (what, identifiers, where they may appear)
NAMES = [
    ("CUDA driver API", re.compile(r"\b(cu[A-Z][A-Za-z0-9]+\s*\(|CU(device|context|result|stream|"
                                   r"event|module|function|deviceptr)\b)"),
     re.compile(r"(host-backend/exec/cuda|tests)/|.*\.cu$")),
    ("Xen library", re.compile(r"\b(xen(devicemodel|foreignmemory|evtchn|gnttab|ctrl|store|call)_\w+|"
                               r"xc_\w+|xs_(open|read|write|watch)\w*)\s*\("),
     re.compile(r"(host-backend/bus/xen|tests/)")),
    ("QEMU object model", re.compile(r"\b(qdev_\w+|pci_register_bar|memory_region_\w+|"
                                     r"msix_notify|object_property_\w+)\s*\("),
     re.compile(r"qemu-device/")),
]


def area_of(path):
    for name, pattern, allowed in AREAS:
        if re.fullmatch(pattern, path):
            return name, allowed
    return None, None


def check_includes(path, text, root):
    """Messages for every include that points the wrong way."""
    name, allowed = area_of(path)
    if name is None:
        return [f"{path}: belongs to no area of the tree"]
    messages = []
    for match in INCLUDE.finditer(text):
        quote, target = match[1], match[2]
        line = text.count("\n", 0, match.start()) + 1
        if quote == '"':
            local = os.path.normpath(os.path.join(os.path.dirname(path), target))
            if os.path.exists(os.path.join(root, local)):
                if os.path.dirname(local) != os.path.dirname(path) and name != "tests":
                    messages.append(f'{path}:{line}: "{target}" leaves the folder; use <...>')
                continue
        # a table is a header in all but name
        if not any(re.fullmatch(pattern, re.sub(r"\.def$", ".h", target)) for pattern in allowed):
            messages.append(f"{path}:{line}: {name} may not include {target}")
    return messages


def check_names(path, text):
    """Messages for vendors' names outside of their folder."""
    code = NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    messages = []
    for what, pattern, where in NAMES:
        if where.match(path):
            continue
        for match in pattern.finditer(code):
            line = code.count("\n", 0, match.start()) + 1
            messages.append(f"{path}:{line}: {what} name {match[1].rstrip('( ')} is out of its folder")
    return messages


def main():
    parser = argparse.ArgumentParser(description="check include directions")
    parser.add_argument("--root", default=".")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    messages = []
    for path in args.files:
        if not re.search(r"\.(c|h|def)$", path):
            continue
        with open(os.path.join(args.root, path), encoding="utf-8") as file:
            text = file.read()
        messages += check_includes(path, text, args.root) + check_names(path, text)
    for message in messages:
        print(message)
    sys.exit(1 if messages else 0)


if __name__ == "__main__":
    main()
