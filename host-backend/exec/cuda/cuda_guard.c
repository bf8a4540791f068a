/* SPDX-License-Identifier: MIT */
/*
 * Deadlines while the drain thread is blocked.
 *
 * The drain enforces deadlines from poll().  But some driver calls may wait for kernels that run:
 * allocating or page-locking memory ("Implicit Synchronization" of the CUDA programming guide), loading a
 * module and a function's first use ("Lazy Loading": may require context synchronization).  With an
 * endless kernel such a call never returns, and neither would the drain.
 *
 * So each of these calls is made between cuda_guard_enter() and cuda_guard_leave().  If work is in
 * flight and the VM has a deadline, a thread of its own waits for whichever comes first, the
 * call's return or the deadline; the latter ends the process, with the reason.
 *
 * Locking: the guard's lock, for everything in struct cuda_guard.  enter and leave: drain thread.
 */
#include <errno.h>
#include <exec/cuda/cuda_exec.h>

static struct timespec at(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void *guard_main(void *opaque)
{
    struct vgpu_exec *exec = opaque;
    struct cuda_guard *guard = &exec->guard;

    pthread_mutex_lock(&guard->lock);
    while (!guard->stop) {
        struct timespec until;

        if (guard->deadline_ns == 0) {
            pthread_cond_wait(&guard->changed, &guard->lock);
            continue;
        }
        until = at(guard->deadline_ns);
        if (pthread_cond_timedwait(&guard->changed, &guard->lock, &until) == ETIMEDOUT &&
            guard->deadline_ns != 0 && cuda_now_ns() >= guard->deadline_ns)
            exec->cfg.lost(exec->cfg.opaque, &guard->fault);
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

static bool guard_start(struct vgpu_exec *exec)
{
    struct cuda_guard *guard = &exec->guard;
    pthread_condattr_t attr;

    if (guard->started)
        return true;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&guard->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&guard->lock, NULL);
    if (pthread_create(&guard->thread, NULL, guard_main, exec) != 0) {
        pthread_cond_destroy(&guard->changed);
        pthread_mutex_destroy(&guard->lock);
        return false;
    }
    guard->started = true;
    return true;
}

/* When the first of the launches in flight must have ended, and what to say then.  A launch that is not
 * its stream's oldest work may start at any moment: it has all of its time from now. */
static uint64_t first_deadline(struct vgpu_exec *exec, struct vgpu_exec_fault *fault)
{
    const uint64_t from_now = cuda_now_ns() + exec->cfg.deadline_ms * 1000000ull;
    const struct vgpu_job *which = NULL;
    uint64_t first = UINT64_MAX;

    for (const struct cuda_stream *s = exec->busy; s; s = s->next_busy) {
        uint64_t deadline = cuda_stream_deadline(exec, s);
        const struct vgpu_job *job = s->issued.first;

        while (job && job->opcode != VGPU_CMD_LAUNCH)
            job = job->next;
        if (job && deadline == UINT64_MAX)
            deadline = from_now;
        if (job && deadline < first) {
            first = deadline;
            which = job;
        }
    }
    if (which)
        cuda_deadline_fault(exec, which, fault);
    return first;
}

void cuda_guard_enter(struct vgpu_exec *exec)
{
    struct cuda_guard *guard = &exec->guard;
    struct vgpu_exec_fault fault;
    uint64_t first;

    if (!exec->cfg.deadline_ms || !exec->cfg.lost || !exec->busy)
        return;
    first = first_deadline(exec, &fault);
    /* Without a thread to be had the call is made unguarded: the VM's own limits may be the reason. */
    if (first == UINT64_MAX || !guard_start(exec))
        return;
    pthread_mutex_lock(&guard->lock);
    guard->deadline_ns = first;
    guard->fault = fault;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
}

void cuda_guard_leave(struct vgpu_exec *exec)
{
    struct cuda_guard *guard = &exec->guard;

    if (!guard->started)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->deadline_ns = 0;
    pthread_mutex_unlock(&guard->lock);
}

void cuda_guard_stop(struct vgpu_exec *exec)
{
    struct cuda_guard *guard = &exec->guard;

    if (!guard->started)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->stop = true;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->changed);
    pthread_mutex_destroy(&guard->lock);
    guard->started = false;
}
