// SPDX-License-Identifier: MIT
/*
 * The cuda executor through a real exec process, on the fake CUDA driver: the cpu executor's own
 * tests, compiled with CG_EXEC_KIND set.  What differs by design is asked for by kind in them; what
 * there is for cuda alone is in this folder.
 */
#include "../suites.h"
#include "cuda_suites.h"
#include <unit.h>

int main(void)
{
    static const vgpu_suite_fn suites[] = {
        exec_cpu_suite,     exec_cpu_async_suite, exec_print_suite,
        cuda_print_suite,   cuda_image_suite,     cuda_scratch_suite,
        cuda_release_suite, cuda_time_suite,      cuda_heap_suite};

    setenv("VGPU_LIBCUDA", FAKECUDA_PATH, 1);
    return vgpu_unit_run(suites, sizeof(suites) / sizeof(suites[0]));
}
