/* SPDX-License-Identifier: MIT */
/*
 * The sanity gate: is there a GPU that really computes?
 *
 * Run by `vgpud --probe` and at every start of a cuda executor, in a process of its own.  Each
 * check prints one line, for people and scripts alike:
 *
 *   VGPU_PROBE status=PASS|FAIL|WARN check=<name> detail="..." remediation="..."
 *
 * and the last line is `VGPU_PROBE failures=N`.  The checks go from "is there a driver" to a kernel
 * whose result is compared element by element, because a driver that loads and a GPU that
 * computes are different things: in a Xen Dom0 the first has been seen without the second.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <exec/cuda/cuda_exec.h>

#define PROBE_BYTES    (16u << 10)
#define MEASURES       4u
#define MEASURE_AGREES (16u << 20)

struct probe {
    const struct vgpu_exec_config *cfg;
    struct vgpu_cu cu;
    CUdevice device;
    unsigned int failures;
    char *why;
    size_t why_bytes;
};

/* Quotes would end a field of the line early. */
static void unquote(char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\n')
            *text = '\'';
    }
}

static void report(const char *status, const char *check, char *detail, const char *remediation)
{
    unquote(detail);
    printf("VGPU_PROBE status=%s check=%s detail=\"%s\" remediation=\"%s\"\n", status, check,
           detail, remediation);
    fflush(stdout);
}

__attribute__((format(printf, 3, 4))) static void pass(const struct probe *probe, const char *check,
                                                       const char *format, ...)
{
    char detail[300];
    va_list args;

    (void)probe;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    report("PASS", check, detail, "");
}

static void warn(const char *check, const char *what, const char *remediation)
{
    char detail[300];

    snprintf(detail, sizeof(detail), "%s", what);
    report("WARN", check, detail, remediation);
}

static bool in_dom0(void)
{
    char text[64] = "";
    FILE *file = fopen("/proc/xen/capabilities", "re");

    if (!file)
        return false;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    return strstr(text, "control_d") != NULL;
}

/* A failed check; the first one is also the reason the caller hears. Returns -ENODEV. */
static int fail(struct probe *probe, const char *check, const char *what, const char *remediation)
{
    char detail[300];

    snprintf(detail, sizeof(detail), "%s", what);
    if (probe->failures++ == 0)
        snprintf(probe->why, probe->why_bytes, "%s: %s; %s%s", check, what, remediation,
                 in_dom0() ? " (this is a Xen Dom0, where the NVIDIA driver may not work at all: "
                             "give the GPU to a service VM instead)"
                           : "");
    report("FAIL", check, detail, remediation);
    return -ENODEV;
}

static int fail_cu(struct probe *probe, const char *check, CUresult result, const char *remediation)
{
    char text[200];

    return fail(probe, check, vgpu_cu_error(&probe->cu, result, text, sizeof(text)), remediation);
}

int cuda_props(const struct vgpu_cu *cu, CUdevice device, const struct vgpu_exec_config *cfg,
               struct vgpu_device_props *props, char *why, size_t why_bytes)
{
    static const struct {
        int attribute;
        size_t offset;
    } map[] = {
#define PROP(attribute, field) {attribute, offsetof(struct vgpu_device_props, field)}
        PROP(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, compute_major),
        PROP(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, compute_minor),
        PROP(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, multiprocessors),
        PROP(CU_DEVICE_ATTRIBUTE_WARP_SIZE, warp_size),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, max_threads_per_block),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, max_block[0]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, max_block[1]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, max_block[2]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, max_grid[0]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, max_grid[1]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, max_grid[2]),
        PROP(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, max_shared_per_block),
#undef PROP
    };
    size_t total = 0;
    int value;
    CUuuid uuid;

    memset(props, 0, sizeof(*props));
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
        if (cu->cuDeviceGetAttribute(&value, map[i].attribute, device) != CUDA_SUCCESS) {
            snprintf(why, why_bytes, "device attribute %d can't be read", map[i].attribute);
            return -EIO;
        }
        *(__le32 *)((char *)props + map[i].offset) = (uint32_t)value;
    }
    if (cu->cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, device) == CUDA_SUCCESS)
        props->clock_khz = (uint32_t)value;
    if (cu->cuDriverGetVersion(&value) == CUDA_SUCCESS)
        props->driver_version = (uint32_t)value;
    if (cu->cuDeviceGetUuid_v2(&uuid, device) == CUDA_SUCCESS)
        memcpy(props->uuid, uuid.bytes, sizeof(props->uuid));
    if (cu->cuDeviceTotalMem_v2(&total, device) != CUDA_SUCCESS ||
        cu->cuDeviceGetName((char *)props->name, sizeof(props->name), device) != CUDA_SUCCESS) {
        snprintf(why, why_bytes, "the device's name or memory size can't be read");
        return -EIO;
    }
    props->name[sizeof(props->name) - 1] = '\0';
    props->exec_kind = VGPU_EXEC_CUDA;
    props->memory_bytes =
        cfg->memory_limit && cfg->memory_limit < total ? cfg->memory_limit : total;
    props->deadline_ms = cfg->deadline_ms;
    return 0;
}

static int check_driver(struct probe *probe)
{
    char why[256];
    int version = 0;
    CUresult result;

    if (vgpu_cu_load(&probe->cu, why, sizeof(why)) < 0)
        return fail(probe, "driver", why, "install the NVIDIA driver and its libcuda.so.1");
    result = probe->cu.cuInit(0);
    if (result != CUDA_SUCCESS)
        return fail_cu(probe, "driver", result,
                       "load the nvidia module and check its messages in the kernel's log");
    result = probe->cu.cuDriverGetVersion(&version);
    if (result != CUDA_SUCCESS)
        return fail_cu(probe, "driver", result, "reinstall the driver");
    pass(probe, "driver", "CUDA driver API %d.%d", version / 1000, version % 1000 / 10);
    if (!probe->cu.cuFuncGetParamInfo)
        warn("driver_age",
             "the driver can't tell parameter layouts (before CUDA 12.4): "
             "kernels of cubin-only images can't be looked up",
             "install a driver of CUDA 12.4 or newer");
    return 0;
}

/* The driver API has no call that tells; its names do, and device= by which an instance was chosen. */
static void check_mig(const struct probe *probe, const char *name)
{
    const char *chosen = probe->cfg->device;

    if (strstr(name, " MIG ") || (chosen && strncasecmp(chosen, "MIG-", 4) == 0))
        warn("mig",
             "this is a MIG instance: the VM has its part of the memory and the compute units",
             "none, if that is what is wanted; else name the whole GPU with device=GPU-...");
    else
        pass(probe, "mig", "a whole GPU, shared with other contexts in time");
}

static int check_device(struct probe *probe, struct vgpu_device_props *props)
{
    static const char remedy[] = "check the driver's messages in the kernel's log";
    char why[256];
    int hmm = 0, mode = 0;
    CUresult result;

    if (cuda_choose_device(&probe->cu, probe->cfg->device, &probe->device, why, sizeof(why)) < 0)
        return fail(probe, "device", why, "name a GPU this host has with device=");
    if (cuda_props(&probe->cu, probe->device, probe->cfg, props, why, sizeof(why)) < 0)
        return fail(probe, "device", why, remedy);
    pass(probe, "device", "%s, compute %u.%u, %llu MiB", (const char *)props->name,
         props->compute_major, props->compute_minor,
         (unsigned long long)(props->memory_bytes >> 20));
    check_mig(probe, (const char *)props->name);
    result = probe->cu.cuDeviceGetAttribute(&mode, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, probe->device);
    if (result != CUDA_SUCCESS)
        return fail_cu(probe, "compute_mode", result, remedy);
    if (mode == CU_COMPUTEMODE_PROHIBITED)
        return fail(probe, "compute_mode", "the GPU's compute mode is 'prohibited'",
                    "set the default mode: nvidia-smi -c DEFAULT");
    if (mode == CU_COMPUTEMODE_EXCLUSIVE_PROCESS)
        warn("compute_mode",
             "the GPU's compute mode is 'exclusive process': one context can exist at a time",
             "set the default mode: nvidia-smi -c DEFAULT");
    else
        pass(probe, "compute_mode", "default");
    result = probe->cu.cuDeviceGetAttribute(&hmm, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
                                            probe->device);
    if (result != CUDA_SUCCESS)
        return fail_cu(probe, "hmm", result, remedy);
    if (hmm && !probe->cfg->allow_hmm)
        return fail(probe, "hmm", "kernels could dereference any memory of their exec process",
                    "set 'options nvidia_uvm uvm_disable_hmm=1' and reload the module, or accept "
                    "it with hmm=allow");
    pass(probe, "hmm", hmm ? "on, accepted by hmm=allow" : "off");
    if (access("/run/nvidia-persistenced/socket", F_OK) != 0)
        warn("persistence",
             "nvidia-persistenced does not run: the first context after idle "
             "times takes seconds",
             "enable nvidia-persistenced");
    return 0;
}

static int no_quota(void *opaque, uint64_t bytes)
{
    (void)opaque;
    (void)bytes;
    return 0;
}

static void no_quota_give(void *opaque, uint64_t bytes)
{
    (void)opaque;
    (void)bytes;
}

static int memory_and_kernel(struct probe *probe, struct vgpu_exec *exec)
{
    uint64_t addr;
    char why[256];

    if (cuda_mem_alloc(exec, PROBE_BYTES, &addr) != VGPU_ST_OK)
        return fail(probe, "memory",
                    exec->faulted ? exec->fault.message : "allocating 16 KiB failed",
                    "free device memory: other processes may hold it all");
    if (cuda_mem_free(exec, addr) != VGPU_ST_OK)
        return fail(probe, "memory", exec->faulted ? exec->fault.message : "freeing 16 KiB failed",
                    "see the kernel's log for Xid messages");
    pass(probe, "memory", "allocated, cleared and freed");
    if (cuda_warm_up(exec, why, sizeof(why)) < 0)
        return fail(probe, "kernel", why,
                    "see the kernel's log for Xid messages; if it is the compiler that fails, "
                    "reinstall the driver's compute libraries");
    pass(probe, "kernel", "the sums of a PTX kernel are right");
    return 0;
}

/* Free device memory, as the current context sees it. */
static int memory_free(struct probe *probe, uint64_t *bytes)
{
    size_t free_bytes = 0, total = 0;
    CUresult result = probe->cu.cuMemGetInfo_v2(&free_bytes, &total);

    *bytes = free_bytes;
    return result == CUDA_SUCCESS ? 0
                                  : fail_cu(probe, "context_memory", result,
                                            "see the kernel's log for messages of the driver");
}

/* Open an executor as a context would have it, and tell by how much that lessened the free memory.
 * With `check` its lines are printed. */
static int try_executor(struct probe *probe, bool check, uint64_t *taken)
{
    struct vgpu_exec_config cfg = *probe->cfg;
    uint64_t before, after = 0;
    struct vgpu_exec *exec;
    char why[256] = "";
    int ret = memory_free(probe, &before);

    if (ret < 0)
        return ret;
    cfg.quota_take = no_quota;
    cfg.quota_give = no_quota_give;
    cfg.context_bytes = 0;
    ret = cuda_open_cold(&cfg, &exec, why, sizeof(why));
    if (ret < 0)
        return fail(probe, "context", why, "see the kernel's log for messages of the driver");
    if (check) {
        pass(probe, "context", "created");
        ret = memory_and_kernel(probe, exec);
    } else if (cuda_warm_up(exec, why, sizeof(why)) < 0) {
        ret = fail(probe, "kernel", why, "see the kernel's log for Xid messages");
    }
    if (ret == 0)
        ret = memory_free(probe, &after);
    *taken = after < before ? before - after : 0;
    if (cuda_shut(exec, why, sizeof(why)) < 0 && ret == 0)
        ret = fail(probe, "context", why, "see the kernel's log for messages of the driver");
    return ret;
}

/*
 * What a context takes for itself.  Other programs allocate and free on the same GPU meanwhile: a measure
 * counts when a second one confirms it, and the largest of several that don't is taken.
 */
static int check_compute(struct probe *probe, uint64_t *context_bytes)
{
    uint64_t taken[MEASURES];
    uint64_t largest = 0;
    CUcontext context;
    CUresult result = probe->cu.cuCtxCreate_v2(&context, 0, probe->device);
    int ret = 0;

    if (result != CUDA_SUCCESS)
        return fail_cu(probe, "context", result, "see the kernel's log for messages of the driver");
    for (unsigned int i = 0; i < MEASURES; i++) {
        ret = try_executor(probe, i == 0, &taken[i]);
        if (ret < 0)
            goto out_destroy;
        if (taken[i] > largest)
            largest = taken[i];
        for (unsigned int k = 0; k < i; k++) {
            uint64_t apart = taken[i] > taken[k] ? taken[i] - taken[k] : taken[k] - taken[i];

            if (apart > MEASURE_AGREES)
                continue;
            *context_bytes = taken[i] > taken[k] ? taken[i] : taken[k];
            pass(probe, "context_memory", "each context takes %llu MiB of its VM's memory",
                 (unsigned long long)(*context_bytes >> 20));
            goto out_destroy;
        }
    }
    *context_bytes = largest;
    warn("context_memory",
         "free memory changes too fast to measure a context's own: the largest of the measures is "
         "taken",
         "start vgpud before other programs use this GPU");

out_destroy:
    result = probe->cu.cuCtxDestroy_v2(context);
    if (result != CUDA_SUCCESS && ret == 0)
        ret = fail_cu(probe, "context", result, "see the kernel's log for messages of the driver");
    return ret;
}

int cuda_probe(const struct vgpu_exec_config *cfg, struct vgpu_device_props *props,
               uint64_t *context_bytes, char *why, size_t why_bytes)
{
    struct probe probe = {.cfg = cfg, .why = why, .why_bytes = why_bytes};
    int ret;

    setenv("CUDA_CACHE_DISABLE", "1", 1);
    ret = check_driver(&probe);
    if (ret == 0)
        ret = check_device(&probe, props);
    if (ret == 0)
        ret = check_compute(&probe, context_bytes);
    printf("VGPU_PROBE failures=%u\n", probe.failures);
    fflush(stdout);
    vgpu_cu_unload(&probe.cu);
    return ret;
}
