/* SPDX-License-Identifier: MIT */
/*
 * The device's half of a context queue: consumer of the SQ, producer of the CQ.
 *
 * Theory of operation.  The queue block (vgpu/ring.h) is shared with a guest program that may
 * write anything into its half at any moment.  So this side keeps its own copy of each index
 * it writes and never reads one back; an index of the guest is loaded with acquire, checked
 * against the ring's size and then used from the copy.  A value outside the ring breaks the
 * ring for good (VGPU_RING_BROKEN): the context is lost with VGPU_ST_BAD_RING.
 *
 * Invariants, all modulo 2^32:
 *   sq_cons_pub <= sq_cons <= sq_prod <= sq_cons + sq_entries
 *   cq_cons <= cq_prod_pub <= cq_prod,   cq_prod + owed <= cq_cons + cq_entries
 * `owed` counts submissions consumed and not yet completed: a completion's slot is reserved
 * before its submission is consumed, so completing never waits for the guest.
 *
 * Publishing.  Completions are written as they come and published in batches, by the caller
 * when it runs out of submissions and after VGPU_RING_BATCH of them; what is published wakes
 * the guest if it asked (R4).  sq_cons shares its line with sq_event, which the guest reads after each
 * submission, so it is published late: once an eighth of the ring is owed, or when idle.
 *
 * The indices found in page 0 when the ring is attached are where it starts (the guest kernel
 * wrote them: 0, or anything else in tests of wrap-around).
 *
 * One thread owns a ring; no function may be called from another.
 */
#ifndef VGPU_EXEC_RING_H
#define VGPU_EXEC_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <vgpu/layout.h>

#include <exec/barrier.h>

#define VGPU_RING_BATCH 32

struct vgpu_ring {
    /* shared with the guest */
    struct vgpu_queue_ro *ro;
    const struct vgpu_queue_rw *rw;
    const uint64_t *sq;
    uint64_t *cq;
    uint32_t sq_mask;
    uint32_t cq_mask;
    /* submissions */
    uint32_t sq_prod;     /* last seen, checked */
    uint32_t sq_cons;     /* next to consume */
    uint32_t sq_cons_pub; /* told to the guest */
    uint32_t sq_lag_max;  /* publish sq_cons when it is this far ahead */
    /* completions */
    uint32_t cq_prod;     /* next slot to write */
    uint32_t cq_prod_pub; /* told to the guest */
    uint32_t cq_cons;     /* last seen, checked */
    uint32_t owed;
    bool broken;
    bool armed;
    int irq_fd; /* owned by the caller; -1: no interrupts */
    uint64_t completions;
    uint64_t interrupts;
};

enum vgpu_ring_state {
    VGPU_RING_EMPTY,   /* nothing submitted */
    VGPU_RING_WORK,    /* vgpu_ring_ready() would be > 0 */
    VGPU_RING_STALLED, /* submissions wait for the guest to consume completions */
    VGPU_RING_BROKEN,
};

/* `block` is the whole queue block, page aligned, of vgpu_queue_bytes() bytes.  0, -EINVAL for
 * sizes outside the ABI, -EPROTO if the indices found there make no sense. */
int vgpu_ring_attach(struct vgpu_ring *ring, void *block, size_t bytes, unsigned int sq_log2,
                     unsigned int cq_log2) __attribute__((warn_unused_result));

/* How many submissions may be consumed now, at most `max`; looks at the guest's indices only if
 * what was seen before doesn't do.  0 if none, or if the ring is broken. */
uint32_t vgpu_ring_ready(struct vgpu_ring *ring, uint32_t max) __attribute__((warn_unused_result));

/* Look at the guest's indices again. */
enum vgpu_ring_state vgpu_ring_look(struct vgpu_ring *ring);

/* Publish completions, and interrupt the guest if it asked to be. */
void vgpu_ring_publish(struct vgpu_ring *ring);

/* Publish sq_cons however little it moved: the drain is idle. */
void vgpu_ring_publish_cons(struct vgpu_ring *ring);

/* About to sleep: ask for a doorbell, then look again.  Sleep only for EMPTY, or
 * for STALLED with a time limit: consuming completions rings no doorbell. */
enum vgpu_ring_state vgpu_ring_arm(struct vgpu_ring *ring) __attribute__((warn_unused_result));

/* Awake again: no doorbells please. */
void vgpu_ring_disarm(struct vgpu_ring *ring);

/* Tell the guest, asked or not (its interrupt moved to another eventfd). */
void vgpu_ring_interrupt(struct vgpu_ring *ring);

/* Consume the next submission, which vgpu_ring_ready() promised: its index. */
static inline uint32_t vgpu_ring_consume(struct vgpu_ring *ring, struct vgpu_sqe *sqe)
{
    uint32_t idx = ring->sq_cons;
    const uint64_t *entry = &ring->sq[(size_t)(idx & ring->sq_mask) * (VGPU_SQE_BYTES / 8)];

    __builtin_prefetch(entry + 2 * (VGPU_SQE_BYTES / 8));
    vgpu_copy_from_shared((uint64_t *)(void *)sqe, entry, VGPU_SQE_BYTES / 8);
    ring->sq_cons = idx + 1;
    ring->owed++;
    return idx;
}

/* Complete one submission consumed before; visible to the guest after the next publish. */
static inline void vgpu_ring_complete(struct vgpu_ring *ring, uint32_t sq_idx, uint64_t cookie,
                                      uint16_t status, uint32_t aux, uint64_t result)
{
    const struct vgpu_cqe cqe = {
        .cookie = cookie,
        .result = result,
        .aux = aux,
        .status = status,
        .sq_idx = sq_idx,
    };
    uint64_t words[VGPU_CQE_BYTES / 8];

    __builtin_memcpy(words, &cqe, sizeof(words));
    vgpu_copy_to_shared(&ring->cq[(size_t)(ring->cq_prod & ring->cq_mask) * (VGPU_CQE_BYTES / 8)],
                        words, VGPU_CQE_BYTES / 8);
    ring->cq_prod++;
    ring->owed--;
    if (ring->cq_prod - ring->cq_prod_pub >= VGPU_RING_BATCH)
        vgpu_ring_publish(ring);
}

/* Cheap test for a spinning drain: did the guest submit anything that was not seen yet? */
static inline bool vgpu_ring_has_news(const struct vgpu_ring *ring)
{
    /* Only a hint; vgpu_ring_ready() loads it with acquire before anything is read. */
    return vgpu_load_relaxed(&ring->rw->sq_prod) != ring->sq_cons;
}

#endif /* VGPU_EXEC_RING_H */
