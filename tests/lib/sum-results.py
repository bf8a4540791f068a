#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Add up the results of test groups.

    sum-results.py [--build DIR] GROUP...

Reads DIR/results/GROUP.json, as run-tap.py writes it, prints a line per group
and, last, "N passed, N failed[, N skipped]".  A group without a result, or with
one that cannot be read, counts as one failure: its runner did not finish.
"""
import argparse
import json
import os
import sys

KEYS = ("passed", "failed", "skipped")


def load(build, group):
    """The group's counts, and a note if something is wrong with them."""
    path = os.path.join(build, "results", group + ".json")
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        counts = {key: data[key] for key in KEYS}
        if not all(isinstance(value, int) and value >= 0 for value in counts.values()):
            raise ValueError("counts are not numbers")
        if sum(counts.values()) == 0:
            raise ValueError("ran no test")
    except FileNotFoundError:
        return {"passed": 0, "failed": 1, "skipped": 0}, "left no result"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"passed": 0, "failed": 1, "skipped": 0}, f"unusable result: {error}"
    return counts, ""


def summary(counts):
    text = f"{counts['passed']} passed, {counts['failed']} failed"
    return text + (f", {counts['skipped']} skipped" if counts["skipped"] else "")


def main():
    parser = argparse.ArgumentParser(description="add up test results")
    parser.add_argument("--build", default="build")
    parser.add_argument("groups", nargs="+")
    args = parser.parse_args()
    total = dict.fromkeys(KEYS, 0)
    for group in args.groups:
        counts, note = load(args.build, group)
        for key in KEYS:
            total[key] += counts[key]
        # set off, so that only the last line has the form of a total
        print(f"  {group:12} | {summary(counts)}{'; ' + note if note else ''}")
    print(summary(total), flush=True)
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
