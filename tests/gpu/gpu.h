/* SPDX-License-Identifier: MIT */
/*
 * vgpu-gpu-check: the checks and measurements that need an NVIDIA driver.
 *
 * One stage per call.  Each stage starts a vgpud of its own whose VMs use the cuda
 * executor, and drives it by guestsim as a guest would.  What it finds goes to standard output, one
 * JSON object a line (report.c); what it is doing goes to standard error.  scripts/gpu-check.py runs the
 * stages and writes the report.
 *
 * For measurements there are two *sides* with the same operations: `native` is a plain program on
 * the driver API that knows nothing of vgpu, `vgpu` is a guest.  The same code drives both in
 * turns, so that a figure and its native counterpart come from the same moments.
 */
#ifndef VGPU_TESTS_GPU_H
#define VGPU_TESTS_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exec/cuda/cu.h"
#include "guestsim.h"
#include "vgpud_proc.h"

struct gpu_options {
    const char *data;   /* folder with gpu/, vectors/ and kernels/ */
    const char *device; /* UUID or PCI address; NULL: the only one */
    bool hmm;           /* the operator accepts a driver with HMM on */
    bool quick;         /* small sizes: for a driver that computes on the CPU */
};

/* ---- report.c ---- */
enum gpu_result { GPU_PASS, GPU_FAIL, GPU_SKIP };

/* One check.  GPU_SKIP needs a reason in the detail and is never counted as passed. */
__attribute__((format(printf, 3, 4))) void gpu_check(enum gpu_result result, const char *name,
                                                     const char *format, ...);
/* A figure of both sides.  `bar` is on vgpu/native: at least it if more is better, at most it
 * otherwise; 0: none. */
void gpu_figure(const char *name, const char *unit, double native, double vgpu, bool more,
                double bar);
/* A figure with no counterpart. */
void gpu_value(const char *name, const char *unit, double value);
/* A line of `key`: "text" pairs, up to NULL. */
void gpu_facts(const char *key, ...);
__attribute__((format(printf, 1, 2))) void gpu_progress(const char *format, ...);
/* Checks that failed so far. */
unsigned int gpu_failures(void);

/* A file, NUL-terminated; ends the program with a message when it can't be read. */
char *gpu_read(const struct gpu_options *options, const char *name, size_t *bytes);

/* ---- native.c: the driver, without vgpu ---- */
struct gpu_native {
    struct vgpu_cu cu;
    CUdevice device;
    char name[64];
    char uuid[48];
    char pci[32];
    int driver; /* 13000 is CUDA 13.0 */
    size_t memory_bytes;
};

/* Load the driver and find the device.  0, or -1 with a check failed. */
int gpu_native_open(struct gpu_native *native, const struct gpu_options *options);

/* ---- Sides ---- */

/* A kernel with its parameters, ready to be launched often. */
struct gpu_job {
    uint64_t function;
    uint32_t grid, block;
    uint32_t slot; /* a number of its own below 16 */
    uint16_t param_bytes;
    uint8_t params[48];
};

/*
 * All functions return 0, or -1 with the reason in `why`.
 *
 *   alloc, release   device memory
 *   copy             between `host` and device memory; complete on return
 *   load             a module image; `unload` of it
 *   function         of a loaded module
 *   prepare          a job's parameters, once, before it is launched
 *   launch           queue a job `count` times; a queue that is full is waited for
 *   sync             wait for all that was queued
 *   kernel_ns        queue a job `count` times between two timestamps of the GPU: *ns of all
 *   close            gives everything back, this structure included
 */
struct gpu_side {
    const char *name;
    uint8_t *host; /* page-locked, or a registered buffer of the guest */
    size_t host_bytes;
    bool plain; /* native: have PTX compiled without optimisation */
    char why[300];
    int (*alloc)(struct gpu_side *side, size_t bytes, uint64_t *addr);
    int (*release)(struct gpu_side *side, uint64_t addr);
    int (*copy)(struct gpu_side *side, uint64_t addr, size_t bytes, bool to_device);
    int (*load)(struct gpu_side *side, const char *image, size_t bytes, uint64_t *module);
    int (*unload)(struct gpu_side *side, uint64_t module);
    int (*function)(struct gpu_side *side, uint64_t module, const char *name, uint64_t *function);
    int (*prepare)(struct gpu_side *side, struct gpu_job *job);
    int (*launch)(struct gpu_side *side, const struct gpu_job *job, uint64_t count);
    int (*sync)(struct gpu_side *side);
    int (*kernel_ns)(struct gpu_side *side, const struct gpu_job *job, uint64_t count, double *ns);
    void (*close)(struct gpu_side *side);
};

#define GPU_JOBS 16

/* NULL with a message on standard error.  `host_bytes` may be 0. */
struct gpu_side *gpu_side_native(const struct gpu_native *native, size_t host_bytes);
/* A new context of an open VM. */
struct gpu_side *gpu_side_vgpu(struct gs_vm *vm, size_t host_bytes);

/* ---- machine.c: a vgpud with VMs ---- */
struct gpu_machine {
    struct vgpud d;
    struct gs_vm *vm[VGPUD_MAX_VMS];
    unsigned int vms;
};

/* `vms` options as vgpud_start() takes them; "@DEV" in one becomes the keys of the GPU.  0, or -1 with a check
 * failed. */
int gpu_machine_open(struct gpu_machine *machine, const struct gpu_options *options,
                     const char *const *vm_options, unsigned int vms, uint64_t ram_bytes);
/* Ends vgpud; a check of `name` says whether it ended well. */
void gpu_machine_close(struct gpu_machine *machine, const char *name);
const char *gpu_status_name(int status);
/* Load `image` and look `name` up.  Status or -errno; the log's first line in `why`. */
int gpu_ctx_kernel(struct gs_ctx *ctx, const char *image, size_t bytes, const char *name,
                   uint32_t *module, uint32_t *function, char *why, size_t why_bytes);
/* A context of `vm`, a vector add in it, compared: 0, or -1 with the reason in `why`. */
int gpu_ctx_works(struct gs_ctx *ctx, const char *image, size_t bytes, char *why, size_t why_bytes);

/* ---- Stages: 0, or 1 when a check failed ---- */
int gpu_stage_conformance(const struct gpu_options *options);
int gpu_stage_faults(const struct gpu_options *options);
int gpu_stage_quota(const struct gpu_options *options);
int gpu_stage_bench(const struct gpu_options *options);
/* Internal to the bench stage: what a second process does. */
int gpu_worker(const struct gpu_options *options, const char *what);

#endif /* VGPU_TESTS_GPU_H */
