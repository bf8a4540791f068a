#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The back end's processes killed a few times each; long/test_recovery.py kills more."""
import vmtest  # noqa: F401 pylint: disable=unused-import

# pylint: disable=wrong-import-order
import recovery
import tap

recovery.declare(3)

if __name__ == "__main__":
    tap.main()
