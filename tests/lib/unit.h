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

/*
 * For loops: as ck_assert_msg(), which sends a message to Check's parent process
 * even when the condition holds; this one only when it doesn't.
 */
#define unit_check(cond, ...)                                                    \
    do {                                                                         \
        if (!(cond))                                                             \
            ck_abort_msg(__VA_ARGS__);                                           \
    } while (0)

/*
 * AddressSanitizer keeps freed memory back, 256 MiB of it.  Here that is mostly
 * what Check's parent process freed of earlier results; each forked case copies
 * and each leak check walks it, at twice the cost of the tests themselves.
 * What one case frees is within the 2 MiB kept now, or nearly; ASAN_OPTIONS of the
 * environment wins.  VGPU_UNIT_LEAKS: whether a case's own leaks matter.
 */
#ifndef VGPU_UNIT_LEAKS
#define VGPU_UNIT_LEAKS "1"
#endif
#ifdef __SANITIZE_ADDRESS__
#define VGPU_UNIT_ASAN_OPTIONS                                                   \
    const char *__asan_default_options(void);                                    \
    const char *__asan_default_options(void)                                     \
    {                                                                            \
        return "quarantine_size_mb=2:detect_leaks=" VGPU_UNIT_LEAKS;             \
    }
#else
#define VGPU_UNIT_ASAN_OPTIONS
#endif

#define VGPU_UNIT_MAIN(...)                                                      \
    VGPU_UNIT_ASAN_OPTIONS                                                       \
    int main(void)                                                               \
    {                                                                            \
        static const vgpu_suite_fn fns[] = {__VA_ARGS__};                        \
        return vgpu_unit_run(fns, sizeof(fns) / sizeof(fns[0]));                 \
    }

#endif
