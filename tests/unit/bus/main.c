/* SPDX-License-Identifier: MIT */
/*
 * Unit tests of host-backend/bus: DMA table, interrupt vectors, the vfio-user server with clients that
 * behave and that don't, and the Xen bus on a fake of Xen's libraries.
 */
#include "bus_tests.h"

VGPU_UNIT_MAIN(dma_suite, irqs_suite, vfio_user_suite, vfio_user_bad_suite, corpus_suite, xen_suite,
               xen_access_suite, xen_life_suite)
