/* SPDX-License-Identifier: MIT */
/*
 * guestsim: the vfio-user client (the published protocol, version 0.0).
 *
 * A call is one message out and one reply in, under vfu->lock, on a stream
 * socket.  The server never speaks first, so a reply that does not carry the
 * call's id means that the stream is out of step: the connection is declared
 * dead and every later call fails.  File descriptors travel with the first byte of
 * a message, hence with its header.
 *
 * The structures of the payloads are declared here on purpose instead of being
 * shared with the server under test.
 */
#include "guestsim.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct vfu_dma_map {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;
    uint64_t addr;
    uint64_t bytes;
};

struct vfu_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t addr;
    uint64_t bytes;
};

struct vfu_region_rw {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
};

uint64_t gs_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int gs_vfu_connect(struct gs_vfu *vfu, const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    memset(vfu, 0, sizeof(*vfu));
    vfu->fd = -1;
    vfu->timeout_ms = GS_TIMEOUT_MS;
    if (strlen(path) >= sizeof(sun.sun_path))
        return -ENAMETOOLONG;
    memcpy(sun.sun_path, path, strlen(path) + 1);
    vfu->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (vfu->fd < 0)
        return -errno;
    if (connect(vfu->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
        int err = -errno;

        close(vfu->fd);
        vfu->fd = -1;
        return err;
    }
    pthread_mutex_init(&vfu->lock, NULL);
    return 0;
}

void gs_vfu_close(struct gs_vfu *vfu)
{
    if (vfu->fd < 0)
        return;
    close(vfu->fd);
    vfu->fd = -1;
    vfu->dead = true;
    pthread_mutex_destroy(&vfu->lock);
}

static int vfu_send(struct gs_vfu *vfu, struct iovec *iov, size_t iov_count, const int *fds,
                    size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * GS_MAX_FDS)];
    } control;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = iov_count};

    if (fd_count > GS_MAX_FDS)
        return -EINVAL;
    if (fd_count) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
    }
    while (msg.msg_iovlen) {
        ssize_t n = sendmsg(vfu->fd, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE ? -ECONNRESET : -errno;
        msg.msg_control = NULL;
        msg.msg_controllen = 0;
        while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
            n -= (ssize_t)msg.msg_iov->iov_len;
            msg.msg_iov++;
            msg.msg_iovlen--;
        }
        if (msg.msg_iovlen) {
            msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + n;
            msg.msg_iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

/* Read exactly `count` bytes before the deadline, collecting descriptors. */
static int vfu_read(struct gs_vfu *vfu, void *buf, size_t count, uint64_t deadline, int *fds,
                    size_t fd_room, size_t *fd_count)
{
    char control[CMSG_SPACE(sizeof(int) * GS_MAX_FDS)] __attribute__((aligned(8)));
    size_t done = 0;

    while (done < count) {
        struct iovec iov = {(char *)buf + done, count - done};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        struct pollfd pfd = {.fd = vfu->fd, .events = POLLIN};
        uint64_t now = gs_now_ns();
        ssize_t n;

        if (poll(&pfd, 1, now < deadline ? (int)((deadline - now) / 1000000u) + 1 : 0) == 0)
            return -ETIMEDOUT;
        n = recvmsg(vfu->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ECONNRESET;
        done += (size_t)n;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
            size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                continue;
            for (size_t i = 0; i < got; i++) {
                int fd;

                memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                if (fds && *fd_count < fd_room)
                    fds[(*fd_count)++] = fd;
                else
                    close(fd);
            }
        }
    }
    return 0;
}

int gs_vfu_send_raw(struct gs_vfu *vfu, const void *bytes, size_t count, const int *fds,
                    size_t fd_count)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, count};

    return vfu_send(vfu, &iov, 1, fds, fd_count);
}

int gs_vfu_recv_raw(struct gs_vfu *vfu, struct gs_vfu_hdr *hdr, void *payload, size_t room,
                    int *fds, size_t fd_room, size_t *fd_count)
{
    uint64_t deadline = gs_deadline(vfu->timeout_ms);
    size_t none = 0, left, take;
    char sink[256];
    int rc;

    if (fd_count)
        *fd_count = 0;
    rc = vfu_read(vfu, hdr, sizeof(*hdr), deadline, fds, fd_room, fd_count ? fd_count : &none);
    if (rc)
        return rc;
    if (hdr->size < sizeof(*hdr))
        return -EPROTO;
    left = hdr->size - sizeof(*hdr);
    take = left < room ? left : room;
    rc = vfu_read(vfu, payload, take, deadline, NULL, 0, &none);
    for (left -= take; !rc && left; left -= take) {
        take = left < sizeof(sink) ? left : sizeof(sink);
        rc = vfu_read(vfu, sink, take, deadline, NULL, 0, &none);
    }
    return rc;
}

/* Transport error, or 0 with the server's verdict in *error. */
static int vfu_exchange(struct gs_vfu *vfu, struct gs_vfu_call *call, int *error)
{
    struct gs_vfu_hdr hdr = {
        .id = vfu->next_id++,
        .command = (uint16_t)call->command,
        .size = (uint32_t)(sizeof(hdr) + call->req_bytes + call->data_bytes),
        .flags = call->no_reply ? GS_VFU_NO_REPLY : 0,
    };
    struct iovec iov[3] = {{&hdr, sizeof(hdr)},
                           {(void *)(uintptr_t)call->req, call->req_bytes},
                           {(void *)(uintptr_t)call->data, call->data_bytes}};
    struct gs_vfu_hdr reply;
    int rc;

    rc = vfu_send(vfu, iov, 3, call->fds, call->fd_count);
    if (rc || call->no_reply)
        return rc;
    rc = gs_vfu_recv_raw(vfu, &reply, call->reply, call->reply_room, call->reply_fds,
                         call->reply_fd_room, &call->reply_fd_count);
    if (rc)
        return rc;
    if (reply.id != hdr.id || reply.command != hdr.command || (reply.flags & 0xf) != GS_VFU_REPLY)
        return -EPROTO;
    call->reply_bytes = reply.size - sizeof(reply);
    if (reply.flags & GS_VFU_ERROR)
        *error = reply.error ? -(int)reply.error : -EIO;
    return 0;
}

int gs_vfu_call(struct gs_vfu *vfu, struct gs_vfu_call *call)
{
    int error = 0, rc;

    if (vfu->fd < 0)
        return -ECONNRESET;
    pthread_mutex_lock(&vfu->lock);
    rc = vfu->dead ? -ECONNRESET : vfu_exchange(vfu, call, &error);
    if (rc)
        vfu->dead = true; /* nothing more can be matched on this stream */
    pthread_mutex_unlock(&vfu->lock);
    return rc ? rc : error;
}

int gs_vfu_version(struct gs_vfu *vfu, uint16_t major, uint16_t minor, unsigned int max_msg_fds)
{
    struct {
        uint16_t major;
        uint16_t minor;
    } req = {major, minor}, *answer;
    char json[160], reply[1024];
    struct gs_vfu_call call = {.command = GS_VFU_VERSION,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .data = json,
                               .reply = reply,
                               .reply_room = sizeof(reply)};
    int rc;

    snprintf(json, sizeof(json),
             "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":1048576}}", max_msg_fds);
    call.data_bytes = strlen(json) + 1;
    rc = gs_vfu_call(vfu, &call);
    if (rc)
        return rc;
    answer = (void *)reply;
    if (call.reply_bytes < sizeof(*answer) || answer->major != major || answer->minor > minor)
        return -EPROTO;
    return 0;
}

int gs_vfu_dma_map(struct gs_vfu *vfu, uint64_t addr, uint64_t bytes, int fd, uint64_t offset,
                   uint32_t prot)
{
    struct vfu_dma_map req = {sizeof(req), prot, offset, addr, bytes};
    struct gs_vfu_call call = {.command = GS_VFU_DMA_MAP,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .fds = &fd,
                               .fd_count = fd >= 0};

    return gs_vfu_call(vfu, &call);
}

int gs_vfu_dma_unmap(struct gs_vfu *vfu, uint64_t addr, uint64_t bytes)
{
    struct vfu_dma_unmap req = {sizeof(req), 0, addr, bytes}, reply;
    struct gs_vfu_call call = {.command = GS_VFU_DMA_UNMAP,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .reply = &reply,
                               .reply_room = sizeof(reply)};

    return gs_vfu_call(vfu, &call);
}

int gs_vfu_region_read(struct gs_vfu *vfu, uint32_t region, uint64_t offset, void *data,
                       uint32_t bytes)
{
    struct vfu_region_rw req = {offset, region, bytes};
    struct {
        struct vfu_region_rw head;
        uint8_t data[4096];
    } reply;
    struct gs_vfu_call call = {.command = GS_VFU_REGION_READ,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .reply = &reply,
                               .reply_room = sizeof(reply)};
    int rc;

    if (bytes > sizeof(reply.data))
        return -EINVAL;
    rc = gs_vfu_call(vfu, &call);
    if (rc)
        return rc;
    if (call.reply_bytes != sizeof(req) + bytes || reply.head.count != bytes)
        return -EPROTO;
    memcpy(data, reply.data, bytes);
    return 0;
}

int gs_vfu_region_write(struct gs_vfu *vfu, uint32_t region, uint64_t offset, const void *data,
                        uint32_t bytes, bool posted)
{
    struct vfu_region_rw req = {offset, region, bytes}, reply;
    struct gs_vfu_call call = {.command = GS_VFU_REGION_WRITE,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .data = data,
                               .data_bytes = bytes,
                               .no_reply = posted,
                               .reply = &reply,
                               .reply_room = sizeof(reply)};

    return gs_vfu_call(vfu, &call);
}

int gs_vfu_set_irq_fds(struct gs_vfu *vfu, uint32_t start, const int *fds, uint32_t count)
{
    struct {
        uint32_t argsz, flags, index, start, count;
    } req = {sizeof(req), VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
             VFIO_PCI_MSIX_IRQ_INDEX, start, count};
    struct gs_vfu_call call = {.command = GS_VFU_SET_IRQS,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .fds = fds,
                               .fd_count = fds ? count : 0};

    return gs_vfu_call(vfu, &call);
}

static int vfu_act_on_irqs(struct gs_vfu *vfu, uint32_t action, uint32_t start, uint32_t count)
{
    struct {
        uint32_t argsz, flags, index, start, count;
    } req = {sizeof(req), VFIO_IRQ_SET_DATA_NONE | action, VFIO_PCI_MSIX_IRQ_INDEX, start, count};
    struct gs_vfu_call call = {.command = GS_VFU_SET_IRQS, .req = &req, .req_bytes = sizeof(req)};

    return gs_vfu_call(vfu, &call);
}

int gs_vfu_mask_irqs(struct gs_vfu *vfu, uint32_t start, uint32_t count, bool masked)
{
    return vfu_act_on_irqs(vfu, masked ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK,
                           start, count);
}

int gs_vfu_disable_irqs(struct gs_vfu *vfu)
{
    return vfu_act_on_irqs(vfu, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
}
