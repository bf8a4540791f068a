/* SPDX-License-Identifier: MIT */
/*
 * Driver API chapters "Stream Management", "Event Management" and "Execution Control", and the
 * stream threads behind them.
 *
 * An event is a handle to its *latest record*: cuEventRecord() makes a new record and
 * queues its completion; queries and waits refer to the record that was latest when they
 * were called, as documented.  The null stream follows "legacy" semantics: its work waits for all
 * blocking streams, and they wait for it.
 */
#include <stdlib.h>
#include <string.h>
#include "fake.h"

static struct fake_record *record_get(struct fake_record *record)
{
    if (record)
        __atomic_add_fetch(&record->refs, 1, __ATOMIC_RELAXED);
    return record;
}

void fake_record_put(struct fake_record *record)
{
    if (record && __atomic_sub_fetch(&record->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(record);
}

void fake_lose(struct CUctx_st *ctx, CUresult error)
{
    pthread_mutex_lock(&ctx->lock);
    /* Read under the lock, and by who holds none with acquire. */
    if (ctx->sticky == CUDA_SUCCESS)
        __atomic_store_n(&ctx->sticky, error, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&ctx->progress);
    pthread_mutex_unlock(&ctx->lock);
}

static CUresult fault_result(enum vgpu_ptx_fault_kind kind)
{
    switch (kind) {
    case VGPU_PTX_FAULT_ILLEGAL_ADDRESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case VGPU_PTX_FAULT_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case VGPU_PTX_FAULT_ASSERT: return CUDA_ERROR_ASSERT;
    case VGPU_PTX_FAULT_INSTRUCTION: return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case VGPU_PTX_FAULT_STACK: return CUDA_ERROR_HARDWARE_STACK_ERROR;
    default: return CUDA_ERROR_LAUNCH_FAILED;
    }
}

static void run_launch(struct CUctx_st *ctx, struct fake_op *op)
{
    struct vgpu_ptx_fault fault = {0};
    enum vgpu_ptx_status status;

    op->launch.params = op->params;
    op->launch.cancel = &ctx->cancel;
    status = vgpu_ptx_launch_run(ctx->machine, &op->launch, &fault, NULL);
    if (status == VGPU_PTX_FAULT && fault.kind == VGPU_PTX_FAULT_DEADLOCK) {
        /* A GPU would wait at the barrier for ever. */
        pthread_mutex_lock(&ctx->lock);
        while (!__atomic_load_n(&ctx->cancel, __ATOMIC_ACQUIRE))
            pthread_cond_wait(&ctx->progress, &ctx->lock);
        pthread_mutex_unlock(&ctx->lock);
    } else if (status != VGPU_PTX_OK && status != VGPU_PTX_CANCELLED) {
        fake_lose(ctx, fault_result(fault.kind));
    }
}

static void run_copy(struct CUctx_st *ctx, struct fake_op *op)
{
    void *dst = op->host_dst;
    const void *src = op->host_src;

    if (!dst)
        dst = vgpu_ptx_mem_translate(ctx->machine, op->dev_dst, op->bytes);
    if (!src)
        src = vgpu_ptx_mem_translate(ctx->machine, op->dev_src, op->bytes);
    if (dst && src)
        memcpy(dst, src, op->bytes);
    else
        fake_lose(ctx, CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void run(struct CUctx_st *ctx, struct fake_op *op)
{
    if (__atomic_load_n(&ctx->sticky, __ATOMIC_ACQUIRE) != CUDA_SUCCESS)
        return;
    switch (op->kind) {
    case FAKE_COPY: run_copy(ctx, op); break;
    case FAKE_SET:
        if (vgpu_ptx_mem_fill(ctx->machine, op->dev_dst, op->value, op->width, op->bytes) !=
            VGPU_PTX_OK)
            fake_lose(ctx, CUDA_ERROR_ILLEGAL_ADDRESS);
        break;
    case FAKE_LAUNCH: run_launch(ctx, op); break;
    case FAKE_WAIT:
        pthread_mutex_lock(&ctx->lock);
        while (!op->record->done && ctx->sticky == CUDA_SUCCESS &&
               !__atomic_load_n(&ctx->cancel, __ATOMIC_ACQUIRE))
            pthread_cond_wait(&ctx->progress, &ctx->lock);
        pthread_mutex_unlock(&ctx->lock);
        break;
    case FAKE_RECORD: break; /* below, under the lock */
    }
}

static void *stream_main(void *opaque)
{
    struct CUstream_st *stream = opaque;
    struct CUctx_st *ctx = stream->ctx;
    struct fake_op *op;

    pthread_mutex_lock(&ctx->lock);
    for (;;) {
        while (!stream->first && !stream->closing)
            pthread_cond_wait(&stream->changed, &ctx->lock);
        op = stream->first;
        if (!op)
            break;
        stream->first = op->next;
        if (!stream->first)
            stream->last = NULL;
        stream->running = true;
        pthread_mutex_unlock(&ctx->lock);
        run(ctx, op);
        pthread_mutex_lock(&ctx->lock);
        if (op->kind == FAKE_RECORD && ctx->sticky == CUDA_SUCCESS) {
            op->record->done = true;
            op->record->time_ns = fake_now_ns() + (ctx->records++ ? fake_idle_ns() : 0);
        }
        stream->running = false;
        pthread_cond_broadcast(&ctx->progress);
        fake_record_put(op->record);
        free(op->owned);
        free(op);
    }
    pthread_mutex_unlock(&ctx->lock);
    return NULL;
}

struct CUstream_st *fake_stream_open(struct CUctx_st *ctx, bool blocking)
{
    struct CUstream_st *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->ctx = ctx;
    stream->blocking = blocking;
    pthread_cond_init(&stream->changed, NULL);
    if (pthread_create(&stream->thread, NULL, stream_main, stream) != 0) {
        free(stream);
        return NULL;
    }
    pthread_mutex_lock(&ctx->lock);
    stream->next = ctx->streams;
    ctx->streams = stream;
    pthread_mutex_unlock(&ctx->lock);
    return stream;
}

/* A stream that is destroyed with work in it goes when that is done (cuStreamDestroy): this one waits
 * for it. */
void fake_stream_close(struct CUstream_st *stream)
{
    struct CUctx_st *ctx = stream->ctx;
    struct CUstream_st **link;

    pthread_mutex_lock(&ctx->lock);
    stream->closing = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_cond_broadcast(&ctx->progress);
    for (link = &ctx->streams; *link != stream; link = &(*link)->next)
        ;
    *link = stream->next;
    pthread_mutex_unlock(&ctx->lock);
    pthread_join(stream->thread, NULL);
    pthread_cond_destroy(&stream->changed);
    free(stream);
}

static void push(struct CUstream_st *stream, struct fake_op *op)
{
    op->next = NULL;
    if (stream->last)
        stream->last->next = op;
    else
        stream->first = op;
    stream->last = op;
    pthread_cond_signal(&stream->changed);
}

/* Make `after` wait for everything queued on `before` so far. False: out of memory. */
static bool order(struct CUstream_st *before, struct CUstream_st *after)
{
    struct fake_op *tell = calloc(1, sizeof(*tell));
    struct fake_op *wait = calloc(1, sizeof(*wait));
    struct fake_record *record = calloc(1, sizeof(*record));

    if (!tell || !wait || !record) {
        free(tell);
        free(wait);
        free(record);
        return false;
    }
    record->refs = 2;
    tell->kind = FAKE_RECORD;
    wait->kind = FAKE_WAIT;
    tell->record = wait->record = record;
    push(before, tell);
    push(after, wait);
    return true;
}

CUresult fake_enqueue(struct CUctx_st *ctx, CUstream stream, struct fake_op *op)
{
    bool ordered = true;

    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&ctx->lock);
    if (!stream) {
        stream = ctx->null_stream;
        for (struct CUstream_st *s = ctx->streams; s; s = s->next) {
            if (s->blocking && (s->first || s->running))
                ordered = ordered && order(s, stream);
        }
    } else if (stream->blocking && (ctx->null_stream->first || ctx->null_stream->running)) {
        ordered = order(ctx->null_stream, stream);
    }
    push(stream, op);
    pthread_mutex_unlock(&ctx->lock);
    return ordered ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fake_wait_idle(struct CUctx_st *ctx, struct CUstream_st *stream)
{
    if (!stream)
        stream = ctx->null_stream;
    pthread_mutex_lock(&ctx->lock);
    while ((stream->first || stream->running) && ctx->sticky == CUDA_SUCCESS)
        pthread_cond_wait(&ctx->progress, &ctx->lock);
    pthread_mutex_unlock(&ctx->lock);
    return __atomic_load_n(&ctx->sticky, __ATOMIC_ACQUIRE);
}

FAKE_EXPORT CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
    struct CUctx_st *ctx;

    (void)priority; /* out of range is clamped, as documented; threads here have none */
    FAKE_ENTER(ctx);
    if (flags & ~(unsigned int)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    *stream = fake_stream_open(ctx, !(flags & CU_STREAM_NON_BLOCKING));
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FAKE_EXPORT CUresult cuStreamDestroy_v2(CUstream stream)
{
    CUresult result;

    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (fake_enter_destroy(__func__, stream->ctx, &result))
        fake_stream_close(stream);
    return result;
}

FAKE_EXPORT CUresult cuStreamSynchronize(CUstream stream)
{
    struct CUctx_st *ctx;
    CUresult result;

    FAKE_ENTER(ctx);
    result = fake_wait_idle(ctx, stream);
    fake_print_flush(ctx);
    return result;
}

FAKE_EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
    struct CUctx_st *ctx;
    struct fake_op *op;

    FAKE_ENTER(ctx);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!event->latest)
        return CUDA_SUCCESS; /* never recorded: "the call has no effect" */
    op = calloc(1, sizeof(*op));
    if (op) {
        op->kind = FAKE_WAIT;
        op->record = record_get(event->latest);
    }
    return fake_enqueue(ctx, stream, op);
}

FAKE_EXPORT CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (flags & ~(unsigned int)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    *event = calloc(1, sizeof(**event));
    if (!*event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    (*event)->ctx = ctx;
    (*event)->flags = flags;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuEventDestroy_v2(CUevent event)
{
    CUresult result;

    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (fake_enter_destroy(__func__, event->ctx, &result)) {
        fake_record_put(event->latest);
        free(event);
    }
    return result;
}

FAKE_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    struct fake_record *record;
    struct CUctx_st *ctx;
    struct fake_op *op;

    FAKE_ENTER(ctx);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    op = calloc(1, sizeof(*op));
    record = calloc(1, sizeof(*record));
    if (!op || !record) {
        free(op);
        free(record);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    record->refs = 2;
    op->kind = FAKE_RECORD;
    op->record = record;
    pthread_mutex_lock(&ctx->lock);
    fake_record_put(event->latest);
    event->latest = record;
    pthread_mutex_unlock(&ctx->lock);
    return fake_enqueue(ctx, stream, op);
}

FAKE_EXPORT CUresult cuEventQuery(CUevent event)
{
    struct CUctx_st *ctx;
    bool done;

    FAKE_ENTER(ctx);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&ctx->lock);
    done = !event->latest || event->latest->done;
    pthread_mutex_unlock(&ctx->lock);
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

FAKE_EXPORT CUresult cuEventSynchronize(CUevent event)
{
    struct fake_record *record;
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_WAITING);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&ctx->lock);
    record = record_get(event->latest);
    while (record && !record->done && ctx->sticky == CUDA_SUCCESS &&
           !__atomic_load_n(&ctx->cancel, __ATOMIC_ACQUIRE))
        pthread_cond_wait(&ctx->progress, &ctx->lock);
    pthread_mutex_unlock(&ctx->lock);
    fake_record_put(record);
    fake_print_flush(ctx);
    return __atomic_load_n(&ctx->sticky, __ATOMIC_ACQUIRE);
}

FAKE_EXPORT CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    struct CUctx_st *ctx;
    CUresult result = CUDA_SUCCESS;

    FAKE_ENTER(ctx);
    if (!start || !end || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&ctx->lock);
    if (!start->latest || !end->latest)
        result = CUDA_ERROR_INVALID_HANDLE;
    else if (!start->latest->done || !end->latest->done)
        result = CUDA_ERROR_NOT_READY;
    else
        *ms = (float)((double)((int64_t)(end->latest->time_ns - start->latest->time_ns)) / 1e6);
    pthread_mutex_unlock(&ctx->lock);
    return result;
}
