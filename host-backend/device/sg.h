/* SPDX-License-Identifier: MIT */
/*
 * The walk along a scatter list in guest memory (spec 8.4), one page per step.
 *
 * Bounded whatever the guest wrote: every page but the last must be full, so a list of
 * n entries takes exactly ceil(n / VGPU_SG_PER_PAGE) steps, also when its chain
 * runs in a circle.  Each page is copied once and checked in the copy; the entries
 * collected are host property and never read again from the guest.
 */
#ifndef VGPU_DEVICE_SG_H
#define VGPU_DEVICE_SG_H

#include <device/device.h>

struct vgpu_sg_walk {
    struct vgpu_sg_entry *sg; /* `count` of them, `got` valid, host byte order */
    uint32_t count;
    uint32_t got;
    uint64_t next;  /* DMA address of the next page */
    uint64_t bytes; /* what the sum must come to */
    uint64_t sum;
};

/* `count` (>= 1) and `bytes` are within the device's limits; sg_addr is page aligned.
 * VGPU_ST_OK or VGPU_ST_HOST_MEMORY. */
uint16_t __attribute__((warn_unused_result))
vgpu_sg_walk_init(struct vgpu_sg_walk *walk, uint64_t sg_addr, uint32_t count, uint64_t bytes);
void vgpu_sg_walk_fini(struct vgpu_sg_walk *walk);

/* Read one page.  VGPU_ST_BUSY: there is more; VGPU_ST_OK: complete and valid; else refused. */
uint16_t __attribute__((warn_unused_result))
vgpu_sg_walk_step(struct vgpu_sg_walk *walk, const struct vgpu_dev_ops *ops, void *opaque);

#endif /* VGPU_DEVICE_SG_H */
