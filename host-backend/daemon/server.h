/* SPDX-License-Identifier: MIT */
/*
 * vgpud: the listener and supervisor.  Private to its files:
 *
 *   vgpud.c     options, the start, signals, the roles of the binary
 *   server.c    one listening socket per VM; vm processes from accept() to their death
 *   probe.c     asking executors what they are
 *   attach.c    Xen domains that come and go
 *   control.c   the control socket: accounts for vgpuctl
 *
 * vgpud sees no guest data and starts no executor.  Per VM at most one vm process is *attached*; one whose
 * client has gone may still be reaping executors beside its successor (the generation lock keeps
 * them apart).  A second client while the first is attached is turned away - after a moment, because
 * the news that the first one left may still be on its way.
 */
#ifndef VGPU_DAEMON_SERVER_H
#define VGPU_DAEMON_SERVER_H

#include <signal.h>
#include <sys/types.h>
#include <daemon/config.h>
#include <daemon/loop.h>
#include <daemon/report.h>
#include <daemon/role.h>

struct vgpu_server;
struct server_vm;

struct server_proc {
    struct server_proc *next;
    struct server_vm *vm;
    pid_t pid;
    int pidfd;
    int control; /* SOCK_SEQPACKET to it */
    struct vgpu_source pid_source;
    struct vgpu_source control_source;
    bool detached;
    uint32_t generation;
    /* its last report: the header and report->ctx_count entries */
    bool report_wanted;
    struct vgpu_report *report;
};

struct server_vm {
    struct vgpu_server *server;
    const struct vgpu_vm_config *config;
    uint32_t id;
    struct vgpu_device_props props;
    uint64_t context_bytes; /* device memory each context takes for itself */
    int listen_fd;
    struct vgpu_source listen_source;
    int waiting_fd; /* a client that waits for the one before to be gone; -1: none */
    struct vgpu_timer waiting_timer;
    struct server_proc *procs; /* the attached one first */
    uint64_t attaches;
    uint64_t refused;
    uint64_t crashes;
    struct vgpu_log_limit log;
    /* of a Xen domain */
    bool served;    /* its device was registered once */
    bool detaching; /* its process is to end */
    struct vgpu_timer left_timer;
    char failed[VGPU_WHY_BYTES]; /* why its device can't be registered, "": nothing failed */
};

struct vgpu_control; /* control.c */

struct vgpu_server {
    struct vgpu_config *config;
    struct vgpu_loop loop;
    int exe_fd;
    bool drop_user;
    uid_t uid;
    gid_t gid;
    bool stopping;
    struct vgpu_timer stop_timer;
    struct server_vm *vms; /* config->vm_count of them, with room for VGPU_MAX_VMS as there */
    struct vgpu_control *control;
};

/* server.c */
VGPU_MUST_CHECK int server_listen(struct vgpu_server *server);
void server_stop(struct vgpu_server *server);
void server_fini(struct vgpu_server *server);
/* Reap children that are nobody's: left by vm processes that died. */
void server_reap_orphans(struct vgpu_server *server);
struct server_proc *server_attached(const struct server_vm *vm);

/* Start the process that serves a VM's domain; a failure shows as vm->failed. */
void server_serve_domain(struct server_vm *vm);

/* A listening socket; a stale one at that path is replaced, a live one refused (-EADDRINUSE). */
VGPU_MUST_CHECK int server_socket(const char *path, uint32_t mode, gid_t gid);

/* probe.c: what a VM's executor is. 0, or -errno with the reason in why[VGPU_WHY_BYTES]. */
VGPU_MUST_CHECK int server_probe(struct vgpu_server *server, struct server_vm *vm, char *why);
/*
 * vgpud --probe: as server_probe(), and whatever happens the last line on standard output is
 * `VGPU_PROBE failures=N`.  0, or a negative errno when the executor can't be used.
 */
VGPU_MUST_CHECK int server_probe_report(struct vgpu_server *server, struct server_vm *vm);

/* attach.c */
/* Room for VGPU_MAX_VMS in both tables, those of the configuration initialised: 0 or -ENOMEM. */
VGPU_MUST_CHECK int server_alloc_vms(struct vgpu_server *server);
bool server_vm_is_free(const struct server_vm *vm);
struct server_vm *server_find_domain(struct vgpu_server *server, uint32_t domid);
/* Begin to serve the domain that `text` describes in the form of --vm. 0 with the VM, or -errno with
 * the reason in why[VGPU_WHY_BYTES]. */
VGPU_MUST_CHECK int server_attach(struct vgpu_server *server, const char *text,
                                  struct server_vm **vm, char *why);
/* Begin to end that; -ENOENT if the domain is not served. */
VGPU_MUST_CHECK int server_detach(struct vgpu_server *server, uint32_t domid, char *why);
/* Is this message of `bytes` the one that says why the domain can't be served? Takes it, if so. */
bool server_domain_failed(struct server_proc *proc, const void *data, size_t bytes);
/* A process of a domain's VM is dead, and about to be freed. */
void server_domain_process_died(struct server_proc *proc, const siginfo_t *si);

/* control.c */
VGPU_MUST_CHECK int control_start(struct vgpu_server *server);
void control_stop(struct vgpu_server *server);
/* A report arrived, or will not any more. */
void control_report_done(struct vgpu_server *server);

#endif /* VGPU_DAEMON_SERVER_H */
