/* SPDX-License-Identifier: MIT */
/*
 * vgpu rings: the memory a queue pair lives in (spec 7).
 *
 * Every queue - the admin queue and each context's - is one physically or
 * IOMMU-contiguous *queue block* in guest RAM, allocated coherently by the guest
 * kernel.  Two halves, so that a program may be given the first read-only:
 *
 *   page 0      struct vgpu_queue_ro    written by the device and the guest kernel
 *   then        CQ entries              written by the device
 *   then        struct vgpu_queue_rw    one page, written by the submitter
 *   then        SQ entries              written by the submitter
 *
 * CQ and SQ are each rounded up to whole pages.  Indices are free-running 32-bit
 * counters, masked only when an entry is addressed; each word has exactly one
 * writer, and words of different writers never share a cache line.
 *
 * Ordering (the four rules everything rests on, spec 7.3):
 *  R1  A producer writes entries, then store-releases its index.  A consumer
 *      load-acquires that index before it reads entries.
 *  R2  A consumer finishes reading entries, then store-releases its consumer index.
 *  R3  Submitting: after the release of sq_prod a *full* fence, then read sq_event;
 *      the doorbell is rung if vgpu_ring_need_event() says so.  The device, before
 *      it sleeps: writes sq_event, full fence, reads sq_prod again.
 *  R4  Completing: the device releases cq_prod, full fence, reads cq_event,
 *      interrupts if asked.  The guest kernel, before it sleeps: writes cq_event,
 *      full fence, reads cq_prod again.
 */
#ifndef VGPU_RING_H
#define VGPU_RING_H

#include <linux/types.h>

#define VGPU_SQE_BYTES 64
#define VGPU_CQE_BYTES 32

/* Context state word (spec 7.4), written by the guest kernel alone. */
#define VGPU_CTX_STATE_ACTIVE 1
#define VGPU_CTX_STATE_LOST   2 /* for good; `lost_status` says why */

/* Page 0 of a queue block: read-only for programs. */
struct vgpu_queue_ro {
	/* written by the device */
	__le32 cq_prod;       /* completions published */
	__u8 rsvd0[60];
	__le32 sq_cons;       /* submissions consumed: their slots may be reused */
	__le32 sq_event;      /* ring the doorbell when sq_prod passes this */
	__u8 rsvd1[56];
	/* written by the guest kernel */
	__le32 cq_event;      /* interrupt when cq_prod passes this */
	__u8 rsvd2[60];
	__le32 ctx_state;     /* VGPU_CTX_STATE_* */
	__le32 lost_status;   /* VGPU_ST_*, valid once ctx_state is LOST */
	__le32 generation;    /* the back end's, when the context was created */
	__u8 rsvd3[52];
	__u8 rsvd4[3840];
};

/* First page of the writable half. */
struct vgpu_queue_rw {
	/* written by the submitter (the program, or the kernel on its behalf) */
	__le32 sq_prod;       /* submissions published */
	__u8 rsvd0[60];
	__le32 cq_cons;       /* completions consumed: their slots may be reused */
	__u8 rsvd1[60];
	__u8 rsvd2[3968];
};

/*
 * True if moving an index from @old to @new passes @event, that is, if the other
 * side asked to be told.  Pure modular arithmetic: valid across 2^32.
 */
static inline int vgpu_ring_need_event(__u32 event, __u32 new_idx, __u32 old_idx)
{
	return (__u32)(new_idx - event - 1) < (__u32)(new_idx - old_idx);
}

/* Offsets inside a queue block, for CQ and SQ of 1 << log2 entries (spec 7.2). */
static inline __u32 vgpu_queue_round(__u32 bytes)
{
	return (bytes + 4095u) & ~4095u;
}

static inline __u32 vgpu_queue_cq_offset(void)
{
	return 4096u;
}

static inline __u32 vgpu_queue_rw_offset(__u32 cq_log2)
{
	return 4096u + vgpu_queue_round((__u32)VGPU_CQE_BYTES << cq_log2);
}

static inline __u32 vgpu_queue_sq_offset(__u32 cq_log2)
{
	return vgpu_queue_rw_offset(cq_log2) + 4096u;
}

static inline __u32 vgpu_queue_bytes(__u32 cq_log2, __u32 sq_log2)
{
	return vgpu_queue_sq_offset(cq_log2) + vgpu_queue_round((__u32)VGPU_SQE_BYTES << sq_log2);
}

#endif /* VGPU_RING_H */
