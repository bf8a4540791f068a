/* SPDX-License-Identifier: MIT */
/* Interrupt vectors: what is effective, what is pending, and that none is ever dropped. */
#include "bus_tests.h"

#include <bus/irqs.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct vgpu_irqs irqs;

static void setup(void)
{
    vgpu_irqs_init(&irqs);
}

static void teardown(void)
{
    vgpu_irqs_fini(&irqs);
}

/* Signals since the last look; the table owns one descriptor, the test the other. */
static uint64_t taken(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static int new_fd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK);

    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(raise_signals_the_vector_only)
{
    int a = new_fd(), b = new_fd();

    ck_assert(vgpu_irqs_set_fd(&irqs, 3, dup(a)));
    ck_assert(vgpu_irqs_set_fd(&irqs, 4, dup(b)));
    vgpu_irqs_raise(&irqs, 3);
    ck_assert_uint_eq(taken(a), 1);
    ck_assert_uint_eq(taken(b), 0);
}
END_TEST

START_TEST(raised_without_a_descriptor_is_signalled_when_it_comes)
{
    int fd = new_fd();

    vgpu_irqs_raise(&irqs, 0);
    ck_assert_int_eq(vgpu_irqs_fd(&irqs, 0), -1);
    vgpu_irqs_set_fd(&irqs, 0, dup(fd));
    ck_assert_uint_eq(taken(fd), 1);
    vgpu_irqs_set_masked(&irqs, 0, true);
    vgpu_irqs_set_masked(&irqs, 0, false);
    ck_assert_uint_eq(taken(fd), 0);
}
END_TEST

START_TEST(a_masked_vector_has_no_effective_descriptor)
{
    int fd = new_fd();

    vgpu_irqs_set_fd(&irqs, 5, dup(fd));
    ck_assert(vgpu_irqs_set_masked(&irqs, 5, true));
    ck_assert(!vgpu_irqs_set_masked(&irqs, 5, true));
    ck_assert_int_eq(vgpu_irqs_fd(&irqs, 5), -1);
    vgpu_irqs_raise(&irqs, 5);
    ck_assert_uint_eq(taken(fd), 0);
    ck_assert(vgpu_irqs_set_masked(&irqs, 5, false));
    ck_assert_uint_eq(taken(fd), 1);
}
END_TEST

/* VGPU-BUS-005 */
START_TEST(a_replaced_descriptor_is_signalled_once)
{
    int a = new_fd(), b = new_fd();

    ck_assert(vgpu_irqs_set_fd(&irqs, 1, dup(a)));
    ck_assert_uint_eq(taken(a), 0);
    ck_assert(vgpu_irqs_set_fd(&irqs, 1, dup(b)));
    ck_assert_uint_eq(taken(b), 1);
    ck_assert(vgpu_irqs_set_fd(&irqs, 1, -1));
    ck_assert(!vgpu_irqs_set_fd(&irqs, 1, -1));
}
END_TEST

START_TEST(a_change_under_the_mask_is_none_yet)
{
    int a = new_fd(), b = new_fd();

    vgpu_irqs_set_fd(&irqs, 1, dup(a));
    vgpu_irqs_set_masked(&irqs, 1, true);
    ck_assert(!vgpu_irqs_set_fd(&irqs, 1, dup(b)));
    ck_assert_uint_eq(taken(b), 0);
    ck_assert(vgpu_irqs_set_masked(&irqs, 1, false));
    ck_assert_uint_eq(taken(b), 1);
}
END_TEST

START_TEST(a_full_eventfd_does_not_block)
{
    uint64_t full = UINT64_MAX - 1;
    int fd = eventfd(0, 0); /* blocking */

    ck_assert_int_eq(write(fd, &full, sizeof(full)), sizeof(full));
    vgpu_irqs_set_fd(&irqs, 2, dup(fd));
    vgpu_irqs_raise(&irqs, 2);
    ck_assert_uint_eq(taken(fd), full);
}
END_TEST

Suite *irqs_suite(void)
{
    Suite *s = suite_create("bus/irqs");
    TCase *tc = tcase_create("vectors");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, raise_signals_the_vector_only);
    tcase_add_test(tc, raised_without_a_descriptor_is_signalled_when_it_comes);
    tcase_add_test(tc, a_masked_vector_has_no_effective_descriptor);
    tcase_add_test(tc, a_replaced_descriptor_is_signalled_once);
    tcase_add_test(tc, a_change_under_the_mask_is_none_yet);
    tcase_add_test(tc, a_full_eventfd_does_not_block);
    suite_add_tcase(s, tc);
    return s;
}
