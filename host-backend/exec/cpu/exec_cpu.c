// SPDX-License-Identifier: MIT
/*
 * The cpu executor: guests' kernels on the host's processor.  An adapter between the table of
 * operations (exec.h) and the PTX machine (ptx.h); exec_cpu.h says which thread does what.
 *
 * Quota.  The machine asks before its memory grows.  That happens in calls of the drain
 * thread only (allocations, module variables), which may wait for the vm process; from any other
 * thread growth is refused, and what shrinks is given back by the drain thread later.
 */
#include <exec/cpu/exec_cpu.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool cpu_mem_charge(void *user, int64_t delta_bytes)
{
    struct vgpu_exec *e = user;
    bool drain = pthread_equal(pthread_self(), e->drain_thread);

    if (delta_bytes > 0)
        return drain && e->cfg.quota_take(e->cfg.opaque, (uint64_t)delta_bytes) == 0;
    if (drain)
        e->cfg.quota_give(e->cfg.opaque, (uint64_t)-delta_bytes);
    else
        __atomic_fetch_add(&e->unreturned, (uint64_t)-delta_bytes, __ATOMIC_RELAXED);
    return true;
}

static void cpu_return_quota(struct vgpu_exec *e)
{
    uint64_t bytes = __atomic_exchange_n(&e->unreturned, 0, __ATOMIC_RELAXED);

    if (bytes)
        e->cfg.quota_give(e->cfg.opaque, bytes);
}

/* Called by the machine's threads. */
static void cpu_print(void *user, const char *text, size_t bytes)
{
    struct vgpu_exec *e = user;

    vgpu_output_put(&e->output, text, bytes);
}

static size_t cpu_output_read(struct vgpu_exec *e, void *buf, size_t room, uint64_t *lost)
{
    return vgpu_output_get(&e->output, buf, room, lost);
}

/* ---- Probe, open, close ---- */

static int cpu_machine_create(const struct vgpu_exec_config *cfg, struct vgpu_exec *e,
                              struct vgpu_ptx_machine **machine, char *why, size_t why_bytes)
{
    const struct vgpu_ptx_options options = {
        .threads = cfg->threads < VGPU_PTX_MAX_THREADS ? cfg->threads : VGPU_PTX_MAX_THREADS,
        .mem_limit_bytes = cfg->memory_limit,
        .launch_timeout_ms = cfg->deadline_ms,
        .mem_charge = e ? cpu_mem_charge : NULL,
        .print = e ? cpu_print : NULL,
        .user = e,
    };
    enum vgpu_ptx_status status = vgpu_ptx_machine_create(&options, machine);

    if (status == VGPU_PTX_OK)
        return 0;
    snprintf(why, why_bytes, "cannot create the PTX machine: %s", vgpu_ptx_status_name(status));
    return status == VGPU_PTX_NO_MEMORY ? -ENOMEM : -EIO;
}

static int cpu_probe(const struct vgpu_exec_config *cfg, struct vgpu_device_props *props,
                     uint64_t *context_bytes, char *why, size_t why_bytes)
{
    struct vgpu_ptx_machine *machine;
    uint32_t threads;
    int rc = cpu_machine_create(cfg, NULL, &machine, why, why_bytes);

    if (rc < 0)
        return rc;
    threads = vgpu_ptx_machine_threads(machine);
    vgpu_ptx_machine_destroy(machine);
    memset(props, 0, sizeof(*props));
    snprintf((char *)props->name, sizeof(props->name), "vgpu CPU executor (%u thread%s)", threads,
             threads == 1 ? "" : "s");
    props->memory_bytes = htole64(cfg->memory_limit);
    props->exec_kind = htole32(VGPU_EXEC_CPU);
    props->compute_major = htole32(CPU_COMPUTE_MAJOR);
    props->compute_minor = htole32(CPU_COMPUTE_MINOR);
    props->multiprocessors = htole32(threads);
    props->warp_size = htole32(32);
    props->max_threads_per_block = htole32(VGPU_PTX_MAX_BLOCK_THREADS);
    props->max_block[0] = props->max_block[1] = htole32(1024);
    props->max_block[2] = htole32(64);
    props->max_grid[0] = htole32(INT32_MAX);
    props->max_grid[1] = props->max_grid[2] = htole32(65535);
    props->max_shared_per_block = htole32(VGPU_PTX_MAX_SHARED_BYTES);
    props->max_ptx_version = htole32(VGPU_PTX_ISA_MAX);
    props->clock_khz = htole32(1000000); /* what %clock and %globaltimer count: nanoseconds */
    props->deadline_ms = htole32(cfg->deadline_ms);
    return 0;
}

static int cpu_open(const struct vgpu_exec_config *cfg, struct vgpu_exec **exec, char *why,
                    size_t why_bytes)
{
    struct vgpu_exec *e = calloc(1, sizeof(*e));
    int rc;

    if (!e) {
        snprintf(why, why_bytes, "out of memory");
        return -ENOMEM;
    }
    e->cfg = *cfg;
    e->drain_thread = pthread_self();
    vgpu_output_init(&e->output);
    vgpu_handles_init(&e->streams, CPU_MAX_STREAMS);
    vgpu_handles_init(&e->events, CPU_MAX_EVENTS);
    vgpu_handles_init(&e->modules, CPU_MAX_MODULES);
    vgpu_handles_init(&e->functions, CPU_MAX_FUNCTIONS);
    rc = cpu_machine_create(cfg, e, &e->machine, why, why_bytes);
    if (rc < 0)
        goto err_free;
    rc = cpu_queue_start(e);
    if (rc < 0) {
        snprintf(why, why_bytes, "cannot start the worker thread: %s", strerror(-rc));
        goto err_machine;
    }
    *exec = e;
    return 0;

err_machine:
    vgpu_ptx_machine_destroy(e->machine);
err_free:
    vgpu_output_fini(&e->output);
    free(e);
    return rc;
}

static void cpu_free_objects(struct vgpu_handles *handles)
{
    uint32_t handle;
    void *object;

    while ((object = vgpu_handles_any(handles, &handle)) != NULL) {
        vgpu_handles_remove(handles, handle);
        free(object);
    }
    vgpu_handles_fini(handles);
}

static void cpu_close(struct vgpu_exec *e)
{
    cpu_queue_stop(e);
    cpu_modules_fini(e);
    vgpu_ptx_machine_destroy(e->machine);
    cpu_return_quota(e);
    cpu_free_objects(&e->streams);
    cpu_free_objects(&e->events);
    vgpu_output_fini(&e->output);
    free(e);
}

/* ---- Memory ---- */

static uint16_t cpu_mem_alloc(struct vgpu_exec *e, uint64_t bytes, uint64_t *addr)
{
    cpu_return_quota(e);
    return vgpu_ptx_mem_alloc(e->machine, bytes, addr) == VGPU_PTX_OK ? VGPU_ST_OK
                                                                      : VGPU_ST_OUT_OF_MEMORY;
}

static uint16_t cpu_mem_free(struct vgpu_exec *e, uint64_t addr)
{
    return vgpu_ptx_mem_free(e->machine, addr) == VGPU_PTX_OK ? VGPU_ST_OK : VGPU_ST_BAD_ADDRESS;
}

static uint64_t cpu_mem_held(struct vgpu_exec *e)
{
    return vgpu_ptx_mem_held(e->machine);
}

/* ---- Streams and events ---- */

static uint16_t cpu_object_create(struct vgpu_handles *handles, size_t bytes, uint32_t *handle)
{
    void *object = calloc(1, bytes);

    if (!object)
        return VGPU_ST_HOST_MEMORY;
    *handle = vgpu_handles_add(handles, object);
    if (!*handle) {
        free(object);
        return VGPU_ST_LIMIT;
    }
    return VGPU_ST_OK;
}

static uint16_t cpu_object_destroy(struct vgpu_handles *handles, uint32_t handle)
{
    void *object = vgpu_handles_remove(handles, handle);

    free(object);
    return object ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

/* All streams are equally urgent: there is one worker. */
static uint16_t cpu_stream_create(struct vgpu_exec *e, int32_t priority, uint32_t *stream)
{
    return cpu_object_create(&e->streams, sizeof(struct cpu_stream), stream);
}

static uint16_t cpu_stream_destroy(struct vgpu_exec *e, uint32_t stream)
{
    return cpu_object_destroy(&e->streams, stream);
}

static bool cpu_stream_exists(struct vgpu_exec *e, uint32_t stream)
{
    return stream == 0 || vgpu_handles_get(&e->streams, stream);
}

static uint16_t cpu_event_create(struct vgpu_exec *e, uint32_t *event)
{
    return cpu_object_create(&e->events, sizeof(struct cpu_event), event);
}

/* An event that was never recorded has nothing to wait for: it is ready, at time 0. */
static uint16_t cpu_event_query(struct vgpu_exec *e, uint32_t event, uint64_t *time_ns)
{
    const struct cpu_event *object = vgpu_handles_get(&e->events, event);

    if (!object)
        return VGPU_ST_BAD_HANDLE;
    if (object->latest)
        return VGPU_ST_NOT_READY;
    *time_ns = object->time_ns;
    return VGPU_ST_OK;
}

static uint16_t cpu_event_destroy(struct vgpu_exec *e, uint32_t event)
{
    return cpu_object_destroy(&e->events, event);
}

/* ---- The rest ---- */

static int cpu_wait_fd(struct vgpu_exec *e)
{
    return e->wait_fd;
}

static bool cpu_fault(struct vgpu_exec *e, struct vgpu_exec_fault *fault)
{
    /* Pairs with the release in fault_record(). */
    if (__atomic_load_n(&e->fault_status, __ATOMIC_ACQUIRE) == VGPU_ST_OK)
        return false;
    *fault = e->fault;
    return true;
}

static void cpu_usage(struct vgpu_exec *e, struct vgpu_exec_usage *usage)
{
    *usage = (struct vgpu_exec_usage){__atomic_load_n(&e->kernel_ns, __ATOMIC_RELAXED),
                                      __atomic_load_n(&e->kernels, __ATOMIC_RELAXED),
                                      __atomic_load_n(&e->bytes_staged, __ATOMIC_RELAXED)};
}

static void cpu_cancel(struct vgpu_exec *e)
{
    __atomic_store_n(&e->cancel, 1, __ATOMIC_RELEASE);
}

const struct vgpu_exec_ops vgpu_exec_cpu = {
    .name = "cpu",
    .kind = VGPU_EXEC_CPU,
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .mem_alloc = cpu_mem_alloc,
    .mem_free = cpu_mem_free,
    .mem_held = cpu_mem_held,
    .module_load = cpu_module_load,
    .module_unload = cpu_module_unload,
    .func_lookup = cpu_func_lookup,
    .global_lookup = cpu_global_lookup,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_exists = cpu_stream_exists,
    .event_create = cpu_event_create,
    .event_query = cpu_event_query,
    .event_destroy = cpu_event_destroy,
    .launch_check = cpu_launch_check,
    .output_read = cpu_output_read,
    .submit = cpu_submit,
    .poll = cpu_poll,
    .wait_fd = cpu_wait_fd,
    .arm = cpu_arm,
    .fault = cpu_fault,
    .usage = cpu_usage,
    .cancel = cpu_cancel,
};
