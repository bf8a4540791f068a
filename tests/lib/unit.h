/* SPDX-License-Identifier: MIT */
/*
 * Entry point shared by all Check programs.
 *
 * A test file defines one `Suite *x_suite(void)` per source file under test and
 * ends with VGPU_UNIT_MAIN(a_suite, b_suite).  Output format and fork mode are
 * chosen by the environment (CK_TAP_LOG_FILE_NAME, CK_FORK), which the runner
 * sets; by hand the program prints Check's own summary.
 */
#ifndef VGPU_TESTS_UNIT_H
#define VGPU_TESTS_UNIT_H

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

typedef Suite *(*vgpu_suite_fn)(void);

static inline int vgpu_unit_run(const vgpu_suite_fn *fns, size_t n)
{
    SRunner *sr = srunner_create(NULL);
    int failed;

    for (size_t i = 0; i < n; i++)
        srunner_add_suite(sr, fns[i]());
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define VGPU_UNIT_MAIN(...)                                                      \
    int main(void)                                                               \
    {                                                                            \
        static const vgpu_suite_fn fns[] = {__VA_ARGS__};                        \
        return vgpu_unit_run(fns, sizeof(fns) / sizeof(fns[0]));                 \
    }

#endif
