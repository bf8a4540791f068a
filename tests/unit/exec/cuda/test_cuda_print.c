// SPDX-License-Identifier: MIT
/*
 * Printed text that comes as bytes of a pipe, by way of a driver with a FIFO of its own.
 */
#include "../cpu_guest.h"
#include "cuda_suites.h"
#include "unit.h"

#include <check.h>
#include <string.h>

/* lines(n), words(n): each thread prints its number of CTA and thread, n wide, and ends the line or
 * does not. */
#define PRINTER(name)                                                                              \
    ".visible .entry " name "s(.param .u32 n) {\n"                                                 \
    "  .local .align 8 .b8 args[8]; .reg .b64 %l, %g, %f; .reg .b32 %n, %t, %c, %s;\n"             \
    "  ld.param.u32 %n, [n]; mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x; mov.u32 %s, %ntid.x;\n"     \
    "  mad.lo.u32 %t, %c, %s, %t;\n"                                                               \
    "  mov.u64 %l, args; cvta.local.u64 %g, %l; st.local.u32 [%l], %n; st.local.u32 [%l+4], %t;\n" \
    "  mov.u64 %f, " name "_text; cvta.global.u64 %f, %f;\n"                                       \
    "  { .param .b64 a; .param .b64 b; .param .b32 r; st.param.b64 [a], %f;\n"                     \
    "    st.param.b64 [b], %g; call.uni (r), vprintf, (a, b); }\n"                                 \
    "  ret;\n"                                                                                     \
    "}\n"

static const char print_ptx[] =
    PTX_HEADER ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
               ".global .align 1 .b8 line_text[5] = {37,42,100,10,0};\n" /* "%*d\n" */
               ".global .align 1 .b8 word_text[4] = {37,42,100,0};\n"    /* "%*d" */
    PRINTER("line") PRINTER("word");

#define BUF       1u
#define BUF_BYTES (1u << 20)

static struct fake_vm vm;
static uint32_t lines, words;
static uint8_t *buf;         /* the guest's, for one read */
static char text[BUF_BYTES]; /* what was read */

static void setup(void)
{
    uint32_t module;

    cg_start(&vm, NULL);
    buf = fake_vm_buf(&vm, BUF, VGPU_BUF_DEVICE_WRITES, 0, BUF_BYTES);
    module = cg_load(&vm, print_ptx);
    lines = cg_lookup(&vm, module, "lines");
    words = cg_lookup(&vm, module, "words");
}

static void teardown(void)
{
    fake_vm_stop(&vm);
}

static void print(uint32_t function, uint32_t grid, uint16_t block, uint32_t wide)
{
    (void)cg_ok(&vm, cg_launch(&vm, 0, 1, function, grid, block, &wide, sizeof(wide)));
}

/* Reads until there is no more. */
static size_t read_all(uint64_t *lost)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_OUTPUT_READ, 0, 1);
    struct vgpu_cqe cqe;
    size_t bytes = 0;

    sqe.u.output_read =
        (struct vgpu_cmd_output_read){.out_buf = BUF, .out_off = 0, .out_bytes = BUF_BYTES};
    *lost = 0;
    do {
        cqe = fake_vm_run(&vm, &sqe);
        ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
        ck_assert_uint_le(cqe.result, sizeof(text) - bytes);
        memcpy(text + bytes, buf, cqe.result);
        bytes += cqe.result;
        *lost += cqe.aux;
    } while (cqe.result);
    return bytes;
}

/* Each `wide` bytes are spaces and then a number; with_end: and then the line's end. */
static void numbers_are_whole(size_t bytes, size_t wide, bool with_end)
{
    size_t each = wide + with_end;

    ck_assert_uint_eq(bytes % each, 0);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = i % each;

        unit_check(at == 0      ? text[i] == ' '
                   : at == wide ? text[i] == '\n'
                                : text[i] != '\n',
                   "byte %zu is %02x", i, text[i]);
        unit_check(at != wide - 1 || (text[i] >= '0' && text[i] <= '9'), "byte %zu is %02x", i,
                   text[i]);
    }
}

/* VGPU-OUT-001: more than the pipe holds and than a line may have, in one flush. */
START_TEST(a_line_longer_than_every_buffer_arrives_whole)
{
    uint64_t lost;
    size_t bytes;

    print(words, 1, 512, 500);
    bytes = read_all(&lost);
    ck_assert_uint_eq(bytes, 512 * 500);
    ck_assert_uint_eq(lost, 0);
    numbers_are_whole(bytes, 500, false);
}
END_TEST

/* VGPU-OUT-003: 20480 calls are more than the GPU's FIFO holds; what is left of them is whole. */
START_TEST(what_the_gpu_overwrote_is_not_counted)
{
    uint64_t lost;
    size_t bytes;

    print(lines, 20, 1024, 9);
    bytes = read_all(&lost);
    ck_assert_uint_gt(bytes, 0);
    ck_assert_uint_lt(bytes, 20480 * 10);
    ck_assert_uint_eq(lost, 0);
    numbers_are_whole(bytes, 9, true);
}
END_TEST

/* VGPU-OUT-003: and what the FIFO has no room for is counted, whole lines of it. */
START_TEST(what_nobody_read_is_dropped_by_lines_and_counted)
{
    uint64_t lost;
    size_t bytes;

    print(lines, 8, 512, 499);
    bytes = read_all(&lost);
    ck_assert_uint_le(bytes, VGPU_OUTPUT_BYTES);
    ck_assert_uint_eq(bytes + lost, 8 * 512 * 500);
    numbers_are_whole(bytes, 499, true);
}
END_TEST

/* VGPU-OUT-002: text that a waiter thread brought, for the drain slept, and that of other streams. */
START_TEST(text_of_every_stream_is_there_with_its_kernel)
{
    uint32_t streams[4], wide = 9;
    uint64_t lost;

    for (int i = 0; i < 4; i++)
        streams[i] = cg_stream(&vm);
    for (int round = 0; round < 25; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            struct vgpu_sqe sqe = cg_launch(&vm, streams[i], i, lines, 4, 32, &wide, sizeof(wide));

            fake_vm_submit(&vm, &sqe);
        }
        for (int i = 0; i < 4; i++)
            ck_assert_uint_eq(fake_vm_next(&vm).status, VGPU_ST_OK);
        ck_assert_uint_eq(read_all(&lost), 4 * 4 * 32 * 10);
        ck_assert_uint_eq(lost, 0);
    }
}
END_TEST

Suite *cuda_print_suite(void)
{
    Suite *s = suite_create("cuda print");
    TCase *tc = tcase_create("pipe");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_line_longer_than_every_buffer_arrives_whole);
    tcase_add_test(tc, what_the_gpu_overwrote_is_not_counted);
    tcase_add_test(tc, what_nobody_read_is_dropped_by_lines_and_counted);
    tcase_add_test(tc, text_of_every_stream_is_there_with_its_kernel);
    suite_add_tcase(s, tc);
    return s;
}
