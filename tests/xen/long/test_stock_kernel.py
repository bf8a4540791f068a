#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What two Linux domains do at once, with Debian's own cloud kernel in them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
os.environ["VGPU_XEN_FLAVOUR"] = "cloud-amd64"

# pylint: disable=wrong-import-position,wrong-import-order
import xentest  # noqa: E402
import cases_linux  # noqa: E402,F401 pylint: disable=unused-import
import tap  # noqa: E402

if __name__ == "__main__":
    try:
        tap.main()
    finally:
        xentest.report()
