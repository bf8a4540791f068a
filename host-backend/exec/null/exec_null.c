// SPDX-License-Identifier: MIT
/*
 * The null executor: completes everything, computes nothing.  It measures what everything around an
 * executor costs, and lets the device be tested without one.
 *
 * What it promises: every job is done inside submit().  Allocations get distinct addresses, count
 * against the VM's quota and can be freed once; handles are checked as elsewhere; an event's
 * time is the time of its record.  What it does not do: there is no memory behind an address, so
 * copies move nothing (device-to-host leaves the guest's buffer as it was) and device
 * addresses are not checked; any image is a module, any name is a function without
 * parameters, and a launch takes any parameter block.  Variables are never found.
 */
#include <exec/exec.h>
#include <exec/handle.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NULL_MAX_STREAMS   1024
#define NULL_MAX_MODULES   1024
#define NULL_MAX_EVENTS    VGPU_HANDLES_MAX
#define NULL_MAX_FUNCTIONS VGPU_HANDLES_MAX
#define NULL_MAX_ALLOCS    (1u << 20)
#define NULL_FIRST_ADDR    0x100000000ull
#define NULL_ADDR_END      (1ull << 56)

struct null_alloc {
    uint64_t addr;
    uint64_t bytes; /* 0: freed */
};

struct null_event {
    uint64_t time_ns;
};

struct vgpu_exec {
    struct vgpu_exec_config cfg;
    struct vgpu_handles streams; /* the object is the executor: streams have no state */
    struct vgpu_handles events;
    struct vgpu_handles modules;   /* the object is a byte of its own */
    struct vgpu_handles functions; /* the object is its module's */
    struct null_alloc *allocs;     /* by address, which only grows */
    uint32_t alloc_count;
    uint32_t alloc_room;
    uint32_t alloc_live;
    uint64_t next_addr;
    uint64_t held;
    uint64_t kernels;
};

static uint64_t null_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static int null_probe(const struct vgpu_exec_config *cfg, struct vgpu_device_props *props,
                      uint64_t *context_bytes, char *why, size_t why_bytes)
{
    memset(props, 0, sizeof(*props));
    snprintf((char *)props->name, sizeof(props->name), "vgpu null executor");
    props->memory_bytes = htole64(cfg->memory_limit);
    props->exec_kind = htole32(VGPU_EXEC_NULL);
    props->multiprocessors = htole32(1);
    props->warp_size = htole32(32);
    props->max_threads_per_block = htole32(1024);
    props->max_block[0] = props->max_block[1] = htole32(1024);
    props->max_block[2] = htole32(64);
    props->max_grid[0] = htole32(INT32_MAX);
    props->max_grid[1] = props->max_grid[2] = htole32(65535);
    props->max_shared_per_block = htole32(48 * 1024);
    return 0;
}

static int null_open(const struct vgpu_exec_config *cfg, struct vgpu_exec **exec, char *why,
                     size_t why_bytes)
{
    struct vgpu_exec *e = calloc(1, sizeof(*e));

    if (!e) {
        snprintf(why, why_bytes, "out of memory");
        return -ENOMEM;
    }
    e->cfg = *cfg;
    e->next_addr = NULL_FIRST_ADDR;
    vgpu_handles_init(&e->streams, NULL_MAX_STREAMS);
    vgpu_handles_init(&e->events, NULL_MAX_EVENTS);
    vgpu_handles_init(&e->modules, NULL_MAX_MODULES);
    vgpu_handles_init(&e->functions, NULL_MAX_FUNCTIONS);
    *exec = e;
    return 0;
}

static void null_free_objects(struct vgpu_handles *handles)
{
    uint32_t handle;
    void *object;

    while ((object = vgpu_handles_any(handles, &handle)) != NULL) {
        vgpu_handles_remove(handles, handle);
        free(object);
    }
    vgpu_handles_fini(handles);
}

static void null_close(struct vgpu_exec *e)
{
    null_free_objects(&e->events);
    null_free_objects(&e->modules);
    vgpu_handles_fini(&e->functions);
    vgpu_handles_fini(&e->streams);
    free(e->allocs);
    free(e);
}

/* ---- Memory ---- */

/* Room for one more record; freed ones are squeezed out when they are the majority. */
static bool null_alloc_room(struct vgpu_exec *e)
{
    uint32_t live = 0, room = e->alloc_room ? e->alloc_room * 2 : 64;
    struct null_alloc *allocs;

    if (e->alloc_count < e->alloc_room)
        return true;
    if (e->alloc_live < e->alloc_count / 2) {
        for (uint32_t i = 0; i < e->alloc_count; i++)
            if (e->allocs[i].bytes)
                e->allocs[live++] = e->allocs[i];
        e->alloc_count = live;
        return true;
    }
    if (room > NULL_MAX_ALLOCS)
        return false;
    allocs = reallocarray(e->allocs, room, sizeof(*allocs));
    if (!allocs)
        return false;
    e->allocs = allocs;
    e->alloc_room = room;
    return true;
}

static uint16_t null_mem_alloc(struct vgpu_exec *e, uint64_t bytes, uint64_t *addr)
{
    uint64_t rounded, end;

    if (__builtin_add_overflow(bytes, (uint64_t)VGPU_PAGE_BYTES - 1, &rounded))
        return VGPU_ST_OUT_OF_MEMORY;
    rounded &= ~(uint64_t)(VGPU_PAGE_BYTES - 1);
    /* A page between two allocations belongs to none. */
    if (__builtin_add_overflow(e->next_addr, rounded + VGPU_PAGE_BYTES, &end) ||
        end > NULL_ADDR_END)
        return VGPU_ST_OUT_OF_MEMORY;
    if (!null_alloc_room(e))
        return VGPU_ST_LIMIT;
    if (e->cfg.quota_take(e->cfg.opaque, rounded) < 0)
        return VGPU_ST_OUT_OF_MEMORY;
    e->allocs[e->alloc_count++] = (struct null_alloc){.addr = e->next_addr, .bytes = rounded};
    e->alloc_live++;
    e->held += rounded;
    *addr = e->next_addr;
    e->next_addr = end;
    return VGPU_ST_OK;
}

static uint16_t null_mem_free(struct vgpu_exec *e, uint64_t addr)
{
    uint32_t lo = 0, hi = e->alloc_count;
    uint64_t bytes;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (e->allocs[mid].addr < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == e->alloc_count || e->allocs[lo].addr != addr || e->allocs[lo].bytes == 0)
        return VGPU_ST_BAD_ADDRESS;
    bytes = e->allocs[lo].bytes;
    e->allocs[lo].bytes = 0;
    e->alloc_live--;
    e->held -= bytes;
    e->cfg.quota_give(e->cfg.opaque, bytes);
    return VGPU_ST_OK;
}

static uint64_t null_mem_held(struct vgpu_exec *e)
{
    return e->held;
}

/* ---- Modules ---- */

static uint16_t null_module_load(struct vgpu_exec *e, const void *image, size_t bytes, char *log,
                                 size_t log_room, size_t *log_bytes, uint32_t *module)
{
    char *object = malloc(1);

    *log_bytes = 0;
    if (!object)
        return VGPU_ST_HOST_MEMORY;
    *module = vgpu_handles_add(&e->modules, object);
    if (!*module) {
        free(object);
        return VGPU_ST_LIMIT;
    }
    return VGPU_ST_OK;
}

static uint16_t null_module_unload(struct vgpu_exec *e, uint32_t module)
{
    void *object = vgpu_handles_remove(&e->modules, module);

    if (!object)
        return VGPU_ST_BAD_HANDLE;
    for (uint32_t i = 0; i < e->functions.count; i++) {
        const struct vgpu_handle_slot *slot = &e->functions.slots[i];

        if (slot->object == object)
            vgpu_handles_remove(&e->functions, (uint32_t)slot->uses << 16 | (i + 1));
    }
    free(object);
    return VGPU_ST_OK;
}

static uint16_t null_func_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                                 uint32_t *function, struct vgpu_func_info *info,
                                 struct vgpu_param_info *params, uint32_t room)
{
    void *object = vgpu_handles_get(&e->modules, module);

    if (!object)
        return VGPU_ST_BAD_HANDLE;
    *function = vgpu_handles_add(&e->functions, object);
    if (!*function)
        return VGPU_ST_LIMIT;
    info->max_threads = htole32(1024);
    return VGPU_ST_OK;
}

static uint16_t null_global_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                                   struct vgpu_global_info *info)
{
    return vgpu_handles_get(&e->modules, module) ? VGPU_ST_NOT_FOUND : VGPU_ST_BAD_HANDLE;
}

/* ---- Streams and events ---- */

static uint16_t null_stream_create(struct vgpu_exec *e, int32_t priority, uint32_t *stream)
{
    *stream = vgpu_handles_add(&e->streams, e);
    return *stream ? VGPU_ST_OK : VGPU_ST_LIMIT;
}

static uint16_t null_stream_destroy(struct vgpu_exec *e, uint32_t stream)
{
    return vgpu_handles_remove(&e->streams, stream) ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

static bool null_stream_exists(struct vgpu_exec *e, uint32_t stream)
{
    return stream == 0 || vgpu_handles_get(&e->streams, stream);
}

static uint16_t null_event_create(struct vgpu_exec *e, uint32_t *event)
{
    struct null_event *object = calloc(1, sizeof(*object));

    if (!object)
        return VGPU_ST_HOST_MEMORY;
    *event = vgpu_handles_add(&e->events, object);
    if (!*event) {
        free(object);
        return VGPU_ST_LIMIT;
    }
    return VGPU_ST_OK;
}

static uint16_t null_event_query(struct vgpu_exec *e, uint32_t event, uint64_t *time_ns)
{
    const struct null_event *object = vgpu_handles_get(&e->events, event);

    if (!object)
        return VGPU_ST_BAD_HANDLE;
    *time_ns = object->time_ns;
    return VGPU_ST_OK;
}

static uint16_t null_event_destroy(struct vgpu_exec *e, uint32_t event)
{
    void *object = vgpu_handles_remove(&e->events, event);

    free(object);
    return object ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

/* ---- Jobs ---- */

static uint16_t null_launch_check(struct vgpu_exec *e, const struct vgpu_cmd_launch *launch)
{
    return vgpu_handles_get(&e->functions, le32toh(launch->function)) ? VGPU_ST_OK
                                                                      : VGPU_ST_BAD_HANDLE;
}

static void null_event_job(struct vgpu_exec *e, struct vgpu_job *job)
{
    struct null_event *event = vgpu_handles_get(&e->events, job->u.event);

    if (!event) {
        job->status = VGPU_ST_BAD_HANDLE;
    } else if (job->opcode == VGPU_CMD_EVENT_RECORD) {
        event->time_ns = null_now_ns();
        job->result = event->time_ns;
    }
}

static enum vgpu_submit_result null_submit(struct vgpu_exec *e, struct vgpu_job *job)
{
    switch (job->opcode) {
    case VGPU_CMD_EVENT_RECORD:
    case VGPU_CMD_EVENT_WAIT: null_event_job(e, job); break;
    case VGPU_CMD_LAUNCH: e->kernels++; break;
    default: break;
    }
    return VGPU_SUBMIT_DONE;
}

static size_t null_poll(struct vgpu_exec *e, struct vgpu_job **jobs, size_t max)
{
    return 0;
}

static int null_wait_fd(struct vgpu_exec *e)
{
    return -1;
}

static bool null_arm(struct vgpu_exec *e)
{
    return true;
}

static bool null_fault(struct vgpu_exec *e, struct vgpu_exec_fault *fault)
{
    return false;
}

static void null_usage(struct vgpu_exec *e, struct vgpu_exec_usage *usage)
{
    *usage = (struct vgpu_exec_usage){.kernels = e->kernels};
}

static void null_cancel(struct vgpu_exec *e)
{
}

const struct vgpu_exec_ops vgpu_exec_null = {
    .name = "null",
    .kind = VGPU_EXEC_NULL,
    .probe = null_probe,
    .open = null_open,
    .close = null_close,
    .mem_alloc = null_mem_alloc,
    .mem_free = null_mem_free,
    .mem_held = null_mem_held,
    .module_load = null_module_load,
    .module_unload = null_module_unload,
    .func_lookup = null_func_lookup,
    .global_lookup = null_global_lookup,
    .stream_create = null_stream_create,
    .stream_destroy = null_stream_destroy,
    .stream_exists = null_stream_exists,
    .event_create = null_event_create,
    .event_query = null_event_query,
    .event_destroy = null_event_destroy,
    .launch_check = null_launch_check,
    .submit = null_submit,
    .poll = null_poll,
    .wait_fd = null_wait_fd,
    .arm = null_arm,
    .fault = null_fault,
    .usage = null_usage,
    .cancel = null_cancel,
};
