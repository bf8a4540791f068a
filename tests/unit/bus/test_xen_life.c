/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus: leaving a domain whose vCPUs wait, and taking one over from a process that was killed.  On
 * the fake of Xen's libraries; tests/xen does the same under a real Xen.
 */
#include "bus_tests.h"
#include "xen_fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Leaving while vCPUs wait ---- */

static ioreq_t request(uint8_t type, uint64_t addr, int dir)
{
    return (ioreq_t){.type = type, .addr = addr, .size = 4, .count = 1, .dir = dir & 1};
}

static void leave(void)
{
    vgpu_xen_destroy(xf.xen);
    xf.xen = NULL;
}

/* That none hangs is what xf_teardown() looks at. */
static void expect_read(unsigned int vcpu, uint64_t expected)
{
    uint64_t data = 0;

    ck_assert_msg(fakexen_answered(vcpu, &data), "vCPU %u waits", vcpu);
    ck_assert_uint_eq(data, expected);
}

START_TEST(who_waits_when_it_leaves_reads_ones)
{
    const ioreq_t config = request(IOREQ_TYPE_PCI_CONFIG, (uint64_t)XF_SLOT << 35, IOREQ_READ);
    ioreq_t string = request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS), IOREQ_READ);

    xf_place_bars();
    string.data_is_ptr = 1;
    string.data = 64;
    string.count = 2;
    memset(fakexen_memory() + 64, 0, 12);
    fakexen_request(0, &config);
    fakexen_request(1, &string);
    fakexen_slot(1)->state = STATE_IOREQ_INPROCESS;
    leave();
    expect_read(0, ~0ull);
    expect_read(1, 64); /* the address of the data, which are ones */
    ck_assert(!memcmp(fakexen_memory() + 64, "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 12));
}
END_TEST

START_TEST(writes_that_wait_when_it_leaves_are_dropped)
{
    ioreq_t flr = request(IOREQ_TYPE_PCI_CONFIG, (uint64_t)XF_SLOT << 35 | 0x58, IOREQ_WRITE);
    ioreq_t echo =
        request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS) + VGPU_REG_TEST_ECHO, IOREQ_WRITE);
    uint32_t value = 0;
    uint64_t data;

    xf_place_bars();
    flr.data = 0x8000;
    echo.data = 0x55;
    fakexen_request(0, &flr);
    fakexen_request(1, &echo);
    leave();
    ck_assert(fakexen_answered(0, &data) && fakexen_answered(1, &data));
    ck_assert_uint_eq(xf.resets, 0);
    vgpu_dev_bar_read(xf.dev, VGPU_BAR_REGS, VGPU_REG_TEST_ECHO, &value, 4);
    ck_assert_uint_eq(value, 0xffffffff);
}
END_TEST

/* The last moment for a request is the one before the server is disabled. */
START_TEST(who_comes_while_it_leaves_is_answered_too)
{
    const ioreq_t read = request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS), IOREQ_READ);

    xf_place_bars();
    fakexen_request_during("xendevicemodel_set_ioreq_server_state", 1, &read);
    leave();
    expect_read(1, ~0ull);
}
END_TEST

START_TEST(an_answer_whose_signal_failed_is_signalled_when_it_leaves)
{
    const ioreq_t id = request(IOREQ_TYPE_PCI_CONFIG, (uint64_t)XF_SLOT << 35, IOREQ_READ);

    fakexen_request(0, &id);
    fakexen_fail("xenevtchn_notify", 1, EIO);
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), -EIO);
    leave();
    expect_read(0, VGPU_PCI_VENDOR_ID | VGPU_PCI_DEVICE_ID << 16);
}
END_TEST

START_TEST(who_waits_is_answered_though_the_server_cannot_be_disabled)
{
    const ioreq_t read = request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS), IOREQ_READ);

    fakexen_request(0, &read);
    fakexen_fail("xendevicemodel_set_ioreq_server_state", 1, EPERM);
    leave();
    unit_check(strstr(xf.log, "ioreq server 0 can't be disabled"), "log: %s", xf.log);
    expect_read(0, ~0ull);
}
END_TEST

/* Its vCPUs fetch nothing: they are woken, and not waited for without end. */
START_TEST(a_paused_domain_is_left_too)
{
    const ioreq_t read = request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS), IOREQ_READ);
    uint64_t data;

    fakexen_request(0, &read);
    fakexen_pause();
    leave();
    ck_assert(!fakexen_answered(0, &data));
}
END_TEST

START_TEST(says_which_vcpu_it_could_not_wake)
{
    const ioreq_t read = request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS), IOREQ_READ);

    fakexen_request(1, &read);
    fakexen_fail("xenevtchn_notify", 1, EIO);
    leave();
    unit_check(strstr(xf.log, "vCPU 1 can't be told"), "log: %s", xf.log);
    fakexen_domain_dies(); /* the only end of its wait */
}
END_TEST

/* ---- A successor ---- */

static void attach_opened(void)
{
    ck_assert_msg(!xf_attach(), "%s", xf.why);
}

static void attach(void)
{
    ck_assert_int_eq(xf_open(), 0);
    attach_opened();
}

static void receive_all(void)
{
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0);
}

START_TEST(a_successor_takes_the_domain_over)
{
    struct fakexen_view before, after;
    uint64_t data;

    xf_place_bars();
    xf_msix_enable(true);
    xf_msix_program(0, 0xfee00000, 0x41);
    xf_msix_unmask(0);
    fakexen_view(&before);
    /* one request waits, another was being served */
    fakexen_request(0, &(ioreq_t){.type = IOREQ_TYPE_COPY,
                                  .addr = XF_BAR(VGPU_BAR_REGS) + VGPU_REG_MAGIC,
                                  .size = 4,
                                  .count = 1,
                                  .dir = IOREQ_READ});
    fakexen_request(1, &(ioreq_t){.type = IOREQ_TYPE_COPY,
                                  .addr = XF_MSIX_ENTRY(0) + 8,
                                  .size = 4,
                                  .count = 1,
                                  .dir = IOREQ_READ});
    fakexen_slot(1)->state = STATE_IOREQ_INPROCESS;
    xf_killed();
    attach();
    fakexen_view(&after);
    ck_assert_uint_eq(after.servers, 1);
    ck_assert_uint_eq(after.ranges, before.ranges);
    receive_all();
    ck_assert(fakexen_answered(0, &data));
    ck_assert_uint_eq(data, VGPU_MAGIC);
    ck_assert(fakexen_answered(1, &data));
    ck_assert_uint_eq(data, 0x41);
    vgpu_xen_irq(xf.xen, 0);
    fakexen_view(&after);
    ck_assert_uint_eq(after.message_count, 1);
    ck_assert_uint_eq(after.messages[0].addr, 0xfee00000);
    ck_assert_uint_eq(after.messages[0].data, 0x41);
}
END_TEST

START_TEST(a_successor_signals_what_was_answered)
{
    const ioreq_t id = request(IOREQ_TYPE_PCI_CONFIG, (uint64_t)XF_SLOT << 35, IOREQ_READ);

    fakexen_request(0, &id);
    fakexen_fail("xenevtchn_notify", 1, EIO); /* as if killed in front of it */
    ck_assert_int_eq(vgpu_xen_receive(xf.xen), -EIO);
    xf_killed();
    attach();
    expect_read(0, VGPU_PCI_VENDOR_ID | VGPU_PCI_DEVICE_ID << 16);
}
END_TEST

static void state_word(long word, bool write, uint32_t *value)
{
    off_t at = 4096 + 4 * word;

    if (write)
        ck_assert_int_eq(pwrite(xf.state_fd, value, 4, at), 4);
    else
        ck_assert_int_eq(pread(xf.state_fd, value, 4, at), 4);
}

/* Xen gives a server's id to the next one: what stands there may be QEMU's. */
START_TEST(a_server_without_the_function_is_not_taken_over)
{
    struct fakexen_view v;
    uint32_t magic;

    xf_killed();
    ck_assert_int_eq(xf_open(), 0);
    fakexen_server_replaced();
    xf_expect_why(xf_attach(), -EEXIST,
                  "domain 7: ioreq server 0, which is said to be a predecessor's, "
                  "has not the device in slot 0x6: not taken over");
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 1); /* left alone */
    ck_assert_uint_eq(v.functions, 0);
    ck_assert(v.enabled);
    ck_assert_uint_eq(v.pages, 0);
    state_word(0, false, &magic);
    ck_assert_uint_eq(magic, 0); /* the next one begins anew */
    fakexen_domain_dies();
}
END_TEST

START_TEST(a_server_that_was_not_finished_is_destroyed)
{
    struct fakexen_view v;
    uint32_t placed = 1;

    vgpu_xen_destroy(xf.xen);
    xf.xen = NULL;
    /* the first process dies when it has created the server */
    ck_assert_int_eq(xf_open(), 0);
    fakexen_fail("xendevicemodel_map_pcidev_to_ioreq_server", 1, EPERM);
    fakexen_fail("xendevicemodel_destroy_ioreq_server", 1, EPERM);
    ck_assert_int_eq(xf_attach(), -EPERM);
    ck_assert_int_eq(xf_attach(), 0);
    state_word(4, false, &placed);
    ck_assert_uint_eq(placed, 1);
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 2);
    /* a state like that one's names the left-over */
    placed = 0;
    state_word(3, true, &placed);
    state_word(4, true, &placed);
    xf_killed();
    attach();
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 2);
    ck_assert_uint_eq(fakexen_calls("xendevicemodel_destroy_ioreq_server"), 3);
    fakexen_domain_dies();
}
END_TEST

/* Taking over fails: the server and the state stay, and the next one takes over. */
START_TEST(a_domain_that_was_not_taken_over_waits_for_another)
{
    static const char *const steps[] = {"xenforeignmemory_map_resource",
                                        "xendevicemodel_set_ioreq_server_state",
                                        "xenevtchn_bind_interdomain"};
    const ioreq_t magic =
        request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS) + VGPU_REG_MAGIC, IOREQ_READ);
    struct fakexen_view v;

    xf_place_bars();
    fakexen_request(1, &magic);
    xf_killed();
    ck_assert_int_eq(xf_open(), 0);
    fakexen_fail(steps[_i], 1, EPERM);
    ck_assert_int_eq(xf_attach(), -EPERM);
    vgpu_xen_destroy(xf.xen);
    xf.xen = NULL;
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 1);
    ck_assert_uint_eq(v.ranges, 3);
    ck_assert_uint_eq(v.pages, 0);
    ck_assert_uint_eq(v.ports, 0);
    attach();
    receive_all();
    expect_read(1, VGPU_MAGIC);
}
END_TEST

/* ---- Killed between any two steps ---- */

static unsigned int steps_left; /* 0: it lives */

static void step(void)
{
    if (steps_left && !--steps_left)
        kill(getpid(), SIGKILL);
}

/* A process is killed in front of the nth thing that it does to Xen or to its file; false: it had
 * finished before, and went then.  What is left of it is in Xen and in the file. */
static bool dies_in(unsigned int n, void (*what)(void))
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (!pid) {
        xf.step = step;
        fakexen_on_call(step);
        steps_left = n;
        what();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    xf_killed();
    if (WIFSIGNALED(status))
        ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void expect_service(unsigned int n)
{
    struct fakexen_view v;

    fakexen_view(&v);
    unit_check(v.functions == 1 && v.enabled, "step %u: %u functions", n, v.functions);
    ck_assert_uint_eq(xf_config_read(0, 4), VGPU_PCI_VENDOR_ID | VGPU_PCI_DEVICE_ID << 16);
}

/*
 * Killed over a BAR's move: Xen may have it at the old place, at none, or at the new one.  The
 * request is served again; afterwards it is at the new place, and nowhere else.
 */
START_TEST(a_successor_finds_a_bar_that_was_moving)
{
    const uint64_t old = XF_BAR(VGPU_BAR_REGS), new = 0xe8000000;
    ioreq_t move = request(IOREQ_TYPE_PCI_CONFIG, (uint64_t)XF_SLOT << 35 | 0x10, IOREQ_WRITE);
    struct fakexen_view v;
    unsigned int n;
    uint64_t data;

    move.data = new;
    for (n = 1;; n++) {
        xf_place_bars();
        fakexen_request(0, &move);
        if (!dies_in(n, receive_all))
            break;
        attach();
        receive_all();
        unit_check(fakexen_answered(0, &data), "step %u: the vCPU waits", n);
        fakexen_view(&v);
        unit_check(v.ranges == 3 && fakexen_is_ours(new) && !fakexen_is_ours(old),
                   "step %u: %u ranges, %d %d", n, v.ranges, fakexen_is_ours(new),
                   fakexen_is_ours(old));
        ck_assert_uint_eq(xf_read(new + VGPU_REG_MAGIC, 4), VGPU_MAGIC);
        xf_teardown();
        xf_setup_attached();
    }
    attach();
    ck_assert_uint_ge(n, 7); /* two of events, two of ranges, two of the file, the signal */
}
END_TEST

/* What no successor can know of is a server that had been created when its process died: nobody's,
 * disabled, and gone with the domain. */
START_TEST(a_successor_finds_an_attach_that_was_not_finished)
{
    struct fakexen_view v;
    unsigned int n, unknown = 0;

    for (n = 1;; n++) {
        leave();
        ck_assert_int_eq(xf_open(), 0);
        if (!dies_in(n, attach_opened))
            break;
        attach();
        fakexen_view(&v);
        unknown += v.servers - 1;
        if (v.servers == 1)
            expect_service(n);
        else
            fakexen_domain_dies();
        xf_teardown();
        xf_setup_attached();
    }
    attach();
    ck_assert_uint_ge(n, 9);
    ck_assert_uint_eq(unknown, 1);
}
END_TEST

static void take_over(void)
{
    attach_opened();
    receive_all();
}

START_TEST(a_successor_of_a_successor_takes_the_domain_over)
{
    const ioreq_t magic =
        request(IOREQ_TYPE_COPY, XF_BAR(VGPU_BAR_REGS) + VGPU_REG_MAGIC, IOREQ_READ);
    struct fakexen_view v;
    unsigned int n;

    for (n = 1;; n++) {
        xf_place_bars();
        fakexen_request(0, &magic);
        xf_killed();
        ck_assert_int_eq(xf_open(), 0);
        if (!dies_in(n, take_over))
            break;
        attach();
        receive_all();
        expect_read(0, VGPU_MAGIC);
        fakexen_view(&v);
        unit_check(v.servers == 1 && v.ranges == 3, "step %u: %u servers, %u ranges", n, v.servers,
                   v.ranges);
        expect_service(n);
        xf_teardown();
        xf_setup_attached();
    }
    attach();
    ck_assert_uint_ge(n, 12);
}
END_TEST

/* Either the device is as the guest has set it up, BARs and all, or it is a new one.  A function that had
 * been given back already makes the first successor refuse. */
START_TEST(a_successor_finds_a_leave_that_was_not_finished)
{
    unsigned int n, adopted = 0, refused = 0;
    struct fakexen_view v;
    uint32_t command;
    int ret;

    for (n = 1;; n++) {
        xf_place_bars();
        if (!dies_in(n, leave))
            break;
        ck_assert_int_eq(xf_open(), 0);
        ret = xf_attach();
        refused += ret == -EEXIST;
        if (ret)
            attach_opened();
        vgpu_dev_config_read(xf.dev, 0x04, &command, sizeof(command));
        adopted += command & 2;
        fakexen_view(&v);
        unit_check(v.ranges == (command & 2 ? 3u : 0u), "step %u: %u ranges, command %#x", n,
                   v.ranges, command);
        ck_assert_uint_eq(v.functions, 1);
        if (v.servers > 1)
            fakexen_domain_dies();
        xf_teardown();
        xf_setup_attached();
    }
    ck_assert_uint_ge(adopted,
                      2 * 5); /* in front of disabling it, of three ranges and the function */
    ck_assert_uint_eq(refused, 1);
}
END_TEST

/* ---- State ---- */

START_TEST(state_of_another_domain_is_not_ours)
{
    struct fakexen_view v;
    uint32_t word;

    /* the domain's id comes behind the magic number */
    ck_assert_int_eq(pread(xf.state_fd, &word, sizeof(word), 4096 + 4), sizeof(word));
    ck_assert_uint_eq(word, XF_DOMAIN);
    word++;
    ck_assert_int_eq(pwrite(xf.state_fd, &word, sizeof(word), 4096 + 4), sizeof(word));
    xf_killed();
    attach();
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 2);
    /* the first one is nobody's now: as a dead domain's */
    fakexen_domain_dies();
}
END_TEST

START_TEST(a_regular_end_leaves_no_state)
{
    struct fakexen_view v;

    vgpu_xen_destroy(xf.xen);
    xf.xen = NULL;
    ck_assert_int_eq(xf_open(), 0);
    ck_assert_int_eq(xf_attach(), 0);
    fakexen_view(&v);
    ck_assert_uint_eq(v.servers, 1);
    ck_assert_uint_eq(v.functions, 1);
}
END_TEST

Suite *xen_life_suite(void)
{
    Suite *s = suite_create("xen_life");
    TCase *attached = tcase_create("attached");

    tcase_add_checked_fixture(attached, xf_setup_attached, xf_teardown);
    tcase_add_test(attached, who_waits_when_it_leaves_reads_ones);
    tcase_add_test(attached, writes_that_wait_when_it_leaves_are_dropped);
    tcase_add_test(attached, who_comes_while_it_leaves_is_answered_too);
    tcase_add_test(attached, an_answer_whose_signal_failed_is_signalled_when_it_leaves);
    tcase_add_test(attached, who_waits_is_answered_though_the_server_cannot_be_disabled);
    tcase_add_test(attached, a_paused_domain_is_left_too);
    tcase_add_test(attached, says_which_vcpu_it_could_not_wake);
    tcase_add_test(attached, a_successor_takes_the_domain_over);
    tcase_add_test(attached, a_successor_signals_what_was_answered);
    tcase_add_test(attached, a_server_without_the_function_is_not_taken_over);
    tcase_add_test(attached, a_server_that_was_not_finished_is_destroyed);
    tcase_add_loop_test(attached, a_domain_that_was_not_taken_over_waits_for_another, 0, 3);
    tcase_add_test(attached, a_successor_finds_a_bar_that_was_moving);
    tcase_add_test(attached, a_successor_finds_an_attach_that_was_not_finished);
    tcase_add_test(attached, a_successor_of_a_successor_takes_the_domain_over);
    tcase_add_test(attached, a_successor_finds_a_leave_that_was_not_finished);
    tcase_add_test(attached, state_of_another_domain_is_not_ours);
    tcase_add_test(attached, a_regular_end_leaves_no_state);
    suite_add_tcase(s, attached);
    return s;
}
