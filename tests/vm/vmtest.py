# SPDX-License-Identifier: MIT
"""What the tests with real guests share.

Importing this makes tests/lib importable, so it comes first:

    from vmtest import ...
"""
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import tap  # noqa: E402
from agent import poll  # noqa: E402

EXECUTOR = "CPU executor"
PASSED = r"1:.+ PASSED: \d+ elements, 0 errors \({}\)"

# every example, small enough to take a second or two in an emulated guest
EXAMPLES = ("vecadd -n 1024", "vecadd -n 100000", "saxpy", "matmul -n 64", "reduce", "hello")

SELFTEST_TIMEOUT_S = 800

# what a VM can hold, as vgpuctl names it
RESOURCES = ("contexts", "memory_bytes", "buffers", "exec_processes")


def last_line(output):
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def passed(output, executor=EXECUTOR):
    """Whether an example's last line says that it passed, and on that executor."""
    return re.fullmatch(PASSED.format(re.escape(executor)), last_line(output))


def example_passes(guest, command, timeout_s=180, executor=EXECUTOR):
    """Run an example; it must end well and say so in its last line, and what it ran on."""
    status, output = guest.run(command, timeout_s)
    if status != 0 or not passed(output, executor):
        tap.fail(f"{guest.config.name}: {command}: exit status {status}, output:\n{output}")


def program_fails(guest, command, timeout_s=120):
    """Run a program that must fail by the book: exit status 1 and a last line with
    a reason, "2:REASON".  The reason."""
    status, output = guest.run(command, timeout_s)
    line = last_line(output)
    if status != 1 or not re.fullmatch(r"2:.+", line):
        tap.fail(f"{guest.config.name}: {command}: expected status 1 and a reason, saw status "
                 f"{status}, output:\n{output}")
    return line[2:]


def held_by(vm):
    """What the VM holds now: the resources that are not zero.  With no guest
    attached that must be nothing, its process included; and an account that its
    process did not confirm proves nothing."""
    held = {key: vm[key] for key in RESOURCES if vm[key]}
    if not vm["responding"]:
        held["responding"] = False
    if vm["vm_processes"] > (1 if vm["attached"] else 0):
        held["vm_processes"] = vm["vm_processes"]
    return held


def fuzz_ioctls(guest, seconds, seed=None):
    """Random programs against the driver for a while (guest-fuzz); what they did is
    diagnosed.  They may do what they like, and must get past the first check often
    enough to say something."""
    seed = seed or random.SystemRandom().randrange(1, 1 << 40)
    status, output = guest.run(f"guest-fuzz {seed} {seconds} 2>&1", seconds + 600)
    tap.diagnose(f"guest-fuzz {seed} {seconds}: {last_line(output)}")
    tap.equal(status, 0, f"guest-fuzz {seed}: {output}")
    tap.true(re.search(r" QUEUE_SETUP [1-9]\d*/", output), f"some programs set up: {output}")


def wait_idle(daemon, name, timeout_s=60):
    """Wait until the VM holds nothing in the daemon's accounting."""
    held = {}

    def idle():
        held.clear()
        held.update(held_by(daemon.vm(name)))
        return not held
    try:
        poll(idle, timeout_s, "nothing held")
    except AssertionError:
        tap.fail(f"VM {name} still holds {held}")


def wait_held(daemon, name, condition, what, timeout_s=60):
    """Wait until the VM's accounting meets the condition; the accounting."""
    return poll(lambda: (lambda vm: vm if condition(vm) else None)(daemon.vm(name)),
                timeout_s, f"VM {name}: {what}")


def judge(status, output, listed):
    """The inner TAP must report exactly the listed tests, none failed."""
    results = re.findall(r"^(not ok|ok) \d+ - (.*?)( # SKIP.*)?$", output, re.MULTILINE)
    failed = [name for result, name, _ in results if result == "not ok"]
    skipped = [name for result, name, skip in results if skip]
    plan = re.findall(r"^1\.\.(\d+)$", output, re.MULTILINE)
    tap.diagnose(f"{len(results)} tests inside, {len(failed)} failed, {len(skipped)} skipped"
                 + "".join(f"\nskipped: {name}" for name in skipped))
    if failed or status != 0:
        tap.fail(f"exit status {status}, failed: {failed}; output:\n{output}")
    tap.equal(plan, [str(len(results))], "the inner plan")
    tap.equal(sorted(name for _, name, _ in results), sorted(listed), "the tests inside")


def runs_selftest(daemon, guest):
    """vgpu-selftest with all its tests; the guest is as clean afterwards as before."""
    listed = guest.check("vgpu-selftest -l").splitlines()
    tap.true(listed, "vgpu-selftest has tests")
    judge(*guest.run("vgpu-selftest", SELFTEST_TIMEOUT_S), listed)
    tap.contains(guest.kernel_log(), "refused: RLIMIT_MEMLOCK allows", "the kernel's log")
    wait_idle(daemon, "A")
    example_passes(guest, "vecadd -n 1024")
    guest.check_kernel_log()
