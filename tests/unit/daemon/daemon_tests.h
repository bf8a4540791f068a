/* SPDX-License-Identifier: MIT */
/* The suites of the daemon unit tests, one per source file or group of small ones under test. */
#ifndef VGPU_TESTS_UNIT_DAEMON_H
#define VGPU_TESTS_UNIT_DAEMON_H

#include "unit.h"

Suite *config_suite(void);
Suite *quota_suite(void);
Suite *genlock_suite(void);
Suite *kernel_suite(void);
Suite *log_suite(void);
Suite *loop_suite(void);
Suite *spawn_suite(void);
Suite *isolation_suite(void);
Suite *vm_suite(void);
Suite *vgpud_suite(void);

#endif
