/* SPDX-License-Identifier: MIT */
/*
 * Processes: what a started one gets and no more, the spawner's parentage, and that an isolated
 * process is refused what isolation refuses.
 */
#include "daemon_tests.h"

#include <daemon/isolation.h>
#include <daemon/spawn.h>
#include <vgpu/hw.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Spawning ---- */

static int wait_status(pid_t pid)
{
    int status = 0;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Run a shell line with these descriptors from 3 up. */
static pid_t shell(const char *line, const int *fds, size_t count, int sibling)
{
    char name[] = "sh", c[] = "-c", text[512];
    char *argv[] = {name, c, text, NULL};
    int exe = open("/bin/sh", O_RDONLY | O_CLOEXEC), pidfd = -1;
    pid_t pid;

    strncpy(text, line, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    pid = vgpu_spawn(exe, argv, fds, count, sibling, &pidfd);
    ck_assert_int_gt(pid, 0);
    ck_assert_int_ge(pidfd, 0);
    close(pidfd);
    close(exe);
    return pid;
}

START_TEST(a_child_gets_exactly_its_descriptors)
{
    int pipe_fds[2], fds[3];
    char text[256];
    ssize_t n;
    pid_t pid;

    for (int i = 0; i < 20; i++)
        ck_assert_int_ge(open("/dev/null", O_RDONLY), 0); /* without close-on-exec */
    ck_assert_int_eq(pipe(pipe_fds), 0);
    fds[0] = open("/dev/zero", O_RDONLY);
    fds[1] = pipe_fds[1];
    fds[2] = 3; /* one that sits where another must go */
    pid = shell("exec >&4; for f in /proc/self/fd/*; do n=${f##*/}; [ -e $f ] && [ $n -gt 2 ] && "
                "[ $n -lt 10 ] && printf '%s ' $n; done; env | grep -c ^HOME=",
                fds, 3, 0);
    close(pipe_fds[1]);
    wait_status(pid);
    n = read(pipe_fds[0], text, sizeof(text) - 1);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_str_eq(text, "3 4 5 0\n");
}
END_TEST

START_TEST(an_exec_that_fails_is_status_127)
{
    char name[] = "x";
    char *argv[] = {name, NULL};
    int fd = open("/dev/null", O_RDONLY), pidfd = -1;
    pid_t pid = vgpu_spawn(fd, argv, NULL, 0, 0, &pidfd);

    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(wait_status(pid), 127);
    ck_assert_int_eq(vgpu_spawn(fd, argv, NULL, VGPU_SPAWN_MAX_FDS + 1, 0, &pidfd), -EINVAL);
}
END_TEST

/* The spawner's child must be reaped by the spawner's parent: that is what the vm process does. */
START_TEST(the_spawner_makes_children_of_its_parent)
{
    struct vgpu_spawn_request req = {.ctx = 7, .serial = 42};
    struct vgpu_spawn_answer ans = {0};
    int pair[2], conv[2], pidfd = -1, exe = open("/bin/true", O_RDONLY);
    int lock = open("/dev/null", O_RDONLY);
    struct vgpu_spawner_config config = {exe, lock, "null", "test", -1};
    siginfo_t si = {0};
    pid_t spawner;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, conv), 0);
    spawner = fork();
    if (!spawner) {
        close(pair[0]);
        _exit(vgpu_spawner_main(pair[1], &config));
    }
    close(pair[1]);
    ck_assert_int_eq(vgpu_msg_send(pair[0], &req, sizeof(req), conv[1]), 0);
    ck_assert_int_eq(vgpu_msg_recv(pair[0], &ans, sizeof(ans), &pidfd), 0);
    ck_assert_uint_eq(ans.ctx, 7);
    ck_assert_uint_eq(ans.serial, 42);
    ck_assert_int_gt(ans.pid, 0);
    ck_assert_int_ge(pidfd, 0);
    ck_assert_int_eq(waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED), 0);
    ck_assert_int_eq(si.si_pid, ans.pid);
    ck_assert_int_eq(si.si_status, 0);
    close(pair[0]);
    ck_assert_int_eq(wait_status(spawner), 0);
}
END_TEST

START_TEST(the_spawner_ends_on_nonsense)
{
    struct vgpu_spawn_request req = {0};
    struct vgpu_spawner_config config = {-1, -1, "null", "test", -1};
    int pair[2];
    pid_t spawner;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    spawner = fork();
    if (!spawner) {
        close(pair[0]);
        _exit(vgpu_spawner_main(pair[1], &config));
    }
    close(pair[1]);
    ck_assert_int_eq(vgpu_msg_send(pair[0], &req, _i ? sizeof(req) : 3, -1), 0);
    ck_assert_int_eq(wait_status(spawner), 1);
    close(pair[0]);
}
END_TEST

Suite *spawn_suite(void)
{
    Suite *s = suite_create("daemon/spawn");
    TCase *tc = tcase_create("spawn");

    tcase_add_test(tc, a_child_gets_exactly_its_descriptors);
    tcase_add_test(tc, an_exec_that_fails_is_status_127);
    tcase_add_test(tc, the_spawner_makes_children_of_its_parent);
    tcase_add_loop_test(tc, the_spawner_ends_on_nonsense, 0, 2);
    suite_add_tcase(s, tc);
    return s;
}

/* ---- Isolation ---- */

/* What an attacker would try.  0: it worked. */
static int try_open(void)
{
    return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}

static int try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int try_connect(void)
{
    return connect(0, NULL, 0) ? errno : 0;
}

static int try_fork(void)
{
    return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0ul) < 0 ? errno : 0;
}

static int try_exec(void)
{
    char *argv[] = {NULL};

    execve("/bin/true", argv, argv);
    return errno;
}

static int try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? errno : 0;
}

static int try_kill(void)
{
    return kill(getppid(), 0) ? errno : 0;
}

static int try_exec_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) == MAP_FAILED
               ? errno
               : 0;
}

static int try_make_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC) ? errno : 0;
}

static int try_read_others(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0ul, NULL, 0ul, 0ul) < 0 ? errno : 0;
}

static int (*const attempts[])(void) = {
    try_open, try_socket,      try_connect,         try_fork,        try_exec, try_ptrace,
    try_kill, try_exec_memory, try_make_executable, try_read_others,
};
#define ATTEMPTS ((int)(sizeof(attempts) / sizeof(attempts[0])))

static const uint32_t kinds[] = {0 /* the vm process */, VGPU_EXEC_NULL, VGPU_EXEC_CPU};

START_TEST(a_filtered_process_is_refused)
{
    uint32_t kind = kinds[_i / ATTEMPTS];
    int (*attempt)(void) = attempts[_i % ATTEMPTS];
    pid_t pid = fork();

    if (!pid) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (kind ? vgpu_isolate_exec_syscalls(kind) : vgpu_isolate_vm_syscalls())
            _exit(200);
        _exit(attempt());
    }
    ck_assert_int_eq(wait_status(pid), EPERM);
}
END_TEST

/* The list is no use if it refuses what the process lives by. */
START_TEST(a_filtered_process_can_work)
{
    pid_t pid = fork();

    if (!pid) {
        struct vgpu_loop loop;
        int pair[2], fd;

        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (vgpu_isolate_vm_syscalls())
            _exit(200);
        fd = memfd_create("x", MFD_CLOEXEC);
        if (vgpu_loop_init(&loop) || fd < 0 || ftruncate(fd, 4096) ||
            socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || vgpu_msg_send(pair[0], "hi", 2, fd))
            _exit(201);
        free(malloc(1 << 24));
        vgpu_loop_fini(&loop);
        _exit(0);
    }
    ck_assert_int_eq(wait_status(pid), 0);
}
END_TEST

static int run_as_nobody(void)
{
    int ret = vgpu_isolate_start();

    if (!ret)
        ret = vgpu_isolate_namespaces();
    if (!ret)
        ret = vgpu_isolate_empty_dir("/tmp");
    if (ret >= 0)
        ret = vgpu_isolate_root(ret);
    if (!ret)
        ret = vgpu_isolate_user(65534, 65534);
    return ret;
}

/* As root: another user, no capability, no way back, an empty root directory. */
START_TEST(a_dropped_process_has_nothing_left)
{
    pid_t pid;

    if (geteuid() != 0)
        return; /* the stage exists for root only */
    pid = fork();
    if (!pid) {
        if (run_as_nobody())
            _exit(1);
        if (getuid() != 65534 || geteuid() != 65534 || getgid() != 65534)
            _exit(2);
        if (!setuid(0) || !seteuid(0) || !setgid(0))
            _exit(3);
        if (!access("/etc", F_OK) || !access("/proc", F_OK) ||
            open("/x", O_CREAT | O_RDWR, 0600) >= 0)
            _exit(4);
        if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) || prctl(PR_CAPBSET_READ, 21, 0, 0, 0))
            _exit(5);
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
            _exit(6);
        if (!VGPU_SANITIZED && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
            _exit(7);
        _exit(0);
    }
    ck_assert_int_eq(wait_status(pid), 0);
}
END_TEST

/* A tied process does not outlive its parent. */
START_TEST(a_tied_process_dies_with_its_parent)
{
    int pipe_fds[2];
    pid_t parent;
    char c;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    parent = fork();
    if (!parent) {
        pid_t self = getpid();

        if (!fork()) {
            close(pipe_fds[0]);
            if (vgpu_isolate_tie(self) || write(pipe_fds[1], "t", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        if (read(pipe_fds[0], &c, 1) != 1)
            _exit(1);
        _exit(0);
    }
    close(pipe_fds[1]);
    ck_assert_int_eq(wait_status(parent), 0);
    ck_assert_int_eq(read(pipe_fds[0], &c, 1), 0); /* its write end is closed: it is gone */
    ck_assert_int_eq(vgpu_isolate_tie(1), getppid() == 1 ? 0 : -ESRCH);
}
END_TEST

Suite *isolation_suite(void)
{
    Suite *s = suite_create("daemon/isolation");
    TCase *tc = tcase_create("isolation");

    if (!VGPU_SANITIZED) {
        tcase_add_loop_test(tc, a_filtered_process_is_refused, 0, 3 * ATTEMPTS);
        tcase_add_test(tc, a_filtered_process_can_work);
    }
    tcase_add_test(tc, a_dropped_process_has_nothing_left);
    tcase_add_test(tc, a_tied_process_dies_with_its_parent);
    suite_add_tcase(s, tc);
    return s;
}
