/* SPDX-License-Identifier: MIT */
/*
 * Event loop: see loop.h.
 *
 * Timers are a list sorted by due time; there are a few per VM and one per context at
 * most.  The timerfd is set to the earliest, and only when that changed.
 */
#include <daemon/loop.h>

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

uint64_t vgpu_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static void loop_arm(struct vgpu_loop *loop)
{
    uint64_t due = loop->timers ? loop->timers->due_ms : 0;
    struct itimerspec its = {0};

    if (due == loop->armed_ms)
        return;
    loop->armed_ms = due;
    its.it_value.tv_sec = (time_t)(due / 1000u);
    its.it_value.tv_nsec = (long)(due % 1000u) * 1000000l;
    timerfd_settime(loop->timer_source.fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void loop_expire(void *opaque, uint32_t events)
{
    struct vgpu_loop *loop = opaque;
    uint64_t now = vgpu_now_ms();
    uint64_t ticks;

    (void)events;
    if (read(loop->timer_source.fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
        return;
    loop->armed_ms = 0;
    while (loop->timers && loop->timers->due_ms <= now) {
        struct vgpu_timer *timer = loop->timers;

        loop->timers = timer->next;
        timer->active = false;
        timer->fn(timer->opaque);
    }
    loop_arm(loop);
}

int vgpu_loop_init(struct vgpu_loop *loop)
{
    int fd, ret;

    memset(loop, 0, sizeof(*loop));
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) {
        ret = -errno;
        goto err_epoll;
    }
    ret = vgpu_source_add(loop, &loop->timer_source, fd, EPOLLIN, loop_expire, loop);
    if (ret)
        goto err_timer;
    return 0;

err_timer:
    close(fd);
err_epoll:
    close(loop->epoll_fd);
    loop->epoll_fd = -1;
    return ret;
}

void vgpu_loop_fini(struct vgpu_loop *loop)
{
    if (loop->epoll_fd < 0)
        return;
    vgpu_source_remove(loop, &loop->timer_source);
    close(loop->timer_source.fd);
    close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

/* One round: what was queued before it began. */
static void loop_run_work(struct vgpu_loop *loop)
{
    struct vgpu_work *last = loop->work_last;

    while (loop->work_first) {
        struct vgpu_work *work = loop->work_first;
        bool end = work == last;

        loop->work_first = work->next;
        if (!loop->work_first)
            loop->work_last = NULL;
        work->active = false;
        work->fn(work->opaque);
        if (end)
            break;
    }
}

int vgpu_loop_run(struct vgpu_loop *loop)
{
    while (!loop->stopped) {
        int n = epoll_wait(loop->epoll_fd, loop->batch, VGPU_LOOP_BATCH, loop->work_first ? 0 : -1);

        if (n < 0 && errno != EINTR)
            return -errno;
        loop->batch_count = n > 0 ? n : 0;
        for (int i = 0; i < loop->batch_count && !loop->stopped; i++) {
            struct vgpu_source *src = loop->batch[i].data.ptr;

            if (src)
                src->fn(src->opaque, loop->batch[i].events);
        }
        loop->batch_count = 0;
        if (!loop->stopped)
            loop_run_work(loop);
    }
    return 0;
}

void vgpu_loop_stop(struct vgpu_loop *loop)
{
    loop->stopped = true;
}

int vgpu_source_add(struct vgpu_loop *loop, struct vgpu_source *src, int fd, uint32_t events,
                    void (*fn)(void *opaque, uint32_t events), void *opaque)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};

    *src = (struct vgpu_source){.fd = fd, .events = events, .fn = fn, .opaque = opaque};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
        return -errno;
    src->active = true;
    return 0;
}

void vgpu_source_set_events(struct vgpu_loop *loop, struct vgpu_source *src, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};

    if (!src->active || src->events == events)
        return;
    src->events = events;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, src->fd, &ev);
}

void vgpu_source_remove(struct vgpu_loop *loop, struct vgpu_source *src)
{
    if (!src->active)
        return;
    src->active = false;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
    for (int i = 0; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == src)
            loop->batch[i].data.ptr = NULL;
    }
}

void vgpu_timer_cancel(struct vgpu_loop *loop, struct vgpu_timer *timer)
{
    struct vgpu_timer **p = &loop->timers;

    if (!timer->active)
        return;
    while (*p != timer)
        p = &(*p)->next;
    *p = timer->next;
    timer->active = false;
    loop_arm(loop);
}

void vgpu_timer_set(struct vgpu_loop *loop, struct vgpu_timer *timer, uint64_t after_ms,
                    void (*fn)(void *opaque), void *opaque)
{
    struct vgpu_timer **p = &loop->timers;

    vgpu_timer_cancel(loop, timer);
    timer->due_ms = vgpu_now_ms() + after_ms;
    timer->fn = fn;
    timer->opaque = opaque;
    timer->active = true;
    while (*p && (*p)->due_ms <= timer->due_ms)
        p = &(*p)->next;
    timer->next = *p;
    *p = timer;
    loop_arm(loop);
}

void vgpu_work_queue(struct vgpu_loop *loop, struct vgpu_work *work, void (*fn)(void *opaque),
                     void *opaque)
{
    if (work->active)
        return;
    *work = (struct vgpu_work){.active = true, .fn = fn, .opaque = opaque};
    if (loop->work_last)
        loop->work_last->next = work;
    else
        loop->work_first = work;
    loop->work_last = work;
}

void vgpu_work_cancel(struct vgpu_loop *loop, struct vgpu_work *work)
{
    struct vgpu_work **p = &loop->work_first;
    struct vgpu_work *prev = NULL;

    if (!work->active)
        return;
    while (*p != work) {
        prev = *p;
        p = &prev->next;
    }
    *p = work->next;
    if (loop->work_last == work)
        loop->work_last = prev;
    work->active = false;
}
