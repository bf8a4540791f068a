/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the tests in a guest; see st.h.
 */
#include "st.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct st_options st_options = {.device = "/dev/vgpu0", .kernel_dir = "/usr/share/vgpu/kernels"};

_Noreturn void st_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    printf("# %s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

_Noreturn void st_skip(const char *fmt, ...)
{
    va_list ap;

    printf("# SKIP ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    _exit(77);
}

int st_ioctl(int fd, unsigned long cmd, void *arg)
{
    return ioctl(fd, cmd, arg) ? -errno : 0;
}

void *st_map(int fd, size_t bytes, int prot, uint64_t offset)
{
    void *addr = mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);

    return addr == MAP_FAILED ? NULL : addr;
}

uint64_t st_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void st_raw_open(struct st_raw *raw)
{
    memset(raw, 0, sizeof(*raw));
    raw->fd = open(st_options.device, O_RDWR | O_CLOEXEC);
    ST_CHECK(raw->fd >= 0, "%s: %s", st_options.device, strerror(errno));
    raw->info.size = sizeof(raw->info);
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_INFO, &raw->info), 0, "INFO");
}

void st_raw_setup(struct st_raw *raw, uint32_t flags)
{
    st_raw_open(raw);
    raw->setup =
        (struct vgpu_queue_setup){.sq_log2 = 6, .cq_log2 = 6, .flags = flags, .arena_bytes = 65536};
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_QUEUE_SETUP, &raw->setup), 0, "QUEUE_SETUP");
}

void st_raw_close(struct st_raw *raw)
{
    close(raw->fd);
}

struct vgpu_ctx *st_open(const struct vgpu_options *options)
{
    struct vgpu_ctx *ctx = NULL;
    int err = vgpu_open(st_options.device, options, &ctx);

    ST_CHECK(!err, "vgpu_open: %s", strerror(-err));
    return ctx;
}

bool st_computes(struct vgpu_ctx *ctx)
{
    struct vgpu_info info;

    vgpu_get_info(ctx, &info);
    return info.exec_kind != VGPU_EXEC_NULL;
}

void st_need_compute(struct vgpu_ctx *ctx)
{
    if (!st_computes(ctx))
        st_skip("the null executor computes nothing");
}

uint16_t st_command(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe)
{
    struct vgpu_cqe cqe;
    int err = vgpu_raw_command(ctx, sqe, &cqe);

    ST_CHECK(!err, "opcode %#x did not complete: %s", sqe->opcode, strerror(-err));
    return cqe.status;
}

void st_expect_status(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, uint16_t want,
                      const char *what)
{
    uint16_t got = st_command(ctx, sqe);

    ST_CHECK(got == want, "%s: status %#x (%s) instead of %#x (%s)", what, got,
             vgpu_status_name(got), want, vgpu_status_name(want));
}

void st_expect_lost(struct vgpu_ctx *ctx, uint16_t want)
{
    struct pollfd pfd = {.fd = vgpu_get_fd(ctx), .events = POLLIN};
    struct vgpu_status_query query = {0};

    do
        ST_EQUAL(poll(&pfd, 1, ST_DEADLINE_S * 1000), 1, "poll");
    while (!(pfd.revents & POLLERR));
    ST_EQUAL(vgpu_get_status(ctx, &query), 0, "STATUS");
    ST_EQUAL(query.state, VGPU_CTX_STATE_LOST, "state");
    ST_CHECK(query.status == want, "lost by %s instead of %s (%s)",
             vgpu_status_name((uint16_t)query.status), vgpu_status_name(want),
             (const char *)query.message);
    ST_EQUAL(vgpu_nop(ctx, NULL), -EIO, "a command on the lost context");
    ST_EQUAL(vgpu_last_status(), want, "its status");
}

struct vgpu_module *st_kernel(struct vgpu_ctx *ctx, const char *name,
                              struct vgpu_function **function)
{
    struct vgpu_module *module = NULL;
    char path[512], log[1024] = "";
    int err;

    snprintf(path, sizeof(path), "%s/%s.ptx", st_options.kernel_dir, name);
    if (access(path, R_OK))
        st_skip("no %s", path);
    err = vgpu_module_load_file(ctx, path, &module, log, sizeof(log));
    ST_CHECK(!err, "%s: %s; log: %s", path, vgpu_status_name(vgpu_last_status()), log);
    err = vgpu_module_function(module, name, function);
    ST_CHECK(!err, "%s: %s", name, vgpu_status_name(vgpu_last_status()));
    return module;
}

void st_pattern(uint8_t *data, size_t bytes, uint32_t seed)
{
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
}
