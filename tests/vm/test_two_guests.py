#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Two guests on one daemon: data stays apart, and so does trouble."""
from vmtest import EXAMPLES, example_passes, passed, wait_held, wait_idle

# pylint: disable=wrong-import-order
import tap
from vgpud import Daemon, Vm
from vm import Config, Guest

ROUNDS = 3


def in_both(guests, commands):
    """Run one command in each guest at the same time; both must pass."""
    pending = [(guest, guest.begin(command)) for guest, command in zip(guests, commands)]
    for guest, request in pending:
        status, output = request.wait(300)
        tap.true(status == 0 and passed(output),
                 f"{guest.config.name}: {request.text}: status {status}:\n{output}")


@tap.test("two guests compute at the same time, each on its own data")
def data_stays_apart():
    with Daemon([Vm("A"), Vm("B")]) as daemon, \
            Guest(Config(name="A", socket=daemon.socket("A"))) as one, \
            Guest(Config(name="B", socket=daemon.socket("B"), cpus=1)) as two:
        one.driver_up(), two.driver_up()
        for round_ in range(ROUNDS):
            for command in EXAMPLES:
                in_both((one, two), [f"{command} -s {seed + round_}" for seed in (1000, 2000)])
        # unlike programs side by side, in one guest as well
        for left, right in zip(EXAMPLES, EXAMPLES[::-1]):
            in_both((one, two, one, two), (left, right, right, left))
        for name, guest in (("A", one), ("B", two)):
            tap.true(daemon.vm(name)["commands"] > 0, f"commands of {name} were counted")
            wait_idle(daemon, name)
            guest.check_kernel_log()


@tap.test("a guest that is killed in mid-kernel costs the other nothing")
def killed_guest_costs_nobody():
    with Daemon([Vm("A"), Vm("B")]) as daemon, \
            Guest(Config(name="B", socket=daemon.socket("B"))) as two:
        two.driver_up()
        with Guest(Config(name="A", socket=daemon.socket("A"))) as one:
            one.driver_up()
            one.begin("spin")
            wait_held(daemon, "A", lambda vm: vm["contexts"] and vm["memory_bytes"], "holds memory")
            running = two.begin("vecadd -n 1000000 -s 7")
            one.process.kill()
            one.wait_exit()
            status, output = running.wait(300)
            tap.true(status == 0 and passed(output), f"B's result:\n{output}")
        wait_idle(daemon, "A")
        with Guest(Config(name="A2", socket=daemon.socket("A"))) as again:
            again.driver_up()
            example_passes(again, "vecadd -n 1024")
        example_passes(two, "reduce")
        two.check_kernel_log()


@tap.test("a second guest on a socket that is taken does not disturb the first")
def socket_is_taken():
    with Daemon([Vm("A")]) as daemon, \
            Guest(Config(name="A", socket=daemon.socket("A"))) as one:
        one.driver_up()
        with Guest(Config(name="intruder", socket=daemon.socket("A"), cpus=1)) as two:
            tap.true(two.run("vgpu-info")[0] != 0, "the intruder has no device")
            for command in EXAMPLES:
                example_passes(one, command)
            two.check_kernel_log()
        one.check_kernel_log()


if __name__ == "__main__":
    tap.main()
