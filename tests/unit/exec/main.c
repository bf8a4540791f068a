/* SPDX-License-Identifier: MIT */
/* Unit tests of host-backend/exec/, one suite per source file. */
#include "suites.h"
#include <unit.h>

VGPU_UNIT_MAIN(handle_suite, ring_suite, ring_stress_suite, gbuf_suite, validate_suite,
               dispatch_suite, corpus_suite, process_suite, exec_cpu_suite, exec_cpu_async_suite,
               output_suite, exec_print_suite)
