// SPDX-License-Identifier: MIT
/*
 * The corpus of the context queue's fuzzer, replayed against the same drain: what it found once stays
 * found, in builds without a fuzzer too.
 */
#include "../../fuzz/replay.h"
#include "suites.h"

START_TEST(the_corpus_does_no_harm)
{
    ck_assert_uint_ge(fuzz_replay(VGPU_CORPUS_DIR), 15);
}
END_TEST

Suite *corpus_suite(void)
{
    Suite *s = suite_create("exec/corpus");
    TCase *tc = tcase_create("corpus");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, the_corpus_does_no_harm);
    suite_add_tcase(s, tc);
    return s;
}
