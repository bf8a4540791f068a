// SPDX-License-Identifier: MIT
/*
 * The guest's half of a context queue; see guest.h.
 */
#include "guest.h"

#include <exec/barrier.h>
#include <string.h>
#include <sys/eventfd.h>

void guest_init(struct guest *g, void *block, unsigned int sq_log2, unsigned int cq_log2,
                uint32_t first_idx)
{
    uint8_t *base = block;

    memset(g, 0, sizeof(*g));
    g->ro = (void *)base;
    g->cq = (void *)(base + vgpu_queue_cq_offset());
    g->rw = (void *)(base + vgpu_queue_rw_offset(cq_log2));
    g->sq = (void *)(base + vgpu_queue_sq_offset(cq_log2));
    g->sq_mask = (1u << sq_log2) - 1;
    g->cq_mask = (1u << cq_log2) - 1;
    g->sq_prod = g->sq_published = g->cq_cons = first_idx;
    g->doorbell_fd = -1;
    g->ro->cq_prod = g->ro->sq_cons = first_idx;
    g->ro->sq_event = first_idx;
    g->ro->cq_event = first_idx - 1;
    g->rw->sq_prod = g->rw->cq_cons = first_idx;
}

bool guest_post(struct guest *g, const struct vgpu_sqe *sqe)
{
    /* R2: pairs with vgpu_ring_publish_cons(). */
    uint32_t cons = vgpu_load_acquire(&g->ro->sq_cons);

    if (g->sq_prod - cons > g->sq_mask)
        return false;
    vgpu_copy_to_shared((uint64_t *)(void *)&g->sq[g->sq_prod & g->sq_mask],
                        (const uint64_t *)(const void *)sqe, VGPU_SQE_BYTES / 8);
    g->sq_prod++;
    return true;
}

bool guest_publish(struct guest *g)
{
    uint32_t old = g->sq_published;

    if (g->sq_prod == old)
        return false;
    g->sq_published = g->sq_prod;
    /* R1: pairs with ring_load_sq_prod(). */
    vgpu_store_release(&g->rw->sq_prod, g->sq_prod);
    /* R3: pairs with the fence in vgpu_ring_arm(). */
    vgpu_fence_full();
    if (!vgpu_ring_need_event(vgpu_load_relaxed(&g->ro->sq_event), g->sq_prod, old))
        return false;
    g->doorbells++;
    if (g->doorbell_fd >= 0)
        (void)eventfd_write(g->doorbell_fd, 1);
    return true;
}

bool guest_reap(struct guest *g, struct vgpu_cqe *cqe)
{
    /* R1: pairs with vgpu_ring_publish(). */
    if (vgpu_load_acquire(&g->ro->cq_prod) == g->cq_cons)
        return false;
    vgpu_copy_from_shared((uint64_t *)(void *)cqe,
                          (const uint64_t *)(const void *)&g->cq[g->cq_cons & g->cq_mask],
                          VGPU_CQE_BYTES / 8);
    g->cq_cons++;
    /* R2: pairs with ring_load_cq_cons(). */
    vgpu_store_release(&g->rw->cq_cons, g->cq_cons);
    return true;
}

bool guest_arm(struct guest *g)
{
    vgpu_store_relaxed(&g->ro->cq_event, g->cq_cons);
    /* R4: pairs with the fence in vgpu_ring_publish(). */
    vgpu_fence_full();
    return vgpu_load_relaxed(&g->ro->cq_prod) == g->cq_cons;
}
