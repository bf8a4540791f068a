/* SPDX-License-Identifier: MIT */
/*
 * The transport: null commands and copies through a real vgpud, driven the way a
 * guest program drives its mapped queue.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARM_UP    2000
#define RATE_BATCH 64 /* submissions published together */

static void fill_nop(struct vgpu_sqe *sqe, uint64_t cookie)
{
    memset(sqe, 0, sizeof(*sqe));
    sqe->cookie = cookie;
}

/* Spin until a completion is there; false after a second without. */
static const struct vgpu_cqe *spin(struct gs_ring *ring)
{
    const struct vgpu_cqe *cqe;
    uint64_t give_up = 0;

    for (;;) {
        for (unsigned int i = 0; i < 100000; i++) {
            cqe = gs_ring_peek(ring);
            if (__builtin_expect(cqe != NULL, 1))
                return cqe;
            __builtin_ia32_pause();
        }
        if (!give_up)
            give_up = gs_deadline(1000);
        else if (gs_now_ns() > give_up)
            return NULL;
    }
}

static bool polled_once(struct gs_ctx *ctx, uint64_t cookie)
{
    struct vgpu_sqe *slot = gs_ring_slot(&ctx->ring);
    const struct vgpu_cqe *cqe;
    bool ok;

    if (!slot)
        return false;
    fill_nop(slot, cookie);
    gs_flush(ctx);
    cqe = spin(&ctx->ring);
    ok = cqe && cqe->cookie == cookie && cqe->status == VGPU_ST_OK;
    if (cqe)
        gs_ring_release(&ctx->ring, 1);
    return ok;
}

double bench_null_polled(struct gs_ctx *ctx, size_t rounds)
{
    struct bench_samples *s = bench_samples_create(rounds);
    uint64_t before;
    double p50 = -1;
    bool ok = true;

    if (!s)
        return -1;
    bench_pin(0);
    for (size_t i = 0; i < WARM_UP && ok; i++)
        ok = polled_once(ctx, i);
    before = gs_now_ns();
    for (size_t i = 0; i < rounds && ok; i++) {
        uint64_t now;

        ok = polled_once(ctx, i);
        now = gs_now_ns();
        bench_sample(s, now - before);
        before = now;
    }
    bench_unpin();
    if (ok)
        p50 = bench_percentile(s, 50);
    bench_samples_destroy(s);
    return p50;
}

/* Both sides asleep in between: doorbell eventfd one way, interrupt eventfd back. */
static bool sleeping_once(struct gs_ctx *ctx, uint64_t cookie)
{
    struct vgpu_sqe *slot = gs_ring_slot(&ctx->ring);
    const struct vgpu_cqe *cqe;
    uint64_t count;
    bool ok;

    if (!slot)
        return false;
    fill_nop(slot, cookie);
    (void)gs_ring_arm(&ctx->ring); /* nothing is in flight: asks for the one to come */
    gs_flush(ctx);
    while ((cqe = gs_ring_peek(&ctx->ring)) == NULL) {
        if (read(ctx->vm->irq_fds[ctx->vector], &count, sizeof(count)) < 0 && errno != EINTR)
            return false;
    }
    ok = cqe->cookie == cookie && cqe->status == VGPU_ST_OK;
    gs_ring_release(&ctx->ring, 1);
    return ok;
}

double bench_null_sleeping(struct gs_ctx *ctx, size_t rounds, double percentile)
{
    struct bench_samples *s = bench_samples_create(rounds);
    double result = -1;
    bool ok = true;

    if (!s)
        return -1;
    bench_pin(0);
    for (size_t i = 0; i < WARM_UP / 8 && ok; i++)
        ok = sleeping_once(ctx, i);
    for (size_t i = 0; i < rounds && ok; i++) {
        uint64_t before = gs_now_ns();

        ok = sleeping_once(ctx, i);
        bench_sample(s, gs_now_ns() - before);
    }
    bench_unpin();
    if (ok)
        result = bench_percentile(s, percentile);
    bench_samples_destroy(s);
    return result;
}

double bench_null_rate(struct gs_ctx *ctx, unsigned int ms)
{
    struct gs_ring *ring = &ctx->ring;
    uint64_t sent = 0, seen = 0, bad = 0, start, end, now, looks = 0;

    bench_pin(0);
    start = gs_now_ns();
    end = start + (uint64_t)ms * 1000000u;
    do {
        const struct vgpu_cqe *cqe;
        uint32_t taken = 0;

        for (unsigned int i = 0; i < RATE_BATCH; i++) {
            struct vgpu_sqe *slot = gs_ring_slot(ring);

            if (!slot)
                break;
            fill_nop(slot, sent++);
        }
        gs_flush(ctx);
        while (taken < 4 * RATE_BATCH && (cqe = gs_ring_peek(ring)) != NULL) {
            bad += cqe->cookie != seen++ || cqe->status != VGPU_ST_OK;
            ring->cq_cons++;
            taken++;
        }
        if (taken)
            gs_ring_release(ring, 0);
        else
            __builtin_ia32_pause();
        now = ++looks % 16 ? start : gs_now_ns();
    } while (now < end);
    while (seen < sent) {
        const struct vgpu_cqe *cqe = spin(ring);

        if (!cqe)
            return -1;
        bad += cqe->cookie != seen++ || cqe->status != VGPU_ST_OK;
        gs_ring_release(ring, 1);
    }
    end = gs_now_ns();
    bench_unpin();
    return bad ? -1 : (double)seen * 1e9 / (double)(end - start);
}

double bench_copy(struct gs_ctx *ctx, const struct gs_buf *buf, uint64_t dev, bool to_device,
                  unsigned int rounds)
{
    struct bench_samples *s = bench_samples_create(rounds);
    double p50 = -1;
    int rc = 0;

    if (!s)
        return -1;
    for (unsigned int i = 0; i < rounds && !rc; i++) {
        uint64_t before = gs_now_ns();

        rc = to_device ? gs_copy_h2d(ctx, dev, buf, 0, buf->bytes)
                       : gs_copy_d2h(ctx, buf, 0, dev, buf->bytes);
        bench_sample(s, gs_now_ns() - before);
    }
    if (!rc)
        p50 = (double)buf->bytes * 1e9 / bench_percentile(s, 50);
    bench_samples_destroy(s);
    return p50;
}
