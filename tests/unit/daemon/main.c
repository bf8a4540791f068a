/* SPDX-License-Identifier: MIT */
/* Unit tests of host-backend/daemon. */
#include "daemon_tests.h"

VGPU_UNIT_MAIN(config_suite, quota_suite, genlock_suite, log_suite, loop_suite, spawn_suite,
               isolation_suite, vm_suite, vgpud_suite)
