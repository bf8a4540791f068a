/* SPDX-License-Identifier: MIT */
/* The device core of the buses' tests: see idle_dev.h. */
#include "idle_dev.h"

#include <string.h>

#define CONTEXT_QUEUE 0x8000
#define CONTEXT_ARENA 0xc000

static void op_ctx_create(void *o, uint32_t ctx, const struct vgpu_dev_ctx_params *params)
{
}

static void op_ctx_destroy(void *o, uint32_t ctx)
{
}

static void op_buf_register(void *o, uint32_t ctx, uint32_t buf, uint32_t flags,
                            const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes)
{
}

static void op_buf_unregister(void *o, uint32_t ctx, uint32_t buf)
{
}

static void op_kick(void *o)
{
}

static uint64_t op_now_ms(void *o)
{
    return 1;
}

static void op_log(void *o, enum vgpu_dev_log level, const char *message)
{
}

struct vgpu_dev_ops idle_dev_ops(int (*dma_read)(void *, uint64_t, void *, size_t),
                                 int (*dma_write)(void *, uint64_t, const void *, size_t),
                                 int (*dma_load32)(void *, uint64_t, uint32_t *),
                                 int (*dma_store32)(void *, uint64_t, uint32_t),
                                 void (*irq)(void *, unsigned int), void (*reset)(void *))
{
    return (struct vgpu_dev_ops){
        dma_read,      dma_write,      dma_load32,      dma_store32,       irq,
        op_ctx_create, op_ctx_destroy, op_buf_register, op_buf_unregister, reset,
        op_kick,       op_now_ms,      op_log,
    };
}

struct vgpu_dev *idle_dev_create(const struct vgpu_dev_ops *ops)
{
    const struct vgpu_dev_config config = {
        .max_contexts = IDLE_DEV_CONTEXTS,
        .max_buffers = 16,
        .max_sg = 16,
        .max_buffer_bytes = 1 << 20,
        .max_image_bytes = 1 << 20,
        .heartbeat_ms = 1000,
        .admin_max_ms = 1000,
        .props = {.name = "test", .exec_kind = VGPU_EXEC_NULL},
    };
    struct vgpu_dev *dev = vgpu_dev_create(&config, ops, NULL);

    if (dev)
        vgpu_dev_announce(dev, 1);
    return dev;
}

void idle_dev_lay_context(uint8_t *memory, uint64_t addr, uint32_t ctx)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_CREATE};
    const uint32_t prod = 1;

    sqe.u.ctx_create = (struct vgpu_admin_ctx_create){.queue_addr = addr + CONTEXT_QUEUE,
                                                      .arena_addr = addr + CONTEXT_ARENA,
                                                      .ctx = ctx,
                                                      .arena_bytes = 4096,
                                                      .vector = 1,
                                                      .sq_log2 = IDLE_DEV_QUEUE_LOG2,
                                                      .cq_log2 = IDLE_DEV_QUEUE_LOG2};
    memset(memory, 0, IDLE_DEV_QUEUE_BYTES);
    memcpy(memory + vgpu_queue_sq_offset(IDLE_DEV_QUEUE_LOG2), &sqe, sizeof(sqe));
    memcpy(memory + vgpu_queue_rw_offset(IDLE_DEV_QUEUE_LOG2), &prod, sizeof(prod));
}
