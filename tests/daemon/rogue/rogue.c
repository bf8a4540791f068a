/* SPDX-License-Identifier: MIT */
/*
 * A test build of vgpud in which the executor called "null" is a rogue: the null executor, but that its
 * exec process does what a process that a guest has taken over would try.  Linked before the library
 * of executors, whose table (exec/find.c) it replaces.
 *
 * It is told what to do by the modules a guest loads:
 *
 *   "break out"   try to reach what is outside; the module's log says of each attempt what came of it
 *   "flood"       print ROGUE_FLOOD_LINES lines, with what a terminal would obey and lines of others in them
 *   "die slowly"  from now on a buffer that a copy names is written to, without end, and goes on being
 *                 written when the process has been killed, as by a device that is slow to stop: until
 *                 the buffer's first word says ROGUE_RELEASE.  Only then can the process be reaped.
 *                 A number behind these words is the time in ms after which it gives up by itself.
 *
 * How it can be killed and live on: a second process shares its memory (CLONE_VM) and writes; it also
 * traces the first one and holds it in its exit (PTRACE_EVENT_EXIT) until it has done with writing.  This
 * is set up when the executor is opened, before the process is locked in.
 */
#include "rogue.h"

#include <exec/exec.h>
#include <exec/find.h>
#include <exec/proto.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINGER_MS    60000u /* at most: a test has failed */
#define WRITER_STACK (256u << 10)

static struct vgpu_exec_ops rogue_ops;

/* ---- Breaking out ---- */

static long try_open(void)
{
    return open("/etc/passwd", O_RDONLY);
}

static long try_open_root(void)
{
    return open("/", O_RDONLY | O_DIRECTORY);
}

/* Not refused as a call: there is nothing to be seen. */
static long try_stat(void)
{
    struct stat st;

    return stat("/etc/passwd", &st) && stat("/proc/self", &st) && stat("/dev/null", &st) ? -1 : 0;
}

static long try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_connect(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "/tmp/any"};

    return connect(VGPU_XFD_SOCKET, (struct sockaddr *)&sa, sizeof(sa));
}

static long try_ptrace(void)
{
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
}

static long try_read_others(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0ul, NULL, 0ul, 0ul);
}

static long try_exec(void)
{
    char name[] = "/bin/true", *argv[] = {name, NULL};

    return execve(name, argv, NULL);
}

static long try_fork(void)
{
    return fork();
}

static long try_kill(void)
{
    return kill(getppid(), 0);
}

static long try_pidfd(void)
{
    return syscall(SYS_pidfd_open, getppid(), 0);
}

static long try_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

static long try_user_namespace(void)
{
    return unshare(CLONE_NEWUSER);
}

static long try_setuid(void)
{
    return setuid(0);
}

static long try_chroot(void)
{
    return chroot(".");
}

static long try_limits(void)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

    return setrlimit(RLIMIT_NOFILE, &all);
}

static long try_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_ioctl(void)
{
    return syscall(SYS_ioctl, STDERR_FILENO, 0x5401 /* TCGETS */, 0ul);
}

static long try_memory(void)
{
    /* More than any VM's limit here and what is allowed beside it. */
    void *p = mmap(NULL, 64ull << 30, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

static const struct {
    const char *name;
    long (*try)(void);
} attempts[] = {
    {"open", try_open},
    {"open-root", try_open_root},
    {"stat", try_stat},
    {"socket", try_socket},
    {"connect", try_connect},
    {"ptrace", try_ptrace},
    {"read-others", try_read_others},
    {"exec", try_exec},
    {"fork", try_fork},
    {"kill", try_kill},
    {"pidfd", try_pidfd},
    {"code", try_code},
    {"user-namespace", try_user_namespace},
    {"setuid", try_setuid},
    {"chroot", try_chroot},
    {"limits", try_limits},
    {"dumpable", try_dumpable},
    {"ioctl", try_ioctl},
    {"memory", try_memory},
};

/* "name=errno" of each, and what descriptors there are. */
static size_t break_out(char *log, size_t room)
{
    unsigned int sockets = 0, directories = 0, others = 0;
    size_t n = 0;

    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        long ret;

        errno = 0;
        ret = attempts[i].try();
        n += (size_t)snprintf(log + n, room - n, "%s=%d ", attempts[i].name, ret < 0 ? errno : 0);
    }
    for (int fd = 3; fd < 4096; fd++) {
        struct stat st;

        if (fstat(fd, &st))
            continue;
        sockets += S_ISSOCK(st.st_mode);
        directories += S_ISDIR(st.st_mode);
        others += !S_ISSOCK(st.st_mode) && !S_ISDIR(st.st_mode);
    }
    n += (size_t)snprintf(log + n, room - n, "sockets=%u directories=%u others=%u ", sockets,
                          directories, others);
    return n;
}

/* ---- Flooding the log ---- */

static void print(const char *text, size_t bytes)
{
    if (write(STDERR_FILENO, text, bytes) != (ssize_t)bytes)
        _exit(1);
}

static void flood(void)
{
    static const char end[] = "the end, without a newline";
    char line[128];

    for (unsigned int i = 0; i < ROGUE_FLOOD_LINES; i++)
        print(line, (size_t)snprintf(line, sizeof(line),
                                     "\033[2J%u: flood\rvgpud[1]: error: vm1(B) forged\n", i));
    print(end, strlen(end));
}

/* ---- Dying slowly ---- */

static struct {
    atomic_bool traced;
    atomic_bool armed; /* a module said so */
    unsigned int linger_ms;
    struct vgpu_span target;
    atomic_bool aimed; /* and there is a target */
} slow;

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static bool released(void)
{
    return !atomic_load(&slow.aimed) ||
           __atomic_load_n((uint32_t *)slow.target.ptr, __ATOMIC_ACQUIRE) == ROGUE_RELEASE;
}

/* All but the first word, which is the guest's. */
static void write_target(void)
{
    if (atomic_load(&slow.aimed))
        memset((uint8_t *)slow.target.ptr + ROGUE_HEAD, ROGUE_BYTE, slow.target.bytes - ROGUE_HEAD);
}

/* Until the first process has said who may trace it. */
static bool writer_attach(pid_t victim)
{
    for (int i = 0; i < 1000; i++) {
        if (!ptrace(PTRACE_SEIZE, victim, NULL, PTRACE_O_TRACEEXIT)) {
            atomic_store(&slow.traced, true);
            return true;
        }
        usleep(1000);
    }
    return false;
}

/* The second process.  `arg`: the first one's pid. */
static int writer_main(void *arg)
{
    pid_t victim = (pid_t)(intptr_t)arg;
    uint64_t dying_ms = 0;

    prctl(PR_SET_NAME, "vgpu-rogue", 0, 0, 0);
    if (!writer_attach(victim))
        return 1;
    for (;;) {
        int status;
        pid_t got = waitpid(victim, &status, WNOHANG | __WALL);

        if (got == victim && WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_EXIT)
            dying_ms = now_ms();
        else if (got == victim && WIFSTOPPED(status))
            ptrace(PTRACE_CONT, victim, NULL, WSTOPSIG(status));
        else if (got)
            return 1;
        if (dying_ms && (released() || now_ms() - dying_ms > slow.linger_ms)) {
            ptrace(PTRACE_DETACH, victim, NULL, 0);
            return 0;
        }
        write_target();
        usleep(500);
    }
}

static int start_writer(void)
{
    uint8_t *stack =
        mmap(NULL, WRITER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t self = getpid(), pid;

    if (stack == MAP_FAILED)
        return -errno;
    /* Isolation has made it untraceable; a rogue that wants to be traced undoes that beforehand. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    pid = clone(writer_main, stack + WRITER_STACK, CLONE_VM | SIGCHLD, (void *)(intptr_t)self);
    if (pid < 0)
        return -errno;
    prctl(PR_SET_PTRACER, pid, 0, 0, 0);
    for (int i = 0; i < 2000 && !atomic_load(&slow.traced); i++)
        usleep(1000);
    return atomic_load(&slow.traced) ? 0 : -EPERM;
}

/* ---- The executor ---- */

static int rogue_open(const struct vgpu_exec_config *cfg, struct vgpu_exec **exec, char *why,
                      size_t why_bytes)
{
    int ret = vgpu_exec_null.open(cfg, exec, why, why_bytes);

    return ret ? ret : start_writer();
}

/* The number behind ROGUE_DIE_SLOWLY, if there is one and the image is a string. */
static unsigned int linger_ms(const char *image, size_t bytes)
{
    unsigned long ms = image[bytes - 1] ? 0 : strtoul(image + strlen(ROGUE_DIE_SLOWLY), NULL, 10);

    return ms && ms < LINGER_MS ? (unsigned int)ms : LINGER_MS;
}

static uint16_t rogue_module_load(struct vgpu_exec *exec, const void *image, size_t bytes,
                                  char *log, size_t log_room, size_t *log_bytes, uint32_t *module)
{
    uint16_t status =
        vgpu_exec_null.module_load(exec, image, bytes, log, log_room, log_bytes, module);

    if (bytes >= strlen(ROGUE_BREAK_OUT) &&
        !memcmp(image, ROGUE_BREAK_OUT, strlen(ROGUE_BREAK_OUT)))
        *log_bytes = break_out(log, log_room);
    if (bytes >= strlen(ROGUE_FLOOD) && !memcmp(image, ROGUE_FLOOD, strlen(ROGUE_FLOOD)))
        flood();
    if (bytes >= strlen(ROGUE_DIE_SLOWLY) &&
        !memcmp(image, ROGUE_DIE_SLOWLY, strlen(ROGUE_DIE_SLOWLY))) {
        slow.linger_ms = linger_ms(image, bytes);
        atomic_store(&slow.armed, true);
    }
    return status;
}

static enum vgpu_submit_result rogue_submit(struct vgpu_exec *exec, struct vgpu_job *job)
{
    if (job->opcode == VGPU_CMD_COPY_D2H && atomic_load(&slow.armed) && !atomic_load(&slow.aimed) &&
        vgpu_gbuf_spans(job->u.copy.buf, job->u.copy.buf_off, job->u.copy.bytes, &slow.target, 1) ==
            1) {
        vgpu_gbuf_get(job->u.copy.buf); /* a transfer that never ends */
        atomic_store(&slow.aimed, true);
    }
    return vgpu_exec_null.submit(exec, job);
}

/* ---- The table ---- */

static const struct vgpu_exec_ops *rogue(void)
{
    rogue_ops = vgpu_exec_null;
    rogue_ops.open = rogue_open;
    rogue_ops.module_load = rogue_module_load;
    rogue_ops.submit = rogue_submit;
    return &rogue_ops;
}

const struct vgpu_exec_ops *vgpu_exec_find(const char *name)
{
    return !strcmp(name, vgpu_exec_null.name) ? rogue() : NULL;
}

const struct vgpu_exec_ops *vgpu_exec_find_kind(uint32_t kind)
{
    return kind == VGPU_EXEC_NULL ? rogue() : NULL;
}
