// SPDX-License-Identifier: MIT
/*
 * The cpu executor's queue: submit and poll on the drain thread, one worker thread between them.
 * See exec_cpu.h for the order it keeps.
 *
 * Waking the drain.  arm() and the worker's report of a finished job both hold `lock`: either arm() sees
 * the job and says "don't sleep", or the worker sees `armed` and makes wait_fd readable.
 */
#include <exec/cpu/exec_cpu.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void list_add(struct vgpu_job **first, struct vgpu_job **last, struct vgpu_job *job)
{
    job->next = NULL;
    if (*first)
        (*last)->next = job;
    else
        *first = job;
    *last = job;
}

/* ---- The worker ---- */

static void worker_report(struct vgpu_exec *e, struct vgpu_job *job)
{
    list_add(&e->done, &e->done_last, job);
    __atomic_fetch_add(&e->done_count, 1, __ATOMIC_RELEASE);
    if (e->armed) {
        e->armed = false;
        e->signalled = true;
        (void)eventfd_write(e->wait_fd, 1);
    }
}

static void *worker_main(void *arg)
{
    struct vgpu_exec *e = arg;

    pthread_mutex_lock(&e->lock);
    for (;;) {
        struct vgpu_job *job;

        while (!e->queue && !e->closing) {
            e->worker_waits = true;
            pthread_cond_wait(&e->work, &e->lock);
        }
        e->worker_waits = false;
        if (e->closing)
            break;
        job = e->queue;
        e->queue = job->next;
        pthread_mutex_unlock(&e->lock);
        cpu_job_run(e, job);
        pthread_mutex_lock(&e->lock);
        worker_report(e, job);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

int cpu_queue_start(struct vgpu_exec *e)
{
    int rc;

    e->wait_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->wait_fd < 0)
        return -errno;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    rc = pthread_create(&e->worker, NULL, worker_main, e);
    if (rc) {
        pthread_cond_destroy(&e->work);
        pthread_mutex_destroy(&e->lock);
        close(e->wait_fd);
    }
    return -rc;
}

void cpu_queue_stop(struct vgpu_exec *e)
{
    __atomic_store_n(&e->cancel, 1, __ATOMIC_RELEASE);
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->worker, NULL);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    close(e->wait_fd);
}

/* ---- The drain thread ---- */

static struct cpu_stream *job_stream(struct vgpu_exec *e, const struct vgpu_job *job)
{
    return job->stream ? vgpu_handles_get(&e->streams, job->stream) : &e->stream0;
}

/* Look up what the job names, into job->priv.  VGPU_ST_OK or BAD_HANDLE. */
static uint16_t job_resolve(struct vgpu_exec *e, struct vgpu_job *job)
{
    const struct cpu_function *function;

    job->priv = NULL;
    switch (job->opcode) {
    case VGPU_CMD_LAUNCH:
        function = vgpu_handles_get(&e->functions, job->u.launch.function);
        job->priv = function ? function->ptx : NULL;
        return job->priv ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
    case VGPU_CMD_EVENT_RECORD:
    case VGPU_CMD_EVENT_WAIT:
        job->priv = vgpu_handles_get(&e->events, job->u.event);
        return job->priv ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
    default: return VGPU_ST_OK;
    }
}

/* Short enough for the drain thread? */
static bool job_is_short(const struct vgpu_job *job)
{
    const struct cpu_event *event = job->priv;

    switch (job->opcode) {
    case VGPU_CMD_NOP:
    case VGPU_CMD_EVENT_RECORD: return true;
    /* Unless there is something to wait for: the worker gets to it in turn. */
    case VGPU_CMD_EVENT_WAIT: return !event->latest;
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H: return job->u.copy.bytes <= CPU_INLINE_BYTES;
    case VGPU_CMD_COPY_D2D: return job->u.d2d.bytes <= CPU_INLINE_BYTES;
    case VGPU_CMD_MEMSET: return job->u.memset.count <= CPU_INLINE_BYTES / 4;
    default: return false;
    }
}

/* A record is done: unless a later one took its place, this is the event's time. */
static void job_retire_record(const struct vgpu_job *job, bool queued)
{
    struct cpu_event *event = job->priv;

    if (queued && event->latest != job)
        return;
    event->latest = NULL;
    event->time_ns = job->result;
}

static void queue_job(struct vgpu_exec *e, struct vgpu_job *job)
{
    pthread_mutex_lock(&e->lock);
    list_add(&e->queue, &e->queue_last, job);
    if (e->worker_waits) {
        /* Once is enough: until it runs it stays on its way. */
        e->worker_waits = false;
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
}

enum vgpu_submit_result cpu_submit(struct vgpu_exec *e, struct vgpu_job *job)
{
    struct cpu_stream *stream = job_stream(e, job);

    job->status = stream ? job_resolve(e, job) : VGPU_ST_BAD_HANDLE;
    if (job->status != VGPU_ST_OK)
        return VGPU_SUBMIT_DONE;
    if (stream->queued == 0 && job_is_short(job)) {
        cpu_job_run(e, job);
        if (job->opcode == VGPU_CMD_EVENT_RECORD && job->status == VGPU_ST_OK)
            job_retire_record(job, false);
        return VGPU_SUBMIT_DONE;
    }
    if (stream->queued >= e->cfg.max_inflight)
        return VGPU_SUBMIT_FULL;
    stream->queued++;
    if (job->opcode == VGPU_CMD_EVENT_RECORD)
        ((struct cpu_event *)job->priv)->latest = job;
    queue_job(e, job);
    return VGPU_SUBMIT_QUEUED;
}

size_t cpu_poll(struct vgpu_exec *e, struct vgpu_job **jobs, size_t max)
{
    size_t n = 0;
    eventfd_t value;

    if (__atomic_load_n(&e->done_count, __ATOMIC_ACQUIRE) == 0)
        return 0;
    pthread_mutex_lock(&e->lock);
    while (e->done && n < max) {
        jobs[n++] = e->done;
        e->done = e->done->next;
    }
    __atomic_fetch_sub(&e->done_count, (uint32_t)n, __ATOMIC_RELAXED);
    if (e->signalled) {
        e->signalled = false;
        (void)eventfd_read(e->wait_fd, &value);
    }
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < n; i++) {
        job_stream(e, jobs[i])->queued--;
        if (jobs[i]->opcode == VGPU_CMD_EVENT_RECORD)
            job_retire_record(jobs[i], true);
    }
    return n;
}

bool cpu_arm(struct vgpu_exec *e)
{
    bool quiet;

    pthread_mutex_lock(&e->lock);
    quiet = !e->done;
    e->armed = quiet;
    pthread_mutex_unlock(&e->lock);
    return quiet;
}
