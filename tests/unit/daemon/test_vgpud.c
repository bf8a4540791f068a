/* SPDX-License-Identifier: MIT */
/*
 * The real vgpud, from outside: its command line, its sockets, who may attach, what vgpuctl's socket
 * answers, and that its end is bounded.  Clients here only connect; what they say is tested
 * with the bus and with simulated guests.
 */
#include "daemon_tests.h"

#include <daemon/loop.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

static char dir[] = "/tmp/vgpud-unit-XXXXXX";
static char log_text[1 << 16];
static pid_t daemon_pid;
static int daemon_log; /* read end */

static const char *in_dir(const char *name)
{
    static char path[4][128];
    static unsigned int next;
    char *p = path[next++ % 4];

    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void setup(void)
{
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    log_text[0] = '\0';
    daemon_pid = 0;
    daemon_log = -1;
}

/* The built one. */
static const char *vgpud(void)
{
    static char exe[PATH_MAX];
    char self[PATH_MAX] = "";

    ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
    snprintf(exe, sizeof(exe), "%.4000s/../bin/vgpud", dirname(self));
    return exe;
}

/* Start `exe` with these words, as "sh" would split them; its output can be read. */
static void start_exe(const char *exe, const char *words)
{
    char copy[1024], *argv[32], *save = NULL;
    int fds[2], n = 0;

    snprintf(copy, sizeof(copy), "%s", words);
    argv[n++] = (char *)(uintptr_t)exe;
    for (char *p = strtok_r(copy, " ", &save); p && n < 31; p = strtok_r(NULL, " ", &save))
        argv[n++] = p;
    argv[n] = NULL;
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    daemon_pid = fork();
    if (!daemon_pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        /* LeakSanitizer needs /proc, which the isolated processes do not have. */
        setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
        execv(exe, argv);
        _exit(126);
    }
    close(fds[1]);
    daemon_log = fds[0];
    fcntl(daemon_log, F_SETFL, O_NONBLOCK);
}

static void start(const char *words)
{
    start_exe(vgpud(), words);
}

static void read_log(void)
{
    size_t used = strlen(log_text);
    ssize_t n;

    while ((n = read(daemon_log, log_text + used, sizeof(log_text) - 1 - used)) > 0) {
        used += (size_t)n;
        log_text[used] = '\0';
    }
}

static bool logged(const char *text)
{
    for (uint64_t end = vgpu_now_ms() + WAIT_MS; vgpu_now_ms() < end; poll(NULL, 0, 5)) {
        read_log();
        if (strstr(log_text, text))
            return true;
    }
    return false;
}

/* Its exit status. */
static int ended(void)
{
    int status;

    for (uint64_t end = vgpu_now_ms() + WAIT_MS; vgpu_now_ms() < end; poll(NULL, 0, 5)) {
        read_log();
        if (waitpid(daemon_pid, &status, WNOHANG) == daemon_pid) {
            daemon_pid = 0;
            read_log();
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        }
    }
    ck_abort_msg("vgpud does not end: %s", log_text);
}

static void teardown(void)
{
    char command[256];

    if (daemon_pid > 0) {
        kill(daemon_pid, SIGTERM);
        ck_assert_msg(ended() == 0, "bad end: %s", log_text);
    }
    if (daemon_log >= 0)
        close(daemon_log);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static int connect_to(const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir(name));
    if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
        return fd;
    close(fd);
    return -1;
}

static void await_listening(void)
{
    int fd = -1;

    for (uint64_t end = vgpu_now_ms() + WAIT_MS; fd < 0 && vgpu_now_ms() < end; poll(NULL, 0, 5))
        fd = connect_to("control.sock");
    ck_assert_msg(fd >= 0, "vgpud does not listen");
    close(fd);
}

static void start_one(void)
{
    char words[512];

    snprintf(words, sizeof(words), "--vm name=a,socket=%s/a.sock,executor=null --runtime-dir %s",
             dir, dir);
    start(words);
    await_listening();
}

/* The control socket's whole answer to this text, parsed. */
static struct json_object *ask(const char *text)
{
    static char answer[1 << 16];
    struct json_object *root;
    int fd = connect_to("control.sock");
    size_t used = 0;
    ssize_t n;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    while ((n = recv(fd, answer + used, sizeof(answer) - 1 - used, 0)) > 0)
        used += (size_t)n;
    answer[used] = '\0';
    close(fd);
    root = json_tokener_parse(answer);
    ck_assert_msg(root != NULL, "no JSON: '%s'", answer);
    return root;
}

/* A number (or boolean) of the one VM. */
static int64_t vm_number(const char *request, const char *key)
{
    struct json_object *root = ask(request), *vms, *value;
    int64_t n;

    ck_assert(json_object_object_get_ex(root, "vms", &vms));
    ck_assert_uint_eq(json_object_array_length(vms), 1);
    ck_assert_msg(json_object_object_get_ex(json_object_array_get_idx(vms, 0), key, &value), "%s",
                  key);
    n = json_object_get_int64(value);
    json_object_put(root);
    return n;
}

static bool vm_becomes(const char *request, const char *key, int64_t value)
{
    for (uint64_t end = vgpu_now_ms() + WAIT_MS; vgpu_now_ms() < end; poll(NULL, 0, 5)) {
        if (vm_number(request, key) == value)
            return true;
    }
    return false;
}

/* Does the other end close, without saying anything? */
static bool is_closed(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char c;

    return poll(&pfd, 1, WAIT_MS) == 1 && recv(fd, &c, 1, 0) <= 0;
}

/* ---- Command line ---- */

static const struct {
    const char *words;
    int status;
    const char *says;
} lines[] = {
    {"--help", 0, "Usage: vgpud"},
    {"--version", 0, "vgpud "},
    {"", 2, "no VM given"},
    {"--nonsense", 2, "--help"},
    {"stray", 2, "unexpected argument 'stray'"},
    {"--vm name=a,socket=/x,executor=gpu", 2, "executor=gpu: allowed is cpu, null or cuda"},
    {"--log-level loud --vm name=a,socket=/x,executor=cpu", 2, "log-level=loud"},
    {"--config /nonexistent", 2, "/nonexistent"},
    {"--vm name=a,socket=/nonexistent/x,executor=null --runtime-dir /nonexistent/y", 1,
     "runtime directory /nonexistent/y"},
    {"--vm name=a,socket=/nonexistent/x,executor=null --runtime-dir /tmp", 1,
     "runtime directory /tmp must be"},
};

START_TEST(the_command_line_is_judged)
{
    start(lines[_i].words);
    ck_assert_msg(ended() == lines[_i].status, "%s: %s", lines[_i].words, log_text);
    ck_assert_msg(strstr(log_text, lines[_i].says), "'%s' does not say '%s'", log_text,
                  lines[_i].says);
}
END_TEST

/* Guests' processes are of another user than root's vgpud. */
START_TEST(a_binary_that_only_root_may_execute_is_refused)
{
    char command[PATH_MAX + 256];

    snprintf(command, sizeof(command), "install -m 700 %s %s", vgpud(), in_dir("vgpud"));
    ck_assert_int_eq(system(command), 0);
    snprintf(command, sizeof(command), "--vm name=a,socket=%s,executor=null --runtime-dir %s",
             in_dir("a.sock"), dir);
    start_exe(in_dir("vgpud"), command);
    if (geteuid()) { /* a vgpud of another user than root keeps it */
        await_listening();
        return;
    }
    ck_assert_msg(ended() == 1, "%s", log_text);
    ck_assert_msg(strstr(log_text, in_dir("vgpud: chmod a+rx it")) &&
                      strstr(log_text, "may not execute"),
                  "%s", log_text);
}
END_TEST

/* ---- Sockets ---- */

START_TEST(a_stale_socket_is_replaced_and_removed_at_the_end)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct stat st;

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir("a.sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    start_one();
    ck_assert_int_eq(stat(in_dir("a.sock"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(stat(in_dir("control.sock"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    kill(daemon_pid, SIGTERM);
    ck_assert_int_eq(ended(), 0);
    ck_assert_int_ne(stat(in_dir("a.sock"), &st), 0);
    ck_assert_int_ne(stat(in_dir("control.sock"), &st), 0);
}
END_TEST

START_TEST(a_socket_in_use_and_a_file_are_left_alone)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char words[512];
    struct stat st;

    snprintf(words, sizeof(words), "--vm name=a,socket=%s/a.sock,executor=null --runtime-dir %s",
             dir, dir);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", in_dir("a.sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    start(words);
    ck_assert_int_eq(ended(), 1);
    ck_assert_ptr_nonnull(strstr(log_text, "another process listens there"));
    close(daemon_log);
    close(fd);
    ck_assert_int_eq(unlink(sa.sun_path), 0);
    close(open(sa.sun_path, O_CREAT | O_WRONLY, 0600));
    start(words);
    ck_assert_int_eq(ended(), 1);
    ck_assert_ptr_nonnull(strstr(log_text, "something is there that is no socket"));
    ck_assert_int_eq(stat(sa.sun_path, &st), 0);
}
END_TEST

/* ---- Attaching ---- */

START_TEST(one_client_at_a_time)
{
    int first, second, third;

    start_one();
    first = connect_to("a.sock");
    ck_assert(vm_becomes("list\n", "generation", 1));
    second = connect_to("a.sock");
    ck_assert(is_closed(second));
    ck_assert(logged("second client refused"));
    ck_assert_int_eq(vm_number("list\n", "clients_refused"), 1);
    ck_assert_int_eq(vm_number("list\n", "attached"), 1);
    close(first);
    third = connect_to("a.sock"); /* at once: the news of the first one's end may be on its way */
    ck_assert(vm_becomes("list\n", "generation", 2));
    ck_assert_int_eq(vm_number("list\n", "attaches"), 2);
    close(third);
    ck_assert(vm_becomes("stats\n", "vm_processes", 0));
    close(second);
}
END_TEST

START_TEST(a_killed_vm_process_ends_its_connection_and_nothing_else)
{
    int fd;

    start_one();
    fd = connect_to("a.sock");
    ck_assert(vm_becomes("list\n", "generation", 1));
    ck_assert_int_eq(kill((pid_t)vm_number("list\n", "pid"), SIGKILL), 0);
    ck_assert(is_closed(fd));
    close(fd);
    ck_assert(logged("died of signal 9"));
    ck_assert_int_eq(vm_number("list\n", "crashes"), 1);
    fd = connect_to("a.sock");
    ck_assert(vm_becomes("list\n", "generation", 2));
    close(fd);
}
END_TEST

START_TEST(nonsense_from_a_client_costs_its_connection)
{
    int fd;

    start_one();
    fd = connect_to("a.sock");
    ck_assert_int_eq(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    ck_assert(is_closed(fd));
    close(fd);
    ck_assert(vm_becomes("stats\n", "vm_processes", 0));
    ck_assert_int_eq(vm_number("list\n", "crashes"), 0);
}
END_TEST

/* ---- Control ---- */

static const char *const bad_requests[] = {
    "\n",
    "dance\n",
    "stats nobody\n",
    "version now\n",
};

START_TEST(a_wrong_request_gets_an_error)
{
    struct json_object *root, *error;

    start_one();
    for (size_t i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++) {
        root = ask(bad_requests[i]);
        ck_assert_msg(json_object_object_get_ex(root, "error", &error), "request %zu", i);
        json_object_put(root);
    }
    ck_assert_int_eq(vm_number("stats a\n", "contexts"), 0);
}
END_TEST

START_TEST(a_request_without_an_end_gets_an_error)
{
    struct json_object *root, *error;
    char request[600];

    memset(request, 'a', sizeof(request) - 1);
    request[sizeof(request) - 1] = '\0';
    start_one();
    root = ask(request);
    ck_assert(json_object_object_get_ex(root, "error", &error));
    ck_assert_str_eq(json_object_get_string(error), "request is too long");
    json_object_put(root);
}
END_TEST

START_TEST(a_silent_client_does_not_keep_the_others)
{
    int silent;

    start_one();
    silent = connect_to("control.sock");
    ck_assert_int_ge(silent, 0);
    ck_assert_int_eq(vm_number("list\n", "attached"), 0);
    ck_assert(is_closed(silent));
    close(silent);
}
END_TEST

START_TEST(a_stopped_vm_process_is_shown_and_does_not_hold_up_the_end)
{
    pid_t pid;
    int fd;

    start_one();
    fd = connect_to("a.sock");
    ck_assert(vm_becomes("list\n", "generation", 1));
    ck_assert_int_eq(vm_number("stats\n", "responding"), 1);
    ck_assert_int_eq(vm_number("stats\n", "generation"), 1);
    pid = (pid_t)vm_number("list\n", "pid");
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    ck_assert_int_eq(vm_number("stats\n", "responding"), 0);
    kill(daemon_pid, SIGTERM);
    ck_assert_int_eq(ended(), 0);
    ck_assert_ptr_nonnull(strstr(log_text, "does not end: killed"));
    ck_assert(kill(pid, 0) && errno == ESRCH);
    close(fd);
}
END_TEST

/* ---- Domains that come and go (here no Xen is, so none can be served) ---- */

/* The answer's "error" contains this text. */
static void check_error(const char *request, const char *says)
{
    struct json_object *root = ask(request), *error;

    ck_assert_msg(json_object_object_get_ex(root, "error", &error), "%s is taken", request);
    ck_assert_msg(strstr(json_object_get_string(error), says) != NULL, "'%s' does not say '%s'",
                  json_object_get_string(error), says);
    json_object_put(root);
}

/* A member of the VM called `name`, as text; NULL if either is not there. */
static const char *vm_text(const char *name, const char *key)
{
    static char text[512];
    struct json_object *root = ask("list\n"), *vms, *value;
    bool found = false;

    ck_assert(json_object_object_get_ex(root, "vms", &vms));
    for (size_t i = 0; !found && i < json_object_array_length(vms); i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);

        if (json_object_object_get_ex(vm, "name", &value) &&
            !strcmp(json_object_get_string(value), name) &&
            json_object_object_get_ex(vm, key, &value)) {
            snprintf(text, sizeof(text), "%s", json_object_get_string(value));
            found = true;
        }
    }
    json_object_put(root);
    return found ? text : NULL;
}

static bool vm_fails(const char *name, const char *says)
{
    for (uint64_t end = vgpu_now_ms() + WAIT_MS; vgpu_now_ms() < end; poll(NULL, 0, 5)) {
        const char *text = vm_text(name, "failed");

        if (text)
            return strstr(text, says) != NULL;
    }
    return false;
}

static const struct {
    const char *request;
    const char *says;
} bad_attaches[] = {
    {"attach\n", "attach wants a VM"},
    {"attach nonsense\n", "expected key=value"},
    {"attach name=d,executor=null\n", "no socket given"},
    {"attach name=d,executor=null,socket=/d\n", "attach is for Xen domains"},
    {"attach name=d,xen=7\n", "no executor given"},
    {"attach name=d,xen=0,executor=null\n", "xen=0: allowed is"},
    {"attach name=d,xen=7,slot=99,executor=null\n", "slot=99: allowed is"},
    {"attach name=a,xen=7,executor=null\n", "name=a: a VM of that name is served already"},
    {"attach name=d,xen=7,executor=null,memory=1000T\n", "is more than this host has"},
    {"attach name=d,xen=7,executor=cuda,device=none\n", "executor=cuda can't be used: "},
    {"detach\n", "detach wants a domain's id"},
    {"detach seven\n", "detach wants a domain's id"},
    {"detach 7x\n", "detach wants a domain's id"},
    {"detach 7\n", "domain 7 has no vGPU here"},
};

START_TEST(an_attach_that_can_not_be_is_refused_and_leaves_nothing)
{
    start_one();
    for (size_t i = 0; i < sizeof(bad_attaches) / sizeof(bad_attaches[0]); i++)
        check_error(bad_attaches[i].request, bad_attaches[i].says);
    ck_assert_ptr_null(vm_text("d", "name"));
    ck_assert_int_eq(vm_number("list\n", "attached"), 0); /* and `a` is still the only one */
}
END_TEST

START_TEST(a_domain_that_can_not_be_served_says_why_until_it_is_detached)
{
    start_one();
    for (int i = 0; i < 3; i++) {
        json_object_put(ask("attach name=d,xen=7,slot=0x11,executor=null\n"));
        ck_assert(vm_fails("d", "domain 7: "));
        ck_assert_str_eq(vm_text("d", "attached"), "false");
        ck_assert_str_eq(vm_text("d", "domid"), "7");
        ck_assert_str_eq(vm_text("d", "slot"), "17");
    }
    json_object_put(ask("detach 7\n"));
    for (uint64_t end = vgpu_now_ms() + WAIT_MS; vm_text("d", "name"); poll(NULL, 0, 5))
        ck_assert(vgpu_now_ms() < end);
    check_error("detach 7\n", "domain 7 has no vGPU here");
}
END_TEST

START_TEST(a_daemon_without_a_vm_serves_its_socket)
{
    char words[256];
    int fd = -1;

    snprintf(words, sizeof(words), "--no-vm --runtime-dir %s", dir);
    start(words);
    for (uint64_t end = vgpu_now_ms() + WAIT_MS; fd < 0 && vgpu_now_ms() < end; poll(NULL, 0, 5))
        fd = connect_to("control.sock");
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_ptr_null(vm_text("d", "name"));
    json_object_put(ask("attach name=d,xen=7,executor=null\n"));
    ck_assert(vm_fails("d", "domain 7: "));
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vgpud_suite(void)
{
    Suite *s = suite_create("daemon/vgpud");
    TCase *tc = tcase_create("vgpud");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 90);
    tcase_add_loop_test(tc, the_command_line_is_judged, 0, ROWS(lines));
    tcase_add_test(tc, a_binary_that_only_root_may_execute_is_refused);
    tcase_add_test(tc, a_stale_socket_is_replaced_and_removed_at_the_end);
    tcase_add_test(tc, a_socket_in_use_and_a_file_are_left_alone);
    tcase_add_test(tc, one_client_at_a_time);
    tcase_add_test(tc, a_killed_vm_process_ends_its_connection_and_nothing_else);
    tcase_add_test(tc, nonsense_from_a_client_costs_its_connection);
    tcase_add_test(tc, a_wrong_request_gets_an_error);
    tcase_add_test(tc, a_request_without_an_end_gets_an_error);
    tcase_add_test(tc, a_silent_client_does_not_keep_the_others);
    tcase_add_test(tc, a_stopped_vm_process_is_shown_and_does_not_hold_up_the_end);
    tcase_add_test(tc, an_attach_that_can_not_be_is_refused_and_leaves_nothing);
    tcase_add_test(tc, a_domain_that_can_not_be_served_says_why_until_it_is_detached);
    tcase_add_test(tc, a_daemon_without_a_vm_serves_its_socket);
    suite_add_tcase(s, tc);
    return s;
}
