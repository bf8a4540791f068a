/* SPDX-License-Identifier: MIT */
/*
 * vfio-user: framing, dispatch and replies.  See vfio_user.h for what is promised.
 *
 * Receiving takes exactly one message at a time: header first, then the rest, so
 * that descriptors, which arrive with a message's first byte, belong to the message in hand.
 * The size in the header is bounded before anything is allocated for it.  One table
 * says for each command how long its payload may be and how many descriptors it may
 * carry; a handler sees only messages that fit.
 *
 * Sending tries at once; what the socket does not take is queued.  The
 * queue stays short because nothing is received while it is not empty: one reply and
 * what deferred commands add.
 */
#include <bus/vfio_user_int.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct vu_out {
    struct vu_out *next;
    size_t bytes;
    size_t sent;
    size_t fd_count;
    int fds[VU_MAX_FDS]; /* duplicates, ours */
    uint8_t data[];
};

union vu_control {
    struct cmsghdr align;
    char buf[CMSG_SPACE(sizeof(int) * VU_MAX_FDS)];
};

/* What a command may look like. */
struct vu_command_rule {
    const char *name;
    int (*handler)(struct vgpu_vfio_user *vu, struct vu_msg *msg);
    uint32_t min_bytes; /* of the payload */
    uint32_t max_bytes;
    uint32_t max_fds;
};

#define VU_SLACK 256u /* structures of later versions may be longer */

static const struct vu_command_rule vu_rules[VU_COMMAND_END] = {
    [VU_VERSION] = {"VERSION", vu_cmd_version, 4, 4 + 4096, 0},
    [VU_DMA_MAP] = {"DMA_MAP", vu_cmd_dma_map, 32, 32, 1},
    [VU_DMA_UNMAP] = {"DMA_UNMAP", vu_cmd_dma_unmap, 24, 24 + 16, 0},
    [VU_DEVICE_GET_INFO] = {"GET_INFO", vu_cmd_get_info, 16, VU_SLACK, 0},
    [VU_DEVICE_GET_REGION_INFO] = {"GET_REGION_INFO", vu_cmd_get_region_info, 32, VU_SLACK, 0},
    [VU_DEVICE_GET_REGION_IO_FDS] = {"GET_REGION_IO_FDS", vu_cmd_get_region_io_fds, 16, VU_SLACK,
                                     0},
    [VU_DEVICE_GET_IRQ_INFO] = {"GET_IRQ_INFO", vu_cmd_get_irq_info, 16, VU_SLACK, 0},
    [VU_DEVICE_SET_IRQS] = {"SET_IRQS", vu_cmd_set_irqs, 20, 20 + 256, VU_MAX_FDS},
    [VU_REGION_READ] = {"REGION_READ", vu_cmd_region_read, 16, 16, 0},
    [VU_REGION_WRITE] = {"REGION_WRITE", vu_cmd_region_write, 16, 16 + VU_MAX_DATA, 0},
    [VU_DEVICE_RESET] = {"RESET", vu_cmd_reset, 0, 0, 0},
};

struct vgpu_vfio_user *vgpu_vfio_user_create(int fd, const struct vgpu_vfio_user_config *config,
                                             struct vgpu_dev *dev, struct vgpu_dma *dma,
                                             struct vgpu_irqs *irqs, const struct vgpu_bus_ops *ops,
                                             void *opaque)
{
    struct vgpu_vfio_user *vu = calloc(1, sizeof(*vu));

    if (!vu) {
        close(fd);
        return NULL;
    }
    vu->fd = fd;
    vu->config = *config;
    vu->dev = dev;
    vu->dma = dma;
    vu->irqs = irqs;
    vu->ops = ops;
    vu->opaque = opaque;
    vu->client_max_fds = 1;
    vu->next_cookie = 1;
    return vu;
}

static void vu_close_fds(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

static void vu_out_free(struct vu_out *out)
{
    vu_close_fds(out->fds, out->fd_count);
    free(out);
}

void vgpu_vfio_user_destroy(struct vgpu_vfio_user *vu)
{
    if (!vu)
        return;
    while (vu->out_first) {
        struct vu_out *out = vu->out_first;

        vu->out_first = out->next;
        vu_out_free(out);
    }
    vu_close_fds(vu->rx_fds, vu->rx_fd_count);
    close(vu->fd);
    free(vu->deferred);
    free(vu->reply);
    free(vu->rx);
    free(vu);
}

int vgpu_vfio_user_fd(const struct vgpu_vfio_user *vu)
{
    return vu->fd;
}

bool vgpu_vfio_user_wants_send(const struct vgpu_vfio_user *vu)
{
    return vu->out_first != NULL;
}

void vgpu_vfio_user_get_stats(const struct vgpu_vfio_user *vu, uint64_t *messages,
                              uint64_t *refused)
{
    *messages = vu->messages;
    *refused = vu->refused;
}

void vu_log(struct vgpu_vfio_user *vu, enum vgpu_dev_log level, const char *fmt, ...)
{
    char line[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    vu->ops->log(vu->opaque, level, line);
}

static uint8_t *vu_grow(uint8_t **buf, size_t *room, size_t bytes)
{
    uint8_t *p;

    if (bytes <= *room)
        return *buf;
    p = realloc(*buf, bytes);
    if (!p)
        return NULL;
    *buf = p;
    *room = bytes;
    return p;
}

uint8_t *vu_reply_room(struct vgpu_vfio_user *vu, size_t bytes)
{
    return vu_grow(&vu->reply, &vu->reply_room, bytes ? bytes : 1);
}

/* ---- Sending ---- */

/* One sendmsg(); descriptors go with the first byte. Bytes sent, or -errno. */
static VGPU_MUST_CHECK ssize_t vu_sendmsg(int fd, const struct vu_out *out)
{
    union vu_control control;
    struct iovec iov = {(void *)(uintptr_t)(out->data + out->sent), out->bytes - out->sent};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (!out->sent && out->fd_count) {
        size_t len = sizeof(int) * out->fd_count;
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(len);
        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(cmsg), out->fds, len);
    }
    do {
        n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int vgpu_vfio_user_send(struct vgpu_vfio_user *vu)
{
    while (vu->out_first) {
        struct vu_out *out = vu->out_first;
        ssize_t n = vu_sendmsg(vu->fd, out);

        if (n == -EAGAIN)
            return 0;
        if (n < 0)
            return n == -EPIPE ? -ECONNRESET : (int)n;
        out->sent += (size_t)n;
        if (out->sent < out->bytes)
            continue;
        vu->out_first = out->next;
        if (!vu->out_first)
            vu->out_last = NULL;
        vu_out_free(out);
    }
    return 0;
}

static VGPU_MUST_CHECK int vu_queue(struct vgpu_vfio_user *vu, const struct vu_header *header,
                                    const void *payload, size_t bytes, const int *fds,
                                    size_t fd_count)
{
    struct vu_out *out = malloc(sizeof(*out) + sizeof(*header) + bytes);

    if (!out)
        return -ENOMEM;
    out->next = NULL;
    out->bytes = sizeof(*header) + bytes;
    out->sent = 0;
    out->fd_count = 0;
    memcpy(out->data, header, sizeof(*header));
    if (bytes)
        memcpy(out->data + sizeof(*header), payload, bytes);
    for (size_t i = 0; i < fd_count; i++) {
        out->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (out->fds[i] < 0) {
            int err = -errno;

            vu_out_free(out);
            return err;
        }
        out->fd_count++;
    }
    if (vu->out_last)
        vu->out_last->next = out;
    else
        vu->out_first = out;
    vu->out_last = out;
    return 0;
}

static VGPU_MUST_CHECK int vu_reply(struct vgpu_vfio_user *vu, const struct vu_header *request,
                                    int error, const void *payload, size_t bytes, const int *fds,
                                    size_t fd_count)
{
    struct vu_header header = {
        .id = request->id,
        .command = request->command,
        .bytes = (uint32_t)(sizeof(header) + bytes),
        .flags = VU_TYPE_REPLY | (error ? VU_FLAG_ERROR : 0),
        .error = (uint32_t)error,
    };
    int ret;

    if (request->flags & VU_FLAG_NO_REPLY)
        return 0;
    ret = vu_queue(vu, &header, payload, bytes, fds, fd_count);
    return ret ? ret : vgpu_vfio_user_send(vu);
}

/* ---- Commands answered later ---- */

int vu_defer(struct vgpu_vfio_user *vu, const struct vu_msg *msg, uint64_t cookie,
             const struct vu_dma_unmap *unmap)
{
    struct vu_deferred *d;

    if (vu->deferred_count >= VU_MAX_DEFERRED)
        return -ENOBUFS;
    d = reallocarray(vu->deferred, vu->deferred_count + 1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    vu->deferred = d;
    d += vu->deferred_count++;
    *d = (struct vu_deferred){.cookie = cookie, .header = msg->header};
    if (unmap)
        d->unmap = *unmap;
    return 0;
}

/* Answer all deferred commands that wait for `cookie`. A failure shows at the next receive(). */
static void vu_deferred_done(struct vgpu_vfio_user *vu, uint64_t cookie)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < vu->deferred_count; i++) {
        struct vu_deferred d = vu->deferred[i];

        if (d.cookie != cookie) {
            vu->deferred[kept++] = d;
            continue;
        }
        if (vu_reply(vu, &d.header, 0, &d.unmap, cookie ? sizeof(d.unmap) : 0, NULL, 0))
            shutdown(vu->fd, SHUT_RDWR);
    }
    vu->deferred_count = kept;
}

void vgpu_vfio_user_unmap_done(struct vgpu_vfio_user *vu, uint64_t cookie)
{
    vu_deferred_done(vu, cookie);
}

void vgpu_vfio_user_reset_done(struct vgpu_vfio_user *vu)
{
    vu_deferred_done(vu, 0);
}

/* ---- Receiving ---- */

static VGPU_MUST_CHECK int vu_take_fds(struct vgpu_vfio_user *vu, struct msghdr *mh)
{
    int ret = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        size_t count;
        int fds[VU_MAX_FDS];

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
        if (count > VU_MAX_FDS - vu->rx_fd_count) {
            vu_close_fds(fds, count);
            ret = -EPROTO;
            continue;
        }
        memcpy(vu->rx_fds + vu->rx_fd_count, fds, count * sizeof(int));
        vu->rx_fd_count += count;
    }
    if (mh->msg_flags & MSG_CTRUNC)
        ret = -EPROTO;
    if (ret)
        vu_log(vu, VGPU_DEV_LOG_WARN,
               "descriptors of a message were lost, too many came or are open: connection dropped");
    return ret;
}

/* Receive until `want` bytes of the message are there.  1: they are; 0: not yet; -errno. */
static VGPU_MUST_CHECK int vu_fill(struct vgpu_vfio_user *vu, size_t want)
{
    while (vu->rx_got < want) {
        union vu_control control;
        struct iovec iov = {vu->rx + vu->rx_got, want - vu->rx_got};
        struct msghdr mh = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.buf,
                            .msg_controllen = sizeof(control.buf)};
        ssize_t n = recvmsg(vu->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        int ret;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        ret = vu_take_fds(vu, &mh);
        if (ret)
            return ret;
        if (n == 0)
            return -ECONNRESET;
        vu->rx_got += (size_t)n;
    }
    return 1;
}

/* Can the rest of the stream be trusted after this header? */
static VGPU_MUST_CHECK int vu_header_check(struct vgpu_vfio_user *vu, const struct vu_header *h)
{
    if (h->bytes < sizeof(*h) || h->bytes > VU_MAX_MESSAGE) {
        vu_log(vu, VGPU_DEV_LOG_WARN, "message of %u bytes: connection dropped", h->bytes);
        return -EPROTO;
    }
    if ((h->flags & VU_FLAG_TYPE_MASK) != VU_TYPE_COMMAND) {
        vu_log(vu, VGPU_DEV_LOG_WARN, "message type %u is not a command: connection dropped",
               h->flags & VU_FLAG_TYPE_MASK);
        return -EPROTO;
    }
    if (!vu->negotiated && h->command != VU_VERSION) {
        vu_log(vu, VGPU_DEV_LOG_WARN, "command %u before VERSION: connection dropped", h->command);
        return -EPROTO;
    }
    return 0;
}

static VGPU_MUST_CHECK int vu_msg_check(const struct vu_msg *msg)
{
    const struct vu_command_rule *rule;

    if (msg->header.command >= VU_COMMAND_END || !vu_rules[msg->header.command].handler)
        return -EOPNOTSUPP;
    rule = &vu_rules[msg->header.command];
    if (msg->header.flags & ~(VU_FLAG_TYPE_MASK | VU_FLAG_NO_REPLY))
        return -EINVAL;
    if (msg->payload_bytes < rule->min_bytes || msg->payload_bytes > rule->max_bytes)
        return -EINVAL;
    if (msg->fd_count > rule->max_fds)
        return -EINVAL;
    return 0;
}

static VGPU_MUST_CHECK int vu_dispatch(struct vgpu_vfio_user *vu)
{
    struct vu_msg msg = {
        .payload = vu->rx + sizeof(msg.header),
        .payload_bytes = vu->rx_got - sizeof(msg.header),
        .fds = vu->rx_fds,
        .fd_count = vu->rx_fd_count,
    };
    int ret;

    memcpy(&msg.header, vu->rx, sizeof(msg.header));
    vu->messages++;
    ret = vu_msg_check(&msg);
    if (!ret)
        ret = vu_rules[msg.header.command].handler(vu, &msg);
    vu_close_fds(vu->rx_fds, vu->rx_fd_count);
    vu->rx_fd_count = 0;
    vu->rx_got = 0;
    if (ret == VU_DEFERRED)
        return 0;
    if (!ret)
        return vu_reply(vu, &msg.header, 0, vu->reply, msg.reply_bytes, msg.reply_fds,
                        msg.reply_fd_count);
    vu->refused++;
    vu_log(vu, VGPU_DEV_LOG_DEBUG, "command %u (%zu bytes, %zu fds) refused: %s",
           msg.header.command, msg.payload_bytes, msg.fd_count, strerror(-ret));
    ret = vu_reply(vu, &msg.header, -ret, NULL, 0, NULL, 0);
    /* Without a version there is nothing to go on with. */
    return !ret && !vu->negotiated ? -EPROTO : ret;
}

/* Receive one message.  1: served; 0: nothing complete there; -errno. */
static VGPU_MUST_CHECK int vu_receive_one(struct vgpu_vfio_user *vu)
{
    struct vu_header header;
    int ret;

    if (!vu_grow(&vu->rx, &vu->rx_room, 4096))
        return -ENOMEM;
    ret = vu_fill(vu, sizeof(header));
    if (ret <= 0)
        return ret;
    memcpy(&header, vu->rx, sizeof(header));
    ret = vu_header_check(vu, &header);
    if (ret)
        return ret;
    if (!vu_grow(&vu->rx, &vu->rx_room, header.bytes))
        return -ENOMEM;
    ret = vu_fill(vu, header.bytes);
    if (ret <= 0)
        return ret;
    ret = vu_dispatch(vu);
    return ret ? ret : 1;
}

int vgpu_vfio_user_receive(struct vgpu_vfio_user *vu)
{
    for (unsigned int i = 0; i < VU_BUDGET && !vu->out_first; i++) {
        int ret = vu_receive_one(vu);

        if (ret <= 0)
            return ret;
    }
    return 0;
}
