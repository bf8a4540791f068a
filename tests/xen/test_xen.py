#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""All quick cases on Xen, in one Dom0: each cases_*.py declares its tests.

    test_xen.py [PART-OF-A-NAME...]    runs the tests with that in their names
"""
import xentest  # first: it makes the rest importable

# pylint: disable=wrong-import-order,unused-import
import cases_rig  # noqa: F401
import cases_tiny  # noqa: F401
import cases_wrapper  # noqa: F401
import cases_linux  # noqa: F401
import cases_life  # noqa: F401
import cases_hand  # noqa: F401
import cases_end  # noqa: F401
import tap

if __name__ == "__main__":
    try:
        tap.main()
    finally:
        xentest.report()
