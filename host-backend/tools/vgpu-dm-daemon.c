/* SPDX-License-Identifier: MIT */
/*
 * Finding programs, and starting a vgpud where none listens: see vgpu-dm.h.
 *
 * A vgpud started here is like any other: it serves all domains that come later, outlives the domain
 * that needed it first, and is ended by SIGTERM.  It begins with no VM, in a session of its own,
 * as a child of init, without any of the descriptors that xl handed down for QEMU, and writes to
 * its own log, since that of the first domain would be the wrong place for the others.
 *
 * Two domains may be created at the same moment: a lock beside the control socket makes the second
 * wait, and then find the first one's daemon.
 */
#include "vgpu-dm.h"

#include <daemon/control_client.h>
#include <daemon/loop.h>
#include <daemon/spawn.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DAEMON_POLL_MS 20

static const char *const vgpud_places[] = {"/usr/sbin/vgpud", "/usr/local/sbin/vgpud",
                                           "/usr/bin/vgpud", "/usr/local/bin/vgpud", NULL};

/* ---- Programs ---- */

static bool is_program(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static bool is_myself(const char *path)
{
    struct stat st, self;

    return !stat(path, &st) && !stat("/proc/self/exe", &self) && st.st_dev == self.st_dev &&
           st.st_ino == self.st_ino;
}

/* The program of that name in vgpu-dm's own folder. */
static bool find_beside(const char *name, char path[VGPU_PATH_BYTES])
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n <= 0)
        return false;
    self[n] = '\0';
    return snprintf(path, VGPU_PATH_BYTES, "%s/%s", dirname(self), name) < VGPU_PATH_BYTES &&
           is_program(path);
}

static VGPU_MUST_CHECK int find_given(const char *given, const char *option,
                                      char path[VGPU_PATH_BYTES], char *why)
{
    if (!is_program(given)) {
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s=%s: %s", option, given,
                 access(given, F_OK) ? strerror(errno) : "not a program that can be executed");
        return -ENOENT;
    }
    if (is_myself(given)) {
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s=%s is vgpu-dm itself", option, given);
        return -ELOOP;
    }
    snprintf(path, VGPU_PATH_BYTES, "%s", given);
    return 0;
}

int dm_find_program(const char *given, const char *beside, const char *const *places,
                    const char *option, char path[VGPU_PATH_BYTES], char *why)
{
    size_t used;

    if (given[0])
        return find_given(given, option, path, why);
    if (beside && find_beside(beside, path))
        return 0;
    for (size_t i = 0; places[i]; i++) {
        if (is_program(places[i]) && !is_myself(places[i])) {
            snprintf(path, VGPU_PATH_BYTES, "%s", places[i]);
            return 0;
        }
    }
    used = (size_t)snprintf(why, VGPU_WHY_BYTES, "no %s found: give -vgpu %s=PATH; looked at",
                            option, option);
    for (size_t i = 0; places[i] && used < VGPU_WHY_BYTES; i++)
        used += (size_t)snprintf(why + used, VGPU_WHY_BYTES - used, " %s", places[i]);
    return -ENOENT;
}

/* ---- The daemon's log ---- */

static int log_open(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
}

/* What was written since `from`, into our own log: that is where xl's user looks. */
static void log_show(const char *path, off_t from)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char buf[4096];
    ssize_t n = fd < 0 ? -1 : pread(fd, buf, sizeof(buf) - 1, from);

    if (n > 0) {
        buf[n] = '\0';
        fputs(buf, stderr);
    }
    if (fd >= 0)
        close(fd);
}

/* ---- Starting ---- */

/* In the grandchild. Reports errno to `report` (close-on-exec) if it fails. */
static void daemon_exec(const struct dm_args *args, const char *program, int log, int report)
    __attribute__((noreturn));

static void daemon_exec(const struct dm_args *args, const char *program, int log, int report)
{
    char name[] = "vgpud", no_vm[] = "--no-vm", option[] = "--control";
    char control[VGPU_PATH_BYTES];
    char *argv[] = {name, no_vm, option, control, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), err;

    snprintf(control, sizeof(control), "%s", args->control);
    if (log < 0)
        log = STDERR_FILENO;
    if (dup2(null, STDIN_FILENO) >= 0 && dup2(log, STDOUT_FILENO) >= 0 &&
        dup2(log, STDERR_FILENO) >= 0 && dup2(report, 3) >= 0 &&
        fcntl(3, F_SETFD, FD_CLOEXEC) >= 0) {
        vgpu_close_from(4);
        report = 3;
        execv(program, argv);
    }
    err = errno;
    if (write(report, &err, sizeof(err)) != sizeof(err))
        _exit(126);
    _exit(127);
}

/*
 * Fork twice: the child in between ends at once, so that vgpud is init's and not QEMU's.  Its pid
 * and, if the exec fails, an errno come through a pipe.  A pidfd, or -errno.
 */
static VGPU_MUST_CHECK int daemon_spawn(const struct dm_args *args, const char *program, int log)
{
    int pipe_fds[2], err = 0, pidfd = -ESRCH;
    pid_t between, pid;

    if (pipe2(pipe_fds, O_CLOEXEC))
        return -errno;
    between = fork();
    if (between < 0) {
        pidfd = -errno;
        close(pipe_fds[1]);
        goto out;
    }
    if (!between) {
        setsid();
        pid = fork();
        if (!pid)
            daemon_exec(args, program, log, pipe_fds[1]);
        _exit(write(pipe_fds[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
    }
    close(pipe_fds[1]);
    while (waitpid(between, NULL, 0) < 0 && errno == EINTR)
        ;
    if (read(pipe_fds[0], &pid, sizeof(pid)) == sizeof(pid) && pid > 0)
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        pidfd = -errno;
    else if (read(pipe_fds[0], &err, sizeof(err)) == sizeof(err)) {
        close(pidfd);
        pidfd = -err;
    }
out:
    close(pipe_fds[0]);
    return pidfd;
}

/* Does a vgpud answer? 0, or as vgpu_control_call(). */
static VGPU_MUST_CHECK int daemon_ask(const struct dm_args *args, uint64_t end_ms, char *why)
{
    uint64_t now = vgpu_now_ms();
    struct json_object *answer;
    int ret = vgpu_control_call(args->control, "version",
                                now < end_ms ? (uint32_t)(end_ms - now) : 0, &answer, why);

    if (!ret)
        json_object_put(answer);
    return ret;
}

static bool nobody_listens(int ret)
{
    return ret == -ENOENT || ret == -ECONNREFUSED;
}

/* Until it answers, or has ended. */
static VGPU_MUST_CHECK int daemon_wait(const struct dm_args *args, const char *program, int pidfd,
                                       uint64_t end_ms, char *why)
{
    for (;;) {
        struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
        int ret = daemon_ask(args, end_ms, why);

        if (!nobody_listens(ret))
            return ret;
        if (vgpu_now_ms() >= end_ms) {
            snprintf(why, VGPU_WHY_BYTES,
                     "%s was started, but does not listen at %s within %.3g s: see %s", program,
                     args->control, args->timeout_ms / 1000.0, args->log);
            return -ETIMEDOUT;
        }
        if (poll(&pfd, 1, DAEMON_POLL_MS) == 1) {
            snprintf(why, VGPU_WHY_BYTES,
                     "%s was started for control socket %s, but ended at once: its reason is "
                     "above and in %s",
                     program, args->control, args->log);
            return -ECHILD;
        }
    }
}

static VGPU_MUST_CHECK int daemon_start(const struct dm_args *args, const char *program,
                                        uint64_t end_ms, char *why)
{
    int log = log_open(args->log), pidfd, ret;
    off_t from = log < 0 ? 0 : lseek(log, 0, SEEK_END);

    if (log < 0)
        fprintf(stderr, "vgpu-dm: %s: %s: the vgpud started here logs to this file instead\n",
                args->log, strerror(errno));
    pidfd = daemon_spawn(args, program, log);
    if (pidfd < 0) {
        snprintf(why, VGPU_WHY_BYTES, "%s can't be started: %s", program, strerror(-pidfd));
        ret = pidfd;
    } else {
        ret = daemon_wait(args, program, pidfd, end_ms, why);
        close(pidfd);
    }
    if (ret && log >= 0)
        log_show(args->log, from);
    if (log >= 0)
        close(log);
    return ret;
}

/* ---- One at a time ---- */

/* The folder of the control socket, made if it lacks; its lock, or -errno. */
static VGPU_MUST_CHECK int lock_take(const struct dm_args *args, uint64_t end_ms, char *why)
{
    char copy[VGPU_PATH_BYTES], path[VGPU_PATH_BYTES + 16];
    const char *dir;
    int fd, ret;

    snprintf(copy, sizeof(copy), "%s", args->control);
    dir = dirname(copy);
    if (mkdir(dir, 0755) && errno != EEXIST) {
        ret = -errno;
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: control=%s: %s: %s", args->control, dir,
                 strerror(-ret));
        return ret;
    }
    snprintf(path, sizeof(path), "%s/vgpu-dm.lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        ret = -errno;
        if ((ret == -EWOULDBLOCK || ret == -EINTR) && vgpu_now_ms() < end_ms) {
            poll(NULL, 0, DAEMON_POLL_MS);
            continue;
        }
        close(fd);
        snprintf(why, VGPU_WHY_BYTES, "%s: %s", path,
                 ret == -EWOULDBLOCK ? "another vgpu-dm starts a vgpud and does not get it done"
                                     : strerror(-ret));
        return ret;
    }
    if (fd >= 0)
        return fd;
    ret = -errno;
    snprintf(why, VGPU_WHY_BYTES, "%s: %s", path, strerror(-ret));
    return ret;
}

int dm_daemon_ensure(const struct dm_args *args, uint64_t end_ms, char *why)
{
    char program[VGPU_PATH_BYTES];
    int ret = daemon_ask(args, end_ms, why), lock;

    if (!nobody_listens(ret))
        return ret;
    if (!args->start) {
        snprintf(why, VGPU_WHY_BYTES,
                 "no vgpud listens at %s, and start=no forbids to start one: start vgpud(8), or "
                 "give the control=PATH of one that runs",
                 args->control);
        return ret;
    }
    ret = dm_find_program(args->vgpud, "vgpud", vgpud_places, "vgpud", program, why);
    if (ret)
        return ret;
    lock = lock_take(args, end_ms, why);
    if (lock < 0)
        return lock;
    ret = daemon_ask(args, end_ms, why); /* the one before us may have started it */
    if (nobody_listens(ret))
        ret = daemon_start(args, program, end_ms, why);
    close(lock);
    return ret;
}
