/* SPDX-License-Identifier: MIT */
/*
 * Unit tests of host-backend/daemon: its parts one by one, contexts against scripted executors, and the
 * real vgpud from outside.
 */
#include "daemon_tests.h"

VGPU_UNIT_MAIN(config_suite, quota_suite, genlock_suite, kernel_suite, log_suite, loop_suite,
               spawn_suite, isolation_suite, vm_suite, vgpud_suite)
