/* SPDX-License-Identifier: MIT */
/*
 * Lifecycle: every state against every event, what ENABLE refuses, what a reset drops.
 */
#include "fake_host.h"
#include "suites.h"

static uint32_t state_of(struct fake *f)
{
    return fake_rd(f, VGPU_REG_STATE);
}

static struct fake *fake_resetting(void)
{
    struct fake *f = fake_ready();

    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    return f;
}

static struct fake *fake_failed(void)
{
    struct fake *f = fake_ready();

    vgpu_dev_host_failed(f->dev, "told to");
    return f;
}

static struct fake *in_state(uint32_t state)
{
    struct fake *f = NULL;

    switch (state) {
    case VGPU_STATE_QUIESCING: f = fake_quiescing(); break;
    case VGPU_STATE_DISABLED: f = fake_disabled(); break;
    case VGPU_STATE_READY: f = fake_ready(); break;
    case VGPU_STATE_RESETTING: f = fake_resetting(); break;
    case VGPU_STATE_FAILED: f = fake_failed(); break;
    default: ck_abort();
    }
    ck_assert_uint_eq(state_of(f), state);
    if (state == VGPU_STATE_DISABLED)
        fake_lay_queue(f, 6, 6, 0);
    f->irqs[0] = 0;
    f->op_count = 0;
    return f;
}

enum event {
    EV_ENABLE,
    EV_RESET,
    EV_FLR,
    EV_ANNOUNCE,
    EV_RESET_DONE,
    EV_HOST,
    EV_UNMAP,
    EV_BAD_RING
};

/* VGPU-LIFE-001: the spec's table, state x event -> state. */
static const struct {
    uint32_t from;
    enum event event;
    uint32_t to;
} table[] = {
    {VGPU_STATE_QUIESCING, EV_ENABLE, VGPU_STATE_QUIESCING},
    {VGPU_STATE_QUIESCING, EV_RESET, VGPU_STATE_QUIESCING},
    {VGPU_STATE_QUIESCING, EV_FLR, VGPU_STATE_QUIESCING},
    {VGPU_STATE_QUIESCING, EV_ANNOUNCE, VGPU_STATE_DISABLED},
    {VGPU_STATE_QUIESCING, EV_HOST, VGPU_STATE_FAILED},
    {VGPU_STATE_QUIESCING, EV_UNMAP, VGPU_STATE_QUIESCING},
    {VGPU_STATE_QUIESCING, EV_BAD_RING, VGPU_STATE_QUIESCING},
    {VGPU_STATE_DISABLED, EV_ENABLE, VGPU_STATE_READY},
    {VGPU_STATE_DISABLED, EV_RESET, VGPU_STATE_RESETTING},
    {VGPU_STATE_DISABLED, EV_FLR, VGPU_STATE_RESETTING},
    {VGPU_STATE_DISABLED, EV_HOST, VGPU_STATE_FAILED},
    {VGPU_STATE_DISABLED, EV_UNMAP, VGPU_STATE_DISABLED},
    {VGPU_STATE_DISABLED, EV_BAD_RING, VGPU_STATE_DISABLED},
    {VGPU_STATE_READY, EV_ENABLE, VGPU_STATE_READY},
    {VGPU_STATE_READY, EV_RESET, VGPU_STATE_RESETTING},
    {VGPU_STATE_READY, EV_FLR, VGPU_STATE_RESETTING},
    {VGPU_STATE_READY, EV_HOST, VGPU_STATE_FAILED},
    {VGPU_STATE_READY, EV_UNMAP, VGPU_STATE_FAILED},
    {VGPU_STATE_READY, EV_BAD_RING, VGPU_STATE_FAILED},
    {VGPU_STATE_RESETTING, EV_ENABLE, VGPU_STATE_RESETTING},
    {VGPU_STATE_RESETTING, EV_RESET, VGPU_STATE_RESETTING},
    {VGPU_STATE_RESETTING, EV_FLR, VGPU_STATE_RESETTING},
    {VGPU_STATE_RESETTING, EV_RESET_DONE, VGPU_STATE_DISABLED},
    {VGPU_STATE_RESETTING, EV_HOST, VGPU_STATE_RESETTING},
    {VGPU_STATE_RESETTING, EV_UNMAP, VGPU_STATE_RESETTING},
    {VGPU_STATE_RESETTING, EV_BAD_RING, VGPU_STATE_RESETTING},
    {VGPU_STATE_FAILED, EV_ENABLE, VGPU_STATE_FAILED},
    {VGPU_STATE_FAILED, EV_RESET, VGPU_STATE_RESETTING},
    {VGPU_STATE_FAILED, EV_FLR, VGPU_STATE_RESETTING},
    {VGPU_STATE_FAILED, EV_HOST, VGPU_STATE_FAILED},
    {VGPU_STATE_FAILED, EV_UNMAP, VGPU_STATE_FAILED},
    {VGPU_STATE_FAILED, EV_BAD_RING, VGPU_STATE_FAILED},
};

static void apply(struct fake *f, enum event event)
{
    const uint16_t flr = 0xa810;

    switch (event) {
    case EV_ENABLE: fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE); break;
    case EV_RESET: fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET); break;
    case EV_FLR: vgpu_dev_config_write(f->dev, 0x58, &flr, 2); break;
    case EV_ANNOUNCE: vgpu_dev_announce(f->dev, 9); break;
    case EV_RESET_DONE: vgpu_dev_reset_done(f->dev); break;
    case EV_HOST: vgpu_dev_host_failed(f->dev, "told to"); break;
    case EV_UNMAP: vgpu_dev_dma_unmapped(f->dev, RAM_BASE, RAM_BYTES); break;
    case EV_BAD_RING:
        if (f->cq_log2) {
            fake_rw(f)->sq_prod = f->sq_prod + 65;
            fake_wr(f, VGPU_REG_ADMIN_DOORBELL, 1);
            fake_run(f);
        }
        break;
    }
}

START_TEST(state_follows_the_table)
{
    struct fake *f = in_state(table[_i].from);

    apply(f, table[_i].event);
    ck_assert_uint_eq(state_of(f), table[_i].to);
    /* vector 0 exactly when DISABLED or FAILED is entered; VGPU-LIFE-004 */
    if (table[_i].from != table[_i].to &&
        (table[_i].to == VGPU_STATE_DISABLED || table[_i].to == VGPU_STATE_FAILED))
        ck_assert_uint_eq(f->irqs[0], 1);
    else
        ck_assert_uint_eq(f->irqs[0], 0);
    /* executors are ended exactly when RESETTING is entered */
    ck_assert_uint_eq(f->op_count,
                      table[_i].to == VGPU_STATE_RESETTING && table[_i].from != table[_i].to);
    fake_free(f);
}
END_TEST

START_TEST(enable_outside_disabled_is_reported_and_ignored)
{
    static const uint32_t states[] = {VGPU_STATE_QUIESCING, VGPU_STATE_READY, VGPU_STATE_RESETTING};
    struct fake *f = in_state(states[_i]);

    apply(f, EV_ENABLE);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_BAD_STATE);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), VGPU_REG_CONTROL);
    fake_free(f);
}
END_TEST

/* ---- ENABLE: a valid block with one thing broken ---- */

static const struct {
    const char *what;
    uint64_t base;
    uint32_t log2;
    uint32_t features;
    uint16_t status;
    uint64_t where;
} enables[] = {
    {"valid", ADMIN_ADDR, 6 << 8 | 6, 0, VGPU_ST_OK, 0},
    {"largest", ADMIN_ADDR, 12 << 8 | 12, 0, VGPU_ST_OK, 0},
    {"feature", ADMIN_ADDR, 6 << 8 | 6, 4, VGPU_ST_BAD_FEATURES, 4},
    {"sq too small", ADMIN_ADDR, 6 << 8 | 5, 0, VGPU_ST_ADMIN_VALUE, 6 << 8 | 5},
    {"cq too large", ADMIN_ADDR, 13 << 8 | 6, 0, VGPU_ST_ADMIN_VALUE, 13 << 8 | 6},
    {"cq below sq", ADMIN_ADDR, 6 << 8 | 7, 0, VGPU_ST_ADMIN_VALUE, 6 << 8 | 7},
    {"log2 rsvd", ADMIN_ADDR, 1 << 16 | 6 << 8 | 6, 0, VGPU_ST_ADMIN_VALUE, 1 << 16 | 6 << 8 | 6},
    {"huge log2", ADMIN_ADDR, 0xffff, 0, VGPU_ST_ADMIN_VALUE, 0xffff},
    {"log2 unset", ADMIN_ADDR, 0, 0, VGPU_ST_ADMIN_VALUE, 0},
    {"unaligned", ADMIN_ADDR + 64, 6 << 8 | 6, 0, VGPU_ST_ADMIN_VALUE, ADMIN_ADDR + 64},
    {"wraps", UINT64_MAX - 0xfff, 6 << 8 | 6, 0, VGPU_ST_ADMIN_VALUE, UINT64_MAX - 0xfff},
    {"no memory", 0x1000, 6 << 8 | 6, 0, VGPU_ST_BAD_DMA, 0x1000},
    {"last page missing", RAM_BASE + RAM_BYTES - 0x3000, 6 << 8 | 6, 0, VGPU_ST_BAD_DMA,
     RAM_BASE + RAM_BYTES},
};

/* VGPU-LIFE-010 VGPU-NEG-001 VGPU-RING-004 */
START_TEST(enable_checks_what_it_is_given)
{
    struct fake *f = fake_disabled();

    fake_wr(f, VGPU_REG_ADMIN_BASE_LO, (uint32_t)enables[_i].base);
    fake_wr(f, VGPU_REG_ADMIN_BASE_HI, (uint32_t)(enables[_i].base >> 32));
    fake_wr(f, VGPU_REG_ADMIN_LOG2, enables[_i].log2);
    fake_wr(f, VGPU_REG_DRV_FEATURES_LO, enables[_i].features);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    if (enables[_i].status == VGPU_ST_OK) {
        ck_assert_uint_eq(state_of(f), VGPU_STATE_READY);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
        ck_assert_uint_ge(f->kicks, 1);
    } else {
        ck_assert_uint_eq(state_of(f), VGPU_STATE_FAILED);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_ENABLE);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), enables[_i].status);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), (uint32_t)enables[_i].where);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_HI), (uint32_t)(enables[_i].where >> 32));
    }
    fake_free(f);
}
END_TEST

START_TEST(enable_refuses_impossible_indices)
{
    struct fake *f = fake_disabled();

    fake_lay_queue(f, 6, 6, 0);
    if (_i == 0)
        fake_rw(f)->sq_prod = 65;
    else
        fake_rw(f)->cq_cons = 1;
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_FAILED);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_ENABLE);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_ADMIN_RING);
    fake_free(f);
}
END_TEST

/* VGPU-RING-003 */
START_TEST(submissions_before_enable_are_served)
{
    struct fake *f = fake_disabled();
    struct vgpu_admin_sqe sqe = cmd_query(VGPU_QUERY_PROPS, 0);

    fake_lay_queue(f, 6, 6, 0);
    fake_submit(f, &sqe);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    ck_assert_uint_ge(f->kicks, 1);
    fake_run(f);
    ck_assert_uint_eq(fake_status(f), VGPU_ST_OK);
    fake_free(f);
}
END_TEST

/* ---- Reset ---- */

/* VGPU-LIFE-020 */
START_TEST(reset_drops_everything_and_waits_for_the_executors)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe = cmd_ctx_create(2);
    struct vgpu_dev_stats stats;
    uint32_t prod;

    fake_make_ctx(f, 1);
    fake_make_buf(f, 1, 5, 3);
    vgpu_dev_ctx_lost(f->dev, 1, VGPU_ST_EXEC_DIED, 0, "gone");
    fake_start(f, &sqe, OP_CTX_CREATE);
    prod = fake_ro(f)->cq_prod;
    f->irqs[0] = 0;

    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    ck_assert_int_eq(fake_last(f)->type, OP_RESET);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_CTX_LOST), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ADMIN_LOG2), 0);
    vgpu_dev_get_stats(f->dev, &stats);
    ck_assert_uint_eq(stats.contexts, 0);
    ck_assert_uint_eq(stats.buffers, 0);
    ck_assert_uint_eq(stats.buffer_bytes, 0);

    /* answers of the old life are ignored */
    vgpu_dev_ctx_created(f->dev, 2, VGPU_ST_OK);
    vgpu_dev_ctx_lost(f->dev, 1, VGPU_ST_EXEC_DIED, 0, "again");
    vgpu_dev_buf_registered(f->dev, 1, 9, VGPU_ST_OK);
    vgpu_dev_buf_unregistered(f->dev, 1, 5);
    vgpu_dev_ctx_destroyed(f->dev, 1);
    ck_assert_uint_eq(fake_ro(f)->cq_prod, prod);
    ck_assert_uint_eq(f->irqs[0], 0);
    ck_assert(!vgpu_dev_work(f->dev, 10));

    vgpu_dev_reset_done(f->dev);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_DISABLED);
    ck_assert_uint_eq(f->irqs[0], 1);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_GENERATION), 7);

    /* and the device works again */
    fake_lay_queue(f, 6, 6, 0);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    fake_make_ctx(f, 1);
    fake_make_buf(f, 1, 5, 3);
    fake_free(f);
}
END_TEST

START_TEST(reset_in_the_middle_of_a_scatter_list)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe;

    fake_make_ctx(f, 0);
    sqe = cmd_buf_register(f, 0, 1, 1000);
    fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 2)); /* consumed, one page of four read */
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    ck_assert(!vgpu_dev_work(f->dev, 10));
    ck_assert_int_eq(fake_last(f)->type, OP_RESET);
    fake_free(f);
}
END_TEST

START_TEST(destroying_the_device_in_the_middle_of_everything_leaks_nothing)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe = cmd_ctx_create(2);

    fake_make_ctx(f, 0);
    fake_start(f, &sqe, OP_CTX_CREATE);
    sqe = cmd_buf_register(f, 0, 1, 1000);
    fake_submit(f, &sqe);
    ck_assert(vgpu_dev_work(f->dev, 2));
    fake_free(f);
}
END_TEST

/* VGPU-LIFE-001 */
START_TEST(host_failure_during_a_reset_shows_after_it)
{
    struct fake *f = in_state(VGPU_STATE_RESETTING);
    struct vgpu_dev_stats stats;

    vgpu_dev_host_failed(f->dev, "no processes left");
    ck_assert_uint_eq(state_of(f), VGPU_STATE_RESETTING);
    apply(f, EV_RESET);
    vgpu_dev_reset_done(f->dev);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_FAILED);
    /* which is no fault of the guest's */
    vgpu_dev_get_stats(f->dev, &stats);
    ck_assert_uint_eq(stats.guest_errors, 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_HOST);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_HOST_ERROR);
    /* it is told once */
    apply(f, EV_RESET);
    vgpu_dev_reset_done(f->dev);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_DISABLED);
    fake_free(f);
}
END_TEST

/* VGPU-LIFE-002 */
START_TEST(reset_before_the_announcement_leads_back_to_quiescing)
{
    struct fake *f = in_state(VGPU_STATE_QUIESCING);

    vgpu_dev_host_failed(f->dev, "told to");
    apply(f, EV_RESET);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_RESETTING);
    vgpu_dev_reset_done(f->dev);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_QUIESCING);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_GENERATION), 0);
    vgpu_dev_announce(f->dev, 3);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_DISABLED);
    fake_free(f);
}
END_TEST

START_TEST(announcement_while_failed_is_remembered)
{
    struct fake *f = in_state(VGPU_STATE_QUIESCING);

    vgpu_dev_host_failed(f->dev, "told to");
    vgpu_dev_announce(f->dev, 3);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_FAILED);
    apply(f, EV_RESET);
    vgpu_dev_reset_done(f->dev);
    ck_assert_uint_eq(state_of(f), VGPU_STATE_DISABLED);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_GENERATION), 3);
    fake_free(f);
}
END_TEST

/* ---- Unmapping the admin queue ---- */

#define QUEUE_END (ADMIN_ADDR + 16384) /* of rings of 64 */

static const struct {
    uint64_t addr, bytes;
    bool hits;
} unmaps[] = {
    {ADMIN_ADDR, 1, true},
    {QUEUE_END - 1, 1, true},
    {ADMIN_ADDR - 0x1000, 0x1000, false},
    {ADMIN_ADDR - 0x1000, 0x1001, true},
    {QUEUE_END, 0x1000, false},
    {0, UINT64_MAX, true},
    {ADMIN_ADDR + 100, UINT64_MAX, true},
    {ADMIN_ADDR, 0, false},
};

START_TEST(unmapping_any_part_of_the_admin_queue_fails_the_device)
{
    struct fake *f = in_state(VGPU_STATE_READY);

    vgpu_dev_dma_unmapped(f->dev, unmaps[_i].addr, unmaps[_i].bytes);
    ck_assert_uint_eq(state_of(f), unmaps[_i].hits ? VGPU_STATE_FAILED : VGPU_STATE_READY);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), unmaps[_i].hits ? VGPU_ERR_DMA : 0);
    fake_free(f);
}
END_TEST

/* VGPU-LIFE-005 */
START_TEST(failed_device_keeps_taking_answers_and_reports)
{
    struct fake *f = fake_ready();
    struct vgpu_admin_sqe sqe = cmd_ctx_create(2);
    uint32_t prod;

    fake_make_ctx(f, 1);
    fake_start(f, &sqe, OP_CTX_CREATE);
    prod = fake_ro(f)->cq_prod;
    vgpu_dev_dma_unmapped(f->dev, ADMIN_ADDR, 4096);
    vgpu_dev_ctx_created(f->dev, 2, VGPU_ST_OK);
    ck_assert_uint_eq(fake_ro(f)->cq_prod, prod);
    vgpu_dev_ctx_lost(f->dev, 1, VGPU_ST_EXEC_DIED, 0, "gone");
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_CTX_LOST), 1u << 1);
    fake_free(f);
}
END_TEST

Suite *lifecycle_suite(void)
{
    Suite *s = suite_create("device_lifecycle");
    TCase *tc = tcase_create("lifecycle");

    tcase_add_loop_test(tc, state_follows_the_table, 0, sizeof(table) / sizeof(table[0]));
    tcase_add_loop_test(tc, enable_outside_disabled_is_reported_and_ignored, 0, 3);
    tcase_add_loop_test(tc, enable_checks_what_it_is_given, 0,
                        sizeof(enables) / sizeof(enables[0]));
    tcase_add_loop_test(tc, enable_refuses_impossible_indices, 0, 2);
    tcase_add_test(tc, submissions_before_enable_are_served);
    tcase_add_test(tc, reset_drops_everything_and_waits_for_the_executors);
    tcase_add_test(tc, reset_in_the_middle_of_a_scatter_list);
    tcase_add_test(tc, destroying_the_device_in_the_middle_of_everything_leaks_nothing);
    tcase_add_test(tc, host_failure_during_a_reset_shows_after_it);
    tcase_add_test(tc, reset_before_the_announcement_leads_back_to_quiescing);
    tcase_add_test(tc, announcement_while_failed_is_remembered);
    tcase_add_loop_test(tc, unmapping_any_part_of_the_admin_queue_fails_the_device, 0,
                        sizeof(unmaps) / sizeof(unmaps[0]));
    tcase_add_test(tc, failed_device_keeps_taking_answers_and_reports);
    suite_add_tcase(s, tc);
    return s;
}
