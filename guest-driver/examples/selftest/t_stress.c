/* SPDX-License-Identifier: MIT */
/*
 * Much at once: threads on one context, streams and events, many contexts, many
 * openings, and threads that wait while their context is lost.
 */
#include "st.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NTHREADS  8
#define NCONTEXTS 32

struct job {
    struct vgpu_ctx *ctx;
    unsigned int number;
    pthread_t thread;
};

static void start(struct job *jobs, unsigned int n, struct vgpu_ctx *ctx, void *(*fn)(void *))
{
    for (unsigned int i = 0; i < n; i++) {
        jobs[i] = (struct job){.ctx = ctx, .number = i};
        ST_CHECK(!pthread_create(&jobs[i].thread, NULL, fn, &jobs[i]), "pthread_create");
    }
}

static void join(struct job *jobs, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++)
        pthread_join(jobs[i].thread, NULL);
}

/* Copies of its own pattern on a stream of its own, in between everybody's commands. */
static void *copier(void *arg)
{
    struct job *job = arg;
    uint8_t up[9001], down[9001];
    struct vgpu_stream *stream;
    uint64_t a, b;

    ST_EQUAL(vgpu_stream_create(job->ctx, (int)job->number % 3 - 1, &stream), 0, "stream");
    ST_EQUAL(vgpu_mem_alloc(job->ctx, sizeof(up), &a), 0, "vgpu_mem_alloc");
    ST_EQUAL(vgpu_mem_alloc(job->ctx, sizeof(up), &b), 0, "vgpu_mem_alloc");
    for (uint32_t round = 0; round < 40; round++) {
        size_t bytes = 1 + (round * 977 + job->number * 131) % sizeof(up);

        st_pattern(up, bytes, round * NTHREADS + job->number);
        memset(down, 0, sizeof(down));
        ST_EQUAL(vgpu_copy_h2d(job->ctx, stream, a, up, bytes), 0, "h2d");
        ST_EQUAL(vgpu_copy_d2d(job->ctx, stream, b, a, bytes), 0, "d2d");
        ST_EQUAL(vgpu_copy_d2h(job->ctx, stream, down, b, bytes), 0, "d2h");
        ST_CHECK(!st_computes(job->ctx) || !memcmp(up, down, bytes),
                 "thread %u, round %u: another's data", job->number, round);
        for (int i = 0; i < 20; i++)
            ST_EQUAL(vgpu_nop(job->ctx, stream), 0, "nop");
    }
    ST_EQUAL(vgpu_mem_free(job->ctx, a), 0, "vgpu_mem_free");
    ST_EQUAL(vgpu_mem_free(job->ctx, b), 0, "vgpu_mem_free");
    ST_EQUAL(vgpu_stream_destroy(stream), 0, "vgpu_stream_destroy");
    return NULL;
}

static void threads_with(const struct vgpu_options *options)
{
    struct vgpu_ctx *ctx = st_open(options);
    struct job jobs[NTHREADS];

    start(jobs, NTHREADS, ctx, copier);
    join(jobs, NTHREADS);
    ST_EQUAL(vgpu_sync(ctx), 0, "sync");
    vgpu_close(ctx);
}

static void threads_and_streams(void)
{
    threads_with(NULL);
}

static void threads_that_sleep(void)
{
    /* The smallest ring and arena: threads wait for slots and blocks as well. */
    struct vgpu_options options = {
        .sq_log2 = 6, .arena_bytes = 8192, .flags = VGPU_OPEN_NEVER_SPIN};

    threads_with(&options);
}

static void ring_wraps_often(void)
{
    struct vgpu_options options = {.sq_log2 = 6};
    struct vgpu_ctx *ctx = st_open(&options);
    uint64_t dev;

    ST_EQUAL(vgpu_mem_alloc(ctx, 4096, &dev), 0, "vgpu_mem_alloc");
    for (int i = 0; i < 20000; i++)
        ST_EQUAL(vgpu_memset(ctx, NULL, dev, (uint32_t)i, 4, 1024), 0, "memset");
    ST_EQUAL(vgpu_sync(ctx), 0, "sync");
    if (st_computes(ctx)) {
        uint32_t word = 0;

        ST_EQUAL(vgpu_copy_d2h(ctx, NULL, &word, dev + 4092, 4), 0, "d2h");
        ST_EQUAL(word, 19999, "the last command's value");
    }
    vgpu_close(ctx);
}

static void events_order_streams(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_stream *one, *two;
    struct vgpu_event *event;
    uint64_t dev, t1 = 0, t2 = 0;
    uint32_t word = 0;

    ST_EQUAL(vgpu_stream_create(ctx, 0, &one), 0, "stream");
    ST_EQUAL(vgpu_stream_create(ctx, 0, &two), 0, "stream");
    ST_EQUAL(vgpu_event_create(ctx, &event), 0, "event");
    ST_EQUAL(vgpu_event_sync(event), 0, "an event never recorded");
    ST_EQUAL(vgpu_mem_alloc(ctx, 16 << 20, &dev), 0, "vgpu_mem_alloc");
    for (uint32_t i = 1; i < 20; i++) {
        ST_EQUAL(vgpu_memset(ctx, one, dev, i, 4, 4 << 20), 0, "memset");
        ST_EQUAL(vgpu_event_record(event, one), 0, "record");
        ST_EQUAL(vgpu_event_wait(event, two), 0, "wait");
        if (st_computes(ctx)) {
            ST_EQUAL(vgpu_copy_d2h(ctx, two, &word, dev + (16 << 20) - 4, 4), 0, "d2h");
            ST_EQUAL(word, i, "what the other stream wrote before");
        }
    }
    ST_EQUAL(vgpu_event_sync(event), 0, "vgpu_event_sync");
    ST_EQUAL(vgpu_event_query(event, &t1), 0, "vgpu_event_query");
    ST_EQUAL(vgpu_event_record(event, one), 0, "record");
    ST_EQUAL(vgpu_event_sync(event), 0, "vgpu_event_sync");
    ST_EQUAL(vgpu_event_query(event, &t2), 0, "vgpu_event_query");
    ST_CHECK(t2 >= t1, "time went back: %llu, %llu", (unsigned long long)t1,
             (unsigned long long)t2);
    ST_EQUAL(vgpu_event_destroy(event), 0, "vgpu_event_destroy");
    ST_EQUAL(vgpu_stream_destroy(one), 0, "vgpu_stream_destroy");
    ST_EQUAL(vgpu_stream_destroy(two), 0, "vgpu_stream_destroy");
    vgpu_close(ctx);
}

static void many_contexts(void)
{
    struct vgpu_options options = {.sq_log2 = 6, .arena_bytes = 65536};
    struct vgpu_ctx *ctx[NCONTEXTS];
    uint64_t dev[NCONTEXTS];
    uint32_t word;

    for (uint32_t i = 0; i < NCONTEXTS; i++) {
        ctx[i] = st_open(&options);
        ST_EQUAL(vgpu_mem_alloc(ctx[i], 65536, &dev[i]), 0, "vgpu_mem_alloc");
        ST_EQUAL(vgpu_memset(ctx[i], NULL, dev[i], i + 1, 4, 16384), 0, "memset");
    }
    for (uint32_t i = 0; i < NCONTEXTS; i++) {
        ST_EQUAL(vgpu_copy_d2h(ctx[i], NULL, &word, dev[i] + 65532, 4), 0, "d2h");
        if (st_computes(ctx[i]))
            ST_EQUAL(word, i + 1, "a context's own value");
    }
    for (uint32_t i = 0; i < NCONTEXTS; i++)
        vgpu_close(ctx[(i * 7) % NCONTEXTS]);
}

static void contexts_run_out(void)
{
    struct vgpu_options options = {.sq_log2 = 6, .arena_bytes = 4096};
    struct vgpu_ctx *ctx[VGPU_MAX_CONTEXTS + 1];
    struct vgpu_info info;
    uint32_t n = 0;
    int err = 0;

    while (!err && n <= VGPU_MAX_CONTEXTS) {
        err = vgpu_open(st_options.device, &options, &ctx[n]);
        n += !err;
    }
    ST_CHECK(n > 0, "none could be opened");
    vgpu_get_info(ctx[0], &info);
    ST_EQUAL(err, -ENOSPC, "the end");
    ST_EQUAL(n, info.max_contexts, "contexts");
    ST_EQUAL(vgpu_nop(ctx[0], NULL), 0, "the first");
    ST_EQUAL(vgpu_nop(ctx[n - 1], NULL), 0, "the last");
    for (uint32_t i = 0; i < n; i++)
        vgpu_close(ctx[i]);
    ctx[0] = st_open(&options);
    vgpu_close(ctx[0]);
}

static void open_and_close(void)
{
    for (int i = 0; i < 300; i++) {
        struct st_raw raw;

        if (i % 3)
            st_raw_setup(&raw, i % 3 == 1 ? VGPU_QUEUE_KERNEL_SUBMIT : 0);
        else
            st_raw_open(&raw);
        st_raw_close(&raw);
    }
}

static void *waits_for_ever(void *arg)
{
    struct job *job = arg;
    /* Behind the endless kernel in its stream; a fence would hold the other stream up. */
    int err = vgpu_nop(job->ctx, NULL);

    ST_EQUAL(err, -EIO, "a waiter of a lost context");
    return NULL;
}

/* Threads asleep in several ways when the context is lost: all come back. */
/* VGPU-LOST-005 VGPU-UAPI-003 */
static void loss_wakes_everybody(void)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct vgpu_options options = {.flags = VGPU_OPEN_NEVER_SPIN};
    struct vgpu_ctx *ctx = st_open(&options);
    struct vgpu_function *spin, *fault;
    struct job jobs[NTHREADS];
    struct vgpu_stream *stream;
    uint64_t p = 0, dev;
    int64_t off = 1ull << 40;
    const void *const spin_args[] = {&dev};
    const void *const fault_args[] = {&p, &off};

    st_need_compute(ctx);
    st_kernel(ctx, "spin", &spin);
    st_kernel(ctx, "fault", &fault);
    ST_EQUAL(vgpu_mem_alloc(ctx, 4096, &dev), 0, "vgpu_mem_alloc");
    ST_EQUAL(vgpu_stream_create(ctx, 0, &stream), 0, "stream");
    ST_EQUAL(vgpu_launch_args(spin, &config, spin_args, 1), 0, "spin");
    start(jobs, NTHREADS, ctx, waits_for_ever);
    config.stream = stream;
    ST_EQUAL(vgpu_launch_args(fault, &config, fault_args, 2), 0, "fault");
    join(jobs, NTHREADS);
    vgpu_close(ctx);
}

/* Programs killed at any moment: the device forgets them, and others never notice. */
static void killed_anywhere(void)
{
    struct vgpu_ctx *other = st_open(NULL);

    for (int i = 0; i < 40; i++) {
        struct timespec delay = {.tv_nsec = i * 700000L};
        pid_t pid = fork();

        ST_CHECK(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0) {
            struct vgpu_ctx *ctx = st_open(NULL);
            uint64_t dev;

            vgpu_mem_alloc(ctx, 1 << 20, &dev);
            for (uint32_t v = 0;; v++)
                vgpu_memset(ctx, NULL, dev, v, 4, 1 << 18);
        }
        nanosleep(&delay, NULL); /* where it is killed is left to chance */
        kill(pid, SIGKILL);
        ST_EQUAL(waitpid(pid, NULL, 0), pid, "waitpid");
        ST_EQUAL(vgpu_nop(other, NULL), 0, "another context");
    }
    vgpu_close(other);
}

static const struct st_test tests[] = {
    {"stress", "threads with streams of their own on one context", threads_and_streams},
    {"stress", "the same asleep, with the smallest ring and arena", threads_that_sleep},
    {"stress", "a small ring wraps many times", ring_wraps_often},
    {"stress", "events order streams", events_order_streams},
    {"stress", "32 contexts keep their data apart", many_contexts},
    {"stress", "contexts run out with an error, and come back", contexts_run_out},
    {"stress", "300 openings and closings", open_and_close},
    {"stress", "losing a context wakes all its threads", loss_wakes_everybody},
    {"stress", "programs killed at any moment", killed_anywhere},
};

ST_GROUP(st_group_stress, tests);
