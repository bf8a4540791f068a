/* SPDX-License-Identifier: MIT */
/*
 * The device as a whole: creation, lifecycle, sticky errors, reset, BAR dispatch.
 *
 * Lifecycle (spec 5).  dev_set_state() is the only writer of STATE and allows only what
 * state_next[] lists; everything a guest can provoke is on that list, so its assert
 * is about us.
 *
 *   QUIESCING  made; vgpu_dev_announce() says that no older generation is left
 *   DISABLED   registers work
 *   READY      the admin queue runs; contexts may exist
 *   RESETTING  all is forgotten here already; the executors are being reaped
 *   FAILED     the admin queue is dead; contexts still exist in their executors
 *
 * A reset takes effect in two steps: at once everything the device knows is dropped, so
 * that no answer, completion or interrupt of the old life can come out any more; later,
 * when vgpu_dev_reset_done() says that no executor is left which could touch guest
 * memory, DISABLED is announced.  A driver may release memory only after the second.
 *
 * The guest is told of changes it did not make itself by vector 0.
 */
#include <device/internal.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BIT(state) (1u << VGPU_STATE_##state)

/* From which state to which; anything else is a bug of ours. */
static const uint32_t state_next[] = {
    [VGPU_STATE_QUIESCING] = STATE_BIT(DISABLED) | STATE_BIT(FAILED),
    [VGPU_STATE_DISABLED] = STATE_BIT(READY) | STATE_BIT(RESETTING) | STATE_BIT(FAILED),
    [VGPU_STATE_READY] = STATE_BIT(RESETTING) | STATE_BIT(FAILED),
    [VGPU_STATE_RESETTING] = STATE_BIT(DISABLED) | STATE_BIT(QUIESCING) | STATE_BIT(FAILED),
    [VGPU_STATE_FAILED] = STATE_BIT(RESETTING),
};

static const char *const state_names[] = {
    [VGPU_STATE_QUIESCING] = "QUIESCING", [VGPU_STATE_DISABLED] = "DISABLED",
    [VGPU_STATE_READY] = "READY",         [VGPU_STATE_RESETTING] = "RESETTING",
    [VGPU_STATE_FAILED] = "FAILED",
};

uint32_t vgpu_dev_state(const struct vgpu_dev *dev)
{
    return vgpu_reg_get(dev, VGPU_REG_STATE);
}

const char *vgpu_dev_status_name(uint16_t status)
{
    switch (status) {
#define STATUS_NAME(name, value, cuda, lost, text)                                                 \
    case value: return #name;
        VGPU_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    default: return "unknown status";
    }
}

void vgpu_dev_logf(struct vgpu_dev *dev, enum vgpu_dev_log level, const char *fmt, ...)
{
    char line[384];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    dev->ops.log(dev->opaque, level, line);
}

static void dev_set_state(struct vgpu_dev *dev, uint32_t to)
{
    const uint32_t from = vgpu_dev_state(dev);

    assert(state_next[from] & 1u << to);
    vgpu_reg_set(dev, VGPU_REG_STATE, to);
    vgpu_dev_logf(dev, VGPU_DEV_LOG_INFO, "state %s -> %s", state_names[from], state_names[to]);
    if (to == VGPU_STATE_DISABLED || to == VGPU_STATE_FAILED)
        dev->ops.irq(dev->opaque, VGPU_VECTOR_ADMIN);
}

/* ---- Errors ---- */

void vgpu_dev_error(struct vgpu_dev *dev, uint32_t bit, uint16_t status, uint64_t addr)
{
    const uint32_t before = vgpu_reg_get(dev, VGPU_REG_ERR_STATUS);

    if (bit != VGPU_ERR_HOST)
        dev->guest_errors++;
    if (before == 0) {
        vgpu_reg_set(dev, VGPU_REG_ERR_DETAIL, status);
        vgpu_reg_set64(dev, VGPU_REG_ERR_ADDR_LO, addr);
    }
    vgpu_reg_set(dev, VGPU_REG_ERR_STATUS, before | bit);
    vgpu_dev_logf(dev, VGPU_DEV_LOG_WARN, "error 0x%x: %s, address or value 0x%llx", bit,
                  vgpu_dev_status_name(status), (unsigned long long)addr);
}

void vgpu_dev_fail(struct vgpu_dev *dev, uint32_t bit, uint16_t status, uint64_t addr)
{
    vgpu_dev_error(dev, bit, status, addr);
    vgpu_admin_stop(dev);
    if (vgpu_dev_state(dev) != VGPU_STATE_FAILED)
        dev_set_state(dev, VGPU_STATE_FAILED);
}

void vgpu_dev_host_failed(struct vgpu_dev *dev, const char *reason)
{
    vgpu_dev_logf(dev, VGPU_DEV_LOG_ERROR, "host failure: %s", reason);
    if (vgpu_dev_state(dev) == VGPU_STATE_RESETTING)
        dev->host_failed = true; /* executors must be reaped first */
    else
        vgpu_dev_fail(dev, VGPU_ERR_HOST, VGPU_ST_HOST_ERROR, 0);
}

void vgpu_dev_dma_unmapped(struct vgpu_dev *dev, uint64_t addr, uint64_t bytes)
{
    uint64_t last, queue_last;

    if (vgpu_dev_state(dev) != VGPU_STATE_READY || bytes == 0)
        return;
    if (__builtin_add_overflow(addr, bytes - 1, &last))
        last = UINT64_MAX;
    queue_last = dev->queue.base + vgpu_admin_queue_bytes(dev) - 1;
    if (addr <= queue_last && last >= dev->queue.base)
        vgpu_dev_fail(dev, VGPU_ERR_DMA, VGPU_ST_BAD_DMA, dev->queue.base);
}

/* ---- Lifecycle ---- */

void vgpu_dev_announce(struct vgpu_dev *dev, uint32_t generation)
{
    assert(generation != 0 && dev->generation == 0);
    dev->generation = generation;
    vgpu_reg_set(dev, VGPU_REG_GENERATION, generation);
    if (vgpu_dev_state(dev) == VGPU_STATE_QUIESCING)
        dev_set_state(dev, VGPU_STATE_DISABLED);
}

void vgpu_dev_enable(struct vgpu_dev *dev)
{
    const uint64_t unknown =
        vgpu_reg_get64(dev, VGPU_REG_DRV_FEATURES_LO) & ~vgpu_reg_get64(dev, VGPU_REG_FEATURES_LO);
    uint64_t where = 0;
    uint16_t status;

    if (vgpu_dev_state(dev) != VGPU_STATE_DISABLED) {
        vgpu_dev_error(dev, VGPU_ERR_ACCESS, VGPU_ST_BAD_STATE, VGPU_REG_CONTROL);
        return;
    }
    if (unknown) {
        vgpu_dev_fail(dev, VGPU_ERR_ENABLE, VGPU_ST_BAD_FEATURES, unknown);
        return;
    }
    status = vgpu_admin_start(dev, &where);
    if (status != VGPU_ST_OK) {
        vgpu_dev_fail(dev, VGPU_ERR_ENABLE, status, where);
        return;
    }
    dev_set_state(dev, VGPU_STATE_READY);
    /* submissions may be waiting in the block already */
    dev->ops.kick(dev->opaque);
}

void vgpu_dev_reset_core(struct vgpu_dev *dev)
{
    const uint32_t state = vgpu_dev_state(dev);

    vgpu_admin_stop(dev);
    vgpu_ctx_drop_all(dev);
    vgpu_reg_reset(dev);
    /* QUIESCING has no executors of its own, and must not be left before the older ones
     * are gone; in RESETTING the reaping is under way already. */
    if (state == VGPU_STATE_QUIESCING || state == VGPU_STATE_RESETTING)
        return;
    dev_set_state(dev, VGPU_STATE_RESETTING);
    dev->ops.reset(dev->opaque);
}

void vgpu_dev_reset_done(struct vgpu_dev *dev)
{
    assert(vgpu_dev_state(dev) == VGPU_STATE_RESETTING);
    if (dev->host_failed) {
        dev->host_failed = false;
        vgpu_dev_fail(dev, VGPU_ERR_HOST, VGPU_ST_HOST_ERROR, 0);
    } else if (dev->generation == 0) {
        dev_set_state(dev, VGPU_STATE_QUIESCING);
    } else {
        dev_set_state(dev, VGPU_STATE_DISABLED);
    }
}

void vgpu_dev_reset(struct vgpu_dev *dev)
{
    vgpu_config_reset(dev);
    if (dev->msix)
        vgpu_msix_reset(dev->msix);
    vgpu_dev_reset_core(dev);
}

/* ---- Creation ---- */

static void config_check(const struct vgpu_dev_config *c)
{
    assert(c->max_contexts >= 1 && c->max_contexts <= VGPU_MAX_CONTEXTS);
    assert(c->max_buffers >= 2 && c->max_buffers <= VGPU_MAX_BUFFERS);
    assert(c->max_sg >= 1);
    assert(c->max_buffer_bytes >= 1 && c->max_buffer_bytes <= VGPU_MAX_BUFFER_BYTES);
    assert(c->max_image_bytes >= 1 && c->max_image_bytes <= VGPU_MAX_IMAGE_BYTES);
    assert(c->heartbeat_ms >= 1 && c->heartbeat_ms <= 1000 && c->admin_max_ms >= 1);
}

static void ops_check(const struct vgpu_dev_ops *o)
{
    assert(o->dma_read && o->dma_write && o->dma_load32 && o->dma_store32);
    assert(o->irq && o->kick && o->now_ms && o->log && o->reset);
    assert(o->ctx_create && o->ctx_destroy && o->buf_register && o->buf_unregister);
}

struct vgpu_dev *vgpu_dev_create(const struct vgpu_dev_config *config,
                                 const struct vgpu_dev_ops *ops, void *opaque)
{
    struct vgpu_dev *dev;

    config_check(config);
    ops_check(ops);
    dev = calloc(1, sizeof(*dev));
    if (!dev)
        return NULL;
    dev->ctxs = calloc(config->max_contexts, sizeof(dev->ctxs[0]));
    if (!dev->ctxs) {
        free(dev);
        return NULL;
    }
    dev->cfg = *config;
    dev->ops = *ops;
    dev->opaque = opaque;
    dev->start_ms = ops->now_ms(opaque);
    vgpu_reg_init(dev);
    vgpu_reg_set(dev, VGPU_REG_STATE, VGPU_STATE_QUIESCING);
    vgpu_config_reset(dev);
    return dev;
}

void vgpu_dev_destroy(struct vgpu_dev *dev)
{
    if (!dev)
        return;
    vgpu_admin_stop(dev);
    vgpu_ctx_drop_all(dev);
    free(dev->ctxs);
    free(dev);
}

void vgpu_dev_attach_msix(struct vgpu_dev *dev, struct vgpu_msix *msix)
{
    dev->msix = msix;
    vgpu_config_sync_msix(dev);
}

/* ---- BARs ---- */

uint64_t vgpu_dev_bar_bytes(unsigned int bar)
{
    switch (bar) {
    case VGPU_BAR_REGS: return VGPU_BAR_REGS_SIZE;
    case VGPU_BAR_DOORBELL: return VGPU_BAR_DOORBELL_SIZE;
    case VGPU_BAR_MSIX: return VGPU_BAR_MSIX_SIZE;
    default: return 0;
    }
}

void vgpu_dev_bar_read(struct vgpu_dev *dev, unsigned int bar, uint64_t offset, void *data,
                       size_t bytes)
{
    uint32_t value;

    memset(data, 0, bytes);
    if (bar == VGPU_BAR_REGS) {
        value = vgpu_reg_read(dev, offset, bytes);
        memcpy(data, &value, bytes < sizeof(value) ? bytes : sizeof(value));
    } else if (bar == VGPU_BAR_MSIX && dev->msix) {
        vgpu_msix_bar_read(dev->msix, offset, data, bytes);
    }
}

/* The context whose doorbell was rung, or UINT32_MAX. */
static uint32_t doorbell_context(const struct vgpu_dev *dev, uint64_t offset, size_t bytes)
{
    const uint64_t ctx = offset / VGPU_DOORBELL_STRIDE;

    if (bytes != 4 || offset % VGPU_DOORBELL_STRIDE != VGPU_DOORBELL_OFFSET)
        return UINT32_MAX;
    if (ctx >= dev->cfg.max_contexts || !vgpu_ctx_exists(dev, (uint32_t)ctx))
        return UINT32_MAX;
    return (uint32_t)ctx;
}

void vgpu_dev_bar_write(struct vgpu_dev *dev, unsigned int bar, uint64_t offset, const void *data,
                        size_t bytes, uint32_t *doorbell)
{
    uint32_t value = 0;

    *doorbell = UINT32_MAX;
    if (bar == VGPU_BAR_REGS) {
        memcpy(&value, data, bytes < sizeof(value) ? bytes : sizeof(value));
        vgpu_reg_write(dev, offset, value, bytes);
    } else if (bar == VGPU_BAR_DOORBELL) {
        *doorbell = doorbell_context(dev, offset, bytes);
    } else if (bar == VGPU_BAR_MSIX && dev->msix) {
        vgpu_msix_bar_write(dev->msix, offset, data, bytes);
    }
}

/* ---- Accounting ---- */

void vgpu_dev_get_stats(const struct vgpu_dev *dev, struct vgpu_dev_stats *stats)
{
    *stats = (struct vgpu_dev_stats){
        .state = vgpu_dev_state(dev),
        .generation = dev->generation,
        .buffers = dev->buffers,
        .buffer_bytes = dev->buffer_bytes,
        .admin_commands = dev->admin_commands,
        .guest_errors = dev->guest_errors,
    };
    for (uint32_t i = 0; i < dev->cfg.max_contexts; i++) {
        stats->contexts += dev->ctxs[i].state != VGPU_CTX_FREE;
        stats->lost += dev->ctxs[i].lost;
    }
}
