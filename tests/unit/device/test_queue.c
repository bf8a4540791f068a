/* SPDX-License-Identifier: MIT */
/*
 * The admin queue as a ring: wrap, hostile indices, slot reservation, event words,
 * budget, and memory that fails at every possible access.
 */
#include "fake_host.h"
#include "suites.h"

#include <stdlib.h>
#include <string.h>

static struct vgpu_admin_sqe query(void)
{
    return cmd_query(VGPU_QUERY_PROPS, 0);
}

/* First indices for loop tests: the last few wrap while a test runs. */
static const uint32_t firsts[] = {
    0, 1, 63, 0x7fffffffu, 0xffffffffu - 100, 0xffffffffu - 3, 0xffffffffu};
#define FIRSTS ((int)(sizeof(firsts) / sizeof(firsts[0])))

/* VGPU-RING-001 VGPU-RING-002 VGPU-RING-003 VGPU-RING-040 VGPU-RING-041 */
START_TEST(indices_run_freely_across_the_wrap)
{
    struct fake *f = fake_ready_at(6, 7, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();

    for (uint32_t n = 0; n < 300; n++) {
        struct vgpu_cqe cqe = fake_cmd(f, &sqe);

        ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
        ck_assert_uint_eq(cqe.sq_idx, firsts[_i] + n);
        ck_assert_uint_eq(fake_ro(f)->sq_cons, firsts[_i] + n + 1);
        ck_assert_uint_eq(fake_ro(f)->cq_prod, firsts[_i] + n + 1);
    }
    fake_free(f);
}
END_TEST

/* VGPU-ADM-001 VGPU-RING-014 */
START_TEST(full_ring_is_served_in_order)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();
    struct vgpu_cqe cqe;

    for (int round = 0; round < 3; round++) {
        uint32_t first = f->sq_prod;

        for (int n = 0; n < 64; n++)
            fake_submit(f, &sqe);
        fake_run(f);
        for (uint32_t n = 0; n < 64; n++) {
            ck_assert(fake_reap(f, &cqe));
            ck_assert_uint_eq(cqe.sq_idx, first + n);
        }
        ck_assert(!fake_reap(f, &cqe));
    }
    fake_free(f);
}
END_TEST

static void expect_ring_fault(struct fake *f, uint32_t value)
{
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_FAILED);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_ADMIN);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_ADMIN_RING);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), value);
    ck_assert(!vgpu_dev_work(f->dev, 10));
}

/* VGPU-RING-011 */
START_TEST(sq_prod_beyond_the_ring_fails_the_device)
{
    static const uint32_t beyond[] = {65, 66, 1000, 0x80000000u, 0xffffffffu};
    struct fake *f = fake_ready_at(6, 6, firsts[_i % FIRSTS]);
    uint32_t value = f->sq_prod + beyond[_i / FIRSTS];

    fake_rw(f)->sq_prod = value;
    fake_run(f);
    expect_ring_fault(f, value);
    fake_free(f);
}
END_TEST

/* VGPU-RING-012 */
START_TEST(cq_cons_ahead_of_the_device_fails_it)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();

    fake_submit(f, &sqe);
    fake_rw(f)->cq_cons = f->cq_cons + 1;
    fake_run(f);
    expect_ring_fault(f, f->cq_cons + 1);
    fake_free(f);
}
END_TEST

START_TEST(cq_cons_moving_backwards_into_promised_slots_fails_the_device)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe create = cmd_ctx_create(0), sqe = query();

    fake_cmd(f, &sqe);
    fake_start(f, &create, OP_CTX_CREATE); /* owes one slot */
    fake_submit(f, &sqe);
    fake_rw(f)->cq_cons = f->cq_cons - 64; /* says that all 64 are occupied */
    fake_run(f);
    expect_ring_fault(f, f->cq_cons - 64);
    fake_free(f);
}
END_TEST

/* VGPU-RING-013 */
START_TEST(completion_slot_is_reserved_before_a_submission_is_consumed)
{
    struct fake *f = fake_ready_at(7, 7, firsts[_i]);
    const uint32_t first = f->sq_prod;
    struct vgpu_admin_sqe sqe;
    struct vgpu_cqe cqe;
    uint32_t n = 0;

    /* 16 that stay owed, and queries for the rest of the 128 slots and beyond */
    for (uint32_t c = 0; c < 16; c++) {
        sqe = cmd_ctx_create(c);
        fake_submit(f, &sqe);
    }
    sqe = query();
    for (int i = 0; i < 112; i++)
        fake_submit(f, &sqe);
    fake_run(f);
    ck_assert_uint_eq(fake_ro(f)->sq_cons, first + 128);
    for (int i = 0; i < 20; i++)
        fake_submit(f, &sqe);
    fake_run(f);
    ck_assert_uint_eq(fake_ro(f)->sq_cons, first + 128);
    ck_assert_uint_eq(fake_ro(f)->cq_prod, first + 112);

    /* the owed ones still have their places */
    for (uint32_t c = 0; c < 16; c++)
        vgpu_dev_ctx_created(f->dev, c, VGPU_ST_OK);
    ck_assert_uint_eq(fake_ro(f)->cq_prod, first + 128);
    fake_run(f);
    ck_assert_uint_eq(fake_ro(f)->sq_cons, first + 128);

    /* ten places become free: ten more are consumed */
    for (int i = 0; i < 10; i++)
        ck_assert(fake_reap(f, &cqe));
    fake_run(f);
    ck_assert_uint_eq(fake_ro(f)->sq_cons, first + 138);
    for (n = 10; fake_reap(f, &cqe); n++)
        ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    fake_run(f);
    while (fake_reap(f, &cqe))
        n++;
    ck_assert_uint_eq(n, 148);
    fake_free(f);
}
END_TEST

/* VGPU-RING-020 */
START_TEST(sleeping_device_asks_for_the_next_doorbell)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();

    ck_assert_uint_eq(fake_ro(f)->sq_event, f->sq_prod);
    for (int n = 0; n < 70; n++) {
        uint32_t before = f->sq_prod;
        struct vgpu_cqe cqe;

        fake_submit(f, &sqe);
        ck_assert(vgpu_ring_need_event(fake_ro(f)->sq_event, f->sq_prod, before));
        ck_assert(vgpu_dev_work(f->dev, 1)); /* awake: no doorbell wanted */
        before = f->sq_prod;
        fake_submit(f, &sqe);
        ck_assert(!vgpu_ring_need_event(fake_ro(f)->sq_event, f->sq_prod, before));
        fake_run(f);
        ck_assert_uint_eq(fake_ro(f)->sq_event, f->sq_prod);
        ck_assert(fake_reap(f, &cqe) && fake_reap(f, &cqe));
    }
    fake_free(f);
}
END_TEST

/* VGPU-RING-016 */
START_TEST(device_out_of_slots_asks_for_the_doorbell_after_what_it_saw)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();

    for (int n = 0; n < 64; n++)
        fake_submit(f, &sqe);
    fake_run(f);
    fake_submit(f, &sqe);
    fake_submit(f, &sqe);
    fake_run(f);
    ck_assert_uint_eq(fake_ro(f)->sq_event, f->sq_prod);
    fake_free(f);
}
END_TEST

/* VGPU-RING-021 */
START_TEST(interrupt_comes_exactly_when_cq_event_is_passed)
{
    struct fake *f = fake_ready_at(6, 6, firsts[_i]);
    struct vgpu_admin_sqe sqe = query();

    fake_ro(f)->cq_event = f->cq_cons + 2; /* after the third from now */
    for (unsigned int n = 1; n <= 10; n++) {
        fake_cmd(f, &sqe);
        ck_assert_uint_eq(f->irqs[0], n >= 3);
    }
    fake_ro(f)->cq_event = f->cq_cons;
    fake_cmd(f, &sqe);
    ck_assert_uint_eq(f->irqs[0], 2);
    fake_free(f);
}
END_TEST

START_TEST(doorbell_kicks_only_a_ready_device)
{
    struct fake *f = fake_ready();
    unsigned int kicks = f->kicks;

    fake_wr(f, VGPU_REG_ADMIN_DOORBELL, 0);
    ck_assert_uint_eq(f->kicks, kicks + 1);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    fake_wr(f, VGPU_REG_ADMIN_DOORBELL, 0);
    ck_assert_uint_eq(f->kicks, kicks + 1);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
    fake_free(f);
}
END_TEST

/* VGPU-SEC-004 */
START_TEST(budget_bounds_the_work_of_one_call)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe = query();

    for (int n = 0; n < 10; n++)
        fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 0));
    ck_assert_uint_eq(fake_ro(f)->sq_cons, 0);
    ck_assert(vgpu_dev_work(f->dev, 4));
    ck_assert_uint_eq(fake_ro(f)->sq_cons, 4);
    ck_assert(vgpu_dev_work(f->dev, 6));
    ck_assert_uint_eq(fake_ro(f)->sq_cons, 10);
    ck_assert(!vgpu_dev_work(f->dev, 1));
    fake_free(f);
}
END_TEST

START_TEST(long_scatter_list_is_read_a_page_per_step)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    sqe = cmd_buf_register(f, 0, 1, 1000); /* four pages */
    fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 4)); /* consume, three pages */
    ck_assert_int_eq(fake_last(f)->type, OP_CTX_CREATE);
    ck_assert(vgpu_dev_work(f->dev, 1));
    ck_assert_int_eq(fake_last(f)->type, OP_BUF_REGISTER);
    ck_assert_uint_eq(fake_last(f)->count, 1000);
    fake_free(f);
}
END_TEST

/* VGPU-GEN-012 VGPU-RING-014 */
START_TEST(entry_is_copied_once)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe = cmd_ctx_create(0);
    struct vgpu_cqe cqe;

    sqe.cookie = 0x1122334455667788;
    fake_start(f, &sqe, OP_CTX_CREATE);
    memset(fake_sq(f), 0xff, 64 * sizeof(struct vgpu_sqe));
    vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_OK);
    ck_assert(fake_reap(f, &cqe));
    ck_assert_uint_eq(cqe.cookie, 0x1122334455667788);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert_uint_eq(cqe.result, 0);
    fake_free(f);
}
END_TEST

static void expect_dma_fault(struct fake *f, uint64_t where)
{
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_FAILED);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_DMA);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), (uint32_t)where);
}

START_TEST(admin_memory_that_vanishes_fails_the_device_with_the_address)
{
    struct fake *f = fake_ready_at(7, 7, 0);
    struct vgpu_admin_sqe sqe = query();
    const uint64_t pages[] = {ADMIN_ADDR + vgpu_queue_sq_offset(7),
                              ADMIN_ADDR + vgpu_queue_cq_offset()};

    fake_submit(f, &sqe);
    f->hole = pages[_i];
    f->hole_bytes = 4096;
    fake_run(f);
    expect_dma_fault(f, pages[_i]);
    fake_free(f);
}
END_TEST

/* Every access fails once: no crash, no leak, and a state that a reset leaves. */
START_TEST(any_single_dma_failure_is_survived)
{
    static const uint32_t states[] = {VGPU_STATE_DISABLED, VGPU_STATE_READY, VGPU_STATE_FAILED};

    for (uint64_t nth = 1; nth < 140; nth++) {
        struct fake *f = fake_disabled();
        struct vgpu_admin_sqe sqe;
        uint32_t state;
        bool known = false;

        fake_lay_queue(f, 6, 6, 0);
        f->dma_fail_at = nth;
        fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
        sqe = cmd_ctx_create(0);
        fake_submit(f, &sqe);
        fake_run(f);
        if (f->op_count)
            vgpu_dev_ctx_created(f->dev, 0, VGPU_ST_OK);
        sqe = cmd_buf_register(f, 0, 1, 300);
        fake_submit(f, &sqe);
        fake_run(f);
        if (f->op_count && fake_last(f)->type == OP_BUF_REGISTER)
            vgpu_dev_buf_registered(f->dev, 0, 1, VGPU_ST_OK);
        sqe = cmd_query(VGPU_QUERY_CTX, 0);
        fake_submit(f, &sqe);
        sqe = cmd_ctx_destroy(0);
        fake_submit(f, &sqe);
        fake_run(f);
        if (f->op_count && fake_last(f)->type == OP_CTX_DESTROY)
            vgpu_dev_ctx_destroyed(f->dev, 0);

        state = fake_rd(f, VGPU_REG_STATE);
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
            known |= states[i] == state;
        ck_assert_msg(known, "state %u after failure %llu", state, (unsigned long long)nth);
        /* a failure that was not part of a command of its own must have been reported */
        if (state == VGPU_STATE_FAILED)
            ck_assert_uint_ne(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
        f->dma_fail_at = 0;
        fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
        vgpu_dev_reset_done(f->dev);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_DISABLED);
        if (f->dma_calls < nth) {
            fake_free(f);
            ck_assert_uint_gt(nth, 40); /* the scenario did reach the device */
            return;
        }
        fake_free(f);
    }
    ck_abort_msg("the scenario never ran through without a failure");
}
END_TEST

Suite *queue_suite(void)
{
    Suite *s = suite_create("device_queue");
    TCase *tc = tcase_create("queue");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, indices_run_freely_across_the_wrap, 0, FIRSTS);
    tcase_add_loop_test(tc, full_ring_is_served_in_order, 0, FIRSTS);
    tcase_add_loop_test(tc, sq_prod_beyond_the_ring_fails_the_device, 0, FIRSTS * 5);
    tcase_add_loop_test(tc, cq_cons_ahead_of_the_device_fails_it, 0, FIRSTS);
    tcase_add_loop_test(tc, cq_cons_moving_backwards_into_promised_slots_fails_the_device, 0,
                        FIRSTS);
    tcase_add_loop_test(tc, completion_slot_is_reserved_before_a_submission_is_consumed, 0, FIRSTS);
    tcase_add_loop_test(tc, sleeping_device_asks_for_the_next_doorbell, 0, FIRSTS);
    tcase_add_loop_test(tc, device_out_of_slots_asks_for_the_doorbell_after_what_it_saw, 0, FIRSTS);
    tcase_add_loop_test(tc, interrupt_comes_exactly_when_cq_event_is_passed, 0, FIRSTS);
    tcase_add_test(tc, doorbell_kicks_only_a_ready_device);
    tcase_add_test(tc, budget_bounds_the_work_of_one_call);
    tcase_add_test(tc, long_scatter_list_is_read_a_page_per_step);
    tcase_add_test(tc, entry_is_copied_once);
    tcase_add_loop_test(tc, admin_memory_that_vanishes_fails_the_device_with_the_address, 0, 2);
    tcase_add_test(tc, any_single_dma_failure_is_survived);
    suite_add_tcase(s, tc);
    return s;
}
