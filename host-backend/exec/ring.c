// SPDX-License-Identifier: MIT
/*
 * The device's half of a context queue; see ring.h for how it works and who may call.
 */
#include <exec/ring.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

static uint32_t ring_sq_entries(const struct vgpu_ring *ring)
{
    return ring->sq_mask + 1;
}

static uint32_t ring_cq_entries(const struct vgpu_ring *ring)
{
    return ring->cq_mask + 1;
}

/* Refresh sq_prod.  False if it lies outside the ring. */
static bool ring_load_sq_prod(struct vgpu_ring *ring)
{
    /* R1: pairs with the submitter's release of sq_prod; entries are read after this. */
    uint32_t prod = vgpu_load_acquire(&ring->rw->sq_prod);

    if (prod - ring->sq_cons > ring_sq_entries(ring)) {
        ring->broken = true;
        return false;
    }
    ring->sq_prod = prod;
    return true;
}

/* Refresh cq_cons.  False if it claims more than was published, or takes back what it had said:
 * slots may be reserved already on the strength of that. */
static bool ring_load_cq_cons(struct vgpu_ring *ring)
{
    /* R2: pairs with the guest's release of cq_cons; its reads of the entries that we may now
     * overwrite came before. */
    uint32_t cons = vgpu_load_acquire(&ring->rw->cq_cons);

    if (cons - ring->cq_cons > ring->cq_prod_pub - ring->cq_cons) {
        ring->broken = true;
        return false;
    }
    ring->cq_cons = cons;
    return true;
}

/* Completion slots neither filled nor reserved. */
static uint32_t ring_room(const struct vgpu_ring *ring)
{
    return ring_cq_entries(ring) - (ring->cq_prod - ring->cq_cons) - ring->owed;
}

int vgpu_ring_attach(struct vgpu_ring *ring, void *block, size_t bytes, unsigned int sq_log2,
                     unsigned int cq_log2)
{
    uint8_t *base = block;

    if (sq_log2 < VGPU_MIN_RING_LOG2 || sq_log2 > VGPU_MAX_RING_LOG2 ||
        cq_log2 < VGPU_MIN_RING_LOG2 || cq_log2 > VGPU_MAX_RING_LOG2 ||
        bytes < vgpu_queue_bytes(cq_log2, sq_log2))
        return -EINVAL;

    memset(ring, 0, sizeof(*ring));
    ring->ro = (void *)base;
    ring->cq = (void *)(base + vgpu_queue_cq_offset());
    ring->rw = (const void *)(base + vgpu_queue_rw_offset(cq_log2));
    ring->sq = (const void *)(base + vgpu_queue_sq_offset(cq_log2));
    ring->sq_mask = (1u << sq_log2) - 1;
    ring->cq_mask = (1u << cq_log2) - 1;
    ring->sq_lag_max = ring_sq_entries(ring) / 8;
    ring->irq_fd = -1;

    ring->sq_cons = ring->sq_cons_pub = vgpu_load_relaxed(&ring->ro->sq_cons);
    ring->cq_prod = ring->cq_prod_pub = vgpu_load_relaxed(&ring->ro->cq_prod);
    ring->cq_cons = ring->cq_prod - ring_cq_entries(ring);
    if (!ring_load_sq_prod(ring) || !ring_load_cq_cons(ring))
        return -EPROTO;
    return 0;
}

uint32_t vgpu_ring_ready(struct vgpu_ring *ring, uint32_t max)
{
    uint32_t ready = ring->sq_prod - ring->sq_cons;
    uint32_t room;

    if (ring->broken)
        return 0;
    if (ready == 0) {
        if (!ring_load_sq_prod(ring))
            return 0;
        ready = ring->sq_prod - ring->sq_cons;
        if (ready == 0)
            return 0;
    }
    if (ready > max)
        ready = max;
    room = ring_room(ring);
    if (room < ready) {
        if (!ring_load_cq_cons(ring))
            return 0;
        room = ring_room(ring);
        if (room < ready)
            ready = room;
    }
    return ready;
}

enum vgpu_ring_state vgpu_ring_look(struct vgpu_ring *ring)
{
    if (ring->broken || !ring_load_sq_prod(ring) || !ring_load_cq_cons(ring))
        return VGPU_RING_BROKEN;
    if (ring->sq_prod == ring->sq_cons)
        return VGPU_RING_EMPTY;
    return ring_room(ring) > 0 ? VGPU_RING_WORK : VGPU_RING_STALLED;
}

void vgpu_ring_interrupt(struct vgpu_ring *ring)
{
    if (ring->irq_fd < 0)
        return;
    /* A full counter (EAGAIN) already is an interrupt that nobody took yet. */
    (void)eventfd_write(ring->irq_fd, 1);
    ring->interrupts++;
}

void vgpu_ring_publish(struct vgpu_ring *ring)
{
    uint32_t old = ring->cq_prod_pub;

    if (ring->sq_cons - ring->sq_cons_pub >= ring->sq_lag_max)
        vgpu_ring_publish_cons(ring);
    if (ring->cq_prod == old)
        return;

    ring->completions += ring->cq_prod - old;
    ring->cq_prod_pub = ring->cq_prod;
    /* R1: pairs with the guest's acquire of cq_prod before it reads entries. */
    vgpu_store_release(&ring->ro->cq_prod, ring->cq_prod);
    /* R4: pairs with the fence between the guest kernel's store of cq_event and its second look
     * at cq_prod: either it sees our index, or we see its event. */
    vgpu_fence_full();
    if (vgpu_ring_need_event(vgpu_load_relaxed(&ring->ro->cq_event), ring->cq_prod, old))
        vgpu_ring_interrupt(ring);
}

void vgpu_ring_publish_cons(struct vgpu_ring *ring)
{
    if (ring->sq_cons == ring->sq_cons_pub)
        return;
    ring->sq_cons_pub = ring->sq_cons;
    /* R2: pairs with the submitter's acquire of sq_cons before it writes those slots again. */
    vgpu_store_release(&ring->ro->sq_cons, ring->sq_cons);
}

enum vgpu_ring_state vgpu_ring_arm(struct vgpu_ring *ring)
{
    vgpu_ring_publish_cons(ring);
    vgpu_store_relaxed(&ring->ro->sq_event, ring->sq_prod);
    ring->armed = true;
    /* R3: pairs with the submitter's fence between its release of sq_prod and its load of
     * sq_event: either we see its index here, or it sees our event and rings. */
    vgpu_fence_full();
    return vgpu_ring_look(ring);
}

void vgpu_ring_disarm(struct vgpu_ring *ring)
{
    if (!ring->armed)
        return;
    ring->armed = false;
    /* As far away as an index can be.  No ordering: a doorbell too many harms nobody. */
    vgpu_store_relaxed(&ring->ro->sq_event, ring->sq_cons - 1);
}
