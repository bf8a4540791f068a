/* SPDX-License-Identifier: MIT */
/*
 * guestsim: rings and contexts.
 *
 * A context is what one open of /dev/vgpu0 is in a real guest.  Waiting follows
 * the driver's protocol to the letter: spin for poll_us, then arm cq_event, full
 * fence, look once more, sleep on the vector's eventfd.  While asleep only an
 * interrupt makes it look at the queue again; if the time is up and the completion
 * lies there all the same, the interrupt was missed and -ENOMSG says so.
 *
 * Vectors are shared by contexts once there are more of them than vectors.
 * Whoever takes an interrupt off the vector's eventfd passes it on to the other
 * contexts of the vector, so none waits for an event that somebody else consumed.
 */
#include "guestsim.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CTX_LOG2        8
#define CTX_ARENA_BYTES (256u << 10)
#define SLEEP_SLICE_MS  20 /* between looks at the lost bitmap, never at the queue */

void gs_ring_init(struct gs_ring *ring, void *block, unsigned int sq_log2, unsigned int cq_log2,
                  uint32_t first)
{
    uint8_t *base = block;

    ring->ro = block;
    ring->cq = (struct vgpu_cqe *)(base + vgpu_queue_cq_offset());
    ring->rw = (struct vgpu_queue_rw *)(base + vgpu_queue_rw_offset(cq_log2));
    ring->sq = (struct vgpu_sqe *)(base + vgpu_queue_sq_offset(cq_log2));
    ring->sq_mask = (1u << sq_log2) - 1;
    ring->cq_mask = (1u << cq_log2) - 1;
    ring->sq_prod = ring->sq_published = ring->sq_cons = first;
    ring->cq_prod = ring->cq_cons = first;
    ring->ro->cq_prod = ring->ro->sq_cons = ring->ro->sq_event = ring->ro->cq_event = first;
    ring->rw->sq_prod = ring->rw->cq_cons = first;
}

/* ---- Create and destroy ---- */

static int ctx_reserve(struct gs_vm *vm, struct gs_ctx *ctx, unsigned int vector)
{
    int rc = -ENOSPC;

    pthread_mutex_lock(&vm->ctx_lock);
    for (uint32_t id = 0; id < vm->max_contexts; id++) {
        if (vm->ctxs[id])
            continue;
        vm->ctxs[id] = ctx;
        ctx->id = id;
        ctx->vector = vector ? vector : VGPU_VECTOR_CTX_FIRST + id % (vm->vectors - 1);
        rc = 0;
        break;
    }
    pthread_mutex_unlock(&vm->ctx_lock);
    return rc;
}

static void ctx_free(struct gs_ctx *ctx)
{
    struct gs_vm *vm = ctx->vm;

    pthread_mutex_lock(&vm->ctx_lock);
    if (vm->ctxs[ctx->id] == ctx)
        vm->ctxs[ctx->id] = NULL;
    pthread_mutex_unlock(&vm->ctx_lock);
    gs_ram_free(&vm->ram, ctx->block, ctx->block_bytes);
    gs_ram_free(&vm->ram, ctx->arena, ctx->arena_bytes);
    if (ctx->peer_fd >= 0)
        close(ctx->peer_fd);
    free(ctx->stash);
    free(ctx);
}

int gs_ctx_create(struct gs_vm *vm, const struct gs_ctx_config *config, struct gs_ctx **out)
{
    static const struct gs_ctx_config defaults;
    const struct gs_ctx_config *cfg = config ? config : &defaults;
    struct gs_ctx *ctx = calloc(1, sizeof(*ctx));
    unsigned int sq_log2 = cfg->sq_log2 ? cfg->sq_log2 : CTX_LOG2;
    unsigned int cq_log2 = cfg->cq_log2 ? cfg->cq_log2 : sq_log2;
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_CREATE};
    int rc;

    if (!ctx)
        return -ENOMEM;
    rc = ctx_reserve(vm, ctx, cfg->vector);
    if (rc) {
        free(ctx);
        return rc;
    }
    ctx->vm = vm;
    ctx->poll_us = cfg->poll_us;
    ctx->next_cookie = 1;
    ctx->next_buf = 1;
    ctx->arena_bytes = cfg->arena_bytes ? cfg->arena_bytes : CTX_ARENA_BYTES;
    ctx->block_bytes = vgpu_queue_bytes(cq_log2, sq_log2);
    ctx->block = gs_ram_alloc(&vm->ram, ctx->block_bytes);
    ctx->arena = gs_ram_alloc(&vm->ram, ctx->arena_bytes);
    ctx->stash = calloc(GS_STASH, sizeof(*ctx->stash));
    ctx->peer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = -ENOMEM;
    if (!ctx->block || !ctx->arena || !ctx->stash || ctx->peer_fd < 0)
        goto err_free;
    gs_ring_init(&ctx->ring, ctx->block, sq_log2, cq_log2, cfg->first_idx);
    ctx->ring.ro->ctx_state = VGPU_CTX_STATE_ACTIVE;
    ctx->ring.ro->generation = vm->generation;
    sqe.cookie = 0xc0000000u | ctx->id;
    sqe.u.ctx_create = (struct vgpu_admin_ctx_create){
        .queue_addr = gs_ram_dma(&vm->ram, ctx->block),
        .arena_addr = gs_ram_dma(&vm->ram, ctx->arena),
        .ctx = ctx->id,
        .arena_bytes = ctx->arena_bytes,
        .vector = (uint16_t)ctx->vector,
        .sq_log2 = (uint8_t)sq_log2,
        .cq_log2 = (uint8_t)cq_log2,
    };
    rc = gs_admin(vm, &sqe, NULL);
    if (rc)
        goto err_free;
    *out = ctx;
    return 0;

err_free:
    ctx_free(ctx);
    return rc;
}

int gs_ctx_destroy(struct gs_ctx *ctx)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_DESTROY, .cookie = 0xd0000000u | ctx->id};
    int rc;

    sqe.u.ctx_destroy.ctx = ctx->id;
    rc = gs_admin(ctx->vm, &sqe, NULL);
    ctx_free(ctx);
    return rc;
}

void gs_ctx_forget(struct gs_ctx *ctx)
{
    ctx_free(ctx);
}

int gs_ctx_status(struct gs_ctx *ctx, struct vgpu_ctx_status *status)
{
    return gs_admin_query(ctx->vm, VGPU_QUERY_CTX, ctx->id, status, sizeof(*status));
}

int gs_ctx_wait_lost(struct gs_ctx *ctx, struct vgpu_ctx_status *status)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    int rc;

    while (!gs_ctx_is_lost(ctx->vm, ctx->id)) {
        if (gs_now_ns() > deadline)
            return -ETIMEDOUT;
        poll(NULL, 0, 1);
    }
    if (ctx->vm->vfu.dead)
        return -ECONNRESET;
    rc = gs_ctx_status(ctx, status);
    if (rc)
        return rc < 0 ? rc : -EPROTO;
    if (status->state != VGPU_CTX_STATE_LOST)
        return -EPROTO;
    return (int)status->status;
}

/* ---- Submitting ---- */

int gs_submit(struct gs_ctx *ctx, const struct vgpu_sqe *sqe, uint64_t *cookie)
{
    struct vgpu_sqe *slot = gs_ring_slot(&ctx->ring);

    if (!slot)
        return -EAGAIN;
    memcpy(slot, sqe, sizeof(*slot));
    slot->cookie = ctx->next_cookie++;
    if (cookie)
        *cookie = slot->cookie;
    return 0;
}

void gs_flush(struct gs_ctx *ctx)
{
    if (gs_ring_publish(&ctx->ring))
        gs_vm_ring(ctx->vm, ctx->id);
}

/* ---- Waiting ---- */

/* Pass an interrupt on to the other contexts of the vector. */
static void ctx_forward_irq(struct gs_ctx *ctx)
{
    static const uint64_t one = 1;
    struct gs_vm *vm = ctx->vm;

    pthread_mutex_lock(&vm->ctx_lock);
    for (uint32_t id = 0; id < vm->max_contexts; id++) {
        struct gs_ctx *peer = vm->ctxs[id];

        if (peer && peer != ctx && peer->vector == ctx->vector && peer->peer_fd >= 0 &&
            write(peer->peer_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
            abort();
    }
    pthread_mutex_unlock(&vm->ctx_lock);
}

/* Sleep until an interrupt: true; false when the slice passed without one. */
static bool ctx_sleep(struct gs_ctx *ctx)
{
    struct pollfd pfds[2] = {{.fd = ctx->vm->irq_fds[ctx->vector], .events = POLLIN},
                             {.fd = ctx->peer_fd, .events = POLLIN}};
    bool woken = false;
    uint64_t count;

    if (poll(pfds, 2, SLEEP_SLICE_MS) <= 0)
        return false;
    /* A swap meanwhile leaves us on the old eventfd for one slice, the device's signal for the
     * swap then waits in the new one. */
    if (pfds[0].revents & POLLIN && read(pfds[0].fd, &count, sizeof(count)) == sizeof(count)) {
        ctx_forward_irq(ctx);
        woken = true;
    }
    if (pfds[1].revents & POLLIN && read(ctx->peer_fd, &count, sizeof(count)) == sizeof(count))
        woken = true;
    ctx->interrupts += woken;
    return woken;
}

static const struct vgpu_cqe *ctx_spin(struct gs_ctx *ctx)
{
    const struct vgpu_cqe *cqe = gs_ring_peek(&ctx->ring);
    uint64_t end;

    if (cqe || !ctx->poll_us)
        return cqe;
    end = gs_now_ns() + (uint64_t)ctx->poll_us * 1000u;
    do {
        for (unsigned int i = 0; i < 64 && !cqe; i++) {
            __builtin_ia32_pause();
            cqe = gs_ring_peek(&ctx->ring);
        }
    } while (!cqe && gs_now_ns() < end);
    return cqe;
}

static int ctx_next(struct gs_ctx *ctx, struct vgpu_cqe *out, uint64_t deadline)
{
    bool look = true;

    for (;;) {
        const struct vgpu_cqe *cqe = NULL;

        if (look) {
            cqe = ctx_spin(ctx);
            if (!cqe && gs_ring_arm(&ctx->ring))
                cqe = gs_ring_peek(&ctx->ring);
        }
        if (cqe) {
            *out = *cqe;
            gs_ring_release(&ctx->ring, 1);
            return 0;
        }
        look = ctx_sleep(ctx);
        if (look)
            continue;
        if (gs_ctx_is_lost(ctx->vm, ctx->id)) {
            /* What was completed before the loss is still valid. */
            if (gs_ring_peek(&ctx->ring)) {
                look = true;
                continue;
            }
            return ctx->vm->vfu.dead ? -ECONNRESET : -EOWNERDEAD;
        }
        if (gs_now_ns() >= deadline)
            return gs_ring_peek(&ctx->ring) ? -ENOMSG : -ETIMEDOUT;
    }
}

int gs_wait_any(struct gs_ctx *ctx, struct vgpu_cqe *cqe, unsigned int timeout_ms)
{
    if (ctx->stash_count) {
        *cqe = ctx->stash[0];
        ctx->stash_count--;
        memmove(ctx->stash, ctx->stash + 1, ctx->stash_count * sizeof(*ctx->stash));
        return 0;
    }
    return ctx_next(ctx, cqe, gs_deadline(timeout_ms));
}

int gs_wait(struct gs_ctx *ctx, uint64_t cookie, struct vgpu_cqe *cqe)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    struct vgpu_cqe local;
    int rc;

    for (uint32_t i = 0; i < ctx->stash_count; i++) {
        if (ctx->stash[i].cookie != cookie)
            continue;
        local = ctx->stash[i];
        ctx->stash_count--;
        memmove(ctx->stash + i, ctx->stash + i + 1, (ctx->stash_count - i) * sizeof(*ctx->stash));
        goto found;
    }
    for (;;) {
        rc = ctx_next(ctx, &local, deadline);
        if (rc)
            return rc;
        if (local.cookie == cookie)
            goto found;
        if (ctx->stash_count == GS_STASH)
            return -ENOBUFS;
        ctx->stash[ctx->stash_count++] = local;
    }
found:
    if (cqe)
        *cqe = local;
    return local.status;
}

int gs_run(struct gs_ctx *ctx, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    uint64_t cookie;
    int rc = gs_submit(ctx, sqe, &cookie);

    if (rc)
        return rc;
    gs_flush(ctx);
    return gs_wait(ctx, cookie, cqe);
}
