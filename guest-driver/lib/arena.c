/* SPDX-License-Identifier: MIT */
/*
 * The argument arena (buffer 0): short-lived blocks for parameters, names, records
 * and small copies.
 *
 * Two sizes of blocks, each a stack of free ones, so that taking and giving back is
 * a few instructions under ctx->lock.  A block belongs to a command until that
 * completes; then it may be used again (spec 7.5).  When none is free the caller
 * waits for completions, which give blocks back.  A thread that frees a block by
 * itself while others wait submits an empty command, whose completion wakes them.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

/* Parameter blocks are 16-aligned; both sizes are. */
static int class_init(struct arena_class *cls, uint32_t block_bytes, uint32_t first_off,
                      uint32_t nblocks)
{
    cls->block_bytes = block_bytes;
    cls->first_off = first_off;
    cls->nblocks = nblocks;
    cls->free = calloc(nblocks ? nblocks : 1, sizeof(*cls->free));
    if (!cls->free)
        return -ENOMEM;
    for (uint32_t i = nblocks; i > 0; i--)
        cls->free[cls->nfree++] = first_off + (i - 1) * block_bytes;
    return 0;
}

/* Half of the arena each, but at least one large block. */
int arena_init(struct vgpu_ctx *ctx)
{
    uint32_t bytes = ctx->setup.arena_bytes;
    uint32_t nlarge = bytes / 2 / VGPU_ARENA_LARGE_BYTES;
    int err;

    if (nlarge == 0)
        nlarge = 1;
    err = class_init(&ctx->large, VGPU_ARENA_LARGE_BYTES, 0, nlarge);
    if (err)
        return err;
    return class_init(&ctx->small, VGPU_ARENA_SMALL_BYTES, nlarge * VGPU_ARENA_LARGE_BYTES,
                      (bytes - nlarge * VGPU_ARENA_LARGE_BYTES) / VGPU_ARENA_SMALL_BYTES);
}

void arena_fini(struct vgpu_ctx *ctx)
{
    free(ctx->small.free);
    free(ctx->large.free);
}

/* A small request may use a large block, never the other way round. */
static struct arena_class *class_for(struct vgpu_ctx *ctx, uint32_t bytes)
{
    if (bytes <= VGPU_ARENA_SMALL_BYTES && ctx->small.nblocks)
        return &ctx->small;
    return &ctx->large;
}

static bool class_has_free(struct vgpu_ctx *ctx, const void *arg)
{
    return ((const struct arena_class *)arg)->nfree > 0;
}

int arena_alloc(struct vgpu_ctx *ctx, uint32_t bytes, uint32_t *off)
{
    struct arena_class *cls = class_for(ctx, bytes);

    if (bytes > cls->block_bytes)
        return vgpu_fail_errno(-EINVAL);
    pthread_mutex_lock(&ctx->lock);
    while (cls->nfree == 0) {
        int err;

        ctx->arena_waiters++;
        pthread_mutex_unlock(&ctx->lock);
        err = engine_wait(ctx, class_has_free, cls);
        pthread_mutex_lock(&ctx->lock);
        ctx->arena_waiters--;
        if (err) {
            pthread_mutex_unlock(&ctx->lock);
            return err;
        }
    }
    *off = cls->free[--cls->nfree];
    pthread_mutex_unlock(&ctx->lock);
    return 0;
}

void arena_free_locked(struct vgpu_ctx *ctx, uint32_t off)
{
    struct arena_class *cls = off < ctx->small.first_off ? &ctx->large : &ctx->small;

    cls->free[cls->nfree++] = off;
}

void arena_free(struct vgpu_ctx *ctx, uint32_t off)
{
    static const struct vgpu_sqe nop = {.opcode = VGPU_CMD_NOP};
    static const struct detached nothing = {.arena_off = ARENA_NONE};
    bool wake;
    int err = 0;

    pthread_mutex_lock(&ctx->lock);
    arena_free_locked(ctx, off);
    wake = ctx->arena_waiters > 0;
    pthread_mutex_unlock(&ctx->lock);
    if (wake)
        err = engine_submit_detached(ctx, &nop, &nothing);
    (void)err; /* only a lost context refuses, and that wakes everybody */
}
