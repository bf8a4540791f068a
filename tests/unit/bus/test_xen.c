/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus: opening, attaching and what fails on the way, the domain's end.  On the fake of Xen's
 * libraries; tests/xen does the same under a real Xen.
 */
#include "bus_tests.h"
#include "xen_fixture.h"

#include <bus/xen_lib.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- What fails ---- */

START_TEST(says_why_a_domain_cannot_be_opened)
{
    xf.no_libraries = true;
    xf_expect_why(xf_open(), -ENOENT, "libxendevicemodel.so.1");
    xf.no_libraries = false;
    xf.privcmd_errno = ENOENT;
    xf_expect_why(xf_open(), -ENOENT, "domain 7: /dev/xen/privcmd (is this a Dom0?): No such file");
    xf.privcmd_errno = 0;
    xf.restrict_errno = ENOTTY;
    xf_expect_why(xf_open(), -ENOTTY, "domain 7: narrowing the handles");
    xf.restrict_errno = 0;
    ck_assert_int_eq(xf_open(), 0);
}
END_TEST

START_TEST(serves_hvm_domains_of_a_size_that_it_can)
{
    fakexen_start(XF_DOMAIN, 0);
    xf_expect_why(xf_open(), -EINVAL, "domain 7: not a running HVM domain");
    fakexen_start(XF_DOMAIN + 1, 1);
    xf_expect_why(xf_open(), -ESRCH, "domain 7: not a running HVM domain: No such process");
    fakexen_start(XF_DOMAIN, 129);
    xf_expect_why(xf_open(), -ERANGE, "129 vCPUs, allowed are 1 to 128");
    fakexen_start(XF_DOMAIN, 128);
    ck_assert_int_eq(xf_open(), 0);
    ck_assert_int_eq(xf_attach(), 0);
}
END_TEST

START_TEST(narrows_its_handles_before_it_attaches)
{
    struct fakexen_view v;

    ck_assert_int_eq(xf_open(), 0);
    fakexen_view(&v);
    ck_assert(v.restricted);
    ck_assert_uint_eq(v.handles, 3);
    ck_assert_uint_eq(v.servers, 0);
}
END_TEST

START_TEST(says_what_is_in_the_way_of_attaching)
{
    ck_assert_int_eq(xf_open(), 0);
    fakexen_fail("xendevicemodel_map_pcidev_to_ioreq_server", 1, EEXIST);
    xf_expect_why(xf_attach(), -EEXIST, "domain 7: taking its PCI slot: File exists");
}
END_TEST

#define NAME_OF(library, name) #name,
static const char *const functions[] = {XEN_FUNCTIONS(NAME_OF)};
#define FUNCTIONS (int)(sizeof(functions) / sizeof(functions[0]))

/* Each call of each function fails once: that is reported, and undone (xf_teardown() looks). */
START_TEST(undoes_what_was_done_when_a_call_fails)
{
    const char *function = functions[_i];
    unsigned int calls;

    ck_assert_msg(!xf_open() && !xf_attach(), "%s", xf.why);
    calls = fakexen_calls(function);
    xf_teardown();
    for (unsigned int n = 1; n <= calls; n++) {
        int ret;

        xf_setup();
        fakexen_fail(function, n, EPERM);
        ret = xf_open();
        ret = ret ? ret : xf_attach();
        unit_check(ret == -EPERM && strstr(xf.why, "domain 7: "), "call %u of %s: %d, \"%s\"", n,
                   function, ret, xf.why);
        xf_teardown();
    }
    xf_setup();
}
END_TEST

/* A server that can't be destroyed is told of; one that is gone is not. */
START_TEST(says_which_server_stays_behind)
{
    ck_assert_int_eq(xf_open(), 0);
    fakexen_fail("xenforeignmemory_map_resource", 1, EPERM);
    fakexen_fail("xendevicemodel_destroy_ioreq_server", 1, EBUSY);
    xf_expect_why(xf_attach(), -EPERM, "domain 7: mapping the request page");
    unit_check(strstr(xf.log, "ioreq server 0 stays in the domain: Device or resource busy"),
               "log: %s", xf.log);
    fakexen_domain_dies(); /* which takes it away */
}
END_TEST

/* It is the attach that leaves nothing, not the end of its process. */
START_TEST(a_failed_attach_leaves_the_domain_at_once)
{
    static const char *const steps[] = {
        "xenforeignmemory_map_resource", "xendevicemodel_map_pcidev_to_ioreq_server",
        "xendevicemodel_set_ioreq_server_state", "xenevtchn_bind_interdomain"};
    struct fakexen_view v;

    ck_assert_int_eq(xf_open(), 0);
    fakexen_fail(steps[_i], 1, EPERM);
    ck_assert_int_eq(xf_attach(), -EPERM);
    fakexen_view(&v);
    unit_check(!v.servers && !v.functions && !v.pages, "%s: %u servers, %u pages", steps[_i],
               v.servers, v.pages);
    /* and no word of it for a successor */
    ck_assert_int_eq(xf_attach(), 0);
}
END_TEST

/* Nothing is left although nothing can be undone: the domain is gone. */
START_TEST(leaves_a_dead_domain)
{
    ck_assert_int_eq(vgpu_xen_check(xf.xen), 0);
    xf_place_bars();
    fakexen_domain_dies();
    ck_assert_int_eq(vgpu_xen_check(xf.xen), -ESRCH);
}
END_TEST

START_TEST(a_call_that_fails_ends_the_service)
{
    fakexen_fail("xenevtchn_pending", 1, EINTR);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0);
    fakexen_fail("xenevtchn_pending", 1, EBADF);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), -EBADF);
    fakexen_stray_event();
    fakexen_fail("xenevtchn_unmask", 1, EIO);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), -EIO);
    fakexen_request(0, &(ioreq_t){.type = IOREQ_TYPE_INVALIDATE});
    fakexen_fail("xenevtchn_notify", 1, EIO);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), -EIO);
}
END_TEST

START_TEST(an_event_without_a_request_is_nothing)
{
    struct vgpu_xen_stats before, after;

    vgpu_xen_get_stats(xf.xen, &before);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0); /* not even an event */
    fakexen_stray_event();
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0);
    fakexen_request(0, &(ioreq_t){.type = IOREQ_TYPE_COPY, .size = 4, .count = 1});
    fakexen_slot(0)->state = STATE_IOREQ_NONE;
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0);
    vgpu_xen_get_stats(xf.xen, &after);
    ck_assert_uint_eq(after.mmio, before.mmio);
}
END_TEST

START_TEST(says_that_its_state_cannot_be_kept)
{
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    close(xf.state_fd);
    xf.state_fd = fd;
    ck_assert_int_eq(xf_open(), 0);
    ck_assert_int_eq(xf_attach(), 0);
    unit_check(strstr(xf.log, "its state can't be kept"), "log: %s", xf.log);
}
END_TEST

Suite *xen_suite(void)
{
    Suite *s = suite_create("xen");
    TCase *closed = tcase_create("closed");
    TCase *attached = tcase_create("attached");

    tcase_add_checked_fixture(closed, xf_setup, xf_teardown);
    tcase_add_test(closed, says_why_a_domain_cannot_be_opened);
    tcase_add_test(closed, serves_hvm_domains_of_a_size_that_it_can);
    tcase_add_test(closed, narrows_its_handles_before_it_attaches);
    tcase_add_test(closed, says_what_is_in_the_way_of_attaching);
    tcase_add_loop_test(closed, undoes_what_was_done_when_a_call_fails, 0, FUNCTIONS);
    tcase_add_test(closed, says_which_server_stays_behind);
    tcase_add_loop_test(closed, a_failed_attach_leaves_the_domain_at_once, 0, 4);
    tcase_add_test(closed, says_that_its_state_cannot_be_kept);
    suite_add_tcase(s, closed);
    tcase_add_checked_fixture(attached, xf_setup_attached, xf_teardown);
    tcase_add_test(attached, leaves_a_dead_domain);
    tcase_add_test(attached, a_call_that_fails_ends_the_service);
    tcase_add_test(attached, an_event_without_a_request_is_nothing);
    suite_add_tcase(s, attached);
    return s;
}
