/* SPDX-License-Identifier: MIT */
/*
 * The vm process: start, event sources, generation, end.  See vm.h for the whole.
 *
 * Start.  vgpud hands over setup, control socket, client connection, generation file and the
 * binary.  The process isolates itself in stages, splits off its spawner in between, builds the
 * device, and looks at the first byte from the client only when all of that is done.
 *
 * The generation is announced when the lock is free (genlock.h); until then the device
 * says QUIESCING.
 *
 * End.  When the client goes away, or vgpud does, everything is killed, and the process exits when
 * the last exec process has been reaped: a VM's memory is never left to executors that
 * nobody watches.
 */
#include <daemon/genlock.h>
#include <daemon/isolation.h>
#include <daemon/vm.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VM_LOCK_POLL_MS 20u
#define VM_LOCK_NOTE_MS 1000u
#define VM_HEARTBEAT_MS 1000u

/* ---- The client ---- */

void vm_bus_update(struct vm *vm)
{
    if (vm->bus)
        vgpu_source_set_events(&vm->loop, &vm->bus_source,
                               vgpu_vfio_user_wants_send(vm->bus) ? EPOLLOUT : EPOLLIN);
}

static void vm_bus_event(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    int ret = 0;

    if (events & EPOLLOUT)
        ret = vgpu_vfio_user_send(vm->bus);
    if (!ret && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        ret = vgpu_vfio_user_wants_send(vm->bus) ? -ECONNRESET : vgpu_vfio_user_receive(vm->bus);
    if (!ret) {
        vm_bus_update(vm);
        return;
    }
    vm_close(vm, ret == -ECONNRESET ? "the client went away"
                 : ret == -EPROTO   ? "the client broke the protocol"
                                    : strerror(-ret));
}

/* ---- vgpud ---- */

static void vm_tell(struct vm *vm, uint32_t what, uint32_t value)
{
    const struct vgpu_ctl ctl = {what, value};

    if (send(vm->control_sock, &ctl, sizeof(ctl), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        vgpu_debug(VGPU_LOG_CONTROL, "vgpud could not be told");
}

void vm_tell_failed(struct vm *vm, const char *why)
{
    struct vgpu_ctl_failed failed = {.what = VGPU_CTL_FAILED};

    vgpu_log(VGPU_LOG_ERROR, "%s", why);
    snprintf(failed.why, sizeof(failed.why), "%s", why);
    if (send(vm->control_sock, &failed, sizeof(failed), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        vgpu_debug(VGPU_LOG_CONTROL, "vgpud could not be told");
}

static void vm_control_event(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    struct vgpu_ctl ctl;
    ssize_t n = recv(vm->control_sock, &ctl, sizeof(ctl), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        /* A vgpud that wants an end shuts down its half; one that died has closed both. */
        if (vm->xen && (events & EPOLLHUP))
            vm_xen_leave();
        vgpu_source_remove(&vm->loop, &vm->control_source);
        vm_close(vm, "vgpud ends it");
        return;
    }
    if (n == sizeof(ctl) && ctl.what == VGPU_CTL_REPORT)
        vm_report_send(vm);
}

/* ---- The generation ---- */

static void vm_lock_poll(void *opaque)
{
    struct vm *vm = opaque;
    int ret = vgpu_genlock_take(vm->lock_fd, &vm->generation);

    if (ret == -EAGAIN) {
        if (!vm->lock_noted && vgpu_now_ms() - vm->lock_since_ms > VM_LOCK_NOTE_MS) {
            vgpu_log(VGPU_LOG_WARN, "waiting for executors of the generation before to end");
            vm->lock_noted = true;
        }
        vgpu_timer_set(&vm->loop, &vm->lock_timer, VM_LOCK_POLL_MS, vm_lock_poll, vm);
        return;
    }
    if (ret) {
        vgpu_dev_host_failed(vm->dev, "the generation file can't be used");
        vgpu_log(VGPU_LOG_ERROR, "generation file: %s", strerror(-ret));
        return;
    }
    vgpu_log(VGPU_LOG_INFO, "generation %u", vm->generation);
    vgpu_dev_announce(vm->dev, vm->generation);
    vm_tell(vm, VGPU_CTL_ATTACHED, vm->generation);
}

/* ---- The end ---- */

void vm_maybe_finish(struct vm *vm)
{
    if (vm->closing && !vm->alive)
        vgpu_loop_stop(&vm->loop);
}

/* Apart from vm_close(), which may run inside a call of the bus or the device. */
static void vm_close_work(void *opaque)
{
    struct vm *vm = opaque;

    vgpu_source_remove(&vm->loop, &vm->bus_source);
    vgpu_vfio_user_destroy(vm->bus);
    vm->bus = NULL;
    vm_xen_close(vm);
    vgpu_work_cancel(&vm->loop, &vm->dev_work);
    vgpu_work_cancel(&vm->loop, &vm->answer_work);
    vgpu_timer_cancel(&vm->loop, &vm->lock_timer);
    for (uint32_t i = 0; i < vm->setup.config.contexts; i++) {
        if (vm_ctx_is_alive(&vm->ctxs[i]))
            vm_ctx_kill(&vm->ctxs[i]);
    }
    vm_maybe_finish(vm);
}

void vm_close(struct vm *vm, const char *why)
{
    if (vm->closing)
        return;
    vgpu_log(VGPU_LOG_INFO, "detached: %s; %u executor(s) to end", why, vm->alive);
    vm->closing = true;
    vm_tell(vm, VGPU_CTL_DETACHED, 0);
    vgpu_work_queue(&vm->loop, &vm->close_work, vm_close_work, vm);
}

static void vm_fini(struct vm *vm)
{
    struct vm_unmap *unmap;
    siginfo_t si;

    close(vm->spawner_sock);
    waitid(P_PID, (id_t)vm->spawner_pid, &si, WEXITED);
    vm_output_close(vm);
    vm_answers_drop(vm);
    while ((unmap = vm->unmaps)) {
        vm->unmaps = unmap->next;
        free(unmap);
    }
    vgpu_vfio_user_destroy(vm->bus);
    vm_xen_close(vm);
    free(vm->xen_vectors);
    vgpu_dev_destroy(vm->dev);
    vgpu_dma_destroy(vm->dma);
    vgpu_irqs_fini(&vm->irqs);
    for (uint32_t i = 0; vm->doorbells && i < vm->setup.config.contexts; i++)
        close(vm->doorbells[i]);
    for (uint32_t i = 0; vm->ctxs && i < vm->setup.config.contexts; i++)
        free(vm->ctxs[i].bufs);
    free(vm->ctxs);
    free(vm->doorbells);
    vgpu_loop_fini(&vm->loop);
    free(vm);
}

/* ---- The start ---- */

static VGPU_MUST_CHECK int vm_read_setup(struct vgpu_vm_setup *setup)
{
    ssize_t n = pread(VGPU_VMFD_SETUP, setup, sizeof(*setup), 0);

    close(VGPU_VMFD_SETUP);
    if (n != sizeof(*setup) || setup->magic != VGPU_SETUP_MAGIC || setup->bytes != sizeof(*setup))
        return -EBADMSG;
    return 0;
}

/* The spawner's whole life, in the child. Does not return. */
static void vm_run_spawner(struct vm *vm, int sock, int root_fd, pid_t parent)
{
    const struct vgpu_vm_setup *setup = &vm->setup;
    const struct vgpu_spawner_config config = {
        .exe_fd = VGPU_VMFD_EXE,
        .lock_fd = VGPU_VMFD_LOCK,
        .kind = setup->config.executor,
        .vm_name = setup->config.name,
        .root_fd = root_fd,
    };
    int ret = 0;

    prctl(PR_SET_NAME, "vgpu-spawn", 0, 0, 0);
    close(VGPU_VMFD_CONTROL);
    close(VGPU_VMFD_CLIENT);
    if (setup->drop_user)
        ret = root_fd < 0 ? vgpu_isolate_user(setup->uid, setup->gid)
                          : vgpu_isolate_user_but_root(setup->uid, setup->gid);
    if (!ret)
        ret = vgpu_isolate_tie(parent);
    if (ret) {
        vgpu_log(VGPU_LOG_ERROR, "spawner can't isolate itself: %s", strerror(-ret));
        _exit(1);
    }
    _exit(vgpu_spawner_main(sock, &config));
}

/* `root_fd`: an empty directory, or -1. */
static VGPU_MUST_CHECK int vm_start_spawner(struct vm *vm, int root_fd)
{
    int printed = vm_output_open(&vm->output);
    pid_t self = getpid();
    int pair[2];
    pid_t pid;

    if (printed < 0)
        return printed;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return -errno;
    pid = fork();
    if (pid < 0)
        return -errno;
    if (!pid) {
        close(pair[0]);
        if (dup2(printed, STDERR_FILENO) < 0)
            _exit(1);
        /* A GPU's driver needs the file system. */
        vm_run_spawner(vm, pair[1], vm->setup.config.exec_kind == VGPU_EXEC_CUDA ? -1 : root_fd,
                       self);
    }
    close(printed);
    close(pair[1]);
    close(VGPU_VMFD_EXE);
    vm->spawner_sock = pair[0];
    vm->spawner_pid = pid;
    return 0;
}

static VGPU_MUST_CHECK int vm_isolate(struct vm *vm, pid_t parent)
{
    const struct vgpu_vm_setup *setup = &vm->setup;
    int root_fd = -1, ret = vgpu_isolate_start();

    if (!ret && setup->drop_user)
        ret = vgpu_isolate_namespaces();
    if (!ret && setup->drop_user) {
        root_fd = vgpu_isolate_empty_dir(setup->runtime_dir);
        ret = root_fd < 0 ? root_fd : 0;
    }
    if (!ret)
        ret = vm_start_spawner(vm, root_fd);
    if (!ret && setup->drop_user)
        ret = vgpu_isolate_root(root_fd);
    if (!ret && setup->drop_user)
        ret = vgpu_isolate_user(setup->uid, setup->gid);
    if (!ret)
        ret = vgpu_isolate_tie(parent);
    return ret;
}

static VGPU_MUST_CHECK int vm_make_device(struct vm *vm)
{
    const struct vgpu_vm_config *cfg = &vm->setup.config;
    const struct vgpu_dev_config dev = {
        .max_contexts = cfg->contexts,
        .max_buffers = VGPU_MAX_BUFFERS,
        .max_sg = VM_MAX_SG,
        .max_buffer_bytes = VGPU_MAX_BUFFER_BYTES,
        .max_image_bytes = VGPU_MAX_IMAGE_BYTES,
        .heartbeat_ms = VM_HEARTBEAT_MS,
        .admin_max_ms = VM_ADMIN_MAX_MS,
        .props = vm->setup.props,
    };
    const struct vgpu_vfio_user_config bus = {.contexts = cfg->contexts};

    vm->quota.limit_bytes = cfg->memory_bytes;
    vgpu_irqs_init(&vm->irqs);
    vm->dma = vgpu_dma_create();
    vm->dev = vgpu_dev_create(&dev, &vm_dev_ops, vm);
    if (!vm->dma || !vm->dev)
        return -ENOMEM;
    if (vm->xen)
        return vm_ctxs_init(vm);
    vm->bus =
        vgpu_vfio_user_create(VGPU_VMFD_CLIENT, &bus, vm->dev, vm->dma, &vm->irqs, &vm_bus_ops, vm);
    return vm->bus ? vm_ctxs_init(vm) : -ENOMEM;
}

static VGPU_MUST_CHECK int vm_add_sources(struct vm *vm)
{
    int ret = vm->xen ? 0
                      : vgpu_source_add(&vm->loop, &vm->bus_source, VGPU_VMFD_CLIENT, EPOLLIN,
                                        vm_bus_event, vm);

    if (!ret)
        ret = vgpu_source_add(&vm->loop, &vm->control_source, vm->control_sock, EPOLLIN,
                              vm_control_event, vm);
    if (!ret)
        ret = vgpu_source_add(&vm->loop, &vm->spawner_source, vm->spawner_sock, EPOLLIN,
                              vm_spawner_event, vm);
    if (!ret)
        ret = vm_output_watch(vm);
    vm->lock_since_ms = vgpu_now_ms();
    vgpu_timer_set(&vm->loop, &vm->lock_timer, 0, vm_lock_poll, vm);
    return ret;
}

/* All up to the point from which guest data is touched. */
static VGPU_MUST_CHECK int vm_start(struct vm *vm, pid_t parent)
{
    int ret = vm_read_setup(&vm->setup);
    char tag[64];

    if (ret)
        return ret;
    snprintf(tag, sizeof(tag), "vm%u(%s)", vm->setup.vm_id, vm->setup.config.name);
    vgpu_log_setup((enum vgpu_log_level)vm->setup.log_level, vm->setup.debug, tag);
    vm->control_sock = VGPU_VMFD_CONTROL;
    vm->lock_fd = VGPU_VMFD_LOCK;
    if (vm->setup.config.domid) {
        ret = vm_xen_open(vm);
        if (ret)
            return ret;
    }
    ret = vm_isolate(vm, parent);
    vm->max_fds = getdtablesize();
    if (!ret)
        ret = vgpu_guard_init();
    if (!ret)
        ret = vgpu_loop_init(&vm->loop);
    if (!ret)
        ret = vm_make_device(vm);
    if (!ret)
        ret = vm_add_sources(vm);
    if (!ret && vm->xen)
        ret = vm_xen_attach(vm);
    return ret ? ret : vgpu_isolate_vm_syscalls();
}

int vgpu_vm_main(void)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    pid_t parent = getppid();
    int ret;

    if (!vm)
        return 1;
    prctl(PR_SET_NAME, "vgpu-vm", 0, 0, 0);
    vm->loop.epoll_fd = -1;
    vm->spawner_sock = -1;
    vm->output.fd = -1;
    ret = vm_start(vm, parent);
    if (ret) {
        vgpu_log(VGPU_LOG_ERROR, "vm process can't start: %s", strerror(-ret));
        vm_xen_close(vm); /* a domain keeps what is registered in it */
        return 1;
    }
    ret = vgpu_loop_run(&vm->loop);
    if (ret)
        vgpu_log(VGPU_LOG_ERROR, "event loop: %s", strerror(-ret));
    vm_fini(vm);
    return ret ? 1 : 0;
}
