/* SPDX-License-Identifier: MIT */
/* The suites of the bus unit tests, one per source file under test. */
#ifndef VGPU_TESTS_UNIT_BUS_H
#define VGPU_TESTS_UNIT_BUS_H

#include "unit.h"

#include <signal.h>

Suite *dma_suite(void);
Suite *irqs_suite(void);
Suite *vfio_user_suite(void);
Suite *vfio_user_bad_suite(void);
Suite *corpus_suite(void);
Suite *xen_suite(void);
Suite *xen_access_suite(void);
Suite *xen_life_suite(void);

#endif
