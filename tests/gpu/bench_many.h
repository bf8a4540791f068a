/* SPDX-License-Identifier: MIT */
/*
 * Figures that need more than one context.
 */
#ifndef VGPU_TESTS_GPU_BENCH_MANY_H
#define VGPU_TESTS_GPU_BENCH_MANY_H

#include "gpu.h"

/* Time from nothing to a context that has allocated memory: a process natively, an executor
 * process through the vGPU. */
void gpu_bench_create(const struct gpu_options *options, struct gs_vm *vm, unsigned int rounds);
/* Matrix products per second of one, two and four contexts at once, each in a process of its own. */
void gpu_bench_many(const struct gpu_options *options, struct gs_vm *vm, const char *image,
                    size_t bytes, bool quick);

#endif
