/* SPDX-License-Identifier: MIT */
/*
 * The admin queue as a ring; see queue.h for the contract.
 *
 * Theory of operation.  sq_cons and cq_prod are ours: they are read from the block
 * once, when the queue starts (so that a driver may begin at any index), and
 * from then on only written to it.  sq_prod, cq_cons and cq_event are the
 * guest's: they are loaded anew and checked each time.  All address arithmetic uses masked
 * indices below a base whose end was checked not to wrap, so a hostile index can
 * at worst make the device read or write the wrong entry of the guest's own block.
 *
 * Barriers.  dma_load32 acquires and dma_store32 releases (R1, R2 of ring.h); the two
 * places where a store must be visible before a later load (R3, R4) use
 * queue_full_fence(), each naming the code of the driver it pairs with.
 */
#include <device/queue.h>

#include <assert.h>
#include <string.h>

#define RO_OFFSET(field) offsetof(struct vgpu_queue_ro, field)
#define RW_OFFSET(field) offsetof(struct vgpu_queue_rw, field)

static void queue_full_fence(void)
{
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer knows no fences; a sequentially consistent read-modify-write is one for the
     * machines it runs on. */
    static uint32_t word;

    (void)__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static enum vgpu_queue_result queue_bad(struct vgpu_queue *q, enum vgpu_queue_result why,
                                        uint64_t where)
{
    q->where = where;
    return why;
}

static enum vgpu_queue_result queue_load(struct vgpu_queue *q, uint64_t offset, uint32_t *value)
{
    if (q->ops->dma_load32(q->opaque, q->base + offset, value))
        return queue_bad(q, VGPU_QUEUE_BAD_DMA, q->base + offset);
    return VGPU_QUEUE_OK;
}

static enum vgpu_queue_result queue_store(struct vgpu_queue *q, uint64_t offset, uint32_t value)
{
    if (q->ops->dma_store32(q->opaque, q->base + offset, value))
        return queue_bad(q, VGPU_QUEUE_BAD_DMA, q->base + offset);
    return VGPU_QUEUE_OK;
}

static uint64_t queue_rw(const struct vgpu_queue *q, uint64_t field)
{
    return vgpu_queue_rw_offset(q->cq_log2) + field;
}

/* Submissions published and not yet consumed. */
static enum vgpu_queue_result queue_submitted(struct vgpu_queue *q, uint32_t *count)
{
    uint32_t g_prod;
    enum vgpu_queue_result r = queue_load(q, queue_rw(q, RW_OFFSET(sq_prod)), &g_prod);

    if (r != VGPU_QUEUE_OK)
        return r;
    if (g_prod - q->sq_cons > 1u << q->sq_log2)
        return queue_bad(q, VGPU_QUEUE_BAD_INDEX, g_prod);
    *count = g_prod - q->sq_cons;
    return VGPU_QUEUE_OK;
}

/* Completion slots neither occupied nor promised. */
static enum vgpu_queue_result queue_free_slots(struct vgpu_queue *q, uint32_t *count)
{
    const uint32_t size = 1u << q->cq_log2;
    uint32_t g_cons, used;
    enum vgpu_queue_result r = queue_load(q, queue_rw(q, RW_OFFSET(cq_cons)), &g_cons);

    if (r != VGPU_QUEUE_OK)
        return r;
    used = q->cq_prod - g_cons;
    /* owed <= size always; an index that moved backwards shows as too little room for it */
    if (used > size || q->owed > size - used)
        return queue_bad(q, VGPU_QUEUE_BAD_INDEX, g_cons);
    *count = size - used - q->owed;
    return VGPU_QUEUE_OK;
}

/* Touch every page once: an unmapped block is refused at its start, not in use. */
static enum vgpu_queue_result queue_probe(struct vgpu_queue *q)
{
    const uint32_t bytes = vgpu_queue_bytes(q->cq_log2, q->sq_log2);
    uint32_t ignored;

    for (uint32_t off = 0; off < bytes; off += VGPU_PAGE_BYTES) {
        enum vgpu_queue_result r = queue_load(q, off, &ignored);

        if (r != VGPU_QUEUE_OK)
            return r;
    }
    return VGPU_QUEUE_OK;
}

enum vgpu_queue_result vgpu_queue_start(struct vgpu_queue *q, const struct vgpu_dev_ops *ops,
                                        void *opaque, uint64_t base, uint8_t sq_log2,
                                        uint8_t cq_log2)
{
    enum vgpu_queue_result r;
    uint32_t count;

    *q = (struct vgpu_queue){
        .ops = ops, .opaque = opaque, .base = base, .sq_log2 = sq_log2, .cq_log2 = cq_log2};
    r = queue_probe(q);
    if (r == VGPU_QUEUE_OK)
        r = queue_load(q, RO_OFFSET(sq_cons), &q->sq_cons);
    if (r == VGPU_QUEUE_OK)
        r = queue_load(q, RO_OFFSET(cq_prod), &q->cq_prod);
    if (r == VGPU_QUEUE_OK)
        r = queue_submitted(q, &count);
    if (r == VGPU_QUEUE_OK)
        r = queue_free_slots(q, &count);
    /* our words are written once here, so that a read-only block is refused too */
    if (r == VGPU_QUEUE_OK)
        r = queue_store(q, RO_OFFSET(cq_prod), q->cq_prod);
    if (r == VGPU_QUEUE_OK)
        r = queue_store(q, RO_OFFSET(sq_cons), q->sq_cons);
    if (r == VGPU_QUEUE_OK)
        r = queue_store(q, RO_OFFSET(sq_event), q->sq_cons);
    return r;
}

enum vgpu_queue_result vgpu_queue_consume(struct vgpu_queue *q, void *sqe, uint32_t *sq_idx)
{
    uint32_t submitted, slots, idx = q->sq_cons;
    uint64_t addr;
    enum vgpu_queue_result r;

    r = queue_submitted(q, &submitted);
    if (r != VGPU_QUEUE_OK)
        return r;
    if (submitted == 0)
        return VGPU_QUEUE_EMPTY;
    r = queue_free_slots(q, &slots);
    if (r != VGPU_QUEUE_OK)
        return r;
    if (slots == 0)
        return VGPU_QUEUE_NO_SLOT;

    addr = q->base + vgpu_queue_sq_offset(q->cq_log2) +
           (uint64_t)(idx & ((1u << q->sq_log2) - 1)) * VGPU_SQE_BYTES;
    if (q->ops->dma_read(q->opaque, addr, sqe, VGPU_SQE_BYTES))
        return queue_bad(q, VGPU_QUEUE_BAD_DMA, addr);
    q->sq_cons++;
    q->owed++;
    *sq_idx = idx;
    /* R2: the slot may be reused from here on; the entry is ours already */
    return queue_store(q, RO_OFFSET(sq_cons), q->sq_cons);
}

enum vgpu_queue_result vgpu_queue_arm(struct vgpu_queue *q)
{
    uint32_t submitted, event;
    enum vgpu_queue_result r;

    /* Whatever waits already can't be consumed now (or there is nothing): the next one rings. */
    r = queue_submitted(q, &submitted);
    if (r != VGPU_QUEUE_OK)
        return r;
    event = q->sq_cons + submitted;
    r = queue_store(q, RO_OFFSET(sq_event), event);
    if (r != VGPU_QUEUE_OK)
        return r;
    /* R3: pairs with the submitter's fence between its store of sq_prod and its load
     * of sq_event: one of both sees the other's store. */
    queue_full_fence();
    r = queue_submitted(q, &submitted);
    if (r != VGPU_QUEUE_OK)
        return r;
    return q->sq_cons + submitted == event ? VGPU_QUEUE_EMPTY : VGPU_QUEUE_OK;
}

enum vgpu_queue_result vgpu_queue_complete(struct vgpu_queue *q, const struct vgpu_cqe *cqe,
                                           bool *irq)
{
    const uint32_t old = q->cq_prod;
    uint64_t addr = q->base + vgpu_queue_cq_offset() +
                    (uint64_t)(old & ((1u << q->cq_log2) - 1)) * VGPU_CQE_BYTES;
    uint32_t g_event;
    enum vgpu_queue_result r;

    assert(q->owed > 0);
    *irq = false;
    if (q->ops->dma_write(q->opaque, addr, cqe, VGPU_CQE_BYTES))
        return queue_bad(q, VGPU_QUEUE_BAD_DMA, addr);
    q->owed--;
    q->cq_prod++;
    r = queue_store(q, RO_OFFSET(cq_prod), q->cq_prod);
    if (r != VGPU_QUEUE_OK)
        return r;
    /* R4: pairs with the guest kernel's fence between its store of cq_event and its
     * second look at cq_prod. */
    queue_full_fence();
    r = queue_load(q, RO_OFFSET(cq_event), &g_event);
    if (r != VGPU_QUEUE_OK)
        return r;
    *irq = vgpu_ring_need_event(g_event, q->cq_prod, old);
    return VGPU_QUEUE_OK;
}
