#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the benchmarks and report them.

    bench-report.py [--build DIR] [--runs N] [--quick] [--realtime]

Runs DIR/rel/bin/vgpu-bench and, where it was built, DIR/rel/bin/vgpu-bench-ptx;
both print a JSON array of rows.  Writes all rows to DIR/bench.json, and prints a
table in which each figure stands beside its floor, taken in the same run.

Exit status 1 if something could not be measured.  A missed bar is shown, and is not
a failure: figures of a busy machine are no test.
"""
import argparse
import json
import os
import subprocess
import sys

PROGRAMS = ("vgpu-bench", "vgpu-bench-ptx")
REQUIRED = ("name", "value", "unit", "floor_name", "floor", "ratio")


def run(path, arguments):
    """The rows that one program prints."""
    done = subprocess.run([path] + arguments, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(path)} ended with status {done.returncode}")
    rows = json.loads(done.stdout)
    if not isinstance(rows, list) or not rows:
        raise RuntimeError(f"{os.path.basename(path)} printed no rows")
    for row in rows:
        missing = [key for key in REQUIRED if key not in row]
        if missing:
            raise RuntimeError(f"row {row.get('name', row)} lacks {', '.join(missing)}")
    return rows


def quantity(value, unit):
    """A number a person can read."""
    if unit in ("B/s", "1/s") or value >= 1e5:
        for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= factor:
                return f"{value / factor:.2f} {prefix}{unit.removeprefix('1')}"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def verdict(row):
    """What the bar says, if the row has one: (bar, verdict)."""
    bar = row.get("bar")
    if not bar:
        return "", ""
    subject = row["value"] if row.get("bar_on") == "value" else row["ratio"]
    less = row.get("better") == "less"
    sign = "<=" if less else ">="
    shown = quantity(bar, row["unit"]) if row.get("bar_on") == "value" else f"{bar:g} x"

    def meets(limit):
        return subject <= limit if less else subject >= limit

    if row.get("goal") and meets(row["goal"]):
        return f"{sign} {shown}", "goal"
    return f"{sign} {shown}", "bar" if meets(bar) else "below bar"


def table(rows):
    lines = [("figure", "value", "floor", "", "ratio", "bar", "reached")]
    for row in rows:
        bar, reached = verdict(row)
        lines.append((row["name"], quantity(row["value"], row["unit"]),
                      quantity(row["floor"], row.get("floor_unit", row["unit"])),
                      row["floor_name"], f"{row['ratio']:.3g}", bar, reached))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description="run and report the benchmarks")
    parser.add_argument("--build", default="build")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    parser.add_argument("--realtime", action="store_true", help="for a machine that is not idle")
    args = parser.parse_args()
    rows, failed = [], False
    arguments = ["--quick"] if args.quick else []
    arguments += ["--runs", str(args.runs)] if args.runs else []
    for name in PROGRAMS:
        path = os.path.join(args.build, "rel", "bin", name)
        if not os.path.exists(path):
            if name == PROGRAMS[0]:
                print(f"bench-report: {path} is not built", file=sys.stderr)
                failed = True
            continue
        try:
            # the transport alone needs both processors at the same instant
            extra = ["--realtime"] if args.realtime and name == PROGRAMS[0] else []
            rows += run(path, arguments + extra)
        except (RuntimeError, ValueError, OSError) as error:
            print(f"bench-report: {error}", file=sys.stderr)
            failed = True
    if rows:
        out = os.path.join(args.build, "bench.json")
        with open(out + ".new", "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")
        os.replace(out + ".new", out)
        table(rows)
        print(f"rows in {out}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
