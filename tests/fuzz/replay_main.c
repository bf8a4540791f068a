/* SPDX-License-Identifier: MIT */
/*
 * A fuzzer's corpus as a test program of its own, for targets that can't be linked into the
 * unit tests of what they fuzz (they wrap what the others need).
 */
#include "replay.h"

#include "unit.h"

START_TEST(the_corpus_does_no_harm)
{
    ck_assert_uint_ge(fuzz_replay(VGPU_CORPUS_DIR), 5);
}
END_TEST

static Suite *corpus_suite(void)
{
    Suite *s = suite_create("corpus");
    TCase *tc = tcase_create("corpus");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, the_corpus_does_no_harm);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(corpus_suite)
