/* SPDX-License-Identifier: MIT */
/*
 * What the example programs share: options, the frame of a run, and how a result is
 * reported.
 *
 * Each program computes something on the device that it also computes itself, and
 * compares every element.  Its last line is `status:message`:
 *
 *   1:Vector add PASSED: 1024 elements, 0 errors (CPU executor)    exit status 0
 *   2:why not                                                      exit status 1
 *
 * Inputs are small integers times a power of two, so that sums and products are
 * exact in single precision whatever the order: results are compared as bits.
 * Output memory is filled with a pattern first, on the device and in the program:
 * a device that did nothing is caught.
 */
#ifndef VGPU_EXAMPLES_COMMON_H
#define VGPU_EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/libvgpu.h>

#define EXAMPLE_KERNEL_DIR "/usr/share/vgpu/kernels"
#define EXAMPLE_POISON     0xffc0beefu /* a NaN no computation here gives */

struct example {
    struct vgpu_ctx *ctx;
    struct vgpu_info info;
    struct vgpu_module *module;
    struct vgpu_function *function;
    uint64_t n;
    uint64_t seed;
    unsigned int rounds;
    const char *device;
    const char *kernel_dir;
    uint64_t errors;
    char reason[512]; /* why it failed, empty while all is well */
};

struct example_spec {
    const char *title;   /* "Vector add" */
    const char *kernel;  /* NAME.ptx with a kernel NAME; NULL: none is loaded */
    const char *purpose; /* one sentence for --help */
    uint64_t default_n, max_n, multiple_of;
    uint64_t (*elements)(uint64_t n);              /* NULL: n itself */
    int (*run)(struct example *ex, uint64_t seed); /* 0, or -1 with example_fail() */
};

int example_main(int argc, char **argv, const struct example_spec *spec);

/* Records why it failed; the first reason stays.  Returns -1. */
int example_fail(struct example *ex, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for a failed call of the library: adds what the device or the system says. */
int example_fail_call(struct example *ex, const char *what, int err);

/* Counts the elements whose bits differ, and describes the first. */
int example_compare(struct example *ex, const float *got, const float *want, uint64_t n);

/* Device memory filled from @data, or with the poison pattern if @data is NULL. */
int example_upload(struct example *ex, const float *data, uint64_t n, uint64_t *addr);

/* Into @data, which is poisoned first; waits for everything before. */
int example_download(struct example *ex, uint64_t addr, float *data, uint64_t n);

/* Launches ex->function with one pointer per parameter. */
int example_launch(struct example *ex, uint32_t grid_x, uint32_t grid_y, uint16_t block_x,
                   uint16_t block_y, const void *const *args, uint32_t nargs);

/* @n pseudo-random multiples of 2^-@shift in (-2^@bits, 2^@bits) * 2^-@shift; NULL if
 * there is no memory. */
float *example_random(struct example *ex, uint64_t seed, uint64_t n, unsigned int bits,
                      unsigned int shift);
float *example_array(struct example *ex, uint64_t n);

#endif
