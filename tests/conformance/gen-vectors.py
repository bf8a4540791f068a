#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Writes the conformance vectors: vectors/NAME.ptx and vectors/NAME.vec, one pair for each instruction, type and
modifier family. Expected values are computed by exact.py and by Python's integers, never by the executor.

A .ptx file has one kernel, test(in, out, n): thread i reads row i of `in` (64-bit cells, one for each source),
executes the instruction and writes row i of `out`. The .vec file: a line `inputs outputs`, then a line with the
tolerance of each output, then one row per line in hexadecimal. Tolerances: `exact`; `ulp32:N`; `abs32:X`; `rel64:X`;
`rel16:X` and `abs16:X` of f16, `relb16:X` and `absb16:X` of bf16, for each half of 32 bits.
"""
import os
import sys

import families_convert
import families_float
import families_forms
import families_int
import families_memory
import families_video
import families_warp
import family


def main():
    os.makedirs(family.OUT, exist_ok=True)
    families_int.integer_families()
    families_int.bits_families()
    families_float.float_families()
    families_convert.compare_families()
    families_convert.convert_families()
    families_float.approx_families()
    families_video.video_families()
    families_forms.all_forms()
    families_memory.memory_families()
    families_warp.warp_families()
    for name in os.listdir(family.OUT):
        if name not in family.written:
            os.unlink(os.path.join(family.OUT, name))
    print("%d families" % family.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
