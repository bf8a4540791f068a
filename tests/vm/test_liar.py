#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A back end that lies to the guest's driver: in its registers, and in the guest's memory.

The driver must name the lie, offer no device meanwhile, and use the device once it hears the
truth.  Nothing a back end says or writes may bring the guest's kernel down (VGPU-SEC-003).
"""
import random
import time

from vmtest import example_passes, last_line, program_fails, wait_idle

# pylint: disable=wrong-import-order
import tap
from liar import CQ_PROD, Liar
from vgpud import Daemon, Vm
from vm import Config, Guest

MAGIC, ABI_VERSION, STATE, GENERATION = 0x000, 0x004, 0x018, 0x020
HEARTBEAT, HEARTBEAT_MS, ADMIN_MAX_MS, ERR_DETAIL = 0x024, 0x028, 0x02c, 0x034
MAX_CONTEXTS, RING_LOG2, MAX_BUFFERS, MSIX_VECTORS = 0x040, 0x044, 0x048, 0x04c
MAX_BUFFER_HI, MAX_IMAGE_HI, MAX_PARAM, MAX_SG, MAX_ARENA = 0x054, 0x05c, 0x060, 0x064, 0x068
CTX_LOST, TEST_ECHO, TEST_DMA_STATUS = 0x140, 0x180, 0x198
FAILED = 5
ALL_ONES = 0xffffffff

OUT_OF_RANGE = "limits out of the ABI's range"
# register, value, what the driver says of it; None: it waits, and has nothing to say
LIES = (
    (MAGIC, 0x12345678, "magic 0x12345678 instead of"),
    (MAGIC, ALL_ONES, "no back end answers"),
    (ABI_VERSION, 2 << 16 | 3, "device speaks ABI 2.3, this driver 1.x"),
    (ABI_VERSION, 0, "device speaks ABI 0.0, this driver 1.x"),
    (STATE, 77, None),
    (STATE, FAILED, None),
    (GENERATION, 0, None),
    (GENERATION, ALL_ONES, None),
    (HEARTBEAT_MS, 0, OUT_OF_RANGE),
    (HEARTBEAT_MS, 1001, OUT_OF_RANGE),
    (ADMIN_MAX_MS, 0, OUT_OF_RANGE),
    (ADMIN_MAX_MS, ALL_ONES, OUT_OF_RANGE),
    (MAX_CONTEXTS, 0, OUT_OF_RANGE),
    (MAX_CONTEXTS, 257, OUT_OF_RANGE),
    (RING_LOG2, 31 << 8 | 6, OUT_OF_RANGE),
    (RING_LOG2, 6 << 8 | 12, OUT_OF_RANGE),
    (MAX_BUFFERS, 1, OUT_OF_RANGE),
    (MAX_BUFFERS, 4097, OUT_OF_RANGE),
    (MSIX_VECTORS, 1, OUT_OF_RANGE),
    (MAX_BUFFER_HI, ALL_ONES, OUT_OF_RANGE),
    (MAX_IMAGE_HI, 1, OUT_OF_RANGE),
    (MAX_PARAM, 1 << 20, OUT_OF_RANGE),
    (MAX_SG, 0, OUT_OF_RANGE),
    (MAX_ARENA, ALL_ONES, OUT_OF_RANGE),
    (TEST_ECHO, 0, "register test: wrote"),
    (TEST_DMA_STATUS, 0xabcd, "DMA test at"),
)
OUTSIDE = "admin completion index outside the ring"
# programs one after another, for that many seconds at most
LOOP = ("rm -f /run/enough; end=$(($(date +%s) + {})); "
        "while [ ! -e /run/enough ] && [ $(date +%s) -lt $end ]; do vecadd -n 1024; done")
LOOP_S = 60
SCRIBBLING_S = 6
SIGNALS = 200
TURNS = 10
PATIENT_S = 60
VECTORS = 32
UP_TIMEOUT_S = 120


class Rig:
    """One guest whose driver is loaded and unloaded as often as needed."""

    def __init__(self, **options):
        self.daemon = Daemon([Vm("A", deadline="600s")])
        self.liar = self.guest = None
        self.options = options

    def __enter__(self):
        self.daemon.__enter__()
        self.liar = Liar(self.daemon.socket("A"))
        self.guest = Guest(Config(name="lied-to", socket=self.liar.path, vgpu_load=False,
                                  **self.options))
        self.guest.__enter__()
        return self

    def __exit__(self, *error):
        try:
            self.guest.__exit__(*error)
        finally:
            self.liar.__exit__()
            self.daemon.__exit__(*error)

    def load(self):
        self.guest.check("dmesg -c >/dev/null; insmod /lib/modules/vgpu.ko")

    def interrupts(self):
        """How many the guest has counted on the device's vectors."""
        return int(self.guest.check("awk '/vgpu/{for (i = 2; i <= 3; i++) n += $i} END{print n + 0}' "
                                    "/proc/interrupts"))

    def honest(self):
        """The driver, still loaded, hears the truth and offers the device."""
        self.liar.registers.clear()
        self.guest.driver_up(UP_TIMEOUT_S)
        example_passes(self.guest, "vecadd -n 1024")
        wait_idle(self.daemon, "A")

    def end(self):
        self.guest.check("rmmod vgpu")
        self.guest.check_kernel_log()


@tap.test("a driver names what a register lies about, and waits for the truth")
def registers_lie():
    """VGPU-NEG-003, VGPU-SEC-003, VGPU-REG-040"""
    with Rig() as rig:
        for register, value, message in LIES:
            what = f"register {register:#x} = {value:#x}"
            rig.liar.registers[register] = value
            rig.load()
            program_fails(rig.guest, "vgpu-info")
            log = rig.guest.check("dmesg")
            if message:
                tap.contains(log, message, what)
            tap.true("generation" not in log, f"{what}: a device was offered: {log}")
            rig.liar.registers.clear()
            rig.guest.check("rmmod vgpu")
        # a newer minor version is none, and ends the wait of a driver that is loaded
        rig.liar.registers[ABI_VERSION] = 2 << 16
        rig.load()
        program_fails(rig.guest, "vgpu-info")
        rig.liar.registers[ABI_VERSION] = 1 << 16 | 0xffff
        rig.guest.driver_up(UP_TIMEOUT_S)
        tap.contains(rig.guest.check("dmesg"), "ABI 1.65535", "the driver's log")
        rig.honest()
        rig.end()


@tap.test("a heartbeat that stops, contexts that are said to be lost: programs end with a reason")
def lies_under_work():
    """VGPU-STAT-002, VGPU-UAPI-006"""
    with Rig() as rig:
        rig.load()
        for register, value in ((HEARTBEAT, 7), (CTX_LOST, ALL_ONES), (GENERATION, 12345),
                                (STATE, FAILED), (STATE, ALL_ONES), (HEARTBEAT, ALL_ONES)):
            rig.guest.driver_up(UP_TIMEOUT_S)
            held = rig.guest.begin("spin")
            rig.guest.poll("test -n \"$(cat /sys/class/vgpu/vgpu0/contexts)\" && "
                           "test $(cat /sys/class/vgpu/vgpu0/contexts) -ge 1")
            rig.liar.registers.update({register: value, ERR_DETAIL: 0xabcd})
            if register == CTX_LOST:
                # the register is read when vector 0 fires, which the next context's end does
                rig.guest.run("vecadd -n 1024")
            if register == STATE:
                rig.guest.run("vecadd -n 1024")
                rig.guest.check("killall -q -KILL spin || true")
            status, output = held.wait(UP_TIMEOUT_S)
            if register != STATE:
                tap.equal((status, last_line(output)[:2]), (1, "2:"),
                          f"the program's end when register {register:#x} = {value:#x}: {output}")
            rig.honest()
        rig.end()


@tap.test("interrupts without a cause, on every vector, disturb no program")
def spurious_interrupts():
    """VGPU-PCI-023"""
    with Rig() as rig:
        rig.load()
        rig.guest.driver_up()
        held = rig.guest.begin("for n in 1 2 3 4 5; do vecadd -n 20000 || exit 1; done")
        seen = rig.interrupts()
        raised = 0
        while not held.done():
            rig.liar.interrupt(raised % VECTORS)
            raised += 1
            time.sleep(0.001)
        status, output = held.wait()
        tap.equal(status, 0, f"the programs ({output})")
        seen = rig.interrupts() - seen
        tap.true(raised >= 4 * VECTORS and seen >= raised // 4, f"{raised} raised, {seen} seen")
        rig.honest()
        rig.end()


@tap.test("nonsense in the admin queue's memory is survived")
def memory_lies():
    """VGPU-SEC-003"""
    rng = random.Random(20)
    with Rig() as rig:
        rig.load()
        rig.guest.driver_up()
        # the device writes its index again with each completion: be there in between
        held = rig.guest.begin(LOOP.format(LOOP_S))
        search = rig.guest.begin(f"while ! dmesg | grep '{OUTSIDE}'; do sleep 0.2; done")
        while not search.done():
            rig.liar.advance(CQ_PROD, 1000)
            tap.true(not held.done(), f"noticed within {LOOP_S} s")
            time.sleep(0.002)
        rig.guest.check("touch /run/enough")
        held.wait(UP_TIMEOUT_S)
        rig.guest.driver_up(UP_TIMEOUT_S)
        # no program runs, so the device leaves its index alone: one completion of nothing
        tap.true(rig.liar.advance(CQ_PROD, 1), "there is an admin queue")
        rig.liar.interrupt(0)
        rig.guest.poll("dmesg | grep -q 'answer nothing'")
        running = rig.guest.begin(LOOP.format(SCRIBBLING_S))
        written = 0
        deadline = time.monotonic() + SCRIBBLING_S
        while time.monotonic() < deadline:
            written += rig.liar.scribble(rng)
            time.sleep(rng.choice((0, 0.001, 0.05)))
        running.wait(UP_TIMEOUT_S * 5)
        tap.true(written > 100, f"scribbled {written} times")
        rig.honest()
        rig.end()


@tap.test("indices that run on without end keep no processor from its work")
def indices_run_on():
    """VGPU-SEC-003"""
    with Rig(cpus=1) as rig:
        rig.load()
        rig.guest.driver_up()
        held = rig.guest.begin("guest-eventfd >/run/signals 2>&1")
        rig.guest.poll("grep -qx waiting /run/signals")
        queue = rig.liar.context_queue()
        tap.true(queue is not None, "the context's queue is found")
        with rig.liar.counting(queue):
            stays_alive(rig)
            # what the interrupt handler leaves is not forgotten, though no interrupt comes any more
            rig.guest.poll(f"test $(tail -n 1 /run/signals) -ge {SIGNALS}")
        rig.guest.check("killall -KILL guest-eventfd")
        held.wait()
        with rig.liar.counting(rig.liar.admin_queue()):
            stays_alive(rig)
            rig.guest.poll(f"dmesg | grep '{OUTSIDE}'")
        rig.honest()
        rig.end()


def stays_alive(rig):
    """Interrupts of every vector, and the guest goes on doing what it is asked."""
    for turn in range(TURNS):
        for vector in range(VECTORS):
            rig.liar.interrupt(vector)
        tap.equal(rig.guest.run(f"echo {turn}", PATIENT_S), (0, f"{turn}\n"), "the guest's answer")


if __name__ == "__main__":
    tap.main()
