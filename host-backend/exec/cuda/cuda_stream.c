/* SPDX-License-Identifier: MIT */
/*
 * Streams, events and the clock they share.
 *
 * All streams, the context's stream 0 included, are created NON_BLOCKING: the implicit
 * synchronisation of CUDA's own null stream is no part of our ABI.
 *
 * Event times are CLOCK_MONOTONIC nanoseconds of the host: a base event is paired with the host's
 * clock, and later events are measured against it.  CUDA measures in float milliseconds, so
 * the base is renewed every few seconds to keep the resolution below a microsecond.
 */
#include <errno.h>
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

#define BASE_RENEW_NS 8000000000ull

struct cuda_stream *cuda_stream_open(struct vgpu_exec *exec, int32_t priority, CUresult *result)
{
    struct cuda_stream *stream = calloc(1, sizeof(*stream));
    uint32_t made = 0;

    *result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!stream)
        return NULL;
    /* Numerically lower is more urgent, in CUDA as in our ABI. */
    if (priority > exec->priority_least)
        priority = exec->priority_least;
    if (priority < exec->priority_greatest)
        priority = exec->priority_greatest;
    *result = exec->cu.cuStreamCreateWithPriority(&stream->cu, CU_STREAM_NON_BLOCKING, priority);
    if (*result != CUDA_SUCCESS)
        goto err_free;
    for (; made < CUDA_MAX_MARKS; made++) {
        *result = exec->cu.cuEventCreate(&stream->marks[made].cu,
                                         CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
        if (*result != CUDA_SUCCESS)
            goto err_marks;
    }
    return stream;

err_marks:
    while (made > 0)
        exec->cu.cuEventDestroy_v2(stream->marks[--made].cu);
    exec->cu.cuStreamDestroy_v2(stream->cu);
err_free:
    free(stream);
    return NULL;
}

void cuda_stream_close(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    cuda_waiter_stop(&stream->waiter);
    cuda_copy_fini(exec, stream);
    for (uint32_t i = 0; i < CUDA_MAX_MARKS; i++)
        exec->cu.cuEventDestroy_v2(stream->marks[i].cu);
    exec->cu.cuStreamDestroy_v2(stream->cu);
    free(stream);
}

struct cuda_stream *cuda_stream_get(struct vgpu_exec *exec, uint32_t stream)
{
    return stream == 0 ? exec->default_stream : cuda_table_get(&exec->streams, stream);
}

bool cuda_stream_exists(struct vgpu_exec *exec, uint32_t stream)
{
    return cuda_stream_get(exec, stream) != NULL;
}

uint16_t cuda_stream_create(struct vgpu_exec *exec, int32_t priority, uint32_t *stream)
{
    struct cuda_stream *made;
    CUresult result;
    uint32_t handle;

    if (exec->faulted)
        return exec->fault.status;
    if (exec->streams.live == CUDA_MAX_STREAMS)
        return VGPU_ST_LIMIT;
    cuda_guard_enter(exec);
    made = cuda_stream_open(exec, priority, &result);
    cuda_guard_leave(exec);
    if (!made)
        return cuda_status(exec, result, "creating a stream");
    handle = cuda_table_add(&exec->streams, made);
    if (handle == 0) {
        cuda_stream_close(exec, made);
        return VGPU_ST_LIMIT;
    }
    *stream = handle;
    return VGPU_ST_OK;
}

uint16_t cuda_stream_destroy(struct vgpu_exec *exec, uint32_t stream)
{
    struct cuda_stream *found = cuda_table_get(&exec->streams, stream);

    if (!found)
        return VGPU_ST_BAD_HANDLE;
    cuda_table_remove(&exec->streams, stream);
    cuda_stream_close(exec, found);
    return VGPU_ST_OK;
}

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
    result = exec->cu.cuEventCreate(&made->cu, CU_EVENT_BLOCKING_SYNC);
    if (result != CUDA_SUCCESS) {
        free(made);
        return cuda_status(exec, result, "cuEventCreate");
    }
    handle = cuda_table_add(&exec->events, made);
    if (handle == 0) {
        exec->cu.cuEventDestroy_v2(made->cu);
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
    exec->cu.cuEventDestroy_v2(found->cu);
    free(found);
    return VGPU_ST_OK;
}

/*
 * Times.  CUDA measures between two events, in float milliseconds: so there is a base event, recorded
 * before any of the guest's and renewed so often that the float stays exact.  Its stream is the
 * executor's own, in which no kernel of the guest ever runs.
 */
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
            exec->cu.cuEventDestroy_v2(exec->base_next);
            exec->base_next = NULL;
        }
        return;
    }
    if (exec->cu.cuEventQuery(exec->base_next) != CUDA_SUCCESS ||
        exec->cu.cuEventElapsedTime(&ms, exec->base_event, exec->base_next) != CUDA_SUCCESS)
        return;
    /* Keep one time line: move along it by CUDA's own measure. */
    exec->base_ns += (uint64_t)((double)ms * 1e6);
    exec->cu.cuEventDestroy_v2(exec->base_event);
    exec->base_event = exec->base_next;
    exec->base_next = NULL;
}

uint64_t cuda_event_time(struct vgpu_exec *exec, CUevent event)
{
    float ms = 0;
    uint64_t time;

    if (exec->cu.cuEventElapsedTime(&ms, exec->base_event, event) != CUDA_SUCCESS)
        return cuda_now_ns(); /* recorded again meanwhile, or the context is lost */
    time = exec->base_ns + (uint64_t)(int64_t)((double)ms * 1e6);
    if (cuda_now_ns() - exec->base_ns > BASE_RENEW_NS)
        base_renew(exec);
    return time;
}

uint16_t cuda_event_query(struct vgpu_exec *exec, uint32_t event, uint64_t *time_ns)
{
    struct cuda_event *found = cuda_table_get(&exec->events, event);

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    /* An event never recorded has happened, at time 0 (spec 11.2). */
    if (found->seen != found->submitted)
        return VGPU_ST_NOT_READY;
    *time_ns = found->time_ns;
    return VGPU_ST_OK;
}
