/* SPDX-License-Identifier: MIT */
/*
 * VMs that come and go while vgpud runs: Xen domains, told by `attach` and `detach` at the control
 * socket (control.c).
 *
 * A VM has a place in server->vms and one in config->vms, of the same index, and stays there for its
 * life: event sources and processes point to it.  So both tables have room for all VMs from the
 * start, and the place of one that left is *free* and used again.
 *
 * attach answers as soon as the VM's process is started.  From then on the VM is in the list,
 * and becomes `attached` when its device is registered with Xen, or `failed` with the reason: a failed one
 * keeps its place, for the reason to be read, until it is detached or the place is needed.  Whoever waits for
 * the one or the other asks again (control_client.c); vgpud waits for nobody.
 *
 * detach ends the VM's process as the end of its domain does: executors are reaped first, then the
 * ioreq server goes.  A domain that runs on finds its device gone, as with a card
 * pulled out.
 */
#include <daemon/server.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void vm_init(struct vgpu_server *server, size_t idx)
{
    server->vms[idx] = (struct server_vm){.server = server,
                                          .config = &server->config->vms[idx],
                                          .id = (uint32_t)idx,
                                          .listen_fd = -1,
                                          .waiting_fd = -1};
}

int server_alloc_vms(struct vgpu_server *server)
{
    struct vgpu_config *cfg = server->config;
    struct vgpu_vm_config *vms = reallocarray(cfg->vms, VGPU_MAX_VMS, sizeof(*vms));

    if (!vms)
        return -ENOMEM;
    cfg->vms = vms;
    memset(vms + cfg->vm_count, 0, (VGPU_MAX_VMS - cfg->vm_count) * sizeof(*vms));
    server->vms = calloc(VGPU_MAX_VMS, sizeof(*server->vms));
    if (!server->vms)
        return -ENOMEM;
    for (size_t i = 0; i < cfg->vm_count; i++)
        vm_init(server, i);
    return 0;
}

bool server_vm_is_free(const struct server_vm *vm)
{
    return !vm->config->name[0];
}

struct server_vm *server_find_domain(struct vgpu_server *server, uint32_t domid)
{
    for (size_t i = 0; i < server->config->vm_count; i++) {
        if (!server_vm_is_free(&server->vms[i]) && server->vms[i].config->domid == domid)
            return &server->vms[i];
    }
    return NULL;
}

static void vm_free_place(struct server_vm *vm)
{
    vgpu_timer_cancel(&vm->server->loop, &vm->waiting_timer);
    vgpu_timer_cancel(&vm->server->loop, &vm->left_timer);
    vm->server->config->vms[vm->id] = (struct vgpu_vm_config){0};
    vm_init(vm->server, vm->id);
}

/* A place for one more VM: an unused one first, then a failed one's; NULL if there is none. */
static struct server_vm *vm_find_place(struct vgpu_server *server)
{
    struct server_vm *failed = NULL;

    for (size_t i = 0; i < server->config->vm_count; i++) {
        struct server_vm *vm = &server->vms[i];

        if (server_vm_is_free(vm))
            return vm;
        if (vm->failed[0] && !vm->procs)
            failed = vm;
    }
    if (server->config->vm_count < VGPU_MAX_VMS)
        return &server->vms[server->config->vm_count++];
    if (failed)
        vm_free_place(failed);
    return failed;
}

/* ---- attach ---- */

/* What a VM may not have in common with another. */
static VGPU_MUST_CHECK int attach_check_others(struct vgpu_server *server,
                                               const struct vgpu_vm_config *cfg, char *why)
{
    struct server_vm *same = server_find_domain(server, cfg->domid);

    if (same && same->failed[0] && !same->procs) {
        vm_free_place(same); /* another try */
        same = NULL;
    }
    if (same) {
        snprintf(why, VGPU_WHY_BYTES,
                 "domain %u has a vGPU already, '%s' in slot 0x%x: detach that first", cfg->domid,
                 same->config->name, same->config->slot);
        return -EEXIST;
    }
    for (size_t i = 0; i < server->config->vm_count; i++) {
        if (!strcmp(server->vms[i].config->name, cfg->name)) {
            snprintf(why, VGPU_WHY_BYTES,
                     "name=%s: a VM of that name is served already: give another name", cfg->name);
            return -EEXIST;
        }
    }
    return 0;
}

/* Executors that keep device memory in the host's can't have more than that. */
static VGPU_MUST_CHECK int attach_check_memory(const struct vgpu_vm_config *cfg, char *why)
{
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    if (cfg->exec_kind == VGPU_EXEC_CUDA || cfg->memory_bytes <= host)
        return 0;
    snprintf(
        why, VGPU_WHY_BYTES,
        "memory=%lluM is more than this host has (%lluM), where the %s executor keeps it: give "
        "less",
        (unsigned long long)(cfg->memory_bytes >> 20), (unsigned long long)(host >> 20),
        cfg->executor);
    return -EINVAL;
}

/* One VM in the form of --vm, whole and by itself. */
static VGPU_MUST_CHECK int attach_parse(const char *text, struct vgpu_vm_config *vm, char *why)
{
    struct vgpu_config cfg;
    int ret;

    vgpu_config_init(&cfg);
    ret = vgpu_config_add_vm(&cfg, text, why);
    if (!ret)
        ret = vgpu_config_finish(&cfg, why);
    if (!ret)
        *vm = cfg.vms[0];
    vgpu_config_fini(&cfg);
    if (!ret && !vm->domid) {
        snprintf(why, VGPU_WHY_BYTES, "attach is for Xen domains: give xen=DOMID");
        ret = -EINVAL;
    }
    return ret;
}

int server_attach(struct vgpu_server *server, const char *text, struct server_vm **out, char *why)
{
    char reason[VGPU_WHY_BYTES];
    struct vgpu_vm_config cfg;
    struct server_vm *vm;
    int ret = attach_parse(text, &cfg, why);

    if (!ret)
        ret = attach_check_others(server, &cfg, why);
    if (!ret)
        ret = attach_check_memory(&cfg, why);
    if (ret)
        return ret;
    vm = vm_find_place(server);
    if (!vm) {
        snprintf(why, VGPU_WHY_BYTES, "vgpud serves %d VMs already: no more can be attached",
                 VGPU_MAX_VMS);
        return -ENOSPC;
    }
    vm_init(server, (size_t)(vm - server->vms));
    server->config->vms[vm->id] = cfg;
    ret = server_probe(server, vm, reason);
    if (ret) {
        snprintf(why, VGPU_WHY_BYTES, "executor=%s can't be used: %.450s", cfg.executor, reason);
        vm_free_place(vm);
        return ret;
    }
    vgpu_log(VGPU_LOG_INFO, "vm%u(%s): domain %u, slot 0x%x, executor %s: %s", vm->id, cfg.name,
             cfg.domid, cfg.slot, cfg.executor, (const char *)vm->props.name);
    server_serve_domain(vm);
    *out = vm;
    return 0;
}

/* ---- detach, and the domain's own end ---- */

int server_detach(struct vgpu_server *server, uint32_t domid, char *why)
{
    struct server_vm *vm = server_find_domain(server, domid);

    if (!vm) {
        snprintf(why, VGPU_WHY_BYTES,
                 "domain %u has no vGPU here: vgpuctl list shows those that do", domid);
        return -ENOENT;
    }
    vgpu_timer_cancel(&server->loop, &vm->waiting_timer);
    vm->detaching = true;
    for (struct server_proc *p = vm->procs; p; p = p->next)
        shutdown(p->control, SHUT_WR);
    if (!vm->procs)
        vm_free_place(vm);
    return 0;
}

bool server_domain_failed(struct server_proc *proc, const void *data, size_t bytes)
{
    struct vgpu_ctl_failed failed;

    if (bytes != sizeof(failed))
        return false;
    memcpy(&failed, data, sizeof(failed));
    if (failed.what != VGPU_CTL_FAILED)
        return false;
    snprintf(proc->vm->failed, sizeof(proc->vm->failed), "%.*s", (int)sizeof(failed.why) - 1,
             failed.why);
    return true;
}

/* When the process has been freed. */
static void domain_left(void *opaque)
{
    struct server_vm *vm = opaque;

    if (vm->procs)
        return;
    if (vm->detaching || vm->served) {
        vgpu_log(VGPU_LOG_INFO, "vm%u(%s): domain %u is not served any more", vm->id,
                 vm->config->name, vm->config->domid);
        vm_free_place(vm);
    } else if (!vm->failed[0]) {
        snprintf(vm->failed, sizeof(vm->failed),
                 "its process ended before the device was registered: see vgpud's log");
    }
}

void server_domain_process_died(struct server_proc *proc, const siginfo_t *si)
{
    struct server_vm *vm = proc->vm;
    struct vgpu_ctl_failed failed;
    ssize_t n;

    /* What it had still to say. */
    do {
        n = recv(proc->control, &failed, sizeof(failed), MSG_DONTWAIT | MSG_TRUNC);
    } while (n > 0 && !server_domain_failed(proc, &failed, (size_t)n));
    /* A killed one gets a successor, unless it was to end. */
    if (si->si_code == CLD_EXITED || vm->detaching)
        vgpu_timer_set(&vm->server->loop, &vm->left_timer, 0, domain_left, vm);
}
