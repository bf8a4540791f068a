/* SPDX-License-Identifier: MIT */
/*
 * Commands: submit, complete, wait.
 *
 * Submitting takes a free slot, writes the entry, publishes the index and rings if
 * the device asked for it.  Completions are drained by whoever waits, for everybody:
 * a drained completion frees its slot at once and either fills its waiter or, for
 * a detached command, does what the command left behind (give back the parameter
 * block, remember the failure, mark the event).
 *
 * Waiting: drain and look; poll the completion index for a while; then sleep in the
 * kernel until the index passes the one that was looked at.  The index is read
 * under the lock, so a completion drained by another thread in between has moved
 * it past ours and the kernel returns at once.  How long to poll adapts: it grows
 * while polling succeeds and shrinks while it does not.
 *
 * A waiter lives on its owner's stack.  The owner leaves only after the completion
 * was delivered, or after it took the waiter out of its slot under the lock.
 *
 * The device's words are not trusted further than needed: an index beyond the ring
 * makes the context unusable, a cookie that names no busy slot is dropped.
 */
#include "internal.h"
#include "vgpu_barrier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SPIN_MIN_NS     1000u
#define SPIN_LOOK_EVERY 64u        /* polls between two looks at the clock */
#define SPIN_KERNEL_NS  100000000u /* with NEVER_SLEEP: let the kernel check the device */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int engine_init(struct vgpu_ctx *ctx)
{
    ctx->nslots = 1u << ctx->setup.sq_log2;
    ctx->sq_mask = ctx->nslots - 1;
    ctx->cq_mask = (1u << ctx->setup.cq_log2) - 1;
    ctx->slots = calloc(ctx->nslots, sizeof(*ctx->slots));
    if (!ctx->slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < ctx->nslots; i++)
        ctx->slots[i].next_free = i + 1 < ctx->nslots ? i + 1 : SLOT_NONE;
    ctx->free_slot = 0;
    ctx->sq_prod = vgpu_load_relaxed(&ctx->rw->sq_prod);
    ctx->cq_cons = vgpu_load_relaxed(&ctx->rw->cq_cons);
    return 0;
}

void engine_fini(struct vgpu_ctx *ctx)
{
    free(ctx->slots);
    ctx->slots = NULL;
}

/* Acquire: the reason was written before the state.  Pairs with the guest kernel's
 * release in vgpu_ctx_mark_lost(). */
bool engine_is_lost(const struct vgpu_ctx *ctx)
{
    return vgpu_load_acquire(&ctx->ro->ctx_state) != VGPU_CTX_STATE_ACTIVE;
}

int engine_check(struct vgpu_ctx *ctx)
{
    if (ctx->fork_count != vgpu_fork_count())
        return vgpu_fail_errno(-EPERM);
    if (engine_is_lost(ctx))
        return vgpu_fail_lost(ctx);
    return 0;
}

/* ---- completion; all with the lock held ---- */

static void slot_free(struct vgpu_ctx *ctx, struct slot *slot)
{
    slot->busy = false;
    slot->waiter = NULL;
    slot->next_free = ctx->free_slot;
    ctx->free_slot = (uint32_t)(slot - ctx->slots);
}

static void slot_finish_detached(struct vgpu_ctx *ctx, struct slot *slot,
                                 const struct vgpu_cqe *cqe)
{
    const struct detached *det = &slot->det;

    if (det->arena_off != ARENA_NONE)
        arena_free_locked(ctx, det->arena_off);
    if (cqe->status != VGPU_ST_OK && det->error && !det->error->status)
        det->error->status = cqe->status;
    if (det->event && (int32_t)(det->event_seq - det->event->done_seq) > 0)
        det->event->done_seq = det->event_seq;
}

static void slot_complete(struct vgpu_ctx *ctx, const struct vgpu_cqe *cqe)
{
    const uint32_t idx = (uint32_t)cqe->cookie;
    struct slot *slot;

    if (idx >= ctx->nslots)
        return;
    slot = &ctx->slots[idx];
    if (!slot->busy || slot->uses != cqe->cookie >> 32)
        return;
    if (cqe->status != VGPU_ST_OK && vgpu_status_is_lost(cqe->status))
        __atomic_store_n(&ctx->doomed, true, __ATOMIC_RELAXED);
    if (slot->waiter) {
        slot->waiter->cqe = *cqe;
        slot->waiter->done = true;
    } else {
        slot_finish_detached(ctx, slot, cqe);
    }
    slot_free(ctx, slot);
}

static void engine_drain(struct vgpu_ctx *ctx)
{
    /* Acquire: entries are read after the index.  Pairs with the device's release of
     * cq_prod (R1). */
    const uint32_t prod = vgpu_load_acquire(&ctx->ro->cq_prod);

    if (prod == ctx->cq_cons)
        return;
    if (prod - ctx->cq_cons > ctx->cq_mask + 1) {
        ctx->broken = true;
        return;
    }
    while (ctx->cq_cons != prod) {
        struct vgpu_cqe cqe;

        memcpy(&cqe, (const void *)&ctx->cq[ctx->cq_cons & ctx->cq_mask], sizeof(cqe));
        ctx->cq_cons++;
        slot_complete(ctx, &cqe);
    }
    /* Release: entries were read before their slots go back (R2).  Pairs with the
     * device's acquire of cq_cons when it reserves a completion. */
    vgpu_store_release(&ctx->rw->cq_cons, ctx->cq_cons);
}

/* ---- waiting ---- */

/* Polls until something completed or the budget is used up. */
static bool spin_once(struct vgpu_ctx *ctx, uint32_t cons, uint64_t budget_ns)
{
    uint64_t until = 0;

    for (uint32_t i = 1;; i++) {
        if (vgpu_load_relaxed(&ctx->ro->cq_prod) != cons ||
            vgpu_load_relaxed(&ctx->ro->ctx_state) != VGPU_CTX_STATE_ACTIVE)
            return true;
        vgpu_pause();
        if (i % SPIN_LOOK_EVERY)
            continue;
        if (!until)
            until = now_ns() + budget_ns;
        else if (now_ns() > until)
            return false;
    }
}

static bool wait_by_polling(struct vgpu_ctx *ctx, uint32_t cons)
{
    uint32_t budget = vgpu_load_relaxed(&ctx->spin_ns);

    if (ctx->never_sleep)
        return spin_once(ctx, cons, SPIN_KERNEL_NS);
    if (!ctx->spin_max_ns)
        return false;
    if (spin_once(ctx, cons, budget)) {
        budget = budget * 2 < ctx->spin_max_ns ? budget * 2 : ctx->spin_max_ns;
        vgpu_store_relaxed(&ctx->spin_ns, budget);
        return true;
    }
    vgpu_store_relaxed(&ctx->spin_ns, budget / 2 > SPIN_MIN_NS ? budget / 2 : SPIN_MIN_NS);
    return false;
}

/* Sleeps until cq_prod passes @cons. */
static int wait_in_kernel(struct vgpu_ctx *ctx, uint32_t cons)
{
    struct vgpu_wait wait = {.timeout_ns = ctx->never_sleep ? 0 : UINT64_MAX, .cq_idx = cons};
    int err = ctx->sys.ioctl(ctx->sys.opaque, ctx->fd, VGPU_IOCTL_WAIT, &wait);

    return err == -EINTR || err == -ETIMEDOUT ? 0 : err;
}

/*
 * Waits until @is_done(ctx, arg), which is asked with the lock held after every
 * completion.  0, or -EIO when the context is lost first.
 */
int engine_wait(struct vgpu_ctx *ctx, bool (*is_done)(struct vgpu_ctx *, const void *),
                const void *arg)
{
    for (;;) {
        bool done, broken;
        uint32_t cons;
        int err;

        pthread_mutex_lock(&ctx->lock);
        engine_drain(ctx);
        done = is_done(ctx, arg);
        broken = ctx->broken;
        cons = ctx->cq_cons;
        pthread_mutex_unlock(&ctx->lock);

        if (done)
            return 0;
        if (broken)
            return vgpu_fail_errno(-EIO);
        if (engine_is_lost(ctx))
            return vgpu_fail_lost(ctx);
        if (wait_by_polling(ctx, cons))
            continue;
        err = wait_in_kernel(ctx, cons);
        if (err)
            return engine_is_lost(ctx) ? vgpu_fail_lost(ctx) : vgpu_fail_errno(err);
    }
}

static bool waiter_is_done(struct vgpu_ctx *ctx, const void *arg)
{
    return ((const struct waiter *)arg)->done;
}

/* Waits for one command.  After it returns the waiter is no longer referred to. */
int engine_wait_for(struct vgpu_ctx *ctx, struct waiter *waiter)
{
    int err = engine_wait(ctx, waiter_is_done, waiter);

    if (!err)
        return 0;
    pthread_mutex_lock(&ctx->lock);
    if (waiter->done) {
        err = 0; /* it came in the last moment */
    } else {
        /* Detached from here on, with nothing to do when it completes. */
        ctx->slots[waiter->slot].waiter = NULL;
        ctx->slots[waiter->slot].det = (struct detached){.arena_off = ARENA_NONE};
    }
    pthread_mutex_unlock(&ctx->lock);
    return err;
}

/* ---- submission ---- */

static bool has_free_slot(struct vgpu_ctx *ctx, const void *arg)
{
    return ctx->free_slot != SLOT_NONE;
}

/* Returns with the lock held and a free slot, or without both and an error. */
static int lock_with_slot(struct vgpu_ctx *ctx)
{
    int err = engine_check(ctx);

    if (err)
        return err;
    for (;;) {
        pthread_mutex_lock(&ctx->lock);
        if (ctx->free_slot == SLOT_NONE)
            engine_drain(ctx);
        if (ctx->free_slot != SLOT_NONE)
            return 0;
        pthread_mutex_unlock(&ctx->lock);
        err = engine_wait(ctx, has_free_slot, NULL);
        if (err)
            return err;
    }
}

static struct slot *slot_take(struct vgpu_ctx *ctx)
{
    struct slot *slot = &ctx->slots[ctx->free_slot];

    ctx->free_slot = slot->next_free;
    slot->busy = true;
    slot->uses++;
    return slot;
}

static void engine_push(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, const struct slot *slot)
{
    const uint32_t old = ctx->sq_prod;
    struct vgpu_sqe *entry = (struct vgpu_sqe *)&ctx->sq[old & ctx->sq_mask];

    memcpy(entry, sqe, sizeof(*entry));
    entry->cookie = (uint64_t)slot->uses << 32 | (uint32_t)(slot - ctx->slots);
    ctx->sq_prod = old + 1;
    /* Release: the entry before the index (R1).  Pairs with the device's acquire of sq_prod. */
    vgpu_store_release(&ctx->rw->sq_prod, ctx->sq_prod);
    /* Full: the index is visible before the event index is read (R3).  Pairs with the
     * device's fence between sq_event and its second look at sq_prod. */
    vgpu_full_fence();
    if (vgpu_ring_need_event(vgpu_load_relaxed(&ctx->ro->sq_event), ctx->sq_prod, old))
        vgpu_ring_doorbell(ctx->doorbell);
}

/* The caller must call engine_wait_for() on every waiter it submitted. */
int engine_submit(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, struct waiter *waiter)
{
    struct slot *slot;
    int err = lock_with_slot(ctx);

    if (err)
        return err;
    slot = slot_take(ctx);
    waiter->slot = (uint32_t)(slot - ctx->slots);
    waiter->done = false;
    slot->waiter = waiter;
    engine_push(ctx, sqe, slot);
    pthread_mutex_unlock(&ctx->lock);
    return 0;
}

/* On an error nothing was submitted and what @det names stays the caller's. */
int engine_submit_detached(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe,
                           const struct detached *det)
{
    struct slot *slot;
    int err = lock_with_slot(ctx);

    if (err)
        return err;
    slot = slot_take(ctx);
    slot->waiter = NULL;
    slot->det = *det;
    if (det->event)
        slot->det.event_seq = ++det->event->seq;
    engine_push(ctx, sqe, slot);
    pthread_mutex_unlock(&ctx->lock);
    return 0;
}

/* Submits and waits.  The completion's status becomes the result. */
int engine_run(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    struct waiter waiter;
    int err = engine_submit(ctx, sqe, &waiter);

    if (!err)
        err = engine_wait_for(ctx, &waiter);
    if (err)
        return err;
    if (cqe)
        *cqe = waiter.cqe;
    return vgpu_fail(waiter.cqe.status);
}

int vgpu_raw_command(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    struct waiter waiter;
    int err = engine_submit(ctx, sqe, &waiter);

    if (!err)
        err = engine_wait_for(ctx, &waiter);
    if (!err)
        *cqe = waiter.cqe;
    return err;
}
