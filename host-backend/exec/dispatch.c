// SPDX-License-Identifier: MIT
/*
 * The drain of a context queue; see dispatch.h.
 */
#include <exec/dispatch.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Parameter blocks are 16-byte aligned; the extra line keeps slots from sharing cache sets. */
#define PARAM_SLOT_BYTES (VGPU_MAX_PARAM_BYTES + 64)
#define POLL_MAX         64

bool vgpu_status_is_lost(uint16_t status)
{
    switch (status) {
#define STATUS_CASE(name, value, cuda, lost, text)                                                 \
    case value: return lost;
        VGPU_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default: return false;
    }
}

int vgpu_dispatch_init(struct vgpu_dispatch *d, const struct vgpu_dispatch_config *config)
{
    uint32_t count = config->ring->cq_mask + 1;
    int rc;

    memset(d, 0, sizeof(*d));
    d->ops = config->ops;
    d->exec = config->exec;
    d->ring = config->ring;
    d->bufs = config->bufs;
    d->budget = config->budget ? config->budget : 1;
    d->validator = (struct vgpu_validator){
        .ops = config->ops,
        .exec = config->exec,
        .bufs = config->bufs,
        .max_image_bytes = config->max_image_bytes,
    };
    d->calls = (struct vgpu_call_env){
        .ops = config->ops,
        .exec = config->exec,
        .memory_limit = config->memory_limit,
        .vm_held = config->vm_held,
        .opaque = config->opaque,
    };
    rc = vgpu_call_env_init(&d->calls);
    if (rc < 0)
        return rc;
    d->jobs = calloc(count, sizeof(*d->jobs));
    if (!d->jobs)
        goto err_calls;
    d->params = aligned_alloc(64, (size_t)count * PARAM_SLOT_BYTES);
    if (!d->params)
        goto err_jobs;
    for (uint32_t i = count; i-- > 0;) {
        d->jobs[i].next = d->free_jobs;
        d->free_jobs = &d->jobs[i];
    }
    return 0;

err_jobs:
    free(d->jobs);
err_calls:
    vgpu_call_env_fini(&d->calls);
    return -ENOMEM;
}

void vgpu_dispatch_fini(struct vgpu_dispatch *d)
{
    free(d->params);
    free(d->jobs);
    vgpu_call_env_fini(&d->calls);
    d->jobs = NULL;
}

/* ---- Completing ---- */

static void dispatch_complete(struct vgpu_dispatch *d, uint32_t sq_idx, uint64_t cookie,
                              uint16_t status, uint32_t aux, uint64_t result)
{
    vgpu_ring_complete(d->ring, sq_idx, cookie, status, aux, result);
    if (__builtin_expect(status != VGPU_ST_OK, 0)) {
        d->errors++;
        if (!d->lost && vgpu_status_is_lost(status))
            d->lost = status;
    }
}

static bool job_has_buf(const struct vgpu_job *job)
{
    return job->opcode == VGPU_CMD_COPY_H2D || job->opcode == VGPU_CMD_COPY_D2H;
}

static bool job_is_event(const struct vgpu_job *job)
{
    return job->opcode == VGPU_CMD_EVENT_RECORD || job->opcode == VGPU_CMD_EVENT_WAIT;
}

/* A job came back from the executor: complete it; the caller keeps or frees the struct. */
static void dispatch_job_done(struct vgpu_dispatch *d, struct vgpu_job *job)
{
    if (job_has_buf(job)) {
        vgpu_gbuf_put(job->u.copy.buf);
        if (job->status == VGPU_ST_OK && job->opcode == VGPU_CMD_COPY_H2D)
            d->bytes_h2d += job->u.copy.bytes;
        else if (job->status == VGPU_ST_OK)
            d->bytes_d2h += job->u.copy.bytes;
    }
    dispatch_complete(d, job->sq_idx, job->cookie, job->status, job->aux, job->result);
}

static void job_free(struct vgpu_dispatch *d, struct vgpu_job *job)
{
    job->next = d->free_jobs;
    d->free_jobs = job;
}

/* ---- Parking ---- */

static uint32_t park_bucket(uint32_t stream)
{
    return (stream * 0x9e3779b9u) >> 26;
}

static void park_add(struct vgpu_dispatch *d, uint32_t bucket, struct vgpu_job *job)
{
    struct vgpu_park *park = &d->park[bucket];

    job->next = NULL;
    if (park->last)
        park->last->next = job;
    else
        park->first = job;
    park->last = job;
    d->park_map |= 1ull << bucket;
    d->parked++;
    if (job_is_event(job)) {
        d->parked_events++;
        d->parked_event_bucket = bucket;
    }
}

static void park_remove_first(struct vgpu_dispatch *d, uint32_t bucket)
{
    struct vgpu_park *park = &d->park[bucket];
    struct vgpu_job *job = park->first;

    park->first = job->next;
    if (!park->first) {
        park->last = NULL;
        d->park_map &= ~(1ull << bucket);
    }
    d->parked--;
    if (job_is_event(job))
        d->parked_events--;
}

/* Is a record of this event still on its way to the executor? */
static bool park_has_record(const struct vgpu_dispatch *d, uint32_t event)
{
    const struct vgpu_job *job = NULL;

    if (d->parked_events)
        job = d->park[d->parked_event_bucket].first;
    for (; job; job = job->next)
        if (job->opcode == VGPU_CMD_EVENT_RECORD && job->u.event == event)
            return true;
    return false;
}

/* ---- Submitting ---- */

/* True if the executor took it (the job may be finished and free by then). */
static bool dispatch_try_submit(struct vgpu_dispatch *d, struct vgpu_job *job)
{
    switch (d->ops->submit(d->exec, job)) {
    case VGPU_SUBMIT_DONE:
        dispatch_job_done(d, job);
        job_free(d, job);
        return true;
    case VGPU_SUBMIT_QUEUED: d->in_executor++; return true;
    case VGPU_SUBMIT_FULL: break;
    }
    return false;
}

/* A validated job, in the order of the ring. */
static void dispatch_route(struct vgpu_dispatch *d, struct vgpu_job *job)
{
    uint32_t bucket = park_bucket(job->stream);

    if (__builtin_expect(d->parked_events != 0, 0) && job_is_event(job) &&
        bucket != d->parked_event_bucket) {
        d->held_job = job;
        return;
    }
    if ((d->park_map >> bucket) & 1 || !dispatch_try_submit(d, job))
        park_add(d, bucket, job);
}

/* The executor has room again, perhaps. How many jobs went. */
static uint32_t dispatch_unpark(struct vgpu_dispatch *d)
{
    uint64_t map = d->park_map;
    uint32_t done = 0;

    while (map && !d->lost) {
        uint32_t bucket = (uint32_t)__builtin_ctzll(map);

        map &= map - 1;
        while (d->park[bucket].first && !d->lost) {
            struct vgpu_job *job = d->park[bucket].first;

            /* Unlinked first: a finished job is on the free list when try_submit() returns. */
            park_remove_first(d, bucket);
            if (!dispatch_try_submit(d, job)) {
                struct vgpu_park *park = &d->park[bucket];

                job->next = park->first;
                park->first = job;
                if (!park->last)
                    park->last = job;
                d->park_map |= 1ull << bucket;
                d->parked++;
                d->parked_events += job_is_event(job);
                break;
            }
            done++;
        }
    }
    return done;
}

/* Take back what the executor finished. */
static uint32_t dispatch_reap(struct vgpu_dispatch *d)
{
    struct vgpu_job *jobs[POLL_MAX];
    size_t n = d->ops->poll(d->exec, jobs, POLL_MAX);

    for (size_t i = 0; i < n; i++) {
        d->in_executor--;
        dispatch_job_done(d, jobs[i]);
        job_free(d, jobs[i]);
    }
    return (uint32_t)n;
}

/* ---- Consuming ---- */

static void dispatch_run_call(struct vgpu_dispatch *d, const struct vgpu_call *call,
                              uint32_t sq_idx, uint64_t cookie)
{
    struct vgpu_call_result res;

    /* What is finished must not wait for what may take long. */
    vgpu_ring_publish(d->ring);
    if (call->opcode == VGPU_CMD_EVENT_QUERY && park_has_record(d, call->u.handle))
        res = (struct vgpu_call_result){.status = VGPU_ST_NOT_READY};
    else
        vgpu_call_run(&d->calls, call, &res);
    dispatch_complete(d, sq_idx, cookie, res.status, res.aux, res.result);
}

static void dispatch_call(struct vgpu_dispatch *d, const struct vgpu_sqe *sqe, uint32_t sq_idx,
                          bool barrier)
{
    uint16_t status = vgpu_validate_call(&d->validator, sqe, &d->call);

    if (status != VGPU_ST_OK) {
        dispatch_complete(d, sq_idx, le64toh(sqe->cookie), status, 0, 0);
    } else if (barrier && d->in_executor + d->parked > 0) {
        d->held_call = true;
        d->call_sq_idx = sq_idx;
        d->call_cookie = le64toh(sqe->cookie);
    } else {
        dispatch_run_call(d, &d->call, sq_idx, le64toh(sqe->cookie));
    }
}

/* The launch's parameters, copied out of the arena. */
static uint16_t dispatch_params(struct vgpu_dispatch *d, const struct vgpu_sqe *sqe,
                                struct vgpu_job *job)
{
    struct vgpu_gbuf *arena;
    uint32_t off = le32toh(sqe->u.launch.param_off), bytes = job->u.launch.param_bytes;
    uint16_t status =
        vgpu_gbufs_find(d->bufs, VGPU_BUF_ARENA, VGPU_BUF_DEVICE_READS, off, bytes, &arena);

    if (status != VGPU_ST_OK)
        return status;
    job->u.launch.params = d->params + (size_t)(job - d->jobs) * PARAM_SLOT_BYTES;
    return vgpu_gbuf_read(arena, off, job->u.launch.params, bytes) < 0 ? VGPU_ST_HOST_ERROR
                                                                       : VGPU_ST_OK;
}

static void dispatch_job(struct vgpu_dispatch *d, const struct vgpu_sqe *sqe, uint32_t sq_idx)
{
    /* Never empty: as many jobs as completion slots, and one of those was reserved. */
    struct vgpu_job *job = d->free_jobs;
    uint16_t status = vgpu_validate_job(&d->validator, sqe, job);

    if (status == VGPU_ST_OK && job->opcode == VGPU_CMD_LAUNCH)
        status = dispatch_params(d, sqe, job);
    if (__builtin_expect(status != VGPU_ST_OK, 0)) {
        dispatch_complete(d, sq_idx, le64toh(sqe->cookie), status, 0, 0);
        return;
    }
    d->free_jobs = job->next;
    job->sq_idx = sq_idx;
    if (job_has_buf(job))
        vgpu_gbuf_get(job->u.copy.buf);
    dispatch_route(d, job);
}

static void dispatch_one(struct vgpu_dispatch *d)
{
    struct vgpu_sqe sqe;
    uint32_t sq_idx = vgpu_ring_consume(d->ring, &sqe);

    switch (vgpu_cmd_class(le16toh(sqe.opcode))) {
    case VGPU_CLASS_QUEUED: dispatch_job(d, &sqe, sq_idx); break;
    case VGPU_CLASS_IMMEDIATE: dispatch_call(d, &sqe, sq_idx, false); break;
    case VGPU_CLASS_BARRIER: dispatch_call(d, &sqe, sq_idx, true); break;
    case VGPU_CLASS_REFUSED:
        dispatch_complete(d, sq_idx, le64toh(sqe.cookie), VGPU_ST_BAD_OPCODE, 0, 0);
        break;
    }
}

/* Let go what was held, if what it waited for has happened. */
static uint32_t dispatch_release(struct vgpu_dispatch *d)
{
    if (d->held_job && d->parked_events == 0) {
        struct vgpu_job *job = d->held_job;

        d->held_job = NULL;
        dispatch_route(d, job);
        return 1;
    }
    if (d->held_call && d->in_executor + d->parked == 0) {
        d->held_call = false;
        dispatch_run_call(d, &d->call, d->call_sq_idx, d->call_cookie);
        return 1;
    }
    return 0;
}

static uint32_t dispatch_consume(struct vgpu_dispatch *d)
{
    uint32_t done = 0;

    while (done < d->budget && vgpu_dispatch_wants_ring(d)) {
        uint32_t ready = vgpu_ring_ready(d->ring, d->budget - done);

        if (ready == 0)
            break;
        done += ready;
        for (; ready && vgpu_dispatch_wants_ring(d); ready--)
            dispatch_one(d);
        done -= ready;
    }
    if (d->ring->broken && !d->lost)
        d->lost = VGPU_ST_BAD_RING;
    return done;
}

uint32_t vgpu_dispatch_run(struct vgpu_dispatch *d)
{
    uint32_t done = 0;

    if (d->lost)
        return 0;
    if (d->in_executor)
        done += dispatch_reap(d);
    if (d->parked)
        done += dispatch_unpark(d);
    done += dispatch_release(d);
    done += dispatch_consume(d);
    vgpu_ring_publish(d->ring);
    return done;
}
