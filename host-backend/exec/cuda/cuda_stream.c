/* SPDX-License-Identifier: MIT */
/*
 * Streams.
 *
 * All of them, the context's stream 0 included, are created NON_BLOCKING: the implicit
 * synchronisation of CUDA's own null stream is no part of our ABI.
 */
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

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
        cuda_release(exec, exec->cu.cuEventDestroy_v2(stream->marks[--made].cu), "cuEventDestroy");
    cuda_release(exec, exec->cu.cuStreamDestroy_v2(stream->cu), "cuStreamDestroy");
err_free:
    free(stream);
    return NULL;
}

/* What a stream has, but for CUDA's own. */
static void stream_free(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    cuda_waiter_stop(&stream->waiter);
    cuda_copy_fini(exec, stream);
    for (uint32_t i = 0; i < CUDA_MAX_MARKS; i++)
        cuda_release(exec, exec->cu.cuEventDestroy_v2(stream->marks[i].cu), "cuEventDestroy");
    free(stream);
}

void cuda_stream_close(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    cuda_release(exec, exec->cu.cuStreamDestroy_v2(stream->cu), "cuStreamDestroy");
    stream_free(exec, stream);
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
        return exec->faulted ? exec->fault.status : VGPU_ST_LIMIT;
    }
    *stream = handle;
    return VGPU_ST_OK;
}

uint16_t cuda_stream_destroy(struct vgpu_exec *exec, uint32_t stream)
{
    struct cuda_stream *found = cuda_table_get(&exec->streams, stream);
    uint16_t status;

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    /* Refused, it stays what it was, for another try. */
    status = cuda_status(exec, exec->cu.cuStreamDestroy_v2(found->cu), "cuStreamDestroy");
    if (status != VGPU_ST_OK)
        return status;
    cuda_table_remove(&exec->streams, stream);
    stream_free(exec, found);
    return exec->faulted ? exec->fault.status : VGPU_ST_OK;
}
