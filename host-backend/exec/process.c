// SPDX-License-Identifier: MIT
/*
 * The exec process: one guest context, one thread that drains its ring, one executor.
 *
 * Life.  START tells everything: the queue block and the argument arena are mapped, the executor is
 * opened, the process locks itself in (the hook of process.h), and only then is guest memory
 * read for the first time.  From the reply on it serves until STOP, until the socket
 * closes, or until the context is lost; then it says so (LOST) and ends.  It never tidies up
 * before it ends: the kernel takes back mappings faster than we can, and the vm process
 * waits to see the process reaped, not for any promise of ours.
 *
 * The loop does bounded work (vgpu_dispatch_run()), and looks at its socket and the clock every
 * so often.  With nothing to do it spins for poll_us on the ring's index and the executor, yielding
 * to whoever wants the processor, then arms the doorbell and the executor (each: ask to be told,
 * full fence, look again) and sleeps in epoll.  The doorbell and the executor's descriptor are edge-triggered, so waking costs one
 * system call; an edge that came while awake costs one empty round later.
 *
 * A guest whose completion queue is full and whose submissions wait has nothing to ring a doorbell
 * for when it makes room; then the sleep has a time limit that doubles from 1 to 64 ms.
 *
 * SIGBUS means that memory the guest shared was taken away under a mapping: the handler reports the
 * context lost and ends the process.
 */
#include <exec/control.h>
#include <exec/dispatch.h>
#include <exec/find.h>
#include <exec/foreign.h>
#include <exec/process.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SPINS_PER_CLOCK  64    /* looks at the ring between two looks at the clock */
#define ROUNDS_PER_CLOCK 16    /* busy rounds between two looks at the clock */
#define CHORES_NS        50000 /* how long the socket and the statistics may wait while busy */
#define STALL_MAX_MS     64

enum { START_FD_DOORBELL, START_FD_IRQ, START_FD_STATS, START_FDS };
enum { EVENT_SOCKET, EVENT_DOORBELL, EVENT_EXECUTOR };

struct exec_process {
    struct vgpu_xsock sock;
    struct vgpu_x_start start;
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    struct vgpu_ring ring;
    struct vgpu_gbufs bufs;
    struct vgpu_dispatch dispatch;
    struct vgpu_control control;
    struct vgpu_xstats *stats; /* shared with the vm process */
    struct vgpu_xin in;
    int epoll_fd;
    int doorbell_fd;
    void *queue;
    size_t queue_bytes;
    uint64_t doorbells;
    uint64_t sleeps;
    uint64_t chores_ns; /* when chores were last done */
    bool stopping;      /* told so while waiting for a quota answer */
};

static int (*process_lockdown)(uint32_t exec_kind, uint64_t memory_limit);

/* For the signal handler. */
static int sigbus_fd = -1;
static struct vgpu_xmsg sigbus_msg;

void vgpu_exec_set_lockdown(int (*lockdown)(uint32_t exec_kind, uint64_t memory_limit))
{
    process_lockdown = lockdown;
}

static __attribute__((format(printf, 2, 3))) void process_log(const struct exec_process *p,
                                                              const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "vm%u(%s) ctx%u: %s\n", p->start.vm_id, p->start.vm_name, p->start.ctx, text);
}

static uint64_t process_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ---- Quota, for the executor ---- */

/* The other side is gone or wants us gone: the loop ends at its next look. */
static int process_quota_result(struct exec_process *p, int rc)
{
    if (rc < 0 && rc != -ENOMEM)
        p->stopping = true;
    return rc < 0 ? -ENOMEM : 0;
}

static int process_quota_take(void *opaque, uint64_t bytes)
{
    struct exec_process *p = opaque;

    if (bytes == 0)
        return 0;
    return process_quota_result(p, vgpu_xsock_quota_take(&p->sock, bytes, NULL));
}

static void process_quota_give(void *opaque, uint64_t bytes)
{
    struct exec_process *p = opaque;

    if (bytes)
        (void)process_quota_result(p, vgpu_xsock_quota_give(&p->sock, bytes));
}

static uint64_t process_vm_held(void *opaque)
{
    struct exec_process *p = opaque;
    uint64_t held = 0;

    (void)process_quota_result(p, vgpu_xsock_quota_take(&p->sock, 0, &held));
    return held;
}

/* ---- The end ---- */

static void process_sigbus(int signal_number, siginfo_t *info, void *context)
{
    (void)send(sigbus_fd, &sigbus_msg, sizeof(sigbus_msg), MSG_NOSIGNAL | MSG_DONTWAIT);
    _exit(1);
}

static int process_catch_sigbus(int sock_fd)
{
    struct sigaction sa = {.sa_sigaction = process_sigbus, .sa_flags = SA_SIGINFO};

    sigbus_fd = sock_fd;
    sigbus_msg.type = VGPU_X_LOST;
    sigbus_msg.u.lost.status = VGPU_ST_UNMAPPED;
    snprintf(sigbus_msg.u.lost.message, sizeof(sigbus_msg.u.lost.message),
             "memory shared by the guest is gone (its file was truncated)");
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

static void process_describe_loss(struct exec_process *p, struct vgpu_x_lost *lost)
{
    struct vgpu_exec_fault fault = {0};

    lost->status = p->dispatch.lost;
    if (lost->status == VGPU_ST_BAD_RING) {
        uint32_t prod = vgpu_load_relaxed(&p->ring.rw->sq_prod);
        uint32_t cons = vgpu_load_relaxed(&p->ring.rw->cq_cons);

        snprintf(lost->message, sizeof(lost->message),
                 "queue index outside the ring: sq_prod %u with sq_cons %u of %u entries, "
                 "cq_cons %u with cq_prod %u of %u",
                 prod, p->ring.sq_cons, p->ring.sq_mask + 1, cons, p->ring.cq_prod_pub,
                 p->ring.cq_mask + 1);
    } else if (p->ops->fault(p->exec, &fault)) {
        lost->status = fault.status;
        lost->addr = fault.addr;
        memcpy(lost->message, fault.message, sizeof(lost->message));
        lost->message[sizeof(lost->message) - 1] = '\0';
    }
}

static int process_lost(struct exec_process *p)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_LOST};

    process_describe_loss(p, &msg.u.lost);
    process_log(p, "lost, status 0x%03x: %s", msg.u.lost.status, msg.u.lost.message);
    if (vgpu_xsock_send(&p->sock, &msg) < 0)
        process_log(p, "nobody there to be told");
    return 0;
}

/* Called by a thread of the executor while the drain is blocked: see exec.h. */
static void process_lost_elsewhere(void *opaque, const struct vgpu_exec_fault *fault)
{
    const struct exec_process *p = opaque;
    struct vgpu_xmsg msg = {.type = VGPU_X_LOST};

    msg.u.lost.status = fault->status;
    msg.u.lost.addr = fault->addr;
    memcpy(msg.u.lost.message, fault->message, sizeof(msg.u.lost.message));
    msg.u.lost.message[sizeof(msg.u.lost.message) - 1] = '\0';
    process_log(p, "lost while the drain is blocked, status 0x%03x: %s", msg.u.lost.status,
                msg.u.lost.message);
    (void)send(p->sock.fd, &msg, sizeof(msg), MSG_NOSIGNAL | MSG_DONTWAIT);
    _exit(1);
}

/* ---- Statistics ---- */

static void stat_store(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static void process_publish_stats(struct exec_process *p)
{
    struct vgpu_exec_usage usage;

    p->ops->usage(p->exec, &usage);
    stat_store(&p->stats->commands, p->ring.completions);
    stat_store(&p->stats->errors, p->dispatch.errors);
    stat_store(&p->stats->doorbells, p->doorbells);
    stat_store(&p->stats->interrupts, p->ring.interrupts);
    stat_store(&p->stats->kernels, usage.kernels);
    stat_store(&p->stats->kernel_ns, usage.kernel_ns);
    stat_store(&p->stats->bytes_staged, usage.bytes_staged);
    stat_store(&p->stats->bytes_h2d, p->dispatch.bytes_h2d);
    stat_store(&p->stats->bytes_d2h, p->dispatch.bytes_d2h);
    stat_store(&p->stats->sleeps, p->sleeps);
    stat_store(&p->stats->mem_held, p->ops->mem_held(p->exec));
    stat_store(&p->stats->modules, p->dispatch.calls.modules);
}

/* ---- The loop ---- */

/* A fault that no job is there to tell: it may have come up when a buffer was to be given back. */
static void process_find_fault(struct exec_process *p)
{
    struct vgpu_exec_fault fault;

    if (!p->dispatch.lost && !vgpu_dispatch_wants_executor(&p->dispatch) &&
        p->ops->fault(p->exec, &fault))
        p->dispatch.lost = fault.status;
}

/* Things that may wait a little: socket, dropped buffers, statistics.  False: it's over. */
static bool process_chores(struct exec_process *p, uint64_t now_ns, int *exit_status)
{
    enum vgpu_control_result result = vgpu_control_run(&p->control);

    p->chores_ns = now_ns;
    if (result == VGPU_CONTROL_OK && vgpu_gbufs_collect(&p->bufs))
        result = vgpu_control_flush(&p->control);
    process_find_fault(p);
    process_publish_stats(p);
    if (result == VGPU_CONTROL_BAD) {
        process_log(p, "message of type %u makes no sense", p->control.in.msg.type);
        *exit_status = 1;
        return false;
    }
    *exit_status = 0;
    return result == VGPU_CONTROL_OK && !p->stopping;
}

/* Look for work for a moment. */
static void process_spin(struct exec_process *p)
{
    bool ring = vgpu_dispatch_wants_ring(&p->dispatch);
    int spins = vgpu_dispatch_wants_executor(&p->dispatch) ? SPINS_PER_CLOCK / 8 : SPINS_PER_CLOCK;

    for (int i = 0; i < spins; i++) {
        if (ring && vgpu_ring_has_news(&p->ring))
            return;
        vgpu_cpu_relax();
    }
}

/* Ask both sides to wake us.  False if there is something to do already. */
static bool process_arm(struct exec_process *p, int *timeout_ms, unsigned int stalls)
{
    *timeout_ms = -1;
    if (vgpu_dispatch_wants_ring(&p->dispatch)) {
        switch (vgpu_ring_arm(&p->ring)) {
        case VGPU_RING_EMPTY: break;
        case VGPU_RING_STALLED: *timeout_ms = stalls < 6 ? 1 << stalls : STALL_MAX_MS; break;
        case VGPU_RING_WORK:
        case VGPU_RING_BROKEN: return false;
        }
    }
    if (vgpu_dispatch_wants_executor(&p->dispatch) && !p->ops->arm(p->exec))
        return false;
    return !vgpu_xsock_has_deferred(&p->sock);
}

static void process_sleep(struct exec_process *p, unsigned int *stalls)
{
    struct epoll_event events[3];
    int n, timeout_ms;

    if (process_arm(p, &timeout_ms, *stalls)) {
        p->sleeps++;
        process_publish_stats(p);
        n = epoll_wait(p->epoll_fd, events, 3, timeout_ms);
        for (int i = 0; i < n; i++)
            if (events[i].data.u32 == EVENT_DOORBELL)
                p->doorbells++;
        *stalls = timeout_ms > 0 && n == 0 ? *stalls + 1 : 0;
    }
    vgpu_ring_disarm(&p->ring);
}

static int process_loop(struct exec_process *p)
{
    uint64_t idle_since_ns = 0, poll_ns = (uint64_t)p->start.poll_us * 1000;
    unsigned int busy_rounds = 0, stalls = 0;
    int exit_status = 0;

    for (;;) {
        uint64_t now_ns;

        if (vgpu_dispatch_run(&p->dispatch)) {
            idle_since_ns = 0;
            stalls = 0;
            if (++busy_rounds % ROUNDS_PER_CLOCK)
                continue;
        } else if (!p->dispatch.lost && poll_ns) {
            process_spin(p);
        }
        if (p->dispatch.lost) {
            process_publish_stats(p);
            return process_lost(p);
        }
        now_ns = process_now_ns();
        if (now_ns - p->chores_ns >= CHORES_NS && !process_chores(p, now_ns, &exit_status))
            return exit_status;
        if (busy_rounds) {
            busy_rounds = 0;
            continue;
        }
        vgpu_ring_publish_cons(&p->ring);
        if (idle_since_ns == 0)
            idle_since_ns = now_ns;
        if (now_ns - idle_since_ns < poll_ns) {
            /* On a full machine it may be the guest itself that waits for this processor. */
            sched_yield();
            continue;
        }
        if (!process_chores(p, now_ns, &exit_status))
            return exit_status;
        if (p->dispatch.lost)
            continue;
        process_sleep(p, &stalls);
        idle_since_ns = 0;
        p->chores_ns = 0;
    }
}

/* ---- START ---- */

static uint16_t start_status(int error)
{
    switch (error) {
    case 0: return VGPU_ST_OK;
    case -ENOMEM: return VGPU_ST_HOST_MEMORY;
    case -EMFILE:
    case -ENFILE:
    case -EAGAIN: return VGPU_ST_HOST_RESOURCES;
    case -ENODEV: return VGPU_ST_HOST_NO_DEVICE;
    case -EDQUOT: return VGPU_ST_OUT_OF_MEMORY;
    case -EPROTO: return VGPU_ST_BAD_RING;
    default: return VGPU_ST_HOST_ERROR;
    }
}

static bool start_is_sane(const struct vgpu_xin *in)
{
    const struct vgpu_x_start *s = &in->msg.u.start;

    return in->msg.type == VGPU_X_START && in->fd_count > START_FDS &&
           s->queue_runs <= in->msg.run_count && s->queue_runs > 0 &&
           s->arena_runs == in->msg.run_count - s->queue_runs && s->arena_runs > 0 &&
           s->max_buffers >= 1 && s->max_buffers <= VGPU_MAX_BUFFERS &&
           s->sq_log2 <= VGPU_MAX_RING_LOG2 && s->cq_log2 <= VGPU_MAX_RING_LOG2 &&
           s->queue_bytes == vgpu_queue_bytes(s->cq_log2, s->sq_log2) &&
           s->arena_bytes >= VGPU_MIN_ARENA_BYTES && s->arena_bytes <= VGPU_MAX_ARENA_BYTES &&
           s->max_image_bytes <= VGPU_MAX_IMAGE_BYTES;
}

static int start_map_stats(struct exec_process *p, int fd)
{
    void *map = mmap(NULL, VGPU_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    p->stats = map;
    close(fd);
    return 0;
}

/* Queue block and arena.  Takes over the run descriptors. */
static int start_map_memory(struct exec_process *p)
{
    const struct vgpu_x_start *s = &p->start;
    const int *fds = p->in.fds + START_FDS;
    uint32_t fd_count = p->in.fd_count - START_FDS;
    const struct vgpu_x_buf arena = {
        .id = VGPU_BUF_ARENA,
        .flags = VGPU_BUF_FLAGS,
        .bytes = s->arena_bytes,
        .run_count = s->arena_runs,
    };
    int rc = vgpu_runs_map(p->in.runs, s->queue_runs, fds, fd_count, PROT_READ | PROT_WRITE,
                           &p->queue, &p->queue_bytes);

    if (rc < 0)
        return rc;
    if (p->queue_bytes < s->queue_bytes)
        return -ERANGE;
    rc = vgpu_gbufs_init(&p->bufs, s->max_buffers);
    if (rc < 0)
        return rc;
    if (vgpu_gbufs_begin(&p->bufs, &arena, fds, fd_count) != VGPU_ST_OK ||
        vgpu_gbufs_add(&p->bufs, VGPU_BUF_ARENA, p->in.runs + s->queue_runs, s->arena_runs) !=
            VGPU_ST_OK ||
        vgpu_gbufs_commit(&p->bufs, VGPU_BUF_ARENA) != VGPU_ST_OK)
        return -ERANGE;
    return 0;
}

static int start_watch(struct exec_process *p, int fd, uint32_t what, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u32 = what};

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static bool process_detach(void *opaque, struct vgpu_gbuf *buf)
{
    struct exec_process *p = opaque;

    return !p->ops->buf_detach || p->ops->buf_detach(p->exec, buf);
}

static int start_open(struct exec_process *p)
{
    const struct vgpu_exec_config cfg = {
        .device = p->start.device[0] ? p->start.device : NULL,
        .threads = p->start.threads,
        .deadline_ms = p->start.deadline_ms,
        .own_stdout = true,
        .max_inflight = p->start.max_inflight ? p->start.max_inflight : 1,
        .memory_limit = p->start.memory_limit,
        .context_bytes = p->start.context_bytes,
        .quota_take = process_quota_take,
        .quota_give = process_quota_give,
        .lost = process_lost_elsewhere,
        .opaque = p,
    };
    char why[256] = "";
    int rc, fd;

    p->ops = vgpu_exec_find_kind(p->start.exec_kind);
    if (!p->ops) {
        process_log(p, "no executor of kind %u in this build", p->start.exec_kind);
        return -ENODEV;
    }
    rc = p->ops->open(&cfg, &p->exec, why, sizeof(why));
    if (rc < 0) {
        process_log(p, "%s executor: %s", p->ops->name, why[0] ? why : strerror(-rc));
        return rc;
    }
    p->bufs.detach = process_detach;
    p->bufs.opaque = p;
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll_fd < 0)
        return -errno;
    rc = start_watch(p, p->sock.fd, EVENT_SOCKET, EPOLLIN);
    if (rc == 0)
        rc = start_watch(p, p->doorbell_fd, EVENT_DOORBELL, EPOLLIN | EPOLLET);
    fd = p->ops->wait_fd(p->exec);
    if (rc == 0 && fd >= 0)
        rc = start_watch(p, fd, EVENT_EXECUTOR, EPOLLIN | EPOLLET);
    return rc;
}

/* The first look at what the guest wrote comes last. */
static int start_attach(struct exec_process *p)
{
    struct vgpu_dispatch_config cfg = {
        .ops = p->ops,
        .exec = p->exec,
        .ring = &p->ring,
        .bufs = &p->bufs,
        .budget = p->start.budget,
        .max_image_bytes = p->start.max_image_bytes,
        .memory_limit = p->start.memory_limit,
        .vm_held = process_vm_held,
        .opaque = p,
    };
    int rc = process_lockdown ? process_lockdown(p->start.exec_kind, p->start.memory_limit) : 0;

    if (rc < 0) {
        process_log(p, "cannot lock the process in: %s", strerror(-rc));
        return rc;
    }
    rc = vgpu_ring_attach(&p->ring, p->queue, p->queue_bytes, p->start.sq_log2, p->start.cq_log2);
    if (rc < 0)
        return rc;
    p->ring.irq_fd = p->in.fds[START_FD_IRQ];
    return vgpu_dispatch_init(&p->dispatch, &cfg);
}

static int process_start(struct exec_process *p)
{
    int rc = vgpu_xsock_receive(&p->sock, &p->in, true);

    if (rc < 0)
        return rc;
    p->start = p->in.msg.u.start;
    p->start.vm_name[sizeof(p->start.vm_name) - 1] = '\0';
    p->start.device[sizeof(p->start.device) - 1] = '\0';
    p->doorbell_fd = p->in.fds[START_FD_DOORBELL];
    vgpu_foreign_set(p->start.foreign_domid);
    rc = start_is_sane(&p->in) ? process_catch_sigbus(p->sock.fd) : -EINVAL;
    if (rc == 0)
        rc = start_map_stats(p, p->in.fds[START_FD_STATS]);
    if (rc == 0)
        rc = start_map_memory(p);
    if (rc == 0)
        rc = start_open(p);
    if (rc == 0)
        rc = start_attach(p);
    if (rc < 0)
        process_log(p, "cannot start: %s", strerror(-rc));
    if (vgpu_xsock_reply(&p->sock, p->in.msg.seq, start_status(rc)) < 0)
        return -ECONNRESET;
    return rc;
}

int vgpu_exec_main(void)
{
    struct exec_process *p = calloc(1, sizeof(*p));
    int rc;

    if (!p)
        return 1;
    vgpu_xsock_init(&p->sock, VGPU_XFD_SOCKET);
    rc = process_start(p);
    if (rc == -ECONNRESET)
        return 0;
    if (rc < 0)
        return 1;
    vgpu_control_init(&p->control, &p->sock, &p->bufs, &p->ring);
    rc = process_loop(p);
    /* Not exit(): handlers would run beside the executor's threads. */
    fflush(stderr);
    _exit(rc);
}
