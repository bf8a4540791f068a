/* SPDX-License-Identifier: MIT */
/*
 * Warming the driver up: one vector add, with everything a context will use later.
 *
 * A driver opens devices, loads its compiler and starts threads when they are needed first.  That
 * must happen before the process locks itself in, so open() ends with a computation that goes all
 * the way: page-locked memory, a foreign page registered, PTX compiled, copies both ways,
 * a launch of a kernel that could print, a blocking wait.  The sums are compared, so that it is the
 * probe's last check as well: what is proved there is what every context does.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <exec/cuda/cuda_exec.h>

#define WARM_THREADS  256u
#define WARM_ELEMENTS 4096u
#define WARM_BYTES    (WARM_ELEMENTS * sizeof(uint32_t))

/* c[i] = a[i] + b[i] for i < n, in the oldest PTX every supported driver compiles.  It would print
 * were n 0.  No name is an instruction's: those are reserved (PTX ISA, "Reserved Keywords"). */
static const char warm_ptx[] =
    ".version 6.0\n.target sm_50\n.address_size 64\n"
    ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
    ".global .align 1 .b8 nothing[2] = {10, 0};\n"
    ".visible .entry probe_add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)\n"
    "{\n"
    "  .reg .pred %p<2>;\n  .reg .b32 %r<9>;\n  .reg .b64 %d<9>;\n"
    "  ld.param.u64 %d1, [a];\n  ld.param.u64 %d2, [b];\n  ld.param.u64 %d3, [c];\n"
    "  ld.param.u32 %r1, [n];\n"
    "  setp.ne.u32 %p1, %r1, 0;\n  @%p1 bra sum;\n"
    "  mov.u64 %d4, nothing;\n  cvta.global.u64 %d4, %d4;\n  mov.u64 %d5, 0;\n"
    "  {\n  .param .b64 f;\n  .param .b64 v;\n  .param .b32 r;\n"
    "  st.param.b64 [f], %d4;\n  st.param.b64 [v], %d5;\n  call.uni (r), vprintf, (f, v);\n  }\n"
    "sum:\n"
    "  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %ntid.x;\n  mov.u32 %r4, %tid.x;\n"
    "  mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "  setp.ge.u32 %p1, %r5, %r1;\n  @%p1 bra done;\n"
    "  mul.wide.u32 %d4, %r5, 4;\n"
    "  add.s64 %d5, %d1, %d4;\n  add.s64 %d6, %d2, %d4;\n  add.s64 %d7, %d3, %d4;\n"
    "  ld.global.u32 %r6, [%d5];\n  ld.global.u32 %r7, [%d6];\n"
    "  add.u32 %r8, %r6, %r7;\n  st.global.u32 [%d7], %r8;\n"
    "done:\n  ret;\n}\n";

struct warm {
    CUdeviceptr dev; /* a, b and c */
    void *pinned;    /* the same on the host */
    CUmodule module;
    CUevent done;
};

/* Memory of each kind. */
static CUresult warm_memory(struct vgpu_exec *exec, struct warm *warm)
{
    const struct vgpu_cu *cu = &exec->cu;
    void *page;
    CUresult result = cu->cuMemAlloc_v2(&warm->dev, 3 * WARM_BYTES);

    if (result == CUDA_SUCCESS)
        result = cu->cuMemsetD8Async(warm->dev, 0, 3 * WARM_BYTES, exec->chores);
    if (result == CUDA_SUCCESS)
        result = cu->cuMemHostAlloc(&warm->pinned, 3 * WARM_BYTES, 0);
    if (result != CUDA_SUCCESS)
        return result;
    page = mmap(NULL, WARM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* That a host can't register memory is no reason to refuse it: copies are staged then. */
    if (cu->cuMemHostRegister_v2(page, WARM_BYTES, 0) == CUDA_SUCCESS)
        result = cu->cuMemHostUnregister(page);
    munmap(page, WARM_BYTES);
    return result;
}

static CUresult warm_add(struct vgpu_exec *exec, struct warm *warm, CUfunction func)
{
    const struct vgpu_cu *cu = &exec->cu;
    struct {
        uint64_t a, b, c;
        uint32_t n;
    } params = {warm->dev, warm->dev + WARM_BYTES, warm->dev + 2 * WARM_BYTES, WARM_ELEMENTS};
    size_t bytes = 28;
    void *extra[] = {VGPU_CU_LAUNCH_PARAM_BUFFER_POINTER, &params, VGPU_CU_LAUNCH_PARAM_BUFFER_SIZE,
                     &bytes, VGPU_CU_LAUNCH_PARAM_END};
    uint32_t *host = warm->pinned;
    CUresult result;

    for (uint32_t i = 0; i < 2 * WARM_ELEMENTS; i++)
        host[i] = i * 2654435761u;
    result = cu->cuMemcpyHtoDAsync_v2(warm->dev, host, 2 * WARM_BYTES, exec->chores);
    if (result == CUDA_SUCCESS)
        result = cu->cuLaunchKernel(func, WARM_ELEMENTS / WARM_THREADS, 1, 1, WARM_THREADS, 1, 1, 0,
                                    exec->chores, NULL, extra);
    if (result == CUDA_SUCCESS)
        result =
            cu->cuMemcpyDtoHAsync_v2(host + 2 * WARM_ELEMENTS, params.c, WARM_BYTES, exec->chores);
    if (result == CUDA_SUCCESS)
        result = cu->cuEventCreate(&warm->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
    if (result == CUDA_SUCCESS)
        result = cu->cuEventRecord(warm->done, exec->chores);
    if (result == CUDA_SUCCESS)
        result = cu->cuEventSynchronize(warm->done);
    /* What was queued before a call that failed still uses the memory, which goes next. */
    if (result != CUDA_SUCCESS)
        (void)cu->cuStreamSynchronize(exec->chores);
    return result;
}

static CUresult first_error(CUresult before, CUresult result)
{
    return before == CUDA_SUCCESS ? result : before;
}

/* All of it, whatever fails; the first error.  The module goes last: tests count driver calls from
 * there on. */
static CUresult warm_free(struct vgpu_exec *exec, struct warm *warm)
{
    const struct vgpu_cu *cu = &exec->cu;
    CUresult result = CUDA_SUCCESS;

    if (warm->done)
        result = first_error(result, cu->cuEventDestroy_v2(warm->done));
    if (warm->pinned)
        result = first_error(result, cu->cuMemFreeHost(warm->pinned));
    if (warm->dev)
        result = first_error(result, cu->cuMemFree_v2(warm->dev));
    if (warm->module)
        result = first_error(result, cu->cuModuleUnload(warm->module));
    return result;
}

static bool sums_are_right(const uint32_t *host)
{
    for (uint32_t i = 0; i < WARM_ELEMENTS; i++) {
        if (host[2 * WARM_ELEMENTS + i] != host[i] + host[WARM_ELEMENTS + i])
            return false;
    }
    return true;
}

int cuda_warm_up(struct vgpu_exec *exec, char *why, size_t why_bytes)
{
    const struct vgpu_cu *cu = &exec->cu;
    struct warm warm = {0};
    const char *what = "allocating memory";
    CUresult result = warm_memory(exec, &warm);
    bool computed = false;
    CUresult freed;
    CUfunction func;
    char text[160];

    if (result == CUDA_SUCCESS) {
        what = "compiling a PTX kernel";
        result = cu->cuModuleLoadDataEx(&warm.module, warm_ptx, 0, NULL, NULL);
    }
    if (result == CUDA_SUCCESS)
        result = cu->cuModuleGetFunction(&func, warm.module, "probe_add");
    if (result == CUDA_SUCCESS) {
        what = "running a kernel";
        result = warm_add(exec, &warm, func);
        computed = result == CUDA_SUCCESS && sums_are_right(warm.pinned);
    }
    freed = warm_free(exec, &warm);
    if (result == CUDA_SUCCESS && !computed) {
        snprintf(why, why_bytes, "the GPU's sums are wrong: it must not be used");
        return -EIO;
    }
    if (result == CUDA_SUCCESS) {
        what = "giving back what the first kernel used";
        result = freed;
    }
    if (result == CUDA_SUCCESS)
        return 0;
    snprintf(why, why_bytes, "%s: %s", what, vgpu_cu_error(cu, result, text, sizeof(text)));
    return -EIO;
}
