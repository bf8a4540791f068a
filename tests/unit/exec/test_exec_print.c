/* SPDX-License-Identifier: MIT */
/*
 * Kernels that print, through an executor's queue to the guest's memory (spec 10.4).
 */
#include "cpu_guest.h"
#include "suites.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

/* say(base): thread i of CTA j prints "say <base + i>.\n"; shout(): a line of 128 bytes. */
static const char print_ptx[] = PTX_HEADER
    ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
    ".global .align 1 .b8 say_text[9] = {115,97,121,32,37,100,46,10,0};\n" /* "say %d.\n" */
    ".global .align 1 .b8 wide_text[8] = {37,49,50,55,100,10,0,0};\n"      /* "%127d\n" */
    ".func print(.param .b64 text, .param .b32 value) {\n"
    "  .local .align 8 .b8 args[8]; .reg .b64 %l, %g, %f; .reg .b32 %v, %r;\n"
    "  ld.param.u32 %v, [value]; ld.param.u64 %f, [text];\n"
    "  mov.u64 %l, args; cvta.local.u64 %g, %l; st.local.u32 [%l], %v;\n"
    "  { .param .b64 a; .param .b64 b; .param .b32 c; st.param.b64 [a], %f;\n"
    "    st.param.b64 [b], %g; call.uni (c), vprintf, (a, b); ld.param.b32 %r, [c]; }\n"
    "  ret;\n"
    "}\n"
    ".visible .entry say(.param .u32 base) {\n"
    "  .reg .b64 %f; .reg .b32 %v, %t;\n"
    "  ld.param.u32 %v, [base]; mov.u32 %t, %tid.x; add.u32 %v, %v, %t;\n"
    "  mov.u64 %f, say_text; cvta.global.u64 %f, %f;\n"
    "  { .param .b64 a; .param .b32 b; st.param.b64 [a], %f; st.param.b32 [b], %v;\n"
    "    call.uni print, (a, b); }\n"
    "  ret;\n"
    "}\n"
    ".visible .entry shout(.param .u32 unused) {\n"
    "  .reg .b64 %f; .reg .b32 %t;\n"
    "  mov.u32 %t, %tid.x;\n"
    "  mov.u64 %f, wide_text; cvta.global.u64 %f, %f;\n"
    "  { .param .b64 a; .param .b32 b; st.param.b64 [a], %f; st.param.b32 [b], %t;\n"
    "    call.uni print, (a, b); }\n"
    "  ret;\n"
    "}\n";

static struct fake_vm vm;
static uint32_t module;

static void setup(void)
{
    cg_start(&vm, NULL);
    module = cg_load(&vm, print_ptx);
}

static void teardown(void)
{
    fake_vm_stop(&vm);
}

static struct vgpu_cqe read_output(uint32_t room)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_OUTPUT_READ, 0, 1);
    struct vgpu_cqe cqe;

    memset(vm.arena + LOG_OFF, 0xee, LOG_BYTES);
    sqe.u.output_read = (struct vgpu_cmd_output_read){.out_off = LOG_OFF, .out_bytes = room};
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    ck_assert_uint_le(cqe.result, room);
    for (uint64_t i = cqe.result; i < LOG_BYTES; i++)
        if (vm.arena[LOG_OFF + i] != 0xee)
            ck_abort_msg("byte %llu was written", (unsigned long long)i);
    return cqe;
}

static void run(const char *name, uint32_t grid, uint16_t block, uint32_t param)
{
    uint32_t function = cg_lookup(&vm, module, name);

    (void)cg_ok(&vm, cg_launch(&vm, 0, 1, function, grid, block, &param, sizeof(param)));
}

/* VGPU-OUT-001, VGPU-OUT-002 */
START_TEST(text_is_there_when_the_launch_completed)
{
    char text[64];
    int bytes;

    ck_assert_uint_eq(read_output(LOG_BYTES).result, 0);
    for (uint32_t i = 0; i < 50; i++) {
        run("say", 1, 1, i * 1000);
        bytes = snprintf(text, sizeof(text), "say %u.\n", i * 1000);
        ck_assert_uint_eq(read_output(LOG_BYTES).result, (uint64_t)bytes);
        ck_assert_int_eq(memcmp(vm.arena + LOG_OFF, text, (size_t)bytes), 0);
    }
    ck_assert_uint_eq(read_output(LOG_BYTES).result, 0);
}
END_TEST

/* VGPU-OUT-001: byte for byte, and launches in the order of their stream. */
START_TEST(little_room_takes_the_oldest_bytes)
{
    static const char want[] = "say 1.\nsay 22.\nsay 333.\n";
    char got[64] = "";
    uint64_t n, bytes = 0;

    run("say", 1, 1, 1);
    run("say", 1, 1, 22);
    run("say", 1, 1, 333);
    while ((n = read_output(5).result) != 0) {
        ck_assert_uint_lt(bytes + n, sizeof(got));
        memcpy(got + bytes, vm.arena + LOG_OFF, n);
        bytes += n;
    }
    ck_assert_str_eq(got, want);
}
END_TEST

/* VGPU-OUT-002: a call's text is contiguous, whoever else prints. */
START_TEST(every_thread_prints_its_line_once)
{
    static uint8_t seen[512];
    char text[8192], *line, *save = NULL;
    uint64_t n, bytes = 0;

    memset(seen, 0, sizeof(seen));
    run("say", 2, 256, 0); /* each CTA prints 0..255 */
    while ((n = read_output(1000).result) != 0) {
        ck_assert_uint_lt(bytes + n, sizeof(text));
        memcpy(text + bytes, vm.arena + LOG_OFF, n);
        bytes += n;
    }
    text[bytes] = '\0';
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned int value = 0;
        char again[32];

        ck_assert_int_eq(sscanf(line, "say %u.", &value), 1);
        snprintf(again, sizeof(again), "say %u.", value);
        ck_assert_str_eq(line, again);
        ck_assert_uint_lt(value, 256);
        seen[value]++;
    }
    for (int i = 0; i < 256; i++)
        ck_assert_uint_eq(seen[i], 2);
}
END_TEST

/* VGPU-OUT-003: 12 x 1024 lines of 128 bytes are half a MiB more than is kept. */
START_TEST(too_much_output_costs_whole_calls_only)
{
    struct vgpu_cqe cqe;
    uint64_t bytes = 0, lost = 0;

    run("shout", 12, 1024, 0);
    do {
        cqe = read_output(LOG_BYTES);
        bytes += cqe.result;
        lost += cqe.aux;
        for (uint64_t i = 127; i < cqe.result; i += 128)
            if (vm.arena[LOG_OFF + i] != '\n')
                ck_abort_msg("a line is torn");
    } while (cqe.result);
    ck_assert_uint_eq(bytes + lost, 12 * 1024 * 128);
    ck_assert_uint_gt(lost, 0);
    ck_assert_uint_eq(bytes % 128, 0);
    ck_assert_uint_le(bytes, VGPU_OUTPUT_BYTES);
    run("say", 1, 1, 7);
    ck_assert_uint_eq(read_output(LOG_BYTES).aux, 0);
}
END_TEST

/* VGPU-OUT-004 */
START_TEST(a_refusal_loses_no_text)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_OUTPUT_READ, 0, 1);

    run("say", 1, 1, 5);
    cg_refused(&vm, sqe, VGPU_ST_BAD_VALUE);
    sqe.u.output_read.out_bytes = 16;
    sqe.u.output_read.out_off = UINT64_MAX;
    cg_refused(&vm, sqe, VGPU_ST_BAD_RANGE);
    sqe.u.output_read.out_off = 0;
    sqe.u.output_read.out_buf = 77;
    cg_refused(&vm, sqe, VGPU_ST_BAD_BUFFER);
    ck_assert_uint_eq(read_output(16).result, 7);
}
END_TEST

/* VGPU-OUT-005 */
START_TEST(functions_say_whether_they_may_print)
{
    struct vgpu_func_info info;

    (void)cg_lookup(&vm, module, "say");
    memcpy(&info, vm.arena + INFO_OFF, sizeof(info));
    ck_assert_uint_eq(info.flags, VGPU_FUNC_MAY_PRINT);
    (void)cg_lookup(&vm, cg_load(&vm, vecadd_ptx), "vecadd");
    memcpy(&info, vm.arena + INFO_OFF, sizeof(info));
    ck_assert_uint_eq(info.flags, 0);
}
END_TEST

Suite *exec_print_suite(void)
{
    Suite *s = suite_create("exec_print");
    TCase *tc = tcase_create("print");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, text_is_there_when_the_launch_completed);
    tcase_add_test(tc, little_room_takes_the_oldest_bytes);
    tcase_add_test(tc, every_thread_prints_its_line_once);
    tcase_add_test(tc, too_much_output_costs_whole_calls_only);
    tcase_add_test(tc, a_refusal_loses_no_text);
    tcase_add_test(tc, functions_say_whether_they_may_print);
    suite_add_tcase(s, tc);
    return s;
}
