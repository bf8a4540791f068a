/* SPDX-License-Identifier: MIT */
/*
 * What the vGPU costs: each figure taken natively and through it, in turns.
 *
 * A figure is the median over rounds of each side; a round measures native, then vgpu.  Every kernel's
 * results are compared between the sides as bits before its time is believed.  Sizes are those a GPU
 * wants; with --quick they are small and say nothing of speed.
 *
 * The bars are architecture's: launch rate and copies of 64 MiB and more at least 0.80 of native, kernel
 * times within 1 %.
 */
#include "gpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_many.h"

#define MAX_ROUNDS 25
#define BAR_RATE   0.80
#define BAR_COPY   0.80
#define BAR_KERNEL 1.01

enum { NATIVE, VGPU, SIDES };

struct scale {
    size_t copy_max;
    uint32_t sgemm_n, triad_n, nbody_n, fma_n, fma_blocks;
    uint64_t burst; /* launches of one rate measurement */
    unsigned int rounds;
    double kernel_ns; /* aim of one kernel measurement */
    size_t clear_bytes;
};

static const struct scale scales[2] = {
    {1u << 30, 2048, 64u << 20, 65536, 20000, 1056, 20000, 15, 60e6, 256u << 20},
    {1u << 20, 64, 1u << 14, 256, 50, 2, 200, 3, 0, 4u << 20},
};

struct bench {
    const struct scale *scale;
    struct gpu_side *side[SIDES];
    const char *image;
    size_t image_bytes;
    uint64_t module[SIDES];
    uint64_t area[SIDES][3]; /* two inputs, one output */
    size_t area_bytes;
};

static double now_us(void)
{
    return (double)gs_now_ns() / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned int count)
{
    qsort(values, count, sizeof(*values), by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* One measurement on one side: a positive number, or NAN with the reason in side->why. */
typedef double measure_fn(struct bench *b, unsigned int which, const void *what);

static void figure(struct bench *b, const char *name, const char *unit, bool more, double bar,
                   measure_fn *measure, const void *what)
{
    double values[SIDES][MAX_ROUNDS];

    gpu_progress("bench: %s", name);
    for (unsigned int r = 0; r <= b->scale->rounds; r++) {
        for (unsigned int s = 0; s < SIDES; s++) {
            double value = measure(b, s, what);

            if (!(value > 0)) {
                gpu_check(GPU_FAIL, name, "could not be measured: %s", b->side[s]->why);
                return;
            }
            if (r > 0) /* the first warms up */
                values[s][r - 1] = value;
        }
    }
    gpu_figure(name, unit, median(values[NATIVE], b->scale->rounds),
               median(values[VGPU], b->scale->rounds), more, bar);
}

/* ---- Launches ---- */

static struct gpu_job job_of(struct bench *b, unsigned int which, const char *kernel)
{
    struct gpu_job job = {.grid = 1, .block = 32};

    if (b->side[which]->function(b->side[which], b->module[which], kernel, &job.function) < 0)
        job.function = 0;
    return job;
}

static double measure_latency(struct bench *b, unsigned int which, const void *what)
{
    struct gpu_side *side = b->side[which];
    struct gpu_job job = job_of(b, which, "nothing");
    double times[200];
    unsigned int count = b->scale->burst < 200 ? 20 : 200;

    (void)what;
    for (unsigned int i = 0; i < count; i++) {
        double start = now_us();

        if (!job.function || side->launch(side, &job, 1) < 0 || side->sync(side) < 0)
            return NAN;
        times[i] = now_us() - start;
    }
    return median(times, count);
}

static double measure_rate(struct bench *b, unsigned int which, const void *what)
{
    struct gpu_side *side = b->side[which];
    struct gpu_job job = job_of(b, which, "nothing");
    double start = now_us();

    (void)what;
    if (!job.function || side->launch(side, &job, b->scale->burst) < 0 || side->sync(side) < 0)
        return NAN;
    return (double)b->scale->burst * 1e6 / (now_us() - start);
}

/* ---- Copies ---- */

struct copy {
    size_t bytes;
    bool to_device;
};

static double measure_copy(struct bench *b, unsigned int which, const void *what)
{
    const struct copy *copy = what;
    struct gpu_side *side = b->side[which];
    unsigned int count = copy->bytes < 1u << 20 ? 16 : copy->bytes < 64u << 20 ? 4 : 1;
    double start = now_us();

    for (unsigned int i = 0; i < count; i++) {
        if (side->copy(side, b->area[which][0], copy->bytes, copy->to_device) < 0)
            return NAN;
    }
    return (double)copy->bytes * count * 1e6 / (now_us() - start);
}

static void bench_copies(struct bench *b)
{
    static const struct {
        size_t bytes;
        const char *text;
    } sizes[] = {{4096, "4 KiB"},       {65536, "64 KiB"},     {1u << 20, "1 MiB"},
                 {16u << 20, "16 MiB"}, {64u << 20, "64 MiB"}, {256u << 20, "256 MiB"},
                 {1u << 30, "1 GiB"}};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int down = 0; down < 2; down++) {
            struct copy copy = {sizes[i].bytes, !down};
            char name[64];

            if (copy.bytes > b->scale->copy_max)
                continue;
            snprintf(name, sizeof(name), "copy %s %s", down ? "D2H" : "H2D", sizes[i].text);
            figure(b, name, "B/s", true, copy.bytes >= 64u << 20 ? BAR_COPY : 0, measure_copy,
                   &copy);
        }
    }
}

/* What was copied there and back must be the same, or the figures above mean nothing. */
static void check_copies(struct bench *b)
{
    for (unsigned int s = 0; s < SIDES; s++) {
        struct gpu_side *side = b->side[s];
        uint64_t *words = (uint64_t *)(void *)side->host;
        size_t count = b->scale->copy_max / 8, bad = 0;
        char name[64];

        for (size_t i = 0; i < count; i++)
            words[i] = i * 0x9e3779b97f4a7c15u;
        snprintf(name, sizeof(name), "%s: copied there and back", side->name);
        if (side->copy(side, b->area[s][0], count * 8, true) < 0) {
            gpu_check(GPU_FAIL, name, "%s", side->why);
            continue;
        }
        memset(words, 0, count * 8);
        if (side->copy(side, b->area[s][0], count * 8, false) < 0) {
            gpu_check(GPU_FAIL, name, "%s", side->why);
            continue;
        }
        for (size_t i = 0; i < count; i++)
            bad += words[i] != i * 0x9e3779b97f4a7c15u;
        gpu_check(bad ? GPU_FAIL : GPU_PASS, name, "%zu of %zu words are wrong", bad, count);
    }
}

/* ---- Kernels ---- */

struct kernel {
    const char *name;
    uint32_t n, grid, block, slot;
    size_t out_bytes;
    struct gpu_job job[SIDES];
    uint64_t count; /* launches of one measurement */
};

static int kernel_prepare(struct bench *b, unsigned int which, struct kernel *k)
{
    struct gpu_side *side = b->side[which];
    struct gpu_job *job = &k->job[which];
    float *floats = (float *)(void *)side->host;
    double *doubles = (double *)(void *)side->host;
    size_t bytes = side->host_bytes < b->area_bytes ? side->host_bytes : b->area_bytes;

    *job = job_of(b, which, k->name);
    job->grid = k->grid;
    job->block = k->block;
    job->slot = k->slot;
    job->param_bytes = 28;
    memcpy(job->params, b->area[which], 24);
    memcpy(job->params + 24, &k->n, 4);
    if (strcmp(k->name, "fma64") == 0) {
        for (size_t i = 0; i < 256; i++)
            doubles[i] = (double)i / 257.0;
        bytes = 2048;
    } else {
        for (size_t i = 0; i < bytes / 4; i++)
            floats[i] = (float)(i * 2654435761u % 4096) / 512.0f - 4.0f;
    }
    if (!job->function || side->copy(side, b->area[which][0], bytes, true) < 0 ||
        side->copy(side, b->area[which][1], bytes, true) < 0)
        return -1;
    return side->prepare(side, job);
}

/* A hash of the output, 0 on failure. */
static uint64_t kernel_output(struct bench *b, unsigned int which, const struct kernel *k)
{
    struct gpu_side *side = b->side[which];
    size_t bytes = k->out_bytes < side->host_bytes ? k->out_bytes : side->host_bytes;
    const uint32_t *words = (const uint32_t *)(const void *)side->host;
    uint64_t hash = 0xcbf29ce484222325u;

    memset(side->host, 0xa5, bytes);
    if (side->copy(side, b->area[which][2], bytes, true) < 0 ||
        side->launch(side, &k->job[which], 1) < 0 || side->sync(side) < 0)
        return 0;
    /* not the same on both sides, so that a copy that does nothing shows */
    memset(side->host, which == NATIVE ? 0x5a : 0xc3, bytes);
    if (side->copy(side, b->area[which][2], bytes, false) < 0)
        return 0;
    for (size_t i = 0; i < bytes / 4; i++)
        hash = (hash ^ words[i]) * 0x100000001b3u;
    return hash;
}

static double measure_kernel(struct bench *b, unsigned int which, const void *what)
{
    const struct kernel *k = what;
    double ns;

    if (b->side[which]->kernel_ns(b->side[which], &k->job[which], k->count, &ns) < 0)
        return NAN;
    return ns / 1e3 / (double)k->count;
}

static void bench_kernel(struct bench *b, struct kernel k)
{
    uint64_t hash[SIDES] = {0};
    char name[64];
    double us;

    snprintf(name, sizeof(name), "kernel %s: results", k.name);
    for (unsigned int s = 0; s < SIDES; s++) {
        if (kernel_prepare(b, s, &k) == 0)
            hash[s] = kernel_output(b, s, &k);
        if (!hash[s]) {
            gpu_check(GPU_FAIL, name, "%s", b->side[s]->why);
            return;
        }
    }
    gpu_check(hash[NATIVE] == hash[VGPU] ? GPU_PASS : GPU_FAIL, name,
              "hash of the output: native %016llx, vgpu %016llx", (unsigned long long)hash[NATIVE],
              (unsigned long long)hash[VGPU]);
    k.count = 1;
    us = measure_kernel(b, NATIVE, &k);
    if (us > 0 && us * 1e3 < b->scale->kernel_ns)
        k.count = (uint64_t)(b->scale->kernel_ns / (us * 1e3)) + 1;
    snprintf(name, sizeof(name), "kernel %s", k.name);
    figure(b, name, "us", false, BAR_KERNEL, measure_kernel, &k);
}

static void bench_kernels(struct bench *b)
{
    const struct scale *s = b->scale;
    const uint32_t blocks = s->triad_n / 256 < 4096 ? s->triad_n / 256 : 4096;

    bench_kernel(b, (struct kernel){"sgemm", s->sgemm_n, s->sgemm_n / 16 * (s->sgemm_n / 16), 256,
                                    1, (size_t)s->sgemm_n * s->sgemm_n * 4, .count = 1});
    bench_kernel(b, (struct kernel){"triad", s->triad_n, blocks, 256, 2, (size_t)s->triad_n * 4,
                                    .count = 1});
    bench_kernel(b, (struct kernel){"nbody", s->nbody_n, s->nbody_n / 256, 256, 3,
                                    (size_t)s->nbody_n * 16, .count = 1});
    bench_kernel(b, (struct kernel){"fma64", s->fma_n, s->fma_blocks, 256, 4,
                                    (size_t)s->fma_blocks * 256 * 8, .count = 1});
}

/* ---- Modules and memory ---- */

static double measure_module(struct bench *b, unsigned int which, const void *what)
{
    struct gpu_side *side = b->side[which];
    double start = now_us(), took;
    uint64_t module;

    (void)what;
    if (side->load(side, b->image, b->image_bytes, &module) < 0)
        return NAN;
    took = now_us() - start;
    return side->unload(side, module) < 0 ? NAN : took;
}

/* Through the vGPU this includes clearing; natively it does not. */
static double measure_alloc(struct bench *b, unsigned int which, const void *what)
{
    struct gpu_side *side = b->side[which];
    double start = now_us(), took;
    uint64_t addr;

    (void)what;
    if (side->alloc(side, b->scale->clear_bytes, &addr) < 0)
        return NAN;
    took = now_us() - start;
    return side->release(side, addr) < 0 ? NAN : took;
}

static int bench_open(struct bench *b, const struct gpu_native *native, struct gs_vm *vm)
{
    size_t triad = (size_t)b->scale->triad_n * 4;

    b->area_bytes = triad > b->scale->copy_max ? triad : b->scale->copy_max;
    b->side[NATIVE] = gpu_side_native(native, b->scale->copy_max);
    b->side[VGPU] = gpu_side_vgpu(vm, b->scale->copy_max);
    for (unsigned int s = 0; s < SIDES; s++) {
        struct gpu_side *side = b->side[s];

        if (!side) {
            gpu_check(GPU_FAIL, s == NATIVE ? "native" : "vgpu", "no context: see above");
            return -1;
        }
        if (side->load(side, b->image, b->image_bytes, &b->module[s]) < 0)
            goto fail;
        for (unsigned int i = 0; i < 3; i++) {
            if (side->alloc(side, b->area_bytes, &b->area[s][i]) < 0)
                goto fail;
        }
        continue;
    fail:
        gpu_check(GPU_FAIL, side->name, "%s", side->why);
        return -1;
    }
    return 0;
}

int gpu_stage_bench(const struct gpu_options *options)
{
    const char *const vms[] = {options->quick ? "executor=cuda,memory=640M,poll-us=2000@DEV"
                                              : "executor=cuda,memory=24G,poll-us=2000@DEV"};
    struct bench b = {.scale = &scales[options->quick]};
    struct gpu_machine machine;
    struct gpu_native native;

    b.image = gpu_read(options, "gpu/gpu.ptx", &b.image_bytes);
    /* vgpud first: a process that has CUDA open should not fork. */
    if (gpu_machine_open(&machine, options, vms, 1, options->quick ? 64ull << 20 : 9ull << 28) < 0)
        return 1;
    gpu_bench_create(options, machine.vm[0], b.scale->rounds);
    gpu_bench_many(options, machine.vm[0], b.image, b.image_bytes, options->quick);
    if (gpu_native_open(&native, options) == 0 && bench_open(&b, &native, machine.vm[0]) == 0) {
        check_copies(&b);
        figure(&b, "null launch latency", "us", false, 0, measure_latency, NULL);
        figure(&b, "null launch rate", "1/s", true, BAR_RATE, measure_rate, NULL);
        bench_copies(&b);
        bench_kernels(&b);
        figure(&b, "module load", "us", false, 0, measure_module, NULL);
        figure(&b,
               options->quick ? "allocate 4 MiB (vgpu clears it)"
                              : "allocate 256 MiB (vgpu clears it)",
               "us", false, 0, measure_alloc, NULL);
    }
    for (unsigned int s = 0; s < SIDES; s++) {
        if (b.side[s])
            b.side[s]->close(b.side[s]);
    }
    gpu_machine_close(&machine, "vgpud");
    return gpu_failures() ? 1 : 0;
}
