/* SPDX-License-Identifier: MIT */
/*
 * Driver API chapter "Memory Management", with the synchronisation behaviour of "API
 * synchronization behavior": transfers between page-locked host memory and the device are fully
 * asynchronous; from pageable memory the source is staged first, to pageable memory the call
 * returns when the copy is complete.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "fake.h"

#define PAGE 4096u
/* PORTABLE, DEVICEMAP, IOMEMORY, READ_ONLY */
#define FAKE_REGISTER_FLAGS 0xfu

static struct fake_range *pinned_find(struct CUctx_st *ctx, const void *ptr, size_t bytes)
{
    uintptr_t at = (uintptr_t)ptr;

    for (struct fake_range *r = ctx->pinned; r; r = r->next) {
        if (at >= r->start && bytes <= r->bytes && at - r->start <= r->bytes - bytes)
            return r;
    }
    return NULL;
}

static bool pinned_overlaps(struct CUctx_st *ctx, const void *ptr, size_t bytes)
{
    uintptr_t at = (uintptr_t)ptr;

    for (struct fake_range *r = ctx->pinned; r; r = r->next) {
        if (at < r->start + r->bytes && r->start < at + bytes)
            return true;
    }
    return false;
}

static CUresult pinned_add(struct CUctx_st *ctx, void *ptr, size_t bytes, bool allocated)
{
    struct fake_range *range = calloc(1, sizeof(*range));

    if (!range)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *range = (struct fake_range){ctx->pinned, (uintptr_t)ptr, bytes, allocated};
    ctx->pinned = range;
    return CUDA_SUCCESS;
}

/* Forget the range that starts here; NULL if there is none of that kind. */
static bool pinned_remove(struct CUctx_st *ctx, void *ptr, bool allocated)
{
    for (struct fake_range **link = &ctx->pinned; *link; link = &(*link)->next) {
        struct fake_range *range = *link;

        if (range->start == (uintptr_t)ptr && range->allocated == allocated) {
            *link = range->next;
            free(range);
            return true;
        }
    }
    return false;
}

void fake_pinned_free(struct CUctx_st *ctx)
{
    while (ctx->pinned) {
        struct fake_range *range = ctx->pinned;

        ctx->pinned = range->next;
        if (range->allocated)
            free((void *)range->start);
        free(range);
    }
}

FAKE_EXPORT CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    *total = fake_memory_bytes();
    *free_bytes = *total - fake_used_bytes(ctx);
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes)
{
    struct CUctx_st *ctx;
    uint64_t va;

    FAKE_ENTER(ctx);
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fake_has_room(ctx, bytes) || vgpu_ptx_mem_alloc(ctx->machine, bytes, &va) != VGPU_PTX_OK)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* Memory is not cleared (cuMemAlloc): show it, so that an executor which forgets to is caught. */
    if (vgpu_ptx_mem_fill(ctx->machine, va, 0xa5, 1, bytes) != VGPU_PTX_OK)
        return CUDA_ERROR_UNKNOWN;
    *ptr = va;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuMemFree_v2(CUdeviceptr ptr)
{
    struct CUctx_st *ctx;
    CUresult result = CUDA_SUCCESS;

    FAKE_ENTER(ctx);
    /* Implicitly waits for the work that might use it. */
    for (struct CUstream_st *s = ctx->streams; s && result == CUDA_SUCCESS; s = s->next)
        result = fake_wait_idle(ctx, s);
    if (result != CUDA_SUCCESS)
        return result;
    return vgpu_ptx_mem_free(ctx->machine, ptr) == VGPU_PTX_OK ? CUDA_SUCCESS
                                                               : CUDA_ERROR_INVALID_VALUE;
}

FAKE_EXPORT CUresult cuMemHostAlloc(void **ptr, size_t bytes, unsigned int flags)
{
    struct CUctx_st *ctx;
    CUresult result;

    (void)flags;
    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_PINNING);
    if (bytes == 0 || posix_memalign(ptr, PAGE, bytes) != 0)
        return bytes == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
    result = pinned_add(ctx, *ptr, bytes, true);
    if (result != CUDA_SUCCESS)
        free(*ptr);
    return result;
}

FAKE_EXPORT CUresult cuMemFreeHost(void *ptr)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (!pinned_remove(ctx, ptr, true))
        return CUDA_ERROR_INVALID_VALUE;
    free(ptr);
    return CUDA_SUCCESS;
}

/* "On platforms without CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
 * CU_MEMHOSTREGISTER_READ_ONLY is required in order to register memory mapped to the CPU as read-only", and "using
 * this flag with ... a device that does not have [READ_ONLY_HOST_REGISTER_SUPPORTED] set will cause
 * cuMemHostRegister to error with CUDA_ERROR_NOT_SUPPORTED".  Pages are made present as pinning them does,
 * for the access asked for; which error it is that can't be had is not documented. */
FAKE_EXPORT CUresult cuMemHostRegister_v2(void *ptr, size_t bytes, unsigned int flags)
{
    const bool read_only = flags & CU_MEMHOSTREGISTER_READ_ONLY;
    uintptr_t first = (uintptr_t)ptr & ~(uintptr_t)(PAGE - 1);
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_REGISTERING);
    if (!ptr || bytes == 0 || (flags & ~FAKE_REGISTER_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    if (read_only && !fake_registers_read_only())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (pinned_overlaps(ctx, ptr, bytes))
        return FAKE_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    if (madvise((void *)first, (uintptr_t)ptr + bytes - first,
                read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE) < 0)
        return CUDA_ERROR_INVALID_VALUE;
    return pinned_add(ctx, ptr, bytes, false);
}

FAKE_EXPORT CUresult cuMemHostUnregister(void *ptr)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    return pinned_remove(ctx, ptr, false) ? CUDA_SUCCESS : FAKE_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

static bool device_has(struct CUctx_st *ctx, CUdeviceptr ptr, size_t bytes)
{
    return vgpu_ptx_mem_translate(ctx->machine, ptr, bytes) != NULL;
}

FAKE_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes,
                                          CUstream stream)
{
    struct CUctx_st *ctx;
    struct fake_op *op;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_TO_DEVICE);
    if (bytes == 0)
        return CUDA_SUCCESS;
    if (!device_has(ctx, dst, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *op = (struct fake_op){.kind = FAKE_COPY, .host_src = src, .dev_dst = dst, .bytes = bytes};
    if (!pinned_find(ctx, src, bytes)) {
        op->owned = malloc(bytes);
        if (!op->owned) {
            free(op);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        memcpy(op->owned, src, bytes);
        op->host_src = op->owned;
    }
    return fake_enqueue(ctx, stream, op);
}

FAKE_EXPORT CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    struct CUctx_st *ctx;
    struct fake_op *op;
    CUresult result;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_FROM_DEVICE);
    if (bytes == 0)
        return CUDA_SUCCESS;
    if (!device_has(ctx, src, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (op)
        *op = (struct fake_op){.kind = FAKE_COPY, .host_dst = dst, .dev_src = src, .bytes = bytes};
    result = fake_enqueue(ctx, stream, op);
    if (result == CUDA_SUCCESS && !pinned_find(ctx, dst, bytes))
        result = fake_wait_idle(ctx, stream);
    return result;
}

FAKE_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                                          CUstream stream)
{
    struct CUctx_st *ctx;
    struct fake_op *op;

    FAKE_ENTER(ctx);
    if (bytes == 0)
        return CUDA_SUCCESS;
    if (!device_has(ctx, dst, bytes) || !device_has(ctx, src, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (op)
        *op = (struct fake_op){.kind = FAKE_COPY, .dev_dst = dst, .dev_src = src, .bytes = bytes};
    return fake_enqueue(ctx, stream, op);
}

static CUresult set(const char *function, CUdeviceptr dst, uint32_t value, uint32_t width,
                    size_t count, CUstream stream)
{
    struct CUctx_st *ctx;
    struct fake_op *op;
    CUresult result = fake_enter(function, &ctx);

    if (result == FAKE_SKIP)
        return CUDA_SUCCESS;
    if (result != CUDA_SUCCESS || count == 0)
        return result;
    FAKE_USE(FAKE_FILLS);
    if (dst % width != 0 || count > SIZE_MAX / width || !device_has(ctx, dst, count * width))
        return CUDA_ERROR_INVALID_VALUE;
    op = calloc(1, sizeof(*op));
    if (op)
        *op = (struct fake_op){
            .kind = FAKE_SET, .dev_dst = dst, .value = value, .width = width, .bytes = count};
    return fake_enqueue(ctx, stream, op);
}

FAKE_EXPORT CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char v, size_t count,
                                     CUstream stream)
{
    return set(__func__, dst, v, 1, count, stream);
}

FAKE_EXPORT CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short v, size_t count,
                                      CUstream stream)
{
    return set(__func__, dst, v, 2, count, stream);
}

FAKE_EXPORT CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int v, size_t count,
                                      CUstream stream)
{
    return set(__func__, dst, v, 4, count, stream);
}
