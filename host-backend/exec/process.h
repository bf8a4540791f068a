/* SPDX-License-Identifier: MIT */
/*
 * The exec process: one guest context, from START to its end.
 *
 * Both entry points expect the conversation's socket (proto.h) as descriptor VGPU_XFD_SOCKET and
 * return the process's exit status: 0 when told to stop, when the other side went away or when
 * the context was lost and said so; 1 when the process could not do its work (the reason is
 * on standard error, and in the reply where there is one to give).
 */
#ifndef VGPU_EXEC_PROCESS_H
#define VGPU_EXEC_PROCESS_H

#include <stdint.h>

/* Serve one context (VGPU_X_START comes first). */
int vgpu_exec_main(void);

/* Answer one VGPU_X_PROBE. */
int vgpu_exec_probe_main(void);

/*
 * What the program around an exec process does to lock itself in (system call filter and the
 * like).  Called once by vgpu_exec_main(), with the kind of executor (VGPU_EXEC_*) and the VM's limit
 * of device memory in bytes, when the executor is open and its threads run, before the first byte of guest memory is read.  0 or
 * -errno; a failure ends the process.  Filters must cover all threads (TSYNC).  Default: none.
 */
void vgpu_exec_set_lockdown(int (*lockdown)(uint32_t exec_kind, uint64_t memory_limit));

#endif /* VGPU_EXEC_PROCESS_H */
