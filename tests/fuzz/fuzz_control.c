/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whoever talks to vgpud: control clients (vgpuctl's socket), clients of the VMs' sockets
 * that come and go, and vm processes, which guests control and whose reports vgpud shows.
 *
 * The real listener, supervisor and control socket, in one process: a vm process is this program's end of
 * a socket, its pidfd an eventfd; starting, waiting and killing are wrapped by the linker.  The input
 * is a program of one-byte steps (enum step).
 *
 * Beside what sanitizers see, this must hold:
 *   what a control client reads to its end is one line of JSON, or nothing if it asked nothing (it may
 *   be cut off when the client takes longer than vgpud waits);
 *   a VM has at most one vm process that is not detached;
 *   vgpud's end comes when its vm processes have died, and no descriptor is kept.
 *
 * Also linked into a unit test, which replays the corpus.
 */
#include <daemon/server.h>
#include <daemon/spawn.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define VMS        2u
#define CLIENTS    4u /* of the VMs' sockets */
#define MAX_PROCS  32u
#define MAX_STEPS  512u
#define MAX_ROUNDS 64u
#define CLIENT_MS  5000u      /* as control.c */
#define FIRST_PID  0x70000000 /* no process has it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
pid_t __wrap_vgpu_spawn(int exe_fd, char *const argv[], const int *fds, size_t count, int sibling,
                        int *pidfd);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *si, int options);
int __wrap_kill(pid_t pid, int sig);

enum step {
    STEP_ATTACH, /* [client 1] */
    STEP_LEAVE,  /* [client 1] */
    STEP_ASK,    /* [which 1]: a request that makes sense */
    STEP_SEND,   /* [count 1] [bytes] */
    STEP_READ,
    STEP_CLOSE,
    STEP_REPORT, /* [process 1] [contexts 1] [lie 1] [seed 1] */
    STEP_CTL,    /* [process 1] [what 1] [value 1] */
    STEP_RAW,    /* [process 1] [length 2] [byte 1] */
    STEP_DIE,    /* [process 1] [status 1] */
    STEP_HANGUP, /* [process 1] */
    STEP_TIME,   /* [x 64 ms 1] */
    STEP_END
};

struct proc {
    int control; /* -1: hung up */
    int pidfd;
    bool dead, reaped;
    uint8_t status;
};

static struct world {
    struct vgpu_server server;
    struct vgpu_config config;
    struct proc procs[MAX_PROCS];
    uint32_t proc_count;
    int client[CLIENTS]; /* -1: none */
    int asker;           /* the control client; -1: none */
    bool asked;          /* it has sent a whole line */
    uint64_t asker_ms;   /* since it connected */
    size_t answer_bytes;
} w;

static char answer[1 << 20];

static char dir[] = "/tmp/vgpu-fuzz-control-XXXXXX";

struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t take(struct input *in, size_t n)
{
    uint32_t value = 0;

    n = n < in->left ? n : in->left;
    memcpy(&value, in->at, n);
    in->at += n;
    in->left -= n;
    return value;
}

#define must(holds) must_at(holds, __LINE__)

static void must_at(bool holds, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d does not hold\n", __FILE__, line);
    abort();
}

/* ---- Processes that are none ---- */

pid_t __wrap_vgpu_spawn(int exe_fd, char *const argv[], const int *fds, size_t count, int sibling,
                        int *pidfd)
{
    struct proc *p = &w.procs[w.proc_count];

    /* a probe, as attach starts one: let it fail */
    if (count == 1)
        return -EAGAIN;
    must(count == 5 && !sibling && !strcmp(argv[1], "--role=vm"));
    if (w.proc_count == MAX_PROCS)
        return -EAGAIN;
    *p = (struct proc){.control = fcntl(fds[1], F_DUPFD_CLOEXEC, 0),
                       .pidfd = eventfd(0, EFD_CLOEXEC)};
    *pidfd = fcntl(p->pidfd, F_DUPFD_CLOEXEC, 0);
    must(p->control >= 0 && p->pidfd >= 0 && *pidfd >= 0);
    return FIRST_PID + (pid_t)w.proc_count++;
}

static void proc_die(struct proc *p, uint8_t status)
{
    const uint64_t one = 1;

    if (p->dead)
        return;
    p->dead = true;
    p->status = status;
    if (p->control >= 0)
        close(p->control);
    p->control = -1;
    must(write(p->pidfd, &one, sizeof(one)) == sizeof(one));
}

int __wrap_kill(pid_t pid, int sig)
{
    must(sig == SIGKILL && pid >= FIRST_PID && pid < FIRST_PID + (pid_t)w.proc_count);
    proc_die(&w.procs[pid - FIRST_PID], 137);
    return 0;
}

static struct proc *proc_by_pidfd(int fd)
{
    for (uint32_t v = 0; v < VMS; v++) {
        for (struct server_proc *p = w.server.vms[v].procs; p; p = p->next) {
            if (p->pidfd == fd)
                return &w.procs[p->pid - FIRST_PID];
        }
    }
    abort();
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *si, int options)
{
    struct proc *p;

    must(type == P_PIDFD && options == (WEXITED | WNOHANG));
    p = proc_by_pidfd((int)id);
    if (!p->dead)
        return 0;
    p->reaped = true;
    close(p->pidfd);
    si->si_pid = FIRST_PID;
    si->si_code = p->status & 128 ? CLD_KILLED : CLD_EXITED;
    si->si_status = p->status & 127;
    return 0;
}

/* ---- vgpud ---- */

static void setup(void)
{
    static struct vgpu_vm_config vms[VGPU_MAX_VMS];
    struct vgpu_server *s = &w.server;

    if (dir[sizeof(dir) - 2] == 'X')
        must(mkdtemp(dir) != NULL);
    memset(&w, 0, sizeof(w));
    w.config.vms = vms;
    w.config.vm_count = VMS;
    snprintf(w.config.control, sizeof(w.config.control), "%s/control", dir);
    snprintf(w.config.runtime_dir, sizeof(w.config.runtime_dir), "%s", dir);
    vgpu_log_setup(VGPU_LOG_ERROR, 0, "fuzz");
    must(!vgpu_loop_init(&s->loop));
    s->config = &w.config;
    s->exe_fd = -1;
    s->vms = calloc(VGPU_MAX_VMS, sizeof(*s->vms));
    must(s->vms != NULL);
    for (uint32_t i = 0; i < VMS; i++) {
        memset(&vms[i], 0, sizeof(vms[i]));
        snprintf(vms[i].name, sizeof(vms[i].name), "vm%u", i);
        snprintf(vms[i].socket, sizeof(vms[i].socket), "%s/vm%u", dir, i);
        snprintf(vms[i].executor, sizeof(vms[i].executor), "null");
        vms[i].socket_mode = 0600;
        vms[i].socket_gid = (gid_t)-1;
        s->vms[i] = (struct server_vm){
            .server = s, .config = &vms[i], .id = i, .listen_fd = -1, .waiting_fd = -1};
    }
    must(!server_listen(s) && !control_start(s));
    for (uint32_t i = 0; i < CLIENTS; i++)
        w.client[i] = -1;
    w.asker = -1;
}

static void stop_loop(void *opaque)
{
    vgpu_loop_stop(opaque);
}

static void pump(void)
{
    struct vgpu_loop *loop = &w.server.loop;

    for (uint32_t i = 0; i < MAX_ROUNDS; i++) {
        struct vgpu_work stop = {0};
        struct epoll_event ev;

        loop->stopped = false;
        vgpu_work_queue(loop, &stop, stop_loop, loop);
        must(!vgpu_loop_run(loop));
        vgpu_work_cancel(loop, &stop);
        if (!loop->work_first && epoll_wait(loop->epoll_fd, &ev, 1, 0) <= 0)
            return;
    }
    abort(); /* it never comes to rest */
}

static void time_passes(uint64_t ms)
{
    struct vgpu_loop *loop = &w.server.loop;

    w.asker_ms += ms;
    for (struct vgpu_timer *t = loop->timers; t; t = t->next)
        t->due_ms -= ms < t->due_ms ? ms : t->due_ms;
    while (loop->timers && loop->timers->due_ms <= vgpu_now_ms()) {
        struct vgpu_timer *t = loop->timers;

        vgpu_timer_cancel(loop, t);
        t->fn(t->opaque);
    }
}

static void check(void)
{
    for (uint32_t v = 0; v < VMS; v++) {
        uint32_t attached = 0;

        for (const struct server_proc *p = w.server.vms[v].procs; p; p = p->next)
            attached += !p->detached;
        must(attached <= 1);
    }
}

/* ---- Those who connect ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
        close(fd);
        return -1;
    }
    return fd;
}

static void client_leave(uint32_t i)
{
    if (w.client[i] >= 0)
        close(w.client[i]);
    w.client[i] = -1;
}

static void asker_send(const void *data, size_t bytes)
{
    if (w.asker < 0) {
        w.asker = connect_to(w.config.control);
        w.asked = false;
        w.answer_bytes = 0;
        w.asker_ms = 0;
    }
    if (w.asker >= 0 && send(w.asker, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        w.asked = true;
}

static void judge_answer(void)
{
    struct json_tokener *tokener;
    struct json_object *obj, *list = NULL;

    if (!w.answer_bytes || w.asker_ms >= CLIENT_MS)
        return;
    must(w.asked && answer[w.answer_bytes - 1] == '\n');
    tokener = json_tokener_new();
    obj = json_tokener_parse_ex(tokener, answer, (int)w.answer_bytes - 1);
    must(obj && json_tokener_get_error(tokener) == json_tokener_success);
    must(json_tokener_get_parse_end(tokener) == w.answer_bytes - 1);
    must(json_object_object_get_ex(obj, "error", NULL) ||
         (json_object_object_get_ex(obj, "vms", &list) && json_object_array_length(list) >= 1 &&
          json_object_array_length(list) <= VMS));
    json_object_put(obj);
    json_tokener_free(tokener);
}

static void asker_close(void)
{
    if (w.asker >= 0)
        close(w.asker);
    w.asker = -1;
}

/* Read what is there; at the end of it, judge. */
static void asker_read(void)
{
    ssize_t n;

    if (w.asker < 0)
        return;
    do {
        pump(); /* it may have had to wait for room */
        n = recv(w.asker, answer + w.answer_bytes, sizeof(answer) - w.answer_bytes, MSG_DONTWAIT);
        w.answer_bytes += n > 0 ? (size_t)n : 0;
        must(w.answer_bytes < sizeof(answer));
    } while (n > 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n == 0)
        judge_answer();
    asker_close();
}

/* ---- Steps ---- */

static void step_ask(uint32_t which)
{
    static const char *const lines[] = {"stats\n", "stats vm0\n", "list\n", "version\n",
                                        "stats vm9\n"};
    const char *line = lines[which % 5];

    asker_send(line, strlen(line));
}

static void step_send(struct input *in)
{
    uint8_t data[255];
    size_t bytes = take(in, 1);

    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)take(in, 1);
    if (bytes)
        asker_send(data, bytes);
}

static void step_report(const struct proc *p, struct input *in)
{
    uint32_t count = take(in, 1), lie = take(in, 1), seed = take(in, 1);
    size_t bytes = sizeof(struct vgpu_report) + count * sizeof(struct vgpu_report_ctx);
    struct vgpu_report *report = malloc(bytes);

    must(report != NULL);
    memset(report, (int)seed, bytes);
    report->magic = VGPU_REPORT_MAGIC;
    report->ctx_count = lie ? lie : count;
    if (p->control >= 0)
        (void)!send(p->control, report, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    free(report);
}

static void step_raw(const struct proc *p, struct input *in)
{
    static uint8_t data[1 << 16];
    size_t bytes = take(in, 2);

    memset(data, (int)take(in, 1), bytes);
    if (p->control >= 0)
        (void)!send(p->control, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void step_ctl(const struct proc *p, struct input *in)
{
    const struct vgpu_ctl ctl = {.what = take(in, 1) % 5, .value = take(in, 1)};

    if (p->control >= 0)
        (void)!send(p->control, &ctl, sizeof(ctl), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void proc_step(enum step step, struct input *in)
{
    struct proc *p = &w.procs[take(in, 1) % (w.proc_count ? w.proc_count : 1)];

    if (!w.proc_count)
        return;
    switch (step) {
    case STEP_REPORT: step_report(p, in); break;
    case STEP_CTL: step_ctl(p, in); break;
    case STEP_RAW: step_raw(p, in); break;
    case STEP_DIE: proc_die(p, (uint8_t)take(in, 1)); break;
    default:
        if (p->control >= 0)
            close(p->control);
        p->control = -1;
    }
}

static void one_step(struct input *in)
{
    enum step step = take(in, 1) % STEP_END;
    uint32_t i;

    switch (step) {
    case STEP_ATTACH:
        i = take(in, 1) % CLIENTS;
        client_leave(i);
        w.client[i] = connect_to(w.config.vms[i % VMS].socket);
        break;
    case STEP_LEAVE: client_leave(take(in, 1) % CLIENTS); break;
    case STEP_ASK: step_ask(take(in, 1)); break;
    case STEP_SEND: step_send(in); break;
    case STEP_READ: asker_read(); break;
    case STEP_CLOSE: asker_close(); break;
    case STEP_TIME: time_passes(take(in, 1) * 64u); break;
    default: proc_step(step, in); break;
    }
    pump();
    check();
}

/* A request gets its answer however silent vm processes are; then vgpud ends. */
static void settle(void)
{
    asker_close();
    pump();
    step_ask(0);
    pump();
    time_passes(3000);
    asker_read();
    must(w.asker < 0 && w.answer_bytes);
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_leave(i);
    server_stop(&w.server);
    pump();
    for (uint32_t i = 0; i < w.proc_count; i++)
        proc_die(&w.procs[i], 0);
    pump();
    for (uint32_t v = 0; v < VMS; v++)
        must(!w.server.vms[v].procs);
    server_fini(&w.server);
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    int before = count_fds();

    setup();
    for (unsigned int i = 0; in.left && i < MAX_STEPS; i++)
        one_step(&in);
    settle();
    must(count_fds() == before);
    return 0;
}
