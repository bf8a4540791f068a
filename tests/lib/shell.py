# SPDX-License-Identifier: MIT
"""What can be asked of anything that runs shell commands.

A class with run(command, timeout_s) -> (exit status, output) inherits the rest.
"""
import re

from agent import poll

CONTEXT_LINES = 10      # of the kernel's log, shown around a complaint

# Lines that must not be in the log of a healthy kernel.
KERNEL_TROUBLE = re.compile(
    r"BUG:|WARNING:|Oops|general protection|Kernel panic|Call Trace|soft lockup|"
    r"blocked for more than|refcount_t:|UBSAN:|kmemleak: .*fail|DMA-API: .*driver|"
    r"DMAR:.*fault|swiotlb buffer is full|sysfs: cannot create duplicate")


class ShellError(Exception):
    """A command did not end as it should, or the kernel complains."""


class Shell:
    def check(self, command, timeout_s=180):
        """Run a shell command that must succeed; its output."""
        status, output = self.run(command, timeout_s)
        if status != 0:
            raise ShellError(f"exit status {status} from: {command}\n{output}")
        return output

    def poll(self, command, timeout_s=120):
        """Repeat a shell command until it succeeds; its output."""
        def attempt():
            status, output = self.run(command)
            return (output,) if status == 0 else None
        return poll(attempt, timeout_s, f"success of: {command}", interval_s=0.2)[0]

    def kernel_log(self):
        return self.check("dmesg")

    def check_kernel_log(self, text=None):
        """The kernel has nothing to complain about; `text`: in this part of its log."""
        lines = (self.kernel_log() if text is None else text).splitlines()
        for number, line in enumerate(lines):
            if KERNEL_TROUBLE.search(line):
                context = lines[max(0, number - CONTEXT_LINES):number + 3 * CONTEXT_LINES]
                raise ShellError("the kernel complains:\n" + "\n".join(context))
