/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfio-user message transport over a connected AF_UNIX socket.
 *
 * Theory of operation.  Everything runs under the big QEMU lock, in the main
 * loop or in a vCPU thread that accesses the device; the lock is never dropped
 * here, so there is nothing else to lock.  The socket is non-blocking.
 *
 * Sending: a message goes out at once if the socket takes it, else it waits in
 * a queue that the main loop (or a waiter) works off.  Order is kept, so a
 * posted register write is seen before the read that follows it.
 *
 * Receiving: header and payload are read with separate calls of exactly their
 * lengths, so that descriptors, which the kernel hands out with the bytes they
 * were sent with, are never mixed up between messages.  Lengths are checked
 * before anything is allocated: a reply may be as long as its request said, a
 * command VGPU_CLIENT_MAX_COMMAND.
 *
 * Waiting: vgpu_client_wait() polls this one socket and dispatches no other
 * event of QEMU, so nothing can re-enter the device while a vCPU waits in it.
 * Reply callbacks run from there too and are therefore restricted (see the
 * header).  Every wait is bounded.
 *
 * Failing: the first fault - end of file, a malformed message, a deadline -
 * breaks the connection.  From then on all calls fail immediately and touch no
 * socket; the owner is told from a bottom half, since the fault may have been
 * found deep inside a memory transaction where it could not clean up.
 *
 * The peer is not trusted: none of its bytes reaches an assertion.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include <poll.h>
#include <sys/socket.h>
#include "vgpu-client.h"
#include "vgpu-trace.h"

/*
 * Messages handled at a time, so that a talkative peer can neither starve the
 * other users of the main loop nor keep a waiter from looking at the clock.
 */
#define RX_BUDGET 64

typedef struct VgpuRequest {
    VgpuReplyFunc *reply;
    void *opaque;
    size_t max_reply;
    uint16_t command;
} VgpuRequest;

typedef struct VgpuOutgoing {
    size_t len, sent;
    MemoryRegion *mr;
    unsigned nr_fds;
    int fds[];                  /* and behind them the message's bytes */
} VgpuOutgoing;

static void client_update_handler(VgpuClient *client);

void vgpu_client_break(VgpuClient *client, const char *fmt, ...)
{
    va_list ap;

    if (!vgpu_client_is_up(client)) {
        return;
    }
    va_start(ap, fmt);
    client->reason = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    client->broken = true;
    client_update_handler(client);
    qemu_bh_schedule(client->broken_bh);
}

/* ---- Sending ---- */

static uint8_t *outgoing_bytes(VgpuOutgoing *out)
{
    return (uint8_t *)(out->fds + out->nr_fds);
}

static void outgoing_free(VgpuOutgoing *out)
{
    if (out->mr) {
        memory_region_unref(out->mr);
    }
    g_free(out);
}

static VgpuOutgoing *outgoing_new(const VfuHeader *hdr,
                                  const VgpuClientMessage *msg)
{
    VgpuOutgoing *out = g_malloc(sizeof(*out) + msg->nr_fds * sizeof(int) +
                                 hdr->size);
    uint8_t *at;

    out->len = hdr->size;
    out->sent = 0;
    out->nr_fds = msg->nr_fds;
    out->mr = msg->mr;
    if (out->mr) {
        memory_region_ref(out->mr);
    }
    if (msg->nr_fds) {
        memcpy(out->fds, msg->fds, msg->nr_fds * sizeof(int));
    }
    at = outgoing_bytes(out);
    memcpy(at, hdr, sizeof(*hdr));
    at += sizeof(*hdr);
    for (int i = 0; i < 2; i++) {
        if (msg->len[i]) {
            memcpy(at, msg->data[i], msg->len[i]);
            at += msg->len[i];
        }
    }
    return out;
}

/* One sendmsg(): >0 progress, 0 socket full, <0 broken. */
static int outgoing_send(VgpuClient *client, VgpuOutgoing *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VGPU_CLIENT_MAX_FDS)];
    } control;
    struct iovec iov = {
        .iov_base = outgoing_bytes(out) + out->sent,
        .iov_len = out->len - out->sent,
    };
    struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (out->nr_fds && out->sent == 0) {
        struct cmsghdr *cmsg;

        memset(&control, 0, CMSG_SPACE(sizeof(int) * out->nr_fds));
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * out->nr_fds);
        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * out->nr_fds);
        memcpy(CMSG_DATA(cmsg), out->fds, sizeof(int) * out->nr_fds);
    }
    n = TEMP_FAILURE_RETRY(sendmsg(client->fd, &mh,
                                   MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        vgpu_client_break(client, "cannot send: %s", strerror(errno));
        return -1;
    }
    out->sent += n;
    return 1;
}

static bool client_flush(VgpuClient *client)
{
    VgpuOutgoing *out;

    while ((out = g_queue_peek_head(&client->queue))) {
        int ret = outgoing_send(client, out);

        if (ret < 0) {
            return false;
        }
        if (ret == 0) {
            break;
        }
        if (out->sent == out->len) {
            outgoing_free(g_queue_pop_head(&client->queue));
        }
    }
    client_update_handler(client);
    return true;
}

static bool client_queue(VgpuClient *client, VfuHeader *hdr,
                         const VgpuClientMessage *msg)
{
    /* What we send is small and of our own making. */
    assert(msg->nr_fds <= VGPU_CLIENT_MAX_FDS);
    hdr->size = sizeof(*hdr) + msg->len[0] + msg->len[1];

    if (g_queue_get_length(&client->queue) >= VGPU_CLIENT_MAX_QUEUED) {
        vgpu_client_break(client, "the peer does not read its socket");
        return false;
    }
    VGPU_TRACE(msg_send, "id %u command %u size %u flags 0x%x fds %u",
               hdr->id, hdr->command, hdr->size, hdr->flags, msg->nr_fds);
    g_queue_push_tail(&client->queue, outgoing_new(hdr, msg));
    return client_flush(client);
}

/* An id that no outstanding request has; there are fewer of those than ids. */
static uint16_t client_new_id(VgpuClient *client)
{
    do {
        client->next_id++;
    } while (g_hash_table_contains(client->pending,
                                   GUINT_TO_POINTER(client->next_id)));
    return client->next_id;
}

bool vgpu_client_send(VgpuClient *client, const VgpuClientMessage *msg)
{
    VfuHeader hdr = {
        .command = msg->command,
        .flags = VFU_FLAG_TYPE_COMMAND,
    };

    if (vgpu_client_is_up(client) &&
        g_hash_table_size(client->pending) >= VGPU_CLIENT_MAX_QUEUED) {
        vgpu_client_break(client, "the peer leaves too many requests "
                          "unanswered");
    }
    if (!vgpu_client_is_up(client)) {
        VgpuReply reply = { .error = ECONNABORTED };

        if (msg->reply) {
            msg->reply(msg->opaque, &reply);
        }
        return false;
    }
    hdr.id = client_new_id(client);
    if (msg->no_reply) {
        hdr.flags |= VFU_FLAG_NO_REPLY;
    } else {
        VgpuRequest *req = g_new(VgpuRequest, 1);

        *req = (VgpuRequest) {
            .reply = msg->reply,
            .opaque = msg->opaque,
            .max_reply = msg->max_reply,
            .command = msg->command,
        };
        g_hash_table_insert(client->pending, GUINT_TO_POINTER(hdr.id), req);
    }
    return client_queue(client, &hdr, msg);
}

/* ---- Receiving ---- */

static void rx_reset(VgpuClient *client)
{
    for (unsigned i = 0; i < client->nr_rx_fds; i++) {
        if (client->rx_fds[i] >= 0) {
            close(client->rx_fds[i]);
        }
    }
    client->nr_rx_fds = 0;
    client->got = 0;
    g_free(client->payload);
    client->payload = NULL;
}

/* Collect the descriptors of one recvmsg().  False: more than allowed. */
static bool rx_take_fds(VgpuClient *client, struct msghdr *mh)
{
    bool fits = !(mh->msg_flags & MSG_CTRUNC);

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(mh); cmsg;
         cmsg = CMSG_NXTHDR(mh, cmsg)) {
        size_t bytes;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        bytes = cmsg->cmsg_len - CMSG_LEN(0);
        for (size_t i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i, sizeof(fd));
            if (client->nr_rx_fds < VGPU_CLIENT_MAX_FDS) {
                client->rx_fds[client->nr_rx_fds++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

/* Read up to @len bytes.  >0 progress, 0 nothing there, <0 broken. */
static int rx_read(VgpuClient *client, void *buf, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VGPU_CLIENT_MAX_FDS)];
    } control;
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    struct msghdr mh = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    n = TEMP_FAILURE_RETRY(recvmsg(client->fd, &mh,
                               MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        vgpu_client_break(client, "cannot receive: %s", strerror(errno));
        return -1;
    }
    if (!rx_take_fds(client, &mh)) {
        vgpu_client_break(client, "a message with too many descriptors");
        return -1;
    }
    if (n == 0) {
        vgpu_client_break(client, "the back end closed the connection");
        return -1;
    }
    client->got += n;
    return 1;
}

/* The header is complete: is its payload one that may be received? */
static bool rx_check_header(VgpuClient *client)
{
    const VfuHeader *hdr = &client->hdr;
    uint32_t type = hdr->flags & VFU_FLAG_TYPE_MASK;
    size_t limit = VGPU_CLIENT_MAX_COMMAND;

    if (type == VFU_FLAG_TYPE_REPLY) {
        VgpuRequest *req = g_hash_table_lookup(client->pending,
                                               GUINT_TO_POINTER(hdr->id));

        if (!req) {
            vgpu_client_break(client, "a reply to no request (id %u)", hdr->id);
            return false;
        }
        if (req->command != hdr->command) {
            vgpu_client_break(client, "a reply to command %u names command %u",
                              req->command, hdr->command);
            return false;
        }
        limit = req->max_reply;
    } else if (type != VFU_FLAG_TYPE_COMMAND) {
        vgpu_client_break(client, "a message of unknown type %u", type);
        return false;
    }
    if (hdr->size < sizeof(*hdr) || hdr->size - sizeof(*hdr) > limit) {
        vgpu_client_break(client, "a %s to/of command %u of %u bytes",
                          type == VFU_FLAG_TYPE_REPLY ? "reply" : "command",
                          hdr->command, hdr->size);
        return false;
    }
    return true;
}

/*
 * Commands of the peer are for devices whose memory it cannot map.  Ours can,
 * so all of them are refused.
 */
static void rx_refuse_command(VgpuClient *client)
{
    VfuHeader hdr = {
        .id = client->hdr.id,
        .command = client->hdr.command,
        .flags = VFU_FLAG_TYPE_REPLY | VFU_FLAG_ERROR,
        .error = ENOTSUP,
    };
    VgpuClientMessage msg = { };

    if (++client->commands > VGPU_CLIENT_MAX_COMMANDS) {
        vgpu_client_break(client, "the peer goes on sending commands");
    } else if (!(client->hdr.flags & VFU_FLAG_NO_REPLY)) {
        client_queue(client, &hdr, &msg);
    }
}

static void rx_dispatch(VgpuClient *client)
{
    const VfuHeader *hdr = &client->hdr;
    gpointer key = GUINT_TO_POINTER(hdr->id);
    VgpuRequest *req;
    VgpuReply reply;

    VGPU_TRACE(msg_recv, "id %u command %u size %u flags 0x%x error %u fds %u",
               hdr->id, hdr->command, hdr->size, hdr->flags, hdr->error,
               client->nr_rx_fds);
    if ((hdr->flags & VFU_FLAG_TYPE_MASK) == VFU_FLAG_TYPE_COMMAND) {
        rx_refuse_command(client);
        rx_reset(client);
        return;
    }
    req = g_hash_table_lookup(client->pending, key);
    g_hash_table_steal(client->pending, key);
    reply = (VgpuReply) {
        .data = client->payload,
        .len = hdr->size - sizeof(*hdr),
        .fds = client->rx_fds,
        .nr_fds = client->nr_rx_fds,
    };
    if (hdr->flags & VFU_FLAG_ERROR) {
        /* an errno, which the peer may leave at 0 or make up */
        reply.error = hdr->error > 0 && hdr->error < 4096 ? hdr->error : EIO;
    }
    if (req->reply) {
        req->reply(req->opaque, &reply);
    }
    g_free(req);
    rx_reset(client);
    if (vgpu_client_is_up(client)) {
        client->progress(client->opaque);
    }
}

/* Receive at most one message.  >0 one came, 0 not (yet), <0 broken. */
static int rx_message(VgpuClient *client)
{
    VfuHeader *hdr = &client->hdr;
    int ret;

    while (client->got < sizeof(*hdr)) {
        ret = rx_read(client, (uint8_t *)hdr + client->got,
                      sizeof(*hdr) - client->got);
        if (ret <= 0) {
            return ret;
        }
        if (client->got == sizeof(*hdr)) {
            if (!rx_check_header(client)) {
                return -1;
            }
            client->payload = g_malloc(hdr->size - sizeof(*hdr));
        }
    }
    while (client->got < hdr->size) {
        ret = rx_read(client, client->payload + client->got - sizeof(*hdr),
                      hdr->size - client->got);
        if (ret <= 0) {
            return ret;
        }
    }
    rx_dispatch(client);
    return vgpu_client_is_up(client) ? 1 : -1;
}

/* The connection is unusable: no request will be answered any more. */
static void client_abort_requests(VgpuClient *client)
{
    GHashTable *pending = client->pending;
    GHashTableIter iter;
    gpointer value;

    client->pending = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_hash_table_iter_init(&iter, pending);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VgpuRequest *req = value;
        VgpuReply reply = { .error = ECONNABORTED };

        if (req->reply) {
            req->reply(req->opaque, &reply);
        }
    }
    g_hash_table_destroy(pending);
}

/* ---- The main loop's side ---- */

static void client_readable(void *opaque)
{
    VgpuClient *client = opaque;

    for (int i = 0; i < RX_BUDGET; i++) {
        if (!vgpu_client_is_up(client) || rx_message(client) <= 0) {
            break;
        }
    }
}

static void client_writable(void *opaque)
{
    VgpuClient *client = opaque;

    if (vgpu_client_is_up(client)) {
        client_flush(client);
    }
}

static void client_update_handler(VgpuClient *client)
{
    bool up = vgpu_client_is_up(client);
    bool more = up && !g_queue_is_empty(&client->queue);

    if (client->fd >= 0 && (client->watch_read != up ||
                            client->watch_write != more)) {
        qemu_set_fd_handler(client->fd, up ? client_readable : NULL,
                            more ? client_writable : NULL, client);
        client->watch_read = up;
        client->watch_write = more;
    }
}

/* ---- Waiting ---- */

static bool client_is_done(VgpuClient *client, bool (*done)(void *opaque),
                           void *opaque)
{
    return g_queue_is_empty(&client->queue) && (!done || done(opaque));
}

bool vgpu_client_wait(VgpuClient *client, bool (*done)(void *opaque),
                      void *opaque, unsigned timeout_ms, const char *what)
{
    int64_t deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + timeout_ms;

    while (vgpu_client_is_up(client)) {
        struct pollfd pfd = { .fd = client->fd, .events = POLLIN };
        int64_t left;

        /* Read first: the peer may take no more before it can send. */
        for (int i = 0; i < RX_BUDGET && rx_message(client) > 0; i++) {
            if (client_is_done(client, done, opaque)) {
                return true;
            }
        }
        if (!vgpu_client_is_up(client) || !client_flush(client)) {
            break;
        }
        if (client_is_done(client, done, opaque)) {
            return true;
        }
        if (!g_queue_is_empty(&client->queue)) {
            pfd.events |= POLLOUT;
        }
        left = deadline - qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
        if (left <= 0) {
            client->timed_out = true;
            vgpu_client_break(client, "no answer to %s within %u ms",
                              what, timeout_ms);
            break;
        }
        if (poll(&pfd, 1, left) < 0 && errno != EINTR) {
            vgpu_client_break(client, "cannot poll: %s", strerror(errno));
        }
    }
    return false;
}

typedef struct VgpuCall {
    bool done;
    int error;
    void *buf;
    size_t size, len;
} VgpuCall;

static bool call_is_done(void *opaque)
{
    VgpuCall *call = opaque;

    return call->done;
}

static void call_reply(void *opaque, VgpuReply *reply)
{
    VgpuCall *call = opaque;

    call->done = true;
    call->error = reply->error;
    call->len = reply->len;
    if (!reply->error && reply->len) {
        memcpy(call->buf, reply->data, MIN(reply->len, call->size));
    }
}

ssize_t vgpu_client_call(VgpuClient *client, const VgpuClientMessage *msg,
                         void *buf, size_t size, unsigned timeout_ms,
                         const char *what)
{
    VgpuCall call = { .buf = buf, .size = size };
    VgpuClientMessage request = *msg;

    request.reply = call_reply;
    request.opaque = &call;
    request.max_reply = size;
    if (!vgpu_client_send(client, &request) ||
        !vgpu_client_wait(client, call_is_done, &call, timeout_ms, what)) {
        client_abort_requests(client);  /* @call is on our stack */
        return -EPIPE;
    }
    return call.error ? -call.error : (ssize_t)call.len;
}

/* ---- Life ---- */

void vgpu_client_init(VgpuClient *client, QEMUBHFunc *broken,
                      void (*progress)(void *opaque), void *opaque)
{
    client->fd = -1;
    client->pending = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_queue_init(&client->queue);
    client->broken_bh = qemu_bh_new(broken, opaque);
    client->progress = progress;
    client->opaque = opaque;
}

void vgpu_client_fini(VgpuClient *client)
{
    vgpu_client_stop(client);
    qemu_bh_delete(client->broken_bh);
    g_hash_table_destroy(client->pending);
}

void vgpu_client_start(VgpuClient *client, int fd)
{
    assert(client->fd < 0);
    client->fd = fd;
    client->broken = false;
    client->timed_out = false;
    client->commands = 0;
    client_update_handler(client);
}

void vgpu_client_stop(VgpuClient *client)
{
    VgpuOutgoing *out;

    if (client->fd < 0) {
        return;
    }
    client->broken = true;
    client_update_handler(client);
    qemu_bh_cancel(client->broken_bh);
    close(client->fd);
    client->fd = -1;
    while ((out = g_queue_pop_head(&client->queue))) {
        outgoing_free(out);
    }
    client_abort_requests(client);
    rx_reset(client);
    g_free(client->reason);
    client->reason = NULL;
}
