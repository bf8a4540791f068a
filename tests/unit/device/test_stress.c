/* SPDX-License-Identifier: MIT */
/*
 * Random programs of a hostile guest against the device and its model (tests/fuzz/fuzz_device.c),
 * and a replay of the fuzzer's corpus.
 */
#include "../../fuzz/replay.h"
#include "suites.h"

#include <string.h>

static uint64_t rng_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

START_TEST(random_programs_keep_device_and_model_together)
{
    uint64_t rng = 0x9e3779b97f4a7c15 * (uint64_t)(_i + 1);
    uint8_t program[4096];

    for (int round = 0; round < 60; round++) {
        size_t n = 64 + rng_next(&rng) % (sizeof(program) - 64);

        for (size_t i = 0; i < n; i++)
            program[i] = (uint8_t)(rng_next(&rng) >> 32);
        program[0] = 0; /* begin with a working queue, so that most of it means something */
        LLVMFuzzerTestOneInput(program, n);
    }
}
END_TEST

START_TEST(corpus_is_replayed)
{
    ck_assert_uint_ge(fuzz_replay(VGPU_CORPUS_DIR), 5);
}
END_TEST

Suite *stress_suite(void)
{
    Suite *s = suite_create("device_stress");
    TCase *tc = tcase_create("stress");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_programs_keep_device_and_model_together, 0, 8);
    tcase_add_test(tc, corpus_is_replayed);
    suite_add_tcase(s, tc);
    return s;
}
