#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The plug-in in Debian's stock QEMU: that the device works there as in ours, and
that the plug-in refuses a QEMU it was not built for.

Stock QEMU lacks the qtest accelerator; TCG with the processors stopped does.
"""
import os
import re
import struct
import tempfile

from qtest import RAM_MIB, Qemu, images, refusal, shared_ram, tap, wait_until
from qtest import subprocess
import vfu
from vfu import Server

MESSAGE = 0x100000


def stock(plugin, *arguments):
    return [images.stock_qemu(), "-plugin", ",".join([f"file={plugin}", *arguments]),
            "-accel", "tcg", "-S", "-M", "q35", "-nodefaults", "-display", "none"]


def start(device, *extra, arguments=()):
    return Qemu(device, *extra, command=stock(images.plugin(), *arguments))


@tap.test("the plug-in's device works in the stock QEMU: all of it, once")
def works():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path) as server, start(f"socket={path},reconnect-ms=10") as qemu:
            qemu.map_bars()
            qemu.wait_live()
            tap.equal(qemu.config(0), 0x76671234, "identity")
            qemu.set_register(0x40, 0x1234)
            tap.equal(qemu.register(0x40), 0x1234, "a register")
            qemu.ring(3)
            tap.equal(server.rung(3), 1, "a doorbell")
            data = os.urandom(32)
            qemu.write_bytes(0x200000, data)
            tap.equal(server.read_memory(0x200000, 32), data, "RAM")
            qemu.write(MESSAGE, 0)
            qemu.msix_entry(5, MESSAGE, 0xabcd)
            qemu.msix_enable()
            server.raise_irq(5)
            wait_until(lambda: qemu.read(MESSAGE) == 0xabcd, "an interrupt")
            server.hang_up()
            wait_until(lambda: server.connections == 2, "another connection")
            qemu.wait_live()
            qemu.qmp.command("system_reset")
            wait_until(lambda: server.resets == 1, "a reset")


@tap.test("trace=on shows the device's events, and nothing else")
def trace():
    with start("socket=/nonexistent/vgpu.sock", arguments=["trace=on"]) as qemu:
        qemu.wait_log("vgpu_conn_attempt /nonexistent/vgpu.sock: -2")
        others = [x for x in qemu.log().splitlines() if not re.match(r"vgpu_|qemu-system", x)]
        tap.equal(others, [], "other lines")


@tap.test("an unknown argument is refused")
def argument():
    said = refusal(*shared_ram(), command=stock(images.plugin(), "colour=blue"))
    tap.contains(said, "unknown argument 'colour=blue'", "the refusal")


@tap.test("private memory is refused as in ours")
def private():
    said = refusal("-m", f"{RAM_MIB}M", "-device", "vgpu-pci,socket=/x",
                   command=stock(images.plugin()))
    tap.contains(said, "share=on", "the refusal")


@tap.test("an AMD vIOMMU, which reports no mappings, is refused")
def amd_iommu():
    said = refusal(*shared_ram(), "-device", "amd-iommu", "-device", "vgpu-pci,socket=/x",
                   command=stock(images.plugin()))
    tap.contains(said, "AMD vIOMMU", "the refusal")


@tap.test("preloaded, the device is there without -plugin")
def preloaded():
    environment = dict(os.environ, LD_PRELOAD=images.plugin())
    done = subprocess.run([images.stock_qemu(), "-device", "vgpu-pci,help"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                          check=False)
    tap.contains(done.stdout, "reconnect-ms=", "the help")


# ---- The guard: a copy of the plug-in is told it was built for something else ----

def symbol(image, wanted):
    """(file offset, size) of a data symbol of an ELF image, by the start of its name."""
    sections_at, = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3a)
    sections = [struct.unpack_from("<IIQQQQII", image, sections_at + i * size)
                for i in range(count)]
    for _, kind, _, _, at, length, link, _ in sections:
        if kind != 2:       # SHT_SYMTAB
            continue
        names = sections[link][4]
        for entry in range(at, at + length, 24):
            name, _, _, index, value, bytes_ = struct.unpack_from("<IBBHQQ", image, entry)
            end = image.index(b"\0", names + name)
            if bytes_ and image[names + name:end].decode().startswith(wanted):
                section = sections[index]
                return value - section[3] + section[4], bytes_
    raise AssertionError(f"the plug-in has no symbol {wanted}")


def other_version(image):
    """As if built for the version before or after."""
    version = re.search(rb"\0(\d+\.\d+\.)(\d)(\d*)\0", image)
    tap.true(version, "the plug-in names no version")
    digit = b"1" if version[2] != b"1" else b"2"
    image[version.start(2):version.end(2)] = digit


def other_layout(row):
    """As if the structure in this row of the table were larger."""
    def change(image):
        at, size = symbol(image, "types")
        tap.true((row + 1) * 16 <= size, f"the table has no row {row}")
        number, = struct.unpack_from("<Q", image, at + row * 16 + 8)
        struct.pack_into("<Q", image, at + row * 16 + 8, number + 8)
    return change


def altered(folder, change):
    with open(images.plugin(), "rb") as file:
        image = bytearray(file.read())
    change(image)
    path = os.path.join(folder, "altered.so")
    with open(path, "wb") as file:
        file.write(image)
    return path


def refused_altered(change, pattern):
    with tempfile.TemporaryDirectory() as folder:
        said = refusal(*shared_ram(), "-device", "vgpu-pci,socket=/x",
                       command=stock(altered(folder, change)))
        tap.true(re.search(pattern, said), f"{pattern!r} is not in what it said:\n{said}")


@tap.test("another version of QEMU is refused")
def version_guard():
    refused_altered(other_version, r"this is QEMU [\d.]+, the plug-in was built for [\d.]+; rebuild")


@tap.test("another layout of any of QEMU's structures is refused")
def layout_guard():
    for row, kind in enumerate(("object", "device", "pci-device", "(qemu:)?memory-region",
                                "(qemu:)?iommu-memory-region")):
        refused_altered(other_layout(row), rf"a {kind} has \d+ bytes in this QEMU")


@tap.test("the preloaded plug-in refuses another version too")
def preload_guard():
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, LD_PRELOAD=altered(folder, other_version))
        done = subprocess.run([images.stock_qemu(), "-device", "vgpu-pci,help"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                              check=False)
        tap.equal(done.returncode, 1, "exit status")
        tap.contains(done.stdout, "rebuild it", "the refusal")


tap.main()
