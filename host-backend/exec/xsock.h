/* SPDX-License-Identifier: MIT */
/*
 * The exec process's end of the conversation with its vm process (proto.h).
 *
 * Receives whole messages with their runs and descriptors, sends answers, and asks for quota.  While
 * an answer about quota is awaited other messages may come first: they are kept in order
 * and handed out by later calls of vgpu_xsock_receive().
 *
 * The vm process is trusted, but a message of the wrong size is refused all the same: the
 * conversation is then over (-EPROTO).  Drain thread only.
 */
#ifndef VGPU_EXEC_XSOCK_H
#define VGPU_EXEC_XSOCK_H

#include <stdbool.h>
#include <stddef.h>

#include <exec/proto.h>

struct vgpu_xin {
    struct vgpu_xmsg msg;
    struct vgpu_xrun runs[VGPU_X_MAX_RUNS];
    int fds[VGPU_X_MAX_FDS];
    uint32_t fd_count;
    struct vgpu_xin *next;
};

struct vgpu_xsock {
    int fd;
    uint32_t seq; /* of our own questions */
    struct vgpu_xin *deferred;
    struct vgpu_xin *deferred_last;
};

void vgpu_xsock_init(struct vgpu_xsock *sock, int fd);
void vgpu_xsock_fini(struct vgpu_xsock *sock);

/*
 * The next message: 1 with *in (its descriptors are the caller's), 0 if there is none and `wait` is
 * false, -ECONNRESET when the other side is gone, -EPROTO, or -errno.
 */
int vgpu_xsock_receive(struct vgpu_xsock *sock, struct vgpu_xin *in, bool wait)
    __attribute__((warn_unused_result));

/* Is there a message that was deferred?  (The descriptor won't say so.) */
static inline bool vgpu_xsock_has_deferred(const struct vgpu_xsock *sock)
{
    return sock->deferred != NULL;
}

/* 0 or -errno. */
int vgpu_xsock_send(struct vgpu_xsock *sock, const struct vgpu_xmsg *msg)
    __attribute__((warn_unused_result));
int vgpu_xsock_reply(struct vgpu_xsock *sock, uint32_t seq, uint16_t status)
    __attribute__((warn_unused_result));

/*
 * Ask for `bytes` of the VM's quota (0: only ask what is held) and wait for the answer.  0 with
 * *held (may be NULL), -ENOMEM if refused, -ECANCELED when told to stop meanwhile, or as
 * vgpu_xsock_receive().
 */
int vgpu_xsock_quota_take(struct vgpu_xsock *sock, uint64_t bytes, uint64_t *held)
    __attribute__((warn_unused_result));
int vgpu_xsock_quota_give(struct vgpu_xsock *sock, uint64_t bytes)
    __attribute__((warn_unused_result));

#endif /* VGPU_EXEC_XSOCK_H */
