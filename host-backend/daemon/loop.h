/* SPDX-License-Identifier: MIT */
/*
 * The event loop of vgpud and of vm processes: descriptors, timers, deferred work.
 *
 * One epoll set and one timerfd.  Callbacks run on the loop's thread, one at a
 * time, and may add or remove anything, themselves included: a source removed while its
 * event waits in the current batch is not called any more.  Idle means asleep: there is no
 * tick.  Deferred work runs before the loop sleeps again; between two rounds of it ready
 * descriptors are served, so work that defers itself again starves nobody.
 *
 * Sources, timers and works are embedded in their owners; a zeroed one is idle.  Removing an
 * idle one is allowed and does nothing.
 */
#ifndef VGPU_DAEMON_LOOP_H
#define VGPU_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#ifndef VGPU_MUST_CHECK
#define VGPU_MUST_CHECK __attribute__((warn_unused_result))
#endif

#define VGPU_LOOP_BATCH 64

struct vgpu_source {
    int fd;
    bool active;
    uint32_t events; /* EPOLLIN, EPOLLOUT */
    void (*fn)(void *opaque, uint32_t events);
    void *opaque;
};

struct vgpu_timer {
    bool active;
    uint64_t due_ms;
    void (*fn)(void *opaque);
    void *opaque;
    struct vgpu_timer *next;
};

struct vgpu_work {
    bool active;
    void (*fn)(void *opaque);
    void *opaque;
    struct vgpu_work *next;
};

struct vgpu_loop {
    int epoll_fd;
    bool stopped;
    struct vgpu_source timer_source;
    struct vgpu_timer *timers; /* by due time */
    uint64_t armed_ms;         /* what the timerfd is set to, 0: off */
    struct vgpu_work *work_first;
    struct vgpu_work *work_last;
    struct epoll_event batch[VGPU_LOOP_BATCH];
    int batch_count;
};

VGPU_MUST_CHECK int vgpu_loop_init(struct vgpu_loop *loop);
void vgpu_loop_fini(struct vgpu_loop *loop);

/* Until vgpu_loop_stop().  0, or -errno if epoll itself fails. */
VGPU_MUST_CHECK int vgpu_loop_run(struct vgpu_loop *loop);
void vgpu_loop_stop(struct vgpu_loop *loop);

VGPU_MUST_CHECK int vgpu_source_add(struct vgpu_loop *loop, struct vgpu_source *src, int fd,
                                    uint32_t events, void (*fn)(void *opaque, uint32_t events),
                                    void *opaque);
void vgpu_source_set_events(struct vgpu_loop *loop, struct vgpu_source *src, uint32_t events);
/* Does not close the descriptor. Call it before closing. */
void vgpu_source_remove(struct vgpu_loop *loop, struct vgpu_source *src);

uint64_t vgpu_now_ms(void); /* CLOCK_MONOTONIC */

/* (Re)set a timer; it fires once. */
void vgpu_timer_set(struct vgpu_loop *loop, struct vgpu_timer *timer, uint64_t after_ms,
                    void (*fn)(void *opaque), void *opaque);
void vgpu_timer_cancel(struct vgpu_loop *loop, struct vgpu_timer *timer);

/* Run `fn` once, soon; again while it is queued does nothing. */
void vgpu_work_queue(struct vgpu_loop *loop, struct vgpu_work *work, void (*fn)(void *opaque),
                     void *opaque);
void vgpu_work_cancel(struct vgpu_loop *loop, struct vgpu_work *work);

#endif /* VGPU_DAEMON_LOOP_H */
