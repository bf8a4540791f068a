# SPDX-License-Identifier: MIT
"""Direct kernel boot under qemu-xen, without its slow transfer.

`kernel=` and `ramdisk=` of xl.cfg make qemu-xen offer the files through fw_cfg, from
which the guest's option ROM reads them byte by byte: ten seconds per megabyte in an
emulated Xen.  QEMU can also write files into guest memory before the guest starts
(its `loader` device), in no time.  So xl's kernel is a stub here, and the rest of the
boot is as always: hvmloader, SeaBIOS, option ROM, and then

    real-mode setup code    the kernel's own, first part of its bzImage
    32-bit kernel           STUB instead: it enters the root in the boot parameters
                            (%esi; "struct boot_params" of the x86 boot protocol) and
                            jumps to the real one, which runs from any address

    64 MiB   the kernel's 32-bit part, unpacks itself to 16 MiB
    128 MiB  the root
"""
import os
import struct

KERNEL_AT, INITRD_AT = 64 << 20, 128 << 20
SETUP_SECTORS = 0x1f1               # offset in the bzImage
RAMDISK_IMAGE, RAMDISK_SIZE = 0x218, 0x21c  # in the boot parameters
SPARE_MB = 32                       # above the root, for hvmloader and the kernel


def stub(initrd_bytes):
    """32-bit machine code, at the entry point of the boot protocol."""
    return (b"\xc7\x86" + struct.pack("<II", RAMDISK_IMAGE, INITRD_AT)      # movl $, (%esi)
            + b"\xc7\x86" + struct.pack("<II", RAMDISK_SIZE, initrd_bytes)  # movl $, (%esi)
            + b"\xb8" + struct.pack("<I", KERNEL_AT)                        # movl $, %eax
            + b"\xff\xe0").ljust(512, b"\0")                                # jmp *%eax


class Image:
    """A kernel and its root, as files in Dom0 below /guest.

    files: path in Dom0 -> path here, for Dom0's overlay."""

    def __init__(self, name, kernel, initrd, directory):
        """directory: where to put the parts of the kernel; kept by the caller."""
        with open(kernel, "rb") as file:
            image = file.read()
        setup = (1 + (image[SETUP_SECTORS] or 4)) * 512
        self.initrd_bytes = os.path.getsize(initrd)
        self.head, self.body, self.root = (f"/guest/{name}.{part}"
                                           for part in ("head", "kernel", "cpio"))
        self.files = {self.root: initrd}
        for path, content in ((self.head, image[:setup] + stub(self.initrd_bytes)),
                              (self.body, image[setup:])):
            self.files[path] = os.path.join(directory, os.path.basename(path))
            with open(self.files[path], "wb") as file:
                file.write(content)

    def memory_mb(self):
        """What a guest needs at least."""
        return (INITRD_AT + self.initrd_bytes >> 20) + SPARE_MB

    def settings(self):
        """For xl.cfg: kernel, and arguments for qemu-xen."""
        arguments = []
        for path, address in ((self.body, KERNEL_AT), (self.root, INITRD_AT)):
            arguments += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
        return self.head, arguments
