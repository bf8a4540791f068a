/* SPDX-License-Identifier: MIT */
/*
 * The suites of what only the cuda executor has.
 */
#ifndef VGPU_TESTS_EXEC_CUDA_SUITES_H
#define VGPU_TESTS_EXEC_CUDA_SUITES_H

#include <check.h>

Suite *cuda_print_suite(void);
Suite *cuda_image_suite(void);
Suite *cuda_scratch_suite(void);
Suite *cuda_release_suite(void);
Suite *cuda_time_suite(void);
Suite *cuda_heap_suite(void);

#endif
