/* SPDX-License-Identifier: MIT */
/* A vm process without its process: see vm_fixture.h. */
#include "vm_fixture.h"

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ADMIN_BASE  0x10000u /* guest memory: admin queue, context queue, arena, scatter list */
#define QUEUE_BASE  0x20000u
#define ARENA_BASE  0x30000u
#define SG_BASE     0x40000u
#define STATUS_BASE 0x50000u
#define LOG2        6u

struct vmf vmf;

/* ---- The spawner, played by the test ---- */

static void spawn_event(void *opaque, uint32_t events)
{
    struct vgpu_spawn_request req;
    struct vgpu_spawn_answer ans;
    int sock, pidfd = -1;
    pid_t pid;

    ck_assert_int_eq(vgpu_msg_recv(vmf.spawner, &req, sizeof(req), &sock), 0);
    ans = (struct vgpu_spawn_answer){.ctx = req.ctx, .serial = req.serial, .pid = -EAGAIN};
    if (!vmf.refuse_spawn) {
        pid = fork();
        if (!pid) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            vgpu_close_from((unsigned int)sock + 1);
            for (int fd = 3; fd < sock; fd++)
                close(fd);
            vmf.script(sock);
            _exit(0);
        }
        ans.pid = pid;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    close(sock);
    ck_assert_int_eq(vgpu_msg_send(vmf.spawner, &ans, sizeof(ans), pidfd), 0);
    if (pidfd >= 0)
        close(pidfd);
}

/* ---- Setup ---- */

static struct vgpu_source spawn_source;

static void make_device(struct vm *vm)
{
    const struct vgpu_dev_config dev = {
        .max_contexts = vm->setup.config.contexts,
        .max_buffers = VGPU_MAX_BUFFERS,
        .max_sg = VM_MAX_SG,
        .max_buffer_bytes = VGPU_MAX_BUFFER_BYTES,
        .max_image_bytes = VGPU_MAX_IMAGE_BYTES,
        .heartbeat_ms = 1000,
        .admin_max_ms = VM_ADMIN_MAX_MS,
        .props = {.name = "test", .exec_kind = VGPU_EXEC_NULL},
    };

    vgpu_irqs_init(&vm->irqs);
    vm->dma = vgpu_dma_create();
    vm->dev = vgpu_dev_create(&dev, &vm_dev_ops, vm);
    ck_assert(vm->dma && vm->dev);
    ck_assert_int_eq(vm_ctxs_init(vm), 0);
}

static void reg_write(uint64_t offset, uint32_t value)
{
    uint32_t doorbell;

    vgpu_dev_bar_write(vmf.vm->dev, VGPU_BAR_REGS, offset, &value, 4, &doorbell);
}

static void map_ram(void)
{
    /* Two ranges with a seam at 1 MiB, so that runs cross it. */
    ck_assert_int_eq(vgpu_dma_map(vmf.vm->dma, 0, 0x100000, 0, 3, dup(vmf.ram)), 0);
    ck_assert_int_eq(
        vgpu_dma_map(vmf.vm->dma, 0x100000, VMF_RAM - 0x100000, 0x100000, 3, dup(vmf.ram)), 0);
}

void vmf_setup(void)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    int pair[2];

    memset(&vmf, 0, sizeof(vmf));
    vmf.vm = vm;
    vmf.script = script_serve;
    vm->setup.config.contexts = 8;
    vm->setup.config.exec_kind = VGPU_EXEC_NULL;
    vm->quota.limit_bytes = VMF_LIMIT;
    vm->generation = 1;
    vm->control_sock = -1;
    ck_assert_int_eq(vgpu_guard_init(), 0);
    ck_assert_int_eq(vgpu_loop_init(&vm->loop), 0);
    make_device(vm);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    vm->spawner_sock = pair[0];
    vmf.spawner = pair[1];
    ck_assert_int_eq(
        vgpu_source_add(&vm->loop, &vm->spawner_source, pair[0], EPOLLIN, vm_spawner_event, vm), 0);
    ck_assert_int_eq(vgpu_source_add(&vm->loop, &spawn_source, pair[1], EPOLLIN, spawn_event, NULL),
                     0);
    vmf.ram = memfd_create("ram", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(vmf.ram, VMF_RAM), 0);
    vmf.mem = mmap(NULL, VMF_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, vmf.ram, 0);
    ck_assert(vmf.mem != MAP_FAILED);
    map_ram();
    vgpu_dev_announce(vm->dev, 1);
    reg_write(VGPU_REG_ADMIN_BASE_LO, ADMIN_BASE);
    reg_write(VGPU_REG_ADMIN_LOG2, LOG2 << 8 | LOG2);
    reg_write(VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
}

static bool nothing_is_alive(void)
{
    return !vmf.vm->alive;
}

void vmf_teardown(void)
{
    struct vm *vm = vmf.vm;

    vgpu_dev_reset(vm->dev);
    ck_assert(vmf_run(nothing_is_alive, 5000));
    ck_assert_uint_eq(vm->quota.held_bytes, 0);
    vm_answers_drop(vm);
    vgpu_loop_fini(&vm->loop);
    vgpu_dev_destroy(vm->dev);
    vgpu_dma_destroy(vm->dma);
    vgpu_irqs_fini(&vm->irqs);
    for (uint32_t i = 0; i < vm->setup.config.contexts; i++) {
        ck_assert_int_eq(vm->ctxs[i].state, VM_CTX_FREE);
        close(vm->doorbells[i]);
    }
    close(vm->irq_sink);
    close(vm->spawner_sock);
    close(vmf.spawner);
    free(vm->ctxs);
    free(vm->doorbells);
    free(vm);
    munmap(vmf.mem, VMF_RAM);
    close(vmf.ram);
}

/* ---- Running ---- */

static struct {
    bool (*done)(void);
    bool seen;
    uint64_t end_ms;
    struct vgpu_timer timer;
} run;

static void run_look(void *opaque)
{
    run.seen = run.done();
    if (run.seen || vgpu_now_ms() > run.end_ms)
        vgpu_loop_stop(&vmf.vm->loop);
    else
        vgpu_timer_set(&vmf.vm->loop, &run.timer, 2, run_look, NULL);
}

bool vmf_run(bool (*done)(void), uint64_t timeout_ms)
{
    run.done = done;
    run.end_ms = vgpu_now_ms() + timeout_ms;
    vmf.vm->loop.stopped = false;
    vgpu_timer_set(&vmf.vm->loop, &run.timer, 0, run_look, NULL);
    ck_assert_int_eq(vgpu_loop_run(&vmf.vm->loop), 0);
    return run.seen;
}

static uint32_t *word(uint32_t at)
{
    return (uint32_t *)(void *)(vmf.mem + at);
}

void vmf_admin_put(const struct vgpu_admin_sqe *sqe)
{
    uint32_t slot = vmf.admin_prod++ % (1u << LOG2);

    memcpy(vmf.mem + ADMIN_BASE + vgpu_queue_sq_offset(LOG2) + slot * sizeof(*sqe), sqe,
           sizeof(*sqe));
    __atomic_store_n(word(ADMIN_BASE + vgpu_queue_rw_offset(LOG2)), vmf.admin_prod,
                     __ATOMIC_RELEASE);
    reg_write(VGPU_REG_ADMIN_DOORBELL, 1);
}

static bool admin_completed(void)
{
    return __atomic_load_n(word(ADMIN_BASE), __ATOMIC_ACQUIRE) != vmf.admin_cons;
}

uint16_t vmf_admin_wait(void)
{
    struct vgpu_cqe cqe;

    ck_assert_msg(vmf_run(admin_completed, 10000), "admin command never completed");
    memcpy(&cqe,
           vmf.mem + ADMIN_BASE + vgpu_queue_cq_offset() +
               vmf.admin_cons % (1u << LOG2) * sizeof(cqe),
           sizeof(cqe));
    vmf.admin_cons++;
    __atomic_store_n(word(ADMIN_BASE + vgpu_queue_rw_offset(LOG2) + 64), vmf.admin_cons,
                     __ATOMIC_RELEASE);
    return cqe.status;
}

uint16_t vmf_create(void)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_CREATE};

    sqe.u.ctx_create = (struct vgpu_admin_ctx_create){.queue_addr = QUEUE_BASE,
                                                      .arena_addr = ARENA_BASE,
                                                      .ctx = VMF_CTX,
                                                      .arena_bytes = 0x2000,
                                                      .vector = 1,
                                                      .sq_log2 = LOG2,
                                                      .cq_log2 = LOG2};
    vmf_admin_put(&sqe);
    return vmf_admin_wait();
}

uint16_t vmf_destroy(void)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_DESTROY};

    sqe.u.ctx_destroy.ctx = VMF_CTX;
    vmf_admin_put(&sqe);
    return vmf_admin_wait();
}

uint16_t vmf_register(uint32_t buf, const struct vgpu_sg_entry *sg, uint32_t count)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_BUF_REGISTER};
    struct vgpu_sg_page page = {.count = count};
    uint64_t bytes = 0;

    ck_assert_uint_le(count, VGPU_SG_PER_PAGE);
    for (uint32_t i = 0; i < count; i++) {
        page.sg[i] = sg[i];
        bytes += sg[i].bytes;
    }
    memcpy(vmf.mem + SG_BASE, &page, sizeof(page));
    sqe.u.buf_register = (struct vgpu_admin_buf_register){.sg_addr = SG_BASE,
                                                          .bytes = bytes,
                                                          .ctx = VMF_CTX,
                                                          .buf = buf,
                                                          .flags = 3,
                                                          .sg_count = count};
    vmf_admin_put(&sqe);
    return vmf_admin_wait();
}

uint16_t vmf_unregister(uint32_t buf)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_BUF_UNREGISTER};

    sqe.u.buf_unregister.ctx = VMF_CTX;
    sqe.u.buf_unregister.buf = buf;
    vmf_admin_put(&sqe);
    return vmf_admin_wait();
}

struct vgpu_ctx_status vmf_status(void)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_QUERY};
    struct vgpu_ctx_status status;

    sqe.u.query = (struct vgpu_admin_query){.out_addr = STATUS_BASE,
                                            .out_bytes = sizeof(status),
                                            .what = VGPU_QUERY_CTX,
                                            .ctx = VMF_CTX};
    vmf_admin_put(&sqe);
    ck_assert_uint_eq(vmf_admin_wait(), VGPU_ST_OK);
    memcpy(&status, vmf.mem + STATUS_BASE, sizeof(status));
    return status;
}

struct vm_ctx *vmf_ctx(void)
{
    return &vmf.vm->ctxs[VMF_CTX];
}

bool vmf_is_lost(void)
{
    struct vgpu_dev_stats stats;

    vgpu_dev_get_stats(vmf.vm->dev, &stats);
    return stats.lost && vmf_ctx()->state == VM_CTX_DEAD;
}

/* ---- Scripts ---- */

void script_recv(int sock, struct vgpu_xmsg *msg, uint32_t type, struct vgpu_xrun *runs)
{
    static struct vgpu_xrun sink[VGPU_X_MAX_RUNS];
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * VGPU_X_MAX_FDS)];
    } control;
    struct iovec iov[2] = {{msg, sizeof(*msg)}, {runs ? runs : sink, sizeof(sink)}};
    struct msghdr mh = {.msg_iov = iov,
                        .msg_iovlen = 2,
                        .msg_control = control.buf,
                        .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(sock, &mh, 0);

    if (n < (ssize_t)sizeof(*msg) || (type && msg->type != type))
        _exit(99);
}

void script_reply(int sock, const struct vgpu_xmsg *to, uint32_t status)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_REPLY, .seq = to->seq};

    msg.u.reply.status = status;
    if (send(sock, &msg, sizeof(msg), MSG_NOSIGNAL) < 0)
        _exit(98);
}

void script_start(int sock)
{
    struct vgpu_xmsg msg;

    script_recv(sock, &msg, VGPU_X_START, NULL);
    script_reply(sock, &msg, VGPU_ST_OK);
}

void script_serve(int sock)
{
    struct vgpu_xmsg msg;

    for (;;) {
        script_recv(sock, &msg, 0, NULL);
        if (msg.type == VGPU_X_STOP)
            _exit(0);
        if (msg.type != VGPU_X_QUOTA)
            script_reply(sock, &msg, VGPU_ST_OK);
    }
}
