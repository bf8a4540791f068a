#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Run the test programs of a group, judge their TAP, write down the results.

    run-tap.py [--build DIR] [--jobs N] [--timeout SECONDS] GROUP PROGRAM...

Each program runs in a process group of its own, in a scratch directory, and is
killed with all its children when it exceeds its time.  Check programs are told
to write TAP; Python and shell ones write it themselves.

A program counts what it printed, and besides counts one failure for each of:
no plan, a plan that differs from the number of results, the same number twice,
a death by signal, a timeout, a non-zero exit status with no failed test, "Bail
out!", and not existing.  So no way of going wrong can look like passing.

Failures are shown with the program's output; skips with their reasons; lines that
begin with "# NOTE " always.  The
last line is "N passed, N failed[, N skipped]", and DIR/results/GROUP.json holds
the same in detail.  The exit status is 0 if nothing failed and something ran.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

RESULT = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$", re.IGNORECASE)
DIRECTIVE = re.compile(r"\s#\s*(skip|todo)\b\S*\s*(.*)$", re.IGNORECASE)
NOTE = "# NOTE "
TOOK = re.compile(r"^# took ([\d.]+) s, ([\d.]+) s of CPU time$")    # tap.py's, of the result that follows
SKIPPED_EXIT = 77       # a program may skip itself as a whole
DEFAULT_TIMEOUT_S = 900
SHOWN_LINES = 120       # of a failing program's output: its end ...
SHOWN_BEFORE = 40       # ... and what stands before each failure, of
SHOWN_FAILURES = 5      # the first ones, on which later ones may depend

# Check: TAP on standard output, nothing else there
CHECK_ENVIRONMENT = {"CK_TAP_LOG_FILE_NAME": "-", "CK_VERBOSITY": "silent",
                     "CK_DEFAULT_TIMEOUT": "60"}

@dataclasses.dataclass
class Program:
    """One program's outcome."""
    path: str
    # {name, result, reason}, and seconds and cpu_seconds of those that say so
    tests: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    output: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0    # with the children it waited for

    def count(self, result):
        own = sum(1 for test in self.tests if test["result"] == result)
        return own + (len(self.problems) if result == "failed" else 0)


def parse(program, status):
    """Fill in tests and problems from the output and exit status."""
    plans, numbers, took = [], set(), {}
    for line in program.output.splitlines():
        plan, result, time_line = PLAN.match(line), RESULT.match(line), TOOK.match(line)
        if plan:
            plans.append(plan)
        elif line.startswith("Bail out!"):
            program.problems.append(line)
        elif result:
            take_result(program, result, numbers)
            program.tests[-1].update(took)
            took = {}
        elif time_line:
            took = {"seconds": float(time_line[1]), "cpu_seconds": float(time_line[2])}
        elif line.startswith(NOTE):
            program.notes.append(line[len(NOTE):])
    if status == SKIPPED_EXIT and not program.tests:
        lines = [x for x in program.output.splitlines() if x.strip()]
        reason = lines[-1] if lines else "no reason given"
        program.tests.append({"name": "all", "result": "skipped", "reason": reason})
        return
    if len(plans) != 1:
        program.problems.append(f"printed {len(plans)} plans instead of one")
    elif int(plans[0][1]) != len(program.tests):
        program.problems.append(f"planned {plans[0][1]} tests, reported {len(program.tests)}")
    elif int(plans[0][1]) == 0:
        if plans[0][2] is None:
            program.problems.append("ran no test")
        else:
            program.tests.append({"name": "all", "result": "skipped", "reason": plans[0][2]})
    if status < 0:
        program.problems.append(f"killed by {signal.Signals(-status).name}")
    elif status != 0 and not any(test["result"] == "failed" for test in program.tests):
        program.problems.append(f"exit status {status}, though no test failed")


def take_result(program, result, numbers):
    """One "ok" or "not ok" line."""
    name = result[3].strip()
    directive = DIRECTIVE.search(" " + name)
    outcome, reason = "failed" if result[1] else "passed", ""
    if directive:
        name = (" " + name)[:directive.start()].strip()
        reason = directive[2]
        # a "todo" failure is a failure here: nothing unfinished counts as done
        if directive[1].lower() == "skip" and outcome == "passed":
            outcome = "skipped"
    number = int(result[2]) if result[2] else len(program.tests) + 1
    if number in numbers:
        program.problems.append(f"reported test {number} twice")
    numbers.add(number)
    program.tests.append({"name": name, "result": outcome, "reason": reason})


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait(process, timeout_s):
    """Wait for the end of a process: (exit status, CPU seconds); the status is None, and the
    process was killed with its group, when it took too long."""
    pidfd = os.pidfd_open(process.pid)
    try:
        ended = select.select([pidfd], [], [], timeout_s)[0]
    finally:
        os.close(pidfd)
    kill_group(process)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode if ended else None, usage.ru_utime + usage.ru_stime


def run(path, timeout_s, environment):
    """Run one program to its Program."""
    program = Program(path)
    command = ["/usr/bin/python3", path] if path.endswith(".py") else [os.path.abspath(path)]
    scratch = tempfile.mkdtemp(prefix="vgpu-tap-")
    os.chmod(scratch, 0o711)    # a guest's processes, under another user, reach what a test names
    started = time.monotonic()
    try:
        # a file and not a pipe: a child that outlives the program must not
        # keep this from ending
        with open(os.path.join(scratch, "output"), "w+b") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env=dict(environment, TMPDIR=scratch))
            status, program.cpu_seconds = wait(process, timeout_s)
            if status is None:
                program.problems.append(f"still running after {timeout_s} s, killed")
            output.seek(0)
            program.output = output.read().decode(errors="replace")
    except OSError as error:
        program.problems.append(f"cannot run: {error}")
        return program
    finally:
        program.seconds = time.monotonic() - started
        shutil.rmtree(scratch, ignore_errors=True)
    parse(program, status if status is not None else 1 if failed_any(program) else 0)
    return program


def failed_any(program):
    return "\nnot ok" in "\n" + program.output


def show(program):
    """Print one program's outcome."""
    counts = {key: program.count(key) for key in ("passed", "failed", "skipped")}
    lines = [f"{'FAIL' if counts['failed'] else 'ok  '} {program.path}: {summary(counts)} "
             f"({program.seconds:.1f} s, {program.cpu_seconds:.1f} s of CPU time)"]
    for test in program.tests:
        if test["result"] == "failed":
            lines.append(f"     failed: {test['name']}")
        elif test["result"] == "skipped":
            lines.append(f"     skipped: {test['name']}: {test['reason']}")
    lines += [f"     failed: {problem}" for problem in program.problems]
    lines += [f"     note: {note}" for note in program.notes]
    if counts["failed"]:
        lines += excerpt(program.output.splitlines())
    # in one piece: another group may run beside this one
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def excerpt(output):
    """What to show of a failing program's output."""
    failures = [number for number, line in enumerate(output) if line.startswith("not ok")]
    wanted = set(range(max(0, len(output) - SHOWN_LINES), len(output)))
    for number in failures[:SHOWN_FAILURES]:
        wanted.update(range(max(0, number - SHOWN_BEFORE), number + 1))
    lines = [f"     --- its output ({len(wanted)} of {len(output)} lines)"]
    last = -1
    for number in sorted(wanted):
        lines += ["     | [...]"] * (number != last + 1) + [f"     | {output[number]}"]
        last = number
    return lines


def summary(counts):
    text = f"{counts['passed']} passed, {counts['failed']} failed"
    return text + (f", {counts['skipped']} skipped" if counts["skipped"] else "")


def write_results(build, group, programs, counts, seconds):
    folder = os.path.join(build, "results")
    os.makedirs(folder, exist_ok=True)
    data = {
        "group": group, **counts, "seconds": round(seconds, 1),
        "programs": [{"path": p.path, "seconds": round(p.seconds, 1), "tests": p.tests,
                      "problems": p.problems, "notes": p.notes} for p in programs]}
    path = os.path.join(folder, group + ".json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def arguments():
    parser = argparse.ArgumentParser(description="run test programs and judge their TAP")
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S)
    parser.add_argument("group")
    parser.add_argument("programs", nargs="*")
    return parser.parse_args()


def main():
    args = arguments()
    result = os.path.join(args.build, "results", args.group + ".json")
    if os.path.exists(result):
        os.unlink(result)  # an interrupted run must not leave an older one's result
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vgpu-run-") as common:
        environment = dict(os.environ, **CHECK_ENVIRONMENT, VGPU_BUILD=args.build,
                           VGPU_IMAGES_CACHE=os.path.join(common, "images.json"))
        with concurrent.futures.ThreadPoolExecutor(max(1, args.jobs)) as pool:
            programs = []
            for program in pool.map(lambda p: run(p, args.timeout, environment), args.programs):
                show(program)
                programs.append(program)
    counts = {key: sum(p.count(key) for p in programs) for key in ("passed", "failed", "skipped")}
    if not programs:
        print("no test program was given")
        counts["failed"] = 1
    write_results(args.build, args.group, programs, counts, time.monotonic() - started)
    print(summary(counts), flush=True)
    sys.exit(0 if counts["failed"] == 0 and counts["passed"] + counts["skipped"] > 0 else 1)


if __name__ == "__main__":
    main()
