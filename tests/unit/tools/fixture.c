/* SPDX-License-Identifier: MIT */
/* Running our programs against a scripted peer: see tools_tests.h. */
#include "tools_tests.h"

#include <daemon/loop.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS    60000
#define MAX_WORDS  40
#define LATE_LISTS 3

char tools_dir[] = "/tmp/vgpu-tools-XXXXXX";
char tools_out[1 << 16];

static struct {
    pthread_t thread;
    bool running;
    enum peer_mode mode;
    int listen_fd;
    int stop_fd[2];
    unsigned int lists;
    pthread_mutex_t lock;
    char requests[1 << 14];
} peer = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tools_setup(void)
{
    memcpy(tools_dir + strlen(tools_dir) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(tools_dir));
    tools_out[0] = '\0';
    peer.requests[0] = '\0';
    peer.lists = 0;
}

static void peer_stop(void)
{
    if (!peer.running)
        return;
    ck_assert_int_eq(write(peer.stop_fd[1], "", 1), 1);
    pthread_join(peer.thread, NULL);
    close(peer.listen_fd);
    close(peer.stop_fd[0]);
    close(peer.stop_fd[1]);
    peer.running = false;
}

void tools_teardown(void)
{
    char command[256];

    peer_stop();
    snprintf(command, sizeof(command), "rm -rf %s", tools_dir);
    ck_assert_int_eq(system(command), 0);
}

const char *in_dir(const char *name)
{
    static char path[8][128];
    static unsigned int next;
    char *p = path[next++ % 8];

    snprintf(p, sizeof(path[0]), "%s/%s", tools_dir, name);
    return p;
}

const char *tools_script(const char *name, const char *text)
{
    const char *path = in_dir(name);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "#!/bin/sh\ncd %s\n%s\n", tools_dir, text);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0755), 0);
    return path;
}

bool tools_exists(const char *name)
{
    return !access(in_dir(name), F_OK);
}

const char *tools_text(const char *name)
{
    static char text[1 << 14];
    FILE *file = fopen(in_dir(name), "r");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    if (file)
        fclose(file);
    text[n] = '\0';
    return text;
}

/* ---- Running ---- */

#define MAX_WORD 1024

/* Each `%` becomes the folder. */
static void run_expand(const char *from, char to[MAX_WORD])
{
    size_t used = 0;

    for (; *from && used < MAX_WORD - 64; from++) {
        if (*from == '%')
            used += (size_t)snprintf(to + used, MAX_WORD - used, "%s", tools_dir);
        else
            to[used++] = *from;
    }
    to[used] = '\0';
}

static void run_child(const char *program, const char *const *words, int out)
    __attribute__((noreturn));

static void run_child(const char *program, const char *const *words, int out)
{
    char self[PATH_MAX] = "", exe[PATH_MAX], text[MAX_WORDS][MAX_WORD], *argv[MAX_WORDS + 2];
    int n = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
        _exit(125);
    snprintf(exe, sizeof(exe), "%.3900s/../bin/%.100s", dirname(self), program);
    argv[n++] = exe;
    for (; words[n - 1] && n <= MAX_WORDS; n++) {
        run_expand(words[n - 1], text[n - 1]);
        argv[n] = text[n - 1];
    }
    argv[n] = NULL;
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(exe, argv);
    _exit(126);
}

static size_t run_read(int fd, size_t used)
{
    ssize_t n = read(fd, tools_out + used, sizeof(tools_out) - 1 - used);

    return used + (n > 0 ? (size_t)n : 0);
}

int tools_run(const char *program, const char *const *words)
{
    uint64_t end = vgpu_now_ms() + WAIT_MS;
    size_t used = 0;
    int fds[2], status;
    pid_t pid;

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid)
        run_child(program, words, fds[1]);
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (vgpu_now_ms() >= end) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            ck_abort_msg("%s does not end: %s", program, tools_out);
        }
        poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, 10);
        used = run_read(fds[0], used);
        tools_out[used] = '\0';
    }
    used = run_read(fds[0], used);
    tools_out[used] = '\0';
    close(fds[0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- The peer ---- */

/* The other side may have given up. */
static void peer_say(int fd, const char *text)
{
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);

    ck_assert(n == (ssize_t)strlen(text) || (n < 0 && (errno == EPIPE || errno == ECONNRESET)));
}

/* `list` and `attach` answer with the VM that the last attach named. */
static void peer_say_vm(int fd, bool attached)
{
    static char name[64];
    char text[256];
    const char *at = strstr(peer.requests, "name=");

    snprintf(name, sizeof(name), "%.*s", at ? (int)strcspn(at + 5, ",\n") : 1, at ? at + 5 : "?");
    snprintf(text, sizeof(text),
             "{\"version\":\"9.9\",\"pid\":1,\"vms\":[{\"name\":\"%s\",\"executor\":\"cpu\","
             "\"attached\":%s}]}\n",
             name, attached ? "true" : "false");
    peer_say(fd, text);
}

static void peer_answer(int fd, const char *request)
{
    bool attach = !strncmp(request, "attach ", 7), list = !strncmp(request, "list ", 5);

    if (peer.mode == PEER_CLOSE)
        return;
    if (peer.mode == PEER_NONSENSE)
        peer_say(fd, "HTTP/1.1 400 Bad Request\r\n");
    else if (!attach && !list)
        peer_say(fd, "{\"version\":\"9.9\",\"pid\":1,\"vms\":[]}\n");
    else if (peer.mode == PEER_REFUSE)
        peer_say(fd, "{\"error\":\"" PEER_REFUSAL "\"}\n");
    else if (peer.mode == PEER_SILENT)
        /* until the other side has had enough */
        poll(&(struct pollfd){.fd = fd, .events = POLLRDHUP}, 1, WAIT_MS);
    else if (peer.mode == PEER_NO_VMS)
        peer_say(fd, "{\"version\":\"9.9\"}\n");
    else
        peer_say_vm(fd, peer.mode == PEER_SERVE ||
                            (peer.mode == PEER_LATE && list && ++peer.lists > LATE_LISTS));
}

static void peer_serve(int fd)
{
    char request[1024];
    size_t used = 0;
    ssize_t n;

    while ((n = recv(fd, request + used, sizeof(request) - 1 - used, 0)) > 0) {
        used += (size_t)n;
        request[used] = '\0';
        if (strchr(request, '\n'))
            break;
    }
    if (used) {
        pthread_mutex_lock(&peer.lock);
        snprintf(peer.requests + strlen(peer.requests),
                 sizeof(peer.requests) - strlen(peer.requests), "%s", request);
        pthread_mutex_unlock(&peer.lock);
        peer_answer(fd, request);
    }
    close(fd);
}

static void *peer_main(void *unused)
{
    (void)unused;
    for (;;) {
        struct pollfd fds[2] = {{.fd = peer.listen_fd, .events = POLLIN},
                                {.fd = peer.stop_fd[0], .events = POLLIN}};
        int fd;

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[1].revents)
            return NULL;
        fd = accept4(peer.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            peer_serve(fd);
    }
}

void peer_start(enum peer_mode mode)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    peer.mode = mode;
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir("control.sock"));
    peer.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(peer.listen_fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    ck_assert_int_eq(listen(peer.listen_fd, 8), 0);
    ck_assert_int_eq(pipe2(peer.stop_fd, O_CLOEXEC), 0);
    ck_assert_int_eq(pthread_create(&peer.thread, NULL, peer_main, NULL), 0);
    peer.running = true;
}

const char *peer_requests(void)
{
    static char copy[sizeof(peer.requests)];

    pthread_mutex_lock(&peer.lock);
    memcpy(copy, peer.requests, sizeof(copy));
    pthread_mutex_unlock(&peer.lock);
    return copy;
}
