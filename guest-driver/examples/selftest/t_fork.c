/* SPDX-License-Identifier: MIT */
/*
 * fork() with an open device: a context belongs to one address space.
 */
#include "st.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void in_child(void (*fn)(void *), void *arg)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    ST_CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        fn(arg);
        fflush(stdout);
        _exit(0);
    }
    ST_EQUAL(waitpid(pid, &status, 0), pid, "waitpid");
    ST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed (status %#x)",
             status);
}

static void child_raw(void *arg)
{
    struct vgpu_queue_setup setup = {.sq_log2 = 6, .cq_log2 = 6, .arena_bytes = 4096};
    struct vgpu_info info = {.size = sizeof(info)};
    struct vgpu_status_query query;
    struct st_raw *raw = arg;
    struct pollfd pfd = {.fd = raw->fd, .events = POLLIN};
    struct vgpu_wait wait = {0};

    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_INFO, &info), -EPERM, "INFO");
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_STATUS, &query), -EPERM, "STATUS");
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_QUEUE_SETUP, &setup), -EPERM, "QUEUE_SETUP");
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_WAIT, &wait), -EPERM, "WAIT");
    ST_CHECK(!st_map(raw->fd, raw->setup.arena_bytes, 3, raw->setup.arena_off) && errno == EPERM,
             "mmap in the child");
    ST_EQUAL(poll(&pfd, 1, 0), 1, "poll");
    ST_EQUAL(pfd.revents, POLLERR, "what poll says");
    ST_EQUAL(close(raw->fd), 0, "close");
}

/* Nothing of the device is mapped in the child. */
static void child_maps(void *arg)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    ST_CHECK(maps, "/proc/self/maps: %s", strerror(errno));
    while (fgets(line, sizeof(line), maps))
        ST_CHECK(!strstr(line, st_options.device), "inherited: %s", line);
    fclose(maps);
}

static void child_lib(void *arg)
{
    struct vgpu_ctx *ctx = arg, *own;
    struct vgpu_status_query query;
    uint64_t addr;

    ST_EQUAL(vgpu_nop(ctx, NULL), -EPERM, "a command");
    ST_EQUAL(vgpu_mem_alloc(ctx, 4096, &addr), -EPERM, "an allocation");
    ST_EQUAL(vgpu_sync(ctx), -EPERM, "sync");
    ST_EQUAL(vgpu_get_status(ctx, &query), -EPERM, "status");
    own = st_open(NULL);
    ST_EQUAL(vgpu_nop(own, NULL), 0, "a context of the child's own");
    vgpu_close(ctx);
    ST_EQUAL(vgpu_nop(own, NULL), 0, "after closing the parent's");
    vgpu_close(own);
}

/* VGPU-UAPI-004 */
static void ioctls_of_a_child(void)
{
    struct st_raw raw;
    struct vgpu_status_query query;

    st_raw_setup(&raw, 0);
    ST_CHECK(st_map(raw.fd, raw.setup.ro_bytes, 1, raw.setup.ro_off), "mmap: %s", strerror(errno));
    in_child(child_raw, &raw);
    in_child(child_maps, &raw);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_STATUS, &query), 0, "the parent's STATUS");
    ST_EQUAL(query.state, VGPU_CTX_STATE_ACTIVE, "the parent's state");
    st_raw_close(&raw);
}

static void library_in_a_child(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_host *host;

    ST_EQUAL(vgpu_host_alloc(ctx, 65536, &host), 0, "vgpu_host_alloc");
    in_child(child_lib, ctx);
    ST_EQUAL(vgpu_nop(ctx, NULL), 0, "the parent goes on");
    vgpu_close(ctx);
}

static void child_outlives(void *arg)
{
    int *pipe_fd = arg;
    char byte;

    /* Until the parent has closed its context and the pipe. */
    ST_EQUAL(read(pipe_fd[0], &byte, 1), 1, "read");
}

/* The child holds the file open longer than its owner lives. */
static void last_close_is_the_childs(void)
{
    struct st_raw raw;
    int fds[2], status;
    pid_t owner;

    ST_EQUAL(pipe(fds), 0, "pipe");
    owner = fork();
    if (owner == 0) {
        pid_t child;

        st_raw_setup(&raw, 0);
        child = fork();
        if (child == 0) {
            child_outlives(fds);
            _exit(close(raw.fd) ? 1 : 0);
        }
        _exit(child < 0);
    }
    ST_EQUAL(waitpid(owner, &status, 0), owner, "waitpid");
    ST_EQUAL(status, 0, "the owner");
    ST_EQUAL(write(fds[1], "x", 1), 1, "write");
    st_raw_setup(&raw, 0);
    st_raw_close(&raw);
}

static const struct st_test tests[] = {
    {"fork", "a child's calls on the parent's context give EPERM", ioctls_of_a_child},
    {"fork", "the library refuses in a child, and a context of its own works", library_in_a_child},
    {"fork", "the last close may be the child's", last_close_is_the_childs},
};

ST_GROUP(st_group_fork, tests);
