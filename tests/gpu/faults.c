/* SPDX-License-Identifier: MIT */
/*
 * Faults on a real GPU: what one guest program does wrong must cost its context and no other.
 *
 * For each fault a fresh context of VM 0 runs the faulty kernel, and has to be lost with the right status and
 * CUDA's own name in its message.  Then a context of the same VM that was there before (the
 * sibling), one of VM 1 (the neighbour) and a new one are asked to add vectors, and are
 * compared.  Times are taken, and are values, not checks: from the loss being seen until the new context
 * has answered rightly, and for a killed process from SIGKILL until it is reaped and until then.
 */
#include "gpu.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS   2000
#define MAX_PROCESSES 256

struct faults {
    struct gpu_machine machine;
    char *image;
    size_t bytes;
    struct gs_ctx *sibling, *neighbour;
};

struct fault {
    const char *name, *kernel;
    bool bad_address; /* the pointer lies in no allocation */
    bool endless;
    int status, or_status;
    const char *words; /* in the loss's message */
};

static const struct fault kinds[] = {
    {"illegal address", "store", true, false, VGPU_ST_ILLEGAL_ADDRESS, VGPU_ST_ILLEGAL_ADDRESS,
     "CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
    {"misaligned address", "misaligned", false, false, VGPU_ST_MISALIGNED, VGPU_ST_MISALIGNED,
     "CUDA_ERROR_MISALIGNED_ADDRESS (716)"},
    /* The documentation does not say which of the two a trap instruction gives. */
    {"trap", "trapped", false, false, VGPU_ST_LAUNCH_FAILED, VGPU_ST_ILLEGAL_INSTR, "CUDA_ERROR_"},
    {"endless kernel", "spin", false, true, VGPU_ST_TIMEOUT, VGPU_ST_TIMEOUT, "deadline"},
};

static double seconds_since(uint64_t ns)
{
    return (double)(gs_now_ns() - ns) / 1e9;
}

static int works(struct faults *f, struct gs_ctx *ctx, const char *check, const char *who)
{
    char why[300];

    if (gpu_ctx_works(ctx, f->image, f->bytes, why, sizeof(why)) == 0)
        return 0;
    gpu_check(GPU_FAIL, check, "%s: %s", who, why);
    return -1;
}

/* A context that has loaded the kernel and has queued it: not waited for. */
static struct gs_ctx *start_fault(struct faults *f, const struct fault *kind)
{
    uint32_t module, function;
    struct gs_ctx *ctx = NULL;
    uint64_t addr = 0, cookie;
    struct vgpu_sqe sqe;
    char why[300] = "";
    int rc = gs_ctx_create(f->machine.vm[0], NULL, &ctx);

    if (!rc)
        rc = gpu_ctx_kernel(ctx, f->image, f->bytes, kind->kernel, &module, &function, why,
                            sizeof(why));
    if (!rc)
        rc = gs_mem_alloc(ctx, 4096, &addr);
    if (rc) {
        gpu_check(GPU_FAIL, kind->name, "preparing: %s %s", gpu_status_name(rc), why);
        if (ctx)
            gs_ctx_destroy(ctx);
        return NULL;
    }
    if (kind->bad_address)
        addr = 0x10; /* the first page is never mapped */
    sqe = gs_launch_sqe(ctx, function, 1, 1, &addr, sizeof(addr));
    gs_submit(ctx, &sqe, &cookie);
    gs_flush(ctx);
    return ctx;
}

/* A new context that answers rightly; the seconds since `since` until then. */
static int new_context(struct faults *f, const char *check, uint64_t since)
{
    struct gs_ctx *ctx = NULL;
    int rc = gs_ctx_create(f->machine.vm[0], NULL, &ctx);

    if (rc) {
        gpu_check(GPU_FAIL, check, "a new context afterwards: %s", gpu_status_name(rc));
        return -1;
    }
    rc = works(f, ctx, check, "a new context afterwards");
    if (!rc) {
        char name[100];

        snprintf(name, sizeof(name), "%s: loss to a context that works", check);
        gpu_value(name, "s", seconds_since(since));
    }
    gs_ctx_destroy(ctx);
    return rc;
}

static int others_work(struct faults *f, const char *check)
{
    return works(f, f->sibling, check, "another context of the VM") ||
                   works(f, f->neighbour, check, "another VM's context")
               ? -1
               : 0;
}

static void run_fault(struct faults *f, const struct fault *kind)
{
    struct vgpu_ctx_status status = {0};
    uint64_t start = gs_now_ns(), lost_at;
    struct gs_ctx *ctx;
    int lost, destroyed;

    gpu_progress("faults: %s", kind->name);
    ctx = start_fault(f, kind);
    if (!ctx)
        return;
    start = gs_now_ns();
    lost = gs_ctx_wait_lost(ctx, &status);
    lost_at = gs_now_ns();
    destroyed = gs_ctx_destroy(ctx);
    if (lost < 0) {
        gpu_check(GPU_FAIL, kind->name, "the context was not lost: %s", gpu_status_name(lost));
        return;
    }
    if ((lost != kind->status && lost != kind->or_status) ||
        !strstr((const char *)status.message, kind->words)) {
        gpu_check(GPU_FAIL, kind->name, "lost with %s, \"%s\"; expected %s and \"%s\"",
                  gpu_status_name(lost), (const char *)status.message,
                  gpu_status_name(kind->status), kind->words);
        return;
    }
    if (destroyed) {
        gpu_check(GPU_FAIL, kind->name, "destroying the context: %s", gpu_status_name(destroyed));
        return;
    }
    if (kind->endless)
        gpu_value("endless kernel over its deadline", "s",
                  (double)(lost_at - start) / 1e9 - DEADLINE_MS / 1e3);
    if (new_context(f, kind->name, lost_at) == 0 && others_work(f, kind->name) == 0)
        gpu_check(GPU_PASS, kind->name, "%s: %s", gpu_status_name(lost),
                  (const char *)status.message);
}

/* The process that is in `after` and not in `before`; 0: none or several. */
static pid_t new_process(const pid_t *before, size_t before_count, const pid_t *after,
                         size_t after_count)
{
    pid_t found = 0;

    for (size_t i = 0; i < after_count; i++) {
        bool known = false;

        for (size_t k = 0; k < before_count; k++)
            known |= before[k] == after[i];
        if (!known && found)
            return 0;
        if (!known)
            found = after[i];
    }
    return found;
}

/* An executor process is killed while its kernel runs, as the daemon does it and as a crash would. */
static void run_kill(struct faults *f)
{
    static const struct fault endless = {.name = "killed executor", .kernel = "spin"};
    pid_t before[MAX_PROCESSES], after[MAX_PROCESSES], pid;
    size_t before_count = proc_tree(f->machine.d.pid, before, MAX_PROCESSES);
    struct vgpu_ctx_status status = {0};
    struct gs_ctx *ctx;
    uint64_t killed_at;
    int lost;

    gpu_progress("faults: a killed executor process");
    ctx = start_fault(f, &endless);
    if (!ctx)
        return;
    pid =
        new_process(before, before_count, after, proc_tree(f->machine.d.pid, after, MAX_PROCESSES));
    if (!pid) {
        gpu_check(GPU_FAIL, endless.name, "the new context's process can't be told");
        gs_ctx_destroy(ctx);
        return;
    }
    killed_at = gs_now_ns();
    if (kill(pid, SIGKILL) < 0 || !proc_wait_gone(pid, GS_TIMEOUT_MS)) {
        gpu_check(GPU_FAIL, endless.name, "process %d can't be killed: %s", (int)pid,
                  strerror(errno));
        gs_ctx_destroy(ctx);
        return;
    }
    gpu_value("killed executor: SIGKILL to reaped", "s", seconds_since(killed_at));
    lost = gs_ctx_wait_lost(ctx, &status);
    gs_ctx_destroy(ctx);
    if (lost != VGPU_ST_EXEC_DIED) {
        gpu_check(GPU_FAIL, endless.name, "lost with %s, expected VGPU_ST_EXEC_DIED",
                  gpu_status_name(lost));
        return;
    }
    if (new_context(f, endless.name, killed_at) == 0 && others_work(f, endless.name) == 0)
        gpu_check(GPU_PASS, endless.name, "%s", (const char *)status.message);
}

int gpu_stage_faults(const struct gpu_options *options)
{
    static const char *const vms[] = {"executor=cuda,memory=4G,deadline=2s@DEV",
                                      "executor=cuda,memory=4G@DEV"};
    struct faults f = {0};

    f.image = gpu_read(options, "gpu/gpu.ptx", &f.bytes);
    if (gpu_machine_open(&f.machine, options, vms, 2, 0) < 0)
        return 1;
    if (gs_ctx_create(f.machine.vm[0], NULL, &f.sibling) ||
        gs_ctx_create(f.machine.vm[1], NULL, &f.neighbour)) {
        gpu_check(GPU_FAIL, "contexts", "can't be created");
    } else if (others_work(&f, "before any fault") == 0) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            run_fault(&f, &kinds[i]);
        run_kill(&f);
    }
    gpu_machine_close(&f.machine, "vgpud");
    free(f.image);
    return gpu_failures() ? 1 : 0;
}
