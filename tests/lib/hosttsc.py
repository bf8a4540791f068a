# SPDX-License-Identifier: MIT
"""How fast this machine's time stamp counter runs.

An emulated guest's TSC is the host's.  The guest's kernel measures its frequency at
boot against emulated timers, and measures wrongly when the host is busy: its clock
then runs fast, time-outs fire early and watchdogs bark.  So the frequency is measured
here, and given to it (tsc_early_khz).
"""
import ctypes
import functools
import mmap
import platform
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
RDTSC = bytes((0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3))
SAMPLES = 5
INTERVAL_S = 0.02


def _counter():
    """A function that reads the counter."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(RDTSC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    read.page = page    # lives as long as the function does
    return read


def _stamp(read):
    """A counter value and the time it was read at, as close together as of 16 tries."""
    best = None
    for _ in range(16):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        value = read()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        if best is None or after - before < best[0]:
            best = (after - before, value, (before + after) / 2)
    return best[1], best[2]


@functools.cache
def tsc_khz():
    """The frequency in kHz; 0 on a machine without this counter."""
    if platform.machine() != "x86_64":
        return 0
    read = _counter()
    results = []
    for _ in range(SAMPLES):
        value, at_ns = _stamp(read)
        time.sleep(INTERVAL_S)
        later_value, later_ns = _stamp(read)
        results.append((later_value - value) * 1e6 / (later_ns - at_ns))
    return round(sorted(results)[SAMPLES // 2])
