// SPDX-License-Identifier: MIT
/*
 * How ThreadSanitizer works in a vgpud that is tested, compiled into its builds with it: its
 * isolated processes can't read a file of suppressions from wherever the tree lies.
 */
const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

const char *__tsan_default_options(void)
{
    return "halt_on_error=0:exitcode=66:report_signal_unsafe=0";
}

/*
 * Races that a guest makes, in its own device memory: a kernel that reads what another stream
 * writes at the same time, as programs for GPUs do to signal.
 */
const char *__tsan_default_suppressions(void)
{
    return "race:vgpu_ptx_mem_fill\n";
}
