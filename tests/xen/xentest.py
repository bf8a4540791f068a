# SPDX-License-Identifier: MIT
"""What the tests on Xen share: one Dom0 for all of them, and the kinds of guests.

Importing this makes tests/lib importable, so it comes first:

    from xentest import ...

Dom0 boots when the first test asks for it and ends with the program.  Once it has
crashed, every later test fails at once with the crash as its reason.
"""
import atexit
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "vm"), os.path.join(HERE, "..", "lib")]

# pylint: disable=wrong-import-position
import images  # noqa: E402
import tap  # noqa: E402
from dom0 import Dom0, Dom0Error, hvm_config  # noqa: E402
from fastboot import Image  # noqa: E402
from vmtest import EXAMPLES, example_passes, last_line, passed  # noqa: E402,F401

TINY = "/guest/tiny.elf"    # path in Dom0
WRAPPER = "/usr/bin/vgpu-dm"
FLAVOUR = "xen"             # the small kernel; VGPU_XEN_FLAVOUR names another

_temporary = tempfile.TemporaryDirectory(prefix="vgpu-xen-images-")
_images = {}
_dom0 = []


def flavour():
    return os.environ.get("VGPU_XEN_FLAVOUR", FLAVOUR)


def tiny_elf():
    path = os.path.join(images.build_dir(), "xen", "tiny.elf")
    if not os.path.exists(path):
        raise images.Missing(f"{path} is not built: run make check-xen")
    return path


def linux_image():
    """The Linux guests' kernel and root."""
    name = flavour()
    if name not in _images:
        _images[name] = Image(name, images.kernel(name), images.initrd(name), _temporary.name)
    return _images[name]


def dom0():
    """The running Dom0, booted on first use."""
    if not _dom0:
        running = Dom0({TINY: tiny_elf(), **linux_image().files})
        _dom0.append(running)
        atexit.register(running.close)
        try:
            running.start()
        except Dom0Error:
            running.diagnose()
            raise
        tap.diagnose(f"Xen and Dom0 up in {running.boot_s:.1f} s")
    elif _dom0[0].crash or not _dom0[0].booted():
        raise Dom0Error(f"Dom0 is gone: {_dom0[0].crash or 'it never came up'}")
    return _dom0[0]


def report():
    """When Dom0 crashed, what the reader wants is its last words."""
    for running in _dom0:
        if running.crash and not running.crash_expected:
            running.diagnose()


def tiny_config(**more):
    """A guest that is tests/xen/guest/tiny.c, in hvmloader's place."""
    return hvm_config(firmware_override=TINY, memory=16, **more)


def linux_config(command_line="", **more):
    """A Linux guest by direct kernel boot, with the test guests' own root; its agent
    is on the PV console, its kernel's messages go to Xen's log."""
    kernel, loaders = linux_image().settings()
    settings = dict(
        memory=linux_image().memory_mb(), kernel=kernel, device_model_args_hvm=loaders,
        cmdline="earlyprintk=xen keep_bootcon loglevel=5 panic=1 tsc=reliable nokaslr "
                # ticks come late when the host is busy
                f"no_timer_check vgpu.agent=/dev/hvc0 {command_line}")
    settings.update(more)
    return hvm_config(**settings)


def with_vgpu(config, options):
    """The same guest with vgpu-dm as its device model, and these options for it."""
    arguments = config.get("device_model_args_hvm", []) + ["-vgpu", options]
    return dict(config, device_model_override=WRAPPER, device_model_args_hvm=arguments)
