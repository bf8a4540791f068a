/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until the GPU has something to report.
 *
 * The drain thread polls marks while it is awake.  Before it sleeps, arm() gives the oldest mark
 * of every busy stream to that stream's waiter thread, which blocks in cuEventSynchronize()
 * (events are created with BLOCKING_SYNC: no spinning) and writes the wake eventfd.  An idle or
 * polling context therefore runs no second thread at all.  Host callbacks
 * (cuLaunchHostFunc) would be cheaper, but are documented not to be called after an error.
 *
 * A mark's event must not be recorded again while a waiter may still look at it:
 * cuda_waiter_holds() tells, and cuda_job.c then takes another slot's turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <exec/cuda/cuda_exec.h>

struct waiter_arg {
    struct vgpu_exec *exec;
    struct cuda_waiter *waiter;
};

static void *waiter_main(void *opaque)
{
    struct vgpu_exec *exec = ((struct waiter_arg *)opaque)->exec;
    struct cuda_waiter *waiter = ((struct waiter_arg *)opaque)->waiter;
    const uint64_t one = 1;

    free(opaque);
    exec->cu.cuCtxSetCurrent(exec->context);
    pthread_mutex_lock(&waiter->lock);
    for (;;) {
        while (!waiter->target && !waiter->stop)
            pthread_cond_wait(&waiter->changed, &waiter->lock);
        if (waiter->stop)
            break;
        pthread_mutex_unlock(&waiter->lock);
        /* The target stays set meanwhile, so nobody reuses the event.  An error is a reason to wake up
         * as well: the drain's own query will see it. */
        (void)exec->cu.cuEventSynchronize(waiter->target);
        pthread_mutex_lock(&waiter->lock);
        waiter->target = NULL;
        if (write(exec->wake_fd, &one, sizeof(one)) < 0) {
            /* A full counter is readable already. */
        }
    }
    pthread_mutex_unlock(&waiter->lock);
    return NULL;
}

static bool waiter_start(struct vgpu_exec *exec, struct cuda_waiter *waiter)
{
    struct waiter_arg *arg = malloc(sizeof(*arg));

    if (!arg)
        return false;
    *arg = (struct waiter_arg){exec, waiter};
    pthread_mutex_init(&waiter->lock, NULL);
    pthread_cond_init(&waiter->changed, NULL);
    waiter->target = NULL;
    waiter->stop = false;
    if (pthread_create(&waiter->thread, NULL, waiter_main, arg) != 0) {
        pthread_cond_destroy(&waiter->changed);
        pthread_mutex_destroy(&waiter->lock);
        free(arg);
        return false;
    }
    waiter->started = true;
    return true;
}

void cuda_waiter_stop(struct cuda_waiter *waiter)
{
    if (!waiter->started)
        return;
    pthread_mutex_lock(&waiter->lock);
    waiter->stop = true;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
    pthread_join(waiter->thread, NULL);
    pthread_cond_destroy(&waiter->changed);
    pthread_mutex_destroy(&waiter->lock);
    waiter->started = false;
}

bool cuda_waiter_holds(struct cuda_waiter *waiter, CUevent event)
{
    bool holds;

    if (!waiter->started)
        return false;
    pthread_mutex_lock(&waiter->lock);
    holds = waiter->target == event;
    pthread_mutex_unlock(&waiter->lock);
    return holds;
}

/* Have the waiter look at this event unless it still looks at an older one, whose completion will
 * wake the drain, which then arms again. */
static bool waiter_target(struct vgpu_exec *exec, struct cuda_waiter *waiter, CUevent event)
{
    if (!waiter->started && !waiter_start(exec, waiter))
        return false;
    pthread_mutex_lock(&waiter->lock);
    if (!waiter->target) {
        waiter->target = event;
        pthread_cond_signal(&waiter->changed);
    }
    pthread_mutex_unlock(&waiter->lock);
    return true;
}

int cuda_wait_init(struct vgpu_exec *exec)
{
    struct epoll_event event = {.events = EPOLLIN};

    exec->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    exec->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    exec->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    if (exec->wake_fd < 0 || exec->timer_fd < 0 || exec->wait_fd < 0 ||
        epoll_ctl(exec->wait_fd, EPOLL_CTL_ADD, exec->wake_fd, &event) < 0 ||
        epoll_ctl(exec->wait_fd, EPOLL_CTL_ADD, exec->timer_fd, &event) < 0)
        return -errno;
    return 0;
}

void cuda_wait_fini(struct vgpu_exec *exec)
{
    const int fds[] = {exec->wake_fd, exec->timer_fd, exec->wait_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* Be woken when the first of the running kernels exceeds its deadline. */
static void timer_arm(struct vgpu_exec *exec)
{
    struct itimerspec when = {0};
    uint64_t first = UINT64_MAX;

    for (const struct cuda_stream *s = exec->busy; s; s = s->next_busy) {
        uint64_t deadline = cuda_stream_deadline(exec, s);

        if (deadline < first)
            first = deadline;
    }
    if (first != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(first / 1000000000u);
        when.it_value.tv_nsec = (long)(first % 1000000000u) + 1;
        if (when.it_value.tv_nsec == 1000000000) {
            when.it_value.tv_sec++;
            when.it_value.tv_nsec = 0;
        }
    }
    timerfd_settime(exec->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* What a stream waits for first: its oldest mark, else a piece of its staged copy. */
static CUevent stream_event(struct cuda_stream *stream)
{
    struct cuda_staged *staged = &stream->staged;

    if (stream->mark_cons != stream->mark_prod)
        return stream->marks[stream->mark_cons % CUDA_MAX_MARKS].cu;
    return staged->job && staged->slots[staged->next].in_flight ? staged->slots[staged->next].done
                                                                : NULL;
}

bool cuda_arm(struct vgpu_exec *exec)
{
    uint64_t count;

    /* Old wake-ups were for what poll() has already returned, or will return now. */
    if (read(exec->wake_fd, &count, sizeof(count)) == sizeof(count) ||
        read(exec->timer_fd, &count, sizeof(count)) == sizeof(count))
        return false;
    if (exec->cfg.deadline_ms)
        timer_arm(exec);
    if (exec->done.first || (exec->faulted && exec->busy))
        return false;
    for (struct cuda_stream *s = exec->busy; s; s = s->next_busy) {
        CUevent event = stream_event(s);

        if (!event)
            continue; /* held back by another stream's event, which is watched there */
        if (exec->cu.cuEventQuery(event) != CUDA_ERROR_NOT_READY)
            return false;
        if (!waiter_target(exec, &s->waiter, event))
            return false; /* no thread to be had: stay awake rather than miss it */
    }
    return true;
}

int cuda_wait_fd(struct vgpu_exec *exec)
{
    return exec->wait_fd;
}
