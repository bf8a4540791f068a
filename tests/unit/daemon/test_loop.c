/* SPDX-License-Identifier: MIT */
/* The event loop: order of timers, removal under way, fairness of deferred work, silence when idle. */
#include "daemon_tests.h"

#include <daemon/loop.h>

#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct vgpu_loop loop;
static char trace[64];

static void setup(void)
{
    ck_assert_int_eq(vgpu_loop_init(&loop), 0);
    memset(trace, 0, sizeof(trace));
}

static void teardown(void)
{
    vgpu_loop_fini(&loop);
}

static void note(const char *text)
{
    strncat(trace, text, sizeof(trace) - strlen(trace) - 1);
}

static void note_timer(void *opaque)
{
    note(opaque);
}

static void stop_timer(void *opaque)
{
    vgpu_loop_stop(&loop);
}

START_TEST(timers_fire_once_in_the_order_of_their_times)
{
    struct vgpu_timer t[5] = {0};

    vgpu_timer_set(&loop, &t[0], 30, note_timer, "c");
    vgpu_timer_set(&loop, &t[1], 10, note_timer, "a");
    vgpu_timer_set(&loop, &t[2], 20, note_timer, "b");
    vgpu_timer_set(&loop, &t[3], 15, note_timer, "x");
    vgpu_timer_set(&loop, &t[4], 60, stop_timer, NULL);
    vgpu_timer_cancel(&loop, &t[3]);
    vgpu_timer_cancel(&loop, &t[3]);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_str_eq(trace, "abc");
}
END_TEST

START_TEST(a_timer_set_again_moves)
{
    struct vgpu_timer a = {0}, b = {0}, end = {0};

    vgpu_timer_set(&loop, &a, 5, note_timer, "a");
    vgpu_timer_set(&loop, &b, 20, note_timer, "b");
    vgpu_timer_set(&loop, &a, 40, note_timer, "a");
    vgpu_timer_set(&loop, &end, 60, stop_timer, NULL);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_str_eq(trace, "ba");
}
END_TEST

static struct vgpu_source sources[2];

/* Whichever runs first removes both. */
static void remove_both(void *opaque, uint32_t events)
{
    note("r");
    vgpu_source_remove(&loop, &sources[0]);
    vgpu_source_remove(&loop, &sources[1]);
    vgpu_loop_stop(&loop);
}

START_TEST(a_removed_source_is_not_called_in_the_same_batch)
{
    int a = eventfd(1, 0), b = eventfd(1, 0);

    ck_assert_int_eq(vgpu_source_add(&loop, &sources[0], a, EPOLLIN, remove_both, NULL), 0);
    ck_assert_int_eq(vgpu_source_add(&loop, &sources[1], b, EPOLLIN, remove_both, NULL), 0);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_str_eq(trace, "r");
    close(a);
    close(b);
}
END_TEST

static struct vgpu_work again;
static unsigned int rounds;

static void work_again(void *opaque)
{
    rounds++;
    vgpu_work_queue(&loop, &again, work_again, NULL);
}

static void stop_source(void *opaque, uint32_t events)
{
    vgpu_loop_stop(&loop);
}

START_TEST(work_that_queues_itself_starves_nobody)
{
    struct vgpu_source src;
    int fd = eventfd(1, 0);

    rounds = 0;
    vgpu_work_queue(&loop, &again, work_again, NULL);
    vgpu_work_queue(&loop, &again, work_again, NULL);
    ck_assert_int_eq(vgpu_source_add(&loop, &src, fd, EPOLLIN, stop_source, NULL), 0);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_uint_le(rounds, 2);
    vgpu_work_cancel(&loop, &again);
    ck_assert_ptr_null(loop.work_first);
    ck_assert_ptr_null(loop.work_last);
    close(fd);
}
END_TEST

START_TEST(work_is_cancelled_anywhere_in_the_queue)
{
    struct vgpu_work w[4] = {0};
    struct vgpu_work end = {0};

    vgpu_work_queue(&loop, &w[0], note_timer, "0");
    vgpu_work_queue(&loop, &w[1], note_timer, "1");
    vgpu_work_queue(&loop, &w[2], note_timer, "2");
    vgpu_work_cancel(&loop, &w[2]);
    vgpu_work_queue(&loop, &w[3], note_timer, "3");
    vgpu_work_cancel(&loop, &w[0]);
    vgpu_work_queue(&loop, &end, stop_timer, NULL);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_str_eq(trace, "13");
}
END_TEST

static uint64_t cpu_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* A loop that spins would burn all of the half second. */
START_TEST(an_idle_loop_sleeps)
{
    struct vgpu_timer end = {0};
    uint64_t before = cpu_us();

    vgpu_timer_set(&loop, &end, 500, stop_timer, NULL);
    ck_assert_int_eq(vgpu_loop_run(&loop), 0);
    ck_assert_uint_lt(cpu_us() - before, 100000);
}
END_TEST

Suite *loop_suite(void)
{
    Suite *s = suite_create("daemon/loop");
    TCase *tc = tcase_create("loop");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, timers_fire_once_in_the_order_of_their_times);
    tcase_add_test(tc, a_timer_set_again_moves);
    tcase_add_test(tc, a_removed_source_is_not_called_in_the_same_batch);
    tcase_add_test(tc, work_that_queues_itself_starves_nobody);
    tcase_add_test(tc, work_is_cancelled_anywhere_in_the_queue);
    tcase_add_test(tc, an_idle_loop_sleeps);
    suite_add_tcase(s, tc);
    return s;
}
