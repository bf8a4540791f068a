#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Fifty domains with a vGPU, one after the other, in one boot of Dom0."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position,wrong-import-order
import xentest  # noqa: E402
import churn  # noqa: E402
import tap  # noqa: E402

churn.declare(50)

if __name__ == "__main__":
    try:
        tap.main()
    finally:
        xentest.report()
