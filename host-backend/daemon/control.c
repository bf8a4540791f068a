/* SPDX-License-Identifier: MIT */
/*
 * The control socket: one line in, one JSON text out, then the connection closes.
 *
 *   list              the VMs, without asking their processes
 *   stats [NAME]      the accounts of all VMs, or of one
 *   version
 *   attach VM         serve a Xen domain, VM in the form of --vm (attach.c); the answer lists it
 *   detach DOMID      serve it no longer
 *
 * Clients are served one after the other.  For `stats` every attached vm process is asked for a
 * report; the answer goes out when all have come, or after CONTROL_REPORT_MS with "responding": false
 * for those that were silent.  A client that neither asks nor reads is dropped after
 * CONTROL_CLIENT_MS.  What reports say is escaped by the JSON library, so nothing a guest
 * controls can shape the answer.
 */
#include <daemon/control_client.h>
#include <daemon/server.h>

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTROL_REPORT_MS 2000u
#define CONTROL_CLIENT_MS 5000u

struct vgpu_control {
    struct vgpu_server *server;
    int listen_fd;
    struct vgpu_source listen_source;
    int client_fd; /* -1: none */
    struct vgpu_source client_source;
    struct vgpu_timer client_timer;
    struct vgpu_timer report_timer;
    char line[VGPU_CONTROL_LINE];
    size_t line_bytes;
    bool reporting;
    const char *only; /* in `line`: the VM asked for, NULL: all */
    char *answer;
    size_t answer_bytes;
    size_t answer_sent;
};

/* ---- JSON ---- */

static void add_u64(struct json_object *obj, const char *key, uint64_t value)
{
    json_object_object_add(obj, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *obj, const char *key, const char *text, size_t room)
{
    char clean[512];
    size_t n = 0;

    for (; n < room && n < sizeof(clean) - 1 && text[n]; n++)
        clean[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    clean[n] = '\0';
    json_object_object_add(obj, key, json_object_new_string(clean));
}

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {
        [VGPU_STATE_QUIESCING] = "quiescing", [VGPU_STATE_DISABLED] = "disabled",
        [VGPU_STATE_READY] = "ready",         [VGPU_STATE_RESETTING] = "resetting",
        [VGPU_STATE_FAILED] = "failed",
    };

    return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "unknown";
}

static const char *ctx_state_name(uint32_t state)
{
    static const char *const names[] = {"free", "starting", "live", "ending", "lost"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static void add_totals(struct json_object *obj, const struct vgpu_report_totals *totals)
{
    add_u64(obj, "commands", totals->commands);
    add_u64(obj, "command_errors", totals->errors);
    add_u64(obj, "doorbells", totals->doorbells);
    add_u64(obj, "interrupts", totals->interrupts);
    add_u64(obj, "kernels", totals->kernels);
    add_u64(obj, "kernel_ns", totals->kernel_ns);
    add_u64(obj, "bytes_h2d", totals->bytes_h2d);
    add_u64(obj, "bytes_d2h", totals->bytes_d2h);
    add_u64(obj, "bytes_staged", totals->bytes_staged);
    add_u64(obj, "sleeps", totals->sleeps);
}

static struct json_object *ctx_json(const struct vgpu_report_ctx *ctx)
{
    struct json_object *obj = json_object_new_object();

    add_u64(obj, "ctx", ctx->ctx);
    add_u64(obj, "pid", ctx->pid);
    add_text(obj, "state", ctx_state_name(ctx->state), 16);
    add_u64(obj, "lost_status", ctx->lost_status);
    add_text(obj, "lost_message", ctx->lost_message, sizeof(ctx->lost_message));
    add_u64(obj, "memory_bytes", ctx->memory_held);
    add_u64(obj, "buffers", ctx->buffers);
    add_u64(obj, "buffer_bytes", ctx->buffer_bytes);
    add_u64(obj, "modules", ctx->modules);
    add_totals(obj, &ctx->totals);
    return obj;
}

static void add_report(struct json_object *obj, const struct vgpu_report *report)
{
    const struct vgpu_report_ctx *ctxs = (const void *)(report + 1);
    struct json_object *list = json_object_new_array();

    add_text(obj, "state", state_name(report->state), 16);
    add_u64(obj, "generation", report->generation);
    add_u64(obj, "contexts", report->contexts);
    add_u64(obj, "contexts_lost_now", report->lost);
    add_u64(obj, "contexts_created", report->contexts_created);
    add_u64(obj, "contexts_lost", report->contexts_lost);
    add_u64(obj, "exec_processes", report->exec_alive);
    add_u64(obj, "open_fds", report->open_fds);
    add_u64(obj, "memory_bytes", report->memory_held);
    add_u64(obj, "buffers", report->buffers);
    add_u64(obj, "buffer_bytes", report->buffer_bytes);
    add_u64(obj, "dma_bytes", report->dma_bytes);
    add_u64(obj, "dma_ranges", report->dma_ranges);
    add_u64(obj, "dma_files", report->dma_files);
    add_u64(obj, "unmaps_pending", report->unmaps_pending);
    add_u64(obj, "admin_commands", report->admin_commands);
    add_u64(obj, "guest_errors", report->guest_errors);
    add_u64(obj, "messages", report->messages);
    add_u64(obj, "messages_refused", report->messages_refused);
    add_totals(obj, &report->totals);
    for (uint32_t i = 0; i < report->ctx_count; i++)
        json_object_array_add(list, ctx_json(&ctxs[i]));
    json_object_object_add(obj, "context_list", list);
}

/* With nobody attached every account is zero, which is what a leak check wants to read. */
static struct json_object *vm_json(const struct server_vm *vm, bool stats)
{
    static const struct vgpu_report nothing;
    struct json_object *obj = json_object_new_object();
    const struct server_proc *proc = server_attached(vm);
    unsigned int processes = 0;

    for (const struct server_proc *p = vm->procs; p; p = p->next)
        processes++;
    add_text(obj, "name", vm->config->name, sizeof(vm->config->name));
    add_u64(obj, "id", vm->id);
    add_text(obj, "executor", vm->config->executor, sizeof(vm->config->executor));
    add_text(obj, "device", (const char *)vm->props.name, sizeof(vm->props.name));
    if (vm->config->domid) {
        add_u64(obj, "domid", vm->config->domid);
        add_u64(obj, "slot", vm->config->slot);
        if (vm->failed[0])
            add_text(obj, "failed", vm->failed, sizeof(vm->failed));
    } else {
        add_text(obj, "socket", vm->config->socket, sizeof(vm->config->socket));
    }
    /* A domain's process is there before the device is. */
    json_object_object_add(
        obj, "attached", json_object_new_boolean(proc && (!vm->config->domid || proc->generation)));
    add_u64(obj, "pid", proc ? (uint64_t)proc->pid : 0);
    add_u64(obj, "vm_processes", processes);
    add_u64(obj, "attaches", vm->attaches);
    add_u64(obj, "clients_refused", vm->refused);
    add_u64(obj, "crashes", vm->crashes);
    add_u64(obj, "memory_limit_bytes", vm->config->memory_bytes);
    if (!stats) {
        add_u64(obj, "generation", proc ? proc->generation : 0);
        return obj;
    }
    json_object_object_add(
        obj, "responding",
        json_object_new_boolean(!proc || (proc->report && !proc->report_wanted)));
    add_report(obj, proc && proc->report ? proc->report : &nothing);
    return obj;
}

static struct json_object *answer_json(const struct vgpu_control *control, bool stats)
{
    const struct vgpu_server *server = control->server;
    struct json_object *obj = json_object_new_object();
    struct json_object *list = json_object_new_array();

    json_object_object_add(obj, "version", json_object_new_string(VGPU_VERSION));
    add_u64(obj, "pid", (uint64_t)getpid());
    for (size_t i = 0; i < server->config->vm_count; i++) {
        if (server_vm_is_free(&server->vms[i]))
            continue;
        if (!control->only || !strcmp(control->only, server->vms[i].config->name))
            json_object_array_add(list, vm_json(&server->vms[i], stats));
    }
    json_object_object_add(obj, "vms", list);
    return obj;
}

/* ---- One client ---- */

static void control_accept(void *opaque, uint32_t events);

static void client_close(struct vgpu_control *control)
{
    struct vgpu_loop *loop = &control->server->loop;

    if (control->client_fd < 0)
        return;
    vgpu_timer_cancel(loop, &control->client_timer);
    vgpu_timer_cancel(loop, &control->report_timer);
    vgpu_source_remove(loop, &control->client_source);
    close(control->client_fd);
    free(control->answer);
    control->client_fd = -1;
    control->answer = NULL;
    control->reporting = false;
    control->line_bytes = 0;
    vgpu_source_set_events(loop, &control->listen_source, EPOLLIN);
}

static void client_timeout(void *opaque)
{
    client_close(opaque);
}

static void client_send(struct vgpu_control *control)
{
    while (control->answer_sent < control->answer_bytes) {
        ssize_t n = send(control->client_fd, control->answer + control->answer_sent,
                         control->answer_bytes - control->answer_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            vgpu_source_set_events(&control->server->loop, &control->client_source, EPOLLOUT);
            return;
        }
        if (n < 0)
            break;
        control->answer_sent += (size_t)n;
    }
    client_close(control);
}

/* Takes over `obj`. */
static void client_answer(struct vgpu_control *control, struct json_object *obj)
{
    const char *text = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PLAIN);
    size_t n = strlen(text);

    control->reporting = false;
    control->answer = malloc(n + 1);
    if (control->answer) {
        memcpy(control->answer, text, n);
        control->answer[n] = '\n';
        control->answer_bytes = n + 1;
        control->answer_sent = 0;
    }
    json_object_put(obj);
    if (control->answer)
        client_send(control);
    else
        client_close(control);
}

static void client_error(struct vgpu_control *control, const char *message)
{
    struct json_object *obj = json_object_new_object();

    add_text(obj, "error", message, VGPU_WHY_BYTES);
    client_answer(control, obj);
}

static void report_timeout(void *opaque)
{
    struct vgpu_control *control = opaque;

    if (control->reporting)
        client_answer(control, answer_json(control, true));
}

void control_report_done(struct vgpu_server *server)
{
    struct vgpu_control *control = server->control;

    if (!control || !control->reporting)
        return;
    for (size_t i = 0; i < server->config->vm_count; i++) {
        const struct server_proc *proc = server_attached(&server->vms[i]);

        if (proc && proc->report_wanted)
            return;
    }
    vgpu_timer_cancel(&server->loop, &control->report_timer);
    client_answer(control, answer_json(control, true));
}

static void client_stats(struct vgpu_control *control)
{
    const struct vgpu_ctl ask = {VGPU_CTL_REPORT, 0};
    struct vgpu_server *server = control->server;

    control->reporting = true;
    for (size_t i = 0; i < server->config->vm_count; i++) {
        struct server_proc *proc = server_attached(&server->vms[i]);

        if (!proc)
            continue;
        free(proc->report);
        proc->report = NULL;
        proc->report_wanted =
            (!control->only || !strcmp(control->only, server->vms[i].config->name)) &&
            send(proc->control, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(ask);
    }
    vgpu_timer_set(&server->loop, &control->report_timer, CONTROL_REPORT_MS, report_timeout,
                   control);
    control_report_done(server);
}

static bool vm_is_known(const struct vgpu_server *server, const char *name)
{
    for (size_t i = 0; i < server->config->vm_count; i++) {
        if (!strcmp(server->vms[i].config->name, name))
            return true;
    }
    return false;
}

static void client_attach(struct vgpu_control *control, const char *text)
{
    char why[VGPU_WHY_BYTES];
    struct server_vm *vm;

    if (!text)
        client_error(control, "attach wants a VM: attach name=NAME,xen=DOMID,executor=KIND");
    else if (control->server->stopping)
        client_error(control, "vgpud is ending");
    else if (server_attach(control->server, text, &vm, why))
        client_error(control, why);
    else {
        control->only = vm->config->name;
        client_answer(control, answer_json(control, false));
    }
}

static void client_detach(struct vgpu_control *control, const char *text)
{
    char why[VGPU_WHY_BYTES], *end;
    unsigned long domid = text && text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;

    if (!domid || *end || domid > UINT32_MAX)
        client_error(control, "detach wants a domain's id: detach DOMID");
    else if (server_detach(control->server, (uint32_t)domid, why))
        client_error(control, why);
    else {
        control->only = NULL;
        client_answer(control, answer_json(control, false));
    }
}

static void client_request(struct vgpu_control *control)
{
    char *save = NULL;
    const char *verb = strtok_r(control->line, " \r\n", &save);
    const char *name = strtok_r(NULL, " \r\n", &save);

    if (verb && !strcmp(verb, "attach")) {
        client_attach(control, name);
        return;
    }
    if (verb && !strcmp(verb, "detach")) {
        client_detach(control, name);
        return;
    }
    control->only = name;
    if (name && !vm_is_known(control->server, name))
        client_error(control, "no such VM");
    else if (verb && !strcmp(verb, "list"))
        client_answer(control, answer_json(control, false));
    else if (verb && !strcmp(verb, "stats"))
        client_stats(control);
    else if (verb && !name && !strcmp(verb, "version"))
        client_answer(control, answer_json(control, false));
    else
        client_error(control, "unknown request: there are list, stats, version, attach and detach");
}

static void client_event(void *opaque, uint32_t events)
{
    struct vgpu_control *control = opaque;
    size_t room = sizeof(control->line) - 1 - control->line_bytes;
    ssize_t n;

    if (control->answer) {
        client_send(control);
        return;
    }
    if (control->reporting) {
        if (events & (EPOLLHUP | EPOLLERR))
            client_close(control);
        return;
    }
    n = recv(control->client_fd, control->line + control->line_bytes, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(control);
        return;
    }
    control->line_bytes += (size_t)n;
    control->line[control->line_bytes] = '\0';
    if (strchr(control->line, '\n')) {
        vgpu_source_set_events(&control->server->loop, &control->client_source, 0);
        client_request(control);
    } else if (control->line_bytes == sizeof(control->line) - 1) {
        client_error(control, "request is too long");
    }
}

static void control_accept(void *opaque, uint32_t events)
{
    struct vgpu_control *control = opaque;
    struct vgpu_loop *loop = &control->server->loop;
    int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0)
        return;
    if (vgpu_source_add(loop, &control->client_source, fd, EPOLLIN, client_event, control)) {
        close(fd);
        return;
    }
    control->client_fd = fd;
    /* The next client waits in the socket's queue. */
    vgpu_source_set_events(loop, &control->listen_source, 0);
    vgpu_timer_set(loop, &control->client_timer, CONTROL_CLIENT_MS, client_timeout, control);
}

/* ---- The socket ---- */

int control_start(struct vgpu_server *server)
{
    struct vgpu_control *control = calloc(1, sizeof(*control));
    int ret;

    if (!control)
        return -ENOMEM;
    control->server = server;
    control->client_fd = -1;
    control->listen_fd = server_socket(server->config->control, 0600, (gid_t)-1);
    ret = control->listen_fd < 0 ? control->listen_fd : 0;
    if (!ret)
        ret = vgpu_source_add(&server->loop, &control->listen_source, control->listen_fd, EPOLLIN,
                              control_accept, control);
    if (ret) {
        if (control->listen_fd >= 0)
            close(control->listen_fd);
        free(control);
        return ret;
    }
    server->control = control;
    return 0;
}

void control_stop(struct vgpu_server *server)
{
    struct vgpu_control *control = server->control;

    if (!control)
        return;
    client_close(control);
    vgpu_source_remove(&server->loop, &control->listen_source);
    close(control->listen_fd);
    unlink(server->config->control);
    free(control);
    server->control = NULL;
}
