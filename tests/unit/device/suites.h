/* SPDX-License-Identifier: MIT */
/* The suites of the device core, linked into one program. */
#ifndef VGPU_TESTS_DEVICE_SUITES_H
#define VGPU_TESTS_DEVICE_SUITES_H

#include <check.h>

Suite *regs_suite(void);
Suite *lifecycle_suite(void);
Suite *queue_suite(void);
Suite *admin_suite(void);
Suite *ctx_suite(void);
Suite *config_suite(void);
Suite *msix_suite(void);
Suite *stress_suite(void);
Suite *trace_suite(void);

#endif
