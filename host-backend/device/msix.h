/* SPDX-License-Identifier: MIT */
/*
 * MSI-X table and pending bits, for a bus whose client emulates neither (spec 3.3).
 *
 * The owner is the bus.  It creates one, attaches it to the device (which then routes
 * BAR 4, the MSI-X control word of config space and resets to it) and calls
 * vgpu_msix_notify() from the device's irq op.  A message that may go out is handed to
 * `deliver`; one that may not is remembered in its pending bit and goes out when
 * the last mask over it is lifted.  No locks: same thread as the device.
 */
#ifndef VGPU_DEVICE_MSIX_H
#define VGPU_DEVICE_MSIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/hw.h>

struct vgpu_dev;
struct vgpu_msix;

/* Write `data` to `addr` as the device's message for `vector`. */
typedef void (*vgpu_msix_deliver_fn)(void *opaque, unsigned int vector, uint64_t addr,
                                     uint32_t data);

/* NULL when out of memory.  Disabled, every vector masked, as after a reset. */
struct vgpu_msix *vgpu_msix_create(vgpu_msix_deliver_fn deliver, void *opaque);
void vgpu_msix_destroy(struct vgpu_msix *msix);
void vgpu_msix_reset(struct vgpu_msix *msix);

/* Device asks for vector < VGPU_MSIX_VECTORS. Dropped while MSI-X is disabled. */
void vgpu_msix_notify(struct vgpu_msix *msix, unsigned int vector);

/* Accesses to BAR 4: 4 bytes at a multiple of 4, or 8 at a multiple of 8, inside the table
 * or the pending bits; anything else reads 0 and is ignored. */
void vgpu_msix_bar_read(const struct vgpu_msix *msix, uint64_t offset, void *data, size_t bytes);
void vgpu_msix_bar_write(struct vgpu_msix *msix, uint64_t offset, const void *data, size_t bytes);

/* The two bits of the capability's control word. */
void vgpu_msix_set_control(struct vgpu_msix *msix, bool enabled, bool function_masked);

/* State of one vector: would a notification be delivered now?  Is one pending? */
bool vgpu_msix_is_masked(const struct vgpu_msix *msix, unsigned int vector);
bool vgpu_msix_is_pending(const struct vgpu_msix *msix, unsigned int vector);

/* Route BAR 4, MSI-X control and resets of `dev` to `msix`; NULL detaches.  The table must
 * outlive the attachment. */
void vgpu_dev_attach_msix(struct vgpu_dev *dev, struct vgpu_msix *msix);

#endif /* VGPU_DEVICE_MSIX_H */
