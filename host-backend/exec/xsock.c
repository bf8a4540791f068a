// SPDX-License-Identifier: MIT
/*
 * Messages between exec and vm process; see xsock.h.
 */
#include <exec/xsock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void vgpu_xsock_init(struct vgpu_xsock *sock, int fd)
{
    memset(sock, 0, sizeof(*sock));
    sock->fd = fd;
}

static void xin_close_fds(struct vgpu_xin *in)
{
    for (uint32_t i = 0; i < in->fd_count; i++)
        close(in->fds[i]);
    in->fd_count = 0;
}

void vgpu_xsock_fini(struct vgpu_xsock *sock)
{
    while (sock->deferred) {
        struct vgpu_xin *in = sock->deferred;

        sock->deferred = in->next;
        xin_close_fds(in);
        free(in);
    }
    sock->deferred_last = NULL;
}

/* ---- Receiving ---- */

static void xin_take_fds(struct vgpu_xin *in, struct msghdr *hdr)
{
    in->fd_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        /* The buffer has room for VGPU_X_MAX_FDS in all, so this is never cut. */
        if (n > VGPU_X_MAX_FDS - in->fd_count)
            n = VGPU_X_MAX_FDS - in->fd_count;
        memcpy(&in->fds[in->fd_count], CMSG_DATA(c), n * sizeof(int));
        in->fd_count += (uint32_t)n;
    }
}

static int xsock_receive_one(struct vgpu_xsock *sock, struct vgpu_xin *in, bool wait)
{
    union {
        char buf[CMSG_SPACE(VGPU_X_MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov[2] = {
        {.iov_base = &in->msg, .iov_len = sizeof(in->msg)},
        {.iov_base = in->runs, .iov_len = sizeof(in->runs)},
    };
    struct msghdr hdr = {
        .msg_iov = iov,
        .msg_iovlen = 2,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    do {
        n = recvmsg(sock->fd, &hdr, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    } while (n < 0 && errno == EINTR);
    in->fd_count = 0;
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    xin_take_fds(in, &hdr);
    if ((hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(in->msg) ||
        in->msg.run_count > VGPU_X_MAX_RUNS ||
        (size_t)n != sizeof(in->msg) + in->msg.run_count * sizeof(in->runs[0])) {
        xin_close_fds(in);
        return -EPROTO;
    }
    return 1;
}

int vgpu_xsock_receive(struct vgpu_xsock *sock, struct vgpu_xin *in, bool wait)
{
    struct vgpu_xin *first = sock->deferred;

    if (!first)
        return xsock_receive_one(sock, in, wait);
    sock->deferred = first->next;
    if (!sock->deferred)
        sock->deferred_last = NULL;
    memcpy(in, first, sizeof(*in));
    free(first);
    return 1;
}

static void xsock_defer(struct vgpu_xsock *sock, struct vgpu_xin *in)
{
    in->next = NULL;
    if (sock->deferred_last)
        sock->deferred_last->next = in;
    else
        sock->deferred = in;
    sock->deferred_last = in;
}

/* ---- Sending ---- */

int vgpu_xsock_send(struct vgpu_xsock *sock, const struct vgpu_xmsg *msg)
{
    ssize_t n;

    do {
        n = send(sock->fd, msg, sizeof(*msg), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int vgpu_xsock_reply(struct vgpu_xsock *sock, uint32_t seq, uint16_t status)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_REPLY, .seq = seq};

    msg.u.reply.status = status;
    return vgpu_xsock_send(sock, &msg);
}

/* ---- Quota ---- */

/* Wait for the answer to question `seq`; whatever else comes first is kept. */
static int xsock_await_quota(struct vgpu_xsock *sock, uint32_t seq, struct vgpu_xmsg *answer)
{
    for (;;) {
        struct vgpu_xin *in = calloc(1, sizeof(*in));
        int rc;

        if (!in)
            return -ENOMEM;
        rc = xsock_receive_one(sock, in, true);
        if (rc < 0) {
            free(in);
            return rc;
        }
        if (in->msg.type == VGPU_X_QUOTA || in->msg.type == VGPU_X_STOP) {
            *answer = in->msg;
            rc = in->msg.type == VGPU_X_STOP ? -ECANCELED : in->msg.seq == seq ? 0 : -EPROTO;
            xin_close_fds(in);
            free(in);
            return rc;
        }
        xsock_defer(sock, in);
    }
}

int vgpu_xsock_quota_take(struct vgpu_xsock *sock, uint64_t bytes, uint64_t *held)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_TAKE, .seq = ++sock->seq};
    int rc;

    msg.u.quota.bytes = bytes;
    rc = vgpu_xsock_send(sock, &msg);
    if (rc < 0)
        return rc;
    rc = xsock_await_quota(sock, msg.seq, &msg);
    if (rc < 0)
        return rc;
    if (held)
        *held = msg.u.quota_reply.held_bytes;
    return msg.u.quota_reply.status == 0 ? 0 : -ENOMEM;
}

int vgpu_xsock_quota_give(struct vgpu_xsock *sock, uint64_t bytes)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_QUOTA_GIVE, .seq = ++sock->seq};

    msg.u.quota.bytes = bytes;
    return vgpu_xsock_send(sock, &msg);
}
