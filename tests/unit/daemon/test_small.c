/* SPDX-License-Identifier: MIT */
/* Quota, generation file and log limits: small, and each the base of a promise. */
#include "daemon_tests.h"

#include <daemon/genlock.h>
#include <daemon/kernel.h>
#include <daemon/log.h>
#include <daemon/quota.h>
#include <daemon/vm.h>

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Quota ---- */

START_TEST(the_limit_holds_across_contexts)
{
    struct vgpu_quota quota = {.limit_bytes = 1000};
    uint64_t a = 0, b = 0;

    ck_assert_int_eq(vgpu_quota_take(&quota, &a, 600), 0);
    ck_assert_int_eq(vgpu_quota_take(&quota, &b, 401), -ENOMEM);
    ck_assert_int_eq(vgpu_quota_take(&quota, &b, 400), 0);
    ck_assert_int_eq(vgpu_quota_take(&quota, &b, 1), -ENOMEM);
    ck_assert_int_eq(vgpu_quota_take(&quota, &b, 0), 0);
    ck_assert_uint_eq(quota.held_bytes, 1000);
    ck_assert_int_eq(vgpu_quota_give(&quota, &a, 600), 0);
    ck_assert_uint_eq(quota.held_bytes, 400);
    ck_assert_uint_eq(b, 400);
}
END_TEST

START_TEST(quota_sums_do_not_wrap)
{
    struct vgpu_quota quota = {.limit_bytes = UINT64_MAX};
    uint64_t a = 0;

    ck_assert_int_eq(vgpu_quota_take(&quota, &a, 100), 0);
    ck_assert_int_eq(vgpu_quota_take(&quota, &a, UINT64_MAX), -ENOMEM);
    ck_assert_int_eq(vgpu_quota_take(&quota, &a, UINT64_MAX - 100), 0);
}
END_TEST

START_TEST(nobody_gives_what_it_does_not_hold)
{
    struct vgpu_quota quota = {.limit_bytes = 1000};
    uint64_t a = 0, b = 0;

    ck_assert_int_eq(vgpu_quota_take(&quota, &a, 500), 0);
    ck_assert_int_eq(vgpu_quota_give(&quota, &b, 1), -EINVAL);
    ck_assert_int_eq(vgpu_quota_give(&quota, &a, 501), -EINVAL);
    ck_assert_uint_eq(quota.held_bytes, 500);
}
END_TEST

Suite *quota_suite(void)
{
    Suite *s = suite_create("daemon/quota");
    TCase *tc = tcase_create("quota");

    tcase_add_test(tc, the_limit_holds_across_contexts);
    tcase_add_test(tc, quota_sums_do_not_wrap);
    tcase_add_test(tc, nobody_gives_what_it_does_not_hold);
    suite_add_tcase(s, tc);
    return s;
}

/* ---- Generation file ---- */

static char path[] = "/tmp/vgpu-generation-XXXXXX";
static int fd;

static void lock_setup(void)
{
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
}

static void lock_teardown(void)
{
    close(fd);
    unlink(path);
}

static int take_anew(uint32_t *generation, int *keep)
{
    int other = open(path, O_RDWR), ret;

    ck_assert_int_ge(other, 0);
    ret = vgpu_genlock_take(other, generation);
    if (keep)
        *keep = other;
    else
        close(other);
    return ret;
}

START_TEST(each_taking_counts_up)
{
    uint32_t generation = 0;

    for (uint32_t i = 1; i <= 20; i++) {
        ck_assert_int_eq(take_anew(&generation, NULL), 0);
        ck_assert_uint_eq(generation, i);
    }
}
END_TEST

START_TEST(an_inherited_descriptor_keeps_the_lock)
{
    uint32_t generation = 0;
    int held, ready[2];
    char c;
    pid_t pid;

    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(take_anew(&generation, &held), 0);
    pid = fork();
    if (!pid) {
        close(ready[1]);
        _exit(read(ready[0], &c, 1) < 0); /* an executor that lives until told */
    }
    close(held); /* its vm process is gone */
    ck_assert_int_eq(take_anew(&generation, NULL), -EAGAIN);
    close(ready[0]);
    close(ready[1]);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(take_anew(&generation, NULL), 0);
    ck_assert_uint_eq(generation, 2);
}
END_TEST

START_TEST(numbers_that_mean_something_else_are_skipped)
{
    uint32_t generation = 0;

    ck_assert_int_eq(pwrite(fd, "4294967294\n", 11, 0), 11);
    ck_assert_int_eq(take_anew(&generation, NULL), 0);
    ck_assert_uint_eq(generation, 1);
}
END_TEST

static const char *const bad_counters[] = {"x\n", "12\n", "99999999999", "-000000001\n",
                                           "00000000zz\n"};

START_TEST(an_odd_file_is_refused)
{
    uint32_t generation = 77;

    ck_assert_int_gt(write(fd, bad_counters[_i], strlen(bad_counters[_i])), 0);
    ck_assert_int_eq(take_anew(&generation, NULL), -EBADMSG);
    ck_assert_uint_eq(generation, 77);
}
END_TEST

/* As a Xen bus leaves it, which writes its own part first. */
START_TEST(a_hole_in_front_counts_from_0)
{
    uint32_t generation = 0;
    char rest[4] = "";

    ck_assert_int_eq(pwrite(fd, "rest", 4, 4096), 4);
    ck_assert_int_eq(take_anew(&generation, NULL), 0);
    ck_assert_uint_eq(generation, 1);
    ck_assert_int_eq(take_anew(&generation, NULL), 0);
    ck_assert_uint_eq(generation, 2);
    ck_assert_int_eq(pread(fd, rest, 4, 4096), 4);
    ck_assert_mem_eq(rest, "rest", 4);
}
END_TEST

Suite *genlock_suite(void)
{
    Suite *s = suite_create("daemon/genlock");
    TCase *tc = tcase_create("genlock");

    tcase_add_checked_fixture(tc, lock_setup, lock_teardown);
    tcase_add_test(tc, each_taking_counts_up);
    tcase_add_test(tc, an_inherited_descriptor_keeps_the_lock);
    tcase_add_test(tc, numbers_that_mean_something_else_are_skipped);
    tcase_add_loop_test(tc, an_odd_file_is_refused, 0, 5);
    tcase_add_test(tc, a_hole_in_front_counts_from_0);
    suite_add_tcase(s, tc);
    return s;
}

/* ---- The host's kernel ---- */

static const int kernel_calls[] = {SCMP_SYS(pidfd_send_signal), SCMP_SYS(pidfd_open),
                                   SCMP_SYS(waitid), SCMP_SYS(close_range)};
static const char *const kernel_names[] = {"pidfd_send_signal", "pidfd_open", "waitid on pidfds",
                                           "close_range"};

/* In a child: an older kernel has no such call; it knows waitid(), and not its new kind. */
static int check_without(int call, const char *name)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int err = call == SCMP_SYS(waitid) ? EINVAL : ENOSYS;
    char why[160] = "";

    if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)err), call, 0) ||
        seccomp_load(filter))
        return 2;
    seccomp_release(filter);
    return vgpu_kernel_check(why, sizeof(why)) == -ENOSYS && strstr(why, name) &&
                   strstr(why, "needs Linux 5.9")
               ? 0
               : 1;
}

START_TEST(an_older_kernel_is_refused_by_the_call_it_lacks)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (!pid)
        _exit(check_without(kernel_calls[_i], kernel_names[_i]));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(this_kernel_is_new_enough)
{
    char why[160] = "";

    ck_assert_msg(!vgpu_kernel_check(why, sizeof(why)), "%s", why);
}
END_TEST

Suite *kernel_suite(void)
{
    Suite *s = suite_create("kernel");
    TCase *tc = tcase_create("calls");

    tcase_add_loop_test(tc, an_older_kernel_is_refused_by_the_call_it_lacks, 0, 4);
    tcase_add_test(tc, this_kernel_is_new_enough);
    suite_add_tcase(s, tc);
    return s;
}

/* ---- Log ---- */

START_TEST(a_flood_is_cut_to_a_burst_and_a_trickle)
{
    struct vgpu_log_limit limit = {0};
    uint32_t left_out = 0, passed = 0;

    for (uint64_t ms = 5000; ms < 15000; ms++)
        for (int i = 0; i < 100; i++)
            passed += vgpu_log_limit_pass(&limit, ms, &left_out);
    ck_assert_uint_ge(passed, 16 + 9);
    ck_assert_uint_le(passed, 16 + 10);
    ck_assert_uint_gt(left_out, 90000);
}
END_TEST

START_TEST(silence_refills_no_more_than_a_burst)
{
    struct vgpu_log_limit limit = {0};
    uint32_t left_out = 0, passed = 0;

    ck_assert(vgpu_log_limit_pass(&limit, 1, &left_out));
    for (int i = 0; i < 100; i++)
        passed += vgpu_log_limit_pass(&limit, 1ull << 50, &left_out);
    ck_assert_uint_eq(passed, 16);
}
END_TEST

/* A burst of 256 KiB, then 256 bytes a second; each line costs 64 more than its text. */
START_TEST(printed_lines_are_cut_to_a_burst_and_a_trickle)
{
    struct vm_output out = {.fd = -1};
    uint32_t burst = 0, later = 0;

    for (int i = 0; i < 10000; i++)
        burst += vm_output_pass(&out, 192, 1000);
    ck_assert_uint_eq(burst, 1024);
    ck_assert_uint_eq(out.left_out, 10000 - 1024);
    for (uint64_t ms = 1000; ms <= 11000; ms += 100)
        later += vm_output_pass(&out, 192, ms);
    ck_assert_uint_ge(later, 9);
    ck_assert_uint_le(later, 10);
    ck_assert(!vm_output_pass(&out, 1u << 20, 1ull << 50));
    ck_assert_uint_eq(out.budget, 256u << 10);
}
END_TEST

START_TEST(a_line_can_not_forge_another)
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    char text[2048];
    ssize_t n;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    vgpu_log_setup(VGPU_LOG_INFO, 0, "vm3(x)");
    vgpu_log(VGPU_LOG_INFO, "guest says %s", "a\nvgpud[1]: error: b\033[2J");
    vgpu_log(VGPU_LOG_DEBUG, "not shown");
    vgpu_debug(VGPU_LOG_DATA, "not shown either");
    dup2(saved, STDERR_FILENO);
    n = read(pipe_fds[0], text, sizeof(text) - 1);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_ptr_eq(strchr(text, '\n'), text + n - 1);
    ck_assert_ptr_null(strchr(text, '\033'));
    ck_assert_ptr_nonnull(strstr(text, ": info: vm3(x) guest says a?vgpud"));
    ck_assert_ptr_null(strstr(text, "not shown"));
}
END_TEST

START_TEST(a_long_line_is_cut)
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    char big[5000], text[8192];
    ssize_t n;

    memset(big, 'y', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    ck_assert_int_eq(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    vgpu_log(VGPU_LOG_ERROR, "%s", big);
    dup2(saved, STDERR_FILENO);
    n = read(pipe_fds[0], text, sizeof(text));
    ck_assert_int_gt(n, 100);
    ck_assert_int_le(n, 1100);
    ck_assert_int_eq(text[n - 1], '\n');
}
END_TEST

Suite *log_suite(void)
{
    Suite *s = suite_create("daemon/log");
    TCase *tc = tcase_create("log");

    tcase_add_test(tc, a_flood_is_cut_to_a_burst_and_a_trickle);
    tcase_add_test(tc, silence_refills_no_more_than_a_burst);
    tcase_add_test(tc, printed_lines_are_cut_to_a_burst_and_a_trickle);
    tcase_add_test(tc, a_line_can_not_forge_another);
    tcase_add_test(tc, a_long_line_is_cut);
    suite_add_tcase(s, tc);
    return s;
}
