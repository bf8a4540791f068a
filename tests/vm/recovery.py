# SPDX-License-Identifier: MIT
"""Kill the back end's processes under a guest's load, and see it all come back.

One guest lives through every turn without a reboot.  A turn kills one process with
SIGKILL while a kernel runs, expects the program that used it to end with a reason,
and then a fresh program to compute right.  test_recovery.py takes a few turns,
long/test_recovery.py fifty.
"""
import os
import signal

from vmtest import example_passes, last_line, wait_held, wait_idle

# pylint: disable=wrong-import-order
import tap
from agent import poll
from vgpud import Daemon, Vm
from vm import Config, Guest

OUTCOME = "each time the loss has a reason, and the guest goes on"
LOST_TIMEOUT_S = 180    # a stall window is 14 s; the machine may be loaded
UP_TIMEOUT_S = 180


def stat_of(pid):
    """(state, parent, name) of a process, None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    return rest[0], int(rest[1]), name


def descendants(pid):
    """{pid: name} of the living processes below one."""
    known = {int(entry): stat_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    known = {entry: stat for entry, stat in known.items() if stat and stat[0] != "Z"}
    found, wave = {}, {pid}
    while wave:
        wave = {entry for entry, stat in known.items() if stat[1] in wave and entry not in found}
        found.update((entry, known[entry][2]) for entry in wave)
    return found


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def find_named(daemon, name):
    """The processes of that name below vgpud; one that has just been started bears
    its parent's name for a moment yet."""
    def living():
        return [pid for pid, seen in descendants(daemon.process.pid).items() if seen == name]
    return poll(living, UP_TIMEOUT_S, f"a process named {name}")


def kill_named(daemon, name):
    """Kill the processes of that name below vgpud."""
    for pid in find_named(daemon, name):
        os.kill(pid, signal.SIGKILL)


def kill_exec(daemon):
    """Kill the process that runs the context's kernels."""
    kill_named(daemon, "vgpu-exec")


def kill_vm(daemon):
    """Kill the process that serves the guest's device."""
    kill_named(daemon, "vgpu-vm")


def kill_daemon(daemon):
    """Kill vgpud; what it started must follow it, and a new one takes its place."""
    below = descendants(daemon.process.pid)
    daemon.kill()
    poll(lambda: all(stat_of(pid) is None or stat_of(pid)[0] == "Z" for pid in below), 60,
         f"the end of {below}")
    daemon.start()


KILLS = {"an exec process": kill_exec, "the vm process": kill_vm, "vgpud": kill_daemon}


def one_turn(daemon, guest, kill):
    held = guest.begin("spin")
    wait_held(daemon, "A", lambda vm: vm["contexts"] == 1 and vm["exec_processes"] == 1,
              "one context and its process", UP_TIMEOUT_S)
    KILLS[kill](daemon)
    status, output = held.wait(LOST_TIMEOUT_S)
    tap.equal((status, last_line(output)[:2]), (1, "2:"), f"end of the program ({output})")
    guest.driver_up(UP_TIMEOUT_S)
    example_passes(guest, "vecadd -n 1024")
    wait_idle(daemon, "A", UP_TIMEOUT_S)


def survives(kill, turns):
    """Kill turns times; the daemon's descriptors after the second turn are all it
    may ever hold (a new daemon starts to count anew)."""
    with Daemon([Vm("A", deadline="600s")]) as daemon, \
            Guest(Config(name="survivor", socket=daemon.socket("A"))) as guest:
        guest.driver_up(UP_TIMEOUT_S)
        booted = guest.check("cat /proc/sys/kernel/random/boot_id")
        held = None
        for turn in range(turns):
            one_turn(daemon, guest, kill)
            if kill != "vgpud":
                now = descriptors(daemon.process.pid)
                if turn >= 1:
                    held = held or now
                    tap.true(now <= held, f"vgpud holds {now} descriptors, {held} at first")
        tap.equal(guest.check("cat /proc/sys/kernel/random/boot_id"), booted, "the guest's boot")
        guest.check_kernel_log()


def declare(turns):
    for kill in KILLS:
        tap.test(f"{kill} killed {turns} times: {OUTCOME}")(
            lambda kill=kill: survives(kill, turns))
