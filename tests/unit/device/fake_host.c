/* SPDX-License-Identifier: MIT */
/*
 * The pretended host and driver; see fake_host.h.
 */
#include "fake_host.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Host ---- */

static int dma_check(struct fake *f, uint64_t addr, uint64_t bytes)
{
    if (++f->dma_calls == f->dma_fail_at)
        return -EFAULT;
    if (addr < RAM_BASE || bytes > RAM_BYTES || addr - RAM_BASE > RAM_BYTES - bytes)
        return -EFAULT;
    if (f->hole_bytes && addr < f->hole + f->hole_bytes && addr + bytes > f->hole)
        return -EFAULT;
    return 0;
}

static int fake_dma_read(void *opaque, uint64_t addr, void *buf, size_t bytes)
{
    struct fake *f = opaque;

    if (dma_check(f, addr, bytes))
        return -EFAULT;
    memcpy(buf, fake_mem(f, addr), bytes);
    return 0;
}

static int fake_dma_write(void *opaque, uint64_t addr, const void *buf, size_t bytes)
{
    struct fake *f = opaque;

    if (dma_check(f, addr, bytes))
        return -EFAULT;
    memcpy(fake_mem(f, addr), buf, bytes);
    return 0;
}

static int fake_dma_load32(void *opaque, uint64_t addr, uint32_t *value)
{
    ck_assert_uint_eq(addr % 4, 0);
    return fake_dma_read(opaque, addr, value, 4);
}

static int fake_dma_store32(void *opaque, uint64_t addr, uint32_t value)
{
    ck_assert_uint_eq(addr % 4, 0);
    return fake_dma_write(opaque, addr, &value, 4);
}

static void fake_irq(void *opaque, unsigned int vector)
{
    struct fake *f = opaque;

    ck_assert_uint_lt(vector, VGPU_MSIX_VECTORS);
    f->irqs[vector]++;
}

static struct op *fake_record(struct fake *f, enum op_type type)
{
    ck_assert_uint_lt(f->op_count, MAX_OPS);
    f->ops[f->op_count] = (struct op){.type = type};
    return &f->ops[f->op_count++];
}

static void fake_ctx_create(void *opaque, uint32_t ctx, const struct vgpu_dev_ctx_params *params)
{
    struct op *op = fake_record(opaque, OP_CTX_CREATE);

    op->ctx = ctx;
    op->params = *params;
}

static void fake_ctx_destroy(void *opaque, uint32_t ctx)
{
    fake_record(opaque, OP_CTX_DESTROY)->ctx = ctx;
}

static void fake_buf_register(void *opaque, uint32_t ctx, uint32_t buf, uint32_t flags,
                              const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes)
{
    struct op *op = fake_record(opaque, OP_BUF_REGISTER);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += sg[i].bytes;
    ck_assert_uint_eq(sum, bytes);
    op->ctx = ctx;
    op->buf = buf;
    op->flags = flags;
    op->count = count;
    op->bytes = bytes;
    op->first = sg[0];
    op->last = sg[count - 1];
}

static void fake_buf_unregister(void *opaque, uint32_t ctx, uint32_t buf)
{
    struct op *op = fake_record(opaque, OP_BUF_UNREGISTER);

    op->ctx = ctx;
    op->buf = buf;
}

static void fake_reset(void *opaque)
{
    fake_record(opaque, OP_RESET);
}

static void fake_kick(void *opaque)
{
    ((struct fake *)opaque)->kicks++;
}

static uint64_t fake_now_ms(void *opaque)
{
    return ((struct fake *)opaque)->now_ms;
}

static void fake_log(void *opaque, enum vgpu_dev_log level, const char *message)
{
    struct fake *f = opaque;

    f->logs++;
    snprintf(f->last_log, sizeof(f->last_log), "%s", message);
}

static const struct vgpu_dev_ops fake_ops = {
    .dma_read = fake_dma_read,
    .dma_write = fake_dma_write,
    .dma_load32 = fake_dma_load32,
    .dma_store32 = fake_dma_store32,
    .irq = fake_irq,
    .ctx_create = fake_ctx_create,
    .ctx_destroy = fake_ctx_destroy,
    .buf_register = fake_buf_register,
    .buf_unregister = fake_buf_unregister,
    .reset = fake_reset,
    .kick = fake_kick,
    .now_ms = fake_now_ms,
    .log = fake_log,
};

struct fake *fake_quiescing(void)
{
    struct fake *f = calloc(1, sizeof(*f));

    ck_assert_ptr_nonnull(f);
    f->ram = calloc(1, RAM_BYTES);
    ck_assert_ptr_nonnull(f->ram);
    f->now_ms = 5000;
    f->cfg = (struct vgpu_dev_config){
        .max_contexts = 16,
        .max_buffers = 64,
        .max_sg = 1000,
        .max_buffer_bytes = UINT64_C(1) << 32,
        .max_image_bytes = 64 << 20,
        .heartbeat_ms = 100,
        .admin_max_ms = 2000,
        .props = {.name = "vgpu test device", .exec_kind = VGPU_EXEC_NULL, .warp_size = 32},
    };
    f->dev = vgpu_dev_create(&f->cfg, &fake_ops, f);
    ck_assert_ptr_nonnull(f->dev);
    return f;
}

struct fake *fake_disabled(void)
{
    struct fake *f = fake_quiescing();

    vgpu_dev_announce(f->dev, 7);
    f->irqs[VGPU_VECTOR_ADMIN] = 0;
    return f;
}

struct fake *fake_ready_at(uint8_t sq_log2, uint8_t cq_log2, uint32_t first)
{
    struct fake *f = fake_disabled();

    fake_lay_queue(f, sq_log2, cq_log2, first);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_READY);
    fake_run(f);
    return f;
}

struct fake *fake_ready(void)
{
    return fake_ready_at(VGPU_MIN_RING_LOG2, VGPU_MIN_RING_LOG2, 0);
}

void fake_free(struct fake *f)
{
    vgpu_dev_destroy(f->dev);
    free(f->ram);
    free(f);
}

void *fake_mem(struct fake *f, uint64_t addr)
{
    ck_assert_uint_ge(addr, RAM_BASE);
    ck_assert_uint_lt(addr - RAM_BASE, RAM_BYTES);
    return f->ram + (addr - RAM_BASE);
}

/* ---- Driver ---- */

uint32_t fake_rd(struct fake *f, uint32_t reg)
{
    uint32_t value;

    vgpu_dev_bar_read(f->dev, VGPU_BAR_REGS, reg, &value, 4);
    return value;
}

void fake_wr(struct fake *f, uint32_t reg, uint32_t value)
{
    uint32_t doorbell;

    vgpu_dev_bar_write(f->dev, VGPU_BAR_REGS, reg, &value, 4, &doorbell);
    ck_assert_uint_eq(doorbell, UINT32_MAX);
}

struct vgpu_queue_ro *fake_ro(struct fake *f)
{
    return fake_mem(f, ADMIN_ADDR);
}

struct vgpu_queue_rw *fake_rw(struct fake *f)
{
    return fake_mem(f, ADMIN_ADDR + vgpu_queue_rw_offset(f->cq_log2));
}

struct vgpu_sqe *fake_sq(struct fake *f)
{
    return fake_mem(f, ADMIN_ADDR + vgpu_queue_sq_offset(f->cq_log2));
}

void fake_lay_queue(struct fake *f, uint8_t sq_log2, uint8_t cq_log2, uint32_t first)
{
    f->sq_log2 = sq_log2;
    f->cq_log2 = cq_log2;
    f->sq_prod = f->cq_cons = first;
    memset(fake_mem(f, ADMIN_ADDR), 0, vgpu_queue_bytes(cq_log2, sq_log2));
    fake_ro(f)->sq_cons = fake_rw(f)->sq_prod = first;
    fake_ro(f)->cq_prod = fake_rw(f)->cq_cons = fake_ro(f)->cq_event = first;
    fake_wr(f, VGPU_REG_ADMIN_BASE_LO, (uint32_t)ADMIN_ADDR);
    fake_wr(f, VGPU_REG_ADMIN_BASE_HI, (uint32_t)(ADMIN_ADDR >> 32));
    fake_wr(f, VGPU_REG_ADMIN_LOG2, (uint32_t)cq_log2 << 8 | sq_log2);
}

uint32_t fake_submit(struct fake *f, const struct vgpu_admin_sqe *sqe)
{
    struct vgpu_admin_sqe copy = *sqe;

    if (copy.cookie == 0)
        copy.cookie = ++f->next_cookie;
    memcpy(fake_sq(f) + (f->sq_prod & ((1u << f->sq_log2) - 1)), &copy, sizeof(copy));
    f->sq_prod++;
    fake_rw(f)->sq_prod = f->sq_prod;
    return f->sq_prod - 1;
}

void fake_run(struct fake *f)
{
    for (int i = 0; i < 100000; i++)
        if (!vgpu_dev_work(f->dev, 16))
            return;
    ck_abort_msg("the device does not come to rest");
}

bool fake_reap(struct fake *f, struct vgpu_cqe *cqe)
{
    const struct vgpu_cqe *cq = fake_mem(f, ADMIN_ADDR + vgpu_queue_cq_offset());

    if (fake_ro(f)->cq_prod == f->cq_cons)
        return false;
    *cqe = cq[f->cq_cons & ((1u << f->cq_log2) - 1)];
    ck_assert_uint_eq(cqe->rsvd0, 0); /* VGPU-GEN-010 */
    ck_assert_uint_eq(cqe->rsvd1, 0);
    f->cq_cons++;
    fake_rw(f)->cq_cons = f->cq_cons;
    return true;
}

struct vgpu_cqe fake_cmd(struct fake *f, const struct vgpu_admin_sqe *sqe)
{
    uint32_t idx = fake_submit(f, sqe);
    struct vgpu_cqe cqe, more;

    fake_run(f);
    ck_assert_msg(fake_reap(f, &cqe), "no completion");
    ck_assert_uint_eq(cqe.sq_idx, idx);
    ck_assert_uint_eq(cqe.cookie, sqe->cookie ? sqe->cookie : f->next_cookie);
    ck_assert_msg(!fake_reap(f, &more), "more than one completion");
    return cqe;
}

struct op *fake_start(struct fake *f, const struct vgpu_admin_sqe *sqe, enum op_type type)
{
    size_t before = f->op_count;
    struct vgpu_cqe cqe;

    fake_submit(f, sqe);
    fake_run(f);
    ck_assert_msg(!fake_reap(f, &cqe), "completed with %s", vgpu_dev_status_name(cqe.status));
    ck_assert_uint_eq(f->op_count, before + 1);
    ck_assert_int_eq(fake_last(f)->type, type);
    return fake_last(f);
}

uint16_t fake_status(struct fake *f)
{
    struct vgpu_cqe cqe, more;

    ck_assert_msg(fake_reap(f, &cqe), "no completion");
    ck_assert_msg(!fake_reap(f, &more), "more than one completion");
    return cqe.status;
}

struct op *fake_last(struct fake *f)
{
    ck_assert_uint_gt(f->op_count, 0);
    return &f->ops[f->op_count - 1];
}

/* ---- Commands ---- */

struct vgpu_admin_sqe cmd_ctx_create(uint32_t ctx)
{
    return (struct vgpu_admin_sqe){
        .opcode = VGPU_ADMIN_CTX_CREATE,
        .u.ctx_create = {.queue_addr = QUEUE_ADDR,
                         .arena_addr = ARENA_ADDR,
                         .ctx = ctx,
                         .arena_bytes = 0x10000,
                         .vector = 1,
                         .sq_log2 = 7,
                         .cq_log2 = 8},
    };
}

struct vgpu_admin_sqe cmd_ctx_destroy(uint32_t ctx)
{
    return (struct vgpu_admin_sqe){.opcode = VGPU_ADMIN_CTX_DESTROY, .u.ctx_destroy = {.ctx = ctx}};
}

struct vgpu_admin_sqe cmd_buf_register(struct fake *f, uint32_t ctx, uint32_t buf, uint32_t count)
{
    struct vgpu_sg_page *page = fake_mem(f, SG_ADDR);
    const uint32_t pages = (count + VGPU_SG_PER_PAGE - 1) / VGPU_SG_PER_PAGE;

    memset(page, 0, (size_t)pages * sizeof(*page));
    for (uint32_t i = 0; i < count; i++) {
        struct vgpu_sg_page *p = &page[i / VGPU_SG_PER_PAGE];

        p->sg[p->count++] =
            (struct vgpu_sg_entry){.addr = RAM_BASE + 0x400000 + (uint64_t)i * 8192, .bytes = 4096};
        p->next = i / VGPU_SG_PER_PAGE + 1 < pages
                      ? SG_ADDR + (i / VGPU_SG_PER_PAGE + 1) * sizeof(*page)
                      : 0;
    }
    return (struct vgpu_admin_sqe){
        .opcode = VGPU_ADMIN_BUF_REGISTER,
        .u.buf_register = {.sg_addr = SG_ADDR,
                           .bytes = (uint64_t)count * 4096,
                           .ctx = ctx,
                           .buf = buf,
                           .flags = VGPU_BUF_DEVICE_READS,
                           .sg_count = count},
    };
}

struct vgpu_admin_sqe cmd_buf_unregister(uint32_t ctx, uint32_t buf)
{
    return (struct vgpu_admin_sqe){.opcode = VGPU_ADMIN_BUF_UNREGISTER,
                                   .u.buf_unregister = {.ctx = ctx, .buf = buf}};
}

struct vgpu_admin_sqe cmd_query(uint32_t what, uint32_t ctx)
{
    return (struct vgpu_admin_sqe){
        .opcode = VGPU_ADMIN_QUERY,
        .u.query = {.out_addr = OUT_ADDR, .out_bytes = 256, .what = what, .ctx = ctx}};
}

void fake_make_ctx(struct fake *f, uint32_t ctx)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_create(ctx);

    fake_start(f, &sqe, OP_CTX_CREATE);
    vgpu_dev_ctx_created(f->dev, ctx, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
}

void fake_make_buf(struct fake *f, uint32_t ctx, uint32_t buf, uint32_t count)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, ctx, buf, count);

    fake_start(f, &sqe, OP_BUF_REGISTER);
    vgpu_dev_buf_registered(f->dev, ctx, buf, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
}
