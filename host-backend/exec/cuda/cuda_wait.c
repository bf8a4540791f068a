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
#include <stdlib.h>
#include <unistd.h>
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

bool cuda_arm(struct vgpu_exec *exec)
{
    uint64_t count;

    /* Old wake-ups were for what poll() has already returned, or will return now. */
    if (read(exec->wake_fd, &count, sizeof(count)) == sizeof(count))
        return false;
    if (exec->done.first || (exec->faulted && exec->busy))
        return false;
    for (struct cuda_stream *s = exec->busy; s; s = s->next_busy) {
        CUevent event;

        if (s->mark_cons == s->mark_prod) {
            /* Pending behind another stream's staged copy, whose slots are watched below. */
            continue;
        }
        event = s->marks[s->mark_cons % CUDA_MAX_MARKS].cu;
        if (exec->cu.cuEventQuery(event) != CUDA_ERROR_NOT_READY)
            return false;
        if (!waiter_target(exec, &s->waiter, event))
            return false; /* no thread to be had: stay awake rather than miss it */
    }
    if (exec->staged.job) {
        struct cuda_bounce_slot *slot = &exec->bounce[exec->staged.next];

        if (!slot->in_flight || exec->cu.cuEventQuery(slot->done) != CUDA_ERROR_NOT_READY)
            return false;
        return waiter_target(exec, &exec->staged.stream->waiter, slot->done);
    }
    return true;
}

int cuda_wait_fd(struct vgpu_exec *exec)
{
    return exec->wake_fd;
}
