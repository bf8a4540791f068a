/* SPDX-License-Identifier: MIT */
/*
 * Does the GPU compute what the cpu executor computes?
 *
 * Two VMs of one vgpud, one on cuda and one on cpu, get the same modules and the same inputs.
 *
 *   vectors   tests/conformance: the GPU's results against the expected ones, by the tolerance that a
 *             vector file states (the error bound PTX documents for .approx operations,
 *             "exact" for all others), and against the cpu executor's by the same rule.
 *   kernels   tests/kernels, compiled by two compilers without contraction: every bit the same.
 *   random    programs of tests/lib/ptx_random.c, half of them with threads that meet: every bit the same
 *             as by the GPU's unoptimised code.
 *
 * What PTX leaves open (the payload of an f64 NaN, a division by zero) is compared too: docs/decisions/0005.
 * A module that needs a newer PTX than the driver knows is a skip with that reason: it did not run.
 */
#include "gpu.h"
#include "ptx_random.h"
#include "vectors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL_N 4096u
#define AREA     (VECTORS_MAX_ROWS * VECTORS_MAX_CELLS * 8u)

/* One executor's context, with an input and an output area in device memory and in the guest. */
struct engine {
    const char *name;
    struct gs_ctx *ctx;
    struct gs_buf buf; /* AREA of input, AREA of output */
    uint64_t in, out;
};

struct run {
    const struct gpu_options *options;
    struct engine engine[2]; /* cuda, cpu */
    int driver;              /* 13000 is CUDA 13.0 */
    unsigned int passed, failed, skipped;
    bool lost; /* a context is: nothing more can run */
};

enum { CUDA, CPU };

static int engine_open(struct engine *e, const char *name, struct gs_vm *vm)
{
    struct gs_ctx_config config = {.poll_us = 500};
    int rc = gs_ctx_create(vm, &config, &e->ctx);

    e->name = name;
    if (!rc)
        rc = gs_buf_create(e->ctx, 2 * AREA, 0, VGPU_BUF_FLAGS, &e->buf);
    if (!rc)
        rc = gs_mem_alloc(e->ctx, AREA, &e->in);
    if (!rc)
        rc = gs_mem_alloc(e->ctx, AREA, &e->out);
    if (rc)
        gpu_check(GPU_FAIL, "context", "%s: %s", name, gpu_status_name(rc));
    return rc;
}

/* in and out are u64 pointers, n a u32: the parameters of every kernel here.  The guest's output
 * area goes to the device first: what it holds must not pass for a result.  Status or -errno. */
static int engine_run(struct engine *e, const char *image, size_t bytes, const char *kernel,
                      size_t in_bytes, size_t out_bytes, uint32_t n, uint32_t grid, uint32_t block,
                      char *why, size_t why_bytes)
{
    struct {
        uint64_t in, out;
        uint32_t n;
    } params = {e->in, e->out, n};
    uint32_t module, function;
    int rc = gpu_ctx_kernel(e->ctx, image, bytes, kernel, &module, &function, why, why_bytes);

    if (rc)
        return rc;
    rc = gs_copy_h2d(e->ctx, e->in, &e->buf, 0, in_bytes);
    if (!rc)
        rc = gs_copy_h2d(e->ctx, e->out, &e->buf, AREA, out_bytes);
    if (!rc)
        rc = gs_launch(e->ctx, function, grid, block, &params, 20);
    if (!rc)
        rc = gs_copy_d2h(e->ctx, &e->buf, AREA, e->out, out_bytes);
    if (rc)
        snprintf(why, why_bytes, "%s: %s", e->name, gpu_status_name(rc));
    if (gs_module_unload(e->ctx, module) && !rc)
        rc = -EIO;
    return rc;
}

/* The driver, not the module, is what a run lacks: PTX m.n came with CUDA (m + 4).n. */
static bool driver_too_old(const struct run *run, const char *image)
{
    const char *at = strstr(image, ".version ");
    unsigned int major = 0, minor = 0;

    return at && sscanf(at, ".version %u.%u", &major, &minor) == 2 &&
           (int)((major + 4) * 1000 + minor * 10) > run->driver;
}

static void fail(struct run *run, const char *name, const char *why)
{
    run->failed++;
    gpu_check(GPU_FAIL, name, "%s", why);
}

/* Fill an output area with what is not the result: results narrower than a cell leave its other
 * bytes zero, so all but the lowest byte are. */
static void spoil(uint8_t *area, size_t bytes, const uint64_t *expected)
{
    if (!expected)
        memset(area, 0xa5, bytes);
    for (size_t i = 0; i < bytes / 8 && expected; i++) {
        uint64_t wrong = ~expected[i] & 0xff;

        memcpy(area + i * 8, &wrong, sizeof(wrong));
    }
}

/* Run on both; false when there is nothing to compare. */
static bool run_both(struct run *run, const char *label, const char *image, size_t bytes,
                     const char *kernel, const void *in, size_t in_bytes, const uint64_t *expected,
                     size_t out_bytes, uint32_t n, uint32_t grid, uint32_t block)
{
    for (int i = 0; i < 2; i++) {
        struct engine *e = &run->engine[i];
        char why[400];
        int rc;

        memcpy(e->buf.ptr, in, in_bytes);
        spoil(e->buf.ptr + AREA, out_bytes, expected);
        rc = engine_run(e, image, bytes, kernel, in_bytes, out_bytes, n, grid, block, why,
                        sizeof(why));
        if (rc == VGPU_ST_UNSUPPORTED_PTX && i == CUDA && driver_too_old(run, image)) {
            run->skipped++;
            gpu_check(GPU_SKIP, label, "the driver (CUDA %d.%d) is older than this PTX",
                      run->driver / 1000, run->driver % 1000 / 10);
            return false;
        }
        if (rc) {
            fail(run, label, why);
            run->lost = gs_ctx_is_lost(e->ctx->vm, e->ctx->id);
            return false;
        }
    }
    return true;
}

/* ---- Vectors ---- */

/* Two results that are each within an error of the truth may be two errors apart. */
static bool agree(const char *tolerance, uint64_t a, uint64_t b)
{
    const char *bound = strchr(tolerance, ':');
    char twice[48];

    if (!bound)
        return a == b;
    snprintf(twice, sizeof(twice), "%.*s:%.12g", (int)(bound - tolerance), tolerance,
             2 * strtod(bound + 1, NULL));
    return vectors_within(twice, a, b);
}

static void compare_family(struct run *run, const char *name, const struct vectors *v)
{
    const uint64_t *cuda = (const uint64_t *)(const void *)(run->engine[CUDA].buf.ptr + AREA);
    const uint64_t *cpu = (const uint64_t *)(const void *)(run->engine[CPU].buf.ptr + AREA);
    char why[300];

    for (unsigned int i = 0; i < v->rows * v->outputs; i++) {
        const char *tolerance = v->tolerance[i % v->outputs];

        if (vectors_within(tolerance, cuda[i], v->expected[i]) && agree(tolerance, cuda[i], cpu[i]))
            continue;
        snprintf(why, sizeof(why),
                 "row %u output %u: cuda %llx, cpu %llx, expected %llx (%s); first input %llx",
                 i / v->outputs, i % v->outputs, (unsigned long long)cuda[i],
                 (unsigned long long)cpu[i], (unsigned long long)v->expected[i], tolerance,
                 (unsigned long long)v->in[i / v->outputs * v->inputs]);
        fail(run, name, why);
        return;
    }
    run->passed++;
}

static void run_family(struct run *run, const char *family, struct vectors *v)
{
    char name[300], *text;
    const char *wrong;
    size_t bytes;

    snprintf(name, sizeof(name), "vectors/%s.vec", family);
    text = gpu_read(run->options, name, NULL);
    wrong = vectors_parse(v, text);
    if (wrong)
        fail(run, family, wrong);
    free(text);
    if (wrong)
        return;
    snprintf(name, sizeof(name), "vectors/%s.ptx", family);
    text = gpu_read(run->options, name, &bytes);
    if (run_both(run, family, text, bytes, "test", v->in, (size_t)v->rows * v->inputs * 8,
                 v->expected, (size_t)v->rows * v->outputs * 8, v->rows, (v->rows + 63) / 64, 64))
        compare_family(run, family, v);
    free(text);
}

static void run_vectors(struct run *run)
{
    static char *families[VECTORS_MAX_FAMILIES];
    struct vectors *v = calloc(1, sizeof(*v));
    unsigned int count;
    char path[1024];

    snprintf(path, sizeof(path), "%s/vectors", run->options->data);
    count = vectors_families(path, families);
    if (count < VECTORS_MIN_FAMILIES || !v)
        fail(run, "vectors", "the vectors are not all there");
    for (unsigned int i = 0; i < count && v && !run->lost; i++) {
        if (i % 100 == 0)
            gpu_progress("conformance: vectors %u of %u, %u failed", i, count, run->failed);
        run_family(run, families[i], v);
        free(families[i]);
    }
    free(v);
    gpu_check(run->failed || !run->passed ? GPU_FAIL : GPU_PASS, "vectors",
              "%u of %u families as expected and as on the cpu executor, %u not run", run->passed,
              count, run->skipped);
}

/* ---- Kernels ---- */

static void make_inputs(uint32_t *integers, float *floats)
{
    uint32_t state = 12345;

    for (uint32_t i = 0; i < KERNEL_N; i++) {
        state = state * 1664525u + 1013904223u;
        integers[i] = state ^ state >> 15;
        floats[i] = (float)((int)(state >> 8 & 0xffff) - 32768) / 64.0f;
    }
    integers[5] = 0;
    integers[6] = 0x80000000u;
    integers[7] = 0xffffffffu;
}

static void run_kernel(struct run *run, const char *file, const char *image, size_t bytes,
                       const char *kernel, const void *in)
{
    const uint32_t *cuda = (const uint32_t *)(const void *)(run->engine[CUDA].buf.ptr + AREA);
    const uint32_t *cpu = (const uint32_t *)(const void *)(run->engine[CPU].buf.ptr + AREA);
    char label[200], why[200];

    snprintf(label, sizeof(label), "%s %s", file, kernel);
    if (!run_both(run, label, image, bytes, kernel, in, KERNEL_N * 4, NULL, KERNEL_N * 4, KERNEL_N,
                  KERNEL_N / 256, 256))
        return;
    for (uint32_t i = 0; i < KERNEL_N; i++) {
        if (cuda[i] == cpu[i])
            continue;
        snprintf(why, sizeof(why), "element %u: cuda %08x, cpu %08x", i, cuda[i], cpu[i]);
        fail(run, label, why);
        return;
    }
    run->passed++;
}

static void run_kernels(struct run *run)
{
    static const char *const files[] = {"integer.clang", "integer.nvcc", "floating.clang",
                                        "floating.nvcc"};
    static uint32_t integers[KERNEL_N];
    static float floats[KERNEL_N];
    unsigned int seen = 0, before = run->failed, skipped = run->skipped;

    run->passed = 0;
    make_inputs(integers, floats);
    for (size_t f = 0; f < sizeof(files) / sizeof(files[0]) && !run->lost; f++) {
        char name[100], kernel[64], *image;
        size_t bytes;

        snprintf(name, sizeof(name), "kernels/%s.ptx", files[f]);
        image = gpu_read(run->options, name, &bytes);
        gpu_progress("conformance: kernels of %s", files[f]);
        for (const char *at = image; !run->lost && (at = strstr(at, ".visible .entry ")) != NULL;
             at++, seen++) {
            if (sscanf(at, ".visible .entry %63[A-Za-z0-9_]", kernel) == 1)
                run_kernel(run, files[f], image, bytes, kernel,
                           f < 2 ? (const void *)integers : (const void *)floats);
        }
        free(image);
    }
    gpu_check(run->failed > before || !run->passed ? GPU_FAIL : GPU_PASS, "kernels",
              "%u of %u kernels give the cpu executor's bits, %u not run", run->passed, seen,
              run->skipped - skipped);
}

/* ---- Random programs ---- */

#define RANDOM_PROGRAMS       200u
#define RANDOM_PROGRAMS_QUICK 24u

/* Status or -errno; the threads' words are in the engine's output area then. */
static int random_on(struct engine *e, const char *text, char *why, size_t why_bytes)
{
    uint32_t module, function;
    int rc = gpu_ctx_kernel(e->ctx, text, strlen(text), "k", &module, &function, why, why_bytes);

    if (rc)
        return rc;
    memset(e->buf.ptr + AREA, 0xa5, PTX_RANDOM_BYTES);
    rc = gs_copy_h2d(e->ctx, e->out, &e->buf, AREA, PTX_RANDOM_BYTES);
    if (!rc)
        rc = gs_launch(e->ctx, function, PTX_RANDOM_THREADS / PTX_RANDOM_BLOCK, PTX_RANDOM_BLOCK,
                       &e->out, sizeof(e->out));
    if (!rc)
        rc = gs_copy_d2h(e->ctx, &e->buf, AREA, e->out, PTX_RANDOM_BYTES);
    if (rc)
        snprintf(why, why_bytes, "%s: %s", e->name, gpu_status_name(rc));
    if (gs_module_unload(e->ctx, module) && !rc)
        rc = -EIO;
    return rc;
}

/* The same by the driver alone; the words are in side->host. */
static int random_plain(struct gpu_side *side, const char *text, uint64_t out)
{
    struct gpu_job job = {.grid = PTX_RANDOM_THREADS / PTX_RANDOM_BLOCK,
                          .block = PTX_RANDOM_BLOCK,
                          .param_bytes = sizeof(out)};
    uint64_t module;
    int ret;

    memcpy(job.params, &out, sizeof(out));
    memset(side->host, 0xa5, PTX_RANDOM_BYTES);
    if (side->copy(side, out, PTX_RANDOM_BYTES, true) < 0 ||
        side->load(side, text, strlen(text) + 1, &module) < 0)
        return -1;
    ret = side->function(side, module, "k", &job.function);
    if (!ret)
        ret = side->prepare(side, &job);
    if (!ret)
        ret = side->launch(side, &job, 1);
    if (!ret)
        ret = side->sync(side);
    if (!ret)
        ret = side->copy(side, out, PTX_RANDOM_BYTES, false);
    return side->unload(side, module) < 0 ? -1 : ret;
}

/* Returns whether the optimised code, which runs by vgpud, gives the same bits, too. */
static bool random_program(struct run *run, struct gpu_side *side, uint64_t out,
                           unsigned int number)
{
    const uint32_t *cpu = (const uint32_t *)(const void *)(run->engine[CPU].buf.ptr + AREA);
    const uint32_t *gpu = (const uint32_t *)(const void *)side->host;
    bool meet = number % 2;
    unsigned int seed = number / 2, word = 0;
    char *text = meet ? ptx_random_block_program(seed, PTX_RANDOM_PORTABLE)
                      : ptx_random_program(seed, PTX_RANDOM_PORTABLE);
    char label[64], why[400] = "no memory";
    int rc = text ? 0 : -ENOMEM;

    snprintf(label, sizeof(label), "random %s %u", meet ? "block program" : "program", seed);
    for (int i = 0; i < 2 && !rc; i++) {
        rc = random_on(&run->engine[i], text, why, sizeof(why));
        if (rc)
            run->lost = gs_ctx_is_lost(run->engine[i].ctx->vm, run->engine[i].ctx->id);
    }
    if (!rc) {
        rc = random_plain(side, text, out);
        snprintf(why, sizeof(why), "%s", side->why);
    }
    free(text);
    while (!rc && word < PTX_RANDOM_BYTES / 4 && gpu[word] == cpu[word])
        word++;
    if (!rc && word == PTX_RANDOM_BYTES / 4) {
        run->passed++;
        return !memcmp(run->engine[CUDA].buf.ptr + AREA, cpu, PTX_RANDOM_BYTES);
    }
    if (!rc)
        snprintf(why, sizeof(why), "thread %u word %u: GPU %08x, cpu %08x", word / 32, word % 32,
                 gpu[word], cpu[word]);
    fail(run, label, why);
    return false;
}

/*
 * Every bit the same as on the GPU where the driver compiles without optimisation.  Its optimiser keeps less:
 * on an H100 with driver 580 a guarded set.f32 or testp, among others, does not leave its register
 * alone where the guard is false (docs/decisions/0005).  How many programs it changes is a figure.
 */
static void run_random(struct run *run, const struct gpu_native *native)
{
    unsigned int count = run->options->quick ? RANDOM_PROGRAMS_QUICK : RANDOM_PROGRAMS;
    unsigned int before = run->failed, optimised = 0, done = 0;
    struct gpu_side *side;
    uint64_t out = 0;

    if (run->driver < 12000) {
        gpu_check(GPU_SKIP, "random programs",
                  "the driver (CUDA %d.%d) is older than their PTX 8.0", run->driver / 1000,
                  run->driver % 1000 / 10);
        return;
    }
    side = gpu_side_native(native, PTX_RANDOM_BYTES);
    run->passed = 0;
    if (side)
        side->plain = true;
    if (!side || side->alloc(side, PTX_RANDOM_BYTES, &out) < 0)
        fail(run, "random programs", side ? side->why : "no context");
    for (; out && done < count && !run->lost; done++) {
        if (done % 50 == 0)
            gpu_progress("conformance: random programs %u of %u, %u failed", done, count,
                         run->failed - before);
        optimised += random_program(run, side, out, done);
    }
    if (side)
        side->close(side);
    gpu_check(run->failed > before || run->passed < count ? GPU_FAIL : GPU_PASS, "random programs",
              "%u of %u programs give the cpu executor's bits, compiled without optimisation",
              run->passed, count);
    gpu_value("random programs that optimised code computes alike", "of all",
              (double)optimised / count);
}

int gpu_stage_conformance(const struct gpu_options *options)
{
    static const char *const vms[] = {"executor=cuda,memory=2G,deadline=60s,poll-us=1000@DEV",
                                      "executor=cpu,memory=1G,deadline=60s,poll-us=1000"};
    struct run run = {.options = options};
    struct gpu_machine machine;
    struct gpu_native native;

    if (gpu_native_open(&native, options) < 0)
        return 1;
    run.driver = native.driver;
    if (gpu_machine_open(&machine, options, vms, 2, 0) < 0)
        return 1;
    if (engine_open(&run.engine[CUDA], "cuda", machine.vm[0]) == 0 &&
        engine_open(&run.engine[CPU], "cpu", machine.vm[1]) == 0) {
        run_vectors(&run);
        run_kernels(&run);
        run_random(&run, &native);
    }
    gpu_machine_close(&machine, "vgpud");
    vgpu_cu_unload(&native.cu);
    return gpu_failures() ? 1 : 0;
}
