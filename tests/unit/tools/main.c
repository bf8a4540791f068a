/* SPDX-License-Identifier: MIT */
/*
 * Unit tests of the host tools for Xen: vgpu-dm's argv, and vgpu-dm and vgpuctl as processes against
 * a scripted peer and a QEMU made of shell.
 */
#include "tools_tests.h"

VGPU_UNIT_MAIN(vgpu_dm_args_suite, vgpu_dm_suite, vgpuctl_suite)
