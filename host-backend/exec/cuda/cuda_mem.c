/* SPDX-License-Identifier: MIT */
/*
 * Device memory of a context, its accounting and the check of addresses.
 *
 * Accounting follows what CUDA really takes from the device: allocations of 1 MiB and more come
 * in 2 MiB pages of their own; smaller ones share 2 MiB pages, so their sum is counted, rounded up to
 * whole pages.  The quota is taken before CUDA is asked and given back after.
 *
 * What the context itself takes, hundreds of MiB of a real GPU, was measured by the probe and is held
 * from the start; it is given back with all the rest when the process ends.
 *
 * Kernels' local memory: the driver keeps a pool with room for every thread that can be resident on the
 * GPU at once, and lets it grow, but never shrink, to the kernel that needs most ("CUDA Driver API",
 * cuCtxCreate, CU_CTX_LMEM_RESIZE_TO_MAX).  A few KiB a thread are gigabytes: they are taken from the quota
 * when such a kernel is first to be launched.  A first share of CUDA_STACK_BYTES is part of what the
 * probe measured.
 *
 * Modules: the driver does not tell what one takes, and free memory changes by what others do.  What
 * its image declares is counted before it is loaded (cuda_image_needs()), in pages shared with small
 * allocations.  The heap for malloc in kernels is counted once, with the first module that calls it,
 * at whose load CUDA allocates it (CUDA programming guide, "Heap Memory Allocation").  The printf
 * buffer is part of what the probe measured, whose kernel could print.
 *
 * The memory that overlapping copies go through is counted once for each stream that has some at the
 * same time.
 *
 * Memory is cleared before the guest learns its address: what another tenant left there is never
 * seen.  Addresses in commands are checked against the context's own allocations and module
 * variables; a kernel's accesses are checked by the GPU, whose address space holds nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <exec/cuda/cuda_exec.h>

/* `counted` of memory that belongs to a module: not ours to free, the handle is kept above. */
#define OF_MODULE (1ull << 63)
/* More than any device has, and rounding it up can't overflow. */
#define CUDA_MAX_BYTES (1ull << 48)

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) & ~(to - 1);
}

/* Index of the first allocation whose address is above `addr`. */
static uint32_t alloc_above(const struct vgpu_exec *exec, uint64_t addr)
{
    uint32_t low = 0;
    uint32_t high = exec->alloc_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (exec->allocs[mid].addr > addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static bool alloc_insert(struct vgpu_exec *exec, struct cuda_alloc alloc)
{
    uint32_t at;

    if (exec->alloc_count == exec->alloc_room) {
        uint32_t room = exec->alloc_room ? exec->alloc_room * 2 : 64;
        struct cuda_alloc *grown;

        if (room > CUDA_MAX_ALLOCS)
            room = CUDA_MAX_ALLOCS;
        if (exec->alloc_count == room)
            return false;
        grown = realloc(exec->allocs, room * sizeof(*grown));
        if (!grown)
            return false;
        exec->allocs = grown;
        exec->alloc_room = room;
    }
    at = alloc_above(exec, alloc.addr);
    memmove(&exec->allocs[at + 1], &exec->allocs[at],
            (exec->alloc_count - at) * sizeof(*exec->allocs));
    exec->allocs[at] = alloc;
    exec->alloc_count++;
    return true;
}

static void alloc_erase(struct vgpu_exec *exec, uint32_t at)
{
    memmove(&exec->allocs[at], &exec->allocs[at + 1],
            (exec->alloc_count - at - 1) * sizeof(*exec->allocs));
    exec->alloc_count--;
}

static bool quota_take(struct vgpu_exec *exec, uint64_t bytes)
{
    if (bytes > 0 && exec->cfg.quota_take(exec->cfg.opaque, bytes) < 0)
        return false;
    exec->held += bytes;
    return true;
}

static void quota_give(struct vgpu_exec *exec, uint64_t bytes)
{
    if (bytes > 0)
        exec->cfg.quota_give(exec->cfg.opaque, bytes);
    exec->held -= bytes;
}

int cuda_mem_open(struct vgpu_exec *exec)
{
    return quota_take(exec, exec->cfg.context_bytes) ? 0 : -EDQUOT;
}

bool cuda_mem_local(struct vgpu_exec *exec, uint32_t bytes)
{
    if (bytes <= exec->local_bytes)
        return true;
    if (!quota_take(exec, (uint64_t)exec->resident_threads * (bytes - exec->local_bytes)))
        return false;
    exec->local_bytes = bytes;
    return true;
}

/* Quota for one more allocation of `bytes`; *counted is what it holds on its own account. */
static bool count_in(struct vgpu_exec *exec, uint64_t bytes, uint64_t *counted)
{
    uint64_t small;

    if (bytes >= CUDA_BIG_BYTES) {
        *counted = round_up(bytes, CUDA_PAGE_BYTES);
        return quota_take(exec, *counted);
    }
    *counted = 0;
    small = round_up(exec->small_bytes + round_up(bytes, CUDA_SMALL_BYTES), CUDA_PAGE_BYTES);
    if (small > exec->small_counted) {
        if (!quota_take(exec, small - exec->small_counted))
            return false;
        exec->small_counted = small;
    }
    exec->small_bytes += round_up(bytes, CUDA_SMALL_BYTES);
    return true;
}

static void count_out(struct vgpu_exec *exec, uint64_t bytes, uint64_t counted)
{
    uint64_t small;

    if (counted > 0) {
        quota_give(exec, counted);
        return;
    }
    exec->small_bytes -= round_up(bytes, CUDA_SMALL_BYTES);
    small = round_up(exec->small_bytes, CUDA_PAGE_BYTES);
    if (small < exec->small_counted) {
        quota_give(exec, exec->small_counted - small);
        exec->small_counted = small;
    }
}

bool cuda_mem_take(struct vgpu_exec *exec, uint64_t bytes)
{
    return quota_take(exec, bytes);
}

void cuda_mem_give(struct vgpu_exec *exec, uint64_t bytes)
{
    quota_give(exec, bytes);
}

bool cuda_mem_module(struct vgpu_exec *exec, struct cuda_module *module)
{
    if (module->needs.bytes > CUDA_MAX_BYTES ||
        !count_in(exec, module->needs.bytes, &module->counted))
        return false;
    if (module->needs.mallocs && !exec->heap_counted) {
        if (!quota_take(exec, CUDA_HEAP_BYTES)) {
            count_out(exec, module->needs.bytes, module->counted);
            return false;
        }
        exec->heap_counted = module->heap = true;
    }
    return true;
}

void cuda_mem_module_gone(struct vgpu_exec *exec, const struct cuda_module *module)
{
    count_out(exec, module->needs.bytes, module->counted);
}

void cuda_mem_module_refused(struct vgpu_exec *exec, struct cuda_module *module)
{
    cuda_mem_module_gone(exec, module);
    if (!module->heap)
        return;
    quota_give(exec, CUDA_HEAP_BYTES);
    exec->heap_counted = module->heap = false;
}

static CUresult clear(struct vgpu_exec *exec, CUdeviceptr addr, uint64_t bytes)
{
    CUresult result = exec->cu.cuMemsetD8Async(addr, 0, bytes, exec->chores);

    /* Other streams are not ordered behind this one: the memory must be clean when its address
     * leaves this function.  Nor is this one behind the guest's: MEM_ALLOC waits for no kernel. */
    return result == CUDA_SUCCESS ? exec->cu.cuStreamSynchronize(exec->chores) : result;
}

static CUresult alloc_cleared(struct vgpu_exec *exec, CUdeviceptr *addr, uint64_t bytes,
                              const char **what)
{
    CUresult result;

    cuda_guard_enter(exec);
    *what = "cuMemAlloc";
    result = exec->cu.cuMemAlloc_v2(addr, bytes);
    if (result == CUDA_SUCCESS) {
        *what = "clearing new memory";
        result = clear(exec, *addr, bytes);
        if (result != CUDA_SUCCESS)
            cuda_release(exec, exec->cu.cuMemFree_v2(*addr), "cuMemFree");
    }
    cuda_guard_leave(exec);
    return result;
}

uint16_t cuda_mem_alloc(struct vgpu_exec *exec, uint64_t bytes, uint64_t *addr)
{
    struct cuda_alloc alloc = {.bytes = bytes};
    const char *what;
    CUresult result;
    uint16_t status;

    if (exec->faulted)
        return exec->fault.status;
    if (bytes == 0 || bytes > CUDA_MAX_BYTES)
        return bytes == 0 ? VGPU_ST_BAD_VALUE : VGPU_ST_OUT_OF_MEMORY;
    if (!count_in(exec, bytes, &alloc.counted))
        return VGPU_ST_OUT_OF_MEMORY;
    result = alloc_cleared(exec, &alloc.addr, bytes, &what);
    if (result != CUDA_SUCCESS) {
        status = cuda_status(exec, result, what);
        goto err_uncount;
    }
    if (alloc_insert(exec, alloc)) {
        *addr = alloc.addr;
        return VGPU_ST_OK;
    }
    cuda_guard_enter(exec);
    cuda_release(exec, exec->cu.cuMemFree_v2(alloc.addr), "cuMemFree");
    cuda_guard_leave(exec);
    status = exec->faulted ? exec->fault.status : VGPU_ST_LIMIT;

err_uncount:
    count_out(exec, bytes, alloc.counted);
    return status;
}

uint16_t cuda_mem_free(struct vgpu_exec *exec, uint64_t addr)
{
    uint32_t above = alloc_above(exec, addr);
    struct cuda_alloc alloc;
    uint16_t status;

    if (exec->faulted)
        return exec->fault.status;
    if (above == 0)
        return VGPU_ST_BAD_ADDRESS;
    alloc = exec->allocs[above - 1];
    if (alloc.addr != addr || (alloc.counted & OF_MODULE))
        return VGPU_ST_BAD_ADDRESS;
    status = cuda_status(exec, exec->cu.cuMemFree_v2(addr), "cuMemFree");
    if (status != VGPU_ST_OK)
        return status;
    alloc_erase(exec, above - 1);
    count_out(exec, alloc.bytes, alloc.counted);
    return VGPU_ST_OK;
}

uint64_t cuda_mem_held(struct vgpu_exec *exec)
{
    return exec->held;
}

bool cuda_mem_valid(struct vgpu_exec *exec, uint64_t addr, uint64_t bytes)
{
    uint32_t above = alloc_above(exec, addr);
    const struct cuda_alloc *alloc;

    if (above == 0)
        return false;
    alloc = &exec->allocs[above - 1];
    return addr - alloc->addr <= alloc->bytes && bytes <= alloc->bytes - (addr - alloc->addr);
}

bool cuda_mem_adopt(struct vgpu_exec *exec, uint64_t addr, uint64_t bytes, uint32_t module)
{
    uint32_t above = alloc_above(exec, addr);

    if (above > 0 && exec->allocs[above - 1].addr == addr)
        return true; /* looked up before */
    return alloc_insert(exec, (struct cuda_alloc){addr, bytes, OF_MODULE | module});
}

void cuda_mem_disown(struct vgpu_exec *exec, uint32_t module)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < exec->alloc_count; i++) {
        if (exec->allocs[i].counted != (OF_MODULE | module))
            exec->allocs[kept++] = exec->allocs[i];
    }
    exec->alloc_count = kept;
}
