/* SPDX-License-Identifier: MIT */
/*
 * What a guest program gets for a wrong command: the status that names the
 * mistake, and a context that works as before.
 *
 * Each row starts from a submission that is valid as it stands (which the test
 * runs first) and breaks one field.
 */
#include "fixture.h"

#include <stddef.h>

#define BUF_BYTES 8192u
#define DEV_BYTES 8192u

/* A context with one of everything a command can name. */
struct world {
    struct gs_ctx *ctx;
    struct gs_buf rw, ro, wo;
    uint64_t dev;
    uint32_t module, function, stream, event;
};

static void world_init(struct world *w)
{
    struct fx_kernel k;

    w->ctx = fx.ctx[0];
    fx_ok(gs_buf_create(w->ctx, BUF_BYTES, 0, VGPU_BUF_FLAGS, &w->rw));
    fx_ok(gs_buf_create(w->ctx, BUF_BYTES, 0, VGPU_BUF_DEVICE_READS, &w->ro));
    fx_ok(gs_buf_create(w->ctx, BUF_BYTES, 0, VGPU_BUF_DEVICE_WRITES, &w->wo));
    fx_ok(gs_mem_alloc(w->ctx, DEV_BYTES, &w->dev));
    k = fx_kernel(w->ctx, fx_ptx_basic, "where");
    w->module = k.module;
    w->function = k.function;
    fx_ok(gs_stream_create(w->ctx, &w->stream));
    fx_ok(gs_event_create(w->ctx, &w->event));
    memcpy(w->ctx->arena + GS_ARENA_NAME, "where", 5);
    memcpy(w->ctx->arena + GS_ARENA_PARAMS, &w->dev, sizeof(w->dev));
}

/* Valid submissions, by opcode. */
static struct vgpu_sqe valid(const struct world *w, uint16_t opcode)
{
    struct vgpu_sqe sqe = {.opcode = opcode};

    switch (opcode) {
    case VGPU_CMD_MEM_ALLOC: sqe.u.mem_alloc.bytes = 4096; break;
    case VGPU_CMD_MEM_INFO: sqe.u.mem_info.out_off = GS_ARENA_RECORD; break;
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H:
        sqe.u.copy = (struct vgpu_cmd_copy){w->dev, 0, 64, w->rw.id, {0}};
        break;
    case VGPU_CMD_COPY_D2D:
        sqe.u.copy_d2d = (struct vgpu_cmd_copy_d2d){w->dev, w->dev + 4096, 64, {0}};
        break;
    case VGPU_CMD_MEMSET: sqe.u.memset = (struct vgpu_cmd_memset){w->dev, 16, 7, 4, {0}}; break;
    case VGPU_CMD_FUNC_LOOKUP:
        sqe.u.lookup.name_off = GS_ARENA_NAME;
        sqe.u.lookup.out_off = GS_ARENA_RECORD;
        sqe.u.lookup.module = w->module;
        sqe.u.lookup.name_bytes = 5;
        sqe.u.lookup.out_bytes = sizeof(struct vgpu_func_info);
        break;
    case VGPU_CMD_LAUNCH:
        sqe.u.launch = (struct vgpu_cmd_launch){.function = w->function,
                                                .grid = {1, 1, 1},
                                                .block = {32, 1, 1},
                                                .param_bytes = 8,
                                                .param_off = GS_ARENA_PARAMS};
        break;
    case VGPU_CMD_EVENT_RECORD:
    case VGPU_CMD_EVENT_WAIT: sqe.u.event.id = w->event; break;
    default: break;
    }
    return sqe;
}

/* One broken field: `bytes` of `value` at `offset` of the submission. */
struct row {
    const char *what;
    uint16_t opcode;
    uint16_t offset;
    uint16_t bytes;
    uint64_t value;
    uint16_t status;
};

#define AT(field)    (uint16_t) offsetof(struct vgpu_sqe, field), sizeof(((struct vgpu_sqe *)0)->field)
#define BYTE(offset) (offset), 1
#define HUGE_OFF     0xffffffffffffff00ull /* an offset that wraps when a length is added */

static const struct row rows[] = {
    {"unknown opcode", VGPU_CMD_NOP, AT(opcode), 0x7777, VGPU_ST_BAD_OPCODE},
    {"reserved opcode", VGPU_CMD_NOP, AT(opcode), 0x0002, VGPU_ST_BAD_OPCODE},
    {"admin opcode in a context queue", VGPU_CMD_NOP, AT(opcode), VGPU_ADMIN_CTX_CREATE,
     VGPU_ST_BAD_OPCODE},
    {"unknown flag", VGPU_CMD_NOP, AT(flags), 1, VGPU_ST_BAD_FLAGS},
    {"highest flag", VGPU_CMD_COPY_H2D, AT(flags), 0x8000, VGPU_ST_BAD_FLAGS},
    {"NOP with payload", VGPU_CMD_NOP, BYTE(63), 1, VGPU_ST_BAD_RESERVED},
    {"FENCE with payload", VGPU_CMD_FENCE, BYTE(16), 1, VGPU_ST_BAD_RESERVED},
    {"MEM_ALLOC reserved", VGPU_CMD_MEM_ALLOC, BYTE(63), 1, VGPU_ST_BAD_RESERVED},
    {"COPY reserved", VGPU_CMD_COPY_H2D, BYTE(44), 1, VGPU_ST_BAD_RESERVED},
    {"MEMSET reserved", VGPU_CMD_MEMSET, BYTE(40), 1, VGPU_ST_BAD_RESERVED},
    {"LAUNCH reserved", VGPU_CMD_LAUNCH, BYTE(48), 1, VGPU_ST_BAD_RESERVED},
    {"EVENT reserved", VGPU_CMD_EVENT_RECORD, BYTE(20), 1, VGPU_ST_BAD_RESERVED},

    {"zero-size allocation", VGPU_CMD_MEM_ALLOC, AT(u.mem_alloc.bytes), 0, VGPU_ST_BAD_VALUE},
    {"allocation over the limit", VGPU_CMD_MEM_ALLOC, AT(u.mem_alloc.bytes), 257u << 20,
     VGPU_ST_OUT_OF_MEMORY},
    {"allocation of 2^64-1", VGPU_CMD_MEM_ALLOC, AT(u.mem_alloc.bytes), ~0ull,
     VGPU_ST_OUT_OF_MEMORY},

    {"copy: unknown buffer", VGPU_CMD_COPY_H2D, AT(u.copy.buf), 4000, VGPU_ST_BAD_BUFFER},
    {"copy: buffer beyond the table", VGPU_CMD_COPY_H2D, AT(u.copy.buf), 0xffffffff,
     VGPU_ST_BAD_BUFFER},
    {"copy: offset at the end", VGPU_CMD_COPY_H2D, AT(u.copy.buf_off), BUF_BYTES - 63,
     VGPU_ST_BAD_RANGE},
    {"copy: offset that wraps", VGPU_CMD_COPY_H2D, AT(u.copy.buf_off), HUGE_OFF, VGPU_ST_BAD_RANGE},
    {"copy: length of 2^63", VGPU_CMD_COPY_D2H, AT(u.copy.bytes), 1ull << 63, VGPU_ST_BAD_RANGE},
    {"copy: length over the buffer", VGPU_CMD_COPY_D2H, AT(u.copy.bytes), BUF_BYTES + 1,
     VGPU_ST_BAD_RANGE},
    {"copy: address outside", VGPU_CMD_COPY_H2D, AT(u.copy.dev_addr), 0x1000, VGPU_ST_BAD_ADDRESS},
    {"copy: address that wraps", VGPU_CMD_COPY_H2D, AT(u.copy.dev_addr), HUGE_OFF,
     VGPU_ST_BAD_ADDRESS},
    {"device copy: source outside", VGPU_CMD_COPY_D2D, AT(u.copy_d2d.src), 64, VGPU_ST_BAD_ADDRESS},
    {"device copy: length that wraps", VGPU_CMD_COPY_D2D, AT(u.copy_d2d.bytes), HUGE_OFF,
     VGPU_ST_BAD_ADDRESS},
    {"memset: width 3", VGPU_CMD_MEMSET, AT(u.memset.width), 3, VGPU_ST_BAD_VALUE},
    {"memset: width 0", VGPU_CMD_MEMSET, AT(u.memset.width), 0, VGPU_ST_BAD_VALUE},
    {"memset: width 8", VGPU_CMD_MEMSET, AT(u.memset.width), 8, VGPU_ST_BAD_VALUE},
    {"memset: count that wraps", VGPU_CMD_MEMSET, AT(u.memset.count), 0x4000000000000001ull,
     VGPU_ST_BAD_ADDRESS},
    {"memset: count over the allocation", VGPU_CMD_MEMSET, AT(u.memset.count), DEV_BYTES / 4 + 1,
     VGPU_ST_BAD_ADDRESS},

    {"record: unknown buffer", VGPU_CMD_MEM_INFO, AT(u.mem_info.out_buf), 999, VGPU_ST_BAD_BUFFER},
    {"record: outside of the buffer", VGPU_CMD_MEM_INFO, AT(u.mem_info.out_off), (256u << 10) - 31,
     VGPU_ST_BAD_RANGE},
    {"record: offset that wraps", VGPU_CMD_MEM_INFO, AT(u.mem_info.out_off), HUGE_OFF,
     VGPU_ST_BAD_RANGE},

    {"lookup: unknown module", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.module), 12345,
     VGPU_ST_BAD_HANDLE},
    {"lookup: name that is not there", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.name_bytes), 4,
     VGPU_ST_NOT_FOUND},
    {"lookup: empty name", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.name_bytes), 0, VGPU_ST_BAD_VALUE},
    {"lookup: name too long", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.name_bytes),
     VGPU_MAX_NAME_BYTES + 1, VGPU_ST_BAD_VALUE},
    {"lookup: name outside", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.name_off), HUGE_OFF,
     VGPU_ST_BAD_RANGE},
    {"lookup: no room for the record", VGPU_CMD_FUNC_LOOKUP, AT(u.lookup.out_bytes), 63,
     VGPU_ST_BAD_VALUE},

    {"launch: unknown function", VGPU_CMD_LAUNCH, AT(u.launch.function), 0x7fffffff,
     VGPU_ST_BAD_HANDLE},
    {"launch: function 0", VGPU_CMD_LAUNCH, AT(u.launch.function), 0, VGPU_ST_BAD_HANDLE},
    {"launch: parameters too short", VGPU_CMD_LAUNCH, AT(u.launch.param_bytes), 7,
     VGPU_ST_BAD_PARAMS},
    {"launch: parameters too long", VGPU_CMD_LAUNCH, AT(u.launch.param_bytes), 9,
     VGPU_ST_BAD_PARAMS},
    {"launch: parameters unaligned", VGPU_CMD_LAUNCH, AT(u.launch.param_off), GS_ARENA_PARAMS + 8,
     VGPU_ST_BAD_VALUE},
    {"launch: parameters outside the arena", VGPU_CMD_LAUNCH, AT(u.launch.param_off), 0xfffffff0,
     VGPU_ST_BAD_RANGE},
    {"launch: grid.x 0", VGPU_CMD_LAUNCH, AT(u.launch.grid[0]), 0, VGPU_ST_BAD_VALUE},
    {"launch: grid.y over the limit", VGPU_CMD_LAUNCH, AT(u.launch.grid[1]), 65536,
     VGPU_ST_LAUNCH_RESOURCES},
    {"launch: grid.x over the limit", VGPU_CMD_LAUNCH, AT(u.launch.grid[0]), 0x80000000u,
     VGPU_ST_LAUNCH_RESOURCES},
    {"launch: block of 1025", VGPU_CMD_LAUNCH, AT(u.launch.block[0]), 1025,
     VGPU_ST_LAUNCH_RESOURCES},
    {"launch: block of 32 x 33", VGPU_CMD_LAUNCH, AT(u.launch.block[1]), 33,
     VGPU_ST_LAUNCH_RESOURCES},
    {"launch: block.z 0", VGPU_CMD_LAUNCH, AT(u.launch.block[2]), 0, VGPU_ST_BAD_VALUE},
    {"launch: shared memory over the limit", VGPU_CMD_LAUNCH, AT(u.launch.shared_bytes), 1u << 20,
     VGPU_ST_LAUNCH_RESOURCES},

    {"unknown stream", VGPU_CMD_NOP, AT(stream), 777, VGPU_ST_BAD_HANDLE},
    {"unknown stream of a copy", VGPU_CMD_COPY_H2D, AT(stream), 0xffffffff, VGPU_ST_BAD_HANDLE},
    {"unknown event", VGPU_CMD_EVENT_RECORD, AT(u.event.id), 4242, VGPU_ST_BAD_HANDLE},
    {"event 0", VGPU_CMD_EVENT_WAIT, AT(u.event.id), 0, VGPU_ST_BAD_HANDLE},
};

/* VGPU-MEM-020 VGPU-LAUNCH-001 VGPU-CMD-004 */
START_TEST(one_broken_field_is_refused_by_name)
{
    struct world w;

    world_init(&w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct vgpu_sqe sqe = valid(&w, row->opcode);
        struct vgpu_cqe cqe;
        int rc = gs_run(w.ctx, &sqe, &cqe);

        ck_assert_msg(rc == 0, "%s: unbroken it gave %s", row->what, fx_status_name(rc));
        if (row->opcode == VGPU_CMD_MEM_ALLOC)
            fx_ok(gs_mem_free(w.ctx, cqe.result));
        memcpy((uint8_t *)&sqe + row->offset, &row->value, row->bytes);
        rc = gs_run(w.ctx, &sqe, &cqe);
        ck_assert_msg(rc == row->status, "%s: got %s, expected %s", row->what, fx_status_name(rc),
                      fx_status_name(row->status));
        ck_assert_msg(cqe.result == 0, "%s: a refused command has a result", row->what);
    }
    fx_works(w.ctx);
}
END_TEST

START_TEST(immediate_commands_take_no_stream)
{
    struct world w;
    struct vgpu_sqe sqe;

    world_init(&w);
    sqe = valid(&w, VGPU_CMD_MEM_ALLOC);
    sqe.stream = w.stream;
    fx_is(gs_run(w.ctx, &sqe, NULL), VGPU_ST_BAD_VALUE);
    sqe = valid(&w, VGPU_CMD_FENCE);
    sqe.stream = w.stream;
    fx_is(gs_run(w.ctx, &sqe, NULL), VGPU_ST_BAD_VALUE);
}
END_TEST

/* VGPU-MEM-010 */
START_TEST(buffer_direction_is_enforced)
{
    struct world w;
    char log[64];
    uint32_t module;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_INFO};

    world_init(&w);
    fx_ok(gs_copy_h2d(w.ctx, w.dev, &w.ro, 0, 64));
    fx_ok(gs_copy_d2h(w.ctx, &w.wo, 0, w.dev, 64));
    memset(w.ro.ptr, 0x11, BUF_BYTES);
    fx_is(gs_copy_d2h(w.ctx, &w.ro, 0, w.dev, 64), VGPU_ST_BAD_ACCESS);
    ck_assert_uint_eq(w.ro.ptr[0], 0x11);
    fx_is(gs_copy_h2d(w.ctx, w.dev, &w.wo, 0, 64), VGPU_ST_BAD_ACCESS);
    sqe.u.mem_info.out_buf = w.ro.id;
    fx_is(gs_run(w.ctx, &sqe, NULL), VGPU_ST_BAD_ACCESS);
    /* An image from a buffer that the device may only write. */
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_MODULE_LOAD};
    sqe.u.module_load.image_buf = w.wo.id;
    sqe.u.module_load.image_bytes = 64;
    fx_is(gs_run(w.ctx, &sqe, NULL), VGPU_ST_BAD_ACCESS);
    fx_is(gs_module_load(w.ctx, "", 0, log, sizeof(log), &module), VGPU_ST_BAD_VALUE);
}
END_TEST

/* VGPU-MEM-003 */
START_TEST(memory_is_freed_once)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint64_t a, b;

    fx_ok(gs_mem_alloc(ctx, 8192, &a));
    fx_ok(gs_mem_alloc(ctx, 8192, &b));
    fx_is(gs_mem_free(ctx, a + 1), VGPU_ST_BAD_ADDRESS);
    fx_is(gs_mem_free(ctx, a + 4096), VGPU_ST_BAD_ADDRESS);
    fx_ok(gs_mem_free(ctx, a));
    fx_is(gs_mem_free(ctx, a), VGPU_ST_BAD_ADDRESS);
    fx_is(gs_mem_free(ctx, 0), VGPU_ST_BAD_ADDRESS);
    fx_ok(gs_mem_free(ctx, b));
    fx_works(ctx);
}
END_TEST

/* VGPU-STRM-001 VGPU-MOD-004 */
START_TEST(handles_die_once)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "where");
    uint64_t dev;
    uint32_t stream, function;

    fx_ok(gs_mem_alloc(ctx, 4096, &dev));
    fx_ok(gs_stream_create(ctx, &stream));
    fx_ok(gs_stream_destroy(ctx, stream));
    fx_is(gs_stream_destroy(ctx, stream), VGPU_ST_BAD_HANDLE);
    fx_is(gs_stream_destroy(ctx, 0), VGPU_ST_BAD_HANDLE);
    fx_ok(gs_module_unload(ctx, k.module));
    fx_is(gs_module_unload(ctx, k.module), VGPU_ST_BAD_HANDLE);
    fx_is(gs_func_lookup(ctx, k.module, "where", &function, NULL, NULL, 0), VGPU_ST_BAD_HANDLE);
    /* A function dies with its module. */
    fx_is(gs_launch(ctx, k.function, 1, 32, &dev, sizeof(dev)), VGPU_ST_BAD_HANDLE);
    fx_works(ctx);
}
END_TEST

/* VGPU-MEM-002 */
START_TEST(memory_limit_is_the_vms)
{
    struct gs_ctx *second;
    uint64_t a, b;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &second));
    fx_ok(gs_mem_alloc(fx.ctx[0], 200u << 20, &a));
    fx_is(gs_mem_alloc(second, 100u << 20, &b), VGPU_ST_OUT_OF_MEMORY);
    fx_ok(gs_mem_alloc(second, 40u << 20, &b));
    fx_ok(gs_mem_free(fx.ctx[0], a));
    fx_ok(gs_mem_alloc(second, 100u << 20, &a));
    fx_ok(gs_ctx_destroy(second));
    /* What a context held is the VM's again after its end. */
    fx_ok(gs_mem_alloc(fx.ctx[0], 250u << 20, &a));
}
END_TEST

/* ---- Modules ---- */

static void refused_module(const char *ptx, int status, const char *in_log, const char *also)
{
    char log[4096] = "";
    uint32_t module;

    fx_is(gs_module_load(fx.ctx[0], ptx, strlen(ptx), log, sizeof(log), &module), status);
    ck_assert_msg(strstr(log, in_log) && strstr(log, also), "log lacks '%s' or '%s':\n%s", in_log,
                  also, log);
    /* Without a log the status is the same. */
    fx_is(gs_module_load(fx.ctx[0], ptx, strlen(ptx), NULL, 0, &module), status);
}

#define PTX_HEAD ".version 7.0\n.target sm_70\n.address_size 64\n"

/* VGPU-MOD-003 */
START_TEST(syntax_error_is_logged_with_its_line)
{
    refused_module(PTX_HEAD ".visible .entry k()\n{\n    .reg .b32 %r<2>;\n"
                            "    mov.u32 %r1 %tid.x;\n    ret;\n}\n",
                   VGPU_ST_BAD_PTX, "7", "mov");
    refused_module(PTX_HEAD ".visible .entry k()\n{\n    ret;\n", VGPU_ST_BAD_PTX, "", "");
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(undeclared_register_is_named)
{
    refused_module(PTX_HEAD ".visible .entry k()\n{\n    mov.u32 %r9, 1;\n    ret;\n}\n",
                   VGPU_ST_BAD_PTX, "6", "%r9");
}
END_TEST

START_TEST(unsupported_instruction_is_named)
{
    refused_module(PTX_HEAD ".visible .entry k()\n{\n    .reg .b32 %r<4>;\n"
                            "    frobnicate.u32 %r1, %r2;\n    ret;\n}\n",
                   /* to CUDA's compiler it is a misspelling like any other */
                   fx_cuda() ? VGPU_ST_BAD_PTX : VGPU_ST_UNSUPPORTED_PTX, "frobnicate", "7");
}
END_TEST

START_TEST(too_new_ptx_is_unsupported)
{
    refused_module(".version 99.0\n.target sm_70\n.address_size 64\n", VGPU_ST_UNSUPPORTED_PTX,
                   "99", "");
}
END_TEST

/* VGPU-MOD-002 */
START_TEST(images_that_are_none_are_refused)
{
    static const char elf[64] = "\177ELF\2\1\1";
    char junk[4096];
    uint32_t module;
    int rc;

    fx_is(gs_module_load(fx.ctx[0], elf, sizeof(elf), NULL, 0, &module), VGPU_ST_NO_BINARY);
    for (uint32_t i = 0; i < sizeof(junk); i++)
        junk[i] = (char)(i * 2654435761u >> 13);
    rc = gs_module_load(fx.ctx[0], junk, sizeof(junk), NULL, 0, &module);
    ck_assert_msg(rc == VGPU_ST_BAD_IMAGE || rc == VGPU_ST_BAD_PTX, "%s", fx_status_name(rc));
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(unknown_function_is_not_found)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "where");
    uint32_t function;

    fx_is(gs_func_lookup(ctx, k.module, "wher", &function, NULL, NULL, 0), VGPU_ST_NOT_FOUND);
    fx_is(gs_func_lookup(ctx, k.module, "where2", &function, NULL, NULL, 0), VGPU_ST_NOT_FOUND);
    fx_is(gs_func_lookup(ctx, k.module, "table", &function, NULL, NULL, 0), VGPU_ST_NOT_FOUND);
}
END_TEST

/* ---- Rings ---- */

static void ring_is_broken_by(void (*corrupt)(struct gs_ring *))
{
    struct vgpu_ctx_status status;
    struct gs_ctx *other;

    fx_ok(gs_nop(fx.ctx[0]));
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &other));
    corrupt(&fx.ctx[0]->ring);
    gs_vm_ring(fx.vm[0], fx.ctx[0]->id);
    fx_is(gs_ctx_wait_lost(fx.ctx[0], &status), VGPU_ST_BAD_RING);
    fx_is(gs_nop(fx.ctx[0]), -EOWNERDEAD);
    fx_works(other);
    fx_ok(gs_ctx_destroy(other));
}

static void prod_one_too_far(struct gs_ring *ring)
{
    ring->rw->sq_prod = ring->sq_prod + ring->sq_mask + 2;
}

static void prod_backwards(struct gs_ring *ring)
{
    ring->rw->sq_prod = ring->sq_prod - 1;
}

static void cons_ahead_of_prod(struct gs_ring *ring)
{
    /* Further than the device can have got by the time it looks. */
    ring->rw->cq_cons = ring->cq_cons + ring->cq_mask + 2;
    for (uint32_t i = 0; i <= ring->sq_mask; i++)
        memset(&ring->sq[i], 0, sizeof(ring->sq[i]));
    ring->rw->sq_prod = ring->sq_prod + ring->sq_mask + 1;
}

START_TEST(producer_index_beyond_the_ring_loses_the_context)
{
    ring_is_broken_by(prod_one_too_far);
}
END_TEST

START_TEST(producer_index_going_back_loses_the_context)
{
    ring_is_broken_by(prod_backwards);
}
END_TEST

START_TEST(consumer_index_ahead_of_completions_loses_the_context)
{
    ring_is_broken_by(cons_ahead_of_prod);
}
END_TEST

/* A program that never consumes completions stops itself and nobody else. */
START_TEST(full_completion_queue_holds_back_submissions)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint32_t size = ctx->ring.cq_mask + 1;
    struct vgpu_sqe nop = {.opcode = VGPU_CMD_NOP};
    uint64_t cookie, deadline;

    for (uint32_t i = 0; i < size; i++)
        fx_is(gs_submit(ctx, &nop, &cookie), 0);
    gs_flush(ctx);
    deadline = gs_deadline(GS_TIMEOUT_MS);
    while (__atomic_load_n(&ctx->ring.ro->cq_prod, __ATOMIC_ACQUIRE) != size)
        ck_assert_msg(gs_now_ns() < deadline, "only %u completions", ctx->ring.ro->cq_prod);
    /* All slots are taken: more submissions must wait, not overwrite. */
    for (uint32_t i = 0; i < 16; i++)
        fx_is(gs_submit(ctx, &nop, &cookie), 0);
    gs_flush(ctx);
    for (uint32_t i = 0; i < size + 16; i++) {
        struct vgpu_cqe cqe;

        ck_assert_uint_le(__atomic_load_n(&ctx->ring.ro->cq_prod, __ATOMIC_ACQUIRE), size + i);
        fx_is(gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS), 0);
        ck_assert_uint_eq(cqe.cookie, i + 1);
        ck_assert_uint_eq(cqe.sq_idx, i);
    }
}
END_TEST

static Suite *refusals_suite(void)
{
    Suite *s = suite_create("refusals");
    TCase *tc = fx_tcase(s, "commands", fx_setup_cpu);

    tcase_add_test(tc, one_broken_field_is_refused_by_name);
    tcase_add_test(tc, immediate_commands_take_no_stream);
    tcase_add_test(tc, buffer_direction_is_enforced);
    tcase_add_test(tc, memory_is_freed_once);
    tcase_add_test(tc, handles_die_once);
    tcase_add_test(tc, memory_limit_is_the_vms);
    tc = fx_tcase(s, "modules", fx_setup_cpu);
    tcase_add_test(tc, syntax_error_is_logged_with_its_line);
    tcase_add_test(tc, undeclared_register_is_named);
    tcase_add_test(tc, unsupported_instruction_is_named);
    tcase_add_test(tc, too_new_ptx_is_unsupported);
    tcase_add_test(tc, images_that_are_none_are_refused);
    tcase_add_test(tc, unknown_function_is_not_found);
    tc = fx_tcase(s, "rings", fx_setup_cpu);
    tcase_add_test(tc, producer_index_beyond_the_ring_loses_the_context);
    tcase_add_test(tc, producer_index_going_back_loses_the_context);
    tcase_add_test(tc, consumer_index_ahead_of_completions_loses_the_context);
    tcase_add_test(tc, full_completion_queue_holds_back_submissions);
    return s;
}

VGPU_UNIT_MAIN(refusals_suite)
