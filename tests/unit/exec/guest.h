/* SPDX-License-Identifier: MIT */
/*
 * The guest's half of a context queue, as a program over mapped rings would drive it
 * (rules R1 to R4 of vgpu/ring.h), plus a few liberties for tests.
 */
#ifndef VGPU_TESTS_EXEC_GUEST_H
#define VGPU_TESTS_EXEC_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/layout.h>

struct guest {
    struct vgpu_queue_ro *ro;
    struct vgpu_queue_rw *rw;
    struct vgpu_sqe *sq;
    struct vgpu_cqe *cq;
    uint32_t sq_mask;
    uint32_t cq_mask;
    uint32_t sq_prod;
    uint32_t sq_published;
    uint32_t cq_cons;
    int doorbell_fd; /* eventfd, -1: none */
    uint64_t doorbells;
};

/* A zeroed queue block of vgpu_queue_bytes(); both indices start at `first_idx`. */
void guest_init(struct guest *g, void *block, unsigned int sq_log2, unsigned int cq_log2,
                uint32_t first_idx);

/* Write one submission; false if the ring is full.  Not visible before guest_publish(). */
bool guest_post(struct guest *g, const struct vgpu_sqe *sqe);
/* Release the index; ring the doorbell if asked.  True if it was. */
bool guest_publish(struct guest *g);
/* Take one completion, if there is one. */
bool guest_reap(struct guest *g, struct vgpu_cqe *cqe);
/* What the guest kernel does before it sleeps: ask for an interrupt, look again.  True: sleep. */
bool guest_arm(struct guest *g);

#endif
