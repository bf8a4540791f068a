/* SPDX-License-Identifier: MIT */
/*
 * Contexts of a vm process: from spawning to reaping.  States: see vm.h.
 *
 * Every way out leads through ENDING and ctx_reaped(): a context is destroyed, lost or reset
 * only when waitid() has said that its process is no more.  Whether the guest then hears
 * "created: failed", "destroyed" or nothing (it has been told "lost" before) depends on what is owed.
 *
 * A process that was asked to stop, or said by itself that it is lost, gets a moment to exit;
 * everything else is SIGKILL at once.
 */
#include <daemon/vm.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void vm_ctx_log(struct vm_ctx *ctx, enum vgpu_log_level level, const char *fmt, ...)
{
    char text[320];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    vgpu_log_limited(&ctx->log, level, "ctx%u: %s", ctx->id, text);
}

bool vm_ctx_is_alive(const struct vm_ctx *ctx)
{
    return ctx->state == VM_CTX_STARTING || ctx->state == VM_CTX_LIVE ||
           ctx->state == VM_CTX_ENDING;
}

int vm_ctxs_init(struct vm *vm)
{
    uint32_t n = vm->setup.config.contexts;

    vm->ctxs = calloc(n, sizeof(*vm->ctxs));
    vm->doorbells = calloc(n, sizeof(*vm->doorbells));
    if (!vm->ctxs || !vm->doorbells)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        vm->ctxs[i] = (struct vm_ctx){.vm = vm, .id = i, .pidfd = -1, .sock = -1};
        vm->doorbells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vm->doorbells[i] < 0)
            return -errno;
    }
    vm->irq_sink = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return vm->irq_sink < 0 ? -errno : 0;
}

/* ---- The end ---- */

static void ctx_signal_kill(struct vm_ctx *ctx)
{
    if (ctx->pidfd < 0)
        ctx->kill_wanted = true; /* when the spawner has said which process it is */
    else
        syscall(SYS_pidfd_send_signal, ctx->pidfd, SIGKILL, NULL, 0);
}

static void ctx_end_timeout(void *opaque)
{
    ctx_signal_kill(opaque);
}

static void ctx_begin_end(struct vm_ctx *ctx, bool grace)
{
    if (ctx->state != VM_CTX_ENDING) {
        ctx->state = VM_CTX_ENDING;
        if (grace) {
            vgpu_timer_set(&ctx->vm->loop, &ctx->end_timer, VM_STOP_MS, ctx_end_timeout, ctx);
            return;
        }
    } else if (grace) {
        return;
    }
    vgpu_timer_cancel(&ctx->vm->loop, &ctx->end_timer);
    ctx_signal_kill(ctx);
}

void vm_ctx_kill(struct vm_ctx *ctx)
{
    ctx_begin_end(ctx, false);
}

void vm_ctx_lose(struct vm_ctx *ctx, uint16_t status, uint64_t addr, const char *message,
                 bool grace)
{
    if (!vm_ctx_is_alive(ctx))
        return;
    if (!ctx->lost_status) {
        ctx->lost_status = status;
        ctx->lost_addr = addr;
        snprintf(ctx->lost_message, sizeof(ctx->lost_message), "%s", message);
        ctx->vm->totals_lost++;
        /* The device logs what it is told; what it is not must not go unsaid. */
        if (!ctx->create_owed && !ctx->destroy_owed && !ctx->vm->resetting)
            vgpu_dev_ctx_lost(ctx->vm->dev, ctx->id, status, addr, ctx->lost_message);
        else
            vm_ctx_log(ctx, VGPU_LOG_WARN, "lost, status %#x address %#llx: %s", status,
                       (unsigned long long)addr, message);
    }
    ctx_begin_end(ctx, grace);
}

static void ctx_free(struct vm_ctx *ctx)
{
    struct vgpu_log_limit log = ctx->log;

    free(ctx->bufs);
    *ctx = (struct vm_ctx){.vm = ctx->vm, .id = ctx->id, .pidfd = -1, .sock = -1, .log = log};
}

/* What is held for the process, as opposed to for the guest's context. */
static void ctx_release_process(struct vm_ctx *ctx)
{
    struct vm *vm = ctx->vm;

    vgpu_timer_cancel(&vm->loop, &ctx->end_timer);
    vgpu_source_remove(&vm->loop, &ctx->pid_source);
    vgpu_source_remove(&vm->loop, &ctx->sock_source);
    if (ctx->pidfd >= 0)
        close(ctx->pidfd);
    if (ctx->sock >= 0)
        close(ctx->sock);
    ctx->pidfd = ctx->sock = -1;
    ctx->pid = 0;
    vm_exec_forget(ctx);
    if (vgpu_quota_give(&vm->quota, &ctx->granted_bytes, ctx->granted_bytes))
        vgpu_log(VGPU_LOG_ERROR, "ctx%u: quota account is wrong", ctx->id);
    if (ctx->stats) {
        vm_totals_add(&vm->totals, ctx->stats);
        munmap(ctx->stats, sizeof(*ctx->stats));
        ctx->stats = NULL;
    }
}

/* The process is no more (or never was). */
static void ctx_reaped(struct vm_ctx *ctx)
{
    struct vm *vm = ctx->vm;
    bool silent = vm->resetting || vm->closing || ctx->create_owed || ctx->destroy_owed;

    ctx_release_process(ctx);
    vm_bufs_reaped(ctx, silent);
    vm->alive--;
    if (vm->resetting || vm->closing) {
        ctx_free(ctx);
        if (vm->resetting && !vm->alive)
            vm_answer(vm, VM_ANSWER_RESET, 0, 0, 0);
    } else if (ctx->destroy_owed) {
        vm_answer(vm, VM_ANSWER_DESTROYED, ctx->id, 0, 0);
        ctx_free(ctx);
    } else if (ctx->create_owed) {
        vm_answer(vm, VM_ANSWER_CREATED, ctx->id, 0,
                  ctx->lost_status ? ctx->lost_status : VGPU_ST_EXEC_DIED);
        ctx_free(ctx);
    } else {
        ctx->state = VM_CTX_DEAD;
    }
    vm_unmaps_check(vm);
    vm_maybe_finish(vm);
}

static void ctx_describe_death(const siginfo_t *si, char *text, size_t bytes)
{
    if (si->si_code == CLD_EXITED && si->si_status == 127)
        snprintf(text, bytes, "executor process could not be started");
    else if (si->si_code == CLD_EXITED)
        snprintf(text, bytes, "executor process exited with status %d", si->si_status);
    else
        snprintf(text, bytes, "executor process died of signal %d (%s)", si->si_status,
                 strsignal(si->si_status));
}

static void ctx_pid_event(void *opaque, uint32_t events)
{
    struct vm_ctx *ctx = opaque;
    siginfo_t si = {0};
    char text[120];

    (void)events;
    if (waitid(P_PIDFD, (id_t)ctx->pidfd, &si, WEXITED | WNOHANG) || !si.si_pid)
        return;
    ctx_describe_death(&si, text, sizeof(text));
    vm_exec_drain(ctx); /* its last words say more than its exit status */
    vgpu_debug(VGPU_LOG_CONTROL, "ctx%u: pid %d reaped: %s", ctx->id, (int)ctx->pid, text);
    if (ctx->state != VM_CTX_ENDING)
        vm_ctx_lose(ctx, VGPU_ST_EXEC_DIED, 0, text, true);
    ctx_reaped(ctx);
}

/* ---- The beginning ---- */

void vm_spawner_event(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    struct vgpu_spawn_answer ans;
    struct vm_ctx *ctx;
    int pidfd, ret;

    (void)events;
    ret = vgpu_msg_recv(vm->spawner_sock, &ans, sizeof(ans), &pidfd);
    if (ret == -EAGAIN)
        return;
    if (ret) {
        vgpu_log(VGPU_LOG_ERROR, "spawner is gone: %s", strerror(-ret));
        vgpu_source_remove(&vm->loop, &vm->spawner_source);
        vm_close(vm, "no executor can be started any more");
        return;
    }
    ctx = &vm->ctxs[ans.ctx]; /* the spawner, which sees no guest data, repeats what it was asked */
    if (ans.pid < 0) {
        vm_ctx_lose(ctx, VGPU_ST_HOST_RESOURCES, 0, strerror(-ans.pid), true);
        ctx_reaped(ctx);
        return;
    }
    ctx->pid = ans.pid;
    ctx->pidfd = pidfd;
    if (vgpu_source_add(&vm->loop, &ctx->pid_source, pidfd, EPOLLIN, ctx_pid_event, ctx))
        ctx->kill_wanted = true;
    vgpu_debug(VGPU_LOG_CONTROL, "ctx%u: executor process %d", ctx->id, (int)ans.pid);
    if (ctx->kill_wanted)
        ctx_signal_kill(ctx);
}

/* The counter page: sealed, so that the exec process can't cut it short under us. 0 or -errno. */
static VGPU_MUST_CHECK int ctx_make_stats(struct vm_ctx *ctx, int *fd)
{
    void *p;

    *fd = memfd_create("vgpu-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return -errno;
    if (ftruncate(*fd, VGPU_PAGE_BYTES) ||
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        goto err_close;
    p = mmap(NULL, sizeof(*ctx->stats), PROT_READ, MAP_SHARED, *fd, 0);
    if (p == MAP_FAILED)
        goto err_close;
    ctx->stats = p;
    return 0;

err_close:
    close(*fd);
    *fd = -1;
    return -errno;
}

static void ctx_fill_start(const struct vm_ctx *ctx, struct vgpu_x_start *start)
{
    const struct vm *vm = ctx->vm;
    const struct vgpu_vm_config *cfg = &vm->setup.config;

    *start = (struct vgpu_x_start){
        .vm_id = vm->setup.vm_id,
        .ctx = ctx->id,
        .generation = vm->generation,
        .exec_kind = cfg->exec_kind,
        .sq_log2 = ctx->params.sq_log2,
        .cq_log2 = ctx->params.cq_log2,
        .queue_bytes = ctx->params.queue_bytes,
        .arena_bytes = ctx->params.arena_bytes,
        .max_buffers = VGPU_MAX_BUFFERS,
        .poll_us = cfg->poll_us,
        .budget = 256,
        .deadline_ms = cfg->deadline_ms,
        .threads = cfg->threads,
        .max_inflight = 128,
        .foreign_domid = cfg->domid,
        .memory_limit = cfg->memory_bytes,
        .max_image_bytes = VGPU_MAX_IMAGE_BYTES,
        .context_bytes = vm->setup.context_bytes,
    };
    snprintf(start->vm_name, sizeof(start->vm_name), "%s", cfg->name);
    snprintf(start->device, sizeof(start->device), "%s", cfg->device);
}

#define CTX_START_FDS 3 /* doorbell, interrupt, counters */

static VGPU_MUST_CHECK uint16_t ctx_send_start(struct vm_ctx *ctx, int stats_fd)
{
    struct vm *vm = ctx->vm;
    int irq = vgpu_irqs_fd(&vm->irqs, ctx->params.vector);
    int fds[VGPU_X_MAX_FDS] = {vm->doorbells[ctx->id], irq < 0 ? vm->irq_sink : irq, stats_fd};
    struct vm_runs runs = {.max = VGPU_X_MAX_RUNS, .max_files = VGPU_X_MAX_FDS - CTX_START_FDS};
    struct vgpu_xmsg msg = {.type = VGPU_X_START};
    const uint32_t prot = VGPU_DMA_READ | VGPU_DMA_WRITE;
    uint16_t status;

    status = vm_runs_add(vm, &runs, ctx->params.queue_addr, ctx->params.queue_bytes, prot);
    ctx_fill_start(ctx, &msg.u.start);
    msg.u.start.queue_runs = runs.count;
    if (status == VGPU_ST_OK) {
        runs.barrier = runs.count;
        status = vm_runs_add(vm, &runs, ctx->params.arena_addr, ctx->params.arena_bytes, prot);
    }
    if (status == VGPU_ST_OK) {
        msg.u.start.arena_runs = runs.count - msg.u.start.queue_runs;
        for (uint32_t i = 0; i < runs.file_count; i++)
            fds[CTX_START_FDS + i] = vm_runs_fd(vm, &runs, i);
        ctx->runs = runs.count;
        vm_exec_send(ctx, &msg, runs.runs, runs.count, fds, CTX_START_FDS + runs.file_count,
                     VM_START_MS, true);
    }
    vm_runs_fini(&runs);
    return status;
}

/* All but the process itself. VGPU_ST_*. */
static VGPU_MUST_CHECK uint16_t ctx_prepare(struct vm_ctx *ctx, int *peer)
{
    int pair[2], stats_fd;
    uint16_t status;

    ctx->bufs = calloc(VGPU_MAX_BUFFERS, sizeof(*ctx->bufs));
    if (!ctx->bufs || ctx_make_stats(ctx, &stats_fd))
        return VGPU_ST_HOST_MEMORY;
    status = VGPU_ST_HOST_RESOURCES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        goto out_stats;
    ctx->sock = pair[0];
    *peer = pair[1];
    if (vgpu_source_add(&ctx->vm->loop, &ctx->sock_source, ctx->sock, EPOLLIN, vm_exec_event, ctx))
        goto out_stats;
    status = ctx_send_start(ctx, stats_fd);

out_stats:
    close(stats_fd);
    return status;
}

void vm_ctx_create(void *opaque, uint32_t id, const struct vgpu_dev_ctx_params *params)
{
    struct vm *vm = opaque;
    struct vm_ctx *ctx = &vm->ctxs[id];
    struct vgpu_spawn_request req = {.ctx = id, .serial = vm->next_serial++};
    int peer = -1;
    uint16_t status;

    ctx->params = *params;
    ctx->state = VM_CTX_STARTING;
    ctx->create_owed = true;
    ctx->serial = req.serial;
    vm->alive++;
    status = ctx_prepare(ctx, &peer);
    if (status == VGPU_ST_OK && vgpu_msg_send(vm->spawner_sock, &req, sizeof(req), peer))
        status = VGPU_ST_HOST_RESOURCES;
    if (peer >= 0)
        close(peer);
    if (status == VGPU_ST_OK) {
        vm->totals_created++;
        return;
    }
    /* No process: reaped before it lived.  ctx_reaped() answers through vm_answer(). */
    ctx->state = VM_CTX_ENDING;
    ctx->lost_status = status;
    vm_ctx_log(ctx, VGPU_LOG_WARN, "can't be created, status %#x", status);
    ctx_reaped(ctx);
}

void vm_ctx_destroy(void *opaque, uint32_t id)
{
    struct vm *vm = opaque;
    struct vm_ctx *ctx = &vm->ctxs[id];
    struct vgpu_xmsg stop = {.type = VGPU_X_STOP};

    ctx->destroy_owed = true;
    if (ctx->state == VM_CTX_DEAD || ctx->state == VM_CTX_FREE) {
        ctx_free(ctx);
        vm_answer(vm, VM_ANSWER_DESTROYED, id, 0, 0);
        return;
    }
    if (ctx->state == VM_CTX_ENDING)
        return;
    vm_exec_send(ctx, &stop, NULL, 0, NULL, 0, 0, false);
    ctx_begin_end(ctx, true);
}

/* End all, answer nothing but the reset. */
void vm_ctx_reset_all(void *opaque)
{
    struct vm *vm = opaque;

    vm_answers_drop(vm);
    vm->resetting = true;
    for (uint32_t i = 0; i < vm->setup.config.contexts; i++) {
        struct vm_ctx *ctx = &vm->ctxs[i];

        if (vm_ctx_is_alive(ctx))
            vm_ctx_kill(ctx);
        else if (ctx->state == VM_CTX_DEAD)
            ctx_free(ctx);
    }
    if (!vm->alive)
        vm_answer(vm, VM_ANSWER_RESET, 0, 0, 0);
}
