/* SPDX-License-Identifier: MIT */
/*
 * Choosing the GPU, creating the context, and the executor's table of operations.
 *
 * A GPU is named by what stays the same when a machine is changed: its UUID ("GPU-...", "MIG-...")
 * or its PCI address.  A bare index is refused, and no name at all is accepted only where there
 * is nothing to choose.
 *
 * Limits on the device's stack, printf buffer and heap are set before anything is launched:
 * they come out of device memory, which the driver reserves for all threads that can be resident.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <exec/cuda/cuda_exec.h>

#define PRINTF_BYTES (1u << 20)

static void uuid_text(const CUuuid *uuid, const char *prefix, char *text, size_t bytes)
{
    const unsigned char *b = (const unsigned char *)uuid->bytes;

    snprintf(text, bytes, "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             prefix, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
             b[12], b[13], b[14], b[15]);
}

/* The driver says 0000:41:00.0, nvidia-smi 00000000:41:00.0, lspci mostly 41:00.0. */
static bool address_matches(const char *has, const char *want)
{
    size_t has_length = strlen(has), length = strlen(want);

    if (length > has_length && strspn(want, "0") >= length - has_length)
        return strcasecmp(has, want + (length - has_length)) == 0;
    return strcasecmp(has, want) == 0 ||
           (has_length > 5 && has[4] == ':' && strcasecmp(has + 5, want) == 0);
}

static bool device_matches(const struct vgpu_cu *cu, CUdevice device, const char *want)
{
    char text[64] = "";
    CUuuid uuid;

    if (cu->cuDeviceGetUuid_v2(&uuid, device) == CUDA_SUCCESS) {
        uuid_text(&uuid, "GPU-", text, sizeof(text));
        if (strcasecmp(text, want) == 0)
            return true;
        uuid_text(&uuid, "MIG-", text, sizeof(text));
        if (strcasecmp(text, want) == 0)
            return true;
    }
    return cu->cuDeviceGetPCIBusId(text, sizeof(text), device) == CUDA_SUCCESS &&
           address_matches(text, want);
}

static bool is_index(const char *want)
{
    while (isdigit((unsigned char)*want))
        want++;
    return *want == '\0';
}

/* The only one. */
static int device_get(const struct vgpu_cu *cu, CUdevice *device, char *why, size_t why_bytes)
{
    CUresult result = cu->cuDeviceGet(device, 0);
    char text[160];

    if (result == CUDA_SUCCESS)
        return 0;
    snprintf(why, why_bytes, "the CUDA device can't be had: %s",
             vgpu_cu_error(cu, result, text, sizeof(text)));
    return -ENODEV;
}

int cuda_choose_device(const struct vgpu_cu *cu, const char *want, CUdevice *device, char *why,
                       size_t why_bytes)
{
    int count = 0;
    CUresult result = cu->cuDeviceGetCount(&count);
    char text[160];

    if (result != CUDA_SUCCESS || count == 0) {
        snprintf(why, why_bytes, "no CUDA device: %s",
                 result == CUDA_SUCCESS ? "the driver reports none"
                                        : vgpu_cu_error(cu, result, text, sizeof(text)));
        return -ENODEV;
    }
    if (!want || want[0] == '\0') {
        if (count == 1)
            return device_get(cu, device, why, why_bytes);
        snprintf(why, why_bytes,
                 "%d CUDA devices: name one by device=GPU-<uuid>, MIG-<uuid> or a PCI address",
                 count);
        return -EINVAL;
    }
    if (is_index(want)) {
        snprintf(why, why_bytes,
                 "device=%s is an index, which may mean another GPU after a reboot: give "
                 "GPU-<uuid>, MIG-<uuid> or a PCI address",
                 want);
        return -EINVAL;
    }
    for (int i = 0; i < count; i++) {
        if (cu->cuDeviceGet(device, i) == CUDA_SUCCESS && device_matches(cu, *device, want))
            return 0;
    }
    snprintf(why, why_bytes, "none of %d CUDA devices is %s (a UUID or a PCI address)", count,
             want);
    return -ENODEV;
}

/* Memory that no quota sees: a cap that isn't in force is a reason not to start. */
static int context_cap(struct vgpu_exec *exec, char *why, size_t why_bytes)
{
    static const struct {
        int limit;
        size_t bytes;
        const char *name;
    } caps[] = {
        {CU_LIMIT_STACK_SIZE, CUDA_STACK_BYTES, "stack"},
        {CU_LIMIT_PRINTF_FIFO_SIZE, PRINTF_BYTES, "printf buffer"},
        {CU_LIMIT_MALLOC_HEAP_SIZE, CUDA_HEAP_BYTES, "heap"},
    };
    char text[160];

    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        CUresult result = exec->cu.cuCtxSetLimit(caps[i].limit, caps[i].bytes);

        if (result == CUDA_SUCCESS)
            continue;
        snprintf(why, why_bytes, "limiting the device's %s to %zu bytes: %s", caps[i].name,
                 caps[i].bytes, vgpu_cu_error(&exec->cu, result, text, sizeof(text)));
        return -EIO;
    }
    return 0;
}

static int context_init(struct vgpu_exec *exec, char *why, size_t why_bytes)
{
    const struct vgpu_cu *cu = &exec->cu;
    char text[160];
    CUresult result;
    int least = 0, greatest = 0, threads = 0, read_only = 0;

    result = cu->cuCtxCreate_v2(&exec->context, CU_CTX_SCHED_BLOCKING_SYNC | CU_CTX_MAP_HOST,
                                exec->device);
    if (result != CUDA_SUCCESS) {
        exec->context = NULL;
        snprintf(why, why_bytes, "creating a CUDA context: %s",
                 vgpu_cu_error(cu, result, text, sizeof(text)));
        return result == CUDA_ERROR_OUT_OF_MEMORY ? -ENOMEM : -EIO;
    }
    if (context_cap(exec, why, why_bytes) < 0)
        return -EIO;
    cu->cuCtxGetStreamPriorityRange(&least, &greatest);
    exec->priority_least = least;
    exec->priority_greatest = greatest;
    result = cu->cuStreamCreateWithPriority(&exec->chores, CU_STREAM_NON_BLOCKING, greatest);
    if (result == CUDA_SUCCESS)
        exec->default_stream = cuda_stream_open(exec, 0, &result);
    if (!exec->default_stream) {
        snprintf(why, why_bytes, "creating a stream: %s",
                 vgpu_cu_error(cu, result, text, sizeof(text)));
        return -EIO;
    }
    if (cuda_time_open(exec, &result) < 0) {
        snprintf(why, why_bytes, "the first of event times: %s",
                 vgpu_cu_error(cu, result, text, sizeof(text)));
        return -EIO;
    }
    if (cuda_props(cu, exec->device, &exec->cfg, &exec->props, why, why_bytes) < 0)
        return -EIO;
    result = cu->cuDeviceGetAttribute(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR,
                                      exec->device);
    if (result != CUDA_SUCCESS) {
        snprintf(why, why_bytes, "the threads a multiprocessor can hold: %s",
                 vgpu_cu_error(cu, result, text, sizeof(text)));
        return -EIO;
    }
    /* Unknown to a driver before CUDA 11.1, which then refuses to tell: it can't. */
    exec->registers_read_only =
        cu->cuDeviceGetAttribute(&read_only, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
                                 exec->device) == CUDA_SUCCESS &&
        read_only;
    exec->local_bytes = CUDA_STACK_BYTES;
    exec->resident_threads = (uint32_t)threads * le32toh(exec->props.multiprocessors);
    return 0;
}

/* Streams, events, the context: what only CUDA knows of ends with the context. */
static void close_driver(struct vgpu_exec *exec)
{
    uint32_t i;

    exec->busy = NULL; /* their work ends with them */
    for (i = 1; i <= exec->streams.count; i++) {
        struct cuda_stream *stream = cuda_table_get(&exec->streams, i);

        if (stream)
            cuda_stream_close(exec, stream);
    }
    if (exec->default_stream)
        cuda_stream_close(exec, exec->default_stream);
    if (exec->chores)
        cuda_release(exec, exec->cu.cuStreamDestroy_v2(exec->chores), "cuStreamDestroy");
    cuda_scratch_close(exec);
    for (i = 1; i <= exec->events.count; i++) {
        if (cuda_table_get(&exec->events, i))
            cuda_event_destroy(exec, i);
    }
    cuda_records_close(exec);
    /* Ends whatever still runs and frees what CUDA holds for the context. */
    if (exec->context)
        cuda_release(exec, exec->cu.cuCtxDestroy_v2(exec->context), "cuCtxDestroy");
}

int cuda_shut(struct vgpu_exec *exec, char *why, size_t why_bytes)
{
    uint32_t i;
    int ret;

    cuda_guard_stop(exec);
    close_driver(exec);
    ret = exec->faulted ? -EIO : 0;
    if (ret < 0)
        snprintf(why, why_bytes, "%s", exec->fault.message);
    for (i = 1; i <= exec->functions.count; i++) {
        struct cuda_function *func = cuda_table_get(&exec->functions, i);

        if (func)
            cuda_function_free(func);
    }
    for (i = 1; i <= exec->modules.count; i++) {
        struct cuda_module *module = cuda_table_get(&exec->modules, i);

        if (module)
            free(module->ptx);
        free(module);
    }
    cuda_print_close(&exec->print);
    cuda_table_free(&exec->streams);
    cuda_table_free(&exec->events);
    cuda_table_free(&exec->functions);
    cuda_table_free(&exec->modules);
    free(exec->allocs);
    cuda_wait_fini(exec);
    vgpu_cu_unload(&exec->cu);
    free(exec);
    return ret;
}

static void cuda_close(struct vgpu_exec *exec)
{
    char why[sizeof(exec->fault.message)];

    (void)cuda_shut(exec, why, sizeof(why)); /* nobody is left to be told */
}

int cuda_open_cold(const struct vgpu_exec_config *cfg, struct vgpu_exec **out, char *why,
                   size_t why_bytes)
{
    struct vgpu_exec *exec = calloc(1, sizeof(*exec));
    char text[160];
    CUresult result;
    int ret;

    if (!exec)
        return -ENOMEM;
    exec->cfg = *cfg;
    exec->modules.max = CUDA_MAX_MODULES;
    exec->functions.max = CUDA_MAX_FUNCTIONS;
    exec->streams.max = CUDA_MAX_STREAMS;
    exec->events.max = CUDA_MAX_EVENTS;
    exec->wake_fd = exec->timer_fd = exec->wait_fd = -1;
    exec->print.read_fd = exec->print.saved_fd = -1;
    ret = cuda_wait_init(exec);
    if (ret == 0 && cfg->own_stdout)
        ret = cuda_print_open(&exec->print);
    if (ret < 0) {
        snprintf(why, why_bytes, "descriptors to wait on and to print to: %s", strerror(-ret));
        goto err_close;
    }
    /* The driver's compile cache would be a file shared by tenants. */
    setenv("CUDA_CACHE_DISABLE", "1", 1);
    ret = vgpu_cu_load(&exec->cu, why, why_bytes);
    if (ret < 0)
        goto err_close;
    result = exec->cu.cuInit(0);
    if (result != CUDA_SUCCESS) {
        snprintf(why, why_bytes, "cuInit: %s",
                 vgpu_cu_error(&exec->cu, result, text, sizeof(text)));
        ret = -ENODEV;
        goto err_close;
    }
    ret = cuda_choose_device(&exec->cu, cfg->device, &exec->device, why, why_bytes);
    if (ret == 0) {
        ret = cuda_mem_open(exec);
        if (ret < 0)
            snprintf(why, why_bytes,
                     "the VM's memory limit has no room for a context's own %llu MiB",
                     (unsigned long long)(cfg->context_bytes >> 20));
    }
    if (ret == 0)
        ret = context_init(exec, why, why_bytes);
    if (ret == 0) {
        *out = exec;
        return 0;
    }

err_close:
    cuda_close(exec);
    return ret;
}

static int cuda_open(const struct vgpu_exec_config *cfg, struct vgpu_exec **out, char *why,
                     size_t why_bytes)
{
    struct vgpu_exec *exec;
    int ret = cuda_open_cold(cfg, &exec, why, why_bytes);

    if (ret < 0)
        return ret;
    ret = cuda_warm_up(exec, why, why_bytes);
    if (ret < 0)
        cuda_close(exec);
    else
        *out = exec;
    return ret;
}

static bool cuda_fault(struct vgpu_exec *exec, struct vgpu_exec_fault *fault)
{
    if (exec->faulted)
        *fault = exec->fault;
    return exec->faulted;
}

static void cuda_usage(struct vgpu_exec *exec, struct vgpu_exec_usage *usage)
{
    uint64_t now = cuda_now_ns();

    *usage = (struct vgpu_exec_usage){exec->kernel_ns, exec->kernels, exec->bytes_staged};
    for (const struct cuda_stream *s = exec->busy; s; s = s->next_busy)
        usage->kernel_ns += now - s->busy_since_ns;
}

static void cuda_cancel(struct vgpu_exec *exec)
{
    /* CUDA has no call that ends a running kernel: the process's end does. */
    (void)exec;
}

const struct vgpu_exec_ops vgpu_exec_cuda = {
    .name = "cuda",
    .kind = VGPU_EXEC_CUDA,
    .probe = cuda_probe,
    .open = cuda_open,
    .close = cuda_close,
    .mem_alloc = cuda_mem_alloc,
    .mem_free = cuda_mem_free,
    .mem_held = cuda_mem_held,
    .module_load = cuda_module_load,
    .module_unload = cuda_module_unload,
    .func_lookup = cuda_func_lookup,
    .global_lookup = cuda_global_lookup,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_exists = cuda_stream_exists,
    .event_create = cuda_event_create,
    .event_query = cuda_event_query,
    .event_destroy = cuda_event_destroy,
    .launch_check = cuda_launch_check,
    .output_read = cuda_output_read,
    .buf_detach = cuda_buf_detach,
    .submit = cuda_submit,
    .poll = cuda_poll,
    .wait_fd = cuda_wait_fd,
    .arm = cuda_arm,
    .fault = cuda_fault,
    .usage = cuda_usage,
    .cancel = cuda_cancel,
};
