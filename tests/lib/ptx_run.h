/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the PTX tests: machines, modules from files or strings, buffers, launches. Everything ends the test
 * with a message when it fails, so callers do not check.
 */
#ifndef VGPU_TESTS_PTX_RUN_H
#define VGPU_TESTS_PTX_RUN_H

#include "exec/cpu/ptx.h"

#include <stddef.h>
#include <stdint.h>

struct ptx_run_result {
    enum vgpu_ptx_status status;
    struct vgpu_ptx_fault fault;
    struct vgpu_ptx_counters counters;
};

struct vgpu_ptx_machine *ptx_test_machine(uint32_t threads, enum vgpu_ptx_isa isa);
/* False where this CPU cannot run that build of the engine. */
int ptx_test_has(enum vgpu_ptx_isa isa);
char *ptx_test_read(const char *path, size_t *bytes); /* malloc'ed, NUL-terminated */
struct vgpu_ptx_module *ptx_test_load(struct vgpu_ptx_machine *machine, const char *text);
struct vgpu_ptx_module *ptx_test_load_file(struct vgpu_ptx_machine *machine, const char *path);
struct vgpu_ptx_function *ptx_test_function(struct vgpu_ptx_module *module, const char *name);
/* Expects the load to fail with that status and the log to contain the text. */
void ptx_test_refused(struct vgpu_ptx_machine *machine, const char *text,
                      enum vgpu_ptx_status status, const char *log_has);
uint64_t ptx_test_alloc(struct vgpu_ptx_machine *machine, size_t bytes, void **host);
/* params: 8 bytes each are packed by the kernel's own layout, low bytes first. */
struct ptx_run_result ptx_test_launch(struct vgpu_ptx_machine *machine,
                                      struct vgpu_ptx_function *function, uint32_t blocks,
                                      uint32_t threads, const uint64_t *params, uint32_t count);
struct ptx_run_result ptx_test_launch_3d(struct vgpu_ptx_machine *machine,
                                         struct vgpu_ptx_function *function, const uint32_t grid[3],
                                         const uint32_t block[3], uint32_t shared, uint32_t flags,
                                         const uint64_t *params, uint32_t count);

#endif
