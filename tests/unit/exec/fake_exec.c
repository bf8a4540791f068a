// SPDX-License-Identifier: MIT
/*
 * A scripted executor; see fake_exec.h.  Called by the drain and by the test in one thread.  Calls that
 * must not find work in flight (frees, destroys) check that there is none.
 */
#include "fake_exec.h"

#include "unit.h"

#include <check.h>
#include <string.h>

static uint32_t stream_count(const struct vgpu_exec *e, uint32_t stream)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < e->held_count; i++)
        n += e->held[i]->stream == stream;
    return n;
}

static enum vgpu_submit_result fake_submit(struct vgpu_exec *e, struct vgpu_job *job)
{
    if (stream_count(e, job->stream) >= e->capacity) {
        e->fulls++;
        return VGPU_SUBMIT_FULL;
    }
    e->submitted[e->submitted_count++ % FAKE_MAX] = job->cookie;
    if (job->opcode == VGPU_CMD_LAUNCH) {
        e->params_sum = 0;
        for (uint32_t i = 0; i < job->u.launch.param_bytes; i++)
            e->params_sum += job->u.launch.params[i];
        ck_assert_uint_eq((uintptr_t)job->u.launch.params % 16, 0);
    }
    if (e->inline_nops && job->opcode == VGPU_CMD_NOP && stream_count(e, job->stream) == 0)
        return VGPU_SUBMIT_DONE;
    unit_check(e->held_count < FAKE_MAX, "the fake holds all %u jobs it can", e->held_count);
    e->held[e->held_count++] = job;
    return VGPU_SUBMIT_QUEUED;
}

void fake_exec_finish(struct vgpu_exec *e, uint64_t cookie, uint16_t status)
{
    for (uint32_t i = 0; i < e->held_count; i++) {
        struct vgpu_job *job = e->held[i];

        if (job->cookie != cookie)
            continue;
        for (uint32_t k = 0; k < i && !e->skip_order; k++)
            unit_check(e->held[k]->stream != job->stream, "test finishes out of order");
        memmove(&e->held[i], &e->held[i + 1], (e->held_count - i - 1) * sizeof(e->held[0]));
        e->held_count--;
        job->status = status;
        job->result = job->opcode == VGPU_CMD_EVENT_RECORD ? cookie * 1000 : 0;
        e->done[e->done_count++] = job;
        return;
    }
    ck_abort_msg("no job %llu in the executor", (unsigned long long)cookie);
}

bool fake_exec_has(const struct vgpu_exec *e, uint64_t cookie)
{
    for (uint32_t i = 0; i < e->held_count; i++)
        if (e->held[i]->cookie == cookie)
            return true;
    return false;
}

static size_t fake_poll(struct vgpu_exec *e, struct vgpu_job **jobs, size_t max)
{
    size_t n = e->done_count < max ? e->done_count : max;

    memcpy(jobs, e->done, n * sizeof(*jobs));
    memmove(e->done, e->done + n, (e->done_count - n) * sizeof(*jobs));
    e->done_count -= (uint32_t)n;
    return n;
}

static bool fake_stream_exists(struct vgpu_exec *e, uint32_t stream)
{
    return stream < 1000;
}

static uint16_t fake_launch_check(struct vgpu_exec *e, const struct vgpu_cmd_launch *launch)
{
    return e->launch_status;
}

static uint16_t fake_mem_alloc(struct vgpu_exec *e, uint64_t bytes, uint64_t *addr)
{
    *addr = 0xabc000;
    return VGPU_ST_OK;
}

static uint16_t fake_mem_free(struct vgpu_exec *e, uint64_t addr)
{
    ck_assert_uint_eq(e->held_count, 0);
    ck_assert_uint_eq(e->done_count, 0);
    e->frees++;
    return VGPU_ST_OK;
}

static uint64_t fake_mem_held(struct vgpu_exec *e)
{
    return 8192;
}

static uint16_t fake_module_load(struct vgpu_exec *e, const void *image, size_t bytes, char *log,
                                 size_t log_room, size_t *log_bytes, uint32_t *module)
{
    static const char text[] = "line 3: error";

    memcpy(e->image, image, bytes < sizeof(e->image) ? bytes : sizeof(e->image));
    *log_bytes = sizeof(text) - 1 < log_room - 1 ? sizeof(text) - 1 : log_room - 1;
    memcpy(log, text, *log_bytes);
    log[*log_bytes] = '\0';
    if (e->load_status == VGPU_ST_OK)
        *module = 77;
    return e->load_status;
}

static uint16_t fake_module_unload(struct vgpu_exec *e, uint32_t module)
{
    return module == 77 ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

static uint16_t fake_func_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                                 uint32_t *function, struct vgpu_func_info *info,
                                 struct vgpu_param_info *params, uint32_t room)
{
    if (strcmp(name, "kernel") != 0)
        return VGPU_ST_NOT_FOUND;
    info->param_count = 3;
    info->param_bytes = 24;
    for (uint32_t i = 0; i < 3 && i < room; i++)
        params[i] = (struct vgpu_param_info){.offset = i * 8, .bytes = 8};
    *function = 55;
    return VGPU_ST_OK;
}

static uint16_t fake_global_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                                   struct vgpu_global_info *info)
{
    info->addr = 0xdef0;
    info->bytes = 16;
    return VGPU_ST_OK;
}

static uint16_t fake_create(struct vgpu_exec *e, uint32_t *handle)
{
    *handle = 5;
    return VGPU_ST_OK;
}

static uint16_t fake_stream_create(struct vgpu_exec *e, int32_t priority, uint32_t *stream)
{
    *stream = 100 + (uint32_t)priority;
    return VGPU_ST_OK;
}

static uint16_t fake_destroy(struct vgpu_exec *e, uint32_t handle)
{
    ck_assert_uint_eq(e->held_count, 0);
    return VGPU_ST_OK;
}

static uint16_t fake_event_query(struct vgpu_exec *e, uint32_t event, uint64_t *time_ns)
{
    e->queries++;
    *time_ns = 42;
    return VGPU_ST_OK;
}

const struct vgpu_exec_ops fake_exec_ops = {
    .name = "fake",
    .mem_alloc = fake_mem_alloc,
    .mem_free = fake_mem_free,
    .mem_held = fake_mem_held,
    .module_load = fake_module_load,
    .module_unload = fake_module_unload,
    .func_lookup = fake_func_lookup,
    .global_lookup = fake_global_lookup,
    .stream_create = fake_stream_create,
    .stream_destroy = fake_destroy,
    .stream_exists = fake_stream_exists,
    .event_create = fake_create,
    .event_query = fake_event_query,
    .event_destroy = fake_destroy,
    .launch_check = fake_launch_check,
    .submit = fake_submit,
    .poll = fake_poll,
};
