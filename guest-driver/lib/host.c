/* SPDX-License-Identifier: MIT */
/*
 * Host memory the device can reach: the program's own, pinned and registered, or
 * coherent memory of the kernel's, mapped.
 *
 * Registered ranges are kept in a list so that plain copies find them by address.
 * The library's own buffers are not found that way.  An object leaves the list
 * before its registration ends.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static void host_link(struct vgpu_host *host)
{
    pthread_mutex_lock(&host->ctx->lock);
    host->next = host->ctx->hosts;
    host->ctx->hosts = host;
    pthread_mutex_unlock(&host->ctx->lock);
}

static void host_unlink(struct vgpu_host *host)
{
    struct vgpu_host **p;

    pthread_mutex_lock(&host->ctx->lock);
    for (p = &host->ctx->hosts; *p; p = &(*p)->next) {
        if (*p == host) {
            *p = host->next;
            break;
        }
    }
    pthread_mutex_unlock(&host->ctx->lock);
}

/* A registered range that covers [addr, addr + bytes) for @flags, or NULL. */
struct vgpu_host *host_find(struct vgpu_ctx *ctx, const void *addr, size_t bytes, uint32_t flags,
                            uint64_t *offset)
{
    const uint8_t *at = addr;
    struct vgpu_host *host;

    pthread_mutex_lock(&ctx->lock);
    for (host = ctx->hosts; host; host = host->next) {
        if (host->is_private || (host->flags & flags) != flags)
            continue;
        if (at >= host->addr && bytes <= host->bytes &&
            (size_t)(at - host->addr) <= host->bytes - bytes)
            break;
    }
    pthread_mutex_unlock(&ctx->lock);
    if (host)
        *offset = (uint64_t)(at - host->addr);
    return host;
}

static int host_unregister(struct vgpu_ctx *ctx, uint32_t buf)
{
    struct vgpu_buf_unregister arg = {.buf = buf};
    int err;

    do
        err = ctx->sys.ioctl(ctx->sys.opaque, ctx->fd, VGPU_IOCTL_BUF_UNREGISTER, &arg);
    while (err == -EINTR);
    return err;
}

int vgpu_host_register(struct vgpu_ctx *ctx, void *addr, size_t bytes, uint32_t flags,
                       struct vgpu_host **out)
{
    struct vgpu_buf_register arg = {.addr = (uintptr_t)addr, .bytes = bytes, .flags = flags};
    struct vgpu_host *host;
    int err = engine_check(ctx);

    if (err)
        return err;
    if (ctx->always_stage)
        return vgpu_fail_errno(-EOPNOTSUPP);
    host = calloc(1, sizeof(*host));
    if (!host)
        return vgpu_fail_errno(-ENOMEM);
    err = ctx->sys.ioctl(ctx->sys.opaque, ctx->fd, VGPU_IOCTL_BUF_REGISTER, &arg);
    if (!err && arg.result != VGPU_BUF_RESULT_REGISTERED)
        err = -EOPNOTSUPP;
    if (err) {
        free(host);
        return vgpu_fail_errno(err);
    }
    *host = (struct vgpu_host){
        .ctx = ctx, .addr = addr, .bytes = bytes, .buf = arg.buf, .flags = flags};
    host_link(host);
    *out = host;
    return 0;
}

int host_alloc(struct vgpu_ctx *ctx, size_t bytes, bool is_private, struct vgpu_host **out)
{
    struct vgpu_buf_alloc arg = {.bytes = bytes};
    struct vgpu_host *host;
    void *addr;
    int err = engine_check(ctx);

    if (err)
        return err;
    host = calloc(1, sizeof(*host));
    if (!host)
        return vgpu_fail_errno(-ENOMEM);
    err = ctx->sys.ioctl(ctx->sys.opaque, ctx->fd, VGPU_IOCTL_BUF_ALLOC, &arg);
    if (err)
        goto err_free;
    addr = ctx->sys.map(ctx->sys.opaque, ctx->fd, arg.bytes, PROT_READ | PROT_WRITE, arg.mmap_off);
    if (!addr) {
        err = -ENOMEM;
        goto err_unregister;
    }
    *host = (struct vgpu_host){.ctx = ctx,
                               .addr = addr,
                               .bytes = arg.bytes,
                               .buf = arg.buf,
                               .flags = VGPU_BUF_FLAGS,
                               .allocated = true,
                               .is_private = is_private};
    host_link(host);
    *out = host;
    return 0;

err_unregister:
    host_unregister(ctx, arg.buf);
err_free:
    free(host);
    return vgpu_fail_errno(err);
}

int vgpu_host_alloc(struct vgpu_ctx *ctx, size_t bytes, struct vgpu_host **host)
{
    return host_alloc(ctx, bytes, false, host);
}

void *vgpu_host_addr(const struct vgpu_host *host)
{
    return host->addr;
}

size_t vgpu_host_bytes(const struct vgpu_host *host)
{
    return host->bytes;
}

/* The object is gone whatever the result: what a lost context holds goes with it. */
int vgpu_host_free(struct vgpu_host *host)
{
    struct vgpu_ctx *ctx;
    int err;

    if (!host)
        return 0;
    ctx = host->ctx;
    if (ctx->fork_count != vgpu_fork_count())
        return vgpu_fail_errno(-EPERM);
    host_unlink(host);
    if (host->allocated)
        ctx->sys.unmap(ctx->sys.opaque, host->addr, host->bytes);
    err = host_unregister(ctx, host->buf);
    free(host);
    return err ? vgpu_fail_errno(err) : 0;
}

/* The context is being closed: the kernel lets go of everything with the file. */
void host_forget_all(struct vgpu_ctx *ctx)
{
    bool is_child = ctx->fork_count != vgpu_fork_count();

    while (ctx->hosts) {
        struct vgpu_host *host = ctx->hosts;

        ctx->hosts = host->next;
        if (host->allocated && !is_child)
            ctx->sys.unmap(ctx->sys.opaque, host->addr, host->bytes);
        free(host);
    }
}
