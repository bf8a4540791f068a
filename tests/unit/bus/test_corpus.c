/* SPDX-License-Identifier: MIT */
/*
 * The corpus of the vfio-user fuzzer, replayed against the same server and device core: what it found
 * once stays found, in builds without a fuzzer too.
 */
#include "../../fuzz/replay.h"
#include "bus_tests.h"

START_TEST(the_corpus_does_no_harm)
{
    ck_assert_uint_gt(fuzz_replay(VGPU_CORPUS_DIR), 5);
}
END_TEST

Suite *corpus_suite(void)
{
    Suite *s = suite_create("bus/corpus");
    TCase *tc = tcase_create("corpus");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_corpus_does_no_harm);
    suite_add_tcase(s, tc);
    return s;
}
