/* SPDX-License-Identifier: MIT */
/* Unit tests of host-backend/exec/, one suite per source file. */
#include "suites.h"
#include <unit.h>

VGPU_UNIT_MAIN(process_suite)
