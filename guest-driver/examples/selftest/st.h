/* SPDX-License-Identifier: MIT */
/*
 * vgpu-selftest: frame of the tests that run inside a guest against a real device.
 *
 * A test is one behaviour: a function that returns normally if it holds, and leaves
 * through ST_CHECK() with a message if not.  Each runs in a process of its own, with
 * a deadline, so that a crash or a hang is one failed test; output is TAP.
 *
 * Two ways to a device: struct st_raw, which is the ioctls and mappings as they are,
 * and libvgpu.  What needs an executor that really computes calls st_need_compute().
 */
#ifndef VGPU_SELFTEST_ST_H
#define VGPU_SELFTEST_ST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/libvgpu.h>

#define ST_DEADLINE_S 120

struct st_options {
    const char *device;
    const char *kernel_dir;
};

extern struct st_options st_options;

struct st_test {
    const char *group;
    const char *name;
    void (*fn)(void);
};

/* One table per source file; vgpu-selftest.c lists them. */
struct st_group {
    const struct st_test *tests;
    size_t ntests;
};

extern const struct st_group st_group_ioctl, st_group_mmap, st_group_queue, st_group_fork,
    st_group_copy, st_group_command, st_group_module, st_group_stress, st_group_kill;

#define ST_GROUP(var, table)                                                                       \
    const struct st_group var = {.tests = table, .ntests = sizeof(table) / sizeof(table[0])}

_Noreturn void st_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void st_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define ST_CHECK(cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond))                                                                               \
            st_fail(__FILE__, __LINE__, __VA_ARGS__);                                              \
    } while (0)

/* An integer must be what it should be; both are shown if not. */
#define ST_EQUAL(got, want, what)                                                                  \
    do {                                                                                           \
        long long st_got = (long long)(got), st_want = (long long)(want);                          \
        if (st_got != st_want)                                                                     \
            st_fail(__FILE__, __LINE__, "%s: %lld instead of %lld", what, st_got, st_want);        \
    } while (0)

/* Of the test of exec(): the rest of it, in the new program.  Its exit status. */
int st_after_exec(const char *fd);

/* ---- a context by hand ---- */
struct st_raw {
    int fd;
    struct vgpu_info info;
    struct vgpu_queue_setup setup;
};

void st_raw_open(struct st_raw *raw);                  /* opened, INFO read, no queue */
void st_raw_setup(struct st_raw *raw, uint32_t flags); /* and a small queue */
void st_raw_close(struct st_raw *raw);
int st_ioctl(int fd, unsigned long cmd, void *arg);            /* 0 or -errno */
void *st_map(int fd, size_t bytes, int prot, uint64_t offset); /* NULL: errno says why */
uint64_t st_now_ns(void);

/* ---- a context by the library ---- */
struct vgpu_ctx *st_open(const struct vgpu_options *options);
bool st_computes(struct vgpu_ctx *ctx);
void st_need_compute(struct vgpu_ctx *ctx);

/* Submits a raw command; its status. */
uint16_t st_command(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe);
void st_expect_status(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, uint16_t want,
                      const char *what);

/* The context must become lost for this reason. */
void st_expect_lost(struct vgpu_ctx *ctx, uint16_t want);

/* Loads NAME.ptx of the kernel folder and looks up the kernel NAME. */
struct vgpu_module *st_kernel(struct vgpu_ctx *ctx, const char *name,
                              struct vgpu_function **function);

/* Bytes that depend on the place, so that a shifted copy shows. */
void st_pattern(uint8_t *data, size_t bytes, uint32_t seed);

#endif
