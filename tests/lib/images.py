# SPDX-License-Identifier: MIT
"""What a test guest is made of, by path, built on demand.

Each item comes from its script in scripts/, which builds only what is not up to
date and prints the path.  A path can be given in the environment instead:

    VGPU_BUILD                     the build folder (default: build)
    VGPU_QEMU                      the reference QEMU, with the device built in
    VGPU_STOCK_QEMU, VGPU_PLUGIN   Debian's QEMU and the plug-in for it
    VGPU_NEWER_QEMU                a recent QEMU as it was released
    VGPU_KERNEL_<FLAVOUR>          bzImage; FLAVOUR upper case, '-' as '_'
    VGPU_INITRD_<FLAVOUR>          initramfs

Asking the scripts takes seconds, and nothing changes while a group of tests
runs: run-tap.py gives its programs a common file, VGPU_IMAGES_CACHE, in which
the answers are remembered for the length of that run.
"""
import json
import os
import shutil
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT_FLAVOUR = "cloud-amd64"
BUILT_FLAVOURS = ("debug", "xen")   # of build-kernel.sh


class Missing(Exception):
    """Something a guest needs is not there and cannot be built."""


def build_dir():
    return os.path.join(TOP, os.environ.get("VGPU_BUILD", "build"))


def binary(name):
    """A program of ours below the build folder."""
    path = os.path.join(build_dir(), "rel", "bin", name)
    if not os.access(path, os.X_OK):
        raise Missing(f"{path} is not built: run make")
    return path


def _remembered():
    try:
        with open(os.environ.get("VGPU_IMAGES_CACHE", ""), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def _remember(variable, path):
    """Replace the common file as a whole: programs may run side by side, and
    one that is overtaken only asks its script again."""
    cache = os.environ.get("VGPU_IMAGES_CACHE")
    if cache:
        answers = dict(_remembered(), **{variable: path})
        with open(f"{cache}.{os.getpid()}", "w", encoding="utf-8") as file:
            json.dump(answers, file)
        os.replace(file.name, cache)


def script(variable, name, *arguments):
    """The path in the environment VARIABLE, else what the script prints."""
    os.environ.update({k: v for k, v in _remembered().items() if k not in os.environ})
    if variable not in os.environ:
        command = [os.path.join(TOP, "scripts", name), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Missing(f"{name} {' '.join(arguments)} failed (its messages are above)")
        os.environ[variable] = done.stdout.strip()
        _remember(variable, os.environ[variable])
    path = os.environ[variable]
    if not os.path.exists(path):
        raise Missing(f"{variable} names {path}, which does not exist")
    return path


def qemu():
    return script("VGPU_QEMU", "build-qemu.sh")


def stock_qemu():
    path = os.environ.get("VGPU_STOCK_QEMU") or shutil.which("qemu-system-x86_64")
    if not path:
        raise Missing("no qemu-system-x86_64: run scripts/setup.sh stock-qemu")
    return path


def plugin():
    return script("VGPU_PLUGIN", "build-plugin.sh")


def newer_qemu():
    return script("VGPU_NEWER_QEMU", "build-newer-qemu.sh")


def _suffix(flavour):
    return flavour.upper().replace("-", "_")


def kernel(flavour=DEFAULT_FLAVOUR):
    return script("VGPU_KERNEL_" + _suffix(flavour), "get-kernel.sh", flavour, "vmlinuz")


def boot_kernel(flavour=DEFAULT_FLAVOUR):
    """The same, uncompressed if that can be had: half the time of a boot under emulation."""
    if "VGPU_KERNEL_" + _suffix(flavour) in os.environ or flavour in BUILT_FLAVOURS:
        return kernel(flavour)
    return script("VGPU_VMLINUX_" + _suffix(flavour), "get-kernel.sh", flavour, "vmlinux")


def initrd(flavour=DEFAULT_FLAVOUR):
    return script("VGPU_INITRD_" + _suffix(flavour), "make-initramfs.sh", flavour, build_dir())
