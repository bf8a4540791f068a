#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The tools that judge and boot are themselves under test.

A runner that passes what is broken makes every other test worthless, so each way
in which a test program can go wrong is shown to it here.  The agent and the image
tools follow, the agent in a real guest without our device.
"""
import contextlib
import io
import json
import os
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import images  # noqa: E402
import tap  # noqa: E402
from agent import AgentLost, AgentTimeout, poll  # noqa: E402
from shell import KERNEL_TROUBLE  # noqa: E402
from vm import BootTimeout, Config, Guest, GuestError  # noqa: E402

RUN_TAP = os.path.join(images.TOP, "tests", "lib", "run-tap.py")
SUM = os.path.join(images.TOP, "tests", "lib", "sum-results.py")
MKCPIO = os.path.join(images.TOP, "scripts", "mkcpio.py")
GET_SOURCE = os.path.join(images.TOP, "scripts", "get-source.sh")

# name -> (shell text, passed, failed, skipped)
PROGRAMS = {
    "passes": ("echo 1..2; echo 'ok 1 - a'; echo 'ok 2 - b'", 2, 0, 0),
    "skips one": ("echo 1..1; echo 'ok 1 - a # SKIP no reason'", 0, 0, 1),
    "skips itself": ("echo 'there is no GPU'; exit 77", 0, 0, 1),
    "fails one": ("echo 1..2; echo 'ok 1 - a'; echo 'not ok 2 - b'; exit 1", 1, 1, 0),
    "fails, exit status 0": ("echo 1..1; echo 'not ok 1 - b'", 0, 1, 0),
    "prints no plan": ("echo 'ok 1 - a'", 1, 1, 0),
    "prints nothing": ("true", 0, 1, 0),
    "plans nothing": ("echo 1..0", 0, 1, 0),
    "plans two, runs one": ("echo 1..2; echo 'ok 1 - a'", 1, 1, 0),
    "plans one, runs two": ("echo 1..1; echo 'ok 1 - a'; echo 'ok 2 - b'", 2, 1, 0),
    "repeats a number": ("echo 1..2; echo 'ok 1 - a'; echo 'ok 1 - a'", 2, 1, 0),
    "dies by a signal": ("echo 1..1; echo 'ok 1 - a'; kill -SEGV $$", 1, 1, 0),
    "exits with an error": ("echo 1..1; echo 'ok 1 - a'; exit 3", 1, 1, 0),
    "bails out": ("echo 1..1; echo 'ok 1 - a'; echo 'Bail out! no'", 1, 1, 0),
    "is not finished": ("echo 1..1; echo 'not ok 1 - a # TODO later'", 0, 1, 0),
    "hangs": ("echo 1..1; echo 'ok 1 - a'; exec sleep 600", 1, 1, 0),
}


def run_tap(folder, text, name="program"):
    """What run-tap.py makes of a shell program: (exit status, last line, results)."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, 0o755)
    done = subprocess.run(
        [RUN_TAP, "--build", folder, "--timeout", "3", "self", path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    with open(os.path.join(folder, "results", "self.json"), encoding="utf-8") as file:
        return done.returncode, done.stdout.strip().splitlines()[-1], json.load(file)


@tap.test("the runner counts every way of going wrong as a failure")
def runner_judges():
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, *expected) in PROGRAMS.items():
            status, last, results = run_tap(folder, text)
            seen = [results[key] for key in ("passed", "failed", "skipped")]
            tap.equal(seen, expected, f"counts of a program that {name}")
            tap.equal(status, 1 if expected[1] else 0, f"exit status for a program that {name}")
            skipped = f", {expected[2]} skipped" if expected[2] else ""
            tap.equal(last, f"{expected[0]} passed, {expected[1]} failed{skipped}", "last line")


@tap.test("the runner shows the notes of a program that passes")
def runner_shows_notes():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho 1..1; echo '# NOTE odd'; echo '# even'; echo 'ok 1 - a'\n")
        os.chmod(path, 0o755)
        done = subprocess.run([RUN_TAP, "--build", folder, "self", path],
                              capture_output=True, text=True, timeout=60, check=False)
        tap.contains(done.stdout, "     note: odd\n", "what is shown")
        tap.true("even" not in done.stdout, "other comments are not shown")


@tap.test("the runner writes down what a test says that it took, and nothing of others")
def runner_notes_times():
    with tempfile.TemporaryDirectory() as folder:
        _, _, results = run_tap(folder, "echo 1..2; echo '# took 1.5 s, 0.5 s of CPU time';"
                                        "echo 'ok 1 - a'; echo 'ok 2 - b'")
        tap.equal([(test.get("seconds"), test.get("cpu_seconds"))
                   for test in results["programs"][0]["tests"]], [(1.5, 0.5), (None, None)], "times")


@tap.test("the runner kills what a program leaves behind")
def runner_kills_stragglers():
    with tempfile.TemporaryDirectory() as folder:
        pidfile = os.path.join(folder, "pid")
        run_tap(folder, f"sleep 600 & echo $! >{pidfile}; echo 1..1; echo 'ok 1 - a'")
        with open(pidfile, encoding="ascii") as file:
            pid = int(file.read())

        def is_dead():
            """Gone, or a zombie that nobody has collected yet."""
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    return file.read().rsplit(")", 1)[1].split()[0] == "Z"
            except FileNotFoundError:
                return True
        # a signal that was sent is not yet a process that ended
        poll(is_dead, 10, "the straggler is dead")


@tap.test("a program that does not exist, and a group without programs, fail")
def runner_wants_programs():
    with tempfile.TemporaryDirectory() as folder:
        for programs in ([os.path.join(folder, "absent")], []):
            done = subprocess.run([RUN_TAP, "--build", folder, "self", *programs],
                                  capture_output=True, text=True, timeout=60, check=False)
            tap.equal((done.returncode, done.stdout.strip().splitlines()[-1]),
                      (1, "0 passed, 1 failed"), f"runner with {programs}")


@tap.test("the sum counts a missing, an empty and a damaged result as failures")
def sum_judges():
    with tempfile.TemporaryDirectory() as folder:
        run_tap(folder, "echo 1..1; echo 'ok 1 - a'")
        results = os.path.join(folder, "results")
        for name, text in (("damaged", "{"), ("empty", '{"passed":0,"failed":0,"skipped":0}')):
            with open(os.path.join(results, name + ".json"), "w", encoding="utf-8") as file:
                file.write(text)

        def total(*groups):
            done = subprocess.run([SUM, "--build", folder, *groups], capture_output=True,
                                  text=True, timeout=60, check=False)
            return done.returncode, done.stdout.strip().splitlines()[-1]
        tap.equal(total("self"), (0, "1 passed, 0 failed"), "sum of a good group")
        for bad in ("absent", "damaged", "empty"):
            tap.equal(total("self", bad), (1, "1 passed, 1 failed"), f"sum with an {bad} group")


@tap.test("an archive depends on its contents alone")
def archive_is_deterministic():
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "source")
        with open(source, "w", encoding="ascii") as file:
            file.write("contents")
        lines = [f"file\tbin/b\t755\t{source}", "link\tbin/a\tb", "char\tdev/null\t666\t1\t3"]
        archives = []
        for order in (lines, lines[::-1]):
            target = os.path.join(folder, "archive")
            subprocess.run([MKCPIO, target], input="\n".join(order), text=True, check=True)
            with open(target, "rb") as file:
                archives.append(file.read())
            os.utime(source, (1, 1))
        tap.equal(archives[0], archives[1], "archives of the same entries in another order")
        tap.equal(len(archives[0]) % 512, 0, "archive's length modulo 512")
        tap.equal(stat.S_IMODE(os.stat(target).st_mode), 0o644, "archive's mode")
        bad = subprocess.run([MKCPIO, target], input="file\t../x\t755\t" + source, text=True,
                             capture_output=True, check=False)
        tap.true(bad.returncode != 0, "a path that leaves the archive is refused")


@tap.test("source entries are derived from both formats, for the wanted archive alone")
def sources_are_derived():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "sources.list.d"))
        with open(os.path.join(folder, "sources.list"), "w", encoding="ascii") as file:
            file.write("# deb http://a.test/debian no main\n"
                       "deb [arch=amd64 signed-by=/k.gpg] http://a.test/debian/ one main contrib\n"
                       "deb-src http://a.test/debian source main\n"
                       "deb http://b.test/debian other main\n")
        with open(os.path.join(folder, "sources.list.d", "x.sources"), "w",
                  encoding="ascii") as file:
            file.write("Types: deb\nURIs: http://a.test/debian\nSuites: two\nComponents: main\n\n"
                       "Enabled: no\nTypes: deb\nURIs: http://a.test/debian\nSuites: off\n\n"
                       "Types: deb\nURIs: http://b.test/debian\nSuites: other\n")
        done = subprocess.run(
            [GET_SOURCE, "--derive", "http://a.test/debian"], text=True, capture_output=True,
            env=dict(os.environ, VGPU_APT_ETC=folder), check=False)
        tap.equal(done.returncode, 0, f"exit status ({done.stderr})")
        tap.equal(done.stdout.split("\n"), [
            "deb-src [arch=amd64 signed-by=/k.gpg] http://a.test/debian/ one main contrib",
            "Types: deb-src", "URIs: http://a.test/debian", "Suites: two", "Components: main",
            "", ""], "derived entries")


@tap.test("the kernel's complaints are recognised")
def complaints_are_recognised():
    for line in ("BUG: kernel NULL pointer dereference", "WARNING: CPU: 0 PID: 1 at x.c:1",
                 "Oops: 0000 [#1] PREEMPT SMP", "INFO: task x blocked for more than 120 seconds",
                 "DMAR: [DMA Write NO_PASID] Request device [00:03.0] fault addr 0x0"):
        tap.true(KERNEL_TROUBLE.search(line), f"recognised: {line}")


@tap.test("the agent runs commands side by side, and survives a reset")
def agent_works():
    with Guest(Config(name="agent", allow_reboot=True)) as guest:
        slow = guest.begin("sleep 600")
        tap.equal(guest.run("echo out; echo err >&2; exit 3"), (3, "out\nerr\n"), "a command")
        big = guest.check("dd if=/dev/zero bs=1000 count=100 2>/dev/null | tr '\\0' x")
        tap.equal(big, "x" * 100000, "a long output")
        guest.check("echo 'vgpu noise' >/dev/kmsg; echo noise >/dev/console")
        try:
            slow.wait(0.1)
            tap.fail("a request that does not end was answered")
        except AgentTimeout:
            pass
        guest.reset()
        try:
            slow.wait(1)
            tap.fail("a request was answered across a reset")
        except AgentLost:
            pass
        tap.equal(guest.check("echo again"), "again\n", "a command after the reset")


@tap.test("a guest that never comes up is started twice, and says where it stands")
def hang_is_explained():
    config = Config(name="hanging", append="rdinit=/bin/sleep -- 1000")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            with Guest(config, boot_timeout_s=10):
                pass
        except BootTimeout as error:
            failure = str(error)
        else:
            failure = "none"
    said = said.getvalue()
    tap.contains(failure, "agent is not up after 10 s", "the failure")
    tap.equal(said.count("# NOTE guest hanging hung before its first process"), 1, "notes")
    tap.equal(said.count("Kernel panic - not syncing: NMI"), 2, f"panics in {said}")
    for part in ("QEMU says: running", "CPU#1 RIP=", "LVTT", "CPU 0/TCG", "task:sleep"):
        tap.contains(said, part, "what was found out")


@tap.test("a kernel that complains is noticed, and one that dies ends the guest")
def trouble_is_noticed():
    with Guest(Config(name="trouble")) as guest:
        guest.check_kernel_log()
        guest.check("echo 'WARNING: made up for a test' >/dev/kmsg")
        try:
            guest.check_kernel_log()
        except GuestError as error:
            tap.contains(str(error), "made up for a test", "the complaint")
        else:
            tap.fail("the complaint was not noticed")
        dying = guest.begin("echo c >/proc/sysrq-trigger")
        guest.wait_exit()
        try:
            dying.wait(10)
            tap.fail("a dead guest answered")
        except AgentLost:
            pass
        tap.contains(guest.console(), "Kernel panic", "the console")


if __name__ == "__main__":
    tap.main()
