/* SPDX-License-Identifier: MIT */
/*
 * Contexts of a vm process, with executors that behave and that don't: what the guest hears, and that
 * nothing is answered before the process concerned has been reaped.
 */
#include "daemon_tests.h"
#include "vm_fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void hang(void)
{
    for (;;)
        pause();
}

/* ---- Good ones ---- */

START_TEST(a_context_lives_and_ends)
{
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
        ck_assert_int_eq(vmf_ctx()->state, VM_CTX_LIVE);
        ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
        ck_assert_int_eq(vmf_ctx()->state, VM_CTX_FREE);
        ck_assert_uint_eq(vmf.vm->alive, 0);
    }
    ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0); /* no child is left */
}
END_TEST

/* The pieces cross a seam between two mapped ranges, and start and end inside pages. */
static void script_check_runs(int sock)
{
    struct vgpu_xrun runs[VGPU_X_MAX_RUNS];
    struct vgpu_xmsg msg;

    script_start(sock);
    script_recv(sock, &msg, VGPU_X_BUF_BEGIN, NULL);
    if (msg.u.buf.id != 9 || msg.u.buf.bytes != 0x2f00 || msg.u.buf.first_off != 0x100 ||
        msg.u.buf.run_count != 2 || msg.u.buf.flags != 3)
        _exit(1);
    script_reply(sock, &msg, VGPU_ST_OK);
    script_recv(sock, &msg, VGPU_X_BUF_ADD, runs);
    if (msg.run_count != 2 || runs[0].offset != 0xff000 || runs[0].bytes != 0x2000 ||
        runs[1].offset != 0x200000 || runs[1].bytes != 0x1000 || runs[0].fd || runs[1].fd)
        _exit(2);
    script_reply(sock, &msg, VGPU_ST_OK);
    script_recv(sock, &msg, VGPU_X_BUF_COMMIT, NULL);
    script_reply(sock, &msg, VGPU_ST_OK);
    script_serve(sock);
}

START_TEST(a_buffer_becomes_runs_of_whole_pages)
{
    const struct vgpu_sg_entry sg[] = {{0xff100, 0xf00}, {0x100000, 0x1000}, {0x200000, 0x1000}};

    vmf.script = script_check_runs;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(9, sg, 3), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_ctx()->buf_count, 1);
    ck_assert_uint_eq(vmf_unregister(9), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_ctx()->buf_count, 0);
    ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
}
END_TEST

START_TEST(a_buffer_outside_memory_is_refused)
{
    const struct vgpu_sg_entry outside = {VMF_RAM, 0x1000};
    const struct vgpu_sg_entry half[] = {{VMF_RAM - 0x1000, 0x1000}, {VMF_RAM, 0x1000}};

    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(1, &outside, 1), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(vmf_register(1, half, 2), VGPU_ST_BAD_DMA);
    ck_assert_uint_eq(vmf_ctx()->buf_count, 0);
    ck_assert_uint_eq(vmf_ctx()->buf_bytes, 0);
}
END_TEST

/* ---- Creation that fails ---- */

static void script_refuse(int sock)
{
    struct vgpu_xmsg msg;

    script_recv(sock, &msg, VGPU_X_START, NULL);
    script_reply(sock, &msg, VGPU_ST_HOST_NO_DEVICE);
}

static void script_die(int sock)
{
    kill(getpid(), SIGKILL);
}

static void script_exit_at_once(int sock)
{
    _exit(3);
}

static const struct {
    void (*script)(int sock);
    uint16_t status;
} bad_starts[] = {
    {script_refuse, VGPU_ST_HOST_NO_DEVICE},
    {script_die, VGPU_ST_EXEC_DIED},
    {script_exit_at_once, VGPU_ST_EXEC_DIED},
};

START_TEST(a_failed_start_fails_the_creation_after_the_reaping)
{
    vmf.script = bad_starts[_i].script;
    ck_assert_uint_eq(vmf_create(), bad_starts[_i].status);
    ck_assert_uint_eq(vmf.vm->alive, 0);
    ck_assert_int_eq(vmf_ctx()->state, VM_CTX_FREE);
    vmf.script = script_serve;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK); /* the id is free again */
}
END_TEST

START_TEST(no_process_fails_the_creation)
{
    vmf.refuse_spawn = true;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_HOST_RESOURCES);
    ck_assert_uint_eq(vmf.vm->alive, 0);
}
END_TEST

/* ---- Executors that break the protocol ---- */

static void send_msg(int sock, const struct vgpu_xmsg *msg, size_t bytes)
{
    if (send(sock, msg, bytes, MSG_NOSIGNAL) < 0)
        _exit(97);
}

static void script_short(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_TAKE};

    script_start(sock);
    send_msg(sock, &msg, 5);
    hang();
}

static void script_long(int sock)
{
    static struct vgpu_xmsg msg[2] = {{.type = VGPU_X_QUOTA_TAKE}};

    script_start(sock);
    send_msg(sock, msg, sizeof(msg));
    hang();
}

static void script_unasked_reply(int sock)
{
    struct vgpu_xmsg msg = {.seq = 5};

    script_start(sock);
    script_reply(sock, &msg, VGPU_ST_OK);
    hang();
}

static void script_master(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_START};

    script_start(sock);
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_odd_type(int sock)
{
    struct vgpu_xmsg msg = {.type = 0xffffffff};

    script_start(sock);
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_runs(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_TAKE, .run_count = 1};

    script_start(sock);
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_gives_too_much(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_GIVE};

    script_start(sock);
    msg.u.quota.bytes = 1;
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_lost_for_no_reason(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_LOST};

    script_start(sock);
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_lost_oddly(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_LOST};

    script_start(sock);
    msg.u.lost.status = 0xdead;
    send_msg(sock, &msg, sizeof(msg));
    hang();
}

static void script_hangs_up(int sock)
{
    script_start(sock);
    close(sock);
    hang();
}

static void (*const bad_scripts[])(int) = {
    script_short,      script_long,     script_unasked_reply,  script_master,
    script_odd_type,   script_runs,     script_gives_too_much, script_lost_for_no_reason,
    script_lost_oddly, script_hangs_up,
};

START_TEST(a_broken_protocol_costs_the_context_and_nothing_else)
{
    vmf.script = bad_scripts[_i];
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(vmf_run(vmf_is_lost, 5000));
    ck_assert_uint_eq(vmf_status().status, VGPU_ST_EXEC_FAILED);
    ck_assert_uint_eq(vmf.vm->alive, 0);
    ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
    vmf.script = script_serve;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
}
END_TEST

/* ---- Loss ---- */

static void script_lost(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_LOST};

    script_start(sock);
    msg.u.lost.status = VGPU_ST_ILLEGAL_ADDRESS;
    msg.u.lost.addr = 0x123456789a;
    memset(msg.u.lost.message, 'm', sizeof(msg.u.lost.message)); /* without an end */
    send_msg(sock, &msg, sizeof(msg));
    _exit(0);
}

START_TEST(an_executor_says_why_it_is_lost)
{
    struct vgpu_ctx_status status;

    vmf.script = script_lost;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(vmf_run(vmf_is_lost, 5000));
    status = vmf_status();
    ck_assert_uint_eq(status.status, VGPU_ST_ILLEGAL_ADDRESS);
    ck_assert_uint_eq(status.fault_addr, 0x123456789a);
    ck_assert_uint_eq(strnlen((const char *)status.message, sizeof(status.message)),
                      sizeof(status.message) - 1);
    ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
}
END_TEST

static bool ctx_is_live(void)
{
    return vmf_ctx()->state == VM_CTX_LIVE;
}

START_TEST(a_killed_executor_is_told_as_died)
{
    const struct vgpu_sg_entry sg = {0x200000, 0x1000};

    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(ctx_is_live());
    ck_assert_uint_eq(vmf_register(1, &sg, 1), VGPU_ST_OK);
    ck_assert_int_eq(kill(vmf_ctx()->pid, SIGKILL), 0);
    ck_assert(vmf_run(vmf_is_lost, 5000));
    ck_assert_uint_eq(vmf_status().status, VGPU_ST_EXEC_DIED);
    ck_assert_ptr_nonnull(strstr((const char *)vmf_status().message, "signal 9"));
    ck_assert_uint_eq(vmf_unregister(1), VGPU_ST_OK); /* its memory is free to go */
    ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
}
END_TEST

static void script_deaf_to_stop(int sock)
{
    struct vgpu_xmsg msg;

    for (;;) {
        script_recv(sock, &msg, 0, NULL);
        if (msg.type != VGPU_X_STOP)
            script_reply(sock, &msg, VGPU_ST_OK);
    }
}

START_TEST(an_executor_that_does_not_stop_is_killed)
{
    vmf.script = script_deaf_to_stop;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_destroy(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf.vm->alive, 0);
}
END_TEST

START_TEST(a_reset_ends_everything_and_then_is_done)
{
    struct vgpu_dev_stats stats;

    vmf.script = script_deaf_to_stop;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    vgpu_dev_reset(vmf.vm->dev);
    vgpu_dev_get_stats(vmf.vm->dev, &stats);
    ck_assert_uint_eq(stats.state, VGPU_STATE_RESETTING);
    ck_assert_uint_eq(vmf.vm->alive, 1);
}
END_TEST

/* ---- Quota ---- */

static void script_takes(int sock)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_TAKE, .seq = 11}, answer;

    script_start(sock);
    msg.u.quota.bytes = VMF_LIMIT - 10;
    send_msg(sock, &msg, sizeof(msg));
    script_recv(sock, &answer, VGPU_X_QUOTA, NULL);
    if (answer.seq != 11 || answer.u.quota_reply.status != VGPU_ST_OK ||
        answer.u.quota_reply.held_bytes != VMF_LIMIT - 10)
        _exit(1);
    msg.u.quota.bytes = 11;
    send_msg(sock, &msg, sizeof(msg));
    script_recv(sock, &answer, VGPU_X_QUOTA, NULL);
    if (answer.u.quota_reply.status != VGPU_ST_OUT_OF_MEMORY)
        _exit(2);
    msg.type = VGPU_X_QUOTA_GIVE;
    msg.u.quota.bytes = 90;
    send_msg(sock, &msg, sizeof(msg));
    script_serve(sock);
}

static bool quota_is_settled(void)
{
    return vmf.vm->quota.held_bytes == VMF_LIMIT - 100;
}

START_TEST(what_a_dead_executor_held_is_given_back)
{
    vmf.script = script_takes;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(vmf_run(quota_is_settled, 5000));
    ck_assert_uint_eq(vmf_ctx()->granted_bytes, VMF_LIMIT - 100);
    ck_assert_int_eq(kill(vmf_ctx()->pid, SIGKILL), 0);
    ck_assert(vmf_run(vmf_is_lost, 5000));
    ck_assert_uint_eq(vmf.vm->quota.held_bytes, 0);
}
END_TEST

/* ---- Unmapping ---- */

static bool unmapped(uint64_t addr, uint64_t bytes)
{
    bool removed = false;

    ck_assert_int_eq(vgpu_dma_unmap(vmf.vm->dma, addr, bytes, &removed), 0);
    ck_assert(removed);
    return vm_dma_unmapped(vmf.vm, addr, bytes, 1);
}

static bool no_unmap_pending(void)
{
    return !vmf.vm->unmaps;
}

/* The upper range holds nothing but the buffer. */
START_TEST(an_unmapped_buffer_is_dropped_and_its_id_remains)
{
    const struct vgpu_sg_entry sg = {0x200000, 0x1000}, other = {0x80000, 0x1000};

    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(1, &sg, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(2, &other, 1), VGPU_ST_OK);
    ck_assert(!unmapped(0x100000, VMF_RAM - 0x100000));
    ck_assert(vmf_run(no_unmap_pending, 5000));
    ck_assert_int_eq(vmf_ctx()->state, VM_CTX_LIVE);
    ck_assert_int_eq(vmf_ctx()->bufs[1]->state, VM_BUF_GONE);
    ck_assert_int_eq(vmf_ctx()->bufs[2]->state, VM_BUF_LIVE);
    ck_assert_uint_eq(vmf_register(1, &other, 1), VGPU_ST_BUFFER_EXISTS);
    ck_assert_uint_eq(vmf_unregister(1), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(1, &other, 1), VGPU_ST_OK);
}
END_TEST

START_TEST(an_unmap_of_unused_memory_is_done_at_once)
{
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(unmapped(0x100000, VMF_RAM - 0x100000));
}
END_TEST

static void script_keeps_buffers(int sock)
{
    struct vgpu_xmsg msg;

    for (;;) {
        script_recv(sock, &msg, 0, NULL);
        if (msg.type != VGPU_X_BUF_DROP && msg.type != VGPU_X_STOP)
            script_reply(sock, &msg, VGPU_ST_OK);
    }
}

START_TEST(an_executor_that_keeps_unmapped_memory_is_killed)
{
    const struct vgpu_sg_entry sg = {0x200000, 0x1000};

    vmf.script = script_keeps_buffers;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert_uint_eq(vmf_register(1, &sg, 1), VGPU_ST_OK);
    ck_assert(!unmapped(0x100000, VMF_RAM - 0x100000));
    ck_assert(vmf_run(no_unmap_pending, 5000));
    ck_assert_uint_eq(vmf.vm->alive, 0);
    ck_assert(vmf_is_lost());
    ck_assert_uint_eq(vmf_status().status, VGPU_ST_EXEC_FAILED);
}
END_TEST

/* The admin queue is in the same range, so the device fails too: the context is looked at inside. */
START_TEST(unmapped_rings_lose_the_context)
{
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    ck_assert(!unmapped(0, 0x100000));
    ck_assert_int_eq(vmf_ctx()->state, VM_CTX_ENDING);
    ck_assert_uint_eq(vmf_ctx()->lost_status, VGPU_ST_UNMAPPED);
    ck_assert(vmf_run(no_unmap_pending, 5000));
    ck_assert_uint_eq(vmf.vm->alive, 0);
}
END_TEST

/* ---- Interrupts ---- */

static void script_slow_irqs(int sock)
{
    struct vgpu_xmsg msg;
    unsigned int swaps = 0;

    script_start(sock);
    for (;;) {
        script_recv(sock, &msg, 0, NULL);
        if (msg.type == VGPU_X_STOP)
            _exit(0);
        if (msg.type != VGPU_X_IRQ || ++swaps > 2)
            _exit(1);
        usleep(20000);
        script_reply(sock, &msg, VGPU_ST_OK);
    }
}

static bool irq_is_settled(void)
{
    return !vmf_ctx()->irq_busy;
}

/* A thousand swaps while the executor takes one: it sees few, and the last is signalled. */
START_TEST(swapped_vectors_are_handed_over_one_at_a_time)
{
    int pipe_fds[2], last = -1;
    char c;

    vmf.script = script_slow_irqs;
    ck_assert_uint_eq(vmf_create(), VGPU_ST_OK);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(pipe(pipe_fds), 0); /* stands for an eventfd, which can't tell itself */
        if (last >= 0)
            close(last);
        last = pipe_fds[0];
        if (vgpu_irqs_set_fd(&vmf.vm->irqs, 1, pipe_fds[1]))
            vm_bus_ops.irq_changed(vmf.vm, 1);
    }
    ck_assert_ptr_nonnull(vmf_ctx()->req_first);
    ck_assert_ptr_null(vmf_ctx()->req_first->next);
    ck_assert_ptr_null(vmf_ctx()->out_first);
    ck_assert(vmf_run(irq_is_settled, 5000));
    ck_assert_int_eq(vmf_ctx()->state, VM_CTX_LIVE);
    ck_assert_int_eq(read(last, &c, 1), 1);
    close(last);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vm_suite(void)
{
    Suite *s = suite_create("daemon/vm");
    TCase *tc = tcase_create("contexts");

    tcase_add_checked_fixture(tc, vmf_setup, vmf_teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_context_lives_and_ends);
    tcase_add_test(tc, a_buffer_becomes_runs_of_whole_pages);
    tcase_add_test(tc, a_buffer_outside_memory_is_refused);
    tcase_add_loop_test(tc, a_failed_start_fails_the_creation_after_the_reaping, 0,
                        ROWS(bad_starts));
    tcase_add_test(tc, no_process_fails_the_creation);
    tcase_add_loop_test(tc, a_broken_protocol_costs_the_context_and_nothing_else, 0,
                        ROWS(bad_scripts));
    tcase_add_test(tc, an_executor_says_why_it_is_lost);
    tcase_add_test(tc, a_killed_executor_is_told_as_died);
    tcase_add_test(tc, an_executor_that_does_not_stop_is_killed);
    tcase_add_test(tc, a_reset_ends_everything_and_then_is_done);
    tcase_add_test(tc, what_a_dead_executor_held_is_given_back);
    tcase_add_test(tc, an_unmapped_buffer_is_dropped_and_its_id_remains);
    tcase_add_test(tc, an_unmap_of_unused_memory_is_done_at_once);
    tcase_add_test(tc, an_executor_that_keeps_unmapped_memory_is_killed);
    tcase_add_test(tc, unmapped_rings_lose_the_context);
    tcase_add_test(tc, swapped_vectors_are_handed_over_one_at_a_time);
    suite_add_tcase(s, tc);
    return s;
}
