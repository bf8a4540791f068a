# SPDX-License-Identifier: MIT
"""Test Anything Protocol for the Python test programs.

A test program declares its tests and ends with main():

    @tap.test("what must be true")
    def some_test(): ...

    tap.main()

A test passes if it returns.  It is skipped if it raises Skip(reason), and fails
on any other exception; the traceback goes out as diagnostics.  Tests run in the
order of declaration.  Arguments select tests whose names contain them.  The exit
status is 0 only if no test failed; a selection that matches nothing is an error.

Before each result stands "# took N s, N s of CPU time", for run-tap.py: the test's
own and that of the processes it has waited for.
"""
import os
import sys
import time
import traceback

_tests = []


class Skip(Exception):
    """The test cannot run here; the argument says why."""


def test(name):
    """Decorator: declare a test under its TAP name."""
    def declare(function):
        _tests.append((name, function))
        return function
    return declare


def diagnose(text):
    """Print text as TAP diagnostics."""
    for line in str(text).rstrip("\n").split("\n"):
        print(f"# {line}", flush=True)


def note(text):
    """Print a line that run-tap.py shows even when the program passes."""
    print(f"# NOTE {_one_line(text)}", flush=True)


def fail(message):
    raise AssertionError(message)


def equal(seen, expected, what):
    if seen != expected:
        fail(f"{what}: expected {expected!r}, saw {seen!r}")


def true(condition, what):
    if not condition:
        fail(what)


def contains(text, part, what):
    if part not in text:
        fail(f"{what}: {part!r} not in:\n{text}")


def _one_line(text):
    return " ".join(str(text).split()).replace("#", "")


def _cpu_seconds():
    return sum(os.times()[:4])


def _run(number, name, function):
    """Run one test; True unless it failed."""
    started, cpu = time.monotonic(), _cpu_seconds()
    outcome, ending = "ok", ""
    try:
        function()
    except Skip as reason:
        ending = f" # SKIP {_one_line(reason)}"
    except Exception:  # whatever it is, it is a failed test
        diagnose(traceback.format_exc())
        outcome = "not ok"
    diagnose(f"took {time.monotonic() - started:.1f} s, {_cpu_seconds() - cpu:.1f} s of CPU time")
    print(f"{outcome} {number} - {name}{ending}", flush=True)
    return outcome == "ok"


def main():
    """Run the declared tests and exit."""
    os.umask(0o022)  # isolated processes read what tests write
    wanted = sys.argv[1:]
    chosen = [t for t in _tests if not wanted or any(w in t[0] for w in wanted)]
    if not chosen:
        sys.exit(f"no test matches {wanted}")
    print(f"1..{len(chosen)}", flush=True)
    results = [_run(i, name, function) for i, (name, function) in enumerate(chosen, start=1)]
    sys.exit(0 if all(results) else 1)
