/* SPDX-License-Identifier: MIT */
/*
 * Stages 1 to 3 of self-isolation: see isolation.h.
 *
 * Order matters: namespaces and chroot need root, so the user is dropped after them; changing
 * the user clears the parent-death signal and the dumpable flag, so both are set after it.
 */
#include <daemon/isolation.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ISOLATION_MAX_FDS 4096u

static VGPU_MUST_CHECK int isolate_untraceable(void)
{
    return !VGPU_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -errno : 0;
}

int vgpu_isolate_start(void)
{
    const struct rlimit no_core = {0, 0};
    struct rlimit fds;
    int ret;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -errno;
    ret = isolate_untraceable();
    if (ret)
        return ret;
    if (setrlimit(RLIMIT_CORE, &no_core) || getrlimit(RLIMIT_NOFILE, &fds))
        return -errno;
    if (fds.rlim_max > ISOLATION_MAX_FDS)
        fds.rlim_max = ISOLATION_MAX_FDS;
    fds.rlim_cur = fds.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &fds) ? -errno : 0;
}

int vgpu_isolate_namespaces(void)
{
    return unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) ? -errno : 0;
}

int vgpu_isolate_root(const char *parent)
{
    char path[256];
    int dir, ret = 0;

    if (snprintf(path, sizeof(path), "%s/.root-XXXXXX", parent) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    if (!mkdtemp(path)) {
        ret = -errno;
        goto out_close;
    }
    if (chroot(path) || chdir("/"))
        ret = -errno;
    if (unlinkat(dir, path + strlen(parent) + 1, AT_REMOVEDIR) && !ret)
        ret = -errno;

out_close:
    close(dir);
    return ret;
}

/* What is left after the user was changed: nothing, if that user is not root. */
static VGPU_MUST_CHECK int isolate_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}, {0}};

    return syscall(SYS_capset, &header, none) ? -errno : 0;
}

int vgpu_isolate_user(uid_t uid, gid_t gid)
{
    int ret;

    if (setgroups(0, NULL) || setresgid(gid, gid, gid))
        return -errno;
    /* The bounding set needs CAP_SETPCAP, which goes with the user. */
    for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
            return -errno;
    }
    if (setresuid(uid, uid, uid))
        return -errno;
    ret = isolate_capabilities();
    if (ret)
        return ret;
    return isolate_untraceable();
}

int vgpu_isolate_tie(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}
