/* SPDX-License-Identifier: MIT */
/*
 * Device memory and copies.
 *
 * A copy of program memory takes the first way that fits:
 *   inside a registered range    one command on that buffer
 *   up to 4 KiB                  through a block of the argument arena
 *   2 MiB and more               registered for the time of the copy
 *   anything else                staged
 * Registrations are not cached: memory that was unmapped and mapped anew would
 * still be pinned at its old place, and copies would silently use that.
 *
 * Staging moves pieces through coherent buffers, two at a time, so that the
 * processor copies one while the device copies the other.  The pool is made at the
 * first use; if the kernel refuses it (RLIMIT_MEMLOCK) arena blocks serve.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define PIECES_MAX 2

struct piece {
    uint32_t buf;
    uint64_t off;
    uint8_t *addr;
    uint32_t bytes;
    int pool_idx; /* -1: an arena block */
};

/* One copy under way. */
struct transfer {
    struct vgpu_ctx *ctx;
    uint32_t stream;
    bool to_device;
    uint64_t dev;
    uint8_t *mem;
    size_t bytes;
    struct piece piece[PIECES_MAX];
    struct waiter waiter[PIECES_MAX];
    uint32_t part[PIECES_MAX]; /* bytes in flight in that piece, 0: idle */
    size_t at[PIECES_MAX];     /* where they belong */
    unsigned int npieces;
};

int copy_init(struct vgpu_ctx *ctx)
{
    pthread_mutex_init(&ctx->stage.lock, NULL);
    pthread_cond_init(&ctx->stage.freed, NULL);
    return 0;
}

void copy_fini(struct vgpu_ctx *ctx)
{
    pthread_cond_destroy(&ctx->stage.freed);
    pthread_mutex_destroy(&ctx->stage.lock);
}

/* ---- memory ---- */

int vgpu_mem_alloc(struct vgpu_ctx *ctx, uint64_t bytes, uint64_t *addr)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_ALLOC, .u.mem_alloc.bytes = bytes};
    struct vgpu_cqe cqe;
    int err = engine_run(ctx, &sqe, &cqe);

    if (!err)
        *addr = cqe.result;
    return err;
}

int vgpu_mem_free(struct vgpu_ctx *ctx, uint64_t addr)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_FREE, .u.mem_free.addr = addr};

    return addr ? engine_run(ctx, &sqe, NULL) : 0;
}

int vgpu_mem_info(struct vgpu_ctx *ctx, uint64_t *free_bytes, struct vgpu_mem_info *info)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_INFO};
    struct vgpu_cqe cqe;
    uint32_t off;
    int err = arena_alloc(ctx, sizeof(*info), &off);

    if (err)
        return err;
    sqe.u.mem_info.out_buf = VGPU_BUF_ARENA;
    sqe.u.mem_info.out_off = off;
    err = engine_run(ctx, &sqe, &cqe);
    if (!err && info)
        memcpy(info, ctx->arena + off, sizeof(*info));
    if (!err)
        *free_bytes = cqe.result;
    arena_free(ctx, off);
    return err;
}

static int run_detached(struct vgpu_ctx *ctx, struct vgpu_stream *stream, struct vgpu_sqe *sqe)
{
    struct detached det = {.arena_off = ARENA_NONE, .error = stream_error(ctx, stream)};

    sqe->stream = stream_id(stream);
    return engine_submit_detached(ctx, sqe, &det);
}

int vgpu_memset(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t addr, uint32_t value,
                uint32_t width, uint64_t count)
{
    struct vgpu_sqe sqe = {
        .opcode = VGPU_CMD_MEMSET,
        .u.memset = {.dev_addr = addr, .count = count, .value = value, .width = width}};

    return run_detached(ctx, stream, &sqe);
}

int vgpu_copy_d2d(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst, uint64_t src,
                  uint64_t bytes)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_COPY_D2D,
                           .u.copy_d2d = {.dst = dst, .src = src, .bytes = bytes}};

    return run_detached(ctx, stream, &sqe);
}

static struct vgpu_sqe copy_sqe(bool to_device, uint64_t dev, uint32_t buf, uint64_t off,
                                uint64_t bytes)
{
    return (struct vgpu_sqe){
        .opcode = to_device ? VGPU_CMD_COPY_H2D : VGPU_CMD_COPY_D2H,
        .u.copy = {.dev_addr = dev, .buf_off = off, .bytes = bytes, .buf = buf}};
}

int vgpu_copy_h2d_async(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst,
                        struct vgpu_host *src, uint64_t offset, uint64_t bytes)
{
    struct vgpu_sqe sqe = copy_sqe(true, dst, src->buf, offset, bytes);

    return run_detached(ctx, stream, &sqe);
}

int vgpu_copy_d2h_async(struct vgpu_ctx *ctx, struct vgpu_stream *stream, struct vgpu_host *dst,
                        uint64_t offset, uint64_t src, uint64_t bytes)
{
    struct vgpu_sqe sqe = copy_sqe(false, src, dst->buf, offset, bytes);

    return run_detached(ctx, stream, &sqe);
}

/* ---- staging pool ---- */

static struct piece pool_piece(struct vgpu_ctx *ctx, int idx)
{
    uint64_t off = (uint64_t)idx * VGPU_STAGE_BYTES;

    return (struct piece){.buf = ctx->stage.host->buf,
                          .off = off,
                          .addr = ctx->stage.host->addr + off,
                          .bytes = VGPU_STAGE_BYTES,
                          .pool_idx = idx};
}

/* One or two pieces of the pool; waits for one.  False: there is no pool. */
static bool pool_take(struct transfer *tr)
{
    struct vgpu_ctx *ctx = tr->ctx;
    bool is_there;

    pthread_mutex_lock(&ctx->stage.lock);
    if (!ctx->stage.host &&
        !host_alloc(ctx, (size_t)VGPU_STAGE_PIECES * VGPU_STAGE_BYTES, true, &ctx->stage.host))
        ctx->stage.free_mask = (1u << VGPU_STAGE_PIECES) - 1;
    is_there = ctx->stage.host;
    while (is_there && !ctx->stage.free_mask)
        pthread_cond_wait(&ctx->stage.freed, &ctx->stage.lock);
    while (is_there && ctx->stage.free_mask && tr->npieces < PIECES_MAX) {
        int idx = __builtin_ctz(ctx->stage.free_mask);

        ctx->stage.free_mask &= ctx->stage.free_mask - 1;
        tr->piece[tr->npieces++] = pool_piece(ctx, idx);
    }
    pthread_mutex_unlock(&ctx->stage.lock);
    return is_there;
}

static int transfer_take_pieces(struct transfer *tr)
{
    uint32_t off;
    int err;

    if (tr->bytes > VGPU_ARENA_LARGE_BYTES && pool_take(tr))
        return 0;
    err = arena_alloc(tr->ctx, VGPU_ARENA_LARGE_BYTES, &off);
    if (err)
        return err;
    tr->piece[tr->npieces++] = (struct piece){.buf = VGPU_BUF_ARENA,
                                              .off = off,
                                              .addr = tr->ctx->arena + off,
                                              .bytes = VGPU_ARENA_LARGE_BYTES,
                                              .pool_idx = -1};
    return 0;
}

static void transfer_return_pieces(struct transfer *tr)
{
    struct vgpu_ctx *ctx = tr->ctx;

    for (unsigned int i = 0; i < tr->npieces; i++) {
        if (tr->piece[i].pool_idx < 0) {
            arena_free(ctx, (uint32_t)tr->piece[i].off);
            continue;
        }
        pthread_mutex_lock(&ctx->stage.lock);
        ctx->stage.free_mask |= 1u << tr->piece[i].pool_idx;
        pthread_cond_broadcast(&ctx->stage.freed);
        pthread_mutex_unlock(&ctx->stage.lock);
    }
}

/* ---- one staged copy ---- */

/* Waits for a piece; what came from the device goes to the program if all is well. */
static int transfer_finish(struct transfer *tr, unsigned int k)
{
    uint32_t part = tr->part[k];
    int err;

    if (!part)
        return 0;
    tr->part[k] = 0;
    err = engine_wait_for(tr->ctx, &tr->waiter[k]);
    if (!err)
        err = vgpu_fail(tr->waiter[k].cqe.status);
    if (!err && !tr->to_device)
        memcpy(tr->mem + tr->at[k], tr->piece[k].addr, part);
    return err;
}

static int transfer_start(struct transfer *tr, unsigned int k, size_t at)
{
    struct piece *piece = &tr->piece[k];
    uint32_t part = tr->bytes - at < piece->bytes ? (uint32_t)(tr->bytes - at) : piece->bytes;
    struct vgpu_sqe sqe = copy_sqe(tr->to_device, tr->dev + at, piece->buf, piece->off, part);
    int err;

    sqe.stream = tr->stream;
    if (tr->to_device)
        memcpy(piece->addr, tr->mem + at, part);
    err = engine_submit(tr->ctx, &sqe, &tr->waiter[k]);
    if (err)
        return err;
    tr->part[k] = part;
    tr->at[k] = at;
    return 0;
}

static int transfer_run(struct transfer *tr)
{
    unsigned int k = 0;
    size_t at = 0;
    uint16_t status = VGPU_ST_OK;
    int err = 0, err2;

    while (at < tr->bytes && !err) {
        err = transfer_finish(tr, k);
        if (!err)
            err = transfer_start(tr, k, at);
        if (!err)
            at += tr->part[k];
        k = (k + 1) % tr->npieces;
    }
    if (err)
        status = vgpu_last_status();
    /* Waiters are ours: each must end, and the oldest comes first. */
    for (unsigned int i = 0; i < tr->npieces; i++, k = (k + 1) % tr->npieces) {
        err2 = transfer_finish(tr, k);
        if (err2 && !err) {
            err = err2;
            status = vgpu_last_status();
        }
    }
    if (err)
        vgpu_fail_errno(0);
    if (err && status != VGPU_ST_OK)
        vgpu_fail(status);
    return err;
}

static int copy_staged(struct vgpu_ctx *ctx, struct vgpu_stream *stream, bool to_device,
                       uint64_t dev, void *mem, size_t bytes)
{
    struct transfer tr = {.ctx = ctx,
                          .stream = stream_id(stream),
                          .to_device = to_device,
                          .dev = dev,
                          .mem = mem,
                          .bytes = bytes};
    int err = transfer_take_pieces(&tr);

    if (err)
        return err;
    err = transfer_run(&tr);
    transfer_return_pieces(&tr);
    return err;
}

static int copy_direct(struct vgpu_ctx *ctx, struct vgpu_stream *stream, bool to_device,
                       uint64_t dev, const struct vgpu_host *host, uint64_t off, size_t bytes)
{
    struct vgpu_sqe sqe = copy_sqe(to_device, dev, host->buf, off, bytes);

    sqe.stream = stream_id(stream);
    return engine_run(ctx, &sqe, NULL);
}

static int copy_any(struct vgpu_ctx *ctx, struct vgpu_stream *stream, bool to_device, uint64_t dev,
                    void *mem, size_t bytes)
{
    uint32_t flags = to_device ? VGPU_BUF_DEVICE_READS : VGPU_BUF_DEVICE_WRITES;
    struct vgpu_host *host;
    uint64_t off;
    int err = engine_check(ctx);

    if (err || bytes == 0)
        return err;
    host = host_find(ctx, mem, bytes, flags, &off);
    if (host)
        return copy_direct(ctx, stream, to_device, dev, host, off, bytes);
    /* A refused registration (limits, odd memory) is no reason to fail: stage. */
    if (bytes >= VGPU_REGISTER_MIN && !ctx->always_stage &&
        !vgpu_host_register(ctx, mem, bytes, flags, &host)) {
        uint16_t status;
        int err2;

        err = copy_direct(ctx, stream, to_device, dev, host, 0, bytes);
        status = vgpu_last_status();
        err2 = vgpu_host_free(host);
        if (err && status != VGPU_ST_OK)
            vgpu_fail(status);
        return err ? err : err2;
    }
    return copy_staged(ctx, stream, to_device, dev, mem, bytes);
}

int vgpu_copy_h2d(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst, const void *src,
                  size_t bytes)
{
    return copy_any(ctx, stream, true, dst, (void *)src, bytes);
}

int vgpu_copy_d2h(struct vgpu_ctx *ctx, struct vgpu_stream *stream, void *dst, uint64_t src,
                  size_t bytes)
{
    uint64_t mark = output_mark(ctx);
    int err = copy_any(ctx, stream, false, src, dst, bytes);

    if (!err)
        output_flush(ctx, mark, false);
    return err;
}
