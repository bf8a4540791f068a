// SPDX-License-Identifier: MIT
/*
 * The cpu executor while a kernel runs: order of streams and events, back-pressure, dropped
 * buffers, and how kernels end that go wrong.  A kernel that spins on a word of device
 * memory until another stream's copy sets it makes "while a kernel runs" a fact and not a
 * matter of timing.
 */
#include "cpu_guest.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Waits until *p is not 0, then adds 1 to it. */
static const char spin_ptx[] = PTX_HEADER ".visible .entry spin(.param .u64 p) {\n"
                                          "  .reg .pred %p; .reg .b32 %r<3>; .reg .b64 %d<2>;\n"
                                          "  ld.param.u64 %d0, [p];\n"
                                          "again:\n"
                                          "  ld.volatile.global.u32 %r0, [%d0];\n"
                                          "  setp.eq.u32 %p, %r0, 0;\n"
                                          "  @%p bra again;\n"
                                          "  add.u32 %r1, %r0, 1;\n"
                                          "  st.volatile.global.u32 [%d0], %r1;\n"
                                          "  ret;\n"
                                          "}\n";

/*
 * The completion with this cookie.  The cpu executor completes in the order things end; cuda learns
 * of several streams in one look, and reports them in any order: there, others are kept for later.
 */
static struct vgpu_cqe want(struct fake_vm *vm, uint64_t cookie)
{
    /* In order of arrival; a stream's own order shows in it. */
    static struct vgpu_cqe kept[64];
    static unsigned int count;
    struct vgpu_cqe cqe;

    for (unsigned int i = 0; i < count; i++) {
        if (kept[i].cookie == cookie) {
            /* Cookies from 2000 on are one stream's, in its order. */
            ck_assert(cookie < 2000 || i == 0 || kept[i - 1].cookie < 2000);
            cqe = kept[i];
            memmove(&kept[i], &kept[i + 1], (--count - i) * sizeof(kept[0]));
            return cqe;
        }
    }
    while ((cqe = fake_vm_next(vm)).cookie != cookie) {
        ck_assert_msg(CG_IS_CUDA, "completion %llu before %llu", (unsigned long long)cqe.cookie,
                      (unsigned long long)cookie);
        ck_assert_uint_lt(count, 64);
        kept[count++] = cqe;
    }
    return cqe;
}

/* A kernel that runs on `stream` until release(); its completion has cookie 1000. */
struct spinner {
    uint64_t flag;
    uint32_t function;
};

static struct spinner spin(struct fake_vm *vm, uint32_t stream)
{
    struct spinner s = {.flag = cg_alloc(vm, 4)};
    struct vgpu_sqe sqe;

    s.function = cg_lookup(vm, cg_load(vm, spin_ptx), "spin");
    sqe = cg_launch(vm, stream, 1000, s.function, 1, 1, &s.flag, 8);
    fake_vm_submit(vm, &sqe);
    return s;
}

/* From another stream, which has to exist and be idle. */
static void release(struct fake_vm *vm, const struct spinner *s, uint32_t stream)
{
    struct vgpu_sqe sqe = cg_copy(VGPU_CMD_COPY_H2D, stream, 1001, s->flag, 0, 512, 4);
    const uint32_t one = 1;

    memcpy(vm->arena + 512, &one, 4);
    fake_vm_submit(vm, &sqe);
    (void)want(vm, 1001);
}

/* ---- While a kernel runs ---- */

START_TEST(ring_drains_while_a_kernel_runs)
{
    const struct fake_vm_config cfg = {.poll_us = _i ? 1000000 : 0};
    struct fake_vm vm;
    struct spinner s;
    uint32_t a, b;
    uint32_t value;

    cg_start(&vm, &cfg);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    s = spin(&vm, a);
    for (int i = 0; i < 200; i++)
        (void)cg_ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5));
    (void)cg_alloc(&vm, 4096);
    release(&vm, &s, b);
    (void)want(&vm, 1000);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, a, 2, s.flag, 0, 0, 4));
    memcpy(&value, vm.arena, 4);
    ck_assert_uint_eq(value, 2);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(jobs_of_a_stream_keep_their_order_behind_a_kernel)
{
    const struct fake_vm_config cfg = {.max_inflight = 3};
    struct fake_vm vm;
    struct spinner s;
    uint32_t a, b;

    cg_start(&vm, &cfg);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    s = spin(&vm, a);
    /* More than the executor takes: parked by the drain, without blocking stream b. */
    for (uint64_t i = 0; i < 20; i++) {
        struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, a, 2000 + i);

        fake_vm_submit(&vm, &sqe);
    }
    (void)cg_ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5));
    release(&vm, &s, b);
    (void)want(&vm, 1000);
    for (uint64_t i = 0; i < 20; i++)
        (void)want(&vm, 2000 + i);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(event_orders_two_streams_and_tells_time)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct vgpu_cqe cqe;
    struct spinner s;
    uint32_t a, b, c, event, first, value;
    uint64_t t0, t1;

    cg_start(&vm, NULL);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    c = cg_stream(&vm);
    first = cg_event(&vm);
    event = cg_event(&vm);
    ck_assert_uint_eq(cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), 0);
    t0 = cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_RECORD, a, 1, first));
    ck_assert_uint_gt(t0, 0);
    s = spin(&vm, a);
    sqe = cg_event_sqe(VGPU_CMD_EVENT_RECORD, a, 10, event);
    fake_vm_submit(&vm, &sqe);
    sqe = cg_event_sqe(VGPU_CMD_EVENT_WAIT, b, 11, event);
    fake_vm_submit(&vm, &sqe);
    sqe = cg_copy(VGPU_CMD_COPY_D2H, b, 12, s.flag, 0, 256, 4);
    fake_vm_submit(&vm, &sqe);
    cg_refused(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event), VGPU_ST_NOT_READY);
    release(&vm, &s, c);
    (void)want(&vm, 1000);
    cqe = want(&vm, 10);
    t1 = cqe.result;
    ck_assert_uint_gt(t1, t0);
    (void)want(&vm, 11);
    (void)want(&vm, 12);
    memcpy(&value, vm.arena + 256, 4);
    ck_assert_uint_eq(value, 2); /* the kernel had finished */
    ck_assert_uint_eq(cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t1);
    ck_assert_uint_eq(cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, first)), t0);
    (void)cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_DESTROY, 0, 1, event));
    cg_refused(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event), VGPU_ST_BAD_HANDLE);
    cg_refused(&vm, cg_event_sqe(VGPU_CMD_EVENT_RECORD, a, 1, event), VGPU_ST_BAD_HANDLE);
    fake_vm_stop(&vm);
}
END_TEST

/* Says at p[1] that it runs, and waits until p[0] is not 0. */
static const char tell_ptx[] = PTX_HEADER ".visible .entry tell(.param .u64 p) {\n"
                                          "  .reg .pred %p; .reg .b32 %r0; .reg .b64 %d0;\n"
                                          "  ld.param.u64 %d0, [p];\n"
                                          "  st.volatile.global.u32 [%d0+4], 1;\n"
                                          "again:\n"
                                          "  ld.volatile.global.u32 %r0, [%d0];\n"
                                          "  setp.eq.u32 %p, %r0, 0;\n"
                                          "  @%p bra again;\n"
                                          "  ret;\n"
                                          "}\n";

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The records around a kernel, all queued at once in stream 0: their times are when they happened,
 * not when they were noticed.  What passed between two moments in the kernel passed between them;
 * also if one event was recorded twice (_i 1). */
START_TEST(times_of_records_hold_the_kernel_between_them)
{
    struct fake_vm vm;
    struct spinner s;
    struct vgpu_sqe sqe;
    const uint64_t zero = 0;
    uint64_t t0 = 0, t1, seen, waited;
    uint32_t b, event[2], value = 0;

    cg_start(&vm, NULL);
    b = cg_stream(&vm);
    event[0] = cg_event(&vm);
    event[1] = _i == 0 ? cg_event(&vm) : event[0];
    s.flag = cg_alloc(&vm, 8);
    s.function = cg_lookup(&vm, cg_load(&vm, tell_ptx), "tell");
    memcpy(vm.arena + 256, &zero, 8);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 2, s.flag, 0, 256, 8));
    sqe = cg_event_sqe(VGPU_CMD_EVENT_RECORD, 0, 10, event[0]);
    fake_vm_submit(&vm, &sqe);
    sqe = cg_launch(&vm, 0, 1000, s.function, 1, 1, &s.flag, 8);
    fake_vm_submit(&vm, &sqe);
    sqe = cg_event_sqe(VGPU_CMD_EVENT_RECORD, 0, 11, event[1]);
    fake_vm_submit(&vm, &sqe);
    if (!CG_IS_CUDA)
        t0 = want(&vm, 10).result;
    while (value == 0) {
        sqe = cg_copy(VGPU_CMD_COPY_D2H, b, 3, s.flag + 4, 0, 256, 4);
        fake_vm_submit(&vm, &sqe);
        (void)want(&vm, 3);
        memcpy(&value, vm.arena + 256, 4);
    }
    seen = now_ns();
    for (int i = 0; i < 100; i++) {
        sqe = sqe_make(VGPU_CMD_NOP, b, 4);
        fake_vm_submit(&vm, &sqe);
        (void)want(&vm, 4);
    }
    waited = now_ns() - seen;
    release(&vm, &s, b);
    if (CG_IS_CUDA)
        t0 = want(&vm, 10).result;
    (void)want(&vm, 1000);
    t1 = want(&vm, 11).result;
    ck_assert_uint_ge(t1 - t0, waited - waited / 64); /* CUDA measures in floats */
    fake_vm_stop(&vm);
}
END_TEST

/* A later record, done at once on an idle stream, is the event's latest: the older one, still
 * behind a kernel, must not come after it. */
START_TEST(latest_record_counts)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct spinner s;
    uint32_t a, b, event;
    uint64_t t;

    cg_start(&vm, NULL);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    event = cg_event(&vm);
    s = spin(&vm, a);
    sqe = cg_event_sqe(VGPU_CMD_EVENT_RECORD, a, 10, event);
    fake_vm_submit(&vm, &sqe);
    t = cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_RECORD, b, 11, event));
    ck_assert_uint_eq(cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t);
    release(&vm, &s, b);
    (void)want(&vm, 1000);
    (void)want(&vm, 10);
    ck_assert_uint_eq(cg_ok(&vm, cg_event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(fence_waits_for_the_kernel)
{
    struct fake_vm vm;
    struct vgpu_sqe fence = sqe_make(VGPU_CMD_FENCE, 0, 77);
    struct spinner s;
    uint32_t a, b;
    struct vgpu_sqe sqe;
    const uint32_t one = 1;

    cg_start(&vm, NULL);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    s = spin(&vm, a);
    memcpy(vm.arena + 512, &one, 4);
    sqe = cg_copy(VGPU_CMD_COPY_H2D, b, 1001, s.flag, 0, 512, 4);
    fake_vm_submit(&vm, &sqe);
    fake_vm_submit(&vm, &fence);
    (void)want(&vm, 1001);
    (void)want(&vm, 1000);
    (void)want(&vm, 77);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(buffer_is_dropped_when_the_copy_behind_a_kernel_is_done)
{
    struct fake_vm vm;
    struct vgpu_xmsg drop = {.type = VGPU_X_BUF_DROP}, irq = {.type = VGPU_X_IRQ};
    struct vgpu_sqe sqe;
    struct spinner s;
    uint32_t a, b, drop_seq, irq_seq;
    uint64_t addr;

    cg_start(&vm, NULL);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    addr = cg_alloc(&vm, 4096);
    (void)fake_vm_buf(&vm, 4, VGPU_BUF_FLAGS, 0, 4096);
    s = spin(&vm, a);
    sqe = cg_copy(VGPU_CMD_COPY_H2D, a, 10, addr, 4, 0, 4096);
    fake_vm_submit(&vm, &sqe);
    (void)cg_ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5)); /* so that the copy has been consumed */
    drop.u.buf.id = 4;
    drop_seq = fake_vm_send(&vm, &drop, NULL, -1);
    irq_seq = fake_vm_send(&vm, &irq, NULL, -1);
    /* Refused for new use before the old use is over; no reply meanwhile, not to what follows either. */
    do {
        sqe = cg_copy(VGPU_CMD_COPY_H2D, b, 11, addr, 4, 0, 16);
        fake_vm_submit(&vm, &sqe);
    } while (fake_vm_next(&vm).status != VGPU_ST_BAD_BUFFER);
    ck_assert(!fake_vm_has_message(&vm));
    release(&vm, &s, b);
    ck_assert_uint_eq(fake_vm_reply(&vm, drop_seq), VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_reply(&vm, irq_seq), VGPU_ST_OK);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(stop_does_not_wait_for_a_kernel)
{
    struct fake_vm vm;

    cg_start(&vm, NULL);
    (void)spin(&vm, cg_stream(&vm));
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Faults ---- */

static const struct {
    const char *name;
    const char *body;
    uint16_t status;
    uint64_t addr;
    const char *cuda;
} faults[] = {
    {"wild_store", "  mov.u64 %d0, 0x1234500;\n  st.global.u32 [%d0], %r0;\n",
     VGPU_ST_ILLEGAL_ADDRESS, 0x1234500, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {"wild_load", "  mov.u64 %d0, 0xdead0000;\n  ld.global.u32 %r0, [%d0];\n",
     VGPU_ST_ILLEGAL_ADDRESS, 0xdead0000, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {"traps", "  trap;\n", VGPU_ST_LAUNCH_FAILED, 0, "CUDA_ERROR_LAUNCH_FAILED"},
    {"endless", "again:\n  bra again;\n", VGPU_ST_TIMEOUT, 0, "deadline of 300 ms"},
};

START_TEST(fault_loses_the_context_and_says_why)
{
    const struct fake_vm_config cfg = {.deadline_ms = 300};
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    const struct vgpu_x_lost *lost;
    char ptx[1024];

    snprintf(ptx, sizeof(ptx),
             PTX_HEADER ".visible .entry %s() {\n  .reg .b32 %%r<2>;\n  .reg .b64 %%d<2>;\n"
                        "  mov.u32 %%r0, 5;\n%s  ret;\n}\n",
             faults[_i].name, faults[_i].body);
    cg_start(&vm, &cfg);
    sqe = cg_launch(&vm, 0, 9, cg_lookup(&vm, cg_load(&vm, ptx), faults[_i].name), 2, 32, ptx, 0);
    fake_vm_submit(&vm, &sqe);
    lost = fake_vm_wait_lost(&vm);
    ck_assert_uint_eq(lost->status, faults[_i].status);
    /* CUDA names its error, but neither address nor kernel. */
    ck_assert_uint_eq(lost->addr, CG_IS_CUDA ? 0 : faults[_i].addr);
    ck_assert_msg(strstr(lost->message, CG_IS_CUDA ? faults[_i].cuda : faults[_i].name), "%s",
                  lost->message);
    /* The launch itself was completed before. */
    ck_assert_uint_eq(fake_vm_next(&vm).status, faults[_i].status);
    fake_vm_free(&vm);
}
END_TEST

Suite *exec_cpu_async_suite(void)
{
    Suite *s = suite_create("exec cpu async");
    TCase *tc = tcase_create("exec cpu async");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, ring_drains_while_a_kernel_runs, 0, 2);
    tcase_add_test(tc, jobs_of_a_stream_keep_their_order_behind_a_kernel);
    tcase_add_test(tc, event_orders_two_streams_and_tells_time);
    tcase_add_loop_test(tc, times_of_records_hold_the_kernel_between_them, 0, 2);
    tcase_add_test(tc, latest_record_counts);
    tcase_add_test(tc, fence_waits_for_the_kernel);
    /* It takes for granted that the kernel's end is not known before its release is. */
    if (!CG_IS_CUDA)
        tcase_add_test(tc, buffer_is_dropped_when_the_copy_behind_a_kernel_is_done);
    tcase_add_test(tc, stop_does_not_wait_for_a_kernel);
    tcase_add_loop_test(tc, fault_loses_the_context_and_says_why, 0,
                        (int)(sizeof(faults) / sizeof(faults[0])));
    suite_add_tcase(s, tc);
    return s;
}
