/* SPDX-License-Identifier: MIT */
/*
 * Admin commands: fetch, validate, start, complete (spec 8).
 *
 * Theory of operation.  vgpu_dev_work() is the only consumer.  Each of its steps either
 * reads one page of the scatter list under way or consumes one submission.
 * Commands are consumed in order; while a BUF_REGISTER's list is being read nothing else is
 * consumed, so only one list is held at a time.  Commands that another process
 * must finish complete later and in any order.
 *
 * A command is checked in three ladders: here what is common to all (opcode,
 * flags, reserved bytes, by the table below), then its values, then the objects it
 * names (both in ctx.c).  Structural faults - an index outside the ring, a block
 * that is no longer mapped - leave nobody to answer: the device goes to FAILED.
 */
#include <device/internal.h>

#include <assert.h>
#include <string.h>

#define PAYLOAD_BYTES sizeof(((struct vgpu_admin_sqe *)0)->u.payload)

static uint16_t admin_ctx_create(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                                 const struct vgpu_op *op, uint32_t *aux)
{
    return vgpu_ctx_create(dev, &sqe->u.ctx_create, op);
}

static uint16_t admin_ctx_destroy(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                                  const struct vgpu_op *op, uint32_t *aux)
{
    return vgpu_ctx_destroy(dev, &sqe->u.ctx_destroy, op);
}

static uint16_t admin_buf_register(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                                   const struct vgpu_op *op, uint32_t *aux)
{
    return vgpu_buf_register_begin(dev, &sqe->u.buf_register, op);
}

static uint16_t admin_buf_unregister(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                                     const struct vgpu_op *op, uint32_t *aux)
{
    return vgpu_buf_unregister(dev, &sqe->u.buf_unregister, op);
}

static uint16_t admin_query(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                            const struct vgpu_op *op, uint32_t *aux)
{
    const struct vgpu_admin_query *cmd = &sqe->u.query;
    const uint64_t in_page = cmd->out_addr & (VGPU_PAGE_BYTES - 1);
    struct vgpu_ctx_status ctx_status;
    const void *record;
    size_t bytes;
    uint16_t status;

    if (cmd->out_bytes == 0 || cmd->out_bytes > VGPU_PAGE_BYTES - in_page)
        return VGPU_ST_ADMIN_VALUE;
    switch (cmd->what) {
    case VGPU_QUERY_PROPS:
        if (cmd->ctx != 0)
            return VGPU_ST_ADMIN_VALUE;
        record = &dev->cfg.props;
        bytes = sizeof(dev->cfg.props);
        break;
    case VGPU_QUERY_CTX:
        status = vgpu_ctx_query(dev, cmd->ctx, &ctx_status);
        if (status != VGPU_ST_OK)
            return status;
        record = &ctx_status;
        bytes = sizeof(ctx_status);
        break;
    default: return VGPU_ST_ADMIN_VALUE;
    }
    if (bytes > cmd->out_bytes)
        bytes = cmd->out_bytes;
    if (dev->ops.dma_write(dev->opaque, cmd->out_addr, record, bytes))
        return VGPU_ST_BAD_DMA;
    *aux = (uint32_t)bytes;
    return VGPU_ST_OK;
}

struct admin_cmd {
    uint16_t opcode;
    bool at_once; /* completed by the caller also when OK */
    uint8_t used; /* payload bytes with a meaning; the rest must be zero */
    const char *name;
    uint16_t (*run)(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe,
                    const struct vgpu_op *op, uint32_t *aux);
};

#define ADMIN_USED(type) offsetof(struct type, rsvd)

static const struct admin_cmd admin_cmds[] = {
    {VGPU_ADMIN_CTX_CREATE, false, ADMIN_USED(vgpu_admin_ctx_create), "CTX_CREATE",
     admin_ctx_create},
    {VGPU_ADMIN_CTX_DESTROY, false, ADMIN_USED(vgpu_admin_ctx), "CTX_DESTROY", admin_ctx_destroy},
    {VGPU_ADMIN_BUF_REGISTER, false, ADMIN_USED(vgpu_admin_buf_register), "BUF_REGISTER",
     admin_buf_register},
    {VGPU_ADMIN_BUF_UNREGISTER, false, ADMIN_USED(vgpu_admin_buf_unregister), "BUF_UNREGISTER",
     admin_buf_unregister},
    {VGPU_ADMIN_QUERY, true, ADMIN_USED(vgpu_admin_query), "QUERY", admin_query},
};

static const struct admin_cmd *admin_find(uint16_t opcode)
{
    for (size_t i = 0; i < sizeof(admin_cmds) / sizeof(admin_cmds[0]); i++)
        if (admin_cmds[i].opcode == opcode)
            return &admin_cmds[i];
    return NULL;
}

static bool admin_reserved_is_zero(const struct vgpu_admin_sqe *sqe, size_t used)
{
    if (sqe->flags || sqe->rsvd)
        return false;
    for (size_t i = used; i < PAYLOAD_BYTES; i++)
        if (sqe->u.payload[i])
            return false;
    return true;
}

/* A structural fault of the queue: FAILED. */
static void admin_queue_fault(struct vgpu_dev *dev, enum vgpu_queue_result why)
{
    if (why == VGPU_QUEUE_BAD_INDEX)
        vgpu_dev_fail(dev, VGPU_ERR_ADMIN, VGPU_ST_ADMIN_RING, dev->queue.where);
    else
        vgpu_dev_fail(dev, VGPU_ERR_DMA, VGPU_ST_BAD_DMA, dev->queue.where);
}

void vgpu_admin_complete(struct vgpu_dev *dev, struct vgpu_op *op, uint16_t status, uint32_t aux)
{
    struct vgpu_cqe cqe = {
        .cookie = op->cookie, .aux = aux, .status = status, .sq_idx = op->sq_idx};
    enum vgpu_queue_result r;
    bool irq;

    assert(op->pending);
    op->pending = false;
    if (vgpu_dev_state(dev) != VGPU_STATE_READY)
        return;
    dev->admin_commands++;
    r = vgpu_queue_complete(&dev->queue, &cqe, &irq);
    if (r != VGPU_QUEUE_OK)
        admin_queue_fault(dev, r);
    else if (irq)
        dev->ops.irq(dev->opaque, VGPU_VECTOR_ADMIN);
}

static void admin_execute(struct vgpu_dev *dev, const struct vgpu_admin_sqe *sqe, uint32_t sq_idx)
{
    struct vgpu_op op = {.cookie = sqe->cookie, .sq_idx = sq_idx, .pending = true};
    const struct admin_cmd *cmd = admin_find(sqe->opcode);
    uint16_t status;
    uint32_t aux = 0;

    if (!cmd)
        status = VGPU_ST_ADMIN_OPCODE;
    else if (!admin_reserved_is_zero(sqe, cmd->used))
        status = VGPU_ST_ADMIN_RESERVED;
    else
        status = cmd->run(dev, sqe, &op, &aux);

    if (status != VGPU_ST_OK) {
        dev->guest_errors++;
        vgpu_dev_logf(dev, VGPU_DEV_LOG_WARN, "admin[%u]: %s (opcode 0x%04x): refused with %s",
                      sq_idx, cmd ? cmd->name : "unknown", sqe->opcode,
                      vgpu_dev_status_name(status));
    }
    if (status != VGPU_ST_OK || cmd->at_once)
        vgpu_admin_complete(dev, &op, status, aux);
}

static void admin_walk(struct vgpu_dev *dev)
{
    uint16_t status = vgpu_sg_walk_step(&dev->pending.walk, &dev->ops, dev->opaque);

    if (status != VGPU_ST_BUSY)
        vgpu_buf_register_end(dev, status);
}

/* One step.  False when there is nothing to do until the next doorbell. */
static bool admin_step(struct vgpu_dev *dev)
{
    struct vgpu_admin_sqe sqe;
    uint32_t sq_idx;
    enum vgpu_queue_result r;

    if (dev->pending.active) {
        admin_walk(dev);
        return true;
    }
    r = vgpu_queue_consume(&dev->queue, &sqe, &sq_idx);
    if (r == VGPU_QUEUE_OK) {
        admin_execute(dev, &sqe, sq_idx);
        return true;
    }
    if (r == VGPU_QUEUE_EMPTY || r == VGPU_QUEUE_NO_SLOT)
        r = vgpu_queue_arm(&dev->queue);
    if (r == VGPU_QUEUE_EMPTY)
        return false;
    if (r != VGPU_QUEUE_OK)
        admin_queue_fault(dev, r);
    return true;
}

bool vgpu_dev_work(struct vgpu_dev *dev, unsigned int budget)
{
    for (; budget > 0; budget--)
        if (vgpu_dev_state(dev) != VGPU_STATE_READY || !admin_step(dev))
            return false;
    return vgpu_dev_state(dev) == VGPU_STATE_READY;
}

uint64_t vgpu_admin_queue_bytes(const struct vgpu_dev *dev)
{
    return vgpu_queue_bytes(dev->queue.cq_log2, dev->queue.sq_log2);
}

uint16_t vgpu_admin_start(struct vgpu_dev *dev, uint64_t *where)
{
    const uint64_t base = vgpu_reg_get64(dev, VGPU_REG_ADMIN_BASE_LO);
    const uint32_t log2 = vgpu_reg_get(dev, VGPU_REG_ADMIN_LOG2);
    const uint8_t sq_log2 = log2 & 0xff, cq_log2 = log2 >> 8 & 0xff;
    enum vgpu_queue_result r;
    uint64_t end;

    *where = log2;
    if (log2 >> 16 || sq_log2 < VGPU_MIN_RING_LOG2 || cq_log2 > VGPU_MAX_RING_LOG2 ||
        sq_log2 > cq_log2)
        return VGPU_ST_ADMIN_VALUE;
    *where = base;
    if (base & (VGPU_PAGE_BYTES - 1))
        return VGPU_ST_ADMIN_VALUE;
    if (__builtin_add_overflow(base, vgpu_queue_bytes(cq_log2, sq_log2), &end))
        return VGPU_ST_ADMIN_VALUE;

    r = vgpu_queue_start(&dev->queue, &dev->ops, dev->opaque, base, sq_log2, cq_log2);
    *where = dev->queue.where;
    if (r == VGPU_QUEUE_OK)
        return VGPU_ST_OK;
    return r == VGPU_QUEUE_BAD_INDEX ? VGPU_ST_ADMIN_RING : VGPU_ST_BAD_DMA;
}

void vgpu_admin_stop(struct vgpu_dev *dev)
{
    if (dev->pending.active)
        vgpu_sg_walk_fini(&dev->pending.walk);
    dev->pending.active = false;
    dev->queue = (struct vgpu_queue){0};
}
