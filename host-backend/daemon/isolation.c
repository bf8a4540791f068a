/* SPDX-License-Identifier: MIT */
/*
 * Stages 1 to 3 of self-isolation: see isolation.h.
 *
 * Order matters: namespaces and chroot need root, so the user is dropped after them; changing
 * the user clears the parent-death signal and the dumpable flag, so both are set after it.
 */
#include <daemon/isolation.h>
#include <vgpu/hw.h>

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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ISOLATION_MAX_FDS 4096u
/* Private memory of an exec process beside device memory: code, images of modules, stacks. */
#define ISOLATION_EXEC_BYTES (4ull << 30)

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

int vgpu_isolate_empty_dir(const char *parent)
{
    char path[256];
    int dir, ret;

    if (snprintf(path, sizeof(path), "%s/.root-XXXXXX", parent) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    if (!mkdtemp(path))
        return -errno;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Who enters it later is another user. */
    ret = dir < 0 || fchmod(dir, 0555) ? -errno : 0;
    if (rmdir(path) && !ret)
        ret = -errno;
    if (!ret)
        return dir;
    if (dir >= 0)
        close(dir);
    return ret;
}

int vgpu_isolate_root(int dir)
{
    int ret = fchdir(dir) || chroot(".") ? -errno : 0;

    close(dir);
    return ret;
}

/* ---- The user ---- */

/* The capabilities of this thread: none, or one. */
static VGPU_MUST_CHECK int isolate_set_capabilities(uint32_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {
        {.effective = kept, .permitted = kept, .inheritable = kept}, {0}};

    return syscall(SYS_capset, &header, data) ? -errno : 0;
}

int vgpu_isolate_capabilities(void)
{
    return isolate_set_capabilities(0);
}

/* To be inheritable a capability must be in the bounding set, which is about to be emptied. */
static VGPU_MUST_CHECK int isolate_add_inheritable(uint32_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data))
        return -errno;
    data[0].inheritable |= kept;
    return syscall(SYS_capset, &header, data) ? -errno : 0;
}

static VGPU_MUST_CHECK int isolate_drop_user(uid_t uid, gid_t gid, uint32_t kept)
{
    int ret = kept ? isolate_add_inheritable(kept) : 0;

    if (ret)
        return ret;
    if (setgroups(0, NULL) || setresgid(gid, gid, gid))
        return -errno;
    /* The bounding set needs CAP_SETPCAP, which goes with the user. */
    for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
            return -errno;
    }
    if ((kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)) || setresuid(uid, uid, uid))
        return -errno;
    ret = isolate_set_capabilities(kept);
    if (!ret && kept && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0))
        ret = -errno;
    return ret ? ret : isolate_untraceable();
}

int vgpu_isolate_user(uid_t uid, gid_t gid)
{
    return isolate_drop_user(uid, gid, 0);
}

int vgpu_isolate_user_but_root(uid_t uid, gid_t gid)
{
    int ret = isolate_drop_user(uid, gid, 1u << CAP_SYS_CHROOT);

    if (!ret && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_CHROOT, 0, 0))
        ret = -errno;
    return ret;
}

int vgpu_isolate_tie(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}

int vgpu_isolate_exec(uint32_t exec_kind, uint64_t memory_limit)
{
    struct rlimit data;

    /* A driver reserves what it likes, and so do sanitizers. */
    if (exec_kind != VGPU_EXEC_CUDA && !VGPU_SANITIZED) {
        if (__builtin_add_overflow(memory_limit, ISOLATION_EXEC_BYTES, &data.rlim_max))
            data.rlim_max = RLIM_INFINITY;
        data.rlim_cur = data.rlim_max;
        if (setrlimit(RLIMIT_DATA, &data))
            return -errno;
    }
    return vgpu_isolate_exec_syscalls(exec_kind);
}
