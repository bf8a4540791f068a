/* SPDX-License-Identifier: MIT */
/*
 * What kernels print (spec 10.4): read from the device and handed to the program.
 *
 * The device keeps the text until it is asked, so a program that never prints must not pay for
 * asking.  A kernel's attributes say whether it may print; launches of such kernels are counted, and
 * a call that waited for work asks only if there was one since the text of all earlier ones was
 * read.  vgpu_sync() alone knows that everything before it has ended, so it alone moves
 * that mark; a call that waits for one stream asks and leaves the mark.
 *
 * One thread reads at a time, under a lock of its own, so the text arrives in order; the
 * program's function is called under it and must not use the context.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>

/* Reads in a row, at most: as much as the device keeps, twice.  A kernel of another
 * stream that prints without end must not hold a synchronisation up for ever. */
#define OUTPUT_MAX_READS (2 * VGPU_OUTPUT_BYTES / VGPU_ARENA_LARGE_BYTES)

static void output_to_stdout(void *opaque, const char *text, size_t bytes, uint64_t lost)
{
    if (lost)
        fprintf(stderr,
                "vgpu: %llu bytes of the device's output were lost: synchronise more often\n",
                (unsigned long long)lost);
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
}

void output_init(struct vgpu_ctx *ctx)
{
    pthread_mutex_init(&ctx->output.lock, NULL);
    ctx->output.fn = output_to_stdout;
}

void output_fini(struct vgpu_ctx *ctx)
{
    pthread_mutex_destroy(&ctx->output.lock);
}

void output_launched(struct vgpu_ctx *ctx)
{
    __atomic_fetch_add(&ctx->output.launches, 1, __ATOMIC_RELAXED);
}

uint64_t output_mark(struct vgpu_ctx *ctx)
{
    return __atomic_load_n(&ctx->output.launches, __ATOMIC_RELAXED);
}

/* One read.  *more: the device may have more. */
static int output_read_locked(struct vgpu_ctx *ctx, uint32_t off, bool *more)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_OUTPUT_READ};
    struct vgpu_cqe cqe;
    int err;

    sqe.u.output_read.out_off = off;
    sqe.u.output_read.out_buf = VGPU_BUF_ARENA;
    sqe.u.output_read.out_bytes = VGPU_ARENA_LARGE_BYTES;
    err = engine_run(ctx, &sqe, &cqe);
    if (err)
        return err;
    if (cqe.result > VGPU_ARENA_LARGE_BYTES)
        return vgpu_fail_errno(-EIO);
    if (cqe.result || cqe.aux)
        ctx->output.fn(ctx->output.opaque, (const char *)ctx->arena + off, (size_t)cqe.result,
                       cqe.aux);
    *more = cqe.result == VGPU_ARENA_LARGE_BYTES;
    return 0;
}

static int output_drain(struct vgpu_ctx *ctx)
{
    bool more = true;
    uint32_t off;
    int err = arena_alloc(ctx, VGPU_ARENA_LARGE_BYTES, &off);

    if (err)
        return err;
    for (uint32_t i = 0; !err && more && i < OUTPUT_MAX_READS; i++)
        err = output_read_locked(ctx, off, &more);
    arena_free(ctx, off);
    return err;
}

void output_flush(struct vgpu_ctx *ctx, uint64_t mark, bool all_ended)
{
    uint16_t status = vgpu_last_status();

    if (__atomic_load_n(&ctx->output.read, __ATOMIC_RELAXED) >= mark)
        return;
    pthread_mutex_lock(&ctx->output.lock);
    if (ctx->output.read < mark && !output_drain(ctx) && all_ended)
        __atomic_store_n(&ctx->output.read, mark, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&ctx->output.lock);
    /* What the caller waited for decides its result, not this. */
    vgpu_fail_errno(0);
    vgpu_fail(status);
}

int vgpu_set_output(struct vgpu_ctx *ctx, vgpu_output_fn *fn, void *opaque)
{
    int err = engine_check(ctx);

    if (err)
        return err;
    pthread_mutex_lock(&ctx->output.lock);
    ctx->output.fn = fn ? fn : output_to_stdout;
    ctx->output.opaque = fn ? opaque : NULL;
    pthread_mutex_unlock(&ctx->output.lock);
    return 0;
}

int vgpu_output_flush(struct vgpu_ctx *ctx)
{
    int err = engine_check(ctx);

    if (err)
        return err;
    pthread_mutex_lock(&ctx->output.lock);
    err = output_drain(ctx);
    pthread_mutex_unlock(&ctx->output.lock);
    return err;
}
