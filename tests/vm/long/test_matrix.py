#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every kind of guest."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
import vmtest  # noqa: E402,F401 pylint: disable=unused-import
import matrix  # noqa: E402
import tap  # noqa: E402

matrix.declare(matrix.every_kind())

if __name__ == "__main__":
    tap.main()
