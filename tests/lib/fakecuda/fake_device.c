/* SPDX-License-Identifier: MIT */
/*
 * Driver API chapters "Error Handling", "Initialization", "Version Management", "Device
 * Management" and "Context Management".
 *
 * The environment describes the machine: VGPU_FAKECUDA_DEVICES (number of GPUs, default 1; 0 is a
 * host whose driver finds none), VGPU_FAKECUDA_MEMORY (bytes each, default 1 GiB),
 * VGPU_FAKECUDA_CONTEXT (bytes of it that a context takes for itself, default 0),
 * VGPU_FAKECUDA_HMM (1: kernels may access pageable memory), VGPU_FAKECUDA_COMPUTE_MODE (a
 * CUcomputemode), VGPU_FAKECUDA_READ_ONLY (0: can't register memory for reading only),
 * VGPU_FAKECUDA_IDLE (seconds by which a context's events are later than its first: a pause),
 * VGPU_FAKECUDA_NAME (instead of "fake CUDA device N").  vgpud hands none of these on to its processes, so what the environment
 * does not have is looked for in LIBRARY.conf beside the library, lines of NAME=VALUE.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include "fake.h"

_Thread_local struct CUctx_st *fake_current;
static bool initialised;
static atomic_int contexts;

uint64_t fake_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static char settings[4096]; /* lines ended by NUL, and an empty one */
static pthread_once_t settings_read = PTHREAD_ONCE_INIT;

static void read_settings(void)
{
    char path[4096];
    Dl_info library;
    FILE *file;
    size_t used;

    if (!dladdr(settings, &library) || !library.dli_fname)
        return;
    snprintf(path, sizeof(path), "%s.conf", library.dli_fname);
    file = fopen(path, "re");
    if (!file)
        return;
    used = fread(settings, 1, sizeof(settings) - 2, file);
    fclose(file);
    for (size_t i = 0; i < used; i++) {
        if (settings[i] == '\n')
            settings[i] = '\0';
    }
}

const char *fake_setting(const char *name)
{
    const char *text = getenv(name);
    size_t length = strlen(name);

    if (text)
        return text;
    pthread_once(&settings_read, read_settings);
    for (const char *line = settings; *line; line += strlen(line) + 1) {
        if (strncmp(line, name, length) == 0 && line[length] == '=')
            return line + length + 1;
    }
    return NULL;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = fake_setting(name);

    return text && text[0] ? strtoull(text, NULL, 0) : otherwise;
}

/* A real driver opens files and starts threads when a part of it is needed first.  What a filter of
 * system calls does to that is the caller's doing. */
CUresult fake_use(enum fake_part part)
{
    static atomic_bool used[FAKE_PARTS];

    if (atomic_exchange(&used[part], true) || prctl(PR_GET_SECCOMP) == 0)
        return CUDA_SUCCESS;
    fprintf(stderr, "fakecuda: part %d is used first behind a filter of system calls\n", part);
    return FAKE_ERROR_OPERATING_SYSTEM;
}

uint64_t fake_memory_bytes(void)
{
    return setting("VGPU_FAKECUDA_MEMORY", 1ull << 30);
}

bool fake_registers_read_only(void)
{
    return setting("VGPU_FAKECUDA_READ_ONLY", 1) != 0;
}

/* What the contexts of this process take for themselves. */
uint64_t fake_contexts_bytes(void)
{
    return (uint64_t)atomic_load(&contexts) * setting("VGPU_FAKECUDA_CONTEXT", 0);
}

/* Beside what it allocated: the printf FIFO and the heap, once something that may use them is loaded. */
uint64_t fake_used_bytes(struct CUctx_st *ctx)
{
    return fake_contexts_bytes() + fake_local_bytes(ctx) + vgpu_ptx_mem_held(ctx->machine) +
           (ctx->has_heap ? ctx->heap_bytes : 0) + (ctx->has_fifo ? ctx->print.limit : 0);
}

bool fake_has_room(struct CUctx_st *ctx, uint64_t bytes)
{
    uint64_t used = fake_used_bytes(ctx), all = fake_memory_bytes();

    return used <= all && bytes <= all - used;
}

uint64_t fake_idle_ns(void)
{
    return setting("VGPU_FAKECUDA_IDLE", 0) * 1000000000u;
}

static int device_count(void)
{
    return (int)setting("VGPU_FAKECUDA_DEVICES", 1);
}

/* Every call that needs a context: the plan first, then what the documentation says of a context
 * that has been lost ("the process must be terminated and relaunched"). */
CUresult fake_enter(const char *function, struct CUctx_st **ctx)
{
    CUresult planned = fake_plan(function);

    if (planned != CUDA_SUCCESS)
        return planned;
    if (!initialised)
        return FAKE_ERROR_NOT_INITIALIZED;
    if (!fake_current)
        return FAKE_ERROR_INVALID_CONTEXT;
    *ctx = fake_current;
    return __atomic_load_n(&fake_current->sticky, __ATOMIC_ACQUIRE);
}

/* Functions that destroy may return the error of an earlier launch, as most do (driver API, notes on their results):
 * such an error is not about the object, which goes. */
bool fake_enter_destroy(const char *function, struct CUctx_st *ctx, CUresult *result)
{
    CUresult planned = fake_plan(function);

    *result = planned == FAKE_SKIP || planned == CUDA_SUCCESS
                  ? __atomic_load_n(&ctx->sticky, __ATOMIC_ACQUIRE)
                  : planned;
    return planned == CUDA_SUCCESS || fake_is_sticky(planned);
}

static CUresult enter_device(const char *function, CUdevice dev)
{
    CUresult planned = fake_plan(function);

    if (planned != CUDA_SUCCESS)
        return planned;
    if (!initialised)
        return FAKE_ERROR_NOT_INITIALIZED;
    return dev >= 0 && dev < device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {FAKE_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {FAKE_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {FAKE_ERROR_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM",
     "OS call failed or operation not supported on this OS"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT",
     "the launch timed out and was terminated"},
    {CUDA_ERROR_ASSERT, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
    {CUDA_ERROR_HARDWARE_STACK_ERROR, "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"},
    {CUDA_ERROR_ILLEGAL_INSTRUCTION, "CUDA_ERROR_ILLEGAL_INSTRUCTION",
     "an illegal instruction was encountered"},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

FAKE_EXPORT CUresult cuGetErrorName(CUresult error, const char **name)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].code == error) {
            *name = errors[i].name;
            return CUDA_SUCCESS;
        }
    }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

FAKE_EXPORT CUresult cuGetErrorString(CUresult error, const char **text)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].code == error) {
            *text = errors[i].text;
            return CUDA_SUCCESS;
        }
    }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

FAKE_EXPORT CUresult cuInit(unsigned int flags)
{
    CUresult planned = fake_plan(__func__);

    if (planned != CUDA_SUCCESS)
        return planned;
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (device_count() == 0)
        return CUDA_ERROR_NO_DEVICE;
    initialised = true;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuDriverGetVersion(int *version)
{
    *version = 13000;
    return fake_plan(__func__);
}

FAKE_EXPORT CUresult cuDeviceGetCount(int *count)
{
    if (!initialised)
        return FAKE_ERROR_NOT_INITIALIZED;
    *count = device_count();
    return fake_plan(__func__);
}

FAKE_EXPORT CUresult cuDeviceGet(CUdevice *dev, int ordinal)
{
    CUresult result = enter_device(__func__, ordinal);

    if (result == CUDA_SUCCESS)
        *dev = ordinal;
    return result;
}

FAKE_EXPORT CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
    const char *given = fake_setting("VGPU_FAKECUDA_NAME");
    CUresult result = enter_device(__func__, dev);

    if (result == CUDA_SUCCESS && len > 0 && given)
        snprintf(name, (size_t)len, "%s", given);
    else if (result == CUDA_SUCCESS && len > 0)
        snprintf(name, (size_t)len, "fake CUDA device %d", dev);
    return result;
}

FAKE_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    CUresult result = enter_device(__func__, dev);

    for (int i = 0; i < 16 && result == CUDA_SUCCESS; i++)
        uuid->bytes[i] = (char)(0x10 * (dev + 1) + i);
    return result;
}

FAKE_EXPORT CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
    CUresult result = enter_device(__func__, dev);

    if (result == CUDA_SUCCESS)
        snprintf(id, (size_t)len, "0000:%02X:00.0", 0x41 + dev);
    return result;
}

FAKE_EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    *bytes = fake_memory_bytes();
    return enter_device(__func__, dev);
}

FAKE_EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice dev)
{
    CUresult result = enter_device(__func__, dev);

    if (result != CUDA_SUCCESS)
        return result;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = FAKE_PROCESSORS; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = FAKE_THREADS; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
        *value = (int)setting("VGPU_FAKECUDA_COMPUTE_MODE", 0);
        break;
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
        *value = (int)setting("VGPU_FAKECUDA_HMM", 0);
        break;
    case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
        *value = fake_registers_read_only();
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = (int)VGPU_PTX_MAX_SHARED_BYTES;
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice dev)
{
    struct vgpu_ptx_options options = {.mem_limit_bytes = fake_memory_bytes()};
    CUresult result = enter_device(__func__, dev);
    struct CUctx_st *ctx;

    (void)flags;
    if (result != CUDA_SUCCESS)
        return result;
    ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return CUDA_ERROR_OUT_OF_MEMORY;
    options.print = fake_print_put;
    options.user = ctx;
    if (vgpu_ptx_machine_create(&options, &ctx->machine) != VGPU_PTX_OK) {
        free(ctx);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    ctx->heap_bytes = FAKE_HEAP_BYTES;
    fake_print_open(ctx);
    pthread_mutex_init(&ctx->lock, NULL);
    pthread_cond_init(&ctx->progress, NULL);
    ctx->device = dev;
    atomic_fetch_add(&contexts, 1);
    ctx->null_stream = fake_stream_open(ctx, false);
    /* "the context is created and pushed": destroying the current one pops it */
    ctx->below = fake_current;
    fake_current = ctx;
    *out = ctx;
    return ctx->null_stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FAKE_EXPORT CUresult cuCtxDestroy_v2(CUcontext ctx)
{
    CUresult planned = fake_plan(__func__);

    if (!ctx)
        return FAKE_ERROR_INVALID_CONTEXT;
    if (planned != CUDA_SUCCESS && !fake_is_sticky(planned))
        return planned == FAKE_SKIP ? CUDA_SUCCESS : planned;
    __atomic_store_n(&ctx->cancel, 1, __ATOMIC_RELEASE);
    while (ctx->streams)
        fake_stream_close(ctx->streams);
    fake_pinned_free(ctx);
    vgpu_ptx_machine_destroy(ctx->machine);
    fake_print_close(ctx);
    pthread_cond_destroy(&ctx->progress);
    pthread_mutex_destroy(&ctx->lock);
    if (fake_current == ctx)
        fake_current = ctx->below;
    atomic_fetch_sub(&contexts, 1);
    free(ctx);
    return planned;
}

FAKE_EXPORT CUresult cuCtxSetCurrent(CUcontext ctx)
{
    fake_current = ctx;
    return fake_plan(__func__);
}

FAKE_EXPORT CUresult cuCtxSetLimit(int limit, size_t value)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (limit == CU_LIMIT_PRINTF_FIFO_SIZE)
        return fake_print_limit(ctx, value);
    if (limit == CU_LIMIT_STACK_SIZE)
        return fake_local_resize(ctx, (uint32_t)value);
    /* "... must be performed before launching any kernel that uses the malloc() or free() device system
     * calls, otherwise CUDA_ERROR_INVALID_VALUE will be returned." */
    if (limit != CU_LIMIT_MALLOC_HEAP_SIZE || ctx->has_heap)
        return CUDA_ERROR_INVALID_VALUE;
    ctx->heap_bytes = value;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}
