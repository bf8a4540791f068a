/* SPDX-License-Identifier: MIT */
/*
 * The admin queue as a ring: the device's side of a queue block (spec 7).
 *
 * Knows indices, entries and event words, nothing of what the entries mean.  Every
 * guest-written index is loaded and validated each time it is used; a value that
 * cannot be is VGPU_QUEUE_BAD_INDEX, an address the bus can't reach is
 * VGPU_QUEUE_BAD_DMA, and `where` tells which.  After either the queue must not
 * be used again.
 *
 * A submission is consumed only when a completion slot is free for it: `owed`
 * counts the slots promised to submissions not yet completed, so a completion always
 * has a place.
 */
#ifndef VGPU_DEVICE_QUEUE_H
#define VGPU_DEVICE_QUEUE_H

#include <device/device.h>

struct vgpu_queue {
    const struct vgpu_dev_ops *ops;
    void *opaque;
    uint64_t base; /* DMA address of the block */
    uint8_t sq_log2;
    uint8_t cq_log2;
    uint32_t sq_cons; /* ours, mirrored into the block */
    uint32_t cq_prod; /* ours, mirrored into the block */
    uint32_t owed;    /* consumed, not yet completed */
    uint64_t where;   /* after BAD_*: the address, or the index */
};

enum vgpu_queue_result {
    VGPU_QUEUE_OK,
    VGPU_QUEUE_EMPTY,     /* nothing submitted */
    VGPU_QUEUE_NO_SLOT,   /* submissions wait for room in the completion queue */
    VGPU_QUEUE_BAD_INDEX, /* the guest wrote an index outside the ring */
    VGPU_QUEUE_BAD_DMA,   /* the block is not (or no longer) mapped */
};

/* Take a block over: checks that it is all there, adopts the indices in it. The caller has
 * checked alignment, log2 values and that base + size does not wrap. */
enum vgpu_queue_result __attribute__((warn_unused_result))
vgpu_queue_start(struct vgpu_queue *q, const struct vgpu_dev_ops *ops, void *opaque, uint64_t base,
                 uint8_t sq_log2, uint8_t cq_log2);

/* Consume one submission: copied to *sqe (64 bytes), its index to *sq_idx. */
enum vgpu_queue_result __attribute__((warn_unused_result))
vgpu_queue_consume(struct vgpu_queue *q, void *sqe, uint32_t *sq_idx);

/* About to sleep: ask for a doorbell.  OK: submissions came meanwhile, go on; EMPTY: sleep. */
enum vgpu_queue_result __attribute__((warn_unused_result)) vgpu_queue_arm(struct vgpu_queue *q);

/* Publish the completion of an owed submission.  *irq: the guest asked to be told. */
enum vgpu_queue_result __attribute__((warn_unused_result))
vgpu_queue_complete(struct vgpu_queue *q, const struct vgpu_cqe *cqe, bool *irq);

#endif /* VGPU_DEVICE_QUEUE_H */
