/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: hostile exec processes against their vm process, with the real device core, DMA table,
 * contexts, buffers and conversation code.
 *
 * There are no processes here: the spawner is this program, an exec process is its end of a socket,
 * its pidfd an eventfd; waitid() and pidfd_send_signal() are wrapped by the linker.  The input
 * is a program of one-byte steps (enum step): the guest's kernel creates, registers, unmaps and resets;
 * exec processes answer well, wrongly, twice or not at all, say what nobody asked, die or
 * hang up; time passes.
 *
 * Beside what sanitizers see, this must hold after every step:
 *   the quota held is the sum of what contexts were granted, and within the limit;
 *   a context counts as gone only when its process has been reaped;
 *   an unmap of a context's own memory is answered only when that process is dead.
 * And in the end, when all processes are dead: every admin command is completed, no unmap is owed, no
 * memory is held, and no descriptor was kept.
 *
 * Also linked into a unit test, which replays the corpus.
 */
#include <daemon/vm.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTEXTS    4u
#define BUFFERS     8u
#define RAM_BYTES   0x200000u
#define ADMIN_BASE  0x10000u
#define SG_BASE     0x20000u
#define STRIDE      0x10000u
#define ADMIN_END   0x40000u /* mapped for good; behind it one range per context and per buffer */
#define CTX_ADDR(i) (ADMIN_END + (i)*STRIDE)
#define BUF_ADDR(i) (0x100000u + (i)*STRIDE)
#define ARENA_OFF   0x8000u
#define LOG2        6u
#define LIMIT       10000u
#define MAX_PROCS   64u
#define MAX_STEPS   512u
#define MAX_ROUNDS  64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *si, int options);
long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);

enum step {
    STEP_CREATE,   /* [ctx 1] */
    STEP_DESTROY,  /* [ctx 1] */
    STEP_REGISTER, /* [ctx 1] [buffer 1] [pages 1] */
    STEP_UNREGISTER,
    STEP_UNMAP, /* [range 1] */
    STEP_MAP,
    STEP_RESET,
    STEP_SPAWN,  /* [how 1]: 0 fails, else works */
    STEP_ANSWER, /* [process 1] [status 1]: the oldest request it has seen */
    STEP_SAY,    /* [process 1] [type 1] [seq 1] [24 bytes] */
    STEP_RAW,    /* [process 1] [length 2] [descriptors 1] [8 bytes, repeated] */
    STEP_DIE,    /* [process 1] */
    STEP_HANGUP, /* [process 1] */
    STEP_TIME,   /* [x 256 ms 1] */
    STEP_IRQ,    /* [what 1] */
    STEP_READ,   /* [process 1] */
    STEP_END
};

#define SEQS 256u

struct proc {
    int sock;  /* -1: hung up */
    int pidfd; /* our end; -1: reaped or never told */
    bool dead;
    bool reaped;
    uint32_t ctx;
    uint32_t seqs[SEQS]; /* requests seen and not answered */
    uint32_t seq_first, seq_count;
};

static struct world {
    struct vm *vm;
    int spawner, ram;
    uint8_t *mem;
    struct proc procs[MAX_PROCS];
    uint32_t proc_count;
    uint32_t admin_prod;
    bool mapped[CONTEXTS + BUFFERS];
} w;

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

static struct proc *proc_by_pidfd(int fd)
{
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        if (w.vm->ctxs[i].pidfd == fd)
            return &w.procs[w.vm->ctxs[i].pid - 1000];
    }
    abort();
}

static void proc_die(struct proc *p)
{
    const uint64_t one = 1;

    if (p->dead)
        return;
    p->dead = true;
    if (p->sock >= 0)
        close(p->sock);
    p->sock = -1;
    if (p->pidfd >= 0)
        must(write(p->pidfd, &one, sizeof(one)) == sizeof(one));
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
    p->pidfd = -1;
    si->si_pid = 1;
    si->si_code = CLD_KILLED;
    si->si_status = SIGKILL;
    return 0;
}

long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number != SYS_pidfd_send_signal)
        return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    must(a[1] == SIGKILL);
    proc_die(proc_by_pidfd((int)a[0]));
    return 0;
}

/* Serve one request to the spawner, if there is one. */
static bool spawn_one(bool works)
{
    struct vgpu_spawn_request req;
    struct vgpu_spawn_answer ans;
    struct proc *p = &w.procs[w.proc_count];
    int sock, fd = -1, flags = fcntl(w.spawner, F_GETFL), least = 1;

    must(!fcntl(w.spawner, F_SETFL, flags | O_NONBLOCK));
    if (vgpu_msg_recv(w.spawner, &req, sizeof(req), &sock))
        return false;
    ans = (struct vgpu_spawn_answer){.ctx = req.ctx, .serial = req.serial, .pid = -EAGAIN};
    if (works && w.proc_count < MAX_PROCS) {
        ans.pid = 1000 + (int32_t)w.proc_count++;
        *p = (struct proc){.sock = sock, .ctx = req.ctx, .pidfd = eventfd(0, EFD_CLOEXEC)};
        fd = p->pidfd;
        /* A few messages fill it: what an exec process does not read must wait. */
        must(!setsockopt(w.vm->ctxs[req.ctx].sock, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)));
    } else {
        close(sock);
    }
    must(vgpu_msg_send(w.spawner, &ans, sizeof(ans), fd) == 0);
    return true;
}

/* Take in requests, so that they can be answered. */
static void proc_read(struct proc *p)
{
    static uint8_t data[VM_MESSAGE_BYTES];

    while (p->sock >= 0 && p->seq_count < SEQS) {
        struct vgpu_xmsg msg;
        ssize_t n = recv(p->sock, data, sizeof(data), MSG_DONTWAIT); /* descriptors are dropped */

        if (n <= 0)
            return;
        must((size_t)n >= sizeof(msg));
        memcpy(&msg, data, sizeof(msg));
        must((size_t)n == sizeof(msg) + msg.run_count * sizeof(struct vgpu_xrun));
        if (msg.type != VGPU_X_QUOTA && msg.type != VGPU_X_STOP)
            p->seqs[(p->seq_first + p->seq_count++) % SEQS] = msg.seq;
    }
}

static void proc_send(const struct proc *p, const void *data, size_t bytes)
{
    if (p->sock >= 0 && send(p->sock, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        must(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

static void proc_answer(struct proc *p, uint32_t status)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_REPLY};

    proc_read(p);
    if (!p->seq_count)
        return;
    msg.seq = p->seqs[p->seq_first++ % SEQS];
    p->seq_count--;
    msg.u.reply.status = status;
    proc_send(p, &msg, sizeof(msg));
}

static void proc_raw(const struct proc *p, struct input *in)
{
    uint8_t data[sizeof(struct vgpu_xmsg) + 64], pattern[8];
    size_t bytes = take(in, 2) % sizeof(data);
    uint32_t fd = take(in, 1) & 1;

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)take(in, 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = pattern[i % sizeof(pattern)];
    if (!fd)
        proc_send(p, data, bytes);
    else if (p->sock >= 0 && vgpu_msg_send(p->sock, data, bytes, w.ram))
        must(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

/* ---- The machine ---- */

static uint32_t *word(uint32_t at)
{
    return (uint32_t *)(void *)(w.mem + at);
}

static void reg_write(uint64_t offset, uint32_t value)
{
    uint32_t doorbell;

    vgpu_dev_bar_write(w.vm->dev, VGPU_BAR_REGS, offset, &value, 4, &doorbell);
}

/* Completions are taken as they come; the queue has room unless the guest floods it. */
static uint32_t admin_owed(void)
{
    uint32_t done = *word(ADMIN_BASE);

    *word(ADMIN_BASE + vgpu_queue_rw_offset(LOG2) + 64) = done;
    return w.admin_prod - done;
}

static void admin_put(const struct vgpu_admin_sqe *sqe)
{
    struct vgpu_admin_sqe *sq = (void *)(w.mem + ADMIN_BASE + vgpu_queue_sq_offset(LOG2));

    if (admin_owed() >= 1u << LOG2)
        return;
    sq[w.admin_prod++ % (1u << LOG2)] = *sqe;
    __atomic_store_n(word(ADMIN_BASE + vgpu_queue_rw_offset(LOG2)), w.admin_prod, __ATOMIC_RELEASE);
    reg_write(VGPU_REG_ADMIN_DOORBELL, 1);
}

static void admin_enable(void)
{
    memset(w.mem + ADMIN_BASE, 0, STRIDE);
    w.admin_prod = 0;
    reg_write(VGPU_REG_ADMIN_BASE_LO, ADMIN_BASE);
    reg_write(VGPU_REG_ADMIN_LOG2, LOG2 << 8 | LOG2);
    reg_write(VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
}

static uint32_t range_addr(uint32_t range)
{
    return range < CONTEXTS ? CTX_ADDR(range) : BUF_ADDR(range - CONTEXTS);
}

static void range_map(uint32_t range)
{
    uint32_t addr = range_addr(range);

    if (w.mapped[range])
        return;
    must(!vgpu_dma_map(w.vm->dma, addr, STRIDE, addr, VGPU_DMA_READ | VGPU_DMA_WRITE,
                       fcntl(w.ram, F_DUPFD_CLOEXEC, 0)));
    w.mapped[range] = true;
}

static void range_unmap(uint32_t range)
{
    bool removed;

    if (!w.mapped[range])
        return;
    must(!vgpu_dma_unmap(w.vm->dma, range_addr(range), STRIDE, &removed) && removed);
    w.mapped[range] = false;
    (void)vm_dma_unmapped(w.vm, range_addr(range), STRIDE, range);
}

static bool unmap_is_owed(uint32_t addr)
{
    for (const struct vm_unmap *u = w.vm->unmaps; u; u = u->next) {
        if (u->where.addr == addr)
            return true;
    }
    return false;
}

static uint64_t vm_ram_open(struct vm *vm)
{
    w.ram = memfd_create("ram", MFD_CLOEXEC);
    must(w.ram >= 0 && !ftruncate(w.ram, RAM_BYTES));
    w.mem = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, w.ram, 0);
    must(w.mem != MAP_FAILED);
    must(!vgpu_dma_map(vm->dma, 0, ADMIN_END, 0, VGPU_DMA_READ | VGPU_DMA_WRITE,
                       fcntl(w.ram, F_DUPFD_CLOEXEC, 0)));
    for (uint32_t i = 0; i < CONTEXTS + BUFFERS; i++)
        range_map(i);
    return 0;
}

static void setup(void)
{
    const struct vgpu_dev_config dev = {
        .max_contexts = CONTEXTS,
        .max_buffers = BUFFERS + 1,
        .max_sg = VM_MAX_SG,
        .max_buffer_bytes = VGPU_MAX_BUFFER_BYTES,
        .max_image_bytes = VGPU_MAX_IMAGE_BYTES,
        .heartbeat_ms = 1000,
        .admin_max_ms = VM_ADMIN_MAX_MS,
        .props = {.name = "fuzz", .exec_kind = VGPU_EXEC_NULL},
    };
    struct vm *vm = calloc(1, sizeof(*vm));
    int pair[2];

    memset(&w, 0, sizeof(w));
    must(vm != NULL);
    w.vm = vm;
    vm->setup.config.contexts = CONTEXTS;
    vm->setup.config.exec_kind = VGPU_EXEC_NULL;
    vm->quota.limit_bytes = LIMIT;
    vm->generation = 1;
    vm->control_sock = -1;
    vgpu_log_setup(VGPU_LOG_ERROR, 0, "fuzz");
    must(!vgpu_guard_init() && !vgpu_loop_init(&vm->loop));
    vgpu_irqs_init(&vm->irqs);
    vm->dma = vgpu_dma_create();
    vm->dev = vgpu_dev_create(&dev, &vm_dev_ops, vm);
    must(vm->dma && vm->dev && !vm_ctxs_init(vm));
    must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    vm->spawner_sock = pair[0];
    w.spawner = pair[1];
    must(!vgpu_source_add(&vm->loop, &vm->spawner_source, pair[0], EPOLLIN, vm_spawner_event, vm));
    vm_ram_open(vm);
    vgpu_dev_announce(vm->dev, 1);
    admin_enable();
}

static void teardown(void)
{
    struct vm *vm = w.vm;

    vm_answers_drop(vm);
    vgpu_loop_fini(&vm->loop);
    vgpu_dev_destroy(vm->dev);
    vgpu_dma_destroy(vm->dma);
    vgpu_irqs_fini(&vm->irqs);
    for (uint32_t i = 0; i < CONTEXTS; i++)
        close(vm->doorbells[i]);
    close(vm->irq_sink);
    close(vm->spawner_sock);
    close(w.spawner);
    free(vm->ctxs);
    free(vm->doorbells);
    free(vm);
    munmap(w.mem, RAM_BYTES);
    close(w.ram);
}

/* ---- Running ---- */

static void stop_loop(void *opaque)
{
    vgpu_loop_stop(opaque);
}

/* The loop's rounds until nothing is left to do at once; each is bounded by the code under test. */
static void pump(void)
{
    struct vgpu_loop *loop = &w.vm->loop;

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

/* What is due fires; a process that was given time to end has had it. */
static void time_passes(uint64_t ms)
{
    struct vgpu_loop *loop = &w.vm->loop;

    for (uint32_t i = 0; i < CONTEXTS; i++) {
        for (struct vm_req *r = w.vm->ctxs[i].req_first; r; r = r->next)
            r->due_ms -= ms < r->due_ms ? ms : r->due_ms;
    }
    for (struct vgpu_timer *t = loop->timers; t; t = t->next)
        t->due_ms -= ms < t->due_ms ? ms : t->due_ms;
    for (uint32_t i = 0; loop->timers && loop->timers->due_ms <= vgpu_now_ms(); i++) {
        struct vgpu_timer *t = loop->timers;

        must(i < 1000);
        vgpu_timer_cancel(loop, t);
        t->fn(t->opaque);
    }
}

static void check(void)
{
    uint64_t granted = 0;

    for (uint32_t i = 0; i < CONTEXTS; i++)
        granted += w.vm->ctxs[i].granted_bytes;
    must(granted == w.vm->quota.held_bytes && granted <= LIMIT);
    for (uint32_t i = 0; i < w.proc_count; i++) {
        const struct proc *p = &w.procs[i];
        const struct vm_ctx *ctx = &w.vm->ctxs[p->ctx];

        if (p->reaped)
            continue;
        must(vm_ctx_is_alive(ctx));
        must(w.mapped[p->ctx] || p->dead || unmap_is_owed(CTX_ADDR(p->ctx)));
    }
}

static void step_register(struct input *in)
{
    struct vgpu_admin_sqe sqe = {.opcode = htole16(VGPU_ADMIN_BUF_REGISTER)};
    struct vgpu_sg_page page = {.count = htole32(1)};
    uint32_t ctx = take(in, 1) % CONTEXTS, buf = take(in, 1) % BUFFERS;
    uint64_t bytes = (1 + take(in, 1) % 16) * (uint64_t)VGPU_PAGE_BYTES;

    page.sg[0] = (struct vgpu_sg_entry){htole64(BUF_ADDR(buf)), htole64(bytes)};
    memcpy(w.mem + SG_BASE, &page, sizeof(page));
    sqe.u.buf_register = (struct vgpu_admin_buf_register){.sg_addr = htole64(SG_BASE),
                                                          .bytes = htole64(bytes),
                                                          .ctx = htole32(ctx),
                                                          .buf = htole32(buf + 1),
                                                          .flags = htole32(3),
                                                          .sg_count = htole32(1)};
    admin_put(&sqe);
}

static void step_create(uint32_t ctx)
{
    struct vgpu_admin_sqe sqe = {.opcode = htole16(VGPU_ADMIN_CTX_CREATE)};

    sqe.u.ctx_create =
        (struct vgpu_admin_ctx_create){.queue_addr = htole64(CTX_ADDR(ctx)),
                                       .arena_addr = htole64(CTX_ADDR(ctx) + ARENA_OFF),
                                       .ctx = htole32(ctx),
                                       .arena_bytes = htole32(VGPU_MIN_ARENA_BYTES),
                                       .vector = htole16((uint16_t)(1 + ctx % 2)),
                                       .sq_log2 = LOG2,
                                       .cq_log2 = LOG2};
    admin_put(&sqe);
}

static void step_say(const struct proc *p, struct input *in)
{
    static const uint32_t types[] = {VGPU_X_REPLY, VGPU_X_LOST, VGPU_X_QUOTA_TAKE,
                                     VGPU_X_QUOTA_GIVE, VGPU_X_START};
    struct vgpu_xmsg msg = {.type = types[take(in, 1) % 5]};
    uint8_t *body = (uint8_t *)&msg.u;

    msg.seq = take(in, 1);
    for (size_t i = 0; i < 24; i++)
        body[i] = (uint8_t)take(in, 1);
    proc_send(p, &msg, sizeof(msg));
}

static void step_irq(uint32_t what)
{
    unsigned int vector = 1 + what % 2;
    bool changed = what & 2
                       ? vgpu_irqs_set_masked(&w.vm->irqs, vector, what & 4)
                       : vgpu_irqs_set_fd(&w.vm->irqs, vector,
                                          what & 4 ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));

    if (changed)
        vm_bus_ops.irq_changed(w.vm, vector);
}

static void step_answer(struct proc *p, uint32_t status)
{
    static const uint32_t statuses[] = {VGPU_ST_OK, VGPU_ST_NO_BUFFER, VGPU_ST_HOST_MEMORY, 0xffff};

    proc_answer(p, statuses[status < 200 ? 0 : status % 4]);
}

static void step_ctx(uint16_t opcode, struct input *in)
{
    struct vgpu_admin_sqe sqe = {.opcode = htole16(opcode)};

    sqe.u.buf_unregister.ctx = htole32(take(in, 1) % CONTEXTS);
    if (opcode == VGPU_ADMIN_BUF_UNREGISTER)
        sqe.u.buf_unregister.buf = htole32(take(in, 1) % BUFFERS + 1);
    admin_put(&sqe);
}

static void proc_step(enum step step, struct input *in)
{
    struct proc *p = &w.procs[take(in, 1) % (w.proc_count ? w.proc_count : 1)];

    if (!w.proc_count)
        return;
    switch (step) {
    case STEP_ANSWER: step_answer(p, take(in, 1)); break;
    case STEP_SAY: step_say(p, in); break;
    case STEP_RAW: proc_raw(p, in); break;
    case STEP_DIE: proc_die(p); break;
    case STEP_HANGUP:
        if (p->sock >= 0)
            close(p->sock);
        p->sock = -1;
        break;
    default: proc_read(p); break;
    }
}

static void one_step(struct input *in)
{
    enum step step = take(in, 1) % STEP_END;

    switch (step) {
    case STEP_CREATE: step_create(take(in, 1) % CONTEXTS); break;
    case STEP_DESTROY: step_ctx(VGPU_ADMIN_CTX_DESTROY, in); break;
    case STEP_REGISTER: step_register(in); break;
    case STEP_UNREGISTER: step_ctx(VGPU_ADMIN_BUF_UNREGISTER, in); break;
    case STEP_UNMAP: range_unmap(take(in, 1) % (CONTEXTS + BUFFERS)); break;
    case STEP_MAP: range_map(take(in, 1) % (CONTEXTS + BUFFERS)); break;
    case STEP_RESET: vgpu_dev_reset(w.vm->dev); break;
    case STEP_SPAWN: (void)spawn_one(take(in, 1)); break;
    case STEP_TIME: time_passes(take(in, 1) * 256u); break;
    case STEP_IRQ: step_irq(take(in, 1)); break;
    default: proc_step(step, in); break;
    }
    pump();
    check();
}

static uint32_t dev_state(void)
{
    struct vgpu_dev_stats stats;

    vgpu_dev_get_stats(w.vm->dev, &stats);
    return stats.state;
}

/* Everybody dies.  Whatever was asked is answered then. */
static void settle(void)
{
    for (uint32_t i = 0; i < 2 * (1u << LOG2); i++) {
        while (spawn_one(false))
            pump();
        for (uint32_t p = 0; p < w.proc_count; p++)
            proc_die(&w.procs[p]);
        pump();
        check();
    }
    must(!w.vm->alive && !w.vm->unmaps && !w.vm->quota.held_bytes && !w.vm->closing);
    must(dev_state() != VGPU_STATE_RESETTING);
    must(dev_state() != VGPU_STATE_READY || !admin_owed());
    /* And it can be used again. */
    vgpu_dev_reset(w.vm->dev);
    pump();
    must(dev_state() == VGPU_STATE_DISABLED);
    for (uint32_t i = 0; i < CONTEXTS; i++)
        must(w.vm->ctxs[i].state == VM_CTX_FREE);
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
    for (unsigned int i = 0; in.left && i < MAX_STEPS; i++) {
        one_step(&in);
        if (dev_state() == VGPU_STATE_DISABLED)
            admin_enable();
    }
    settle();
    teardown();
    must(count_fds() == before);
    return 0;
}
