/* SPDX-License-Identifier: MIT */
/*
 * The vgpu side: the same operations by a guest, through the ring of one context.
 *
 * Launches are written to the ring directly, as a guest program's mapped queue is used; each job has a
 * parameter slot of its own in the argument arena, written once.  Cookies of timestamps have
 * the top bit set; everything else is counted only.  A completion with a bad status fails
 * the next call that looks.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAMP   (1ull << 63)
#define SPIN_US 2000
#define BATCH   64 /* submissions published together */
#define WAIT_MS 120000

struct guest_side {
    struct gpu_side side;
    struct gs_ctx *ctx;
    struct gs_buf buf;
    uint64_t sent, seen;
    uint64_t stamp[2];
    uint32_t event[2];
    int bad; /* first status that was not OK */
};

static struct guest_side *of(struct gpu_side *side)
{
    return (struct guest_side *)side;
}

static int result_of(struct gpu_side *side, int rc, const char *what)
{
    struct guest_side *g = of(side);
    struct vgpu_ctx_status status;

    if (rc == 0)
        return 0;
    if (g->ctx && gs_ctx_is_lost(g->ctx->vm, g->ctx->id) && gs_ctx_status(g->ctx, &status) == 0)
        snprintf(side->why, sizeof(side->why), "vgpu: %s: context lost: %s: %.200s", what,
                 gpu_status_name((int)status.status), (const char *)status.message);
    else
        snprintf(side->why, sizeof(side->why), "vgpu: %s: %s", what, gpu_status_name(rc));
    return -1;
}

static void count_one(struct guest_side *g, const struct vgpu_cqe *cqe)
{
    g->seen++;
    if (cqe->status != VGPU_ST_OK && !g->bad)
        g->bad = cqe->status;
    if (cqe->cookie & STAMP)
        g->stamp[cqe->cookie & 1] = cqe->result;
}

/* Take what is there, without waiting. */
static uint32_t drain(struct guest_side *g)
{
    struct gs_ring *ring = &g->ctx->ring;
    const struct vgpu_cqe *cqe;
    uint32_t taken = 0;

    while ((cqe = gs_ring_peek(ring)) != NULL) {
        count_one(g, cqe);
        ring->cq_cons++;
        taken++;
    }
    if (taken)
        gs_ring_release(ring, 0);
    return taken;
}

static int wait_one(struct gpu_side *side)
{
    struct guest_side *g = of(side);
    struct vgpu_cqe cqe;
    int rc = gs_wait_any(g->ctx, &cqe, WAIT_MS);

    if (rc)
        return result_of(side, rc, "waiting for completions");
    count_one(g, &cqe);
    return 0;
}

static int put(struct gpu_side *side, const struct vgpu_sqe *sqe)
{
    struct guest_side *g = of(side);
    struct vgpu_sqe *slot;

    while ((slot = gs_ring_slot(&g->ctx->ring)) == NULL) {
        gs_flush(g->ctx);
        if (!drain(g) && wait_one(side) < 0)
            return -1;
    }
    *slot = *sqe;
    g->sent++;
    return 0;
}

static int guest_sync(struct gpu_side *side)
{
    struct guest_side *g = of(side);
    int bad;

    gs_flush(g->ctx);
    while (g->seen < g->sent) {
        if (!drain(g) && wait_one(side) < 0)
            return -1;
    }
    bad = g->bad;
    g->bad = 0;
    return result_of(side, bad, "a queued command");
}

static int guest_alloc(struct gpu_side *side, size_t bytes, uint64_t *addr)
{
    return result_of(side, gs_mem_alloc(of(side)->ctx, bytes, addr), "allocating memory");
}

static int guest_release(struct gpu_side *side, uint64_t addr)
{
    return result_of(side, gs_mem_free(of(side)->ctx, addr), "freeing memory");
}

static int guest_copy(struct gpu_side *side, uint64_t addr, size_t bytes, bool to_device)
{
    struct guest_side *g = of(side);

    return result_of(side,
                     to_device ? gs_copy_h2d(g->ctx, addr, &g->buf, 0, bytes)
                               : gs_copy_d2h(g->ctx, &g->buf, 0, addr, bytes),
                     "copy");
}

static int guest_load(struct gpu_side *side, const char *image, size_t bytes, uint64_t *module)
{
    char log[200] = "";
    uint32_t id = 0;
    int rc = gs_module_load(of(side)->ctx, image, bytes, log, sizeof(log), &id);

    *module = id;
    return result_of(side, rc, log[0] ? log : "loading a module");
}

static int guest_unload(struct gpu_side *side, uint64_t module)
{
    return result_of(side, gs_module_unload(of(side)->ctx, (uint32_t)module), "unloading a module");
}

static int guest_function(struct gpu_side *side, uint64_t module, const char *name,
                          uint64_t *function)
{
    uint32_t id = 0;
    int rc = gs_func_lookup(of(side)->ctx, (uint32_t)module, name, &id, NULL, NULL, 0);

    *function = id;
    return result_of(side, rc, name);
}

static uint32_t slot_offset(const struct gpu_job *job)
{
    return GS_ARENA_PARAMS + job->slot * VGPU_MAX_PARAM_BYTES;
}

static int guest_prepare(struct gpu_side *side, struct gpu_job *job)
{
    memcpy(of(side)->ctx->arena + slot_offset(job), job->params, job->param_bytes);
    return 0;
}

static int guest_launch(struct gpu_side *side, const struct gpu_job *job, uint64_t count)
{
    struct guest_side *g = of(side);
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_LAUNCH};

    sqe.u.launch = (struct vgpu_cmd_launch){
        .function = (uint32_t)job->function,
        .grid = {job->grid, 1, 1},
        .block = {(uint16_t)job->block, 1, 1},
        .param_bytes = job->param_bytes,
        .param_off = slot_offset(job),
    };
    for (uint64_t i = 0; i < count; i++) {
        if (put(side, &sqe) < 0)
            return -1;
        if (i % BATCH == BATCH - 1) {
            gs_flush(g->ctx);
            drain(g);
        }
    }
    gs_flush(g->ctx);
    return 0;
}

static int record(struct gpu_side *side, unsigned int which)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_EVENT_RECORD, .cookie = STAMP | which};

    sqe.u.event.id = of(side)->event[which];
    return put(side, &sqe);
}

static int guest_kernel_ns(struct gpu_side *side, const struct gpu_job *job, uint64_t count,
                           double *ns)
{
    struct guest_side *g = of(side);

    for (unsigned int i = 0; i < 2; i++) {
        if (!g->event[i] &&
            result_of(side, gs_event_create(g->ctx, &g->event[i]), "creating an event") < 0)
            return -1;
    }
    if (record(side, 0) < 0 || guest_launch(side, job, count) < 0 || record(side, 1) < 0 ||
        guest_sync(side) < 0)
        return -1;
    *ns = (double)(g->stamp[1] - g->stamp[0]);
    return 0;
}

static void guest_close(struct gpu_side *side)
{
    struct guest_side *g = of(side);

    if (side->host)
        gs_buf_destroy(&g->buf);
    if (g->ctx)
        gs_ctx_destroy(g->ctx);
    free(g);
}

struct gpu_side *gpu_side_vgpu(struct gs_vm *vm, size_t host_bytes)
{
    struct gs_ctx_config config = {.sq_log2 = 10, .poll_us = SPIN_US};
    struct guest_side *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->side = (struct gpu_side){
        .name = "vgpu",
        .host_bytes = host_bytes,
        .alloc = guest_alloc,
        .release = guest_release,
        .copy = guest_copy,
        .load = guest_load,
        .unload = guest_unload,
        .function = guest_function,
        .prepare = guest_prepare,
        .launch = guest_launch,
        .sync = guest_sync,
        .kernel_ns = guest_kernel_ns,
        .close = guest_close,
    };
    if (result_of(&g->side, gs_ctx_create(vm, &config, &g->ctx), "creating a context") < 0)
        goto fail;
    if (host_bytes) {
        if (result_of(&g->side, gs_buf_create(g->ctx, host_bytes, 0, VGPU_BUF_FLAGS, &g->buf),
                      "registering a buffer") < 0)
            goto fail;
        g->side.host = g->buf.ptr;
    }
    return &g->side;

fail:
    gpu_progress("%s", g->side.why);
    guest_close(&g->side);
    return NULL;
}
