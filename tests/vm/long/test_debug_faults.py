#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The faults under a kernel that checks itself: the tests of `make check-faults` once more, in
guests of the debug kernel.  See debugguest.py for who judges.

The modules of those tests take Config and Guest from vm.py, so they must be replaced there
before the modules are imported; importing them declares their tests.  What says nothing about
the guest's kernel is left out.
"""
import debugguest

# pylint: disable=wrong-import-order
import tap
import vm

vm.Config, vm.Guest = debugguest.debug_config, debugguest.DebugGuest

# pylint: disable=wrong-import-position,unused-import
import test_recovery    # noqa: E402,F401
import test_driver      # noqa: E402,F401
import test_lifecycle   # noqa: E402,F401
import test_faults      # noqa: E402,F401
import test_linger      # noqa: E402,F401
import test_liar        # noqa: E402,F401

if __name__ == "__main__":
    tap.main()
