// SPDX-License-Identifier: MIT
/*
 * The exec process as a whole: a real process, the real protocol, the null executor.
 */
#include "fake_vm.h"
#include "suites.h"

#include <poll.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOTH (VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES)

static void start_null(struct fake_vm *vm, uint32_t poll_us)
{
    const struct fake_vm_config cfg = {.exec_kind = VGPU_EXEC_NULL, .poll_us = poll_us};

    ck_assert_uint_eq(fake_vm_start(vm, &cfg), VGPU_ST_OK);
}

/* ---- Commands ---- */

static const uint32_t poll_times[] = {0, 200, 1000000};

START_TEST(nop_completes_however_long_it_polls)
{
    struct fake_vm vm;

    start_null(&vm, poll_times[_i]);
    for (uint64_t i = 0; i < 2000; i++) {
        struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, 0, i * 3 + 1);
        struct vgpu_cqe cqe = fake_vm_run(&vm, &sqe);

        ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
        ck_assert_uint_eq(cqe.result, 0);
    }
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(indices_wrap_at_two_to_the_32)
{
    const struct fake_vm_config cfg = {
        .exec_kind = VGPU_EXEC_NULL, .first_idx = UINT32_MAX - 100, .poll_us = 50};
    struct fake_vm vm;

    ck_assert_uint_eq(fake_vm_start(&vm, &cfg), VGPU_ST_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, 0, i);

        ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    }
    ck_assert_uint_lt(vm.guest.sq_prod, 1000);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(unknown_opcode_is_refused_and_the_next_command_works)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(0x7fff, 0, 1);

    start_null(&vm, 0);
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_OPCODE);
    sqe = sqe_make(VGPU_CMD_NOP, 0, 2);
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(memory_is_taken_from_and_given_back_to_the_quota)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);
    struct vgpu_cqe a, b;

    start_null(&vm, 0);
    sqe.u.mem_alloc.bytes = 5000;
    a = fake_vm_run(&vm, &sqe);
    ck_assert_uint_eq(a.status, VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_quota(&vm), 8192);
    b = fake_vm_run(&vm, &sqe);
    ck_assert_uint_ne(a.result, b.result);

    sqe.u.mem_alloc.bytes = vm.cfg.memory_limit;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OUT_OF_MEMORY);
    sqe.u.mem_alloc.bytes = UINT64_MAX;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OUT_OF_MEMORY);
    sqe.u.mem_alloc.bytes = 0;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_VALUE);

    sqe = sqe_make(VGPU_CMD_MEM_FREE, 0, 2);
    sqe.u.mem_free.addr = a.result;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_ADDRESS);
    sqe.u.mem_free.addr = b.result;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    fake_vm_stop(&vm);
    ck_assert_uint_eq(vm.quota_held, 0);
}
END_TEST

START_TEST(mem_info_tells_limit_held_and_free)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);
    struct vgpu_mem_info info;
    struct vgpu_cqe cqe;

    start_null(&vm, 0);
    vm.quota_held = 1 << 20; /* another context's */
    sqe.u.mem_alloc.bytes = 4096;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    sqe = sqe_make(VGPU_CMD_MEM_INFO, 0, 2);
    sqe.u.mem_info.out_off = 72;
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    memcpy(&info, vm.arena + 72, sizeof(info));
    ck_assert_uint_eq(info.limit_bytes, vm.cfg.memory_limit);
    ck_assert_uint_eq(info.held_bytes, (1 << 20) + 4096);
    ck_assert_uint_eq(info.ctx_bytes, 4096);
    ck_assert_uint_eq(cqe.result, info.limit_bytes - info.held_bytes);
    sqe.u.mem_info.out_off = FAKE_ARENA_BYTES - sizeof(info) + 1;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_RANGE);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(full_completion_queue_stalls_and_resumes_without_a_doorbell)
{
    struct fake_vm vm;
    struct vgpu_cqe cqe;

    start_null(&vm, 0);
    /* Twice as many as completions fit. */
    for (uint64_t i = 0; i < 128; i++) {
        struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, 0, i);

        fake_vm_submit(&vm, &sqe);
    }
    for (uint64_t i = 0; i < 128; i++) {
        cqe = fake_vm_next(&vm);
        ck_assert_uint_eq(cqe.cookie, i);
        ck_assert_uint_eq(cqe.sq_idx, i);
    }
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Interrupts and sleeping ---- */

START_TEST(interrupt_comes_when_asked_for_and_moves_to_the_new_eventfd)
{
    struct fake_vm vm;
    struct vgpu_xmsg msg = {.type = VGPU_X_IRQ};
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, 0, 1);
    struct vgpu_cqe cqe;
    int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct pollfd old_fd, new_fd = {.fd = second, .events = POLLIN};
    eventfd_t value;

    start_null(&vm, 0);
    old_fd = (struct pollfd){.fd = vm.irq_fd, .events = POLLIN};
    ck_assert(guest_arm(&vm.guest));
    fake_vm_submit(&vm, &sqe);
    ck_assert_int_eq(poll(&old_fd, 1, 30000), 1);
    ck_assert_int_eq(eventfd_read(vm.irq_fd, &value), 0);
    ck_assert(guest_reap(&vm.guest, &cqe));

    /* Not armed: no interrupt. */
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &msg, NULL, second)), VGPU_ST_OK);
    ck_assert_int_eq(poll(&old_fd, 1, 0), 0);

    ck_assert(guest_arm(&vm.guest));
    fake_vm_submit(&vm, &sqe);
    ck_assert_int_eq(poll(&new_fd, 1, 30000), 1);
    ck_assert_int_eq(poll(&old_fd, 1, 0), 0);
    fake_vm_stop(&vm);
    close(second);
}
END_TEST

START_TEST(idle_process_sleeps_and_counts)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, 0, 1);
    struct vgpu_xmsg msg = {.type = VGPU_X_IRQ};

    start_null(&vm, 0);
    for (int i = 0; i < 10; i++)
        (void)fake_vm_run(&vm, &sqe);
    sqe.opcode = 0xff;
    (void)fake_vm_run(&vm, &sqe);
    /* The second reply comes from a round of chores after one that published. */
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &msg, NULL, -1)), VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &msg, NULL, -1)), VGPU_ST_OK);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->commands, __ATOMIC_RELAXED), 11);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->errors, __ATOMIC_RELAXED), 1);
    ck_assert_uint_ge(__atomic_load_n(&vm.stats->sleeps, __ATOMIC_RELAXED), 1);
    ck_assert_uint_ge(__atomic_load_n(&vm.stats->doorbells, __ATOMIC_RELAXED), 1);
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Buffers ---- */

START_TEST(module_image_and_names_come_from_registered_buffers)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MODULE_LOAD, 0, 1);
    struct vgpu_cqe cqe;
    uint8_t *buf;

    start_null(&vm, 0);
    buf = fake_vm_buf(&vm, 3, VGPU_BUF_DEVICE_READS, 123, 50000);
    memset(buf, 'x', 50000);
    sqe.u.module_load.image_buf = 3;
    sqe.u.module_load.image_bytes = 50000;
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert_uint_ne(cqe.result, 0);
    sqe.u.module_load.image_bytes = 50001;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_RANGE);
    sqe.u.module_load.image_bytes = 50000;
    sqe.u.module_load.log_buf = 3;
    sqe.u.module_load.log_bytes = 10;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_ACCESS);

    memcpy(vm.arena, "kernel", 6);
    sqe = sqe_make(VGPU_CMD_FUNC_LOOKUP, 0, 2);
    sqe.u.lookup.module = (uint32_t)cqe.result;
    sqe.u.lookup.name_bytes = 6;
    sqe.u.lookup.out_off = 4096 - 8; /* across a page */
    sqe.u.lookup.out_bytes = sizeof(struct vgpu_func_info);
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert_uint_eq(cqe.aux, sizeof(struct vgpu_func_info));
    ck_assert_uint_eq(((struct vgpu_func_info *)(void *)(vm.arena + 4096 - 8))->max_threads, 1024);

    /* A NUL inside a name */
    vm.arena[2] = 0;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_VALUE);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(dropped_buffer_is_refused_and_its_id_can_be_used_again)
{
    struct fake_vm vm;
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_DROP};
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_COPY_D2H, 0, 1);

    start_null(&vm, 0);
    (void)fake_vm_buf(&vm, 5, BOTH, 0, 4096);
    sqe.u.copy.buf = 5;
    sqe.u.copy.bytes = 4096;
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_OK);
    msg.u.buf.id = 5;
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &msg, NULL, -1)), VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_BUFFER);
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &msg, NULL, -1)), VGPU_ST_NO_BUFFER);
    (void)fake_vm_buf(&vm, 5, VGPU_BUF_DEVICE_READS, 0, 4096);
    ck_assert_uint_eq(fake_vm_run(&vm, &sqe).status, VGPU_ST_BAD_ACCESS);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(second_buffer_of_the_same_id_is_refused)
{
    struct fake_vm vm;
    struct vgpu_xrun runs[4];
    uint32_t count;

    start_null(&vm, 0);
    (void)fake_vm_buf(&vm, 5, BOTH, 0, 4096);
    (void)fake_vm_pages(&vm, 4096, runs, &count);
    ck_assert_uint_eq(fake_vm_add_buf(&vm, 5, BOTH, runs, count, 0, 4096), VGPU_ST_BUFFER_EXISTS);
    ck_assert_uint_eq(fake_vm_add_buf(&vm, 0, BOTH, runs, count, 0, 4096), VGPU_ST_BUFFER_EXISTS);
    ck_assert_uint_eq(fake_vm_add_buf(&vm, 64, BOTH, runs, count, 0, 4096), VGPU_ST_ADMIN_VALUE);
    fake_vm_stop(&vm);
}
END_TEST

/* ---- The end ---- */

START_TEST(producer_beyond_the_ring_loses_the_context)
{
    struct fake_vm vm;

    start_null(&vm, 0);
    __atomic_store_n(&vm.guest.rw->sq_prod, 65, __ATOMIC_RELEASE);
    eventfd_write(vm.doorbell_fd, 1);
    ck_assert_uint_eq(fake_vm_wait_lost(&vm)->status, VGPU_ST_BAD_RING);
    ck_assert_ptr_ne(strstr(vm.lost_msg.message, "sq_prod 65"), NULL);
    fake_vm_free(&vm);
}
END_TEST

START_TEST(consumer_ahead_of_completions_loses_the_context)
{
    struct fake_vm vm;

    start_null(&vm, 0);
    __atomic_store_n(&vm.guest.rw->cq_cons, 1, __ATOMIC_RELEASE);
    eventfd_write(vm.doorbell_fd, 1);
    ck_assert_uint_eq(fake_vm_wait_lost(&vm)->status, VGPU_ST_BAD_RING);
    fake_vm_free(&vm);
}
END_TEST

START_TEST(closed_socket_ends_the_process)
{
    struct fake_vm vm;
    int status;

    start_null(&vm, poll_times[_i]);
    shutdown(vm.sock, SHUT_RDWR);
    status = fake_vm_reap(&vm);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fake_vm_free(&vm);
}
END_TEST

START_TEST(truncated_guest_memory_costs_the_context_and_says_so)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_INFO, 0, 1);

    start_null(&vm, 0);
    ck_assert_int_eq(ftruncate(vm.ram_fd, 0), 0);
    eventfd_write(vm.doorbell_fd, 1);
    ck_assert_uint_eq(fake_vm_wait_lost(&vm)->status, VGPU_ST_UNMAPPED);
    (void)sqe;
    fake_vm_free(&vm);
}
END_TEST

START_TEST(nonsense_message_ends_the_process_with_an_error)
{
    struct fake_vm vm;
    struct vgpu_xmsg msg = {.type = 77};
    int status;

    start_null(&vm, 0);
    if (_i == 1) {
        ck_assert_int_eq(send(vm.sock, &msg, 10, 0), 10);
    } else {
        (void)fake_vm_send(&vm, &msg, NULL, -1);
    }
    status = fake_vm_reap(&vm);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    fake_vm_free(&vm);
}
END_TEST

/* ---- START, spoilt ---- */

static void spoil_type(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->type = VGPU_X_BUF_BEGIN;
}

static void spoil_queue_bytes(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->u.start.queue_bytes += 4096;
}

static void spoil_log2(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->u.start.sq_log2 = 31;
}

static void spoil_arena(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->u.start.arena_bytes = FAKE_ARENA_BYTES * 2;
}

static void spoil_runs(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->u.start.queue_runs = UINT32_MAX;
}

static void spoil_run_offset(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    runs[1].offset += 512;
}

static void spoil_run_end(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    runs[0].offset = (uint64_t)1 << 40;
}

static void spoil_run_fd(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    runs[0].fd = 1;
}

static void spoil_kind(struct vgpu_xmsg *msg, struct vgpu_xrun *runs)
{
    msg->u.start.exec_kind = 99;
}

static const struct {
    void (*spoil)(struct vgpu_xmsg *msg, struct vgpu_xrun *runs);
    uint16_t status;
} spoilt[] = {
    {spoil_type, VGPU_ST_HOST_ERROR},     {spoil_queue_bytes, VGPU_ST_HOST_ERROR},
    {spoil_log2, VGPU_ST_HOST_ERROR},     {spoil_arena, VGPU_ST_HOST_ERROR},
    {spoil_runs, VGPU_ST_HOST_ERROR},     {spoil_run_offset, VGPU_ST_HOST_ERROR},
    {spoil_run_end, VGPU_ST_HOST_ERROR},  {spoil_run_fd, VGPU_ST_HOST_ERROR},
    {spoil_kind, VGPU_ST_HOST_NO_DEVICE},
};

START_TEST(spoilt_start_is_refused_with_a_reply)
{
    const struct fake_vm_config cfg = {.exec_kind = VGPU_EXEC_NULL};
    struct fake_vm vm;
    int status;

    ck_assert_uint_eq(fake_vm_start_with(&vm, &cfg, spoilt[_i].spoil), spoilt[_i].status);
    status = fake_vm_reap(&vm);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    fake_vm_free(&vm);
}
END_TEST

Suite *process_suite(void)
{
    Suite *s = suite_create("process");
    TCase *tc = tcase_create("process");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, nop_completes_however_long_it_polls, 0, 3);
    tcase_add_test(tc, indices_wrap_at_two_to_the_32);
    tcase_add_test(tc, unknown_opcode_is_refused_and_the_next_command_works);
    tcase_add_test(tc, memory_is_taken_from_and_given_back_to_the_quota);
    tcase_add_test(tc, mem_info_tells_limit_held_and_free);
    tcase_add_test(tc, full_completion_queue_stalls_and_resumes_without_a_doorbell);
    tcase_add_test(tc, interrupt_comes_when_asked_for_and_moves_to_the_new_eventfd);
    tcase_add_test(tc, idle_process_sleeps_and_counts);
    tcase_add_test(tc, module_image_and_names_come_from_registered_buffers);
    tcase_add_test(tc, dropped_buffer_is_refused_and_its_id_can_be_used_again);
    tcase_add_test(tc, second_buffer_of_the_same_id_is_refused);
    tcase_add_test(tc, producer_beyond_the_ring_loses_the_context);
    tcase_add_test(tc, consumer_ahead_of_completions_loses_the_context);
    tcase_add_loop_test(tc, closed_socket_ends_the_process, 0, 3);
    tcase_add_test(tc, truncated_guest_memory_costs_the_context_and_says_so);
    tcase_add_loop_test(tc, nonsense_message_ends_the_process_with_an_error, 0, 2);
    tcase_add_loop_test(tc, spoilt_start_is_refused_with_a_reply, 0,
                        (int)(sizeof(spoilt) / sizeof(spoilt[0])));
    suite_add_tcase(s, tc);
    return s;
}
