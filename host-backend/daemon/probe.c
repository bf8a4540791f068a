/* SPDX-License-Identifier: MIT */
/*
 * Asking an executor what it is, before its VM is offered to anybody.
 *
 * A process of its own does it (exec/process.h), because probing may start a GPU's driver, which
 * must not live in vgpud.  It happens at start, so waiting is in order; a process that does not
 * answer is killed.  There is no fallback: a VM whose executor can't work is an error.
 */
#include <daemon/server.h>
#include <daemon/spawn.h>
#include <exec/proto.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 60000

static VGPU_MUST_CHECK int probe_ask(int sock, const struct vgpu_vm_config *cfg,
                                     struct vgpu_xmsg *msg)
{
    struct pollfd pfd = {.fd = sock, .events = POLLIN};
    struct vgpu_x_start *start = &msg->u.start;
    int ret;

    *msg = (struct vgpu_xmsg){.type = VGPU_X_PROBE, .seq = 1};
    start->exec_kind = cfg->exec_kind;
    start->flags = cfg->allow_hmm ? VGPU_X_START_ALLOW_HMM : 0;
    start->threads = cfg->threads;
    start->deadline_ms = cfg->deadline_ms;
    start->max_inflight = 1;
    start->memory_limit = cfg->memory_bytes;
    snprintf(start->device, sizeof(start->device), "%s", cfg->device);
    snprintf(start->vm_name, sizeof(start->vm_name), "%s", cfg->name);
    if (send(sock, msg, sizeof(*msg), MSG_NOSIGNAL) < 0)
        return -errno;
    do {
        ret = poll(&pfd, 1, PROBE_MS);
    } while (ret < 0 && errno == EINTR);
    if (ret <= 0)
        return ret ? -errno : -ETIMEDOUT;
    if (recv(sock, msg, sizeof(*msg), MSG_DONTWAIT) != sizeof(*msg) || msg->type != VGPU_X_PROBED)
        return -EPROTO;
    return 0;
}

/* What was said is for the guest: limits the device can keep, text that ends. */
static VGPU_MUST_CHECK int probe_take(struct server_vm *vm, struct vgpu_x_probed *probed, char *why)
{
    struct vgpu_device_props *props = &probed->props;

    probed->why[sizeof(probed->why) - 1] = '\0';
    if (probed->status != VGPU_ST_OK) {
        snprintf(why, VGPU_WHY_BYTES, "%s", probed->why);
        return -ENODEV;
    }
    if (props->exec_kind != vm->config->exec_kind) {
        snprintf(why, VGPU_WHY_BYTES, "executor calls itself kind %u", props->exec_kind);
        return -EPROTO;
    }
    if (vm->config->memory_bytes && probed->context_bytes >= vm->config->memory_bytes) {
        snprintf(
            why, VGPU_WHY_BYTES,
            "a context alone takes %llu MiB of the GPU's memory: memory=%lluM has no room for one",
            (unsigned long long)(probed->context_bytes >> 20),
            (unsigned long long)(vm->config->memory_bytes >> 20));
        return -EDQUOT;
    }
    vm->context_bytes = probed->context_bytes;
    props->name[sizeof(props->name) - 1] = '\0';
    if (vm->config->memory_bytes)
        props->memory_bytes = vm->config->memory_bytes;
    props->deadline_ms = vm->config->deadline_ms;
    vm->props = *props;
    return 0;
}

int server_probe(struct vgpu_server *server, struct server_vm *vm, char *why)
{
    char name[] = "vgpud", role[] = "--role=probe", uid[16], gid[16];
    char *argv[] = {name, role, uid, gid, NULL};
    struct vgpu_xmsg msg;
    int pair[2], pidfd = -1;
    pid_t pid;
    int ret;

    snprintf(uid, sizeof(uid), "%d", server->drop_user ? (int)server->uid : -1);
    snprintf(gid, sizeof(gid), "%d", server->drop_user ? (int)server->gid : -1);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        snprintf(why, VGPU_WHY_BYTES, "socketpair: %s", strerror(errno));
        return -EIO;
    }
    pid = vgpu_spawn(server->exe_fd, argv, &pair[1], 1, 0, &pidfd);
    close(pair[1]);
    ret = pid < 0 ? (int)pid : probe_ask(pair[0], vm->config, &msg);
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        close(pidfd);
    }
    close(pair[0]);
    if (!ret)
        return probe_take(vm, &msg.u.probed, why);
    snprintf(why, VGPU_WHY_BYTES, "the probe process gave no answer: %s", strerror(-ret));
    return ret;
}

int server_probe_report(struct vgpu_server *server, struct server_vm *vm)
{
    char why[VGPU_WHY_BYTES] = "";
    int ret = server_probe(server, vm, why);

    /* The cuda executor's gate prints its own lines, unless it came to no end. */
    if (vm->config->exec_kind == VGPU_EXEC_CUDA && (!ret || ret == -ENODEV))
        return ret;
    for (char *c = why; *c; c++) {
        if (*c == '"' || *c == '\n')
            *c = '\'';
    }
    if (ret)
        printf("VGPU_PROBE status=FAIL check=executor detail=\"%s\" remediation=\"%s\"\n", why,
               vm->config->exec_kind == VGPU_EXEC_CUDA
                   ? "the driver crashed or hangs: see the kernel's log, reload the nvidia module"
                   : "see what vgpud printed on standard error");
    else
        printf("VGPU_PROBE status=PASS check=executor detail=\"%s\" remediation=\"\"\n",
               (const char *)vm->props.name);
    printf("VGPU_PROBE failures=%d\n", ret ? 1 : 0);
    return ret;
}
