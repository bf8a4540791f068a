/* SPDX-License-Identifier: MIT */
/*
 * Events and the clock they share.
 *
 * A guest may record an event again before the first record was reported, and let another stream
 * wait for it in between.  Each record therefore has a CUDA event of its own: what a job recorded or
 * waits for stays what it was when the job was accepted.  CUDA events are kept and used
 * again; there are never more than there were records in flight and events.
 *
 * Times are CLOCK_MONOTONIC nanoseconds of the host.  CUDA measures between two events, in float
 * milliseconds: so there is a base event, paired with the host's clock, recorded before any
 * of the guest's and renewed so often that the float stays below a microsecond.  Its stream is the
 * executor's own, in which no kernel of the guest ever runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

#define BASE_RENEW_NS 8000000000ull

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

CUresult cuda_record_open(struct vgpu_exec *exec, struct cuda_event *event,
                          struct cuda_record **out)
{
    struct cuda_record *record;
    CUresult result = exec->free_records ? CUDA_SUCCESS : record_make(exec);

    if (result != CUDA_SUCCESS)
        return result;
    record = exec->free_records;
    exec->free_records = record->next_free;
    record->refs = 2;
    record->issued = record->refused = record->seen = false;
    record->time_ns = 0;
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
    exec->free_records = NULL;
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
    *result = exec->cu.cuEventCreate(&exec->base_event, CU_EVENT_DEFAULT);
    if (*result == CUDA_SUCCESS)
        *result = exec->cu.cuEventRecord(exec->base_event, exec->chores);
    if (*result == CUDA_SUCCESS)
        *result = exec->cu.cuEventSynchronize(exec->base_event);
    exec->base_ns = cuda_now_ns();
    return *result == CUDA_SUCCESS ? 0 : -EIO;
}

/* Never waits: a fresh base is recorded at one call, and taken at a later one. */
static void base_renew(struct vgpu_exec *exec)
{
    float ms = 0;

    if (!exec->base_next) {
        if (exec->cu.cuEventCreate(&exec->base_next, CU_EVENT_DEFAULT) != CUDA_SUCCESS)
            exec->base_next = NULL;
        else if (exec->cu.cuEventRecord(exec->base_next, exec->chores) != CUDA_SUCCESS) {
            cuda_release(exec, exec->cu.cuEventDestroy_v2(exec->base_next), "cuEventDestroy");
            exec->base_next = NULL;
        }
        return;
    }
    if (exec->cu.cuEventQuery(exec->base_next) != CUDA_SUCCESS ||
        exec->cu.cuEventElapsedTime(&ms, exec->base_event, exec->base_next) != CUDA_SUCCESS)
        return;
    /* Keep one time line: move along it by CUDA's own measure. */
    exec->base_ns += (uint64_t)((double)ms * 1e6);
    cuda_release(exec, exec->cu.cuEventDestroy_v2(exec->base_event), "cuEventDestroy");
    exec->base_event = exec->base_next;
    exec->base_next = NULL;
}

static uint64_t record_time(struct vgpu_exec *exec, CUevent event)
{
    float ms = 0;
    uint64_t time;

    if (exec->cu.cuEventElapsedTime(&ms, exec->base_event, event) != CUDA_SUCCESS)
        return cuda_now_ns(); /* the context is lost */
    time = exec->base_ns + (uint64_t)(int64_t)((double)ms * 1e6);
    if (cuda_now_ns() - exec->base_ns > BASE_RENEW_NS)
        base_renew(exec);
    return time;
}

void cuda_record_see(struct vgpu_exec *exec, struct cuda_record *record, bool happened)
{
    if (happened)
        record->time_ns = record_time(exec, record->cu);
    record->seen = true;
}
