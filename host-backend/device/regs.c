/* SPDX-License-Identifier: MIT */
/*
 * The register file of BAR 0 (spec 4).
 *
 * Theory of operation.  `dev->regs` holds what a read returns; the policy of each word comes
 * from regs.def.  A write is judged in this order: size and alignment, known register, the
 * lifecycle state it is accepted in; only then its action runs.  What fails one of
 * these sets VGPU_ERR_ACCESS and does nothing else.  The only value computed by the read
 * itself is HEARTBEAT.
 */
#include <device/internal.h>

#include <assert.h>
#include <string.h>

static void reg_ignore(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
}

static void reg_store(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    vgpu_reg_set(dev, offset, value);
}

static void reg_control(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    switch (value) {
    case VGPU_CONTROL_ENABLE: vgpu_dev_enable(dev); break;
    case VGPU_CONTROL_RESET: vgpu_dev_reset_core(dev); break;
    default: vgpu_dev_error(dev, VGPU_ERR_ACCESS, VGPU_ST_ADMIN_VALUE, offset); break;
    }
}

static void reg_err_clear(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    uint32_t left = vgpu_reg_get(dev, offset) & ~value;

    vgpu_reg_set(dev, offset, left);
    if (left == 0) {
        vgpu_reg_set(dev, VGPU_REG_ERR_DETAIL, 0);
        vgpu_reg_set64(dev, VGPU_REG_ERR_ADDR_LO, 0);
    }
}

static void reg_doorbell(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    if (vgpu_dev_state(dev) == VGPU_STATE_READY)
        dev->ops.kick(dev->opaque);
}

static void reg_test_echo(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    vgpu_reg_set(dev, offset, ~value);
}

static void reg_test_irq(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    if (value < VGPU_MSIX_VECTORS)
        dev->ops.irq(dev->opaque, value);
    else
        vgpu_dev_error(dev, VGPU_ERR_TEST, VGPU_ST_ADMIN_VALUE, value);
}

static void reg_test_dma(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    const uint64_t addr = vgpu_reg_get64(dev, VGPU_REG_TEST_DMA_LO);
    const uint32_t len = vgpu_reg_get(dev, VGPU_REG_TEST_DMA_LEN);
    uint32_t words[VGPU_TEST_DMA_MAX / 4];
    uint16_t status = VGPU_ST_OK;
    uint64_t end;

    if (value != 1 || len < 4 || len > VGPU_TEST_DMA_MAX || len % 4 ||
        __builtin_add_overflow(addr, 2 * (uint64_t)len, &end)) {
        status = VGPU_ST_ADMIN_VALUE;
        vgpu_dev_error(dev, VGPU_ERR_TEST, status, value != 1 ? value : len);
    } else if (dev->ops.dma_read(dev->opaque, addr, words, len)) {
        status = VGPU_ST_BAD_DMA;
        vgpu_dev_error(dev, VGPU_ERR_DMA, status, addr);
    } else {
        for (uint32_t i = 0; i < len / 4; i++)
            words[i] = ~words[i];
        if (dev->ops.dma_write(dev->opaque, addr + len, words, len)) {
            status = VGPU_ST_BAD_DMA;
            vgpu_dev_error(dev, VGPU_ERR_DMA, status, addr + len);
        }
    }
    vgpu_reg_set(dev, VGPU_REG_TEST_DMA_STATUS, status);
}

/* ---- The table ---- */

enum reg_access { ACCESS_NONE, ACCESS_RO, ACCESS_RW, ACCESS_WO, ACCESS_W1C };
enum reg_reset { RESET_VALUE, RESET_DEVICE, RESET_RUNS };

#define STATE_BIT(state) (1u << VGPU_STATE_##state)
#define STATES_NONE      0u
#define STATES_DISABLED  STATE_BIT(DISABLED)
#define STATES_TESTS                                                                               \
    (STATE_BIT(DISABLED) | STATE_BIT(READY) | STATE_BIT(RESETTING) | STATE_BIT(FAILED))
#define STATES_ANY (STATES_TESTS | STATE_BIT(QUIESCING))

struct reg_policy {
    const char *name;
    uint32_t offset; /* of the first word */
    uint32_t words;
    uint32_t value;  /* after reset, RESET_VALUE */
    uint32_t states; /* bit per VGPU_STATE_* in which a write is accepted */
    uint8_t access;
    uint8_t reset;
    void (*action)(struct vgpu_dev *dev, uint32_t offset, uint32_t value);
};

/* By word; a hole has ACCESS_NONE. */
static const struct reg_policy reg_policies[VGPU_REG_WORDS] = {
#define REG(name_, access_, words_, reset_, value_, states_, action_)                              \
    [VGPU_REG_##name_ / 4 ... VGPU_REG_##name_ / 4 + (words_)-1] = {                               \
        .name = #name_,                                                                            \
        .offset = VGPU_REG_##name_,                                                                \
        .words = (words_),                                                                         \
        .value = (value_),                                                                         \
        .states = STATES_##states_,                                                                \
        .access = ACCESS_##access_,                                                                \
        .reset = RESET_##reset_,                                                                   \
        .action = reg_##action_,                                                                   \
    },
#include <device/regs.def>
#undef REG
};

static const char *const reg_access_names[] = {"", "RO", "RW", "WO", "W1C"};

/* The policy of the i-th register, counting one of several words once; NULL: no such. */
static const struct reg_policy *reg_nth(size_t i)
{
    for (uint32_t w = 0; w < VGPU_REG_WORDS; w++) {
        const struct reg_policy *p = &reg_policies[w];

        if (p->access != ACCESS_NONE && p->offset == w * 4 && i-- == 0)
            return p;
    }
    return NULL;
}

size_t vgpu_reg_count(void)
{
    size_t n = 0;

    while (reg_nth(n))
        n++;
    return n;
}

struct vgpu_reg_info vgpu_reg_describe(size_t i)
{
    static const char *const resets[] = {"value", "device", "runs"};
    const struct reg_policy *p = reg_nth(i);

    assert(p);
    return (struct vgpu_reg_info){
        .name = p->name,
        .access = reg_access_names[p->access],
        .reset = resets[p->reset],
        .offset = p->offset,
        .words = p->words,
        .value = p->value,
        .states = p->states,
    };
}

/* ---- Access ---- */

static const struct reg_policy *reg_find(uint64_t offset, size_t bytes)
{
    const struct reg_policy *p;

    if (bytes != 4 || offset % 4 || offset >= VGPU_REG_END)
        return NULL;
    p = &reg_policies[offset / 4];
    return p->access == ACCESS_NONE ? NULL : p;
}

/* Never all-ones, which is what a read returns when nobody is there. */
static uint32_t reg_heartbeat(const struct vgpu_dev *dev)
{
    uint64_t beats = (dev->ops.now_ms(dev->opaque) - dev->start_ms) / dev->cfg.heartbeat_ms;

    return (uint32_t)(beats % VGPU_ALL_ONES);
}

uint32_t vgpu_reg_read(struct vgpu_dev *dev, uint64_t offset, size_t bytes)
{
    const struct reg_policy *p = reg_find(offset, bytes);

    if (!p) {
        vgpu_dev_error(dev, VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, offset);
        return 0;
    }
    if (p->access == ACCESS_WO)
        return 0;
    if (p->offset == VGPU_REG_HEARTBEAT)
        return reg_heartbeat(dev);
    return vgpu_reg_get(dev, (uint32_t)offset);
}

void vgpu_reg_write(struct vgpu_dev *dev, uint64_t offset, uint32_t value, size_t bytes)
{
    const struct reg_policy *p = reg_find(offset, bytes);

    if (!p) {
        vgpu_dev_error(dev, VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, offset);
        return;
    }
    if (p->access == ACCESS_RO)
        return;
    if (!(p->states & 1u << vgpu_dev_state(dev))) {
        vgpu_dev_error(dev, VGPU_ERR_ACCESS, VGPU_ST_BAD_STATE, offset);
        return;
    }
    p->action(dev, (uint32_t)offset, value);
}

/* ---- Contents ---- */

void vgpu_reg_reset(struct vgpu_dev *dev)
{
    for (uint32_t w = 0; w < VGPU_REG_WORDS; w++)
        if (reg_policies[w].access != ACCESS_NONE && reg_policies[w].reset == RESET_VALUE)
            dev->regs[w] = reg_policies[w].value;
}

void vgpu_reg_init(struct vgpu_dev *dev)
{
    const struct vgpu_dev_config *cfg = &dev->cfg;

    memset(dev->regs, 0, sizeof(dev->regs));
    vgpu_reg_reset(dev);
    vgpu_reg_set(dev, VGPU_REG_MAGIC, VGPU_MAGIC);
    vgpu_reg_set(dev, VGPU_REG_ABI_VERSION, VGPU_ABI_VERSION);
    vgpu_reg_set64(dev, VGPU_REG_FEATURES_LO, VGPU_FEATURES_KNOWN);
    vgpu_reg_set(dev, VGPU_REG_HEARTBEAT_MS, cfg->heartbeat_ms);
    vgpu_reg_set(dev, VGPU_REG_ADMIN_MAX_MS, cfg->admin_max_ms);
    vgpu_reg_set(dev, VGPU_REG_MAX_CONTEXTS, cfg->max_contexts);
    vgpu_reg_set(dev, VGPU_REG_RING_LOG2, VGPU_MAX_RING_LOG2 << 8 | VGPU_MIN_RING_LOG2);
    vgpu_reg_set(dev, VGPU_REG_MAX_BUFFERS, cfg->max_buffers);
    vgpu_reg_set(dev, VGPU_REG_MSIX_VECTORS, VGPU_MSIX_VECTORS);
    vgpu_reg_set64(dev, VGPU_REG_MAX_BUFFER_LO, cfg->max_buffer_bytes);
    vgpu_reg_set64(dev, VGPU_REG_MAX_IMAGE_LO, cfg->max_image_bytes);
    vgpu_reg_set(dev, VGPU_REG_MAX_PARAM, VGPU_MAX_PARAM_BYTES);
    vgpu_reg_set(dev, VGPU_REG_MAX_SG, cfg->max_sg);
    vgpu_reg_set(dev, VGPU_REG_MAX_ARENA, VGPU_MAX_ARENA_BYTES);
    vgpu_reg_set(dev, VGPU_REG_EXEC_KIND, cfg->props.exec_kind);
    memcpy(&dev->regs[VGPU_REG_DEVICE_NAME / 4], cfg->props.name, VGPU_DEVICE_NAME_BYTES);
}
