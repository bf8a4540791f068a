/* SPDX-License-Identifier: MIT */
/*
 * Contexts and buffers: the commands that make and end them, and the answers.
 *
 *   context   FREE -> CREATING -> LIVE -> DESTROYING -> FREE
 *                        \_________________/      \-> FREE (creation failed)
 *   buffer    FREE -> REGISTERING -> LIVE -> UNREGISTERING -> FREE
 *
 * `lost` is a flag beside the context's state: a lost context still exists, its memory is
 * released by BUF_UNREGISTER and CTX_DESTROY like that of any other, and those complete only
 * when its executor has been reaped.
 *
 * CTX_DESTROY is accepted as soon as CTX_CREATE has been consumed and overtakes whatever
 * is still owed to the context: when the executor has been reaped, creations and
 * registrations not yet answered complete with DESTROYED, unregistrations with
 * OK (nothing can touch the memory any more), then the destruction itself.
 *
 * FAILED leaves contexts and executors as they are, answers are still taken (there is
 * no queue to complete on).  RESETTING has dropped everything: what still comes is ignored.
 */
#include <device/internal.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* NULL: out of range or FREE. */
static struct vgpu_ctx *ctx_find(const struct vgpu_dev *dev, uint32_t ctx)
{
    if (ctx >= dev->cfg.max_contexts || dev->ctxs[ctx].state == VGPU_CTX_FREE)
        return NULL;
    return &dev->ctxs[ctx];
}

bool vgpu_ctx_exists(const struct vgpu_dev *dev, uint32_t ctx)
{
    return ctx_find(dev, ctx) != NULL;
}

static void ctx_set_lost_bit(struct vgpu_dev *dev, uint32_t ctx, bool lost)
{
    uint32_t *word = &dev->regs[VGPU_REG_CTX_LOST / 4 + ctx / 32];

    if (lost)
        *word |= 1u << ctx % 32;
    else
        *word &= ~(1u << ctx % 32);
}

static void buf_forget(struct vgpu_dev *dev, struct vgpu_buf *buf)
{
    if (buf->state == VGPU_BUF_LIVE || buf->state == VGPU_BUF_UNREGISTERING) {
        dev->buffers--;
        dev->buffer_bytes -= buf->bytes;
    }
    *buf = (struct vgpu_buf){0};
}

static void ctx_forget(struct vgpu_dev *dev, uint32_t ctx)
{
    struct vgpu_ctx *c = &dev->ctxs[ctx];

    for (uint32_t i = 0; c->bufs && i < dev->cfg.max_buffers; i++)
        buf_forget(dev, &c->bufs[i]);
    free(c->bufs);
    *c = (struct vgpu_ctx){0};
    ctx_set_lost_bit(dev, ctx, false);
}

void vgpu_ctx_drop_all(struct vgpu_dev *dev)
{
    for (uint32_t i = 0; i < dev->cfg.max_contexts; i++)
        ctx_forget(dev, i);
}

/* ---- Commands ---- */

static uint16_t ctx_check_queue(const struct vgpu_admin_ctx_create *cmd)
{
    uint64_t end;

    if (cmd->sq_log2 < VGPU_MIN_RING_LOG2 || cmd->cq_log2 > VGPU_MAX_RING_LOG2 ||
        cmd->sq_log2 > cmd->cq_log2)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->queue_addr & (VGPU_PAGE_BYTES - 1))
        return VGPU_ST_ADMIN_VALUE;
    if (__builtin_add_overflow(cmd->queue_addr, vgpu_queue_bytes(cmd->cq_log2, cmd->sq_log2), &end))
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->vector < VGPU_VECTOR_CTX_FIRST || cmd->vector >= VGPU_MSIX_VECTORS)
        return VGPU_ST_ADMIN_VALUE;
    return VGPU_ST_OK;
}

static uint16_t ctx_check_arena(const struct vgpu_admin_ctx_create *cmd)
{
    uint64_t end;

    if (cmd->arena_bytes < VGPU_MIN_ARENA_BYTES || cmd->arena_bytes > VGPU_MAX_ARENA_BYTES ||
        cmd->arena_bytes % VGPU_PAGE_BYTES)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->arena_addr & (VGPU_PAGE_BYTES - 1))
        return VGPU_ST_ADMIN_VALUE;
    if (__builtin_add_overflow(cmd->arena_addr, cmd->arena_bytes, &end))
        return VGPU_ST_ADMIN_VALUE;
    return VGPU_ST_OK;
}

uint16_t vgpu_ctx_create(struct vgpu_dev *dev, const struct vgpu_admin_ctx_create *cmd,
                         const struct vgpu_op *op)
{
    struct vgpu_dev_ctx_params params;
    struct vgpu_ctx *c;
    uint16_t status;

    if (cmd->ctx >= dev->cfg.max_contexts)
        return VGPU_ST_ADMIN_VALUE;
    status = ctx_check_queue(cmd);
    if (status == VGPU_ST_OK)
        status = ctx_check_arena(cmd);
    if (status != VGPU_ST_OK)
        return status;
    c = &dev->ctxs[cmd->ctx];
    if (c->state != VGPU_CTX_FREE)
        return VGPU_ST_CONTEXT_EXISTS;
    c->bufs = calloc(dev->cfg.max_buffers, sizeof(c->bufs[0]));
    if (!c->bufs)
        return VGPU_ST_HOST_MEMORY;

    c->state = VGPU_CTX_CREATING;
    c->create = *op;
    c->status.state = VGPU_CTX_STATE_ACTIVE;
    c->status.generation = dev->generation;
    params = (struct vgpu_dev_ctx_params){
        .queue_addr = cmd->queue_addr,
        .queue_bytes = vgpu_queue_bytes(cmd->cq_log2, cmd->sq_log2),
        .arena_addr = cmd->arena_addr,
        .arena_bytes = cmd->arena_bytes,
        .vector = cmd->vector,
        .sq_log2 = cmd->sq_log2,
        .cq_log2 = cmd->cq_log2,
    };
    dev->ops.ctx_create(dev->opaque, cmd->ctx, &params);
    return VGPU_ST_OK;
}

uint16_t vgpu_ctx_destroy(struct vgpu_dev *dev, const struct vgpu_admin_ctx *cmd,
                          const struct vgpu_op *op)
{
    struct vgpu_ctx *c = ctx_find(dev, cmd->ctx);

    if (!c)
        return VGPU_ST_NO_CONTEXT;
    if (c->state == VGPU_CTX_DESTROYING)
        return VGPU_ST_BUSY;
    c->state = VGPU_CTX_DESTROYING;
    c->destroy = *op;
    dev->ops.ctx_destroy(dev->opaque, cmd->ctx);
    return VGPU_ST_OK;
}

/* The context of a buffer command, or why there is none. */
static uint16_t ctx_find_live(const struct vgpu_dev *dev, uint32_t ctx, struct vgpu_ctx **found)
{
    struct vgpu_ctx *c = ctx_find(dev, ctx);

    if (!c)
        return VGPU_ST_NO_CONTEXT;
    if (c->state != VGPU_CTX_LIVE)
        return VGPU_ST_BUSY;
    *found = c;
    return VGPU_ST_OK;
}

static uint16_t buf_check_register(const struct vgpu_dev *dev,
                                   const struct vgpu_admin_buf_register *cmd)
{
    if (cmd->flags & ~VGPU_BUF_FLAGS)
        return VGPU_ST_ADMIN_RESERVED;
    if (cmd->flags == 0)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->buf == VGPU_BUF_ARENA || cmd->buf >= dev->cfg.max_buffers)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->bytes == 0 || cmd->bytes > dev->cfg.max_buffer_bytes)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->sg_count == 0 || cmd->sg_count > dev->cfg.max_sg)
        return VGPU_ST_ADMIN_VALUE;
    if (cmd->sg_addr & (VGPU_PAGE_BYTES - 1))
        return VGPU_ST_ADMIN_VALUE;
    return VGPU_ST_OK;
}

uint16_t vgpu_buf_register_begin(struct vgpu_dev *dev, const struct vgpu_admin_buf_register *cmd,
                                 const struct vgpu_op *op)
{
    struct vgpu_register *reg = &dev->pending;
    struct vgpu_ctx *c;
    uint16_t status;

    status = buf_check_register(dev, cmd);
    if (status == VGPU_ST_OK)
        status = ctx_find_live(dev, cmd->ctx, &c);
    if (status != VGPU_ST_OK)
        return status;
    if (c->lost)
        return (uint16_t)c->status.status;
    if (c->bufs[cmd->buf].state != VGPU_BUF_FREE)
        return VGPU_ST_BUFFER_EXISTS;

    status = vgpu_sg_walk_init(&reg->walk, cmd->sg_addr, cmd->sg_count, cmd->bytes);
    if (status != VGPU_ST_OK)
        return status;
    reg->active = true;
    reg->op = *op;
    reg->ctx = cmd->ctx;
    reg->buf = cmd->buf;
    reg->flags = cmd->flags;
    return VGPU_ST_OK;
}

void vgpu_buf_register_end(struct vgpu_dev *dev, uint16_t status)
{
    struct vgpu_register *reg = &dev->pending;
    struct vgpu_ctx *c = &dev->ctxs[reg->ctx];

    /* Nothing was consumed since the walk began, so the context can't be gone: but its
     * executor may be. */
    assert(reg->active && c->state == VGPU_CTX_LIVE);
    reg->active = false;
    if (status == VGPU_ST_OK && c->lost)
        status = (uint16_t)c->status.status;
    if (status == VGPU_ST_OK) {
        c->bufs[reg->buf] = (struct vgpu_buf){
            .bytes = reg->walk.bytes, .op = reg->op, .state = VGPU_BUF_REGISTERING};
        dev->ops.buf_register(dev->opaque, reg->ctx, reg->buf, reg->flags, reg->walk.sg,
                              reg->walk.count, reg->walk.bytes);
    } else {
        dev->guest_errors++;
        vgpu_dev_logf(dev, VGPU_DEV_LOG_WARN,
                      "admin[%u]: BUF_REGISTER ctx %u buf %u: scatter list refused with %s",
                      reg->op.sq_idx, reg->ctx, reg->buf, vgpu_dev_status_name(status));
        vgpu_admin_complete(dev, &reg->op, status, 0);
    }
    vgpu_sg_walk_fini(&reg->walk);
}

uint16_t vgpu_buf_unregister(struct vgpu_dev *dev, const struct vgpu_admin_buf_unregister *cmd,
                             const struct vgpu_op *op)
{
    struct vgpu_buf *buf;
    struct vgpu_ctx *c;
    uint16_t status;

    status = ctx_find_live(dev, cmd->ctx, &c);
    if (status != VGPU_ST_OK)
        return status;
    if (cmd->buf == VGPU_BUF_ARENA || cmd->buf >= dev->cfg.max_buffers)
        return VGPU_ST_NO_BUFFER;
    buf = &c->bufs[cmd->buf];
    if (buf->state == VGPU_BUF_FREE)
        return VGPU_ST_NO_BUFFER;
    if (buf->state != VGPU_BUF_LIVE)
        return VGPU_ST_BUSY;
    buf->state = VGPU_BUF_UNREGISTERING;
    buf->op = *op;
    dev->ops.buf_unregister(dev->opaque, cmd->ctx, cmd->buf);
    return VGPU_ST_OK;
}

uint16_t vgpu_ctx_query(const struct vgpu_dev *dev, uint32_t ctx, struct vgpu_ctx_status *status)
{
    const struct vgpu_ctx *c = ctx_find(dev, ctx);

    if (!c)
        return VGPU_ST_NO_CONTEXT;
    *status = c->status;
    return VGPU_ST_OK;
}

/* ---- Answers ---- */

/* False: late, from before the reset. */
static bool ctx_answer_is_expected(const struct vgpu_dev *dev)
{
    return vgpu_dev_state(dev) != VGPU_STATE_RESETTING;
}

void vgpu_dev_ctx_created(struct vgpu_dev *dev, uint32_t ctx, uint16_t status)
{
    struct vgpu_ctx *c;
    struct vgpu_op op;

    if (!ctx_answer_is_expected(dev))
        return;
    c = ctx_find(dev, ctx);
    assert(c && c->create.pending);
    op = c->create;
    c->create.pending = false;
    if (c->state == VGPU_CTX_CREATING) {
        if (status == VGPU_ST_OK)
            c->state = VGPU_CTX_LIVE;
        else
            ctx_forget(dev, ctx);
    }
    vgpu_admin_complete(dev, &op, status, 0);
}

void vgpu_dev_ctx_destroyed(struct vgpu_dev *dev, uint32_t ctx)
{
    struct vgpu_ctx *c;
    struct vgpu_op op;

    if (!ctx_answer_is_expected(dev))
        return;
    c = ctx_find(dev, ctx);
    assert(c && c->state == VGPU_CTX_DESTROYING);
    if (c->create.pending)
        vgpu_admin_complete(dev, &c->create, VGPU_ST_DESTROYED, 0);
    for (uint32_t i = 0; i < dev->cfg.max_buffers; i++) {
        struct vgpu_buf *buf = &c->bufs[i];

        if (buf->op.pending)
            vgpu_admin_complete(
                dev, &buf->op,
                buf->state == VGPU_BUF_UNREGISTERING ? VGPU_ST_OK : VGPU_ST_DESTROYED, 0);
    }
    op = c->destroy;
    ctx_forget(dev, ctx);
    vgpu_admin_complete(dev, &op, VGPU_ST_OK, 0);
}

static struct vgpu_buf *buf_answered(struct vgpu_dev *dev, uint32_t ctx, uint32_t buf,
                                     enum vgpu_buf_state state)
{
    struct vgpu_ctx *c = ctx_find(dev, ctx);

    assert(c && buf < dev->cfg.max_buffers);
    assert(c->bufs[buf].state == state && c->bufs[buf].op.pending);
    return &c->bufs[buf];
}

void vgpu_dev_buf_registered(struct vgpu_dev *dev, uint32_t ctx, uint32_t buf, uint16_t status)
{
    struct vgpu_buf *b;
    struct vgpu_op op;

    if (!ctx_answer_is_expected(dev))
        return;
    b = buf_answered(dev, ctx, buf, VGPU_BUF_REGISTERING);
    op = b->op;
    b->op.pending = false;
    if (status == VGPU_ST_OK) {
        b->state = VGPU_BUF_LIVE;
        dev->buffers++;
        dev->buffer_bytes += b->bytes;
    } else {
        buf_forget(dev, b);
    }
    vgpu_admin_complete(dev, &op, status, 0);
}

void vgpu_dev_buf_unregistered(struct vgpu_dev *dev, uint32_t ctx, uint32_t buf)
{
    struct vgpu_buf *b;
    struct vgpu_op op;

    if (!ctx_answer_is_expected(dev))
        return;
    b = buf_answered(dev, ctx, buf, VGPU_BUF_UNREGISTERING);
    op = b->op;
    buf_forget(dev, b);
    vgpu_admin_complete(dev, &op, VGPU_ST_OK, 0);
}

/* The text comes from a process that runs what guests made up: printable ASCII only. */
static void ctx_copy_message(struct vgpu_ctx_status *status, const char *message)
{
    size_t i;

    for (i = 0; message && message[i] && i < sizeof(status->message) - 1; i++)
        status->message[i] = message[i] >= ' ' && message[i] <= '~' ? (uint8_t)message[i] : '?';
}

static bool status_loses_context(uint16_t status)
{
    switch (status) {
#define STATUS_LOST(name, value, cuda, lost, text)                                                 \
    case value: return lost;
        VGPU_STATUS_LIST(STATUS_LOST)
#undef STATUS_LOST
    default: return false;
    }
}

void vgpu_dev_ctx_lost(struct vgpu_dev *dev, uint32_t ctx, uint16_t status, uint64_t fault_addr,
                       const char *message)
{
    struct vgpu_ctx *c;

    if (!ctx_answer_is_expected(dev))
        return;
    c = ctx_find(dev, ctx);
    assert(c);
    if (c->lost || c->state == VGPU_CTX_DESTROYING)
        return;
    c->lost = true;
    c->status.state = VGPU_CTX_STATE_LOST;
    c->status.status = status_loses_context(status) ? status : VGPU_ST_EXEC_FAILED;
    c->status.fault_addr = fault_addr;
    ctx_copy_message(&c->status, message);
    ctx_set_lost_bit(dev, ctx, true);
    vgpu_dev_logf(dev, VGPU_DEV_LOG_WARN, "ctx %u lost: %s: %s", ctx,
                  vgpu_dev_status_name((uint16_t)c->status.status),
                  (const char *)c->status.message);
    dev->ops.irq(dev->opaque, VGPU_VECTOR_ADMIN);
}
