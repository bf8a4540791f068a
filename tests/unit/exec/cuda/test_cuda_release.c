// SPDX-License-Identifier: MIT
/*
 * What the driver says when it is given something back: memory, pages of the guest, modules, streams, events.
 *
 * The fake's plan counts calls from when the context is open on: what opening does last is to unload the module
 * it warmed the driver up with.
 */
#include "../cpu_guest.h"
#include "cuda_suites.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF   4u
#define BYTES (256u << 10) /* enough to be registered with CUDA */

static struct fake_vm vm;

static void start(const char *plan)
{
    setenv("VGPU_FAKECUDA_PLAN_AFTER", "cuModuleUnload", 1);
    setenv("VGPU_FAKECUDA_PLAN", plan, 1);
    cg_start(&vm, NULL);
    unsetenv("VGPU_FAKECUDA_PLAN");
}

static void lost_with(uint16_t status, const char *words)
{
    const struct vgpu_x_lost *lost = fake_vm_wait_lost(&vm);

    ck_assert_msg(lost->status == status, "lost with 0x%x: %s", lost->status, lost->message);
    ck_assert_msg(strstr(lost->message, words), "'%s' is not in: %s", words, lost->message);
    fake_vm_free(&vm);
}

/* ---- Pages of the guest ---- */

static const struct {
    const char *plan;
    uint16_t status;
    const char *words;
} kept[] = {
    {"cuMemHostUnregister:1:2", VGPU_ST_EXEC_FAILED,
     "cuMemHostUnregister: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"},
    {"cuMemHostUnregister:1:713", VGPU_ST_EXEC_FAILED, "(713)"},
    {"cuMemHostUnregister:1:700", VGPU_ST_ILLEGAL_ADDRESS,
     "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered"},
};

static void drop(uint32_t buf)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_DROP};

    msg.u.buf.id = buf;
    (void)fake_vm_send(&vm, &msg, NULL, -1);
}

/* The answer to DROP lets the guest have its pages back: it must never come while the GPU may reach them. */
START_TEST(pages_that_cuda_keeps_are_not_said_to_be_free)
{
    uint32_t replies;
    uint64_t addr;

    start(kept[_i].plan);
    (void)fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    addr = cg_alloc(&vm, BYTES);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, addr, BUF, 0, BYTES));
    replies = vm.replies;
    drop(BUF);
    lost_with(kept[_i].status, kept[_i].words);
    ck_assert_uint_eq(vm.replies, replies);
}
END_TEST

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

/* The same for a buffer that is dropped while a copy uses it. */
START_TEST(pages_that_cuda_keeps_after_the_last_copy_neither)
{
    uint32_t replies, stream, function;
    uint64_t addr, flag;
    struct vgpu_sqe sqe;

    start(kept[_i].plan);
    (void)fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    addr = cg_alloc(&vm, BYTES);
    flag = cg_alloc(&vm, 4);
    stream = cg_stream(&vm);
    function = cg_lookup(&vm, cg_load(&vm, wait_ptx), "waits");
    sqe = cg_launch(&vm, 0, 1, function, 1, 1, &flag, sizeof(flag));
    fake_vm_submit(&vm, &sqe);
    sqe = cg_copy(VGPU_CMD_COPY_D2H, 0, 2, addr, BUF, 0, BYTES);
    fake_vm_submit(&vm, &sqe);
    (void)cg_ok(&vm, sqe_make(VGPU_CMD_NOP, stream, 3)); /* so that both have been consumed */
    replies = vm.replies;
    drop(BUF);
    do {
        sqe = cg_copy(VGPU_CMD_COPY_H2D, stream, 4, addr, BUF, 0, 16);
        fake_vm_submit(&vm, &sqe);
    } while (fake_vm_next(&vm).status != VGPU_ST_BAD_BUFFER);
    sqe = sqe_make(VGPU_CMD_MEMSET, stream, 5);
    sqe.u.memset = (struct vgpu_cmd_memset){.dev_addr = flag, .count = 1, .value = 1, .width = 4};
    fake_vm_submit(&vm, &sqe);
    lost_with(kept[_i].status, kept[_i].words);
    ck_assert_uint_eq(vm.replies, replies);
}
END_TEST

/* Once the context is lost no page is asked for any more: copies that were given up with it may be under way. */
START_TEST(pages_of_a_lost_context_are_not_said_to_be_free)
{
    uint32_t replies;
    uint64_t addr;

    /* The second DROP is there when the first one fails. */
    start("cuMemHostUnregister:1:stall=300;cuMemHostUnregister:1:700;cuMemHostUnregister:2:die");
    (void)fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    (void)fake_vm_buf(&vm, BUF + 1, VGPU_BUF_FLAGS, 0, BYTES);
    addr = cg_alloc(&vm, BYTES);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, addr, BUF, 0, BYTES));
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, addr, BUF + 1, 0, BYTES));
    replies = vm.replies;
    drop(BUF);
    drop(BUF + 1);
    lost_with(VGPU_ST_ILLEGAL_ADDRESS, "(700)");
    ck_assert_uint_eq(vm.replies, replies);
}
END_TEST

/* ---- What the guest gives back ---- */

static struct vgpu_sqe unload(uint32_t module)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);

    sqe.u.module_unload.module = module;
    return sqe;
}

static struct vgpu_sqe destroy(uint32_t stream)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_STREAM_DESTROY, 0, 1);

    sqe.u.stream_id.id = stream;
    return sqe;
}

START_TEST(a_module_that_is_not_unloaded_stays_whole)
{
    uint32_t module, function;
    uint64_t held, flag;

    start("cuModuleUnload:1:2");
    module = cg_load(&vm, wait_ptx);
    function = cg_lookup(&vm, module, "waits");
    flag = cg_alloc(&vm, 4);
    held = fake_vm_quota(&vm);
    cg_refused(&vm, unload(module), VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), held);
    ck_assert_uint_eq(cg_lookup(&vm, module, "waits"), function);
    (void)cg_ok(&vm, (struct vgpu_sqe){.opcode = VGPU_CMD_MEMSET,
                                       .u.memset = {.dev_addr = flag, 1, 1, 4, {0}}});
    (void)cg_ok(&vm, cg_launch(&vm, 0, 1, function, 1, 1, &flag, sizeof(flag)));
    (void)cg_ok(&vm, unload(module));
    cg_free(&vm, flag);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(a_stream_that_is_not_destroyed_stays_whole)
{
    uint64_t area;
    uint32_t stream;
    struct vgpu_sqe sqe;

    start("cuStreamDestroy_v2:1:2");
    stream = cg_stream(&vm);
    area = cg_alloc(&vm, BYTES);
    (void)fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    cg_refused(&vm, destroy(stream), VGPU_ST_OUT_OF_MEMORY);
    /* Its marks and its bounce slots, too. */
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, stream, 1, area, BUF, 0, 1000));
    (void)cg_ok(&vm, destroy(stream));
    sqe = sqe_make(VGPU_CMD_NOP, stream, 1);
    cg_refused(&vm, sqe, VGPU_ST_BAD_HANDLE);
    fake_vm_stop(&vm);
}
END_TEST

/* What a stream had besides can't be tried again: nobody has it any more. */
static const struct {
    const char *plan;
    uint16_t status;
    const char *words;
} leftovers[] = {
    {"cuStreamDestroy_v2:1:719", VGPU_ST_LAUNCH_FAILED,
     "cuStreamDestroy: CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure"},
    {"cuEventDestroy_v2:1:400", VGPU_ST_EXEC_FAILED,
     "cuEventDestroy: CUDA_ERROR_INVALID_HANDLE (400): invalid resource handle"},
    {"cuEventDestroy_v2:18:716", VGPU_ST_MISALIGNED,
     "cuEventDestroy: CUDA_ERROR_MISALIGNED_ADDRESS (716): misaligned address"},
    {"cuMemFreeHost:2:1", VGPU_ST_EXEC_FAILED,
     "cuMemFreeHost: CUDA_ERROR_INVALID_VALUE (1): invalid argument"},
    {"cuMemFreeHost:1:718", VGPU_ST_ILLEGAL_INSTR, "cuMemFreeHost: "},
};

START_TEST(a_stream_that_leaves_something_behind_loses_the_context)
{
    uint64_t area;
    uint32_t stream;

    start(leftovers[_i].plan);
    stream = cg_stream(&vm);
    area = cg_alloc(&vm, BYTES);
    (void)fake_vm_buf(&vm, BUF, VGPU_BUF_FLAGS, 0, BYTES);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, stream, 1, area, BUF, 0, 40000));
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, stream, 1, area, BUF, 0, 40000));
    cg_refused(&vm, destroy(stream), leftovers[_i].status);
    lost_with(leftovers[_i].status, leftovers[_i].words);
}
END_TEST

/* New memory that can't be cleared goes back at once; memory that then does not go is counted nowhere. */
START_TEST(memory_that_can_not_be_given_back_loses_the_context)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);

    start("cuMemsetD8Async:1:2;cuMemFree_v2:1:2");
    sqe.u.mem_alloc.bytes = 4096;
    cg_refused(&vm, sqe, VGPU_ST_EXEC_FAILED);
    lost_with(VGPU_ST_EXEC_FAILED, "cuMemFree: CUDA_ERROR_OUT_OF_MEMORY (2)");
}
END_TEST

Suite *cuda_release_suite(void)
{
    Suite *s = suite_create("cuda release");
    TCase *tc = tcase_create("pages");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, pages_that_cuda_keeps_are_not_said_to_be_free, 0, 3);
    tcase_add_loop_test(tc, pages_that_cuda_keeps_after_the_last_copy_neither, 0, 3);
    tcase_add_test(tc, pages_of_a_lost_context_are_not_said_to_be_free);
    suite_add_tcase(s, tc);
    tc = tcase_create("objects");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_module_that_is_not_unloaded_stays_whole);
    tcase_add_test(tc, a_stream_that_is_not_destroyed_stays_whole);
    tcase_add_loop_test(tc, a_stream_that_leaves_something_behind_loses_the_context, 0,
                        (int)(sizeof(leftovers) / sizeof(leftovers[0])));
    tcase_add_test(tc, memory_that_can_not_be_given_back_loses_the_context);
    suite_add_tcase(s, tc);
    return s;
}
