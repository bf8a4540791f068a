/* SPDX-License-Identifier: MIT */
/*
 * Contexts and buffers through their lives: answers in every order, loss, destruction with
 * things in flight, accounting.
 */
#include "fake_host.h"
#include "suites.h"

#include <string.h>

static struct fake *f;

static void setup(void)
{
    f = fake_ready();
}

static void teardown(void)
{
    fake_free(f);
}

static struct vgpu_dev_stats stats(void)
{
    struct vgpu_dev_stats s;

    vgpu_dev_get_stats(f->dev, &s);
    return s;
}

static uint32_t lost_word(uint32_t i)
{
    return fake_rd(f, VGPU_REG_CTX_LOST + 4 * i);
}

START_TEST(creation_hands_out_what_was_asked)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_create(15);
    struct op *op = fake_start(f, &sqe, OP_CTX_CREATE);

    ck_assert_uint_eq(op->ctx, 15);
    ck_assert_uint_eq(op->params.queue_addr, QUEUE_ADDR);
    ck_assert_uint_eq(op->params.queue_bytes, vgpu_queue_bytes(8, 7));
    ck_assert_uint_eq(op->params.arena_addr, ARENA_ADDR);
    ck_assert_uint_eq(op->params.arena_bytes, 0x10000);
    ck_assert_uint_eq(op->params.vector, 1);
    ck_assert_uint_eq(op->params.sq_log2, 7);
    ck_assert_uint_eq(op->params.cq_log2, 8);
    vgpu_dev_ctx_created(f->dev, 15, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(stats().contexts, 1);
}
END_TEST

/* VGPU-ADM-031 */
START_TEST(failed_creation_leaves_no_context)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_create(0);

    fake_start(f, &sqe, OP_CTX_CREATE);
    vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(stats().contexts, 0);
    fake_make_ctx(f, 0);
}
END_TEST

/* VGPU-ADM-001 */
START_TEST(answers_may_come_in_any_order)
{
    struct vgpu_cqe cqe;

    for (uint32_t c = 0; c < 4; c++) {
        struct vgpu_admin_sqe sqe = cmd_ctx_create(c);

        sqe.cookie = 100 + c;
        fake_submit(f, &sqe);
    }
    fake_run(f);
    for (uint32_t c = 4; c-- > 0;)
        vgpu_dev_ctx_created(f->dev, c, VGPU_ST_OK);
    for (uint32_t c = 4; c-- > 0;) {
        ck_assert(fake_reap(f, &cqe));
        ck_assert_uint_eq(cqe.cookie, 100 + c);
        ck_assert_uint_eq(cqe.sq_idx, c);
    }
}
END_TEST

/* VGPU-ADM-020: one command at a time per object. */
START_TEST(object_with_a_command_in_flight_is_busy)
{
    struct vgpu_admin_sqe create = cmd_ctx_create(0), destroy = cmd_ctx_destroy(0);
    struct vgpu_admin_sqe reg = cmd_buf_register(f, 0, 1, 1), unreg = cmd_buf_unregister(0, 1);

    fake_start(f, &create, OP_CTX_CREATE);
    ck_assert_uint_eq(fake_cmd(f, &create).status, VGPU_ST_CONTEXT_EXISTS);
    ck_assert_uint_eq(fake_cmd(f, &reg).status, VGPU_ST_BUSY);
    ck_assert_uint_eq(fake_cmd(f, &unreg).status, VGPU_ST_BUSY);
    vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);

    fake_start(f, &reg, OP_BUF_REGISTER);
    ck_assert_uint_eq(fake_cmd(f, &reg).status, VGPU_ST_BUFFER_EXISTS);
    ck_assert_uint_eq(fake_cmd(f, &unreg).status, VGPU_ST_BUSY);
    vgpu_dev_buf_registered(f->dev, 0, 1, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);

    fake_start(f, &unreg, OP_BUF_UNREGISTER);
    ck_assert_uint_eq(fake_cmd(f, &unreg).status, VGPU_ST_BUSY);
    ck_assert_uint_eq(fake_cmd(f, &reg).status, VGPU_ST_BUFFER_EXISTS);
    vgpu_dev_buf_unregistered(f->dev, 0, 1);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);

    fake_start(f, &destroy, OP_CTX_DESTROY);
    ck_assert_uint_eq(fake_cmd(f, &destroy).status, VGPU_ST_BUSY);
    ck_assert_uint_eq(fake_cmd(f, &create).status, VGPU_ST_CONTEXT_EXISTS);
    ck_assert_uint_eq(fake_cmd(f, &reg).status, VGPU_ST_BUSY);
    vgpu_dev_ctx_destroyed(f->dev, 0);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(fake_cmd(f, &destroy).status, VGPU_ST_NO_CONTEXT);
    fake_make_ctx(f, 0);
}
END_TEST

/* VGPU-ADM-021 */
START_TEST(destruction_completes_everything_owed_to_the_context)
{
    struct vgpu_admin_sqe sqe;
    struct vgpu_cqe cqe;
    uint16_t expected[] = {VGPU_ST_DESTROYED, VGPU_ST_OK, VGPU_ST_OK};
    uint64_t cookies[] = {11, 12, 13};

    fake_make_ctx(f, 2);
    fake_make_buf(f, 2, 1, 4);
    fake_make_buf(f, 2, 7, 4);
    sqe = cmd_buf_register(f, 2, 5, 3);
    sqe.cookie = 11;
    fake_start(f, &sqe, OP_BUF_REGISTER);
    sqe = cmd_buf_unregister(2, 7);
    sqe.cookie = 12;
    fake_start(f, &sqe, OP_BUF_UNREGISTER);
    sqe = cmd_ctx_destroy(2);
    sqe.cookie = 13;
    fake_start(f, &sqe, OP_CTX_DESTROY);

    vgpu_dev_ctx_destroyed(f->dev, 2);
    for (int i = 0; i < 3; i++) {
        ck_assert(fake_reap(f, &cqe));
        ck_assert_uint_eq(cqe.cookie, cookies[i]);
        ck_assert_uint_eq(cqe.status, expected[i]);
    }
    ck_assert(!fake_reap(f, &cqe));
    ck_assert_uint_eq(stats().contexts, 0);
    ck_assert_uint_eq(stats().buffers, 0);
    ck_assert_uint_eq(stats().buffer_bytes, 0);
}
END_TEST

START_TEST(answers_may_still_come_while_a_context_is_destroyed)
{
    struct vgpu_admin_sqe sqe;
    struct vgpu_cqe cqe;

    fake_make_ctx(f, 2);
    sqe = cmd_buf_register(f, 2, 5, 3);
    fake_start(f, &sqe, OP_BUF_REGISTER);
    sqe = cmd_ctx_destroy(2);
    fake_start(f, &sqe, OP_CTX_DESTROY);
    vgpu_dev_buf_registered(f->dev, 2, 5, VGPU_ST_OK);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(stats().buffers, 1);
    vgpu_dev_ctx_destroyed(f->dev, 2);
    ck_assert(fake_reap(f, &cqe));
    ck_assert(!fake_reap(f, &cqe));
    ck_assert_uint_eq(stats().buffers, 0);
}
END_TEST

/* VGPU-ADM-021 */
START_TEST(context_may_be_destroyed_before_it_was_created)
{
    struct vgpu_admin_sqe create = cmd_ctx_create(4), destroy = cmd_ctx_destroy(4);
    struct vgpu_cqe cqe;

    create.cookie = 1;
    destroy.cookie = 2;
    fake_start(f, &create, OP_CTX_CREATE);
    fake_start(f, &destroy, OP_CTX_DESTROY);
    if (_i == 1) { /* created after all, in between */
        vgpu_dev_ctx_created(f->dev, 4, VGPU_ST_OK);
        ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    } else if (_i == 2) { /* failed on its own */
        vgpu_dev_ctx_created(f->dev, 4, VGPU_ST_HOST_MEMORY);
        ck_assert_uint_eq(fake_status(f), VGPU_ST_HOST_MEMORY);
    }
    ck_assert_uint_eq(stats().contexts, 1);
    vgpu_dev_ctx_destroyed(f->dev, 4);
    if (_i == 0) {
        ck_assert(fake_reap(f, &cqe));
        ck_assert_uint_eq(cqe.cookie, 1);
        ck_assert_uint_eq(cqe.status, VGPU_ST_DESTROYED);
    }
    ck_assert(fake_reap(f, &cqe));
    ck_assert_uint_eq(cqe.cookie, 2);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert(!fake_reap(f, &cqe));
    ck_assert_uint_eq(stats().contexts, 0);
}
END_TEST

/* ---- Loss ---- */

/* VGPU-LOST-001 */
START_TEST(lost_context_is_shown_until_it_is_destroyed)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_destroy(9);

    fake_make_ctx(f, 9);
    f->irqs[0] = 0;
    ck_assert_uint_eq(lost_word(0), 0);
    vgpu_dev_ctx_lost(f->dev, 9, VGPU_ST_TIMEOUT, 0, "kernel k: deadline");
    ck_assert_uint_eq(lost_word(0), 1u << 9);
    ck_assert_uint_eq(f->irqs[0], 1);
    ck_assert_uint_eq(stats().lost, 1);
    /* only the first report counts */
    vgpu_dev_ctx_lost(f->dev, 9, VGPU_ST_EXEC_DIED, 1, "died");
    ck_assert_uint_eq(f->irqs[0], 1);
    ck_assert_uint_eq(f->dev->ctxs[9].status.status, VGPU_ST_TIMEOUT);

    fake_start(f, &sqe, OP_CTX_DESTROY);
    ck_assert_uint_eq(lost_word(0), 1u << 9);
    vgpu_dev_ctx_destroyed(f->dev, 9);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(lost_word(0), 0);
    ck_assert_uint_eq(stats().lost, 0);
}
END_TEST

START_TEST(loss_bits_of_all_contexts_have_their_places)
{
    struct fake *g;
    struct vgpu_dev_config cfg;

    g = fake_ready();
    cfg = g->cfg;
    cfg.max_contexts = VGPU_MAX_CONTEXTS;
    vgpu_dev_destroy(g->dev);
    g->cfg = cfg;
    g->dev = vgpu_dev_create(&cfg, &f->dev->ops, g);
    vgpu_dev_announce(g->dev, 1);
    fake_lay_queue(g, 6, 6, 0);
    fake_wr(g, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    for (uint32_t c = 0; c < VGPU_MAX_CONTEXTS; c++) {
        fake_make_ctx(g, c);
        vgpu_dev_ctx_lost(g->dev, c, VGPU_ST_EXEC_DIED, 0, NULL);
        ck_assert_uint_eq(fake_rd(g, VGPU_REG_CTX_LOST + c / 32 * 4),
                          c % 32 == 31 ? 0xffffffffu : (1u << (c % 32 + 1)) - 1);
    }
    fake_free(g);
}
END_TEST

START_TEST(context_may_be_lost_before_its_creation_is_answered)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_create(0);

    fake_start(f, &sqe, OP_CTX_CREATE);
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_EXEC_DIED, 0, "early");
    ck_assert_uint_eq(lost_word(0), 1);
    if (_i == 0) {
        vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_OK);
        ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
        ck_assert_uint_eq(lost_word(0), 1);
        ck_assert_uint_eq(stats().lost, 1);
    } else {
        vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_EXEC_DIED);
        ck_assert_uint_eq(fake_status(f), VGPU_ST_EXEC_DIED);
        ck_assert_uint_eq(lost_word(0), 0);
        ck_assert_uint_eq(stats().contexts, 0);
    }
}
END_TEST

/* VGPU-LOST-003 VGPU-ADM-042 VGPU-ADM-050 */
START_TEST(lost_context_refuses_registration_but_gives_buffers_back)
{
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    fake_make_buf(f, 0, 1, 1);
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_MISALIGNED, 0x10, "kernel k");
    sqe = cmd_buf_register(f, 0, 2, 1);
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_MISALIGNED);
    /* without a look at the list */
    sqe.u.buf_register.sg_addr = 0x1000;
    ck_assert_uint_eq(fake_cmd(f, &sqe).status, VGPU_ST_MISALIGNED);
    sqe = cmd_buf_unregister(0, 1);
    fake_start(f, &sqe, OP_BUF_UNREGISTER);
    vgpu_dev_buf_unregistered(f->dev, 0, 1);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
}
END_TEST

START_TEST(context_lost_while_its_list_is_read)
{
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    sqe = cmd_buf_register(f, 0, 1, 600);
    fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 2));
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_EXEC_DIED, 0, "gone");
    fake_run(f);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_EXEC_DIED);
    ck_assert_int_eq(fake_last(f)->type, OP_CTX_CREATE);
}
END_TEST

START_TEST(context_lost_with_a_registration_in_flight)
{
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    sqe = cmd_buf_register(f, 0, 1, 1);
    fake_start(f, &sqe, OP_BUF_REGISTER);
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_EXEC_DIED, 0, "gone");
    vgpu_dev_buf_registered(f->dev, 0, 1, VGPU_ST_EXEC_DIED);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_EXEC_DIED);
    ck_assert_uint_eq(stats().buffers, 0);
}
END_TEST

START_TEST(report_for_a_context_being_destroyed_is_ignored)
{
    struct vgpu_admin_sqe sqe = cmd_ctx_destroy(0);

    fake_make_ctx(f, 0);
    fake_start(f, &sqe, OP_CTX_DESTROY);
    f->irqs[0] = 0;
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_EXEC_DIED, 0, "killed");
    ck_assert_uint_eq(lost_word(0), 0);
    ck_assert_uint_eq(f->irqs[0], 0);
}
END_TEST

START_TEST(reason_of_a_loss_is_cleaned)
{
    char text[400];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    text[3] = '\033';
    text[4] = (char)0xc3;
    fake_make_ctx(f, 0);
    vgpu_dev_ctx_lost(f->dev, 0, VGPU_ST_OK, 0, text); /* not a status that loses a context */
    ck_assert_uint_eq(f->dev->ctxs[0].status.status, VGPU_ST_EXEC_FAILED);
    ck_assert_uint_eq(strlen((char *)f->dev->ctxs[0].status.message),
                      sizeof(f->dev->ctxs[0].status.message) - 1);
    ck_assert_int_eq(memcmp(f->dev->ctxs[0].status.message, "xxx??x", 6), 0);
}
END_TEST

/* ---- Accounting ---- */

START_TEST(buffers_are_counted_while_they_live)
{
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    fake_make_ctx(f, 1);
    fake_make_buf(f, 0, 1, 10);
    fake_make_buf(f, 1, 63, 20);
    ck_assert_uint_eq(stats().buffers, 2);
    ck_assert_uint_eq(stats().buffer_bytes, 30 * 4096);
    sqe = cmd_buf_unregister(0, 1);
    fake_start(f, &sqe, OP_BUF_UNREGISTER);
    ck_assert_uint_eq(stats().buffers, 2); /* until it is really gone */
    vgpu_dev_buf_unregistered(f->dev, 0, 1);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(stats().buffers, 1);
    ck_assert_uint_eq(stats().buffer_bytes, 20 * 4096);
    sqe = cmd_buf_register(f, 0, 2, 5);
    fake_start(f, &sqe, OP_BUF_REGISTER);
    vgpu_dev_buf_registered(f->dev, 0, 2, VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(stats().buffers, 1);
    sqe = cmd_ctx_destroy(1);
    fake_start(f, &sqe, OP_CTX_DESTROY);
    vgpu_dev_ctx_destroyed(f->dev, 1);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    ck_assert_uint_eq(stats().buffers, 0);
    ck_assert_uint_eq(stats().buffer_bytes, 0);
    ck_assert_uint_eq(stats().admin_commands, 7);
}
END_TEST

Suite *ctx_suite(void)
{
    Suite *s = suite_create("device_ctx");
    TCase *tc = tcase_create("ctx");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, creation_hands_out_what_was_asked);
    tcase_add_test(tc, failed_creation_leaves_no_context);
    tcase_add_test(tc, answers_may_come_in_any_order);
    tcase_add_test(tc, object_with_a_command_in_flight_is_busy);
    tcase_add_test(tc, destruction_completes_everything_owed_to_the_context);
    tcase_add_test(tc, answers_may_still_come_while_a_context_is_destroyed);
    tcase_add_loop_test(tc, context_may_be_destroyed_before_it_was_created, 0, 3);
    tcase_add_test(tc, lost_context_is_shown_until_it_is_destroyed);
    tcase_add_test(tc, loss_bits_of_all_contexts_have_their_places);
    tcase_add_loop_test(tc, context_may_be_lost_before_its_creation_is_answered, 0, 2);
    tcase_add_test(tc, lost_context_refuses_registration_but_gives_buffers_back);
    tcase_add_test(tc, context_lost_while_its_list_is_read);
    tcase_add_test(tc, context_lost_with_a_registration_in_flight);
    tcase_add_test(tc, report_for_a_context_being_destroyed_is_ignored);
    tcase_add_test(tc, reason_of_a_loss_is_cleaned);
    tcase_add_test(tc, buffers_are_counted_while_they_live);
    suite_add_tcase(s, tc);
    return s;
}
