/* SPDX-License-Identifier: MIT */
/*
 * Unit tests of host-backend/bus: DMA table, interrupt vectors, and the vfio-user server with clients
 * that behave and that don't.
 */
#include "bus_tests.h"

VGPU_UNIT_MAIN(dma_suite, irqs_suite, vfio_user_suite, vfio_user_bad_suite, corpus_suite)
