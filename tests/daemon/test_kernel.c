/* SPDX-License-Identifier: MIT */
/*
 * What a guest *kernel* gets for mistakes: registers, lifecycle, admin commands,
 * queue addresses.  The worst it can reach is its own device in state FAILED, and
 * a reset always leads out.
 */
#include "fixture.h"

#include <stddef.h>

/* A valid CTX_CREATE for a context that is not there yet. */
static struct vgpu_admin_sqe create_sqe(struct gs_vm *vm, void **block, void **arena)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_CREATE, .cookie = 77};

    *block = gs_ram_alloc(&vm->ram, vgpu_queue_bytes(6, 6));
    *arena = gs_ram_alloc(&vm->ram, 8192);
    ck_assert(*block && *arena);
    sqe.u.ctx_create = (struct vgpu_admin_ctx_create){
        .queue_addr = gs_ram_dma(&vm->ram, *block),
        .arena_addr = gs_ram_dma(&vm->ram, *arena),
        .ctx = 5,
        .arena_bytes = 8192,
        .vector = 1,
        .sq_log2 = 6,
        .cq_log2 = 6,
    };
    return sqe;
}

static int destroy(struct gs_vm *vm, uint32_t ctx)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_DESTROY, .u.ctx_destroy.ctx = ctx};

    return gs_admin(vm, &sqe, NULL);
}

struct row {
    const char *what;
    uint16_t offset;
    uint16_t bytes;
    uint64_t value;
    uint16_t status;
};

#define CREATE(field)                                                                              \
    (uint16_t) offsetof(struct vgpu_admin_sqe, u.ctx_create.field),                                \
        sizeof(((struct vgpu_admin_sqe *)0)->u.ctx_create.field)
#define REGISTER(field)                                                                            \
    (uint16_t) offsetof(struct vgpu_admin_sqe, u.buf_register.field),                              \
        sizeof(((struct vgpu_admin_sqe *)0)->u.buf_register.field)

static const struct row create_rows[] = {
    {"opcode 0", 0, 2, 0, VGPU_ST_ADMIN_OPCODE},
    {"context opcode in the admin queue", 0, 2, VGPU_CMD_MEM_ALLOC, VGPU_ST_ADMIN_OPCODE},
    {"flag", 2, 2, 1, VGPU_ST_ADMIN_RESERVED},
    {"reserved word", 4, 4, 1, VGPU_ST_ADMIN_RESERVED},
    {"reserved tail", 63, 1, 1, VGPU_ST_ADMIN_RESERVED},
    {"queue unaligned", CREATE(queue_addr), 0x100010, VGPU_ST_ADMIN_VALUE},
    {"queue outside of RAM", CREATE(queue_addr), 0x7000000000ull, VGPU_ST_BAD_DMA},
    {"queue at the end of the address space", CREATE(queue_addr), 0xfffffffffffff000ull,
     VGPU_ST_ADMIN_VALUE},
    {"queue reaching over the end of RAM", CREATE(queue_addr), 0x100000000ull + (32u << 20) - 4096,
     VGPU_ST_BAD_DMA},
    {"arena unaligned", CREATE(arena_addr), 0x100001, VGPU_ST_ADMIN_VALUE},
    {"arena outside of RAM", CREATE(arena_addr), 0x7000000000ull, VGPU_ST_BAD_DMA},
    {"arena of 0 bytes", CREATE(arena_bytes), 0, VGPU_ST_ADMIN_VALUE},
    {"arena of half a page", CREATE(arena_bytes), 2048, VGPU_ST_ADMIN_VALUE},
    {"arena over the limit", CREATE(arena_bytes), VGPU_MAX_ARENA_BYTES + 4096, VGPU_ST_ADMIN_VALUE},
    {"context beyond the device's", CREATE(ctx), VGPU_MAX_CONTEXTS, VGPU_ST_ADMIN_VALUE},
    {"context -1", CREATE(ctx), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {"context that exists", CREATE(ctx), 0, VGPU_ST_CONTEXT_EXISTS},
    {"admin vector", CREATE(vector), 0, VGPU_ST_ADMIN_VALUE},
    {"vector beyond the device's", CREATE(vector), VGPU_MSIX_VECTORS, VGPU_ST_ADMIN_VALUE},
    {"SQ of 32 entries", CREATE(sq_log2), 5, VGPU_ST_ADMIN_VALUE},
    {"SQ of 8192 entries", CREATE(sq_log2), 13, VGPU_ST_ADMIN_VALUE},
    {"CQ of 2^255 entries", CREATE(cq_log2), 255, VGPU_ST_ADMIN_VALUE},
};

START_TEST(one_broken_field_of_ctx_create_is_refused)
{
    void *block, *arena;
    struct vgpu_admin_sqe good = create_sqe(fx.vm[0], &block, &arena);

    for (size_t i = 0; i < sizeof(create_rows) / sizeof(create_rows[0]); i++) {
        const struct row *row = &create_rows[i];
        struct vgpu_admin_sqe sqe = good;
        int rc;

        memcpy((uint8_t *)&sqe + row->offset, &row->value, row->bytes);
        rc = gs_admin(fx.vm[0], &sqe, NULL);
        ck_assert_msg(rc == row->status, "%s: got %s, expected %s", row->what, fx_status_name(rc),
                      fx_status_name(row->status));
    }
    fx_ok(gs_admin(fx.vm[0], &good, NULL));
    fx_ok(destroy(fx.vm[0], 5));
    fx_works(fx.ctx[0]);
}
END_TEST

static const struct row register_rows[] = {
    {"flag unknown", REGISTER(flags), 4, VGPU_ST_ADMIN_RESERVED},
    {"no direction", REGISTER(flags), 0, VGPU_ST_ADMIN_VALUE},
    {"buffer 0, the arena's", REGISTER(buf), 0, VGPU_ST_ADMIN_VALUE},
    {"buffer beyond the table", REGISTER(buf), VGPU_MAX_BUFFERS, VGPU_ST_ADMIN_VALUE},
    {"context that is not there", REGISTER(ctx), 9, VGPU_ST_NO_CONTEXT},
    {"context beyond the device's", REGISTER(ctx), 0x10000, VGPU_ST_NO_CONTEXT},
    {"bytes 0", REGISTER(bytes), 0, VGPU_ST_ADMIN_VALUE},
    {"bytes one short of the list", REGISTER(bytes), 8191, VGPU_ST_ADMIN_VALUE},
    {"bytes over the list", REGISTER(bytes), 8193, VGPU_ST_ADMIN_VALUE},
    {"bytes 2^64-1", REGISTER(bytes), ~0ull, VGPU_ST_ADMIN_VALUE},
    {"list unaligned", REGISTER(sg_addr), 0x100008, VGPU_ST_ADMIN_VALUE},
    {"list outside of RAM", REGISTER(sg_addr), 0x7000000000ull, VGPU_ST_BAD_DMA},
    {"list of no entries", REGISTER(sg_count), 0, VGPU_ST_ADMIN_VALUE},
    {"list longer than its pages", REGISTER(sg_count), 3, VGPU_ST_ADMIN_VALUE},
    {"list of 2^32-1 entries", REGISTER(sg_count), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {"reserved", 63, 1, 1, VGPU_ST_ADMIN_RESERVED},
};

/* Two pages, registered through a hand-made list page. */
static struct vgpu_admin_sqe register_sqe(struct gs_vm *vm, struct vgpu_sg_page **list,
                                          uint8_t **data)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_BUF_REGISTER, .cookie = 78};

    *list = gs_ram_alloc(&vm->ram, 8192);
    *data = gs_ram_alloc(&vm->ram, 16384);
    ck_assert(*list && *data);
    (*list)->count = 2;
    (*list)->sg[0] = (struct vgpu_sg_entry){gs_ram_dma(&vm->ram, *data), 4096};
    (*list)->sg[1] = (struct vgpu_sg_entry){gs_ram_dma(&vm->ram, *data + 8192), 4096};
    sqe.u.buf_register = (struct vgpu_admin_buf_register){.sg_addr = gs_ram_dma(&vm->ram, *list),
                                                          .bytes = 8192,
                                                          .ctx = 0,
                                                          .buf = 40,
                                                          .flags = VGPU_BUF_FLAGS,
                                                          .sg_count = 2};
    return sqe;
}

START_TEST(one_broken_field_of_buf_register_is_refused)
{
    struct gs_vm *vm = fx.vm[0];
    struct vgpu_sg_page *list;
    uint8_t *data;
    struct vgpu_admin_sqe good = register_sqe(vm, &list, &data);

    for (size_t i = 0; i < sizeof(register_rows) / sizeof(register_rows[0]); i++) {
        const struct row *row = &register_rows[i];
        struct vgpu_admin_sqe sqe = good;
        int rc;

        memcpy((uint8_t *)&sqe + row->offset, &row->value, row->bytes);
        rc = gs_admin(vm, &sqe, NULL);
        ck_assert_msg(rc == row->status, "%s: got %s, expected %s", row->what, fx_status_name(rc),
                      fx_status_name(row->status));
    }
    fx_ok(gs_admin(vm, &good, NULL));
    fx_is(gs_admin(vm, &good, NULL), VGPU_ST_BUFFER_EXISTS);
    fx_ok(gs_buf_unregister_raw(vm, 0, 40));
    fx_is(gs_buf_unregister_raw(vm, 0, 40), VGPU_ST_NO_BUFFER);
    fx_works(fx.ctx[0]);
}
END_TEST

static int try_list(struct gs_vm *vm, const struct vgpu_admin_sqe *sqe)
{
    int rc = gs_admin(vm, sqe, NULL);

    if (rc == 0)
        fx_ok(gs_buf_unregister_raw(vm, 0, sqe->u.buf_register.buf));
    return rc;
}

START_TEST(scatter_lists_with_bad_pieces_are_refused)
{
    struct gs_vm *vm = fx.vm[0];
    struct vgpu_sg_page *list, good;
    uint8_t *data;
    struct vgpu_admin_sqe sqe = register_sqe(vm, &list, &data);

    good = *list;
    fx_ok(try_list(vm, &sqe));
    list->sg[1].addr = 0x7000000000ull;
    fx_is(try_list(vm, &sqe), VGPU_ST_BAD_DMA);
    *list = good;
    list->sg[1].addr = ~0ull & ~4095ull;
    list->sg[1].bytes = 8192;
    sqe.u.buf_register.bytes = 4096 + 8192;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    sqe.u.buf_register.bytes = 8192;
    list->sg[0].bytes = 0;
    list->sg[1].bytes = 8192;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    /* Two lengths whose sum wraps to what the command says. */
    list->sg[0].bytes = ~0ull - 4095;
    list->sg[1].bytes = 4096 + 8192;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    /* A hole: the first piece may not end inside of a page. */
    list->sg[0].bytes = 4000;
    list->sg[1].bytes = 4192;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    list->count = 0;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    list->count = 256;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    list->rsvd = 1;
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_RESERVED);
    *list = good;
    /* A chain that comes back to itself ends with the count. */
    list->next = gs_ram_dma(&vm->ram, list);
    fx_is(try_list(vm, &sqe), VGPU_ST_ADMIN_VALUE);
    *list = good;
    fx_ok(try_list(vm, &sqe));
    fx_works(fx.ctx[0]);
}
END_TEST

/* VGPU-SEC-001 */
START_TEST(a_buffer_belongs_to_one_context)
{
    struct gs_ctx *other;
    struct gs_buf buf;
    uint64_t dev;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &other));
    fx_ok(gs_buf_create(fx.ctx[0], 4096, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(other, 4096, &dev));
    fx_is(gs_copy_h2d(other, dev, &buf, 0, 64), VGPU_ST_BAD_BUFFER);
    fx_is(gs_buf_unregister_raw(fx.vm[0], other->id, buf.id), VGPU_ST_NO_BUFFER);
    /* Device memory of another context is no address here. */
    fx_is(gs_copy_h2d(fx.ctx[0], dev, &buf, 0, 64), VGPU_ST_BAD_ADDRESS);
    fx_ok(gs_ctx_destroy(other));
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

START_TEST(destroying_what_is_not_there_is_refused)
{
    fx_is(destroy(fx.vm[0], 17), VGPU_ST_NO_CONTEXT);
    fx_is(destroy(fx.vm[0], 0xffffffff), VGPU_ST_NO_CONTEXT);
    fx_ok(destroy(fx.vm[0], fx.ctx[0]->id));
    fx_is(destroy(fx.vm[0], fx.ctx[0]->id), VGPU_ST_NO_CONTEXT);
}
END_TEST

START_TEST(admin_index_beyond_the_ring_fails_the_device)
{
    struct gs_vm *vm = fx.vm[0];

    __atomic_store_n(&vm->admin.rw->sq_prod, vm->admin.sq_prod + 65, __ATOMIC_RELEASE);
    gs_reg_write(vm, VGPU_REG_ADMIN_DOORBELL, 1);
    fx_is(gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_FAILED, GS_TIMEOUT_MS), 0);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_STATUS), VGPU_ERR_ADMIN);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_DETAIL), VGPU_ST_ADMIN_RING);
    gs_reg_write(vm, VGPU_REG_ERR_STATUS, ~0u);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_STATUS), 0);
    gs_ctx_forget(fx.ctx[0]);
    fx_is(gs_vm_reset(vm), 0);
    fx_ok(gs_ctx_create(vm, NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(unmapped_admin_queue_fails_the_device)
{
    struct gs_vm *vm = fx.vm[0];
    const struct gs_region *region = &vm->ram.region[0];

    fx_is(gs_vfu_dma_unmap(&vm->vfu, region->dma, region->bytes), 0);
    fx_is(gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_FAILED, GS_TIMEOUT_MS), 0);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_STATUS), VGPU_ERR_DMA);
    fx_is(gs_vfu_dma_map(&vm->vfu, region->dma, region->bytes, vm->ram.fd, region->offset, 3), 0);
    gs_ctx_forget(fx.ctx[0]);
    fx_is(gs_vm_reset(vm), 0);
    fx_ok(gs_ctx_create(vm, NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

struct enable_row {
    const char *what;
    uint32_t reg;
    uint32_t value;
    uint16_t status;
};

static const struct enable_row enable_rows[] = {
    {"queue base unaligned", VGPU_REG_ADMIN_BASE_LO, 0x00100800, VGPU_ST_ADMIN_VALUE},
    {"queue base outside of RAM", VGPU_REG_ADMIN_BASE_HI, 0x70, VGPU_ST_BAD_DMA},
    {"queues too small", VGPU_REG_ADMIN_LOG2, 0x0505, VGPU_ST_ADMIN_VALUE},
    {"queues too large", VGPU_REG_ADMIN_LOG2, 0x0d0d, VGPU_ST_ADMIN_VALUE},
    {"nonsense sizes", VGPU_REG_ADMIN_LOG2, 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {"features not offered", VGPU_REG_DRV_FEATURES_HI, 0x80000000, VGPU_ST_BAD_FEATURES},
};

START_TEST(enable_with_a_bad_queue_fails_the_device_with_the_reason)
{
    struct gs_vm *vm = fx.vm[0];

    gs_ctx_forget(fx.ctx[0]);
    fx.ctx[0] = NULL;
    for (size_t i = 0; i < sizeof(enable_rows) / sizeof(enable_rows[0]); i++) {
        const struct enable_row *row = &enable_rows[i];
        uint64_t dma = gs_ram_dma(&vm->ram, vm->admin_block);

        gs_reg_write(vm, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
        fx_is(gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS), 0);
        gs_reg_write(vm, VGPU_REG_ERR_STATUS, ~0u);
        gs_reg_write(vm, VGPU_REG_ADMIN_BASE_LO, (uint32_t)dma);
        gs_reg_write(vm, VGPU_REG_ADMIN_BASE_HI, (uint32_t)(dma >> 32));
        gs_reg_write(vm, VGPU_REG_ADMIN_LOG2, 0x0606);
        gs_reg_write(vm, row->reg, row->value);
        gs_reg_write(vm, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
        ck_assert_msg(gs_reg_read(vm, VGPU_REG_STATE) == VGPU_STATE_FAILED, "%s: accepted",
                      row->what);
        ck_assert_msg(gs_reg_read(vm, VGPU_REG_ERR_STATUS) & VGPU_ERR_ENABLE, "%s: ERR_STATUS %x",
                      row->what, gs_reg_read(vm, VGPU_REG_ERR_STATUS));
        fx_is((int)gs_reg_read(vm, VGPU_REG_ERR_DETAIL), row->status);
    }
    gs_reg_write(vm, VGPU_REG_ERR_STATUS, ~0u);
    gs_reg_write(vm, VGPU_REG_DRV_FEATURES_HI, 0);
    fx_is(gs_vm_reset(vm), 0);
    fx_ok(gs_ctx_create(vm, NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(register_accesses_of_any_shape_are_harmless)
{
    static const uint32_t offsets[] = {0x000, 0x001, 0x003, 0x0bf, 0x1f8, 0x200, 0x3ffc, 0x3ff8};
    struct gs_vm *vm = fx.vm[0];
    uint8_t data[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        for (uint32_t bytes = 1; bytes <= 8 && offsets[i] + bytes <= VGPU_BAR_REGS_SIZE; bytes++) {
            if (bytes == 4 && offsets[i] % 4 == 0)
                continue;
            memset(data, 0xff, sizeof(data));
            fx_is(gs_vfu_region_read(&vm->vfu, VGPU_BAR_REGS, offsets[i], data, bytes), 0);
            for (uint32_t b = 0; b < bytes; b++)
                ck_assert_msg(data[b] == 0, "%u bytes at %#x are not 0", bytes, offsets[i]);
            memset(data, 0xff, sizeof(data));
            fx_is(gs_vfu_region_write(&vm->vfu, VGPU_BAR_REGS, offsets[i], data, bytes, false), 0);
            ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
            gs_reg_write(vm, VGPU_REG_ERR_STATUS, VGPU_ERR_ACCESS);
        }
    }
    /* Every register of the map, written with all ones, then the device still answers a reset. */
    for (uint32_t reg = VGPU_REG_ADMIN_DOORBELL; reg < VGPU_REG_END; reg += 4)
        if (reg != VGPU_REG_TEST_DMA_GO)
            gs_reg_write(vm, reg, 0xffffffff);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_MAGIC), VGPU_MAGIC);
    gs_reg_write(vm, VGPU_REG_ERR_STATUS, ~0u);
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(doorbell_bar_ignores_all_but_the_doorbell)
{
    struct gs_vm *vm = fx.vm[0];
    uint64_t value = 1;

    for (uint64_t page = 0; page < 256; page += 51) {
        for (uint32_t off = 0; off < 4096; off += 1021) {
            fx_is(gs_vfu_region_write(&vm->vfu, VGPU_BAR_DOORBELL, page * 4096 + off, &value, 4,
                                      false),
                  0);
            fx_is(gs_vfu_region_read(&vm->vfu, VGPU_BAR_DOORBELL, page * 4096 + off, &value, 4), 0);
            ck_assert_uint_eq((uint32_t)value, 0);
        }
    }
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(test_dma_to_nowhere_is_reported)
{
    struct gs_vm *vm = fx.vm[0];

    gs_reg_write(vm, VGPU_REG_TEST_DMA_LO, 0x1000);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_HI, 0x7000);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_LEN, 64);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_GO, 1);
    fx_is((int)gs_reg_read(vm, VGPU_REG_TEST_DMA_STATUS), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_STATUS), VGPU_ERR_DMA);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_ERR_ADDR_HI), 0x7000);
    gs_reg_write(vm, VGPU_REG_ERR_STATUS, VGPU_ERR_DMA);
    fx_works(fx.ctx[0]);
}
END_TEST

/* Ring, arena or a buffer's page unmapped while in use: the context, or the buffer, is gone. */
/* VGPU-ADM-051 */
START_TEST(unmapping_a_live_context_loses_it_alone)
{
    struct gs_vm *vm = fx.vm[0];
    struct vgpu_ctx_status status;
    struct gs_ctx *victim = NULL, *ctx;
    const struct gs_region *region = &vm->ram.region[1];
    void *filler;

    /* Contexts until one lies wholly in the other half of RAM, where nothing else is. */
    filler = gs_ram_alloc(&vm->ram, (31u << 20));
    ck_assert_ptr_nonnull(filler);
    for (int i = 0; i < 16 && !victim; i++) {
        fx_ok(gs_ctx_create(vm, NULL, &ctx));
        if (gs_ram_dma(&vm->ram, ctx->block) >= region->dma &&
            gs_ram_dma(&vm->ram, ctx->block) < region->dma + region->bytes &&
            gs_ram_dma(&vm->ram, ctx->arena) < region->dma + region->bytes)
            victim = ctx;
    }
    ck_assert_ptr_nonnull(victim);
    fx_works(victim);
    fx_is(gs_vfu_dma_unmap(&vm->vfu, region->dma, region->bytes), 0);
    fx_is(gs_ctx_wait_lost(victim, &status), VGPU_ST_UNMAPPED);
    fx_is(gs_vfu_dma_map(&vm->vfu, region->dma, region->bytes, vm->ram.fd, region->offset, 3), 0);
    fx_works(fx.ctx[0]);
    fx_ok(gs_ctx_destroy(victim));
    fx_ok(gs_ctx_create(vm, NULL, &victim));
    fx_works(victim);
    gs_ram_free(&vm->ram, filler, 31u << 20);
}
END_TEST

START_TEST(reset_ends_every_context)
{
    struct gs_vm *vm = fx.vm[0];
    struct fx_account account;
    struct gs_ctx *more[8];
    uint64_t dev;

    for (int i = 0; i < 8; i++) {
        fx_ok(gs_ctx_create(vm, NULL, &more[i]));
        fx_ok(gs_mem_alloc(more[i], 1 << 20, &dev));
    }
    fx_account(0, &account);
    ck_assert_uint_eq(account.contexts, 9);
    ck_assert_uint_eq(account.executors, 9);
    gs_reg_write(vm, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    fx_is(gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS), 0);
    fx_account(0, &account);
    ck_assert_uint_eq(account.contexts, 0);
    ck_assert_uint_eq(account.executors, 0);
    ck_assert_uint_eq(account.memory_held, 0);
    for (int i = 0; i < 8; i++)
        gs_ctx_forget(more[i]);
    gs_ctx_forget(fx.ctx[0]);
    fx_is(gs_vm_enable(vm, 0xfffffffe), 0);
    fx_ok(gs_ctx_create(vm, NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

static Suite *kernel_suite(void)
{
    Suite *s = suite_create("kernel");
    TCase *tc = fx_tcase(s, "admin", fx_setup_cpu);

    tcase_add_test(tc, one_broken_field_of_ctx_create_is_refused);
    tcase_add_test(tc, one_broken_field_of_buf_register_is_refused);
    tcase_add_test(tc, scatter_lists_with_bad_pieces_are_refused);
    tcase_add_test(tc, a_buffer_belongs_to_one_context);
    tcase_add_test(tc, destroying_what_is_not_there_is_refused);
    tc = fx_tcase(s, "lifecycle", fx_setup_cpu);
    tcase_add_test(tc, admin_index_beyond_the_ring_fails_the_device);
    tcase_add_test(tc, unmapped_admin_queue_fails_the_device);
    tcase_add_test(tc, enable_with_a_bad_queue_fails_the_device_with_the_reason);
    tcase_add_test(tc, unmapping_a_live_context_loses_it_alone);
    tcase_add_test(tc, reset_ends_every_context);
    tc = fx_tcase(s, "registers", fx_setup_cpu);
    tcase_add_test(tc, register_accesses_of_any_shape_are_harmless);
    tcase_add_test(tc, doorbell_bar_ignores_all_but_the_doorbell);
    tcase_add_test(tc, test_dma_to_nowhere_is_reported);
    return s;
}

VGPU_UNIT_MAIN(kernel_suite)
