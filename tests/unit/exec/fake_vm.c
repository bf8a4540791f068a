// SPDX-License-Identifier: MIT
/*
 * A vm process for tests; see fake_vm.h.
 */
#include "fake_vm.h"

#include <exec/process.h>

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RAM_BYTES   ((size_t)320 << 20)
#define DEADLINE_MS 30000

#ifdef __SANITIZE_THREAD__
/*
 * The exec process leaves by _exit(), so a report must end it to be noticed.  A kernel and a copy that
 * touch the same device memory are the guest's race (the tests have one on purpose), not ours.
 */
const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

const char *__tsan_default_options(void)
{
    return "halt_on_error=1";
}

const char *__tsan_default_suppressions(void)
{
    return "race:^job_copy$\n";
}
#endif

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- RAM ---- */

/*
 * The test sees `bytes` of linear memory; in the memfd its pages lie in another order: blocks of
 * 1, 2, 3, 4, 1, ... pages, last block first.
 */
uint8_t *fake_vm_pages(struct fake_vm *vm, size_t bytes, struct vgpu_xrun *runs, uint32_t *count)
{
    size_t pages = (bytes + 4095) / 4096, done = 0;
    size_t top = vm->ram_next + pages * 4096;
    uint8_t *view = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(view, MAP_FAILED);
    ck_assert_uint_le(top, vm->ram_bytes);
    vm->ram_next = top;
    *count = 0;
    while (done < pages) {
        /* Large buffers take large pieces, or a message would not hold the runs. */
        size_t n = (pages > 512 ? 256 : 1) * (1 + *count % 4);

        if (n > pages - done)
            n = pages - done;
        top -= n * 4096;
        runs[*count] = (struct vgpu_xrun){.fd = 0, .offset = top, .bytes = n * 4096};
        ck_assert_ptr_ne(mmap(view + done * 4096, n * 4096, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_FIXED, vm->ram_fd, (off_t)top),
                         MAP_FAILED);
        done += n;
        (*count)++;
        ck_assert_uint_le(*count, VGPU_X_MAX_RUNS);
    }
    return view;
}

/* ---- Messages ---- */

static void send_message(struct fake_vm *vm, struct vgpu_xmsg *msg, const struct vgpu_xrun *runs,
                         const int *fds, size_t fd_count)
{
    union {
        char buf[CMSG_SPACE(VGPU_X_MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov[2] = {
        {.iov_base = msg, .iov_len = sizeof(*msg)},
        {.iov_base = (void *)(uintptr_t)runs, .iov_len = msg->run_count * sizeof(*runs)},
    };
    struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = msg->run_count ? 2 : 1};

    if (fd_count) {
        struct cmsghdr *c;

        hdr.msg_control = &control;
        hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c = CMSG_FIRSTHDR(&hdr);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    ck_assert_int_gt(sendmsg(vm->sock, &hdr, MSG_NOSIGNAL), 0);
}

uint32_t fake_vm_send(struct fake_vm *vm, struct vgpu_xmsg *msg, const struct vgpu_xrun *runs,
                      int fd)
{
    msg->seq = ++vm->seq;
    send_message(vm, msg, runs, &fd, fd >= 0);
    return msg->seq;
}

bool fake_vm_has_message(struct fake_vm *vm)
{
    struct pollfd pfd = {.fd = vm->sock, .events = POLLIN};

    return poll(&pfd, 1, 0) == 1;
}

static void answer_quota(struct fake_vm *vm, const struct vgpu_xmsg *q)
{
    struct vgpu_xmsg a = {.type = VGPU_X_QUOTA, .seq = q->seq};

    if (vm->quota_refuse || q->u.quota.bytes > vm->cfg.memory_limit - vm->quota_held)
        a.u.quota_reply.status = VGPU_ST_OUT_OF_MEMORY;
    else
        vm->quota_held += q->u.quota.bytes;
    a.u.quota_reply.held_bytes = vm->quota_held;
    send_message(vm, &a, NULL, NULL, 0);
}

/* Handle one message, waiting at most `ms`.  True if it was a reply (in *reply). */
static bool pump(struct fake_vm *vm, int ms, struct vgpu_xmsg *reply)
{
    struct pollfd pfd = {.fd = vm->sock, .events = POLLIN};
    ssize_t n;

    if (poll(&pfd, 1, ms) != 1)
        return false;
    n = recv(vm->sock, reply, sizeof(*reply), 0);
    if (n <= 0)
        return false;
    ck_assert_int_eq(n, sizeof(*reply));
    ck_assert_uint_eq(reply->run_count, 0);
    switch (reply->type) {
    case VGPU_X_REPLY: vm->replies++; return true;
    case VGPU_X_QUOTA_TAKE: answer_quota(vm, reply); break;
    case VGPU_X_QUOTA_GIVE:
        ck_assert_uint_le(reply->u.quota.bytes, vm->quota_held);
        vm->quota_held -= reply->u.quota.bytes;
        break;
    case VGPU_X_LOST:
        ck_assert(!vm->lost);
        vm->lost = true;
        vm->lost_msg = reply->u.lost;
        break;
    default: ck_abort_msg("message of type %u", reply->type);
    }
    return false;
}

uint16_t fake_vm_reply(struct fake_vm *vm, uint32_t seq)
{
    uint64_t deadline = now_ms() + DEADLINE_MS;
    struct vgpu_xmsg reply;

    while (!pump(vm, 100, &reply))
        ck_assert_msg(now_ms() < deadline, "no reply to request %u", seq);
    ck_assert_uint_eq(reply.seq, seq);
    return (uint16_t)reply.u.reply.status;
}

uint64_t fake_vm_quota(struct fake_vm *vm)
{
    struct vgpu_xmsg msg;

    while (fake_vm_has_message(vm))
        ck_assert_msg(!pump(vm, 0, &msg), "unexpected reply");
    return vm->quota_held;
}

/* ---- Life ---- */

static void child(int sock)
{
    if (sock != VGPU_XFD_SOCKET) {
        dup2(sock, VGPU_XFD_SOCKET);
        close(sock);
    }
    close_range(VGPU_XFD_SOCKET + 1, ~0u, 0);
    _exit(vgpu_exec_main());
}

static void make_memory(struct fake_vm *vm, struct vgpu_xrun *runs)
{
    uint32_t queue_runs, arena_runs;

    vm->ram_bytes = RAM_BYTES;
    vm->ram_fd = memfd_create("guest-ram", MFD_CLOEXEC);
    ck_assert_int_ge(vm->ram_fd, 0);
    ck_assert_int_eq(ftruncate(vm->ram_fd, (off_t)vm->ram_bytes), 0);
    vm->block_bytes = vgpu_queue_bytes(vm->cfg.cq_log2, vm->cfg.sq_log2);
    vm->block = fake_vm_pages(vm, vm->block_bytes, runs, &queue_runs);
    vm->arena = fake_vm_pages(vm, FAKE_ARENA_BYTES, runs + queue_runs, &arena_runs);
    guest_init(&vm->guest, vm->block, vm->cfg.sq_log2, vm->cfg.cq_log2, vm->cfg.first_idx);
    vm->start.queue_runs = queue_runs;
    vm->start.arena_runs = arena_runs;
}

static void fill_start(struct fake_vm *vm)
{
    struct vgpu_x_start *s = &vm->start;

    s->vm_id = 7;
    s->ctx = 1;
    s->generation = 1;
    s->exec_kind = vm->cfg.exec_kind;
    s->sq_log2 = (uint8_t)vm->cfg.sq_log2;
    s->cq_log2 = (uint8_t)vm->cfg.cq_log2;
    s->queue_bytes = (uint32_t)vm->block_bytes;
    s->arena_bytes = FAKE_ARENA_BYTES;
    s->max_buffers = 64;
    s->poll_us = vm->cfg.poll_us;
    s->budget = vm->cfg.budget;
    s->deadline_ms = vm->cfg.deadline_ms;
    s->max_inflight = vm->cfg.max_inflight;
    s->threads = vm->cfg.threads;
    s->memory_limit = vm->cfg.memory_limit;
    s->max_image_bytes = 1 << 20;
    memcpy(s->vm_name, "test", 5);
}

uint16_t fake_vm_start_with(struct fake_vm *vm, const struct fake_vm_config *cfg,
                            void (*spoil)(struct vgpu_xmsg *msg, struct vgpu_xrun *runs))
{
    struct vgpu_xrun runs[VGPU_X_MAX_RUNS];
    struct vgpu_xmsg msg = {.type = VGPU_X_START};
    int sv[2], stats_fd, fds[4];

    memset(vm, 0, sizeof(*vm));
    vm->cfg = *cfg;
    vm->cfg.sq_log2 = cfg->sq_log2 ? cfg->sq_log2 : 6;
    vm->cfg.cq_log2 = cfg->cq_log2 ? cfg->cq_log2 : 6;
    vm->cfg.budget = cfg->budget ? cfg->budget : 64;
    vm->cfg.max_inflight = cfg->max_inflight ? cfg->max_inflight : 64;
    vm->cfg.memory_limit = cfg->memory_limit ? cfg->memory_limit : 64ull << 20;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    vm->pid = fork();
    ck_assert_int_ge(vm->pid, 0);
    if (vm->pid == 0) {
        close(sv[0]);
        child(sv[1]);
    }
    close(sv[1]);
    vm->sock = sv[0];
    vm->doorbell_fd = eventfd(0, EFD_CLOEXEC);
    vm->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    stats_fd = memfd_create("stats", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(stats_fd, 4096), 0);
    vm->stats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, stats_fd, 0);
    ck_assert_ptr_ne(vm->stats, MAP_FAILED);

    make_memory(vm, runs);
    vm->guest.doorbell_fd = vm->doorbell_fd;
    fill_start(vm);
    msg.u.start = vm->start;
    msg.run_count = vm->start.queue_runs + vm->start.arena_runs;
    if (spoil)
        spoil(&msg, runs);
    msg.seq = ++vm->seq;
    fds[0] = vm->doorbell_fd;
    fds[1] = vm->irq_fd;
    fds[2] = stats_fd;
    fds[3] = vm->ram_fd;
    send_message(vm, &msg, runs, fds, 4);
    close(stats_fd);
    return fake_vm_reply(vm, msg.seq);
}

uint16_t fake_vm_start(struct fake_vm *vm, const struct fake_vm_config *cfg)
{
    return fake_vm_start_with(vm, cfg, NULL);
}

int fake_vm_reap(struct fake_vm *vm)
{
    uint64_t deadline = now_ms() + DEADLINE_MS;
    struct vgpu_xmsg msg;
    int status;

    for (;;) {
        pid_t pid = waitpid(vm->pid, &status, WNOHANG);

        ck_assert_int_ge(pid, 0);
        if (pid == vm->pid)
            break;
        ck_assert_msg(now_ms() < deadline, "exec process does not end");
        (void)pump(vm, 1, &msg);
    }
    /* What it said last. */
    while (fake_vm_has_message(vm) && recv(vm->sock, &msg, sizeof(msg), MSG_PEEK) > 0)
        (void)pump(vm, 0, &msg);
    vm->pid = -1;
    return status;
}

void fake_vm_stop(struct fake_vm *vm)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_STOP};
    int status;

    (void)fake_vm_send(vm, &msg, NULL, -1);
    status = fake_vm_reap(vm);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "exec ended with 0x%x", status);
    fake_vm_free(vm);
}

void fake_vm_free(struct fake_vm *vm)
{
    ck_assert_int_eq(vm->pid, -1);
    munmap(vm->block, vm->block_bytes);
    munmap(vm->arena, FAKE_ARENA_BYTES);
    munmap(vm->stats, 4096);
    close(vm->ram_fd);
    close(vm->sock);
    close(vm->doorbell_fd);
    close(vm->irq_fd);
}

/* ---- Buffers ---- */

uint16_t fake_vm_add_buf(struct fake_vm *vm, uint32_t id, uint32_t flags,
                         const struct vgpu_xrun *runs, uint32_t count, uint64_t off, uint64_t bytes)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_BEGIN};
    uint16_t status;

    msg.u.buf = (struct vgpu_x_buf){
        .id = id, .flags = flags, .bytes = bytes, .first_off = off, .run_count = count};
    status = fake_vm_reply(vm, fake_vm_send(vm, &msg, NULL, vm->ram_fd));
    if (status != VGPU_ST_OK)
        return status;
    while (count) {
        uint32_t n = count < 100 ? count : 100;

        msg.type = VGPU_X_BUF_ADD;
        msg.run_count = n;
        status = fake_vm_reply(vm, fake_vm_send(vm, &msg, runs, -1));
        if (status != VGPU_ST_OK)
            return status;
        runs += n;
        count -= n;
    }
    msg.type = VGPU_X_BUF_COMMIT;
    msg.run_count = 0;
    return fake_vm_reply(vm, fake_vm_send(vm, &msg, NULL, -1));
}

uint8_t *fake_vm_buf(struct fake_vm *vm, uint32_t id, uint32_t flags, uint64_t off, size_t bytes)
{
    struct vgpu_xrun runs[VGPU_X_MAX_RUNS];
    uint32_t count;
    uint8_t *view = fake_vm_pages(vm, off + bytes, runs, &count);

    ck_assert_uint_eq(fake_vm_add_buf(vm, id, flags, runs, count, off, bytes), VGPU_ST_OK);
    return view + off;
}

/* ---- Commands ---- */

struct vgpu_sqe sqe_make(uint16_t opcode, uint32_t stream, uint64_t cookie)
{
    return (struct vgpu_sqe){.opcode = opcode, .stream = stream, .cookie = cookie};
}

void fake_vm_submit(struct fake_vm *vm, const struct vgpu_sqe *sqe)
{
    uint64_t deadline = now_ms() + DEADLINE_MS;
    struct vgpu_xmsg msg;

    while (!guest_post(&vm->guest, sqe)) {
        ck_assert_msg(now_ms() < deadline, "submission queue stays full");
        (void)pump(vm, 0, &msg);
    }
    (void)guest_publish(&vm->guest);
}

struct vgpu_cqe fake_vm_next(struct fake_vm *vm)
{
    uint64_t deadline = now_ms() + DEADLINE_MS;
    struct vgpu_cqe cqe;
    struct vgpu_xmsg msg;

    while (!guest_reap(&vm->guest, &cqe)) {
        ck_assert_msg(now_ms() < deadline, "no completion");
        ck_assert(!pump(vm, 0, &msg));
    }
    return cqe;
}

struct vgpu_cqe fake_vm_run(struct fake_vm *vm, const struct vgpu_sqe *sqe)
{
    struct vgpu_cqe cqe;

    fake_vm_submit(vm, sqe);
    cqe = fake_vm_next(vm);
    ck_assert_uint_eq(cqe.cookie, sqe->cookie);
    ck_assert_uint_eq(cqe.rsvd0, 0); /* VGPU-GEN-010 */
    ck_assert_uint_eq(cqe.rsvd1, 0);
    ck_assert_uint_eq(cqe.sq_idx, vm->guest.sq_prod - 1);
    return cqe;
}

const struct vgpu_x_lost *fake_vm_wait_lost(struct fake_vm *vm)
{
    int status = fake_vm_reap(vm);

    ck_assert_msg(vm->lost, "no LOST message; exec ended with 0x%x", status);
    return &vm->lost_msg;
}
