/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a hostile guest kernel against the device core.
 *
 * The input is a program of one-byte verbs with arguments: register and config accesses, bytes
 * written into guest RAM, admin commands (a valid one with optional damage), slices of
 * work, answers from the pretended daemon, losses, unmappings, time.  What the input can
 * choose is what a guest or the passage of time can choose; the pretended daemon itself
 * keeps its contract (it answers only what was asked), since breaking that is an assert.
 *
 * A model beside the device checks what must hold whatever the guest does, and aborts
 * otherwise: no op for an object that cannot take it, sums that match, no memory touched
 * outside the guest's, no interrupt out of range, no work that never ends, completions never
 * more than submissions, nothing left after a reset.
 *
 * Also linked into the unit tests, which replay the corpus and run random programs.
 */
#include <device/device.h>
#include <device/msix.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RAM_BASE  UINT64_C(0x80000000)
#define RAM_BYTES (UINT64_C(1) << 19)
#define ADMIN_OFF 0
#define SG_OFF    0x20000
#define OUT_OFF   0x30000
#define CTXS      4
#define BUFS      8

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

enum model_ctx { M_FREE, M_CREATING, M_LIVE, M_DESTROYING };
enum model_buf { B_FREE, B_REGISTERING, B_LIVE, B_UNREGISTERING };

struct guest {
    struct vgpu_dev *dev;
    struct vgpu_msix *msix;
    uint8_t *ram;
    uint64_t hole, hole_bytes;
    uint64_t now_ms;
    bool resetting;
    bool announced;
    bool create_owed[CTXS];
    enum model_ctx ctx[CTXS];
    enum model_buf buf[CTXS][BUFS];
    uint32_t sq_prod;
    uint8_t sq_log2, cq_log2;
    const uint8_t *in;
    size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- The pretended surroundings ---- */

static bool dma_ok(struct guest *g, uint64_t addr, uint64_t bytes)
{
    if (addr < RAM_BASE || addr - RAM_BASE > RAM_BYTES || bytes > RAM_BYTES - (addr - RAM_BASE))
        return false;
    return !(g->hole_bytes && addr < g->hole + g->hole_bytes && addr + bytes > g->hole);
}

static int op_dma_read(void *opaque, uint64_t addr, void *buf, size_t bytes)
{
    struct guest *g = opaque;

    if (!dma_ok(g, addr, bytes))
        return -EFAULT;
    memcpy(buf, g->ram + (addr - RAM_BASE), bytes);
    return 0;
}

static int op_dma_write(void *opaque, uint64_t addr, const void *buf, size_t bytes)
{
    struct guest *g = opaque;

    CHECK(!g->resetting || bytes <= VGPU_TEST_DMA_MAX); /* only the test register may */
    if (!dma_ok(g, addr, bytes))
        return -EFAULT;
    memcpy(g->ram + (addr - RAM_BASE), buf, bytes);
    return 0;
}

static int op_load32(void *opaque, uint64_t addr, uint32_t *value)
{
    CHECK(addr % 4 == 0);
    return op_dma_read(opaque, addr, value, 4);
}

static int op_store32(void *opaque, uint64_t addr, uint32_t value)
{
    CHECK(addr % 4 == 0 && !((struct guest *)opaque)->resetting);
    return op_dma_write(opaque, addr, &value, 4);
}

static void op_irq(void *opaque, unsigned int vector)
{
    CHECK(vector < VGPU_MSIX_VECTORS);
    vgpu_msix_notify(((struct guest *)opaque)->msix, vector);
}

static void op_ctx_create(void *opaque, uint32_t ctx, const struct vgpu_dev_ctx_params *p)
{
    struct guest *g = opaque;

    CHECK(ctx < CTXS && g->ctx[ctx] == M_FREE && !g->resetting);
    CHECK(p->queue_addr % 4096 == 0 && p->arena_addr % 4096 == 0 && p->arena_bytes % 4096 == 0);
    CHECK(p->queue_bytes == vgpu_queue_bytes(p->cq_log2, p->sq_log2));
    CHECK(p->queue_addr + p->queue_bytes > p->queue_addr);
    CHECK(p->arena_addr + p->arena_bytes > p->arena_addr);
    CHECK(p->arena_bytes <= VGPU_MAX_ARENA_BYTES && p->vector >= 1 &&
          p->vector < VGPU_MSIX_VECTORS);
    g->ctx[ctx] = M_CREATING;
    g->create_owed[ctx] = true;
}

static void op_ctx_destroy(void *opaque, uint32_t ctx)
{
    struct guest *g = opaque;

    CHECK(ctx < CTXS && (g->ctx[ctx] == M_CREATING || g->ctx[ctx] == M_LIVE) && !g->resetting);
    g->ctx[ctx] = M_DESTROYING;
}

static void op_buf_register(void *opaque, uint32_t ctx, uint32_t buf, uint32_t flags,
                            const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes)
{
    struct guest *g = opaque;
    uint64_t sum = 0;

    CHECK(ctx < CTXS && g->ctx[ctx] == M_LIVE && !g->resetting);
    CHECK(buf >= 1 && buf < BUFS && g->buf[ctx][buf] == B_FREE);
    CHECK(flags && !(flags & ~VGPU_BUF_FLAGS) && count >= 1 && count <= 600);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(sg[i].bytes && sg[i].addr + sg[i].bytes > sg[i].addr);
        CHECK(i == 0 || sg[i].addr % 4096 == 0);
        CHECK(i == count - 1 || (sg[i].addr + sg[i].bytes) % 4096 == 0);
        sum += sg[i].bytes;
    }
    CHECK(sum == bytes);
    g->buf[ctx][buf] = B_REGISTERING;
}

static void op_buf_unregister(void *opaque, uint32_t ctx, uint32_t buf)
{
    struct guest *g = opaque;

    CHECK(ctx < CTXS && g->ctx[ctx] == M_LIVE && !g->resetting);
    CHECK(buf < BUFS && g->buf[ctx][buf] == B_LIVE);
    g->buf[ctx][buf] = B_UNREGISTERING;
}

static void op_reset(void *opaque)
{
    struct guest *g = opaque;
    struct vgpu_dev_stats stats;

    CHECK(!g->resetting);
    g->resetting = true;
    memset(g->ctx, 0, sizeof(g->ctx));
    memset(g->buf, 0, sizeof(g->buf));
    memset(g->create_owed, 0, sizeof(g->create_owed));
    vgpu_dev_get_stats(g->dev, &stats);
    CHECK(stats.contexts == 0 && stats.buffers == 0 && stats.buffer_bytes == 0);
}

static void op_kick(void *opaque)
{
}

static uint64_t op_now_ms(void *opaque)
{
    return ((struct guest *)opaque)->now_ms;
}

static void op_log(void *opaque, enum vgpu_dev_log level, const char *message)
{
    CHECK(strlen(message) < 400);
}

static void op_deliver(void *opaque, unsigned int vector, uint64_t addr, uint32_t data)
{
    CHECK(vector < VGPU_MSIX_VECTORS && addr % 4 == 0);
}

static const struct vgpu_dev_ops ops = {
    .dma_read = op_dma_read,
    .dma_write = op_dma_write,
    .dma_load32 = op_load32,
    .dma_store32 = op_store32,
    .irq = op_irq,
    .ctx_create = op_ctx_create,
    .ctx_destroy = op_ctx_destroy,
    .buf_register = op_buf_register,
    .buf_unregister = op_buf_unregister,
    .reset = op_reset,
    .kick = op_kick,
    .now_ms = op_now_ms,
    .log = op_log,
};

/* ---- The program ---- */

static uint64_t take(struct guest *g, size_t bytes)
{
    uint64_t value = 0;

    if (bytes > g->left)
        bytes = g->left;
    memcpy(&value, g->in, bytes);
    g->in += bytes;
    g->left -= bytes;
    return value;
}

static void bar_write(struct guest *g, unsigned int bar, uint64_t offset, uint64_t value,
                      size_t bytes)
{
    uint32_t doorbell;

    vgpu_dev_bar_write(g->dev, bar, offset, &value, bytes, &doorbell);
    CHECK(doorbell == UINT32_MAX ||
          (bar == VGPU_BAR_DOORBELL && doorbell < CTXS && g->ctx[doorbell] != M_FREE));
}

static void reg_write(struct guest *g, uint32_t reg, uint32_t value)
{
    bar_write(g, VGPU_BAR_REGS, reg, value, 4);
}

/* A good queue block and ENABLE, from any state. */
static void verb_bring_up(struct guest *g)
{
    const uint32_t first = (uint32_t)take(g, 4);
    struct vgpu_queue_ro *ro = (void *)(g->ram + ADMIN_OFF);
    struct vgpu_queue_rw *rw;

    g->sq_log2 = 6 + take(g, 1) % 2;
    g->cq_log2 = g->sq_log2 + take(g, 1) % 2;
    g->sq_prod = first;
    g->hole_bytes = 0;
    if (!g->announced) {
        vgpu_dev_announce(g->dev, 1);
        g->announced = true;
    }
    reg_write(g, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    if (g->resetting) {
        g->resetting = false;
        vgpu_dev_reset_done(g->dev);
    }
    memset(g->ram, 0, SG_OFF);
    rw = (void *)(g->ram + vgpu_queue_rw_offset(g->cq_log2));
    ro->sq_cons = ro->cq_prod = ro->cq_event = rw->sq_prod = rw->cq_cons = first;
    reg_write(g, VGPU_REG_ADMIN_BASE_LO, (uint32_t)RAM_BASE);
    reg_write(g, VGPU_REG_ADMIN_LOG2, (uint32_t)g->cq_log2 << 8 | g->sq_log2);
    reg_write(g, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
}

static void fill_list(struct guest *g, uint32_t count)
{
    struct vgpu_sg_page *page = (void *)(g->ram + SG_OFF);

    for (uint32_t left = count, n = 0; left; n++) {
        const uint32_t here = left < VGPU_SG_PER_PAGE ? left : VGPU_SG_PER_PAGE;

        left -= here;
        page[n].count = here;
        page[n].rsvd = 0;
        page[n].next = left ? RAM_BASE + SG_OFF + (n + 1) * sizeof(*page) : 0;
        for (uint32_t i = 0; i < here; i++)
            page[n].sg[i] = (struct vgpu_sg_entry){.addr = RAM_BASE + i * 4096, .bytes = 4096};
    }
}

static void verb_command(struct guest *g)
{
    const uint32_t ctx = take(g, 1) % (CTXS + 1), buf = take(g, 1) % (BUFS + 1);
    const uint8_t damage = (uint8_t)take(g, 1);
    uint32_t count;
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_CREATE + take(g, 1) % 6};
    uint8_t *sq = g->ram + vgpu_queue_sq_offset(g->cq_log2);

    switch (sqe.opcode) {
    case VGPU_ADMIN_CTX_CREATE:
        sqe.u.ctx_create = (struct vgpu_admin_ctx_create){.queue_addr = RAM_BASE,
                                                          .arena_addr = RAM_BASE,
                                                          .ctx = ctx,
                                                          .arena_bytes = 4096,
                                                          .vector = 1,
                                                          .sq_log2 = 6,
                                                          .cq_log2 = 6};
        break;
    case VGPU_ADMIN_CTX_DESTROY: sqe.u.ctx_destroy.ctx = ctx; break;
    case VGPU_ADMIN_BUF_REGISTER:
        count = 1 + take(g, 2) % 600;
        fill_list(g, count);
        sqe.u.buf_register = (struct vgpu_admin_buf_register){.sg_addr = RAM_BASE + SG_OFF,
                                                              .bytes = (uint64_t)count * 4096,
                                                              .ctx = ctx,
                                                              .buf = buf,
                                                              .flags = 3,
                                                              .sg_count = count};
        break;
    case VGPU_ADMIN_BUF_UNREGISTER:
        sqe.u.buf_unregister = (struct vgpu_admin_buf_unregister){.ctx = ctx, .buf = buf};
        break;
    default:
        sqe.u.query = (struct vgpu_admin_query){
            .out_addr = RAM_BASE + OUT_OFF, .out_bytes = 256, .what = buf % 3, .ctx = ctx};
        break;
    }
    if (damage < sizeof(sqe))
        ((uint8_t *)&sqe)[damage] = (uint8_t)take(g, 1);
    memcpy(sq + (size_t)(g->sq_prod & ((1u << g->sq_log2) - 1)) * 64, &sqe, 64);
    g->sq_prod++;
    ((struct vgpu_queue_rw *)(g->ram + vgpu_queue_rw_offset(g->cq_log2)))->sq_prod = g->sq_prod;
}

static void verb_work(struct guest *g)
{
    unsigned int budget = (unsigned int)take(g, 1);

    /* never more than a ring of commands with the longest list each */
    for (int i = 0; i < 128 * 4 && vgpu_dev_work(g->dev, budget + 1); i++)
        continue;
    CHECK(budget < 4 || !vgpu_dev_work(g->dev, 1));
}

/* The driver takes all completions and believes in them. */
static void verb_reap(struct guest *g)
{
    struct vgpu_queue_ro *ro = (void *)(g->ram + ADMIN_OFF);
    struct vgpu_queue_rw *rw = (void *)(g->ram + vgpu_queue_rw_offset(g->cq_log2));

    rw->cq_cons = ro->cq_prod;
    ro->cq_event = ro->cq_prod + (uint32_t)take(g, 1) % 3;
}

static void forget_ctx(struct guest *g, uint32_t ctx)
{
    g->ctx[ctx] = M_FREE;
    g->create_owed[ctx] = false;
    memset(g->buf[ctx], 0, sizeof(g->buf[ctx]));
}

/* One answer that is owed, if the input picks such. */
static void verb_answer(struct guest *g)
{
    const uint32_t ctx = take(g, 1) % CTXS, buf = take(g, 1) % BUFS, what = take(g, 1) % 4;
    const uint16_t status = take(g, 1) % 4 ? VGPU_ST_OK : VGPU_ST_HOST_MEMORY;

    if (what == 0 && g->create_owed[ctx]) {
        g->create_owed[ctx] = false;
        if (g->ctx[ctx] == M_CREATING)
            g->ctx[ctx] = status == VGPU_ST_OK ? M_LIVE : M_FREE;
        vgpu_dev_ctx_created(g->dev, ctx, status);
    } else if (what == 1 && g->ctx[ctx] == M_DESTROYING) {
        forget_ctx(g, ctx);
        vgpu_dev_ctx_destroyed(g->dev, ctx);
    } else if (what == 2 && g->buf[ctx][buf] == B_REGISTERING) {
        g->buf[ctx][buf] = status == VGPU_ST_OK ? B_LIVE : B_FREE;
        vgpu_dev_buf_registered(g->dev, ctx, buf, status);
    } else if (what == 3 && g->buf[ctx][buf] == B_UNREGISTERING) {
        g->buf[ctx][buf] = B_FREE;
        vgpu_dev_buf_unregistered(g->dev, ctx, buf);
    }
}

static void verb_host_event(struct guest *g)
{
    const uint32_t ctx = take(g, 1) % CTXS;

    switch (take(g, 1) % 5) {
    case 0:
        if (g->ctx[ctx] != M_FREE)
            vgpu_dev_ctx_lost(g->dev, ctx, (uint16_t)take(g, 2), take(g, 8), "lost \x01");
        break;
    case 1: vgpu_dev_dma_unmapped(g->dev, RAM_BASE + take(g, 4), take(g, 8)); break;
    case 2:
        g->hole = RAM_BASE + take(g, 3);
        g->hole_bytes = take(g, 2);
        break;
    case 3: vgpu_dev_host_failed(g->dev, "fuzz"); break;
    case 4:
        if (g->resetting) {
            g->resetting = false;
            vgpu_dev_reset_done(g->dev);
        }
        break;
    }
}

static void verb_access(struct guest *g, bool write)
{
    const unsigned int bar = take(g, 1) % 6;
    const uint64_t offset = take(g, 1) & 1 ? take(g, 8) : take(g, 2) & ~3u;
    const size_t bytes = take(g, 1) & 7 ? 4 : 1 + take(g, 1) % 8;
    uint64_t value;

    if (write)
        bar_write(g, bar, offset, take(g, 8), bytes);
    else
        vgpu_dev_bar_read(g->dev, bar, offset, &value, bytes);
}

static void verb_config(struct guest *g)
{
    const uint32_t offset = (uint32_t)take(g, 2);
    const size_t bytes = 1 + take(g, 1) % 8;
    uint64_t value = take(g, 8);

    vgpu_dev_config_write(g->dev, offset, &value, bytes);
    vgpu_dev_config_read(g->dev, offset, &value, bytes);
}

static void verb_scribble(struct guest *g)
{
    const uint64_t offset = take(g, 3) % (RAM_BYTES - 8);
    const uint64_t value = take(g, 8);

    memcpy(g->ram + offset, &value, 1 + take(g, 1) % 8);
}

static void check_state(struct guest *g)
{
    struct vgpu_dev_stats stats;
    uint64_t contexts = 0, buffers = 0;

    for (uint32_t c = 0; c < CTXS; c++) {
        contexts += g->ctx[c] != M_FREE;
        for (uint32_t b = 0; b < BUFS; b++)
            buffers += g->buf[c][b] == B_LIVE || g->buf[c][b] == B_UNREGISTERING;
    }
    vgpu_dev_get_stats(g->dev, &stats);
    CHECK(stats.contexts == contexts && stats.buffers == buffers);
    CHECK((stats.state == VGPU_STATE_RESETTING) == g->resetting);
    CHECK(stats.lost <= stats.contexts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct vgpu_dev_config cfg = {
        .max_contexts = CTXS,
        .max_buffers = BUFS,
        .max_sg = 600,
        .max_buffer_bytes = 1 << 22,
        .max_image_bytes = 1 << 20,
        .heartbeat_ms = 10,
        .admin_max_ms = 100,
    };
    struct guest g = {.in = data, .left = size, .sq_log2 = 6, .cq_log2 = 6};

    g.ram = calloc(1, RAM_BYTES);
    g.msix = vgpu_msix_create(op_deliver, &g);
    g.dev = vgpu_dev_create(&cfg, &ops, &g);
    CHECK(g.ram && g.msix && g.dev);
    vgpu_dev_attach_msix(g.dev, g.msix);
    while (g.left) {
        switch (take(&g, 1) % 12) {
        case 0: verb_bring_up(&g); break;
        case 1:
        case 2: verb_command(&g); break;
        case 3: verb_work(&g); break;
        case 4:
        case 5: verb_answer(&g); break;
        case 6: verb_host_event(&g); break;
        case 7: verb_access(&g, true); break;
        case 8: verb_access(&g, false); break;
        case 9: verb_config(&g); break;
        case 10: verb_scribble(&g); break;
        case 11: verb_reap(&g); break;
        }
        g.now_ms += 3;
        check_state(&g);
    }
    vgpu_dev_destroy(g.dev);
    vgpu_msix_destroy(g.msix);
    free(g.ram);
    return 0;
}
