// SPDX-License-Identifier: MIT
/*
 * Overlapping copies on the device, which go through memory of the executor's own, in several streams at once.
 */
#include "../cpu_guest.h"
#include "cuda_suites.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BUF     1u
#define BYTES   (1u << 20)
#define STREAMS 3u
#define SHIFT   4096u
#define COPIES  24u

/* Waits until *p is not 0. */
static const char wait_ptx[] = PTX_HEADER ".visible .entry waits(.param .u64 p) {\n"
                                          "  .reg .pred %p; .reg .b32 %r; .reg .b64 %d;\n"
                                          "  ld.param.u64 %d, [p];\n"
                                          "again:\n"
                                          "  ld.volatile.global.u32 %r, [%d];\n"
                                          "  setp.eq.u32 %p, %r, 0;\n"
                                          "  @%p bra again;\n"
                                          "  ret;\n"
                                          "}\n";

static struct vgpu_sqe shift(uint32_t stream, uint64_t addr, uint64_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_COPY_D2D, stream, stream);

    sqe.u.copy_d2d =
        (struct vgpu_cmd_copy_d2d){.dst = addr + SHIFT, .src = addr, .bytes = bytes - SHIFT};
    return sqe;
}

static void collect(struct fake_vm *vm, unsigned int completions)
{
    while (completions-- > 0)
        ck_assert_uint_eq(fake_vm_next(vm).status, VGPU_ST_OK);
}

static void destroy(struct fake_vm *vm, uint32_t stream)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_STREAM_DESTROY, 0, 1);

    sqe.u.stream_id.id = stream;
    (void)cg_ok(vm, sqe);
}

/* Rounds are over with their streams, whose scratch memory the next ones' take. */
START_TEST(streams_that_copy_at_once_spoil_nothing_of_each_other)
{
    uint8_t *buf, *expected = malloc(BYTES);
    uint64_t areas[STREAMS], held = 0;
    struct fake_vm vm;

    ck_assert_ptr_nonnull(expected);
    cg_start(&vm, NULL);
    buf = fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    for (unsigned int i = 0; i < STREAMS; i++)
        areas[i] = cg_alloc(&vm, BYTES);
    for (unsigned int round = 0; round < 4; round++) {
        uint32_t streams[STREAMS];

        for (unsigned int i = 0; i < STREAMS; i++) {
            streams[i] = cg_stream(&vm);
            for (unsigned int at = 0; at < BYTES; at++)
                buf[at] = (uint8_t)(at / SHIFT * 7 + i * 85 + round);
            (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, areas[i], BUF, 0, BYTES));
        }
        for (unsigned int n = 0; n < COPIES; n++) {
            for (unsigned int i = 0; i < STREAMS; i++) {
                struct vgpu_sqe sqe = shift(streams[i], areas[i], BYTES);

                fake_vm_submit(&vm, &sqe);
            }
            if (n % 8 == 7)
                collect(&vm, 8 * STREAMS);
        }
        for (unsigned int i = 0; i < STREAMS; i++) {
            for (unsigned int at = 0; at < BYTES; at++)
                expected[at] = (uint8_t)(at / SHIFT * 7 + i * 85 + round);
            for (unsigned int n = 0; n < COPIES; n++)
                memmove(expected + SHIFT, expected, BYTES - SHIFT);
            (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, areas[i], BUF, 0, BYTES));
            ck_assert_msg(!memcmp(buf, expected, BYTES), "round %u, stream %u", round, i);
            destroy(&vm, streams[i]);
        }
        if (round == 0)
            held = fake_vm_quota(&vm);
        ck_assert_uint_eq(fake_vm_quota(&vm), held);
    }
    fake_vm_stop(&vm);
    free(expected);
}
END_TEST

/* A copy behind a kernel that waits must not keep back the copy which this kernel waits for. */
START_TEST(an_overlapping_copy_waits_for_no_other_stream)
{
    uint32_t a, b, function;
    uint64_t area, flag;
    struct vgpu_sqe sqe;
    struct fake_vm vm;

    cg_start(&vm, NULL);
    a = cg_stream(&vm);
    b = cg_stream(&vm);
    area = cg_alloc(&vm, 16 * SHIFT);
    flag = cg_alloc(&vm, 4);
    function = cg_lookup(&vm, cg_load(&vm, wait_ptx), "waits");
    sqe = cg_launch(&vm, a, a, function, 1, 1, &flag, sizeof(flag));
    fake_vm_submit(&vm, &sqe);
    sqe = shift(a, area, 8 * SHIFT);
    fake_vm_submit(&vm, &sqe);
    sqe = shift(b, area + 8 * SHIFT, 8 * SHIFT);
    fake_vm_submit(&vm, &sqe);
    sqe = sqe_make(VGPU_CMD_MEMSET, b, b);
    sqe.u.memset = (struct vgpu_cmd_memset){.dev_addr = flag, .count = 1, .value = 1, .width = 4};
    fake_vm_submit(&vm, &sqe);
    collect(&vm, 4);
    fake_vm_stop(&vm);
}
END_TEST

Suite *cuda_scratch_suite(void)
{
    Suite *s = suite_create("cuda scratch");
    TCase *tc = tcase_create("overlapping copies");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, streams_that_copy_at_once_spoil_nothing_of_each_other);
    tcase_add_test(tc, an_overlapping_copy_waits_for_no_other_stream);
    suite_add_tcase(s, tc);
    return s;
}
