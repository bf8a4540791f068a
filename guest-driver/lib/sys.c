/* SPDX-License-Identifier: MIT */
/*
 * The kernel's interface, and opening and closing a context with it.
 *
 * After fork() the rings are not mapped in the child and its calls would be refused
 * (spec 13.1): a counter that pthread_atfork() advances in the child lets every
 * function say so without a system call.
 */
#include "internal.h"
#include "vgpu_barrier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* How long a loss that the program knows of may take to be known to its kernel. */
#define DOOM_WAIT_MS 2000
#define DOOM_STEP_MS 2

static unsigned int fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_child(void)
{
    __atomic_fetch_add(&fork_count, 1, __ATOMIC_RELAXED);
}

static void fork_register(void)
{
    pthread_atfork(NULL, NULL, fork_child);
}

unsigned int vgpu_fork_count(void)
{
    return __atomic_load_n(&fork_count, __ATOMIC_RELAXED);
}

static int kernel_open(void *opaque, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd >= 0 ? fd : -errno;
}

static int kernel_close(void *opaque, int fd)
{
    return close(fd) ? -errno : 0;
}

static int kernel_ioctl(void *opaque, int fd, unsigned long cmd, void *arg)
{
    return ioctl(fd, cmd, arg) ? -errno : 0;
}

static void *kernel_map(void *opaque, int fd, size_t bytes, int prot, uint64_t offset)
{
    void *addr = mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);

    return addr == MAP_FAILED ? NULL : addr;
}

static void kernel_unmap(void *opaque, void *addr, size_t bytes)
{
    munmap(addr, bytes);
}

const struct vgpu_sys vgpu_sys_kernel = {
    .open = kernel_open,
    .close = kernel_close,
    .ioctl = kernel_ioctl,
    .map = kernel_map,
    .unmap = kernel_unmap,
};

/* ---- open ---- */

static int ctx_ioctl(struct vgpu_ctx *ctx, unsigned long cmd, void *arg)
{
    return ctx->sys.ioctl(ctx->sys.opaque, ctx->fd, cmd, arg);
}

static uint32_t clamp_u32(uint32_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static int ctx_setup_queue(struct vgpu_ctx *ctx, const struct vgpu_options *opt)
{
    uint32_t arena = opt->arena_bytes ? opt->arena_bytes : VGPU_DEFAULT_ARENA;
    int err;

    ctx->info.size = sizeof(ctx->info);
    err = ctx_ioctl(ctx, VGPU_IOCTL_INFO, &ctx->info);
    if (err)
        return err;
    ctx->info.name[sizeof(ctx->info.name) - 1] = '\0';
    ctx->setup.sq_log2 = clamp_u32(opt->sq_log2 ? opt->sq_log2 : VGPU_DEFAULT_SQ_LOG2,
                                   ctx->info.min_ring_log2, ctx->info.max_ring_log2);
    ctx->setup.cq_log2 = ctx->setup.sq_log2;
    ctx->setup.arena_bytes =
        clamp_u32(arena, VGPU_ARENA_LARGE_BYTES, ctx->info.max_arena_bytes) & ~4095u;
    return ctx_ioctl(ctx, VGPU_IOCTL_QUEUE_SETUP, &ctx->setup);
}

static void *ctx_map(struct vgpu_ctx *ctx, size_t bytes, int prot, uint64_t offset)
{
    return ctx->sys.map(ctx->sys.opaque, ctx->fd, bytes, prot, offset);
}

static int ctx_map_queue(struct vgpu_ctx *ctx)
{
    const struct vgpu_queue_setup *setup = &ctx->setup;
    uint8_t *ro, *rw;

    ro = ctx_map(ctx, setup->ro_bytes, PROT_READ, setup->ro_off);
    if (!ro)
        return -ENOMEM;
    ctx->ro = (volatile struct vgpu_queue_ro *)ro;
    ctx->cq = (const volatile struct vgpu_cqe *)(ro + vgpu_queue_cq_offset());
    rw = ctx_map(ctx, setup->rw_bytes, PROT_READ | PROT_WRITE, setup->rw_off);
    if (!rw)
        return -ENOMEM;
    ctx->rw = (volatile struct vgpu_queue_rw *)rw;
    ctx->sq = (volatile struct vgpu_sqe *)(rw + vgpu_queue_sq_offset(setup->cq_log2) -
                                           vgpu_queue_rw_offset(setup->cq_log2));
    ctx->doorbell = ctx_map(ctx, VGPU_DOORBELL_STRIDE, PROT_READ | PROT_WRITE, setup->doorbell_off);
    ctx->arena = ctx_map(ctx, setup->arena_bytes, PROT_READ | PROT_WRITE, setup->arena_off);
    return ctx->doorbell && ctx->arena ? 0 : -ENOMEM;
}

static void ctx_unmap_queue(struct vgpu_ctx *ctx)
{
    const struct vgpu_queue_setup *setup = &ctx->setup;
    void *opaque = ctx->sys.opaque;

    if (ctx->arena)
        ctx->sys.unmap(opaque, ctx->arena, setup->arena_bytes);
    if (ctx->doorbell)
        ctx->sys.unmap(opaque, (void *)ctx->doorbell, VGPU_DOORBELL_STRIDE);
    if (ctx->rw)
        ctx->sys.unmap(opaque, (void *)ctx->rw, setup->rw_bytes);
    if (ctx->ro)
        ctx->sys.unmap(opaque, (void *)ctx->ro, setup->ro_bytes);
}

static void ctx_set_options(struct vgpu_ctx *ctx, const struct vgpu_options *opt)
{
    uint32_t spin_us = opt->spin_us ? opt->spin_us : VGPU_DEFAULT_SPIN_US;

    if (spin_us > 1000000)
        spin_us = 1000000;
    ctx->spin_max_ns = opt->flags & VGPU_OPEN_NEVER_SPIN ? 0 : spin_us * 1000;
    ctx->spin_ns = ctx->spin_max_ns;
    ctx->never_sleep = opt->flags & VGPU_OPEN_NEVER_SLEEP;
    ctx->always_stage =
        opt->flags & VGPU_OPEN_ALWAYS_STAGE || ctx->info.flags & VGPU_INFO_MUST_STAGE;
}

/* Takes apart whatever of it exists. */
static void ctx_destroy(struct vgpu_ctx *ctx, bool is_child)
{
    copy_fini(ctx);
    stream_forget_all(ctx);
    module_forget_all(ctx);
    host_forget_all(ctx);
    arena_fini(ctx);
    engine_fini(ctx);
    if (!is_child)
        ctx_unmap_queue(ctx);
    if (ctx->fd >= 0)
        ctx->sys.close(ctx->sys.opaque, ctx->fd);
    output_fini(ctx);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}

static int ctx_init(struct vgpu_ctx *ctx, const struct vgpu_options *opt)
{
    int err = ctx_setup_queue(ctx, opt);

    if (!err)
        err = ctx_map_queue(ctx);
    if (err)
        return err;
    ctx_set_options(ctx, opt);
    err = engine_init(ctx);
    if (!err)
        err = arena_init(ctx);
    if (!err)
        err = copy_init(ctx);
    return err;
}

/* As vgpu_open(), through another kernel interface: for tests. */
int vgpu_open_sys(const struct vgpu_sys *sys, const char *path, const struct vgpu_options *options,
                  struct vgpu_ctx **out)
{
    static const struct vgpu_options defaults;
    const struct vgpu_options *opt = options ? options : &defaults;
    struct vgpu_ctx *ctx;
    int err;

    if (opt->arena_bytes % VGPU_PAGE_BYTES || opt->sq_log2 > VGPU_MAX_RING_LOG2 ||
        opt->flags & ~(VGPU_OPEN_NEVER_SPIN | VGPU_OPEN_NEVER_SLEEP | VGPU_OPEN_ALWAYS_STAGE))
        return vgpu_fail_errno(-EINVAL);
    pthread_once(&fork_once, fork_register);
    ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return vgpu_fail_errno(-ENOMEM);
    ctx->sys = *sys;
    ctx->fork_count = vgpu_fork_count();
    pthread_mutex_init(&ctx->lock, NULL);
    output_init(ctx);
    ctx->fd = sys->open(sys->opaque, path ? path : "/dev/vgpu0");
    err = ctx->fd < 0 ? ctx->fd : ctx_init(ctx, opt);
    if (err) {
        ctx_destroy(ctx, false);
        return vgpu_fail_errno(err);
    }
    *out = ctx;
    return 0;
}

int vgpu_open(const char *path, const struct vgpu_options *options, struct vgpu_ctx **ctx)
{
    return vgpu_open_sys(&vgpu_sys_kernel, path, options, ctx);
}

void vgpu_close(struct vgpu_ctx *ctx)
{
    if (!ctx)
        return;
    if (!engine_check(ctx))
        output_flush(ctx, output_mark(ctx), false);
    ctx_destroy(ctx, ctx->fork_count != vgpu_fork_count());
}

int vgpu_get_info(struct vgpu_ctx *ctx, struct vgpu_info *info)
{
    *info = ctx->info;
    return 0;
}

int vgpu_get_status(struct vgpu_ctx *ctx, struct vgpu_status_query *status)
{
    struct vgpu_status_query query = {0};
    int err;

    if (ctx->fork_count != vgpu_fork_count())
        return vgpu_fail_errno(-EPERM);
    err = ctx_ioctl(ctx, VGPU_IOCTL_STATUS, &query);
    /* A completion reaches the program by the ring, the reason its kernel by way of the device's
     * interrupt and a query: give it the time for that, so that the answer is the whole one. */
    for (int ms = 0; !err && query.state == VGPU_CTX_STATE_ACTIVE && ms < DOOM_WAIT_MS &&
                     __atomic_load_n(&ctx->doomed, __ATOMIC_RELAXED);
         ms += DOOM_STEP_MS) {
        const struct timespec step = {0, DOOM_STEP_MS * 1000000L};

        nanosleep(&step, NULL);
        err = ctx_ioctl(ctx, VGPU_IOCTL_STATUS, &query);
    }
    if (err)
        return vgpu_fail_errno(err);
    query.message[sizeof(query.message) - 1] = '\0';
    *status = query;
    return 0;
}

int vgpu_get_fd(struct vgpu_ctx *ctx)
{
    return ctx->fd;
}
