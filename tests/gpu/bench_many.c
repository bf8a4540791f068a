/* SPDX-License-Identifier: MIT */
/*
 * Figures that need more than one context.
 *
 * A native context belongs to a process: this program runs itself again as a *worker*, which says on its
 * standard output when it is ready, starts when a byte comes on its standard input, and prints its
 * result.  Through the vGPU a worker is a thread with a context of the VM, whose executor
 * process vgpud starts.  Both run the same loop.
 */
#include "bench_many.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MANY  4
#define BATCH     8
#define MIN_BYTES (1u << 20)

struct load {
    const char *image;
    size_t bytes;
    uint32_t n;
    unsigned int ms;
};

static struct load load_of(const char *image, size_t bytes, bool quick)
{
    return (struct load){image, bytes, quick ? 64 : 1024, quick ? 200 : 3000};
}

/* What every worker does before the start: a job in *job, or -1 with side->why. */
static int worker_prepare(struct gpu_side *side, const struct load *load, struct gpu_job *job)
{
    uint64_t module, area[3];
    const size_t bytes = (size_t)load->n * load->n * 4;

    if (side->load(side, load->image, load->bytes, &module) < 0)
        return -1;
    *job = (struct gpu_job){.grid = load->n / 16 * (load->n / 16), .block = 256, .param_bytes = 28};
    if (side->function(side, module, "sgemm", &job->function) < 0)
        return -1;
    for (unsigned int i = 0; i < 3; i++) {
        if (side->alloc(side, bytes, &area[i]) < 0)
            return -1;
    }
    memcpy(job->params, area, sizeof(area));
    memcpy(job->params + sizeof(area), &load->n, 4);
    if (side->prepare(side, job) < 0 || side->launch(side, job, 1) < 0)
        return -1;
    return side->sync(side);
}

/* Products per second until the time is over; negative: side->why. */
static double worker_run(struct gpu_side *side, const struct load *load, const struct gpu_job *job)
{
    uint64_t start = gs_now_ns(), end = start + load->ms * 1000000ull, count = 0;

    do {
        if (side->launch(side, job, BATCH) < 0 || side->sync(side) < 0)
            return -1;
        count += BATCH;
    } while (gs_now_ns() < end);
    return (double)count * 1e9 / (double)(gs_now_ns() - start);
}

/* ---- The native worker's side ---- */

static int worker_create(struct gpu_side *side)
{
    uint64_t addr;

    if (side->alloc(side, MIN_BYTES, &addr) < 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    return 0;
}

int gpu_worker(const struct gpu_options *options, const char *what)
{
    struct gpu_native native;
    struct gpu_side *side;
    struct gpu_job job;
    struct load load;
    double rate;
    char go;

    if (gpu_native_open(&native, options) < 0)
        return 1;
    side = gpu_side_native(&native, 0);
    if (!side)
        return 1;
    if (strcmp(what, "create") == 0)
        return worker_create(side);
    load = load_of(NULL, 0, options->quick);
    load.image = gpu_read(options, "gpu/gpu.ptx", &load.bytes);
    if (worker_prepare(side, &load, &job) < 0)
        goto fail;
    printf("ready\n");
    fflush(stdout);
    if (read(STDIN_FILENO, &go, 1) != 1)
        return 1;
    rate = worker_run(side, &load, &job);
    if (rate < 0)
        goto fail;
    printf("%.6g\n", rate);
    fflush(stdout);
    side->close(side);
    return 0;

fail:
    gpu_progress("%s", side->why);
    return 1;
}

/* ---- Native workers, seen from here ---- */

struct worker {
    pid_t pid;
    int to;
    FILE *from;
};

static int worker_start(struct worker *w, const struct gpu_options *options, const char *what)
{
    const char *argv[12] = {"/proc/self/exe", "--data", options->data, "--worker", what};
    int in[2], out[2], n = 5;

    if (options->hmm)
        argv[n++] = "--hmm";
    if (options->device) {
        argv[n++] = "--device";
        argv[n++] = options->device;
    }
    if (options->quick)
        argv[n++] = "--quick";
    argv[n++] = "worker";
    argv[n] = NULL;
    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
        return -errno;
    }
    w->pid = fork();
    if (w->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    w->to = in[1];
    w->from = fdopen(out[0], "r");
    return w->pid < 0 || !w->from ? -1 : 0;
}

static bool worker_ready(struct worker *w)
{
    char line[64];

    return fgets(line, sizeof(line), w->from) && strcmp(line, "ready\n") == 0;
}

static int worker_end(struct worker *w)
{
    int status = -1;

    close(w->to);
    fclose(w->from);
    waitpid(w->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- Context creation ---- */

static double create_native(const struct gpu_options *options)
{
    uint64_t start = gs_now_ns(), took;
    struct worker w;
    bool ok;

    if (worker_start(&w, options, "create") < 0)
        return -1;
    ok = worker_ready(&w);
    took = gs_now_ns() - start;
    return worker_end(&w) == 0 && ok ? (double)took / 1e6 : -1;
}

static double create_vgpu(struct gs_vm *vm)
{
    uint64_t start = gs_now_ns(), addr, took;
    struct gs_ctx *ctx;
    int rc;

    if (gs_ctx_create(vm, NULL, &ctx))
        return -1;
    rc = gs_mem_alloc(ctx, MIN_BYTES, &addr);
    took = gs_now_ns() - start;
    return gs_ctx_destroy(ctx) == 0 && rc == 0 ? (double)took / 1e6 : -1;
}

void gpu_bench_create(const struct gpu_options *options, struct gs_vm *vm, unsigned int rounds)
{
    double best[2] = {-1, -1};

    gpu_progress("bench: context creation");
    for (unsigned int r = 0; r < rounds && r < 5; r++) {
        double native = create_native(options), vgpu = create_vgpu(vm);

        if (native < 0 || vgpu < 0) {
            gpu_check(GPU_FAIL, "context creation", "native %g ms, vgpu %g ms", native, vgpu);
            return;
        }
        best[0] = best[0] < 0 || native < best[0] ? native : best[0];
        best[1] = best[1] < 0 || vgpu < best[1] ? vgpu : best[1];
    }
    gpu_figure("context creation", "ms", best[0], best[1], false, 0);
}

/* ---- Several at once ---- */

static double many_native(const struct gpu_options *options, unsigned int count)
{
    struct worker w[MAX_MANY];
    unsigned int started = 0;
    double sum = 0, rate;
    bool ok = true;

    for (; started < count && ok; started++)
        ok = worker_start(&w[started], options, "sgemm") == 0;
    for (unsigned int i = 0; i < started && ok; i++)
        ok = worker_ready(&w[i]);
    for (unsigned int i = 0; i < started && ok; i++)
        ok = write(w[i].to, "g", 1) == 1;
    for (unsigned int i = 0; i < started && ok; i++) {
        ok = fscanf(w[i].from, "%lf", &rate) == 1;
        sum += ok ? rate : 0;
    }
    for (unsigned int i = 0; i < started; i++)
        ok &= worker_end(&w[i]) == 0;
    return ok ? sum : -1;
}

struct guest_worker {
    pthread_t thread;
    pthread_barrier_t *start;
    struct gpu_side *side;
    const struct load *load;
    struct gpu_job job;
    double rate;
};

static void *guest_thread(void *arg)
{
    struct guest_worker *w = arg;

    pthread_barrier_wait(w->start);
    w->rate = worker_run(w->side, w->load, &w->job);
    return NULL;
}

static double many_vgpu(struct gs_vm *vm, const struct load *load, unsigned int count)
{
    struct guest_worker w[MAX_MANY] = {{0}};
    unsigned int ready = 0, running = 0;
    pthread_barrier_t start;
    double sum = 0;

    for (; ready < count; ready++) {
        w[ready].side = gpu_side_vgpu(vm, 0);
        if (!w[ready].side || worker_prepare(w[ready].side, load, &w[ready].job) < 0)
            break;
        w[ready].load = load;
        w[ready].start = &start;
    }
    if (ready == count) {
        pthread_barrier_init(&start, NULL, count);
        for (; running < count; running++) {
            if (pthread_create(&w[running].thread, NULL, guest_thread, &w[running]) != 0)
                abort(); /* the others wait for it at the barrier */
        }
        for (unsigned int i = 0; i < count; i++) {
            pthread_join(w[i].thread, NULL);
            sum = w[i].rate < 0 || sum < 0 ? -1 : sum + w[i].rate;
        }
        pthread_barrier_destroy(&start);
    }
    for (unsigned int i = 0; i < count; i++) {
        if (!w[i].side)
            continue;
        if (w[i].side->why[0])
            gpu_progress("%s", w[i].side->why);
        w[i].side->close(w[i].side);
    }
    return ready == count ? sum : -1;
}

void gpu_bench_many(const struct gpu_options *options, struct gs_vm *vm, const char *image,
                    size_t bytes, bool quick)
{
    struct load load = load_of(image, bytes, quick);

    for (unsigned int count = 1; count <= MAX_MANY; count *= 2) {
        char name[64];
        double native;

        snprintf(name, sizeof(name), "matrix products, %u context%s", count, count > 1 ? "s" : "");
        gpu_progress("bench: %s", name);
        native = many_native(options, count);
        gpu_figure(name, "1/s", native, many_vgpu(vm, &load, count), true, 0);
    }
}
