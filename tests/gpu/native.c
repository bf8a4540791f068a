/* SPDX-License-Identifier: MIT */
/*
 * The native side: what a plain program does with the driver API, and nothing of vgpu.
 *
 * One context, its default stream, page-locked host memory.  The JIT cache is off for both sides,
 * so that loading a module means the same on both.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct native_side {
    struct gpu_side side;
    const struct vgpu_cu *cu;
    CUcontext ctx;
    CUstream stream;
    CUevent event[2];
};

static struct native_side *of(struct gpu_side *side)
{
    return (struct native_side *)side;
}

static int result_of(struct gpu_side *side, CUresult result, const char *what)
{
    char text[200];

    if (result == CUDA_SUCCESS)
        return 0;
    snprintf(side->why, sizeof(side->why), "native: %s: %s", what,
             vgpu_cu_error(of(side)->cu, result, text, sizeof(text)));
    return -1;
}

static bool is_device(struct gpu_native *n, const char *wanted)
{
    /* NVIDIA prints the domain with 8 digits in places, 4 elsewhere. */
    size_t have = strlen(n->pci), want = strlen(wanted);

    /* a MIG instance's UUID differs in its prefix alone */
    return (want == strlen(n->uuid) && !strcasecmp(wanted + 4, n->uuid + 4) &&
            (!strncasecmp(wanted, "GPU-", 4) || !strncasecmp(wanted, "MIG-", 4))) ||
           (want >= 7 && want <= have && !strcasecmp(n->pci + have - want, wanted));
}

static int identify(struct gpu_native *n, CUdevice device)
{
    CUuuid uuid;

    n->device = device;
    if (n->cu.cuDeviceGetName(n->name, sizeof(n->name), device) != CUDA_SUCCESS ||
        n->cu.cuDeviceGetUuid_v2(&uuid, device) != CUDA_SUCCESS ||
        n->cu.cuDeviceGetPCIBusId(n->pci, sizeof(n->pci), device) != CUDA_SUCCESS ||
        n->cu.cuDeviceTotalMem_v2(&n->memory_bytes, device) != CUDA_SUCCESS)
        return -1;
    snprintf(n->uuid, sizeof(n->uuid), "GPU");
    for (int i = 0; i < 16; i++) {
        size_t used = strlen(n->uuid);

        snprintf(n->uuid + used, sizeof(n->uuid) - used, "%s%02x",
                 i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                 (unsigned char)uuid.bytes[i]);
    }
    return 0;
}

int gpu_native_open(struct gpu_native *n, const struct gpu_options *options)
{
    int count = 0, found = 0;
    char why[400], text[200];
    CUresult result;

    memset(n, 0, sizeof(*n));
    setenv("CUDA_CACHE_DISABLE", "1", 1);
    if (vgpu_cu_load(&n->cu, why, sizeof(why)) < 0) {
        gpu_check(GPU_FAIL, "driver", "%s", why);
        return -1;
    }
    result = n->cu.cuInit(0);
    if (result == CUDA_SUCCESS)
        result = n->cu.cuDriverGetVersion(&n->driver);
    if (result == CUDA_SUCCESS)
        result = n->cu.cuDeviceGetCount(&count);
    if (result != CUDA_SUCCESS) {
        gpu_check(GPU_FAIL, "driver", "%s", vgpu_cu_error(&n->cu, result, text, sizeof(text)));
        return -1;
    }
    for (int i = 0; i < count && !found; i++) {
        CUdevice device;

        if (n->cu.cuDeviceGet(&device, i) != CUDA_SUCCESS || identify(n, device) < 0)
            continue;
        found = options->device ? is_device(n, options->device) : count == 1;
    }
    if (!found) {
        gpu_check(GPU_FAIL, "device",
                  options->device ? "none of %d devices is %s"
                                  : "%d devices: name one by its UUID%s",
                  count, options->device ? options->device : "");
        return -1;
    }
    return 0;
}

static int native_alloc(struct gpu_side *side, size_t bytes, uint64_t *addr)
{
    CUdeviceptr ptr = 0;
    int ret = result_of(side, of(side)->cu->cuMemAlloc_v2(&ptr, bytes), "cuMemAlloc");

    *addr = ptr;
    return ret;
}

static int native_release(struct gpu_side *side, uint64_t addr)
{
    return result_of(side, of(side)->cu->cuMemFree_v2(addr), "cuMemFree");
}

static int native_copy(struct gpu_side *side, uint64_t addr, size_t bytes, bool to_device)
{
    struct native_side *n = of(side);
    CUresult result = to_device ? n->cu->cuMemcpyHtoDAsync_v2(addr, side->host, bytes, n->stream)
                                : n->cu->cuMemcpyDtoHAsync_v2(side->host, addr, bytes, n->stream);

    if (result == CUDA_SUCCESS)
        result = n->cu->cuStreamSynchronize(n->stream);
    return result_of(side, result, "copy");
}

static int native_load(struct gpu_side *side, const char *image, size_t bytes, uint64_t *module)
{
    int options[] = {CU_JIT_OPTIMIZATION_LEVEL};
    void *values[] = {NULL}; /* level 0: the number itself, in a pointer's place */
    CUmodule mod = NULL;
    int ret;

    (void)bytes; /* the image ends in NUL */
    ret =
        result_of(side, of(side)->cu->cuModuleLoadDataEx(&mod, image, side->plain, options, values),
                  "cuModuleLoadDataEx");
    *module = (uintptr_t)mod;
    return ret;
}

static int native_unload(struct gpu_side *side, uint64_t module)
{
    return result_of(side, of(side)->cu->cuModuleUnload((CUmodule)(uintptr_t)module),
                     "cuModuleUnload");
}

static int native_function(struct gpu_side *side, uint64_t module, const char *name,
                           uint64_t *function)
{
    CUfunction func = NULL;
    int ret = result_of(
        side, of(side)->cu->cuModuleGetFunction(&func, (CUmodule)(uintptr_t)module, name), name);

    *function = (uintptr_t)func;
    return ret;
}

static int native_prepare(struct gpu_side *side, struct gpu_job *job)
{
    (void)side;
    (void)job;
    return 0;
}

static int native_launch(struct gpu_side *side, const struct gpu_job *job, uint64_t count)
{
    struct native_side *n = of(side);
    uint8_t params[sizeof(job->params)];
    size_t bytes = job->param_bytes;
    void *extra[] = {VGPU_CU_LAUNCH_PARAM_BUFFER_POINTER, params, VGPU_CU_LAUNCH_PARAM_BUFFER_SIZE,
                     &bytes, VGPU_CU_LAUNCH_PARAM_END};
    CUresult result = CUDA_SUCCESS;

    memcpy(params, job->params, sizeof(params));
    for (uint64_t i = 0; i < count && result == CUDA_SUCCESS; i++)
        result =
            n->cu->cuLaunchKernel((CUfunction)(uintptr_t)job->function, job->grid, 1, 1, job->block,
                                  1, 1, 0, n->stream, NULL, bytes > 0 ? extra : NULL);
    return result_of(side, result, "cuLaunchKernel");
}

static int native_sync(struct gpu_side *side)
{
    return result_of(side, of(side)->cu->cuStreamSynchronize(of(side)->stream),
                     "cuStreamSynchronize");
}

static int native_kernel_ns(struct gpu_side *side, const struct gpu_job *job, uint64_t count,
                            double *ns)
{
    struct native_side *n = of(side);
    float ms = 0;

    if (result_of(side, n->cu->cuEventRecord(n->event[0], n->stream), "cuEventRecord") < 0 ||
        native_launch(side, job, count) < 0 ||
        result_of(side, n->cu->cuEventRecord(n->event[1], n->stream), "cuEventRecord") < 0 ||
        result_of(side, n->cu->cuEventSynchronize(n->event[1]), "cuEventSynchronize") < 0 ||
        result_of(side, n->cu->cuEventElapsedTime(&ms, n->event[0], n->event[1]),
                  "cuEventElapsedTime") < 0)
        return -1;
    *ns = (double)ms * 1e6;
    return 0;
}

static void native_close(struct gpu_side *side)
{
    struct native_side *n = of(side);

    if (side->host)
        n->cu->cuMemFreeHost(side->host);
    if (n->ctx)
        n->cu->cuCtxDestroy_v2(n->ctx);
    free(n);
}

struct gpu_side *gpu_side_native(const struct gpu_native *native, size_t host_bytes)
{
    struct native_side *n = calloc(1, sizeof(*n));
    void *host = NULL;

    if (!n)
        return NULL;
    n->side = (struct gpu_side){
        .name = "native",
        .host_bytes = host_bytes,
        .alloc = native_alloc,
        .release = native_release,
        .copy = native_copy,
        .load = native_load,
        .unload = native_unload,
        .function = native_function,
        .prepare = native_prepare,
        .launch = native_launch,
        .sync = native_sync,
        .kernel_ns = native_kernel_ns,
        .close = native_close,
    };
    n->cu = &native->cu;
    if (result_of(&n->side, n->cu->cuCtxCreate_v2(&n->ctx, 0, native->device), "cuCtxCreate") < 0 ||
        result_of(&n->side,
                  n->cu->cuStreamCreateWithPriority(&n->stream, CU_STREAM_NON_BLOCKING, 0),
                  "cuStreamCreate") < 0 ||
        result_of(&n->side, n->cu->cuEventCreate(&n->event[0], CU_EVENT_DEFAULT), "cuEventCreate") <
            0 ||
        result_of(&n->side, n->cu->cuEventCreate(&n->event[1], CU_EVENT_DEFAULT), "cuEventCreate") <
            0)
        goto fail;
    if (host_bytes &&
        result_of(&n->side, n->cu->cuMemHostAlloc(&host, host_bytes, 0), "cuMemHostAlloc") < 0)
        goto fail;
    n->side.host = host;
    return &n->side;

fail:
    gpu_progress("%s", n->side.why);
    native_close(&n->side);
    return NULL;
}
