// SPDX-License-Identifier: MIT
/*
 * Times of events, which CUDA tells as float milliseconds between two of them.
 *
 * The fake's events have the host's time; with VGPU_FAKECUDA_IDLE all but the first are that much later.
 */
#include "../cpu_guest.h"
#include "cuda_suites.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY      "86400"
#define ROUNDING 1000 /* ns, of a few milliseconds as float */

static struct fake_vm vm;

static void start(const char *idle, const char *plan)
{
    setenv("VGPU_FAKECUDA_IDLE", idle, 1);
    setenv("VGPU_FAKECUDA_PLAN_AFTER", "cuModuleUnload", 1);
    setenv("VGPU_FAKECUDA_PLAN", plan, 1);
    cg_start(&vm, NULL);
    unsetenv("VGPU_FAKECUDA_IDLE");
    unsetenv("VGPU_FAKECUDA_PLAN");
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t record(uint32_t stream, uint32_t event)
{
    return (int64_t)cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_RECORD, stream, 1, event));
}

/* A day as float milliseconds comes in steps of 8. */
START_TEST(a_short_time_after_a_long_pause_is_exact)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint32_t event, streams[2];

    start(DAY, "");
    event = cg_event(&vm);
    streams[0] = cg_stream(&vm);
    streams[1] = _i ? cg_stream(&vm) : streams[0];
    for (int i = 0; i < 20; i++) {
        int64_t before = now_ns(), first = record(streams[0], event), after_first = now_ns();
        int64_t before_second, second, after;

        nanosleep(&pause, NULL);
        before_second = now_ns();
        second = record(streams[1], event);
        after = now_ns();
        ck_assert_int_ge(second - first, before_second - after_first - ROUNDING);
        ck_assert_int_le(second - first, after - before + ROUNDING);
    }
    fake_vm_stop(&vm);
}
END_TEST

/* VGPU-STRM-020, also where CUDA can't tell a time and the host's is behind. */
START_TEST(times_of_a_stream_never_go_back)
{
    int64_t last = 0;
    uint32_t event;

    start(DAY, "cuEventElapsedTime:2:2;cuEventElapsedTime:4:2");
    event = cg_event(&vm);
    for (int i = 0; i < 6; i++) {
        int64_t time = record(0, event);

        ck_assert_int_ge(time, last);
        last = time;
    }
    fake_vm_stop(&vm);
}
END_TEST

/* With nothing behind it that could tell. */
START_TEST(a_sticky_error_of_the_last_call_is_told_too)
{
    const struct vgpu_x_lost *lost;
    struct vgpu_sqe sqe;

    start("0", "cuEventElapsedTime:1:700");
    sqe = cg_event_sqe(VGPU_CMD_EVENT_RECORD, 0, 1, cg_event(&vm));
    fake_vm_submit(&vm, &sqe);
    lost = fake_vm_wait_lost(&vm);
    ck_assert_uint_eq(lost->status, VGPU_ST_ILLEGAL_ADDRESS);
    ck_assert_msg(strstr(lost->message, "(700)"), "%s", lost->message);
    fake_vm_free(&vm);
}
END_TEST

Suite *cuda_time_suite(void)
{
    Suite *s = suite_create("cuda time");
    TCase *tc = tcase_create("times");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_short_time_after_a_long_pause_is_exact, 0, 2);
    tcase_add_test(tc, times_of_a_stream_never_go_back);
    tcase_add_test(tc, a_sticky_error_of_the_last_call_is_told_too);
    suite_add_tcase(s, tc);
    return s;
}
