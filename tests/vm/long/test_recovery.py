#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The back end's processes killed fifty times in a row each, under one boot of the guest."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
import vmtest  # noqa: E402,F401 pylint: disable=unused-import
import recovery  # noqa: E402
import tap  # noqa: E402

recovery.declare(50)

if __name__ == "__main__":
    tap.main()
