/* SPDX-License-Identifier: MIT */
/*
 * A program in a guest of the cpu executor, for tests: one call per thing to do, over fake_vm.h.
 * Every call expects success, unless its name says otherwise; those that return a command only put it
 * together.
 */
#ifndef VGPU_TESTS_EXEC_CPU_GUEST_H
#define VGPU_TESTS_EXEC_CPU_GUEST_H

#include "fake_vm.h"

/* The same tests run for every executor that computes. */
#ifndef CG_EXEC_KIND
#define CG_EXEC_KIND VGPU_EXEC_CPU
#endif
#define CG_IS_CUDA (CG_EXEC_KIND == VGPU_EXEC_CUDA)

/* Where these calls put things in the arena; below 8 KiB: names, parameters. */
#define INFO_OFF  8192u
#define IMAGE_OFF 16384u
#define LOG_OFF   32768u
#define LOG_BYTES 4096u

#define PTX_HEADER ".version 7.0\n.target sm_80\n.address_size 64\n"

/* vecadd(a, b, c, n): c[i] = a[i] + b[i], and a variable `counter` that is 41. */
extern const char vecadd_ptx[];

void cg_start(struct fake_vm *vm, const struct fake_vm_config *extra);
uint64_t cg_ok(struct fake_vm *vm, struct vgpu_sqe sqe);
void cg_refused(struct fake_vm *vm, struct vgpu_sqe sqe, uint16_t status);
uint64_t cg_alloc(struct fake_vm *vm, uint64_t bytes);
void cg_free(struct fake_vm *vm, uint64_t addr);
struct vgpu_sqe cg_copy(uint16_t opcode, uint32_t stream, uint64_t cookie, uint64_t addr,
                        uint32_t buf, uint64_t off, uint64_t bytes);
struct vgpu_sqe cg_load_sqe(struct fake_vm *vm, const char *ptx);
uint32_t cg_load(struct fake_vm *vm, const char *ptx);
struct vgpu_sqe cg_lookup_sqe(struct fake_vm *vm, uint16_t opcode, uint32_t module,
                              const char *name, uint32_t out_bytes);
uint32_t cg_lookup(struct fake_vm *vm, uint32_t module, const char *name);
struct vgpu_sqe cg_launch(struct fake_vm *vm, uint32_t stream, uint64_t cookie, uint32_t function,
                          uint32_t grid, uint16_t block, const void *params, uint16_t bytes);
uint32_t cg_stream(struct fake_vm *vm);
uint32_t cg_event(struct fake_vm *vm);
struct vgpu_sqe cg_event_sqe(uint16_t opcode, uint32_t stream, uint64_t cookie, uint32_t event);

#endif
