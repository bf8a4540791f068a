/* SPDX-License-Identifier: MIT */
/*
 * Starting processes: see spawn.h.
 *
 * The raw clone system call gives a pidfd without a race and, for the spawner, a
 * child of another parent; libc has no call for either.  The child then only moves
 * descriptors and executes.
 */
#include <daemon/spawn.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPAWN_HIGH_FD 64 /* above every descriptor's final place */

static const char *const spawn_kept_env[] = {
    "ASAN_OPTIONS",    "UBSAN_OPTIONS",        "TSAN_OPTIONS", "LSAN_OPTIONS",
    "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VGPU_LIBCUDA"};
#define SPAWN_KEPT_ENV (sizeof(spawn_kept_env) / sizeof(spawn_kept_env[0]))

void vgpu_close_from(unsigned int first)
{
    syscall(SYS_close_range, first, ~0u, 0u);
}

/* Move the descriptors to their places.  First out of each other's way, then down. */
static int spawn_place_fds(int exe_fd, const int *fds, size_t count)
{
    int high[VGPU_SPAWN_MAX_FDS];
    int exe;

    for (size_t i = 0; i < count; i++) {
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SPAWN_HIGH_FD);
        if (high[i] < 0)
            return -1;
    }
    exe = fcntl(exe_fd, F_DUPFD_CLOEXEC, SPAWN_HIGH_FD);
    if (exe < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (dup2(high[i], VGPU_SPAWN_FIRST_FD + (int)i) < 0)
            return -1;
    }
    syscall(SYS_close_range, (unsigned int)(VGPU_SPAWN_FIRST_FD + (int)count), ~0u,
            CLOSE_RANGE_CLOEXEC);
    return exe;
}

static void spawn_child(int exe_fd, char *const argv[], const int *fds, size_t count)
    __attribute__((noreturn));

static void spawn_child(int exe_fd, char *const argv[], const int *fds, size_t count)
{
    char *envp[SPAWN_KEPT_ENV + 1];
    char text[SPAWN_KEPT_ENV][512];
    size_t n = 0;
    sigset_t none;
    int exe;

    for (size_t i = 0; i < SPAWN_KEPT_ENV; i++) {
        const char *value = getenv(spawn_kept_env[i]);

        if (!value)
            continue;
        snprintf(text[n], sizeof(text[n]), "%s=%s", spawn_kept_env[i], value);
        envp[n] = text[n];
        n++;
    }
    envp[n] = NULL;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    exe = spawn_place_fds(exe_fd, fds, count);
    if (exe >= 0)
        syscall(SYS_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
    _exit(127);
}

pid_t vgpu_spawn(int exe_fd, char *const argv[], const int *fds, size_t count, int sibling,
                 int *pidfd)
{
    unsigned long flags = CLONE_PIDFD | SIGCHLD | (sibling ? CLONE_PARENT : 0);
    int fd = -1;
    long pid;

    if (count > VGPU_SPAWN_MAX_FDS)
        return -EINVAL;
    pid = syscall(SYS_clone, flags, NULL, &fd, NULL, 0ul);
    if (pid < 0)
        return -errno;
    if (!pid)
        spawn_child(exe_fd, argv, fds, count);
    *pidfd = fd;
    return (pid_t)pid;
}

int vgpu_msg_send(int sock, const void *data, size_t bytes, int fd)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        mh.msg_control = control.buf;
        mh.msg_controllen = sizeof(control.buf);
        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    do {
        n = sendmsg(sock, &mh, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int vgpu_msg_recv(int sock, void *data, size_t bytes, int *fd)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {data, bytes};
    struct msghdr mh = {.msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.buf,
                        .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *cmsg;
    ssize_t n;

    *fd = -1;
    do {
        n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    cmsg = CMSG_FIRSTHDR(&mh);
    if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(cmsg), sizeof(int));
    if (n == 0 && *fd < 0)
        return -ECONNRESET;
    if ((size_t)n == bytes && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return -EPROTO;
}

int vgpu_spawner_main(int sock, const struct vgpu_spawner_config *config)
{
    for (;;) {
        char role[] = "--role=exec";
        char name[] = "vgpud";
        char kind[16], vm[72], ctx[16], rooted[] = VGPU_ROLE_EXEC_ROOTED;
        char *argv[] = {name, role, kind, vm, ctx, config->root_fd < 0 ? NULL : rooted, NULL};
        struct vgpu_spawn_request req;
        struct vgpu_spawn_answer ans = {0};
        int fds[3], pidfd = -1;
        int ret = vgpu_msg_recv(sock, &req, sizeof(req), &fds[0]);

        if (ret == -ECONNRESET)
            return 0;
        if (ret || fds[0] < 0)
            return 1;
        fds[1] = config->lock_fd;
        fds[2] = config->root_fd;
        snprintf(kind, sizeof(kind), "%s", config->kind);
        snprintf(vm, sizeof(vm), "%s", config->vm_name);
        snprintf(ctx, sizeof(ctx), "ctx%u", req.ctx);
        ans.ctx = req.ctx;
        ans.serial = req.serial;
        ans.pid =
            (int32_t)vgpu_spawn(config->exe_fd, argv, fds, config->root_fd < 0 ? 2 : 3, 1, &pidfd);
        close(fds[0]);
        ret = vgpu_msg_send(sock, &ans, sizeof(ans), ans.pid > 0 ? pidfd : -1);
        if (pidfd >= 0)
            close(pidfd);
        if (ret)
            return 0; /* the vm process is gone, and its children with it */
    }
}
