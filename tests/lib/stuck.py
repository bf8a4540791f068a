# SPDX-License-Identifier: MIT
"""Why a guest does not answer, for a report.

A guest that hangs leaves nothing on its console, so it is asked through QEMU:

- the program counters of its CPUs, twice: do they move?  And their local APICs: is a timer
  armed, an interrupt pending?
- what QEMU's own threads do: does one wait for a lock or for a back end?
- an NMI, which the kernel panics on (KERNEL_WORDS), printing where each CPU stands and
  what each task waits for.

Of the tasks only those are shown that explain something: the first process, the one that loads
modules, and those in uninterruptible sleep.  The guest does not live on after this.
"""
import contextlib
import os
import re
import subprocess
import time

from qmp import QmpError

# of the tasks (1) and the processors (0x40)
KERNEL_WORDS = ["unknown_nmi_panic", "panic_print=0x41"]
NMI_TIMEOUT_S = 30      # a panic's text goes through an emulated serial line
REGISTER = re.compile(r"\b(?:CPU#|[ER]IP=|RFL=|HLT=|CPL=)\S*")
TASK = re.compile(r"task:(\S+)\s+state:(\S)")
SHOWN_TASKS = ("swapper", "init", "insmod", "modprobe", "sleep", "guest-agent")


def _ask(guest, command):
    """What QEMU's human monitor answers."""
    return guest.qmp.command("human-monitor-command", timeout_s=10, command_line=command)


def _registers(guest):
    return " ".join(REGISTER.findall(_ask(guest, "info registers -a")))


def _threads(pid):
    """A line for each of QEMU's threads: its name, state, ticks used and what it waits in."""
    for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        values = {}
        for name in ("comm", "wchan", "stat"):
            with contextlib.suppress(OSError), \
                    open(f"/proc/{pid}/task/{task}/{name}", encoding="utf-8") as file:
                values[name] = file.read().strip()
        fields = values.get("stat", "").rpartition(")")[2].split()
        if len(fields) > 12:
            yield (f"{task} {values.get('comm')}: {fields[0]}, {fields[11]}+{fields[12]} ticks, "
                   f"in {values.get('wchan')}")


def explaining(console):
    """The lines of a panic's console without the tasks that sleep as they should."""
    lines, shown = [], True
    for line in console.splitlines():
        task = TASK.search(line)
        if task:
            shown = task[2] == "D" or task[1].split("/")[0] in SHOWN_TASKS
        elif "Kernel panic" in line or "NMI" in line or "end Kernel" in line:
            shown = True
        if shown:
            lines.append(line)
    return lines


def report(guest):
    """The report's lines; of a guest that has ended, none."""
    if not guest.process or guest.process.poll() is not None or not guest.qmp:
        return []
    lines = []
    try:
        lines.append(f"QEMU says: {guest.qmp.command('query-status', timeout_s=10)['status']}")
        lines.append(_registers(guest))
        time.sleep(1)
        lines.append(_registers(guest))
        for cpu in range(guest.config.cpus):
            lines += _ask(guest, f"info lapic {cpu}").splitlines()
        lines += _threads(guest.process.pid)
        before = len(guest.console())
        guest.qmp.command("inject-nmi", timeout_s=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            guest.process.wait(NMI_TIMEOUT_S)
        lines += explaining(guest.console()[before:])
    except (QmpError, OSError) as error:
        lines.append(f"no more is known: {error}")
    return lines
