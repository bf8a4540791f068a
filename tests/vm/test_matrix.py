#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A few kinds of guests, each unlike one that runs the whole of vgpu-selftest in everything
but the DMA; long/test_matrix.py has all."""
import vmtest  # noqa: F401 pylint: disable=unused-import

# pylint: disable=wrong-import-order
import tap
from matrix import SELFTEST_KINDS, Kind, declare, every_kind, pairs_of

KINDS = (
    Kind("plain", 1, True, 5120, "amd64"),
    Kind("swiotlb=force", 2, True, 512, "amd64"),
    Kind("vIOMMU", 1, False, 512, "amd64"),
    Kind("vIOMMU, lazy", 2, False, 5120, "cloud-amd64"),
)


@tap.test("the kinds that are tested have every pair of values")
def covers_all_pairs():
    missing = pairs_of(every_kind()) - pairs_of(KINDS + SELFTEST_KINDS)
    tap.true(not missing, f"missing: {sorted(missing, key=str)}")


declare(KINDS)

if __name__ == "__main__":
    tap.main()
