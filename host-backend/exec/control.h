/* SPDX-License-Identifier: MIT */
/*
 * What the vm process wants of a running exec process: buffers come and go, the interrupt moves.
 *
 * Every request is answered, in order.  One of them may have to wait: dropping a buffer that
 * jobs still use.  So answers go through a queue: an answer that isn't due holds back those
 * behind it, while the requests themselves are carried out as they come.  When
 * the queue is full no more requests are read until it drains.
 *
 * Drain thread only.
 */
#ifndef VGPU_EXEC_CONTROL_H
#define VGPU_EXEC_CONTROL_H

#include <exec/gbuf.h>
#include <exec/ring.h>
#include <exec/xsock.h>

#define VGPU_CONTROL_ANSWERS 256

struct vgpu_control_answer {
    uint32_t seq;
    uint16_t status;
    bool waits; /* for buffer wait_buf to be gone */
    uint32_t wait_buf;
};

struct vgpu_control {
    struct vgpu_xsock *sock;
    struct vgpu_gbufs *bufs;
    struct vgpu_ring *ring;
    struct vgpu_xin in;
    struct vgpu_control_answer answers[VGPU_CONTROL_ANSWERS];
    uint32_t first; /* free-running */
    uint32_t count;
};

enum vgpu_control_result {
    VGPU_CONTROL_OK,
    VGPU_CONTROL_STOP, /* told to stop, or the other side is gone */
    VGPU_CONTROL_BAD,  /* a message that makes no sense: the conversation is over */
};

void vgpu_control_init(struct vgpu_control *control, struct vgpu_xsock *sock,
                       struct vgpu_gbufs *bufs, struct vgpu_ring *ring);

/* Carry out the requests that are there, without waiting for more. */
enum vgpu_control_result vgpu_control_run(struct vgpu_control *control)
    __attribute__((warn_unused_result));

/* Send answers that have become due: after vgpu_gbufs_collect(). */
enum vgpu_control_result vgpu_control_flush(struct vgpu_control *control)
    __attribute__((warn_unused_result));

#endif /* VGPU_EXEC_CONTROL_H */
