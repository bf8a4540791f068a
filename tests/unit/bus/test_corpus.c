/* SPDX-License-Identifier: MIT */
/* The fuzzer's corpus, replayed: each input is a test that once found something or leads somewhere. */
#include "bus_tests.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

START_TEST(the_corpus_does_no_harm)
{
    static uint8_t data[1 << 16];
    DIR *dir = opendir(VGPU_CORPUS_DIR);
    struct dirent *e;
    unsigned int inputs = 0;

    ck_assert_ptr_nonnull(dir);
    while ((e = readdir(dir))) {
        char path[600];
        FILE *f;

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", VGPU_CORPUS_DIR, e->d_name);
        f = fopen(path, "rb");
        ck_assert_msg(f != NULL, "%s", path);
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), f));
        fclose(f);
        inputs++;
    }
    closedir(dir);
    ck_assert_uint_gt(inputs, 5);
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
