// SPDX-License-Identifier: MIT
/*
 * Requests of the vm process; see control.h.
 */
#include <exec/control.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

void vgpu_control_init(struct vgpu_control *control, struct vgpu_xsock *sock,
                       struct vgpu_gbufs *bufs, struct vgpu_ring *ring)
{
    memset(control, 0, sizeof(*control));
    control->sock = sock;
    control->bufs = bufs;
    control->ring = ring;
}

/* ---- Answers ---- */

enum vgpu_control_result vgpu_control_flush(struct vgpu_control *control)
{
    while (control->count) {
        const struct vgpu_control_answer *a =
            &control->answers[control->first % VGPU_CONTROL_ANSWERS];

        if (a->waits && !vgpu_gbufs_is_gone(control->bufs, a->wait_buf))
            break;
        if (vgpu_xsock_reply(control->sock, a->seq, a->status) < 0)
            return VGPU_CONTROL_STOP;
        control->first++;
        control->count--;
    }
    return VGPU_CONTROL_OK;
}

static struct vgpu_control_answer *control_answer(struct vgpu_control *control, uint16_t status)
{
    struct vgpu_control_answer *a =
        &control->answers[(control->first + control->count++) % VGPU_CONTROL_ANSWERS];

    *a = (struct vgpu_control_answer){.seq = control->in.msg.seq, .status = status};
    return a;
}

/* ---- Requests ---- */

static void control_close_fds(struct vgpu_control *control)
{
    for (uint32_t i = 0; i < control->in.fd_count; i++)
        close(control->in.fds[i]);
    control->in.fd_count = 0;
}

/* A number is free again when its DROP has been answered: that answer waits for the slot to be empty. */
static bool control_drop_is_owed(const struct vgpu_control *control, uint32_t id)
{
    for (uint32_t i = 0; i < control->count; i++) {
        const struct vgpu_control_answer *a =
            &control->answers[(control->first + i) % VGPU_CONTROL_ANSWERS];

        if (a->waits && a->wait_buf == id)
            return true;
    }
    return false;
}

static enum vgpu_control_result control_buf_begin(struct vgpu_control *control)
{
    struct vgpu_xin *in = &control->in;
    uint32_t fd_count = in->fd_count;

    if (control_drop_is_owed(control, in->msg.u.buf.id))
        return VGPU_CONTROL_BAD;
    in->fd_count = 0; /* taken over */
    control_answer(control, vgpu_gbufs_begin(control->bufs, &in->msg.u.buf, in->fds, fd_count));
    return VGPU_CONTROL_OK;
}

static void control_buf_drop(struct vgpu_control *control)
{
    uint32_t id = control->in.msg.u.buf.id;
    struct vgpu_control_answer *a;

    switch (vgpu_gbufs_drop(control->bufs, id)) {
    case VGPU_GBUF_DROPPED: control_answer(control, VGPU_ST_OK); break;
    case VGPU_GBUF_NONE: control_answer(control, VGPU_ST_NO_BUFFER); break;
    case VGPU_GBUF_IN_USE:
        a = control_answer(control, VGPU_ST_OK);
        a->waits = true;
        a->wait_buf = id;
        break;
    }
}

/* From the answer on, the old descriptor is never used again. */
static uint16_t control_irq(struct vgpu_control *control)
{
    struct vgpu_xin *in = &control->in;

    if (in->fd_count > 1)
        return VGPU_ST_ADMIN_VALUE;
    if (control->ring->irq_fd >= 0)
        close(control->ring->irq_fd);
    control->ring->irq_fd = in->fd_count ? in->fds[0] : -1;
    in->fd_count = 0;
    return VGPU_ST_OK;
}

static enum vgpu_control_result control_handle(struct vgpu_control *control)
{
    struct vgpu_xin *in = &control->in;
    uint32_t id = in->msg.u.buf.id;

    switch (in->msg.type) {
    case VGPU_X_BUF_BEGIN: return control_buf_begin(control);
    case VGPU_X_BUF_ADD:
        control_answer(control, vgpu_gbufs_add(control->bufs, id, in->runs, in->msg.run_count));
        break;
    case VGPU_X_BUF_COMMIT: control_answer(control, vgpu_gbufs_commit(control->bufs, id)); break;
    case VGPU_X_BUF_DROP: control_buf_drop(control); break;
    case VGPU_X_IRQ: control_answer(control, control_irq(control)); break;
    case VGPU_X_STOP: return VGPU_CONTROL_STOP;
    default: return VGPU_CONTROL_BAD;
    }
    return VGPU_CONTROL_OK;
}

enum vgpu_control_result vgpu_control_run(struct vgpu_control *control)
{
    while (control->count < VGPU_CONTROL_ANSWERS) {
        enum vgpu_control_result result;
        int rc = vgpu_xsock_receive(control->sock, &control->in, false);

        if (rc == 0)
            break;
        if (rc == -EPROTO)
            return VGPU_CONTROL_BAD;
        if (rc < 0)
            return VGPU_CONTROL_STOP;
        result = control_handle(control);
        control_close_fds(control);
        if (result != VGPU_CONTROL_OK)
            return result;
        result = vgpu_control_flush(control);
        if (result != VGPU_CONTROL_OK)
            return result;
    }
    return VGPU_CONTROL_OK;
}
