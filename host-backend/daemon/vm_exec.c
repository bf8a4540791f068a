/* SPDX-License-Identifier: MIT */
/*
 * The conversation with one exec process (exec/proto.h), seen from the vm process.
 *
 * Sending never blocks: what the socket has no room for is queued with duplicates of its
 * descriptors, up to a limit that only a process which has stopped reading reaches.
 * Requests are answered in order, so the unanswered ones are a list whose head
 * must match; each has a time by which it is answered, watched by one timer per VM.
 *
 * The exec process runs what a guest made up.  Whatever it says is checked for size, type, order
 * and value; anything odd ends it, and costs its context only.  Descriptors it
 * sends are never taken.
 */
#include <daemon/vm.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXEC_BUDGET 64u /* messages taken in per event */

struct vm_out {
    struct vm_out *next;
    size_t bytes;
    size_t fd_count;
    int fds[VGPU_X_MAX_FDS];
    uint8_t data[];
};

static const char *exec_type_name(uint32_t type)
{
    switch (type) {
    case VGPU_X_START: return "START";
    case VGPU_X_BUF_BEGIN: return "BUF_BEGIN";
    case VGPU_X_BUF_ADD: return "BUF_ADD";
    case VGPU_X_BUF_COMMIT: return "BUF_COMMIT";
    case VGPU_X_BUF_DROP: return "BUF_DROP";
    case VGPU_X_IRQ: return "IRQ";
    default: return "message";
    }
}

/* ---- Sending ---- */

static VGPU_MUST_CHECK int exec_sendmsg(int sock, const void *data, size_t bytes, const int *fds,
                                        size_t fd_count)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * VGPU_X_MAX_FDS)];
    } control;
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd_count) {
        size_t len = sizeof(int) * fd_count;
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(len);
        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(cmsg), fds, len);
    }
    do {
        n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static void exec_out_free(struct vm_out *out)
{
    for (size_t i = 0; i < out->fd_count; i++)
        close(out->fds[i]);
    free(out);
}

static VGPU_MUST_CHECK int exec_queue(struct vm_ctx *ctx, const void *data, size_t bytes,
                                      const int *fds, size_t fd_count)
{
    struct vm_out *out;

    if (ctx->out_count >= VM_MAX_OUT)
        return -ENOBUFS;
    out = malloc(sizeof(*out) + bytes);
    if (!out)
        return -ENOMEM;
    out->next = NULL;
    out->bytes = bytes;
    out->fd_count = 0;
    memcpy(out->data, data, bytes);
    for (size_t i = 0; i < fd_count; i++) {
        out->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (out->fds[i] < 0) {
            int err = -errno;

            exec_out_free(out);
            return err;
        }
        out->fd_count++;
    }
    if (ctx->out_last)
        ctx->out_last->next = out;
    else
        ctx->out_first = out;
    ctx->out_last = out;
    ctx->out_count++;
    vgpu_source_set_events(&ctx->vm->loop, &ctx->sock_source, EPOLLIN | EPOLLOUT);
    return 0;
}

/* Send what waits.  A peer that is gone shows by its pidfd. */
static void exec_flush(struct vm_ctx *ctx)
{
    while (ctx->out_first) {
        struct vm_out *out = ctx->out_first;

        if (exec_sendmsg(ctx->sock, out->data, out->bytes, out->fds, out->fd_count) == -EAGAIN)
            return;
        ctx->out_first = out->next;
        if (!ctx->out_first)
            ctx->out_last = NULL;
        ctx->out_count--;
        exec_out_free(out);
    }
    vgpu_source_set_events(&ctx->vm->loop, &ctx->sock_source, EPOLLIN);
}

static VGPU_MUST_CHECK int exec_track(struct vm_ctx *ctx, const struct vgpu_xmsg *msg, uint32_t buf,
                                      uint32_t timeout_ms)
{
    struct vm_req *req = malloc(sizeof(*req));

    if (!req)
        return -ENOMEM;
    *req = (struct vm_req){
        .seq = msg->seq, .type = msg->type, .buf = buf, .due_ms = vgpu_now_ms() + timeout_ms};
    if (ctx->req_last)
        ctx->req_last->next = req;
    else
        ctx->req_first = req;
    ctx->req_last = req;
    if (!ctx->vm->watchdog.active || ctx->vm->watchdog.due_ms > req->due_ms)
        vgpu_timer_set(&ctx->vm->loop, &ctx->vm->watchdog, timeout_ms, vm_watchdog, ctx->vm);
    return 0;
}

void vm_exec_send(struct vm_ctx *ctx, struct vgpu_xmsg *msg, const struct vgpu_xrun *runs,
                  uint32_t run_count, const int *fds, size_t fd_count, uint32_t timeout_ms,
                  bool track)
{
    uint8_t *data = ctx->vm->message;
    size_t bytes = sizeof(*msg) + run_count * sizeof(*runs);
    int ret = 0;

    msg->run_count = run_count;
    if (track) {
        msg->seq = ctx->next_seq++;
        ret = exec_track(ctx, msg, msg->u.buf.id, timeout_ms);
    }
    memcpy(data, msg, sizeof(*msg));
    if (run_count)
        memcpy(data + sizeof(*msg), runs, run_count * sizeof(*runs));
    if (!ret)
        ret = ctx->out_first ? -EAGAIN : exec_sendmsg(ctx->sock, data, bytes, fds, fd_count);
    if (ret == -EAGAIN)
        ret = exec_queue(ctx, data, bytes, fds, fd_count);
    if (!ret || ret == -EPIPE || ret == -ECONNRESET)
        return; /* a dead process shows by its pidfd, with the reason */
    vm_ctx_lose(ctx, VGPU_ST_HOST_RESOURCES, 0, "host can't talk to the executor process", false);
}

void vm_exec_hurry(struct vm_ctx *ctx, uint32_t buf, uint32_t timeout_ms)
{
    struct vgpu_timer *watchdog = &ctx->vm->watchdog;
    uint64_t due = vgpu_now_ms() + timeout_ms;

    for (struct vm_req *req = ctx->req_first; req; req = req->next) {
        if (req->type == VGPU_X_BUF_DROP && req->buf == buf && req->due_ms > due)
            req->due_ms = due;
    }
    if (!watchdog->active || watchdog->due_ms > due)
        vgpu_timer_set(&ctx->vm->loop, watchdog, timeout_ms, vm_watchdog, ctx->vm);
}

/* One at a time: a client that swaps faster than the executor answers costs one descriptor, and
 * only the last one matters. */
void vm_exec_irq_changed(struct vm_ctx *ctx)
{
    int fd = vgpu_irqs_fd(&ctx->vm->irqs, ctx->params.vector);
    struct vgpu_xmsg msg = {.type = VGPU_X_IRQ};

    ctx->irq_stale = ctx->irq_busy;
    if (ctx->irq_busy)
        return;
    ctx->irq_busy = true;
    vm_exec_send(ctx, &msg, NULL, 0, &fd, fd >= 0, VM_REPLY_MS, true);
}

static void exec_irq_taken(struct vm_ctx *ctx)
{
    ctx->irq_busy = false;
    /* An interrupt may have gone to the old descriptor meanwhile. */
    vgpu_irqs_raise(&ctx->vm->irqs, ctx->params.vector);
    if (ctx->irq_stale && (ctx->state == VM_CTX_STARTING || ctx->state == VM_CTX_LIVE))
        vm_exec_irq_changed(ctx);
}

void vm_exec_forget(struct vm_ctx *ctx)
{
    while (ctx->req_first) {
        struct vm_req *req = ctx->req_first;

        ctx->req_first = req->next;
        free(req);
    }
    ctx->req_last = NULL;
    while (ctx->out_first) {
        struct vm_out *out = ctx->out_first;

        ctx->out_first = out->next;
        exec_out_free(out);
    }
    ctx->out_last = NULL;
    ctx->out_count = 0;
}

/* End those that are late; look again when the next one would be.  Answers come in order, but a
 * later request may be due earlier: all are looked at. */
void vm_watchdog(void *opaque)
{
    struct vm *vm = opaque;
    uint64_t now = vgpu_now_ms();
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < vm->setup.config.contexts; i++) {
        struct vm_ctx *ctx = &vm->ctxs[i];

        if (ctx->state != VM_CTX_STARTING && ctx->state != VM_CTX_LIVE)
            continue;
        for (struct vm_req *req = ctx->req_first; req; req = req->next) {
            char text[96];

            if (req->due_ms > now) {
                next = req->due_ms < next ? req->due_ms : next;
                continue;
            }
            snprintf(text, sizeof(text), "executor did not answer %s in time",
                     exec_type_name(req->type));
            vm_ctx_lose(ctx, VGPU_ST_EXEC_FAILED, 0, text, false);
            break;
        }
    }
    if (next != UINT64_MAX)
        vgpu_timer_set(&vm->loop, &vm->watchdog, next - now, vm_watchdog, vm);
}

/* ---- Receiving ---- */

static bool exec_status_is_known(uint32_t status)
{
    switch (status) {
#define EXEC_STATUS(name, value, cuda, lost, text) case value:
        VGPU_STATUS_LIST(EXEC_STATUS)
#undef EXEC_STATUS
        return true;
    default: return false;
    }
}

static void exec_started(struct vm_ctx *ctx, uint16_t status)
{
    if (ctx->state != VM_CTX_STARTING)
        return;
    if (status != VGPU_ST_OK) {
        vm_ctx_lose(ctx, status, 0, "executor can't start; see its message in the log", true);
        return;
    }
    ctx->state = VM_CTX_LIVE;
    ctx->create_owed = false;
    vgpu_log(VGPU_LOG_INFO, "ctx%u: created, process %d", ctx->id, (int)ctx->pid);
    vgpu_dev_ctx_created(ctx->vm->dev, ctx->id, VGPU_ST_OK);
}

static VGPU_MUST_CHECK int exec_reply(struct vm_ctx *ctx, const struct vgpu_xmsg *msg)
{
    struct vm_req *req = ctx->req_first;
    struct vm_req done;

    if (!req || req->seq != msg->seq || !exec_status_is_known(msg->u.reply.status))
        return -EPROTO;
    ctx->req_first = req->next;
    if (!ctx->req_first)
        ctx->req_last = NULL;
    done = *req;
    free(req);
    switch (done.type) {
    case VGPU_X_START: exec_started(ctx, (uint16_t)msg->u.reply.status); return 0;
    case VGPU_X_IRQ: exec_irq_taken(ctx); return 0;
    default: vm_buf_replied(ctx, done.buf, done.type, (uint16_t)msg->u.reply.status); return 0;
    }
}

static VGPU_MUST_CHECK int exec_quota_take(struct vm_ctx *ctx, const struct vgpu_xmsg *msg)
{
    struct vgpu_quota *quota = &ctx->vm->quota;
    struct vgpu_xmsg answer = {.type = VGPU_X_QUOTA, .seq = msg->seq};

    answer.u.quota_reply.status = VGPU_ST_OK;
    if (vgpu_quota_take(quota, &ctx->granted_bytes, msg->u.quota.bytes))
        answer.u.quota_reply.status = VGPU_ST_OUT_OF_MEMORY;
    answer.u.quota_reply.held_bytes = quota->held_bytes;
    vm_exec_send(ctx, &answer, NULL, 0, NULL, 0, 0, false);
    return 0;
}

static VGPU_MUST_CHECK int exec_lost(struct vm_ctx *ctx, struct vgpu_xmsg *msg)
{
    struct vgpu_x_lost *lost = &msg->u.lost;

    if (!exec_status_is_known(lost->status) || lost->status == VGPU_ST_OK)
        return -EPROTO;
    lost->message[sizeof(lost->message) - 1] = '\0';
    vm_ctx_lose(ctx, (uint16_t)lost->status, lost->addr, lost->message, true);
    return 0;
}

static VGPU_MUST_CHECK int exec_dispatch(struct vm_ctx *ctx, struct vgpu_xmsg *msg)
{
    switch (msg->type) {
    case VGPU_X_REPLY: return exec_reply(ctx, msg);
    case VGPU_X_LOST: return exec_lost(ctx, msg);
    case VGPU_X_QUOTA_TAKE: return exec_quota_take(ctx, msg);
    case VGPU_X_QUOTA_GIVE:
        return vgpu_quota_give(&ctx->vm->quota, &ctx->granted_bytes, msg->u.quota.bytes);
    default: return -EPROTO;
    }
}

/* Take in one message.  1: done; 0: none there; -ECONNRESET: no more will come; -EPROTO. */
static VGPU_MUST_CHECK int exec_receive(struct vm_ctx *ctx)
{
    struct vgpu_xmsg msg;
    struct iovec iov = {&msg, sizeof(msg)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    do {
        n = recvmsg(ctx->sock, &mh, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -ECONNRESET;
    if (n == 0)
        return -ECONNRESET;
    if (n != sizeof(msg) || (mh.msg_flags & MSG_TRUNC) || msg.run_count)
        return -EPROTO;
    return exec_dispatch(ctx, &msg) ? -EPROTO : 1;
}

static VGPU_MUST_CHECK int exec_receive_some(struct vm_ctx *ctx, unsigned int budget)
{
    int ret = 1;

    for (unsigned int i = 0; i < budget && ret == 1 && ctx->sock >= 0; i++)
        ret = exec_receive(ctx);
    if (ret == -EPROTO)
        vm_ctx_lose(ctx, VGPU_ST_EXEC_FAILED, 0, "executor process broke the protocol", false);
    return ret < 0 ? ret : 0;
}

void vm_exec_event(void *opaque, uint32_t events)
{
    struct vm_ctx *ctx = opaque;

    if (events & EPOLLOUT)
        exec_flush(ctx);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    /* At the end, or after nonsense, the pidfd tells the rest. */
    if (exec_receive_some(ctx, EXEC_BUDGET)) {
        vgpu_source_remove(&ctx->vm->loop, &ctx->sock_source);
        if (ctx->state != VM_CTX_ENDING)
            vgpu_timer_set(&ctx->vm->loop, &ctx->end_timer, VM_STOP_MS, vm_exec_hung_up, ctx);
    }
}

/* It closed its socket and lives on: nobody could stop it any more. */
void vm_exec_hung_up(void *opaque)
{
    struct vm_ctx *ctx = opaque;

    vm_ctx_lose(ctx, VGPU_ST_EXEC_FAILED, 0, "executor process closed its socket", false);
}

void vm_exec_drain(struct vm_ctx *ctx)
{
    /* What fits a socket buffer is bounded; the process is dead and adds nothing. */
    if (ctx->sock >= 0 && exec_receive_some(ctx, UINT32_MAX))
        return;
}
