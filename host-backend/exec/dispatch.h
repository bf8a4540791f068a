/* SPDX-License-Identifier: MIT */
/*
 * The drain: submissions out of the ring, through validation, into the executor; completions back.
 *
 * Theory of operation.  vgpu_dispatch_run() does a bounded amount of work and returns what it did;
 * the process around it decides when to spin, sleep or look at its socket.  A submission is
 * consumed only when its completion slot is free (ring.h), so at most one CQ's worth of
 * jobs exists and all of them are allocated at the start: the hot path calls no allocator.
 *
 * Three classes (validate.h).  Queued jobs go to the executor; immediate calls run at once;
 * a barrier call waits as `held` until nothing is in flight, and nothing is consumed meanwhile.
 *
 * Back-pressure.  When the executor says FULL, the job is *parked*: in one of 64 buckets chosen by
 * its stream, in order, and so are later jobs of that bucket.  Other streams go on.  Only two
 * things stop the consumer: the ring itself (no completion slot left), and events: EVENT_RECORD and
 * EVENT_WAIT must reach the executor in the order of the ring, also across streams, since a wait
 * means the latest record *before it*.  So while an event command is parked, one of another
 * bucket is held until it has gone.  Nothing parked or held can wait for something that was
 * not consumed yet, hence no deadlock.
 *
 * The end.  A status that loses the context (vgpu/status.h), from a job or a call, or a
 * broken ring, sets `lost`: nothing more is consumed, and the process reports and ends.
 *
 * One thread, the drain thread, for everything here.
 */
#ifndef VGPU_EXEC_DISPATCH_H
#define VGPU_EXEC_DISPATCH_H

#include <exec/call.h>
#include <exec/ring.h>

#define VGPU_PARK_BUCKETS 64

struct vgpu_park {
    struct vgpu_job *first;
    struct vgpu_job *last;
};

struct vgpu_dispatch_config {
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    struct vgpu_ring *ring;  /* attached */
    struct vgpu_gbufs *bufs; /* id 0 is committed */
    uint32_t budget;         /* submissions per run, >= 1 */
    uint64_t max_image_bytes;
    uint64_t memory_limit;
    uint64_t (*vm_held)(void *opaque);
    void *opaque;
};

struct vgpu_dispatch {
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    struct vgpu_ring *ring;
    struct vgpu_gbufs *bufs;
    struct vgpu_validator validator;
    struct vgpu_call_env calls;
    uint32_t budget;

    struct vgpu_job *jobs; /* as many as the CQ has entries */
    struct vgpu_job *free_jobs;
    uint8_t *params; /* one slot per job */

    uint32_t in_executor; /* jobs submitted, not yet polled */
    uint32_t parked;
    uint32_t parked_events; /* of these, event commands; all in parked_event_bucket */
    uint32_t parked_event_bucket;
    uint64_t park_map; /* buckets that are not empty */
    struct vgpu_park park[VGPU_PARK_BUCKETS];

    struct vgpu_job *held_job; /* an event command that waits for parked_events to be 0 */
    bool held_call;            /* a barrier that waits until nothing is in flight */
    struct vgpu_call call;
    uint32_t call_sq_idx;
    uint64_t call_cookie;

    uint16_t lost;   /* VGPU_ST_* that lost the context, 0: active */
    uint64_t errors; /* completions with a status other than OK */
    uint64_t bytes_h2d;
    uint64_t bytes_d2h;
};

int vgpu_dispatch_init(struct vgpu_dispatch *d, const struct vgpu_dispatch_config *config)
    __attribute__((warn_unused_result));
/* The executor must hold no job any more, or be closed. */
void vgpu_dispatch_fini(struct vgpu_dispatch *d);

/* Do up to a budget of work and publish it.  How much was done; 0: nothing to do for now. */
uint32_t vgpu_dispatch_run(struct vgpu_dispatch *d);

/* Does it wait for the ring (else only the executor can make something happen)? */
static inline bool vgpu_dispatch_wants_ring(const struct vgpu_dispatch *d)
{
    return !d->held_call && !d->held_job && !d->lost;
}

/* Does it wait for the executor? */
static inline bool vgpu_dispatch_wants_executor(const struct vgpu_dispatch *d)
{
    return d->in_executor > 0;
}

bool vgpu_status_is_lost(uint16_t status);

#endif /* VGPU_EXEC_DISPATCH_H */
