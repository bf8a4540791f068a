/* SPDX-License-Identifier: MIT */
/*
 * vgpu-bench-ptx: throughput of the PTX machine beside what the CPU gives native code, both from this run.
 * Prints a JSON array of rows as scripts/bench-report.py wants them. Options: --quick for a short run, --runs N.
 *
 * Every row is the best of several runs, since the machine may be shared; the floor is measured the same way.
 */
#include "exec/cpu/ptx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS_DEFAULT      5
#define LOAD_TARGET_BYTES (2u << 20)

static int runs = RUNS_DEFAULT;
static int quick;
static int rows;

/* CPU time for figures of one core, so that a busy machine does not spoil them; wall time for the scaling. */
static clockid_t clock_used = CLOCK_PROCESS_CPUTIME_ID;

static double now(void)
{
    struct timespec t;

    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "vgpu-bench-ptx: %s: %s\n", what, why);
    exit(1);
}

static void row(const char *name, double value, const char *unit, const char *floor_name,
                double floor, double bar, const char *bar_on, const char *better)
{
    printf("%s\n {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"floor_name\": \"%s\", "
           "\"floor\": %.6g, "
           "\"ratio\": %.6g, \"bar\": %.6g, \"bar_on\": \"%s\", \"better\": \"%s\"}",
           rows++ ? "," : "", name, value, unit, floor_name, floor, value / floor, bar, bar_on,
           better);
}

static const char fma_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry chain(.param .u64 out, .param .u32 n) {\n"
    ".reg .f32 %a<16>; .reg .f32 %x, %y; .reg .b32 %i, %n, %t; .reg .b64 %o; .reg .pred %p;\n"
    "ld.param.u64 %o, [out]; ld.param.u32 %n, [n]; mov.u32 %t, %tid.x; cvt.rn.f32.u32 %x, %t;\n"
    "mov.f32 %y, 0f3F000000; mov.u32 %i, 0;\n"
    "mov.f32 %a0, %x; mov.f32 %a1, %x; mov.f32 %a2, %x; mov.f32 %a3, %x; mov.f32 %a4, %x; mov.f32 "
    "%a5, %x;\n"
    "mov.f32 %a6, %x; mov.f32 %a7, %x;\n"
    "loop:\n"
    "fma.rn.f32 %a0, %a0, %y, %x; fma.rn.f32 %a1, %a1, %y, %x; fma.rn.f32 %a2, %a2, %y, %x;\n"
    "fma.rn.f32 %a3, %a3, %y, %x; fma.rn.f32 %a4, %a4, %y, %x; fma.rn.f32 %a5, %a5, %y, %x;\n"
    "fma.rn.f32 %a6, %a6, %y, %x; fma.rn.f32 %a7, %a7, %y, %x;\n"
    "fma.rn.f32 %a0, %a0, %y, %x; fma.rn.f32 %a1, %a1, %y, %x; fma.rn.f32 %a2, %a2, %y, %x;\n"
    "fma.rn.f32 %a3, %a3, %y, %x; fma.rn.f32 %a4, %a4, %y, %x; fma.rn.f32 %a5, %a5, %y, %x;\n"
    "fma.rn.f32 %a6, %a6, %y, %x; fma.rn.f32 %a7, %a7, %y, %x;\n"
    "add.u32 %i, %i, 1; setp.lt.u32 %p, %i, %n; @%p bra loop;\n"
    "add.f32 %a0, %a0, %a1; add.f32 %a2, %a2, %a3; add.f32 %a4, %a4, %a5; add.f32 %a6, %a6, %a7;\n"
    "add.f32 %a0, %a0, %a2; add.f32 %a4, %a4, %a6; add.f32 %a0, %a0, %a4;\n"
    "mad.wide.u32 %o, %t, 4, %o; st.global.f32 [%o], %a0; ret; }\n";

static struct vgpu_ptx_machine *machine_new(uint32_t threads)
{
    struct vgpu_ptx_options options = {.threads = threads};
    struct vgpu_ptx_machine *machine;

    if (vgpu_ptx_machine_create(&options, &machine))
        die("machine", "cannot be created");
    return machine;
}

static struct vgpu_ptx_function *function_of(struct vgpu_ptx_machine *machine, const char *text,
                                             const char *name)
{
    struct vgpu_ptx_module *module;
    struct vgpu_ptx_function *function;
    char log[1024];

    if (vgpu_ptx_module_load(machine, text, strlen(text), log, sizeof(log), &module))
        die(name, log);
    if (vgpu_ptx_module_function(module, name, &function))
        die(name, "no such kernel");
    return function;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);

    if (!file || !text)
        die(path, "cannot be read (run from the top of the tree)");
    if (fread(text, 1, (1 << 20) - 1, file) == 0)
        die(path, "is empty");
    fclose(file);
    return text;
}

static double launch(struct vgpu_ptx_machine *machine, struct vgpu_ptx_function *function,
                     uint32_t gx, uint32_t gy, uint32_t bx, uint32_t by, const void *params,
                     uint32_t bytes)
{
    struct vgpu_ptx_launch l = {.function = function,
                                .grid = {gx, gy, 1},
                                .block = {bx, by, 1},
                                .params = params,
                                .param_bytes = bytes};
    struct vgpu_ptx_fault fault;
    double best = 1e30;

    for (int r = 0; r < runs; r++) {
        double start = now(), took;

        if (vgpu_ptx_launch_run(machine, &l, &fault, NULL))
            die("launch", fault.text);
        took = now() - start;
        best = took < best ? took : best;
    }
    return best;
}

static uint64_t buffer(struct vgpu_ptx_machine *machine, size_t bytes, void **host)
{
    uint64_t va;

    if (vgpu_ptx_mem_alloc(machine, bytes, &va) ||
        !(*host = vgpu_ptx_mem_translate(machine, va, bytes)))
        die("memory", "cannot be allocated");
    return va;
}

/* What one core does on its own with the same chain: the compiler's own vector code. */
static double native_fma(void)
{
    static float a[8][32];
    volatile float half = 0.5f;
    int n = quick ? 200000 : 1000000;
    float y = half;
    double best = 1e30;

    for (int r = 0; r < runs; r++) {
        double start = now(), took;

        for (int i = 0; i < n; i++)
            for (int k = 0; k < 8; k++)
                for (int l = 0; l < 32; l++)
                    a[k][l] = a[k][l] * y + (float)l;
        took = now() - start;
        best = took < best ? took : best;
    }
    return (double)n * 8 * 32 / best;
}

static double chain_rate(struct vgpu_ptx_machine *machine, uint32_t blocks)
{
    struct {
        uint64_t out;
        uint32_t n;
    } params = {0, quick ? 4000 : 20000};
    void *host;
    double took;

    params.out = buffer(machine, 4096, &host);
    took = launch(machine, function_of(machine, fma_ptx, "chain"), blocks, 1, 256, 1, &params, 12);
    return (double)blocks * 256 * params.n * 16 / took;
}

static void bench_fma(void)
{
    struct vgpu_ptx_machine *one = machine_new(1), *two = machine_new(2);
    double single = chain_rate(one, 8), both;

    row("fma chain, one core", single, "1/s", "native vector fma", native_fma(), 5e9, "value",
        "more");
    clock_used = CLOCK_MONOTONIC;
    single = chain_rate(one, 8);
    both = chain_rate(two, 8);
    clock_used = CLOCK_PROCESS_CPUTIME_ID;
    row("fma chain, 2 threads", both, "1/s", "the same on 1 thread", single, 1.8, "ratio", "more");
    vgpu_ptx_machine_destroy(one);
    vgpu_ptx_machine_destroy(two);
}

static void bench_matmul(void)
{
    struct vgpu_ptx_machine *machine = machine_new(1);
    int n = quick ? 256 : 1024;
    struct {
        uint64_t c, a, b;
        int32_t n;
    } params;
    void *a, *b, *c;
    char *text = read_file("guest-driver/examples/kernels/matmul.ptx");
    double took;

    params.a = buffer(machine, (size_t)n * n * 4, &a);
    params.b = buffer(machine, (size_t)n * n * 4, &b);
    params.c = buffer(machine, (size_t)n * n * 4, &c);
    params.n = n;
    for (int k = 0; k < n * n; k++) {
        ((float *)a)[k] = (float)(k % 13) * 0.25f;
        ((float *)b)[k] = (float)(k % 7) * 0.5f;
    }
    took =
        launch(machine, function_of(machine, text, "matmul"), n / 16, n / 16, 16, 16, &params, 28);
    row("tiled SGEMM, one core", 2.0 * n * n * n / took, "FLOP/s", "native vector fma x 2",
        2 * native_fma(), 2e9, "value", "more");
    free(text);
    vgpu_ptx_machine_destroy(machine);
}

static void bench_vecadd(void)
{
    struct vgpu_ptx_machine *machine = machine_new(1);
    size_t n = quick ? 1 << 20 : 16 << 20;
    struct {
        uint64_t a, b, c;
        int32_t n;
    } params;
    void *a, *b, *c;
    char *text = read_file("guest-driver/examples/kernels/vecadd.ptx");
    double took, copy = 1e30;

    params.a = buffer(machine, n * 4, &a);
    params.b = buffer(machine, n * 4, &b);
    params.c = buffer(machine, n * 4, &c);
    params.n = (int32_t)n;
    memset(a, 1, n * 4);
    memset(b, 1, n * 4);
    memset(c, 1, n * 4);
    took = launch(machine, function_of(machine, text, "vecadd"), (uint32_t)(n / 256), 1, 256, 1,
                  &params, 28);
    for (int r = 0; r < runs; r++) {
        double start = now(), t;

        memcpy(c, a, n * 4);
        t = now() - start;
        copy = t < copy ? t : copy;
    }
    /* a copy moves 2 bytes for each byte, the addition 3 */
    row("vecadd of floats, one core", 12.0 * n / took, "B/s", "memcpy, bytes moved", 8.0 * n / copy,
        0.25, "ratio", "more");
    free(text);
    vgpu_ptx_machine_destroy(machine);
}

static void bench_load(void)
{
    struct vgpu_ptx_machine *machine = machine_new(1);
    char *one = read_file("guest-driver/examples/kernels/matmul.ptx");
    const char *body = strstr(one, ".visible .entry matmul");
    char *all = calloc(1, LOAD_TARGET_BYTES + (1 << 16)), *at = all, log[512];
    double best = 1e30;

    if (!body || !all)
        die("matmul.ptx", "has no kernel");
    at += snprintf(at, (size_t)(all + LOAD_TARGET_BYTES + (1 << 16) - at),
                   ".version 8.0\n.target sm_75\n.address_size 64\n");
    for (unsigned k = 0; (size_t)(at - all) < LOAD_TARGET_BYTES; k++)
        at += snprintf(at, (size_t)(all + LOAD_TARGET_BYTES + (1 << 16) - at),
                       ".visible .entry matmul%u%s\n", k, body + strlen(".visible .entry matmul"));
    for (int r = 0; r < runs; r++) {
        struct vgpu_ptx_module *module;
        double start = now(), took;

        if (vgpu_ptx_module_load(machine, all, (size_t)(at - all), log, sizeof(log), &module))
            die("load", log);
        took = now() - start;
        best = took < best ? took : best;
        vgpu_ptx_module_unload(module);
    }
    row("load of a 2 MB module", best, "s", "0.5 s", 0.5, 1, "ratio", "less");
    free(all);
    free(one);
    vgpu_ptx_machine_destroy(machine);
}

int main(int argc, char **argv)
{
    for (int k = 1; k < argc; k++) {
        if (!strcmp(argv[k], "--quick"))
            quick = 1;
        else if (!strcmp(argv[k], "--runs") && k + 1 < argc && atoi(argv[k + 1]) > 0)
            runs = atoi(argv[++k]);
        else
            die(argv[k], "unknown option");
    }
    printf("[");
    bench_fma();
    bench_matmul();
    bench_vecadd();
    bench_load();
    printf("\n]\n");
    return 0;
}
