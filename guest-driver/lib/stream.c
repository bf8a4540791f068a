/* SPDX-License-Identifier: MIT */
/*
 * Streams, events, and synchronising.
 *
 * Failures of detached commands are kept per stream (struct async_error), first one
 * first, and handed out once by the next synchronisation of that stream or of all.
 *
 * An event counts its records.  A record's completion marks its number done, so
 * waiting for an event is waiting for a number; the device's own EVENT_WAIT does the
 * ordering between streams.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

uint32_t stream_id(const struct vgpu_stream *stream)
{
    return stream ? stream->id : 0;
}

struct async_error *stream_error(struct vgpu_ctx *ctx, struct vgpu_stream *stream)
{
    return stream ? &stream->error : &ctx->default_error;
}

/* Hands the failure out.  Caller holds the lock. */
static uint16_t error_take(struct async_error *error)
{
    uint16_t status = error->status;

    error->status = VGPU_ST_OK;
    return status;
}

int vgpu_nop(struct vgpu_ctx *ctx, struct vgpu_stream *stream)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_NOP, .stream = stream_id(stream)};

    return engine_run(ctx, &sqe, NULL);
}

int vgpu_stream_sync(struct vgpu_ctx *ctx, struct vgpu_stream *stream)
{
    uint64_t mark = output_mark(ctx);
    uint16_t status;
    int err = vgpu_nop(ctx, stream);

    if (err)
        return err;
    output_flush(ctx, mark, false);
    pthread_mutex_lock(&ctx->lock);
    status = error_take(stream_error(ctx, stream));
    pthread_mutex_unlock(&ctx->lock);
    return vgpu_fail(status);
}

int vgpu_sync(struct vgpu_ctx *ctx)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_FENCE};
    uint64_t mark = output_mark(ctx);
    uint16_t first, status;
    int err = engine_run(ctx, &sqe, NULL);

    if (err)
        return err;
    output_flush(ctx, mark, true);
    pthread_mutex_lock(&ctx->lock);
    first = error_take(&ctx->default_error);
    for (struct vgpu_stream *s = ctx->streams; s; s = s->next) {
        status = error_take(&s->error);
        if (first == VGPU_ST_OK)
            first = status;
    }
    pthread_mutex_unlock(&ctx->lock);
    return vgpu_fail(first);
}

int vgpu_stream_create(struct vgpu_ctx *ctx, int32_t priority, struct vgpu_stream **out)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_STREAM_CREATE,
                           .u.stream_create.priority = (uint32_t)priority};
    struct vgpu_stream *stream = calloc(1, sizeof(*stream));
    struct vgpu_cqe cqe;
    int err;

    if (!stream)
        return vgpu_fail_errno(-ENOMEM);
    err = engine_run(ctx, &sqe, &cqe);
    if (err) {
        free(stream);
        return err;
    }
    stream->ctx = ctx;
    stream->id = (uint32_t)cqe.result;
    pthread_mutex_lock(&ctx->lock);
    stream->next = ctx->streams;
    ctx->streams = stream;
    pthread_mutex_unlock(&ctx->lock);
    *out = stream;
    return 0;
}

/* STREAM_DESTROY waits for all earlier commands: none refers to the object after it. */
int vgpu_stream_destroy(struct vgpu_stream *stream)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_STREAM_DESTROY};
    struct vgpu_ctx *ctx;
    int err;

    if (!stream)
        return 0;
    ctx = stream->ctx;
    sqe.u.stream_id.id = stream->id;
    err = engine_run(ctx, &sqe, NULL);
    /* On a lost context it stays in the list, for vgpu_close(): commands may refer to it. */
    if (err)
        return err;
    pthread_mutex_lock(&ctx->lock);
    for (struct vgpu_stream **p = &ctx->streams; *p; p = &(*p)->next) {
        if (*p == stream) {
            *p = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&ctx->lock);
    free(stream);
    return 0;
}

/* ---- events ---- */

int vgpu_event_create(struct vgpu_ctx *ctx, struct vgpu_event **out)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_EVENT_CREATE};
    struct vgpu_event *event = calloc(1, sizeof(*event));
    struct vgpu_cqe cqe;
    int err;

    if (!event)
        return vgpu_fail_errno(-ENOMEM);
    err = engine_run(ctx, &sqe, &cqe);
    if (err) {
        free(event);
        return err;
    }
    event->ctx = ctx;
    event->id = (uint32_t)cqe.result;
    pthread_mutex_lock(&ctx->lock);
    event->next = ctx->events;
    ctx->events = event;
    pthread_mutex_unlock(&ctx->lock);
    *out = event;
    return 0;
}

int vgpu_event_destroy(struct vgpu_event *event)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_EVENT_DESTROY};
    struct vgpu_ctx *ctx;
    int err;

    if (!event)
        return 0;
    ctx = event->ctx;
    sqe.u.event.id = event->id;
    err = engine_run(ctx, &sqe, NULL);
    if (err)
        return err;
    pthread_mutex_lock(&ctx->lock);
    for (struct vgpu_event **p = &ctx->events; *p; p = &(*p)->next) {
        if (*p == event) {
            *p = event->next;
            break;
        }
    }
    pthread_mutex_unlock(&ctx->lock);
    free(event);
    return 0;
}

int vgpu_event_record(struct vgpu_event *event, struct vgpu_stream *stream)
{
    struct vgpu_sqe sqe = {
        .opcode = VGPU_CMD_EVENT_RECORD, .stream = stream_id(stream), .u.event.id = event->id};
    struct detached det = {
        .arena_off = ARENA_NONE, .error = stream_error(event->ctx, stream), .event = event};

    return engine_submit_detached(event->ctx, &sqe, &det);
}

int vgpu_event_wait(struct vgpu_event *event, struct vgpu_stream *stream)
{
    struct vgpu_sqe sqe = {
        .opcode = VGPU_CMD_EVENT_WAIT, .stream = stream_id(stream), .u.event.id = event->id};
    struct detached det = {.arena_off = ARENA_NONE, .error = stream_error(event->ctx, stream)};

    return engine_submit_detached(event->ctx, &sqe, &det);
}

int vgpu_event_query(struct vgpu_event *event, uint64_t *time_ns)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_EVENT_QUERY, .u.event.id = event->id};
    struct vgpu_cqe cqe;
    int err = engine_run(event->ctx, &sqe, &cqe);

    if (!err)
        *time_ns = cqe.result;
    return err;
}

struct event_goal {
    const struct vgpu_event *event;
    uint32_t seq;
};

static bool event_has_reached(struct vgpu_ctx *ctx, const void *arg)
{
    const struct event_goal *goal = arg;

    return (int32_t)(goal->event->done_seq - goal->seq) >= 0;
}

int vgpu_event_sync(struct vgpu_event *event)
{
    struct event_goal goal = {.event = event};
    uint64_t mark = output_mark(event->ctx);
    int err = engine_check(event->ctx);

    if (err)
        return err;
    pthread_mutex_lock(&event->ctx->lock);
    goal.seq = event->seq;
    pthread_mutex_unlock(&event->ctx->lock);
    err = engine_wait(event->ctx, event_has_reached, &goal);
    if (!err)
        output_flush(event->ctx, mark, false);
    return err;
}

void stream_forget_all(struct vgpu_ctx *ctx)
{
    while (ctx->streams) {
        struct vgpu_stream *stream = ctx->streams;

        ctx->streams = stream->next;
        free(stream);
    }
    while (ctx->events) {
        struct vgpu_event *event = ctx->events;

        ctx->events = event->next;
        free(event);
    }
}
