/* SPDX-License-Identifier: MIT */
/* A device core whose executors do nothing: for tests of the buses. */
#ifndef VGPU_TESTS_UNIT_BUS_IDLE_DEV_H
#define VGPU_TESTS_UNIT_BUS_IDLE_DEV_H

#include <device/device.h>

#define IDLE_DEV_CONTEXTS 8

/* What a bus must answer itself; the rest of the device's ops do nothing. */
struct vgpu_dev_ops idle_dev_ops(int (*dma_read)(void *, uint64_t, void *, size_t),
                                 int (*dma_write)(void *, uint64_t, const void *, size_t),
                                 int (*dma_load32)(void *, uint64_t, uint32_t *),
                                 int (*dma_store32)(void *, uint64_t, uint32_t),
                                 void (*irq)(void *, unsigned int), void (*reset)(void *));
/* Lay an admin queue of 2^6 entries that asks for a context, for memory that is at `addr` for the device:
 * IDLE_DEV_QUEUE_BYTES, the context's own queues among them. */
#define IDLE_DEV_QUEUE_LOG2  6
#define IDLE_DEV_QUEUE_BYTES 0x10000
void idle_dev_lay_context(uint8_t *memory, uint64_t addr, uint32_t ctx);
/* Generation 1 is announced.  NULL when out of memory. */
struct vgpu_dev *idle_dev_create(const struct vgpu_dev_ops *ops);

#endif
