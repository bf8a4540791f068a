/* SPDX-License-Identifier: MIT */
/*
 * What vgpud needs of the host's kernel: see kernel.h.
 *
 * The calls are tried, since distributions add calls to old kernels.  That clone() makes pidfds can't be
 * tried for nothing, and an older kernel ignores the wish; it is older than waitid() on one, which can.
 */
#include <daemon/kernel.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static long try_pidfd_open(void)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);

    return fd < 0 ? -1 : close((int)fd);
}

static long try_pidfd_send_signal(void)
{
    return syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) < 0 && errno == EBADF ? 0 : -1;
}

static long try_waitid(void)
{
    siginfo_t si;

    /* No such descriptor, or no such kind of id. */
    return waitid(P_PIDFD, INT_MAX, &si, WEXITED | WNOHANG) < 0 && errno == EINVAL ? -1 : 0;
}

static long try_close_range(void)
{
    return syscall(SYS_close_range, ~0u, ~0u, 0u);
}

static const struct {
    long (*try)(void);
    const char *name;
    const char *since;
} needs[] = {
    {try_pidfd_send_signal, "pidfd_send_signal", "5.1"},
    {try_pidfd_open, "pidfd_open", "5.3"},
    {try_waitid, "waitid on pidfds", "5.4"},
    {try_close_range, "close_range", "5.9"},
};

int vgpu_kernel_check(char *why, size_t room)
{
    struct utsname host = {.release = "of unknown release"};

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (needs[i].try() >= 0)
            continue;
        uname(&host);
        snprintf(why, room,
                 "this kernel (%s) lacks %s, which came with Linux %s: vgpud needs Linux 5.9",
                 host.release, needs[i].name, needs[i].since);
        return -ENOSYS;
    }
    return 0;
}
