/* SPDX-License-Identifier: MIT */
/*
 * Events and the clock they share.
 *
 * A guest may record an event again before the first record was reported, and let another stream
 * wait for it in between.  Each record therefore has a CUDA event of its own: what a job recorded or
 * waits for stays what it was when the job was accepted.  CUDA events are kept and used
 * again; there are never more than there were records in flight and events.
 *
 * Times.  CUDA measures between two events, in float milliseconds: after a night that is steps of
 * 4 ms.  So each record is measured from the one whose time was told before it, in whatever stream:
 * what is near in time is measured as exactly as CUDA can, whatever lies before, and a long pause is
 * as exact as CUDA itself measures it.  The first one, made before any of the guest's, has the host's
 * time.
 *
 * Times of one stream never go back (VGPU-STRM-020), although two ways round to a record may differ by
 * a rounding.
 */
#include <errno.h>
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

/* ---- Records ---- */

static CUresult record_make(struct vgpu_exec *exec)
{
    struct cuda_record *record = calloc(1, sizeof(*record));
    CUresult result;

    if (!record)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = exec->cu.cuEventCreate(&record->cu, CU_EVENT_DEFAULT);
    if (result != CUDA_SUCCESS) {
        free(record);
        return result;
    }
    record->next_made = exec->records;
    exec->records = record;
    record->next_free = exec->free_records;
    exec->free_records = record;
    return CUDA_SUCCESS;
}

/* One of the free ones, as new but for its references. */
static struct cuda_record *record_take(struct vgpu_exec *exec)
{
    struct cuda_record *record = exec->free_records;

    exec->free_records = record->next_free;
    record->issued = record->refused = record->seen = false;
    record->time_ns = 0;
    return record;
}

CUresult cuda_record_open(struct vgpu_exec *exec, struct cuda_event *event,
                          struct cuda_record **out)
{
    struct cuda_record *record;
    CUresult result = exec->free_records ? CUDA_SUCCESS : record_make(exec);

    if (result != CUDA_SUCCESS)
        return result;
    record = record_take(exec);
    record->refs = 2;
    cuda_record_put(exec, event->latest);
    event->latest = record;
    *out = record;
    return CUDA_SUCCESS;
}

struct cuda_record *cuda_record_get(struct cuda_record *record)
{
    if (record)
        record->refs++;
    return record;
}

void cuda_record_put(struct vgpu_exec *exec, struct cuda_record *record)
{
    if (!record || --record->refs > 0)
        return;
    record->next_free = exec->free_records;
    exec->free_records = record;
}

void cuda_records_close(struct vgpu_exec *exec)
{
    while (exec->records) {
        struct cuda_record *record = exec->records;

        exec->records = record->next_made;
        cuda_release(exec, exec->cu.cuEventDestroy_v2(record->cu), "cuEventDestroy");
        free(record);
    }
    exec->free_records = exec->measured = NULL;
}

/* ---- Events ---- */

uint16_t cuda_event_create(struct vgpu_exec *exec, uint32_t *event)
{
    struct cuda_event *made;
    CUresult result;
    uint32_t handle;

    if (exec->faulted)
        return exec->fault.status;
    if (exec->events.live == CUDA_MAX_EVENTS)
        return VGPU_ST_LIMIT;
    made = calloc(1, sizeof(*made));
    if (!made)
        return VGPU_ST_HOST_MEMORY;
    /* So that a program learns here, and not when it records, that CUDA has no more. */
    result = record_make(exec);
    if (result != CUDA_SUCCESS) {
        free(made);
        return cuda_status(exec, result, "cuEventCreate");
    }
    handle = cuda_table_add(&exec->events, made);
    if (handle == 0) {
        free(made);
        return VGPU_ST_LIMIT;
    }
    *event = handle;
    return VGPU_ST_OK;
}

uint16_t cuda_event_destroy(struct vgpu_exec *exec, uint32_t event)
{
    struct cuda_event *found = cuda_table_get(&exec->events, event);

    if (!found)
        return VGPU_ST_BAD_HANDLE;
    cuda_table_remove(&exec->events, event);
    cuda_record_put(exec, found->latest);
    free(found);
    return VGPU_ST_OK;
}

uint16_t cuda_event_query(struct vgpu_exec *exec, uint32_t event, uint64_t *time_ns)
{
    const struct cuda_event *found = cuda_table_get(&exec->events, event);

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    if (found->latest && !found->latest->seen)
        return VGPU_ST_NOT_READY;
    /* An event never recorded has happened, at time 0 (spec 11.2). */
    *time_ns = found->latest ? found->latest->time_ns : 0;
    return VGPU_ST_OK;
}

/* ---- Times ---- */

int cuda_time_open(struct vgpu_exec *exec, CUresult *result)
{
    struct cuda_record *record;

    *result = record_make(exec);
    if (*result != CUDA_SUCCESS)
        return -EIO;
    record = record_take(exec);
    record->refs = 1;
    exec->measured = record;
    *result = exec->cu.cuEventRecord(record->cu, exec->chores);
    if (*result == CUDA_SUCCESS)
        *result = exec->cu.cuEventSynchronize(record->cu);
    record->time_ns = cuda_now_ns();
    return *result == CUDA_SUCCESS ? 0 : -EIO;
}

static uint64_t record_time(struct vgpu_exec *exec, struct cuda_record *record)
{
    struct cuda_record *from = exec->measured;
    float ms = 0;
    CUresult result = exec->cu.cuEventElapsedTime(&ms, from->cu, record->cu);
    double ns = (double)ms * 1e6;
    uint64_t time;

    if (result != CUDA_SUCCESS) {
        cuda_heed(exec, result, "cuEventElapsedTime");
        return cuda_now_ns(); /* better than none */
    }
    time = from->time_ns + (uint64_t)(int64_t)(ns < 0 ? ns - 0.5 : ns + 0.5);
    exec->measured = cuda_record_get(record);
    cuda_record_put(exec, from);
    return time;
}

void cuda_record_see(struct vgpu_exec *exec, struct cuda_stream *stream, struct cuda_record *record,
                     bool happened)
{
    if (happened) {
        record->time_ns = record_time(exec, record);
        if (record->time_ns < stream->recorded_ns)
            record->time_ns = stream->recorded_ns;
        stream->recorded_ns = record->time_ns;
    }
    record->seen = true;
}
