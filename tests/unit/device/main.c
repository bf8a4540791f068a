/* SPDX-License-Identifier: MIT */
/* Unit tests of host-backend/device/, one suite per concern. */
#include "suites.h"
#include <unit.h>

VGPU_UNIT_MAIN(regs_suite, lifecycle_suite, queue_suite, admin_suite, ctx_suite, config_suite,
               msix_suite, stress_suite, trace_suite)
