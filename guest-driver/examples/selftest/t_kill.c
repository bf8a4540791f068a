/* SPDX-License-Identifier: MIT */
/*
 * Programs that end, or become another, where it hurts: killed before, in and after each
 * system call of a context's whole life, replaced by exec(), out of file descriptors.
 *
 * The sweep traces its victim: in round (n, where) the victim is killed at its nth system
 * call.  Rounds go on until a victim reaches its end unharmed.  After each, another context
 * must work.
 */
#include "st.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_BYTES 32768u
#define FEW_FILES    24u
#define SECOND_NS    1000000000ull

enum where { BEFORE, INSIDE, AFTER, NWHERE };

static const char *const where_text[NWHERE] = {"before", "in", "after"};

/* ---- the victims: each call once, results looked at only as far as the next one needs ---- */

static void map_all(struct st_raw *raw)
{
    const struct vgpu_queue_setup *s = &raw->setup;
    const int rw = PROT_READ | PROT_WRITE;

    ST_CHECK(st_map(raw->fd, s->ro_bytes, PROT_READ, s->ro_off), "mmap of the read-only half");
    ST_CHECK(st_map(raw->fd, s->rw_bytes, rw, s->rw_off), "mmap of the writable half");
    ST_CHECK(st_map(raw->fd, 4096, rw, s->doorbell_off), "mmap of the doorbell");
    ST_CHECK(st_map(raw->fd, s->arena_bytes, rw, s->arena_off), "mmap of the arena");
}

static void use_buffers(struct st_raw *raw, void *memory)
{
    struct vgpu_buf_alloc alloc = {.bytes = BUFFER_BYTES};
    struct vgpu_buf_register reg = {
        .addr = (uintptr_t)memory + 100, .bytes = BUFFER_BYTES - 200, .flags = VGPU_BUF_FLAGS};
    struct vgpu_buf_unregister unreg = {0};
    void *at;

    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_BUF_ALLOC, &alloc), 0, "BUF_ALLOC");
    at = st_map(raw->fd, BUFFER_BYTES, PROT_READ | PROT_WRITE, alloc.mmap_off);
    ST_CHECK(at, "mmap of a buffer: %s", strerror(errno));
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_BUF_REGISTER, &reg), 0, "BUF_REGISTER");
    munmap(at, BUFFER_BYTES);
    unreg.buf = alloc.buf;
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg), 0, "BUF_UNREGISTER");
    if (reg.result != VGPU_BUF_RESULT_REGISTERED)
        return;
    unreg.buf = reg.buf;
    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg), 0, "BUF_UNREGISTER");
}

static void victim_maps(void *memory)
{
    struct vgpu_status_query status;
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    map_all(&raw);
    use_buffers(&raw, memory);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_STATUS, &status), 0, "STATUS");
    st_raw_close(&raw);
}

static void victim_submits(void *memory)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_NOP, .cookie = 1};
    struct vgpu_submit submit = {.entries = (uintptr_t)&sqe, .count = 1};
    struct vgpu_set_eventfd event = {.fd = eventfd(0, EFD_CLOEXEC)};
    struct vgpu_cqe cqe;
    struct vgpu_reap reap = {.entries = (uintptr_t)&cqe, .count = 1};
    struct vgpu_wait wait = {.timeout_ns = UINT64_MAX};
    struct st_raw raw;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &event), 0, "SET_EVENTFD");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &submit), 0, "SUBMIT");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_WAIT, &wait), 0, "WAIT");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_REAP, &reap), 0, "REAP");
    ST_EQUAL(reap.count, 1, "completions");
    st_raw_close(&raw);
}

/* ---- the sweep ---- */

static pid_t start_traced(void (*victim)(void *), void *memory)
{
    pid_t pid;
    int status;

    fflush(stdout);
    pid = fork();
    ST_CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        victim(memory);
        _exit(0);
    }
    ST_EQUAL(waitpid(pid, &status, 0), pid, "waitpid");
    ST_CHECK(WIFSTOPPED(status), "the victim did not stop: status %#x", status);
    ST_EQUAL(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD), 0,
             "PTRACE_SETOPTIONS");
    return pid;
}

/* Lets it run to its next stop; false if it ended instead, well. */
static bool next_stop(pid_t pid)
{
    int status;

    ST_EQUAL(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0, "PTRACE_SYSCALL");
    ST_EQUAL(waitpid(pid, &status, 0), pid, "waitpid");
    if (WIFSTOPPED(status)) {
        ST_EQUAL(WSTOPSIG(status), SIGTRAP | 0x80, "the stop's signal");
        return true;
    }
    ST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the victim ended by itself: %#x",
             status);
    return false;
}

/* Kills a victim at its nth system call (from 0).  False if it has not so many. */
static bool kill_at(void (*victim)(void *), void *memory, unsigned int n, enum where where)
{
    pid_t pid = start_traced(victim, memory);
    unsigned int stops = 2 * n + (where == AFTER ? 2 : 1);
    int status;

    while (stops--)
        if (!next_stop(pid))
            return false;
    if (where == INSIDE)
        ST_EQUAL(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0, "PTRACE_SYSCALL");
    ST_EQUAL(kill(pid, SIGKILL), 0, "kill");
    do
        ST_EQUAL(waitpid(pid, &status, 0), pid, "waitpid");
    while (WIFSTOPPED(status));
    return WIFSIGNALED(status);
}

static void sweep(void (*victim)(void *))
{
    struct vgpu_ctx *other = st_open(NULL);
    void *memory = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    unsigned int n = 0;

    ST_CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    for (bool killed = true; killed; n++) {
        for (enum where where = BEFORE; where < NWHERE && killed; where++) {
            int err;

            killed = kill_at(victim, memory, n, where);
            err = vgpu_nop(other, NULL);
            ST_CHECK(!err, "another context, after a kill %s system call %u: %s", where_text[where],
                     n, strerror(-err));
        }
        ST_CHECK(n < 500, "the victim never ends");
    }
    ST_CHECK(n > 8, "only %u system calls", n - 1);
    printf("# killed around each of %u system calls\n", n - 1);
    vgpu_close(other);
}

/* VGPU-UAPI-001 */
static void killed_at_each_call(void)
{
    sweep(victim_maps);
}

static void killed_at_each_submission(void)
{
    sweep(victim_submits);
}

/* ---- exec ---- */

/* What the program that exec() started finds: descriptor FD, inherited. */
static void heir(int fd)
{
    struct vgpu_info info = {.size = sizeof(info)};
    struct vgpu_status_query query;
    struct st_raw own;

    ST_EQUAL(st_ioctl(fd, VGPU_IOCTL_INFO, &info), -EPERM, "INFO after exec");
    ST_EQUAL(st_ioctl(fd, VGPU_IOCTL_STATUS, &query), -EPERM, "STATUS after exec");
    ST_CHECK(!st_map(fd, 4096, PROT_READ, 0) && errno == EPERM, "mmap after exec");
    st_raw_setup(&own, 0);
    ST_EQUAL(close(fd), 0, "closing the inherited file");
    ST_EQUAL(st_ioctl(own.fd, VGPU_IOCTL_STATUS, &query), 0, "a context of its own");
    st_raw_close(&own);
}

int st_after_exec(const char *fd)
{
    heir(atoi(fd));
    fflush(stdout);
    return 0;
}

static void exec_with_open_device(void)
{
    char fd[16];
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    map_all(&raw);
    ST_EQUAL(fcntl(raw.fd, F_SETFD, 0), 0, "keeping the file over exec");
    snprintf(fd, sizeof(fd), "%d", raw.fd);
    fflush(stdout);
    execl("/proc/self/exe", "vgpu-selftest", "-d", st_options.device, "-x", fd, (char *)NULL);
    st_fail(__FILE__, __LINE__, "exec: %s", strerror(errno));
}

/* ---- limits ---- */

static void files_run_out(void)
{
    const struct rlimit few = {.rlim_cur = FEW_FILES, .rlim_max = FEW_FILES};
    struct vgpu_options options = {.sq_log2 = 6, .arena_bytes = 4096};
    struct vgpu_ctx *ctx[FEW_FILES], *again;
    unsigned int n = 0;
    int err = 0;

    ST_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0, "setrlimit");
    while (n < FEW_FILES && !(err = vgpu_open(st_options.device, &options, &ctx[n])))
        n++;
    ST_EQUAL(err, -EMFILE, "the end");
    ST_CHECK(n > 1, "%u could be opened", n);
    for (unsigned int i = 0; i < n; i++)
        ST_EQUAL(vgpu_nop(ctx[i], NULL), 0, "a context opened before");
    vgpu_close(ctx[--n]);
    again = st_open(&options);
    ST_EQUAL(vgpu_nop(again, NULL), 0, "a context in place of one that was closed");
    vgpu_close(again);
    while (n--)
        vgpu_close(ctx[n]);
}

static const struct st_test tests[] = {
    {"kill", "killed at each system call of a mapped queue's life", killed_at_each_call},
    {"kill", "killed at each system call of the kernel's submission", killed_at_each_submission},
    {"kill", "exec() with an open device", exec_with_open_device},
    {"kill", "file descriptors run out with EMFILE, and come back", files_run_out},
};

ST_GROUP(st_group_kill, tests);
