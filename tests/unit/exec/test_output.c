/* SPDX-License-Identifier: MIT */
/*
 * exec/output.c: the FIFO between kernels that print and OUTPUT_READ.
 */
#include <exec/output.h>

#include "suites.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vgpu/hw.h>

static struct vgpu_output output;
static uint8_t taken[VGPU_OUTPUT_BYTES + 1];

static void setup(void)
{
    vgpu_output_init(&output);
}

static void teardown(void)
{
    vgpu_output_fini(&output);
}

START_TEST(nothing_printed_reads_as_nothing)
{
    uint64_t lost = 99;

    ck_assert_uint_eq(vgpu_output_get(&output, taken, sizeof(taken), &lost), 0);
    ck_assert_uint_eq(lost, 0);
    ck_assert_ptr_null(output.bytes);
}
END_TEST

/* Pieces whose sizes have no common measure with the FIFO's, so that every place of the wrap
 * inside a piece comes up; the bytes number themselves. */
START_TEST(bytes_come_out_in_order_across_the_wrap)
{
    static const size_t puts[] = {1, 7, 4099, 65537, 250007}, gets[] = {3, 8191, 100003, 300007};
    uint64_t in = 0, out = 0, lost;
    uint8_t *text = malloc(250007);

    for (unsigned int round = 0; in < 5 * VGPU_OUTPUT_BYTES; round++) {
        size_t bytes = puts[round % 5], got;

        for (size_t i = 0; i < bytes; i++)
            text[i] = (uint8_t)((in + i) % 251);
        vgpu_output_put(&output, text, bytes);
        in += bytes;
        do {
            got = vgpu_output_get(&output, taken, gets[round % 4], &lost);
            ck_assert_uint_eq(lost, 0);
            for (size_t i = 0; i < got; i++)
                if (taken[i] != (out + i) % 251)
                    ck_abort_msg("byte %zu of round %u is wrong", i, round);
            out += got;
        } while (in - out > 500000);
    }
    out += vgpu_output_get(&output, taken, sizeof(taken), &lost);
    ck_assert_uint_eq(out, in);
    free(text);
}
END_TEST

/* VGPU-OUT-003 */
START_TEST(what_finds_no_room_is_dropped_whole_and_counted)
{
    static uint8_t full[VGPU_OUTPUT_BYTES];
    uint64_t lost;

    memset(full, 'f', sizeof(full));
    vgpu_output_put(&output, full, sizeof(full) - 3);
    vgpu_output_put(&output, "four", 4);
    vgpu_output_put(&output, "two", 3);
    vgpu_output_put(&output, "x", 1);
    ck_assert_uint_eq(vgpu_output_get(&output, taken, sizeof(full) - 3, &lost), sizeof(full) - 3);
    ck_assert_uint_eq(lost, 5);
    ck_assert_int_eq(memcmp(taken, full, sizeof(full) - 3), 0);
    ck_assert_uint_eq(vgpu_output_get(&output, taken, sizeof(taken), &lost), 3);
    ck_assert_uint_eq(lost, 0);
    ck_assert_int_eq(memcmp(taken, "two", 3), 0);
    /* Larger than all of it: never, and nothing is harmed. */
    vgpu_output_put(&output, taken, sizeof(full) + 1);
    vgpu_output_put(&output, full, sizeof(full));
    ck_assert_uint_eq(vgpu_output_get(&output, taken, sizeof(taken), &lost), sizeof(full));
    ck_assert_uint_eq(lost, sizeof(full) + 1);
}
END_TEST

#define WRITERS 4
#define LINES   20000

static void *writer(void *arg)
{
    uint32_t line[2] = {(uint32_t)(uintptr_t)arg, 0};

    for (; line[1] < LINES; line[1]++)
        vgpu_output_put(&output, line, sizeof(line));
    return NULL;
}

/* VGPU-OUT-002: each thread's calls in order, none torn, whoever else prints. */
START_TEST(calls_of_many_threads_are_not_torn)
{
    uint32_t next[WRITERS] = {0}, total = 0, line[2];
    pthread_t threads[WRITERS];
    uint64_t lost;

    for (uintptr_t i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
    while (total < WRITERS * LINES) {
        if (!vgpu_output_get(&output, line, sizeof(line), &lost)) {
            sched_yield();
            continue;
        }
        ck_assert_msg(line[0] < WRITERS && line[1] == next[line[0]], "call %u of thread %u",
                      line[1], line[0]);
        next[line[0]]++;
        total++;
        if (lost)
            ck_abort_msg("%llu bytes lost", (unsigned long long)lost);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

Suite *output_suite(void)
{
    Suite *s = suite_create("output");
    TCase *tc = tcase_create("fifo");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, nothing_printed_reads_as_nothing);
    tcase_add_test(tc, bytes_come_out_in_order_across_the_wrap);
    tcase_add_test(tc, what_finds_no_room_is_dropped_whole_and_counted);
    tcase_add_test(tc, calls_of_many_threads_are_not_torn);
    suite_add_tcase(s, tc);
    return s;
}
