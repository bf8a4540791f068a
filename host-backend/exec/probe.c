// SPDX-License-Identifier: MIT
/*
 * A process that only asks an executor what it is: before any VM is served, so that a missing GPU or
 * driver is an error of the operator's command line and not of a guest's first context.  In a
 * process of its own, because probing may start a driver that must not live in vgpud.
 */
#include <exec/find.h>
#include <exec/process.h>
#include <exec/xsock.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Nothing is ever charged while probing. */
static int probe_quota_take(void *opaque, uint64_t bytes)
{
    return 0;
}

static void probe_quota_give(void *opaque, uint64_t bytes)
{
}

static void probe_answer(const struct vgpu_x_start *start, struct vgpu_x_probed *probed)
{
    const struct vgpu_exec_config cfg = {
        .device = start->device[0] ? start->device : NULL,
        .allow_hmm = start->flags & VGPU_X_START_ALLOW_HMM,
        .threads = start->threads,
        .deadline_ms = start->deadline_ms,
        .max_inflight = start->max_inflight ? start->max_inflight : 1,
        .memory_limit = start->memory_limit,
        .quota_take = probe_quota_take,
        .quota_give = probe_quota_give,
    };
    const struct vgpu_exec_ops *ops = vgpu_exec_find_kind(start->exec_kind);
    int rc;

    memset(probed, 0, sizeof(*probed));
    if (!ops) {
        probed->status = VGPU_ST_HOST_NO_DEVICE;
        snprintf(probed->why, sizeof(probed->why), "no executor of kind %u in this build",
                 start->exec_kind);
        return;
    }
    rc = ops->probe(&cfg, &probed->props, &probed->context_bytes, probed->why, sizeof(probed->why));
    if (rc == 0)
        return;
    memset(&probed->props, 0, sizeof(probed->props));
    probed->status = rc == -ENODEV ? VGPU_ST_HOST_NO_DEVICE : VGPU_ST_HOST_ERROR;
    probed->why[sizeof(probed->why) - 1] = '\0';
    if (!probed->why[0])
        snprintf(probed->why, sizeof(probed->why), "%s executor: %s", ops->name, strerror(-rc));
}

int vgpu_exec_probe_main(void)
{
    static struct vgpu_xin in;
    struct vgpu_xmsg out = {.type = VGPU_X_PROBED};
    struct vgpu_xsock sock;
    int rc;

    vgpu_xsock_init(&sock, VGPU_XFD_SOCKET);
    rc = vgpu_xsock_receive(&sock, &in, true);
    if (rc != 1 || in.msg.type != VGPU_X_PROBE || in.fd_count || in.msg.run_count) {
        fprintf(stderr, "exec probe: no question on descriptor %d\n", VGPU_XFD_SOCKET);
        return 1;
    }
    in.msg.u.start.device[sizeof(in.msg.u.start.device) - 1] = '\0';
    out.seq = in.msg.seq;
    probe_answer(&in.msg.u.start, &out.u.probed);
    return vgpu_xsock_send(&sock, &out) < 0 ? 1 : 0;
}
