/* SPDX-License-Identifier: MIT */
/*
 * The suites of the exec unit tests, one per source file of host-backend/exec/; main.c runs them
 * all, CK_RUN_SUITE picks one by name.
 */
#ifndef VGPU_TESTS_EXEC_SUITES_H
#define VGPU_TESTS_EXEC_SUITES_H

#include <check.h>

Suite *ring_suite(void);
Suite *ring_stress_suite(void);
Suite *gbuf_suite(void);
Suite *handle_suite(void);
Suite *validate_suite(void);
Suite *dispatch_suite(void);
Suite *process_suite(void);
Suite *corpus_suite(void);
Suite *exec_cpu_suite(void);
Suite *exec_cpu_async_suite(void);
Suite *exec_print_suite(void);
Suite *output_suite(void);

#endif
