/* SPDX-License-Identifier: MIT */
/*
 * Listening and supervising: see server.h.
 *
 * A vm process is told nothing but to report; it is ended by closing its control socket, upon
 * which it ends its executors, reaps them and exits - or by SIGKILL when that takes too long. Its
 * death, whatever the cause, concerns its VM only: the next client gets a new process.
 */
#include <daemon/server.h>
#include <daemon/spawn.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER_TAKEOVER_MS 500u  /* how long a client waits for the one before to be gone */
#define SERVER_DOMAIN_MS   100u  /* before a process that was killed gets a successor */
#define SERVER_STOP_MS     5000u /* how long vm processes may take to end */

struct server_proc *server_attached(const struct server_vm *vm)
{
    return vm->procs && !vm->procs->detached ? vm->procs : NULL;
}

/* ---- Sockets ---- */

static VGPU_MUST_CHECK int socket_remove_stale(const char *path, const struct sockaddr_un *sa)
{
    struct stat st;
    int fd, ret;

    if (lstat(path, &st))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    ret = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) ? -errno : 0;
    close(fd);
    if (ret != -ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(path) ? -errno : 0;
}

int server_socket(const char *path, uint32_t mode, gid_t gid)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    mode_t mask;
    int fd, ret;

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    ret = socket_remove_stale(path, &sa);
    if (ret)
        return ret;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mask = umask(0177);
    ret = bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
    umask(mask);
    /* Nobody can connect before listen(), so the rights are right from the first moment. */
    if (!ret && gid != (gid_t)-1 && chown(path, (uid_t)-1, gid))
        ret = -errno;
    if (!ret && (chmod(path, mode) || listen(fd, 16)))
        ret = -errno;
    if (!ret)
        return fd;
    close(fd);
    return ret;
}

/* ---- vm processes ---- */

static void proc_free(struct server_proc *proc)
{
    struct vgpu_loop *loop = &proc->vm->server->loop;
    struct server_proc **p = &proc->vm->procs;

    while (*p != proc)
        p = &(*p)->next;
    *p = proc->next;
    vgpu_source_remove(loop, &proc->pid_source);
    vgpu_source_remove(loop, &proc->control_source);
    close(proc->pidfd);
    close(proc->control);
    free(proc->report);
    free(proc);
}

static void vm_serve_waiting(struct server_vm *vm);
static void vm_domain_left(struct server_vm *vm, const siginfo_t *si);

static void proc_died(void *opaque, uint32_t events)
{
    struct server_proc *proc = opaque;
    struct server_vm *vm = proc->vm;
    struct vgpu_server *server = vm->server;
    siginfo_t si = {0};

    (void)events;
    if (waitid(P_PIDFD, (id_t)proc->pidfd, &si, WEXITED | WNOHANG) || !si.si_pid)
        return;
    if (si.si_code == CLD_EXITED && !si.si_status) {
        vgpu_debug(VGPU_LOG_CONTROL, "vm%u(%s): process %d ended", vm->id, vm->config->name,
                   (int)proc->pid);
    } else {
        vm->crashes++;
        vgpu_log_limited(&vm->log, VGPU_LOG_WARN, "vm%u(%s): vm process %d %s %d%s%s", vm->id,
                         vm->config->name, (int)proc->pid,
                         si.si_code == CLD_EXITED ? "exited with status" : "died of signal",
                         si.si_status, si.si_code == CLD_EXITED ? "" : ": ",
                         si.si_code == CLD_EXITED ? "" : strsignal(si.si_status));
    }
    if (vm->config->domid)
        server_domain_process_died(proc, &si);
    proc_free(proc);
    control_report_done(server);
    if (server->stopping)
        server_stop(server);
    else if (vm->config->domid)
        vm_domain_left(vm, &si);
    else
        vm_serve_waiting(vm);
}

static struct server_proc *proc_find(const struct vgpu_server *server, pid_t pid)
{
    for (size_t i = 0; i < server->config->vm_count; i++) {
        for (struct server_proc *p = server->vms[i].procs; p; p = p->next) {
            if (p->pid == pid)
                return p;
        }
    }
    return NULL;
}

void server_reap_orphans(struct vgpu_server *server)
{
    for (;;) {
        struct server_proc *proc;
        siginfo_t si = {0};

        if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) || !si.si_pid)
            return;
        proc = proc_find(server, si.si_pid);
        if (proc)
            proc_died(proc, 0);
        else if (waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG))
            return;
    }
}

/* A report is believed as far as its size goes. */
static void proc_take_report(struct server_proc *proc, const void *data, size_t bytes)
{
    struct vgpu_report report;

    memcpy(&report, data, sizeof(report));
    if (report.magic != VGPU_REPORT_MAGIC || report.ctx_count > VGPU_REPORT_MAX_CTXS ||
        bytes != sizeof(report) + report.ctx_count * sizeof(struct vgpu_report_ctx)) {
        vgpu_log_limited(&proc->vm->log, VGPU_LOG_WARN, "vm%u(%s): odd report of %zu bytes",
                         proc->vm->id, proc->vm->config->name, bytes);
        return;
    }
    free(proc->report);
    proc->report = malloc(bytes);
    if (proc->report)
        memcpy(proc->report, data, bytes);
    proc->report_wanted = false;
}

static void proc_control_event(void *opaque, uint32_t events)
{
    static uint8_t
        buf[sizeof(struct vgpu_report) + VGPU_REPORT_MAX_CTXS * sizeof(struct vgpu_report_ctx)];
    struct server_proc *proc = opaque;
    struct server_vm *vm = proc->vm;
    struct vgpu_ctl ctl;
    ssize_t n = recv(proc->control, buf, sizeof(buf), MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        vgpu_source_remove(&vm->server->loop, &proc->control_source); /* its death follows */
        return;
    }
    if (n == sizeof(ctl)) {
        memcpy(&ctl, buf, sizeof(ctl));
        if (ctl.what == VGPU_CTL_ATTACHED) {
            proc->generation = ctl.value;
            vm->served = true;
        }
        if (ctl.what == VGPU_CTL_DETACHED) {
            proc->detached = true;
            vm_serve_waiting(vm);
        }
        return;
    }
    if (server_domain_failed(proc, buf, (size_t)n))
        return;
    if ((size_t)n >= sizeof(struct vgpu_report))
        proc_take_report(proc, buf, (size_t)n);
    control_report_done(vm->server);
}

/* The setup, in a memfd that nobody can change any more. */
static VGPU_MUST_CHECK int proc_make_setup(const struct server_vm *vm)
{
    const struct vgpu_server *server = vm->server;
    struct vgpu_vm_setup setup = {
        .magic = VGPU_SETUP_MAGIC,
        .bytes = sizeof(setup),
        .vm_id = vm->id,
        .log_level = server->config->log_level,
        .debug = server->config->debug,
        .drop_user = server->drop_user,
        .uid = server->uid,
        .gid = server->gid,
        .config = *vm->config,
        .props = vm->props,
        .context_bytes = vm->context_bytes,
    };
    int fd = memfd_create("vgpu-setup", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    memcpy(setup.runtime_dir, server->config->runtime_dir, sizeof(setup.runtime_dir));
    if (pwrite(fd, &setup, sizeof(setup), 0) == sizeof(setup) &&
        !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
        return fd;
    close(fd);
    return -EIO;
}

static VGPU_MUST_CHECK int proc_open_lock(const struct server_vm *vm)
{
    char path[VGPU_PATH_BYTES + VGPU_VM_NAME_BYTES + 16];
    int fd;

    snprintf(path, sizeof(path), "%s/%s.generation", vm->server->config->runtime_dir,
             vm->config->name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    return fd;
}

/* Start a vm process for a client; `client` stays the caller's. 0 or -errno. */
static VGPU_MUST_CHECK int proc_start(struct server_vm *vm, int client)
{
    struct vgpu_server *server = vm->server;
    char name[] = "vgpud", role[] = "--role=vm", which[VGPU_VM_NAME_BYTES];
    char *argv[] = {name, role, which, NULL};
    struct server_proc *proc = calloc(1, sizeof(*proc));
    int fds[5] = {-1, -1, client, -1, server->exe_fd};
    int pair[2], ret;

    if (!proc)
        return -ENOMEM;
    snprintf(which, sizeof(which), "%s", vm->config->name);
    ret = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
    if (ret)
        goto err_proc;
    fds[0] = proc_make_setup(vm);
    fds[1] = pair[1];
    fds[3] = proc_open_lock(vm);
    ret = fds[0] < 0 ? fds[0] : fds[3] < 0 ? fds[3] : 0;
    if (!ret) {
        proc->pid = vgpu_spawn(server->exe_fd, argv, fds, 5, 0, &proc->pidfd);
        ret = proc->pid < 0 ? (int)proc->pid : 0;
    }
    if (fds[0] >= 0)
        close(fds[0]);
    if (fds[3] >= 0)
        close(fds[3]);
    close(pair[1]);
    if (ret)
        goto err_pair;
    proc->vm = vm;
    proc->control = pair[0];
    proc->next = vm->procs;
    vm->procs = proc;
    ret = vgpu_source_add(&server->loop, &proc->pid_source, proc->pidfd, EPOLLIN, proc_died, proc);
    if (!ret)
        ret = vgpu_source_add(&server->loop, &proc->control_source, proc->control, EPOLLIN,
                              proc_control_event, proc);
    if (!ret)
        return 0;
    kill(proc->pid, SIGKILL);
    waitpid(proc->pid, NULL, 0);
    proc_free(proc);
    return ret;

err_pair:
    close(pair[0]);
err_proc:
    free(proc);
    return ret;
}

/* ---- Clients ---- */

static void vm_attach(struct server_vm *vm, int client)
{
    int ret = proc_start(vm, client);

    close(client);
    if (ret) {
        vgpu_log_limited(&vm->log, VGPU_LOG_ERROR, "vm%u(%s): can't start its process: %s", vm->id,
                         vm->config->name, strerror(-ret));
        return;
    }
    vm->attaches++;
    vgpu_log_limited(&vm->log, VGPU_LOG_INFO, "vm%u(%s): client attached, process %d", vm->id,
                     vm->config->name, (int)vm->procs->pid);
}

/* ---- Xen domains, which are served without having asked ---- */

static void vm_serve_domain(void *opaque)
{
    struct server_vm *vm = opaque;
    int none = open("/dev/null", O_RDWR | O_CLOEXEC); /* in place of a client */

    if (none < 0)
        vgpu_log_limited(&vm->log, VGPU_LOG_ERROR, "vm%u(%s): /dev/null: %s", vm->id,
                         vm->config->name, strerror(errno));
    else
        vm_attach(vm, none);
}

/* A process that was killed has a successor, which takes the domain over; one that ended by
 * itself has said why: the domain is gone, or can't be served. */
static void vm_domain_left(struct server_vm *vm, const siginfo_t *si)
{
    if (si->si_code != CLD_EXITED)
        vgpu_timer_set(&vm->server->loop, &vm->waiting_timer, SERVER_DOMAIN_MS, vm_serve_domain,
                       vm);
}

static void vm_refuse_waiting(void *opaque)
{
    struct server_vm *vm = opaque;

    vm->refused++;
    vgpu_log_limited(&vm->log, VGPU_LOG_WARN,
                     "vm%u(%s): second client refused, one is attached already", vm->id,
                     vm->config->name);
    close(vm->waiting_fd);
    vm->waiting_fd = -1;
}

static void vm_serve_waiting(struct server_vm *vm)
{
    int client = vm->waiting_fd;

    if (client < 0 || server_attached(vm))
        return;
    vgpu_timer_cancel(&vm->server->loop, &vm->waiting_timer);
    vm->waiting_fd = -1;
    vm_attach(vm, client);
}

static void vm_accept(void *opaque, uint32_t events)
{
    struct server_vm *vm = opaque;
    int client = accept4(vm->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (client < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            vgpu_log_limited(&vm->log, VGPU_LOG_ERROR, "vm%u(%s): accept: %s", vm->id,
                             vm->config->name, strerror(errno));
        return;
    }
    if (vm->waiting_fd >= 0) {
        vgpu_timer_cancel(&vm->server->loop, &vm->waiting_timer);
        vm_refuse_waiting(vm);
    }
    vm->waiting_fd = client;
    if (server_attached(vm))
        vgpu_timer_set(&vm->server->loop, &vm->waiting_timer, SERVER_TAKEOVER_MS, vm_refuse_waiting,
                       vm);
    else
        vm_serve_waiting(vm);
}

int server_listen(struct vgpu_server *server)
{
    for (size_t i = 0; i < server->config->vm_count; i++) {
        struct server_vm *vm = &server->vms[i];
        int ret;

        if (vm->config->domid) {
            vm_serve_domain(vm);
            continue;
        }
        vm->listen_fd =
            server_socket(vm->config->socket, vm->config->socket_mode, vm->config->socket_gid);
        ret = vm->listen_fd;
        if (ret >= 0)
            ret = vgpu_source_add(&server->loop, &vm->listen_source, vm->listen_fd, EPOLLIN,
                                  vm_accept, vm);
        if (ret) {
            vgpu_log(VGPU_LOG_ERROR, "vm%u(%s): socket %s: %s", vm->id, vm->config->name,
                     vm->config->socket,
                     ret == -EADDRINUSE ? "another process listens there"
                     : ret == -EEXIST   ? "something is there that is no socket"
                                        : strerror(-ret));
            return ret;
        }
    }
    return 0;
}

void server_serve_domain(struct server_vm *vm)
{
    vm_serve_domain(vm);
    if (!vm->procs)
        snprintf(vm->failed, sizeof(vm->failed), "its process can't be started: see vgpud's log");
}

/* ---- The end ---- */

static void server_kill_all(void *opaque)
{
    struct vgpu_server *server = opaque;

    for (size_t i = 0; i < server->config->vm_count; i++) {
        for (struct server_proc *p = server->vms[i].procs; p; p = p->next) {
            vgpu_log(VGPU_LOG_WARN, "vm%u(%s): process %d does not end: killed", server->vms[i].id,
                     server->vms[i].config->name, (int)p->pid);
            kill(p->pid, SIGKILL);
        }
    }
}

static void vm_stop(struct server_vm *vm)
{
    struct vgpu_loop *loop = &vm->server->loop;

    vgpu_timer_cancel(loop, &vm->waiting_timer);
    vgpu_timer_cancel(loop, &vm->left_timer);
    if (vm->waiting_fd >= 0)
        close(vm->waiting_fd);
    vm->waiting_fd = -1;
    if (vm->listen_fd >= 0) {
        vgpu_source_remove(loop, &vm->listen_source);
        close(vm->listen_fd);
        unlink(vm->config->socket);
    }
    vm->listen_fd = -1;
    for (struct server_proc *p = vm->procs; p; p = p->next)
        shutdown(p->control, SHUT_WR);
}

/* Begins the end, and is called again at each step of it. */
void server_stop(struct vgpu_server *server)
{
    bool alive = false;

    if (!server->stopping) {
        server->stopping = true;
        for (size_t i = 0; i < server->config->vm_count; i++)
            vm_stop(&server->vms[i]);
        vgpu_timer_set(&server->loop, &server->stop_timer, SERVER_STOP_MS, server_kill_all, server);
    }
    for (size_t i = 0; i < server->config->vm_count; i++)
        alive |= server->vms[i].procs != NULL;
    if (!alive)
        vgpu_loop_stop(&server->loop);
}

void server_fini(struct vgpu_server *server)
{
    control_stop(server);
    for (size_t i = 0; server->vms && i < server->config->vm_count; i++) {
        while (server->vms[i].procs)
            proc_free(server->vms[i].procs);
        vm_stop(&server->vms[i]);
    }
    free(server->vms);
    vgpu_loop_fini(&server->loop);
    if (server->exe_fd >= 0)
        close(server->exe_fd);
}
