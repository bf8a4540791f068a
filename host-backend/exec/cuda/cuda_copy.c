/* SPDX-License-Identifier: MIT */
/*
 * Copies between guest buffers and the device.
 *
 * Direct: the first copy that names a buffer registers the buffer's memory with CUDA - only
 * that buffer's pages, since whatever is registered can be dereferenced by the context's kernels.  A mapped
 * buffer is one piece of this process's memory however many runs of guest memory it is made of (gbuf.h), so from
 * then on a copy is exactly one asynchronous call, by the GPU's own copy engines.  A buffer that the guest
 * registered for reading only is mapped so, and registered so (CU_MEMHOSTREGISTER_READ_ONLY): kernels
 * can't write to it either.  A driver that can't do this has it staged.
 *
 * Staged: for buffers that are not mapped here (Xen, or too many runs) or that CUDA refuses to
 * register.  Two pinned slots take turns.  To the device: fill a slot from the guest, start its
 * transfer, go on with the other slot.  From the device: start both slots' transfers, write each to
 * the guest when it has arrived.  The drain moves a staged copy on from poll(), never waiting.  Each
 * stream has slots of its own: were they shared, a copy that waits in one stream for
 * another's kernel could keep back the very copy this kernel waits for.
 *
 * Small copies are staged as well until a buffer has been registered: registering costs more than
 * they do.
 *
 * Overlapping copies on the device go through scratch memory, of which each stream has its own for the same
 * reason.
 */
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

#define REGISTER_MIN_BYTES (64u << 10)
#define PAGE               4096ull

/* What the executor remembers of a guest buffer is the address it registered, or this. */
static char cannot_register;

/* Register the whole pages around the buffer. */
static void *register_buf(struct vgpu_exec *exec, const struct vgpu_gbuf *buf)
{
    bool writable = vgpu_gbuf_writable(buf);
    struct vgpu_span span;
    uintptr_t start, end;
    CUresult result;

    if (vgpu_gbuf_spans(buf, 0, vgpu_gbuf_bytes(buf), &span, 1) != 1 ||
        (!writable && !exec->registers_read_only))
        return &cannot_register;
    start = (uintptr_t)span.ptr & ~(PAGE - 1);
    end = ((uintptr_t)span.ptr + span.bytes + PAGE - 1) & ~(PAGE - 1);
    cuda_guard_enter(exec);
    result = exec->cu.cuMemHostRegister_v2((void *)start, end - start,
                                           writable ? 0 : CU_MEMHOSTREGISTER_READ_ONLY);
    cuda_guard_leave(exec);
    cuda_heed(exec, result, "cuMemHostRegister");
    return result == CUDA_SUCCESS ? (void *)start : &cannot_register;
}

/* Pages that stay registered are pages that the GPU can write to. */
bool cuda_buf_detach(struct vgpu_exec *exec, struct vgpu_gbuf *buf)
{
    void **registered = vgpu_gbuf_priv(buf);
    CUresult result;

    if (!*registered || *registered == &cannot_register)
        return true;
    /* In a lost context copies may be under way whose jobs have been given up. */
    if (exec->faulted)
        return false;
    cuda_guard_enter(exec);
    result = exec->cu.cuMemHostUnregister(*registered);
    cuda_guard_leave(exec);
    cuda_release(exec, result, "cuMemHostUnregister");
    if (result == CUDA_SUCCESS)
        *registered = NULL;
    return result == CUDA_SUCCESS;
}

enum cuda_copy_way cuda_copy_choose(struct vgpu_exec *exec, struct vgpu_job *job)
{
    void **registered = vgpu_gbuf_priv(job->u.copy.buf);

    if (!*registered) {
        if (job->u.copy.bytes < REGISTER_MIN_BYTES)
            return CUDA_COPY_STAGED;
        *registered = register_buf(exec, job->u.copy.buf);
    }
    return *registered == &cannot_register ? CUDA_COPY_STAGED : CUDA_COPY_DIRECT;
}

CUresult cuda_copy_direct(struct vgpu_exec *exec, struct cuda_stream *stream, struct vgpu_job *job)
{
    const struct vgpu_job_copy *copy = &job->u.copy;
    struct vgpu_span span;

    if (vgpu_gbuf_spans(copy->buf, copy->buf_off, copy->bytes, &span, 1) != 1)
        return CUDA_ERROR_INVALID_VALUE;
    return job->opcode == VGPU_CMD_COPY_H2D
               ? exec->cu.cuMemcpyHtoDAsync_v2(copy->dev_addr, span.ptr, span.bytes, stream->cu)
               : exec->cu.cuMemcpyDtoHAsync_v2(span.ptr, copy->dev_addr, span.bytes, stream->cu);
}

/* One piece of an overlapping copy, by way of the stream's scratch memory. */
static CUresult via_scratch(struct vgpu_exec *exec, const struct cuda_stream *stream,
                            CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    const CUdeviceptr scratch = stream->scratch->memory;
    CUresult result = exec->cu.cuMemcpyDtoDAsync_v2(scratch, src, bytes, stream->cu);

    return result == CUDA_SUCCESS ? exec->cu.cuMemcpyDtoDAsync_v2(dst, scratch, bytes, stream->cu)
                                  : result;
}

/* The memory that a transfer uses is free after this event; if that can't be recorded, nothing would
 * ever tell. */
static CUresult mark_use(struct vgpu_exec *exec, CUevent done, CUstream stream)
{
    CUresult result = exec->cu.cuEventRecord(done, stream);

    if (result != CUDA_SUCCESS)
        cuda_lose(exec, result, "marking a copy");
    return result;
}

static CUresult scratch_make(struct vgpu_exec *exec, struct cuda_scratch **made)
{
    struct cuda_scratch *scratch = calloc(1, sizeof(*scratch));
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

    if (!scratch)
        return result;
    if (!cuda_mem_take(exec, CUDA_SCRATCH_BYTES))
        goto err_free;
    cuda_guard_enter(exec);
    result = exec->cu.cuMemAlloc_v2(&scratch->memory, CUDA_SCRATCH_BYTES);
    cuda_guard_leave(exec);
    if (result != CUDA_SUCCESS)
        goto err_give;
    *made = scratch;
    return CUDA_SUCCESS;

err_give:
    cuda_mem_give(exec, CUDA_SCRATCH_BYTES);
err_free:
    free(scratch);
    return result;
}

/* Scratch memory of its own for a stream; what a destroyed stream had is in no use any more, since destroying
 * one is a barrier. */
static CUresult scratch_init(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    if (stream->scratch)
        return CUDA_SUCCESS;
    if (!exec->free_scratch)
        return scratch_make(exec, &stream->scratch);
    stream->scratch = exec->free_scratch;
    exec->free_scratch = stream->scratch->next;
    return CUDA_SUCCESS;
}

static void scratch_fini(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    if (!stream->scratch)
        return;
    stream->scratch->next = exec->free_scratch;
    exec->free_scratch = stream->scratch;
    stream->scratch = NULL;
}

void cuda_scratch_close(struct vgpu_exec *exec)
{
    while (exec->free_scratch) {
        struct cuda_scratch *scratch = exec->free_scratch;

        exec->free_scratch = scratch->next;
        cuda_release(exec, exec->cu.cuMemFree_v2(scratch->memory), "cuMemFree");
        free(scratch);
    }
}

/* CUDA leaves overlapping copies undefined; the ABI promises memmove's result. */
CUresult cuda_copy_d2d(struct vgpu_exec *exec, struct cuda_stream *stream,
                       const struct vgpu_job_d2d *copy)
{
    uint64_t apart = copy->dst > copy->src ? copy->dst - copy->src : copy->src - copy->dst;
    CUresult result;

    if (apart >= copy->bytes)
        return exec->cu.cuMemcpyDtoDAsync_v2(copy->dst, copy->src, copy->bytes, stream->cu);
    if (apart == 0)
        return CUDA_SUCCESS;
    result = scratch_init(exec, stream);
    for (uint64_t done = 0; done < copy->bytes && result == CUDA_SUCCESS;) {
        uint64_t left = copy->bytes - done;
        uint64_t piece = left < CUDA_SCRATCH_BYTES ? left : CUDA_SCRATCH_BYTES;
        uint64_t off = copy->dst < copy->src ? done : left - piece;

        result = via_scratch(exec, stream, copy->dst + off, copy->src + off, piece);
        done += piece;
    }
    return result;
}

static CUresult slots_init(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    for (unsigned int i = 0; i < CUDA_BOUNCE_SLOTS; i++) {
        struct cuda_bounce_slot *slot = &stream->staged.slots[i];
        void *memory;
        CUresult result;

        if (slot->memory)
            continue;
        result =
            exec->cu.cuEventCreate(&slot->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
        if (result != CUDA_SUCCESS)
            return result;
        cuda_guard_enter(exec);
        result = exec->cu.cuMemHostAlloc(&memory, CUDA_BOUNCE_BYTES, 0);
        cuda_guard_leave(exec);
        if (result != CUDA_SUCCESS) {
            cuda_release(exec, exec->cu.cuEventDestroy_v2(slot->done), "cuEventDestroy");
            return result;
        }
        slot->memory = memory;
    }
    return CUDA_SUCCESS;
}

void cuda_copy_fini(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    for (unsigned int i = 0; i < CUDA_BOUNCE_SLOTS; i++) {
        struct cuda_bounce_slot *slot = &stream->staged.slots[i];

        if (slot->memory) {
            cuda_release(exec, exec->cu.cuMemFreeHost(slot->memory), "cuMemFreeHost");
            cuda_release(exec, exec->cu.cuEventDestroy_v2(slot->done), "cuEventDestroy");
        }
    }
    scratch_fini(exec, stream);
}

void cuda_copy_start(struct cuda_stream *stream, struct vgpu_job *job)
{
    stream->staged.job = job;
    stream->staged.issued = 0;
    stream->staged.landed = 0;
}

/* Start one slot's transfer of the next piece. */
static CUresult slot_issue(struct vgpu_exec *exec, struct cuda_stream *stream,
                           struct cuda_bounce_slot *slot, bool to_device)
{
    struct cuda_staged *staged = &stream->staged;
    const struct vgpu_job_copy *copy = &staged->job->u.copy;
    uint64_t left = copy->bytes - staged->issued;
    CUdeviceptr dev = copy->dev_addr + staged->issued;
    CUresult result;

    slot->off = staged->issued;
    slot->bytes = left < CUDA_BOUNCE_BYTES ? (uint32_t)left : CUDA_BOUNCE_BYTES;
    if (to_device) {
        if (vgpu_gbuf_read(copy->buf, copy->buf_off + slot->off, slot->memory, slot->bytes) < 0)
            return CUDA_ERROR_UNKNOWN;
        exec->bytes_staged += slot->bytes;
        result = exec->cu.cuMemcpyHtoDAsync_v2(dev, slot->memory, slot->bytes, stream->cu);
    } else {
        result = exec->cu.cuMemcpyDtoHAsync_v2(slot->memory, dev, slot->bytes, stream->cu);
    }
    if (result == CUDA_SUCCESS)
        result = mark_use(exec, slot->done, stream->cu);
    if (result == CUDA_SUCCESS) {
        slot->in_flight = true;
        slot->to_guest = !to_device;
        staged->issued += slot->bytes;
    }
    return result;
}

/* The slot's transfer has ended: take what it brought. */
static CUresult slot_land(struct vgpu_exec *exec, struct cuda_staged *staged,
                          struct cuda_bounce_slot *slot)
{
    const struct vgpu_job_copy *copy = &staged->job->u.copy;

    slot->in_flight = false;
    if (!slot->to_guest)
        return CUDA_SUCCESS;
    if (vgpu_gbuf_write(copy->buf, copy->buf_off + slot->off, slot->memory, slot->bytes) < 0)
        return CUDA_ERROR_UNKNOWN;
    exec->bytes_staged += slot->bytes;
    staged->landed += slot->bytes;
    return CUDA_SUCCESS;
}

/* After a failure the slots may be in flight still, but what they bring is no later copy's. */
static bool finish(struct cuda_staged *staged, CUresult how, CUresult *result)
{
    for (unsigned int i = 0; i < CUDA_BOUNCE_SLOTS && how != CUDA_SUCCESS; i++)
        staged->slots[i].to_guest = false;
    *result = how;
    staged->job = NULL;
    return true;
}

bool cuda_copy_advance(struct vgpu_exec *exec, struct cuda_stream *stream, CUresult *result)
{
    struct cuda_staged *staged = &stream->staged;
    const struct vgpu_job_copy *copy = &staged->job->u.copy;
    bool to_device = staged->job->opcode == VGPU_CMD_COPY_H2D;
    CUresult how = slots_init(exec, stream);

    while (how == CUDA_SUCCESS) {
        struct cuda_bounce_slot *slot = &staged->slots[staged->next];

        /* The last pieces of a copy to the device may still be on their way when it ends here: its
         * stream's next mark covers them, and the slots stay taken until then. */
        if (staged->issued == copy->bytes && (to_device || staged->landed == copy->bytes))
            return finish(staged, CUDA_SUCCESS, result);
        if (slot->in_flight) {
            how = exec->cu.cuEventQuery(slot->done);
            if (how == CUDA_ERROR_NOT_READY)
                return false;
            if (how != CUDA_SUCCESS)
                break;
            how = slot_land(exec, staged, slot);
            if (how != CUDA_SUCCESS)
                break;
        }
        if (staged->issued < copy->bytes)
            how = slot_issue(exec, stream, slot, to_device);
        staged->next = (staged->next + 1) % CUDA_BOUNCE_SLOTS;
    }
    return finish(staged, how, result);
}
