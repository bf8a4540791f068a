/* SPDX-License-Identifier: MIT */
/*
 * Admin commands: each refusal from a valid command with one field broken, scatter lists
 * likewise, queries.
 */
#include "fake_host.h"
#include "suites.h"

#include <string.h>

/* A device with context 1 (buffer 3 registered) and nothing in flight. */
static struct fake *f;

static void setup(void)
{
    f = fake_ready();
    fake_make_ctx(f, 1);
    fake_make_buf(f, 1, 3, 2);
    f->op_count = 0;
}

static void teardown(void)
{
    fake_free(f);
}

static struct vgpu_admin_sqe valid(uint16_t opcode)
{
    switch (opcode) {
    case VGPU_ADMIN_CTX_CREATE: return cmd_ctx_create(2);
    case VGPU_ADMIN_CTX_DESTROY: return cmd_ctx_destroy(1);
    case VGPU_ADMIN_BUF_REGISTER: return cmd_buf_register(f, 1, 4, 2);
    case VGPU_ADMIN_BUF_UNREGISTER: return cmd_buf_unregister(1, 3);
    case VGPU_ADMIN_QUERY: return cmd_query(VGPU_QUERY_PROPS, 0);
    default: ck_abort();
    }
}

#define SQE(field)                                                                                 \
    offsetof(struct vgpu_admin_sqe, field), sizeof(((struct vgpu_admin_sqe *)0)->field)
#define CREATE(field)   VGPU_ADMIN_CTX_CREATE, SQE(u.ctx_create.field)
#define DESTROY(field)  VGPU_ADMIN_CTX_DESTROY, SQE(u.ctx_destroy.field)
#define REGISTER(field) VGPU_ADMIN_BUF_REGISTER, SQE(u.buf_register.field)
#define UNREG(field)    VGPU_ADMIN_BUF_UNREGISTER, SQE(u.buf_unregister.field)
#define QUERY(field)    VGPU_ADMIN_QUERY, SQE(u.query.field)

/* Each line breaks one field of a valid command.
 * VGPU-ADM-010 VGPU-ADM-030 VGPU-ADM-060 VGPU-GEN-011 */
static const struct {
    uint16_t opcode;
    size_t offset, width;
    uint64_t value;
    uint16_t status;
} refusals[] = {
    {CREATE(ctx), 16, VGPU_ST_ADMIN_VALUE},
    {CREATE(ctx), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {CREATE(ctx), 1, VGPU_ST_CONTEXT_EXISTS},
    {CREATE(queue_addr), QUEUE_ADDR + 8, VGPU_ST_ADMIN_VALUE},
    {CREATE(queue_addr), UINT64_MAX - 0xfff, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_addr), ARENA_ADDR + 2048, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_addr), UINT64_MAX - 0xfff, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_bytes), 0, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_bytes), 4095, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_bytes), 4096 + 16, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_bytes), VGPU_MAX_ARENA_BYTES + 4096, VGPU_ST_ADMIN_VALUE},
    {CREATE(arena_bytes), 0xfffff000, VGPU_ST_ADMIN_VALUE},
    {CREATE(vector), 0, VGPU_ST_ADMIN_VALUE},
    {CREATE(vector), 32, VGPU_ST_ADMIN_VALUE},
    {CREATE(vector), 0xffff, VGPU_ST_ADMIN_VALUE},
    {CREATE(sq_log2), 5, VGPU_ST_ADMIN_VALUE},
    {CREATE(sq_log2), 9, VGPU_ST_ADMIN_VALUE}, /* above cq_log2 */
    {CREATE(sq_log2), 255, VGPU_ST_ADMIN_VALUE},
    {CREATE(cq_log2), 13, VGPU_ST_ADMIN_VALUE},
    {CREATE(cq_log2), 6, VGPU_ST_ADMIN_VALUE}, /* below sq_log2 */
    {CREATE(cq_log2), 255, VGPU_ST_ADMIN_VALUE},
    {CREATE(rsvd[0]), 1, VGPU_ST_ADMIN_RESERVED},
    {CREATE(rsvd[19]), 0x80, VGPU_ST_ADMIN_RESERVED},
    {DESTROY(ctx), 2, VGPU_ST_NO_CONTEXT},
    {DESTROY(ctx), 16, VGPU_ST_NO_CONTEXT},
    {DESTROY(ctx), 0xffffffff, VGPU_ST_NO_CONTEXT},
    {DESTROY(rsvd[0]), 1, VGPU_ST_ADMIN_RESERVED},
    {DESTROY(rsvd[43]), 1, VGPU_ST_ADMIN_RESERVED},
    {REGISTER(ctx), 0, VGPU_ST_NO_CONTEXT},
    {REGISTER(ctx), 0x80000000, VGPU_ST_NO_CONTEXT},
    {REGISTER(buf), 0, VGPU_ST_ADMIN_VALUE},
    {REGISTER(buf), 64, VGPU_ST_ADMIN_VALUE},
    {REGISTER(buf), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {REGISTER(buf), 3, VGPU_ST_BUFFER_EXISTS},
    {REGISTER(flags), 0, VGPU_ST_ADMIN_VALUE},
    {REGISTER(flags), 4, VGPU_ST_ADMIN_RESERVED},
    {REGISTER(flags), 0x80000001, VGPU_ST_ADMIN_RESERVED},
    {REGISTER(bytes), 0, VGPU_ST_ADMIN_VALUE},
    {REGISTER(bytes), 8191, VGPU_ST_ADMIN_VALUE},
    {REGISTER(bytes), 8193, VGPU_ST_ADMIN_VALUE},
    {REGISTER(bytes), (UINT64_C(1) << 32) + 1, VGPU_ST_ADMIN_VALUE},
    {REGISTER(bytes), UINT64_MAX, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_count), 0, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_count), 1, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_count), 3, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_count), 1001, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_count), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_addr), SG_ADDR + 16, VGPU_ST_ADMIN_VALUE},
    {REGISTER(sg_addr), 0, VGPU_ST_BAD_DMA},
    {REGISTER(sg_addr), RAM_BASE + RAM_BYTES, VGPU_ST_BAD_DMA},
    {REGISTER(rsvd[0]), 1, VGPU_ST_ADMIN_RESERVED},
    {REGISTER(rsvd[15]), 1, VGPU_ST_ADMIN_RESERVED},
    {UNREG(ctx), 0, VGPU_ST_NO_CONTEXT},
    {UNREG(ctx), 99, VGPU_ST_NO_CONTEXT},
    {UNREG(buf), 0, VGPU_ST_NO_BUFFER},
    {UNREG(buf), 4, VGPU_ST_NO_BUFFER},
    {UNREG(buf), 64, VGPU_ST_NO_BUFFER},
    {UNREG(buf), 0xffffffff, VGPU_ST_NO_BUFFER},
    {UNREG(rsvd[0]), 1, VGPU_ST_ADMIN_RESERVED},
    {UNREG(rsvd[39]), 1, VGPU_ST_ADMIN_RESERVED},
    {QUERY(what), 0, VGPU_ST_ADMIN_VALUE},
    {QUERY(what), 3, VGPU_ST_ADMIN_VALUE},
    {QUERY(ctx), 1, VGPU_ST_ADMIN_VALUE},
    {QUERY(out_bytes), 0, VGPU_ST_ADMIN_VALUE},
    {QUERY(out_bytes), 4097, VGPU_ST_ADMIN_VALUE},
    {QUERY(out_bytes), 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {QUERY(out_addr), OUT_ADDR + 4096 - 255, VGPU_ST_ADMIN_VALUE},
    {QUERY(out_addr), 0x2000, VGPU_ST_BAD_DMA},
    {QUERY(rsvd[0]), 1, VGPU_ST_ADMIN_RESERVED},
    {QUERY(rsvd[27]), 1, VGPU_ST_ADMIN_RESERVED},
};

START_TEST(admin_command_with_one_field_broken_is_refused)
{
    struct vgpu_admin_sqe sqe = valid(refusals[_i].opcode);
    struct vgpu_dev_stats before, after;
    struct vgpu_cqe cqe;

    ck_assert_uint_le(refusals[_i].width, 8);
    memcpy((uint8_t *)&sqe + refusals[_i].offset, &refusals[_i].value, refusals[_i].width);
    vgpu_dev_get_stats(f->dev, &before);
    cqe = fake_cmd(f, &sqe);
    ck_assert_msg(cqe.status == refusals[_i].status, "opcode 0x%x offset %zu value 0x%llx: %s",
                  refusals[_i].opcode, refusals[_i].offset, (unsigned long long)refusals[_i].value,
                  vgpu_dev_status_name(cqe.status));
    ck_assert_uint_eq(cqe.aux, 0);
    ck_assert_uint_eq(cqe.result, 0);
    ck_assert_uint_eq(f->op_count, 0);
    vgpu_dev_get_stats(f->dev, &after);
    ck_assert_uint_eq(after.guest_errors, before.guest_errors + 1);
    ck_assert_uint_eq(after.contexts, before.contexts);
    ck_assert_uint_eq(after.buffers, before.buffers);
    /* the command's own status says it all: no sticky error, device still READY */
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_READY);
}
END_TEST

static const uint16_t opcodes[] = {VGPU_ADMIN_CTX_CREATE, VGPU_ADMIN_CTX_DESTROY,
                                   VGPU_ADMIN_BUF_REGISTER, VGPU_ADMIN_BUF_UNREGISTER,
                                   VGPU_ADMIN_QUERY};

/* Without the break the same command is accepted: the refusals above mean something. */
START_TEST(unbroken_command_is_accepted)
{
    struct vgpu_admin_sqe sqe = valid(opcodes[_i]);

    if (opcodes[_i] == VGPU_ADMIN_QUERY)
        ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_OK);
    else
        fake_start(f, &sqe, (enum op_type)(OP_CTX_CREATE + _i));
}
END_TEST

START_TEST(header_fields_of_every_command_are_checked)
{
    struct vgpu_admin_sqe sqe = valid(opcodes[_i]);

    sqe.flags = 1;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_RESERVED);
    sqe.flags = 0;
    sqe.rsvd = 0x10000;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_RESERVED);
    ck_assert_uint_eq(f->op_count, 0);
}
END_TEST

/* VGPU-ADM-002 */
START_TEST(every_other_opcode_is_refused)
{
    for (uint32_t op = 0; op <= 0xffff; op += op < 0x8100 && op >= 0x7f00 ? 1 : 37) {
        struct vgpu_admin_sqe sqe = {.opcode = (uint16_t)op};
        bool known = false;

        for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
            known |= opcodes[i] == op;
        if (!known)
            ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_OPCODE);
    }
}
END_TEST

/* ---- Scatter lists ---- */

#define PAGE(n, field) (n) * sizeof(struct vgpu_sg_page) + offsetof(struct vgpu_sg_page, field)
#define ENTRY(n, i, fld)                                                                           \
    PAGE(n, sg) + (i) * sizeof(struct vgpu_sg_entry) + offsetof(struct vgpu_sg_entry, fld)

/* VGPU-ADM-040: a list of 600 pages over three list pages, one word broken. */
static const struct {
    size_t offset, width;
    uint64_t value;
    uint16_t status;
} lists[] = {
    {PAGE(0, count), 4, 254, VGPU_ST_ADMIN_VALUE},
    {PAGE(0, count), 4, 256, VGPU_ST_ADMIN_VALUE},
    {PAGE(0, count), 4, 0, VGPU_ST_ADMIN_VALUE},
    {PAGE(0, count), 4, 0xffffffff, VGPU_ST_ADMIN_VALUE},
    {PAGE(2, count), 4, 89, VGPU_ST_ADMIN_VALUE},
    {PAGE(2, count), 4, 91, VGPU_ST_ADMIN_VALUE},
    {PAGE(0, rsvd), 4, 1, VGPU_ST_ADMIN_RESERVED},
    {PAGE(2, rsvd), 4, 1, VGPU_ST_ADMIN_RESERVED},
    {PAGE(0, next), 8, 0, VGPU_ST_ADMIN_VALUE},
    {PAGE(1, next), 8, SG_ADDR + 8, VGPU_ST_ADMIN_VALUE},
    {PAGE(1, next), 8, 0x5000, VGPU_ST_BAD_DMA},
    {PAGE(1, next), 8, SG_ADDR, VGPU_ST_ADMIN_VALUE}, /* a circle: page 0 is full, 90 expected */
    {PAGE(2, next), 8, SG_ADDR, VGPU_ST_ADMIN_VALUE}, /* goes on after the end */
    {ENTRY(0, 0, bytes), 8, 0, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, bytes), 8, 0, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, bytes), 8, 4095, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, bytes), 8, 8192, VGPU_ST_ADMIN_VALUE}, /* sum too large */
    {ENTRY(0, 7, bytes), 8, UINT64_MAX, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, bytes), 8, UINT64_MAX - 0xfff, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, addr), 8, 0x1001, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 7, addr), 8, UINT64_MAX - 0xfff, VGPU_ST_ADMIN_VALUE},
    {ENTRY(0, 0, addr), 8, RAM_BASE + 512, VGPU_ST_ADMIN_VALUE}, /* ends inside a page */
    {ENTRY(2, 89, bytes), 8, 4000, VGPU_ST_ADMIN_VALUE},         /* sum too small */
    {ENTRY(2, 89, addr), 8, RAM_BASE + 8, VGPU_ST_ADMIN_VALUE},  /* last begins inside a page */
};

START_TEST(scatter_list_with_one_word_broken_is_refused)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, 1, 4, 600);

    memcpy((uint8_t *)fake_mem(f, SG_ADDR) + lists[_i].offset, &lists[_i].value, lists[_i].width);
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, lists[_i].status);
    /* nor is a bad entry merely left out: the others alone would come to this */
    sqe.u.buf_register.bytes -= 4096;
    ck_assert_uint_ne(fake_cmd(f, &sqe).status, VGPU_ST_OK);
    ck_assert_uint_eq(f->op_count, 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_READY);
    /* the id is free */
    fake_make_buf(f, 1, 4, 600);
}
END_TEST

START_TEST(scatter_list_may_begin_and_end_inside_a_page)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, 1, 4, 600);
    struct vgpu_sg_page *page = fake_mem(f, SG_ADDR);
    struct op *op;

    page[0].sg[0].addr += 100;
    page[0].sg[0].bytes -= 100;
    page[2].sg[89].bytes = 17;
    sqe.u.buf_register.bytes -= 100 + 4096 - 17;
    op = fake_start(f, &sqe, OP_BUF_REGISTER);
    ck_assert_uint_eq(op->count, 600);
    ck_assert_uint_eq(op->bytes, UINT64_C(600) * 4096 - 100 - 4096 + 17);
    ck_assert_uint_eq(op->first.addr, RAM_BASE + 0x400000 + 100);
    ck_assert_uint_eq(op->last.bytes, 17);
}
END_TEST

START_TEST(scatter_list_of_one_entry_may_lie_anywhere)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, 1, 4, 1);
    struct vgpu_sg_page *page = fake_mem(f, SG_ADDR);

    page->sg[0].addr = RAM_BASE + 0x400000 + 4090;
    page->sg[0].bytes = 5;
    sqe.u.buf_register.bytes = 5;
    fake_start(f, &sqe, OP_BUF_REGISTER);
}
END_TEST

START_TEST(full_last_page_ends_the_chain)
{
    static const uint32_t counts[] = {1, 254, 255, 256, 510, 511, 1000};

    fake_make_buf(f, 1, 4, counts[_i]);
    ck_assert_uint_eq(fake_last(f)->count, counts[_i]);
}
END_TEST

/* ---- Order of the checks ---- */

/* VGPU-ADM-003: everything is wrong; repaired one after the other, the next one shows. */
START_TEST(first_failing_check_decides)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, 9, 3, 2);
    struct vgpu_sg_page *page = fake_mem(f, SG_ADDR);

    sqe.opcode = 0x8099;
    sqe.u.buf_register.rsvd[3] = 1;
    sqe.u.buf_register.bytes = 0;
    page->next = SG_ADDR;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_OPCODE);
    sqe.opcode = VGPU_ADMIN_BUF_REGISTER;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_RESERVED);
    sqe.u.buf_register.rsvd[3] = 0;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_VALUE);
    sqe.u.buf_register.bytes = 8192;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_NO_CONTEXT);
    sqe.u.buf_register.ctx = 1;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_BUFFER_EXISTS);
    sqe.u.buf_register.buf = 4;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_ADMIN_VALUE);
    page->next = 0;
    fake_start(f, &sqe, OP_BUF_REGISTER);
}
END_TEST

/* VGPU-ADM-041: what the guest does to the list once it has been read means nothing. */
START_TEST(scatter_list_is_read_once)
{
    struct vgpu_admin_sqe sqe = cmd_buf_register(f, 1, 4, 600);

    fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 2)); /* consumed, first page read */
    memset(fake_mem(f, SG_ADDR), 0xff, sizeof(struct vgpu_sg_page));
    fake_run(f);
    ck_assert_int_eq(fake_last(f)->type, OP_BUF_REGISTER);
    ck_assert_uint_eq(fake_last(f)->first.addr, RAM_BASE + 0x400000);
}
END_TEST

/* ---- Query ---- */

START_TEST(query_returns_the_device_properties)
{
    struct vgpu_admin_sqe sqe = cmd_query(VGPU_QUERY_PROPS, 0);
    struct vgpu_cqe cqe = fake_cmd(f, &sqe);

    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert_uint_eq(cqe.aux, sizeof(struct vgpu_device_props));
    ck_assert_mem_eq(fake_mem(f, OUT_ADDR), &f->cfg.props, sizeof(f->cfg.props));
}
END_TEST

START_TEST(query_is_cut_to_the_room_given)
{
    struct vgpu_admin_sqe sqe = cmd_query(VGPU_QUERY_PROPS, 0);
    struct vgpu_cqe cqe;
    uint8_t *out = fake_mem(f, OUT_ADDR);

    memset(out, 0xee, 300);
    sqe.u.query.out_bytes = 72;
    cqe = fake_cmd(f, &sqe);
    ck_assert_uint_eq(cqe.aux, 72);
    ck_assert_mem_eq(out, &f->cfg.props, 72);
    ck_assert_uint_eq(out[72], 0xee);
    /* and more room than the record has is not filled up */
    sqe.u.query.out_bytes = 4096;
    cqe = fake_cmd(f, &sqe);
    ck_assert_uint_eq(cqe.aux, sizeof(struct vgpu_device_props));
    ck_assert_uint_eq(out[256], 0xee);
}
END_TEST

/* VGPU-LOST-002 */
START_TEST(query_of_a_context_tells_why_it_is_lost)
{
    struct vgpu_admin_sqe sqe = cmd_query(VGPU_QUERY_CTX, 1);
    struct vgpu_ctx_status *st = fake_mem(f, OUT_ADDR);

    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_OK);
    ck_assert_uint_eq(st->state, VGPU_CTX_STATE_ACTIVE);
    ck_assert_uint_eq(st->generation, 7);
    vgpu_dev_ctx_lost(f->dev, 1, VGPU_ST_ILLEGAL_ADDRESS, 0xdead0000, "kernel k: line 3\n");
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_OK);
    ck_assert_uint_eq(st->state, VGPU_CTX_STATE_LOST);
    ck_assert_uint_eq(st->status, VGPU_ST_ILLEGAL_ADDRESS);
    ck_assert_uint_eq(st->fault_addr, 0xdead0000);
    ck_assert_str_eq((char *)st->message, "kernel k: line 3?");
    sqe = cmd_query(VGPU_QUERY_CTX, 2);
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_NO_CONTEXT);
    sqe = cmd_query(VGPU_QUERY_CTX, 0xffffffff);
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_NO_CONTEXT);
}
END_TEST

Suite *admin_suite(void)
{
    Suite *s = suite_create("device_admin");
    TCase *tc = tcase_create("admin");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, admin_command_with_one_field_broken_is_refused, 0,
                        sizeof(refusals) / sizeof(refusals[0]));
    tcase_add_loop_test(tc, unbroken_command_is_accepted, 0, 5);
    tcase_add_loop_test(tc, header_fields_of_every_command_are_checked, 0, 5);
    tcase_add_test(tc, every_other_opcode_is_refused);
    tcase_add_loop_test(tc, scatter_list_with_one_word_broken_is_refused, 0,
                        sizeof(lists) / sizeof(lists[0]));
    tcase_add_test(tc, scatter_list_may_begin_and_end_inside_a_page);
    tcase_add_test(tc, scatter_list_of_one_entry_may_lie_anywhere);
    tcase_add_loop_test(tc, full_last_page_ends_the_chain, 0, 7);
    tcase_add_test(tc, first_failing_check_decides);
    tcase_add_test(tc, scatter_list_is_read_once);
    tcase_add_test(tc, query_returns_the_device_properties);
    tcase_add_test(tc, query_is_cut_to_the_room_given);
    tcase_add_test(tc, query_of_a_context_tells_why_it_is_lost);
    suite_add_tcase(s, tc);
    return s;
}
