/* SPDX-License-Identifier: MIT */
/*
 * Queued jobs: issue in order, learn of completion by marks.
 *
 * A job is issued as soon as its stream allows: at submit, or later from poll() when it had
 * to wait in `pending`.  Two things hold a stream back: its own staged copy, and an EVENT_WAIT whose record has been accepted but is itself not issued yet -
 * CUDA would take the event's older record.  Neither can form a cycle: a record waits only for
 * jobs accepted before it.
 *
 * Deadlines.  With one set, every job gets a mark of its own, and what is not marked is not issued:
 * then the time since a launch's mark became its stream's oldest is what the kernel has been
 * running.  CUDA can't end a kernel, so exceeding it is the context's fault, and the process's
 * end ends the kernel.
 *
 * A job CUDA refuses at issue carries its status through the FIFO, so that completions of a
 * stream stay in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <exec/cuda/cuda_exec.h>

static void busy_insert(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    if (stream->busy)
        return;
    stream->busy = true;
    stream->busy_since_ns = cuda_now_ns();
    stream->prev_busy = NULL;
    stream->next_busy = exec->busy;
    if (exec->busy)
        exec->busy->prev_busy = stream;
    exec->busy = stream;
}

static void busy_remove(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    if (stream->prev_busy)
        stream->prev_busy->next_busy = stream->next_busy;
    else
        exec->busy = stream->next_busy;
    if (stream->next_busy)
        stream->next_busy->prev_busy = stream->prev_busy;
    stream->busy = false;
    /* Wall time in which the stream had work: launches are not timed one by one, that would
     * cost each of them two events. */
    exec->kernel_ns += cuda_now_ns() - stream->busy_since_ns;
}

static CUresult launch(struct vgpu_exec *exec, struct cuda_stream *stream,
                       struct cuda_function *func, const struct vgpu_job_launch *job, void **extra)
{
    if (job->shared_bytes > func->dynamic_shared) {
        CUresult result = exec->cu.cuFuncSetAttribute(
            func->cu, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)job->shared_bytes);

        if (result != CUDA_SUCCESS)
            return result;
        func->dynamic_shared = job->shared_bytes;
    }
    return exec->cu.cuLaunchKernel(func->cu, job->grid[0], job->grid[1], job->grid[2],
                                   job->block[0], job->block[1], job->block[2], job->shared_bytes,
                                   stream->cu, NULL, extra);
}

static CUresult issue_launch(struct vgpu_exec *exec, struct cuda_stream *stream,
                             struct vgpu_job_launch *job)
{
    struct cuda_function *func = cuda_table_get(&exec->functions, job->function);
    size_t bytes = job->param_bytes;
    void *extra[] = {VGPU_CU_LAUNCH_PARAM_BUFFER_POINTER, job->params,
                     VGPU_CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, VGPU_CU_LAUNCH_PARAM_END};
    CUresult result;

    if (!func)
        return CUDA_ERROR_INVALID_HANDLE;
    stream->prints = stream->prints || (func->info.flags & VGPU_FUNC_MAY_PRINT);
    if (func->launched)
        return launch(exec, stream, func, job, bytes > 0 ? extra : NULL);
    /* The first launch may load the function's code, which may wait for other kernels. */
    cuda_guard_enter(exec);
    result = launch(exec, stream, func, job, bytes > 0 ? extra : NULL);
    cuda_guard_leave(exec);
    func->launched = result == CUDA_SUCCESS;
    return result;
}

static CUresult issue_memset(struct vgpu_exec *exec, struct cuda_stream *stream,
                             const struct vgpu_job_memset *set)
{
    switch (set->width) {
    case 1:
        return exec->cu.cuMemsetD8Async(set->dev_addr, (unsigned char)set->value, set->count,
                                        stream->cu);
    case 2:
        return exec->cu.cuMemsetD16Async(set->dev_addr, (unsigned short)set->value, set->count,
                                         stream->cu);
    default: return exec->cu.cuMemsetD32Async(set->dev_addr, set->value, set->count, stream->cu);
    }
}

/* Give one job to CUDA.  Copies that must be staged are not issued here. */
static CUresult issue(struct vgpu_exec *exec, struct cuda_stream *stream, struct vgpu_job *job)
{
    struct cuda_record *record = job->priv;
    CUresult result;

    switch (job->opcode) {
    case VGPU_CMD_NOP: return CUDA_SUCCESS;
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H: return cuda_copy_direct(exec, stream, job);
    case VGPU_CMD_COPY_D2D: return cuda_copy_d2d(exec, stream, &job->u.d2d);
    case VGPU_CMD_MEMSET: return issue_memset(exec, stream, &job->u.memset);
    case VGPU_CMD_LAUNCH: return issue_launch(exec, stream, &job->u.launch);
    case VGPU_CMD_EVENT_RECORD:
        result = exec->cu.cuEventRecord(record->cu, stream->cu);
        record->issued = true;
        record->refused = result != CUDA_SUCCESS;
        return result;
    case VGPU_CMD_EVENT_WAIT:
        return record && !record->refused ? exec->cu.cuStreamWaitEvent(stream->cu, record->cu, 0)
                                          : CUDA_SUCCESS;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

static const char *job_name(const struct vgpu_exec *exec, const struct vgpu_job *job, char *text,
                            size_t bytes)
{
    const struct cuda_function *func;

    switch (job->opcode) {
    case VGPU_CMD_COPY_H2D: return "copy to the device";
    case VGPU_CMD_COPY_D2H: return "copy from the device";
    case VGPU_CMD_COPY_D2D: return "copy on the device";
    case VGPU_CMD_MEMSET: return "memset";
    case VGPU_CMD_LAUNCH:
        func = cuda_table_get(&exec->functions, job->u.launch.function);
        snprintf(text, bytes, "kernel '%.60s'", func ? func->name : "?");
        return text;
    case VGPU_CMD_EVENT_RECORD: return "event record";
    case VGPU_CMD_EVENT_WAIT: return "event wait";
    default: return "command";
    }
}

bool cuda_job_suspects(const struct vgpu_exec *exec, char *text, size_t bytes)
{
    const struct vgpu_job *suspect = NULL;
    uint64_t others = 0;
    char name[80];

    for (const struct cuda_stream *s = exec->busy; s; s = s->next_busy) {
        for (const struct vgpu_job *job = s->issued.first; job; job = job->next) {
            others++;
            if (!suspect || (suspect->opcode != VGPU_CMD_LAUNCH && job->opcode == VGPU_CMD_LAUNCH))
                suspect = job;
        }
    }
    if (!suspect)
        return false;
    if (others == 1)
        snprintf(text, bytes, "%s", job_name(exec, suspect, name, sizeof(name)));
    else
        snprintf(text, bytes, "%s, or one of %llu commands issued with it",
                 job_name(exec, suspect, name, sizeof(name)), (unsigned long long)others - 1);
    return true;
}

/* The job is with CUDA (or was refused): completion is the next mark's affair. */
static void issued(struct vgpu_exec *exec, struct cuda_stream *stream, struct vgpu_job *job,
                   CUresult result)
{
    char text[80];

    job->status = result == CUDA_SUCCESS
                      ? VGPU_ST_OK
                      : cuda_status(exec, result, job_name(exec, job, text, sizeof(text)));
    cuda_fifo_push(&stream->issued, job);
    stream->unmarked++;
}

static bool is_copy(const struct vgpu_job *job)
{
    return job->opcode == VGPU_CMD_COPY_H2D || job->opcode == VGPU_CMD_COPY_D2H;
}

static bool marks_full(const struct cuda_stream *stream)
{
    return stream->mark_prod - stream->mark_cons == CUDA_MAX_MARKS;
}

static void mark(struct vgpu_exec *exec, struct cuda_stream *stream);

/* Issue what the stream's pending FIFO allows. */
static void issue_pending(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    struct vgpu_job *job;

    while ((job = stream->pending.first) && !exec->faulted) {
        if (stream->staged.job)
            return;
        if (exec->cfg.deadline_ms && (stream->unmarked > 0 || marks_full(stream)))
            return;
        if (job->opcode == VGPU_CMD_EVENT_WAIT) {
            const struct cuda_record *record = job->priv;

            if (record && !record->issued)
                return;
        }
        if (is_copy(job) && job->status == VGPU_ST_OK && job->u.copy.bytes > 0 &&
            cuda_copy_choose(exec, job) == CUDA_COPY_STAGED) {
            cuda_fifo_pop(&stream->pending);
            cuda_copy_start(stream, job);
            return;
        }
        cuda_fifo_pop(&stream->pending);
        if (job->status != VGPU_ST_OK) {
            cuda_fifo_push(&stream->issued, job);
            stream->unmarked++;
        } else {
            issued(exec, stream, job, issue(exec, stream, job));
        }
        if (exec->cfg.deadline_ms)
            mark(exec, stream);
    }
}

/* Refusals that need no GPU. */
static uint16_t check(struct vgpu_exec *exec, struct vgpu_job *job)
{
    struct cuda_event *event;
    struct cuda_record *record;
    CUresult result;

    switch (job->opcode) {
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H:
        return job->u.copy.bytes == 0 ||
                       cuda_mem_valid(exec, job->u.copy.dev_addr, job->u.copy.bytes)
                   ? VGPU_ST_OK
                   : VGPU_ST_BAD_ADDRESS;
    case VGPU_CMD_COPY_D2D:
        return job->u.d2d.bytes == 0 || (cuda_mem_valid(exec, job->u.d2d.dst, job->u.d2d.bytes) &&
                                         cuda_mem_valid(exec, job->u.d2d.src, job->u.d2d.bytes))
                   ? VGPU_ST_OK
                   : VGPU_ST_BAD_ADDRESS;
    case VGPU_CMD_MEMSET:
        if (job->u.memset.count > (1ull << 48) || job->u.memset.dev_addr % job->u.memset.width)
            return VGPU_ST_BAD_VALUE;
        return job->u.memset.count == 0 || cuda_mem_valid(exec, job->u.memset.dev_addr,
                                                          job->u.memset.count * job->u.memset.width)
                   ? VGPU_ST_OK
                   : VGPU_ST_BAD_ADDRESS;
    case VGPU_CMD_EVENT_RECORD:
        event = cuda_table_get(&exec->events, job->u.event);
        if (!event)
            return VGPU_ST_BAD_HANDLE;
        result = cuda_record_open(exec, event, &record);
        if (result != CUDA_SUCCESS)
            return cuda_status(exec, result, "cuEventCreate");
        job->priv = record;
        return VGPU_ST_OK;
    case VGPU_CMD_EVENT_WAIT:
        event = cuda_table_get(&exec->events, job->u.event);
        if (!event)
            return VGPU_ST_BAD_HANDLE;
        job->priv = cuda_record_get(event->latest);
        return VGPU_ST_OK;
    default: return VGPU_ST_OK;
    }
}

static bool is_empty_work(const struct vgpu_job *job)
{
    return job->opcode == VGPU_CMD_NOP || (is_copy(job) && job->u.copy.bytes == 0) ||
           (job->opcode == VGPU_CMD_COPY_D2D && job->u.d2d.bytes == 0) ||
           (job->opcode == VGPU_CMD_MEMSET && job->u.memset.count == 0);
}

enum vgpu_submit_result cuda_submit(struct vgpu_exec *exec, struct vgpu_job *job)
{
    struct cuda_stream *stream = cuda_stream_get(exec, job->stream);

    if (exec->faulted || !stream) {
        job->status = exec->faulted ? exec->fault.status : VGPU_ST_BAD_HANDLE;
        return VGPU_SUBMIT_DONE;
    }
    if (stream->inflight >= exec->cfg.max_inflight)
        return VGPU_SUBMIT_FULL;
    job->priv = NULL;
    job->status = check(exec, job);
    if (!stream->busy && (job->status != VGPU_ST_OK || is_empty_work(job)))
        return VGPU_SUBMIT_DONE;
    if (is_empty_work(job))
        job->opcode = VGPU_CMD_NOP;
    stream->inflight++;
    busy_insert(exec, stream);
    cuda_fifo_push(&stream->pending, job);
    issue_pending(exec, stream);
    return VGPU_SUBMIT_QUEUED;
}

static void complete(struct vgpu_exec *exec, struct cuda_stream *stream, struct vgpu_job *job)
{
    if (exec->faulted && job->status == VGPU_ST_OK)
        job->status = exec->fault.status;
    if (job->status == VGPU_ST_OK && job->opcode == VGPU_CMD_LAUNCH)
        exec->kernels++;
    if (job->opcode == VGPU_CMD_EVENT_RECORD && job->priv) {
        struct cuda_record *record = job->priv;

        cuda_record_see(exec, stream, record, job->status == VGPU_ST_OK);
        job->result = record->time_ns;
    }
    if (job->opcode == VGPU_CMD_EVENT_RECORD || job->opcode == VGPU_CMD_EVENT_WAIT)
        cuda_record_put(exec, job->priv);
    job->priv = NULL;
    stream->inflight--;
    cuda_fifo_push(&exec->done, job);
}

/* A wait is not reported before the record it waited for, which may be in another stream. */
static bool waits_for_report(const struct vgpu_job *job)
{
    const struct cuda_record *record = job->priv;

    return job->opcode == VGPU_CMD_EVENT_WAIT && job->status == VGPU_ST_OK && record &&
           !record->seen;
}

/* Harvest completed marks, oldest first. */
static void harvest(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    while (stream->mark_cons != stream->mark_prod && !exec->faulted) {
        struct cuda_mark *mark = &stream->marks[stream->mark_cons % CUDA_MAX_MARKS];
        CUresult result = exec->cu.cuEventQuery(mark->cu);
        struct vgpu_job *job;

        if (result == CUDA_ERROR_NOT_READY)
            return;
        if (result != CUDA_SUCCESS) {
            cuda_lose(exec, result, "a query");
            return;
        }
        if (mark->prints) {
            mark->prints = false;
            cuda_print_collect(exec, mark->cu);
            if (exec->faulted)
                return;
        }
        do {
            if (waits_for_report(stream->issued.first))
                return;
            job = cuda_fifo_pop(&stream->issued);
            complete(exec, stream, job);
        } while (job != mark->last);
        stream->mark_cons++;
        stream->head_since_ns = cuda_now_ns();
    }
}

static void mark(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    struct cuda_mark *next = &stream->marks[stream->mark_prod % CUDA_MAX_MARKS];
    CUresult result;

    if (stream->unmarked == 0 || marks_full(stream) || cuda_waiter_holds(&stream->waiter, next->cu))
        return;
    result = exec->cu.cuEventRecord(next->cu, stream->cu);
    if (result != CUDA_SUCCESS) {
        cuda_lose(exec, result, "marking a stream");
        return;
    }
    next->last = stream->issued.last;
    next->prints = stream->prints;
    stream->prints = false;
    if (stream->mark_cons == stream->mark_prod)
        stream->head_since_ns = cuda_now_ns();
    stream->mark_prod++;
    stream->unmarked = 0;
}

uint64_t cuda_stream_deadline(const struct vgpu_exec *exec, const struct cuda_stream *stream)
{
    if (!exec->cfg.deadline_ms || stream->mark_cons == stream->mark_prod ||
        stream->marks[stream->mark_cons % CUDA_MAX_MARKS].last->opcode != VGPU_CMD_LAUNCH)
        return UINT64_MAX;
    return stream->head_since_ns + exec->cfg.deadline_ms * 1000000ull;
}

void cuda_deadline_fault(struct vgpu_exec *exec, const struct vgpu_job *job,
                         struct vgpu_exec_fault *fault)
{
    char name[80];

    *fault = (struct vgpu_exec_fault){.status = VGPU_ST_TIMEOUT};
    snprintf(fault->message, sizeof(fault->message),
             "%s: still running after its deadline of %u ms",
             job_name(exec, job, name, sizeof(name)), exec->cfg.deadline_ms);
}

static void check_deadline(struct vgpu_exec *exec, const struct cuda_stream *stream)
{
    uint64_t deadline = cuda_stream_deadline(exec, stream);

    if (exec->faulted || deadline == UINT64_MAX || cuda_now_ns() <= deadline)
        return;
    exec->faulted = true;
    cuda_deadline_fault(exec, stream->issued.first, &exec->fault);
}

/* After a sticky error nothing will ever complete: everything ends with the fault. */
static void flush(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    struct vgpu_job *job;

    while ((job = cuda_fifo_pop(&stream->issued)))
        complete(exec, stream, job);
    if (stream->staged.job) {
        complete(exec, stream, stream->staged.job);
        stream->staged.job = NULL;
    }
    while ((job = cuda_fifo_pop(&stream->pending)))
        complete(exec, stream, job);
    stream->mark_cons = stream->mark_prod;
    stream->unmarked = 0;
}

static void advance_staged(struct vgpu_exec *exec, struct cuda_stream *stream)
{
    struct vgpu_job *job = stream->staged.job;
    CUresult result;

    if (job && !exec->faulted && cuda_copy_advance(exec, stream, &result))
        issued(exec, stream, job, result);
}

size_t cuda_poll(struct vgpu_exec *exec, struct vgpu_job **jobs, size_t max)
{
    struct cuda_stream *next;
    size_t count = 0;

    if (!exec->done.first) {
        for (struct cuda_stream *stream = exec->busy; stream; stream = next) {
            next = stream->next_busy;
            advance_staged(exec, stream);
            issue_pending(exec, stream);
            mark(exec, stream);
            harvest(exec, stream);
            check_deadline(exec, stream);
            if (exec->faulted)
                flush(exec, stream);
            if (stream->inflight == 0)
                busy_remove(exec, stream);
        }
    }
    while (count < max && exec->done.first)
        jobs[count++] = cuda_fifo_pop(&exec->done);
    return count;
}
