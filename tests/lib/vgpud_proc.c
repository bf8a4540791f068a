/* SPDX-License-Identifier: MIT */
/*
 * A real vgpud under test: start, watch, stop, judge.  See the header.
 *
 * The daemon is started with PR_SET_PDEATHSIG, so a test that crashes takes it
 * along.  Readiness is the presence of every socket it was told to make.  All
 * waiting polls with a deadline.
 */
#include "vgpud_proc.h"

#include "guestsim.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 20000
#define STOP_MS  20000
#define MAX_ARGS (8 + 2 * VGPUD_MAX_VMS)

const char *vgpud_program = "vgpud";

/* bin/ beside this program's own folder. */
static int bin_path(const char *name, char *out, size_t room)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n < 0)
        return -errno;
    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';
    n = snprintf(out, room, "%s/../bin/%s", self, name);
    return n > 0 && (size_t)n < room ? access(out, X_OK) ? -errno : 0 : -ENAMETOOLONG;
}

static bool all_sockets_there(const struct vgpud *d)
{
    struct stat st;

    if (stat(d->control, &st) || !S_ISSOCK(st.st_mode))
        return false;
    for (unsigned int i = 0; i < d->vms; i++)
        if (stat(d->sockets[i], &st) || !S_ISSOCK(st.st_mode))
            return false;
    return true;
}

static void run_daemon(const struct vgpud *d, const char *path)
{
    char vm_args[VGPUD_MAX_VMS][512];
    const char *argv[MAX_ARGS] = {path, "--control", d->control, "--runtime-dir", d->dir};
    unsigned int n = 5;
    int fd;

    for (unsigned int i = 0; i < d->vms; i++) {
        snprintf(vm_args[i], sizeof(vm_args[i]), "name=vm%u,socket=%s,%s", i, d->sockets[i],
                 d->options[i]);
        argv[n++] = "--vm";
        argv[n++] = vm_args[i];
    }
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fd = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    /* The isolated processes have no /proc, without which the leak checker can't work: leaks
     * there are for the tests that count memory and descriptors. */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

int vgpud_restart(struct vgpud *d)
{
    uint64_t deadline = gs_deadline(START_MS);
    char path[PATH_MAX];
    int rc, status;

    rc = bin_path(vgpud_program, path, sizeof(path));
    if (rc)
        return rc;
    unlink(d->control);
    for (unsigned int i = 0; i < d->vms; i++)
        unlink(d->sockets[i]);
    d->pid = fork();
    if (d->pid < 0) {
        d->pid = 0;
        return -errno;
    }
    if (d->pid == 0)
        run_daemon(d, path);
    while (!all_sockets_there(d)) {
        if (waitpid(d->pid, &status, WNOHANG) == d->pid) {
            d->pid = 0;
            return -ECHILD;
        }
        if (gs_now_ns() > deadline)
            return -ETIMEDOUT;
        poll(NULL, 0, 2);
    }
    return 0;
}

static void dump_log(const struct vgpud *d, const char *why)
{
    char *log = vgpud_log(d), *line, *rest = NULL;

    fprintf(stderr, "# vgpud: %s\n", why);
    for (line = log ? strtok_r(log, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        fprintf(stderr, "# | %s\n", line);
    free(log);
}

int vgpud_start(struct vgpud *d, const char *const *vm_options, unsigned int vms)
{
    const char *tmp = getenv("TMPDIR");
    int rc;

    memset(d, 0, sizeof(*d));
    if (vms > VGPUD_MAX_VMS)
        return -EINVAL;
    snprintf(d->dir, sizeof(d->dir), "%s/vgpud-test-XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(d->dir))
        return -errno;
    /* children that changed their user still reach their runtime files by inherited fds only */
    d->vms = vms;
    snprintf(d->control, sizeof(d->control), "%s/control.sock", d->dir);
    snprintf(d->log, sizeof(d->log), "%s/log", d->dir);
    for (unsigned int i = 0; i < vms; i++) {
        snprintf(d->sockets[i], sizeof(d->sockets[i]), "%s/vm%u.sock", d->dir, i);
        d->options[i] = strdup(vm_options[i]);
        if (!d->options[i])
            return -ENOMEM;
    }
    rc = vgpud_restart(d);
    if (rc)
        dump_log(d, "does not start");
    return rc;
}

static void remove_dir(const struct vgpud *d)
{
    DIR *dir = opendir(d->dir);
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(d->dir);
}

static bool log_has_report(const struct vgpud *d)
{
    static const char *const marks[] = {"AddressSanitizer", "LeakSanitizer", "ThreadSanitizer",
                                        "runtime error:", "Assertion"};
    char *log = vgpud_log(d);
    bool found = false;

    for (size_t i = 0; log && i < sizeof(marks) / sizeof(marks[0]); i++)
        found |= strstr(log, marks[i]) != NULL;
    free(log);
    return found;
}

int vgpud_stop(struct vgpud *d)
{
    uint64_t deadline = gs_deadline(STOP_MS);
    pid_t tree[512], got = 0;
    size_t n = 0;
    int status = 0, rc = 0;

    if (d->pid) {
        n = proc_tree(d->pid, tree, 512);
        kill(d->pid, SIGTERM);
        while (gs_now_ns() < deadline && (got = waitpid(d->pid, &status, WNOHANG)) == 0)
            poll(NULL, 0, 2);
        if (got != d->pid) {
            dump_log(d, "ignores SIGTERM");
            vgpud_kill(d);
            rc = -ETIMEDOUT;
        } else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
            fprintf(stderr, "# vgpud ended with wait status 0x%x\n", (unsigned int)status);
            dump_log(d, "bad exit");
            rc = -ECHILD;
        }
        d->pid = 0;
        for (size_t i = 0; i < n; i++)
            if (!proc_wait_gone(tree[i], 2000)) {
                fprintf(stderr, "# process %d outlived vgpud\n", (int)tree[i]);
                rc = rc ? rc : -EBUSY;
            }
    }
    if (log_has_report(d)) {
        dump_log(d, "sanitizer report or assertion");
        rc = rc ? rc : -EFAULT;
    }
    remove_dir(d);
    for (unsigned int i = 0; i < d->vms; i++)
        free(d->options[i]);
    return rc;
}

void vgpud_kill(struct vgpud *d)
{
    if (!d->pid)
        return;
    kill(d->pid, SIGKILL);
    waitpid(d->pid, NULL, 0);
    d->pid = 0;
}

static char *read_fd(int fd)
{
    size_t used = 0, room = 4096;
    char *text = malloc(room), *bigger;
    ssize_t n;

    while (text && (n = read(fd, text + used, room - used - 1)) > 0) {
        used += (size_t)n;
        if (room - used < 2) {
            bigger = realloc(text, room *= 2);
            if (!bigger)
                free(text);
            text = bigger;
        }
    }
    if (text)
        text[used] = '\0';
    return text;
}

char *vgpud_log(const struct vgpud *d)
{
    int fd = open(d->log, O_RDONLY | O_CLOEXEC);
    char *text;

    if (fd < 0)
        return NULL;
    text = read_fd(fd);
    close(fd);
    return text;
}

bool vgpud_log_wait(const struct vgpud *d, const char *text, unsigned int timeout_ms)
{
    uint64_t deadline = gs_deadline(timeout_ms);

    for (;;) {
        char *log = vgpud_log(d);
        bool found = log && strstr(log, text);

        free(log);
        if (found || gs_now_ns() > deadline)
            return found;
        poll(NULL, 0, 5);
    }
}

/* ---- /proc ---- */

/* Fields of /proc/PID/stat after the command name, which may contain anything. */
static bool proc_stat(pid_t pid, char *state, pid_t *ppid, uint64_t *ticks)
{
    char path[64], text[1024], *p;
    unsigned long user, sys;
    int parent, fd;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    p = strrchr(text, ')');
    if (!p || sscanf(p + 2, "%c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", state, &parent,
                     &user, &sys) != 4)
        return false;
    *ppid = parent;
    *ticks = user + sys;
    return true;
}

size_t proc_children(pid_t pid, pid_t *out, size_t room)
{
    DIR *dir = opendir("/proc");
    struct dirent *e;
    size_t n = 0;

    while (dir && (e = readdir(dir))) {
        pid_t ppid;
        uint64_t ticks;
        char state;

        if (!isdigit((unsigned char)e->d_name[0]) ||
            !proc_stat((pid_t)strtol(e->d_name, NULL, 10), &state, &ppid, &ticks) || ppid != pid ||
            state == 'Z')
            continue;
        if (n < room)
            out[n] = (pid_t)strtol(e->d_name, NULL, 10);
        n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

size_t proc_tree(pid_t pid, pid_t *out, size_t room)
{
    size_t n = proc_children(pid, out, room), direct;

    direct = n < room ? n : room;
    for (size_t i = 0; i < direct && n < room; i++)
        n += proc_tree(out[i], out + n, room - n);
    return n < room ? n : room;
}

bool proc_alive(pid_t pid)
{
    uint64_t ticks;
    pid_t ppid;
    char state;

    return proc_stat(pid, &state, &ppid, &ticks) && state != 'Z';
}

bool proc_wait_gone(pid_t pid, unsigned int timeout_ms)
{
    uint64_t deadline = gs_deadline(timeout_ms);

    while (proc_alive(pid)) {
        if (gs_now_ns() > deadline)
            return false;
        poll(NULL, 0, 2);
    }
    return true;
}

uint64_t proc_cpu_ticks(pid_t pid)
{
    uint64_t ticks;
    pid_t ppid;
    char state;

    return proc_stat(pid, &state, &ppid, &ticks) ? ticks : 0;
}

size_t proc_fd_count(pid_t pid)
{
    char path[64];
    DIR *dir;
    size_t n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n < 2 ? 0 : n - 2;
}

uint64_t proc_rss_bytes(pid_t pid)
{
    char path[64];
    unsigned long total, resident = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    f = fopen(path, "re");
    if (f && fscanf(f, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
