#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vgpu-selftest in the kinds of guests that have no vIOMMU.

The program prints TAP of its own; a test here passes if that is complete and all of it
passed, and the guest is as clean afterwards as before.
"""
import vmtest  # noqa: F401 pylint: disable=unused-import

# pylint: disable=wrong-import-order
import matrix
import tap

matrix.declare_selftest(viommu=False)

if __name__ == "__main__":
    tap.main()
