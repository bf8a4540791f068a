/* SPDX-License-Identifier: MIT */
/*
 * guestsim: the admin queue.
 *
 * gs_admin() is what a driver does: one command and its answer, one caller at a time (admin_lock).
 * Tests that want several commands under way at once post and collect them themselves with
 * gs_admin_submit() and gs_admin_wait(), from one thread and with nothing else on the queue.
 */
#include "guestsim.h"

#include <errno.h>
#include <string.h>

int gs_admin_submit(struct gs_vm *vm, const struct vgpu_admin_sqe *sqe)
{
    struct vgpu_sqe *slot = gs_ring_slot(&vm->admin);

    if (!slot)
        return -EAGAIN;
    memcpy(slot, sqe, sizeof(*sqe));
    if (gs_ring_publish(&vm->admin))
        gs_reg_write(vm, VGPU_REG_ADMIN_DOORBELL, 1);
    return 0;
}

int gs_admin_wait(struct gs_vm *vm, struct vgpu_cqe *cqe, unsigned int timeout_ms)
{
    uint64_t deadline = gs_deadline(timeout_ms);
    const struct vgpu_cqe *seen;

    for (;;) {
        uint64_t now;

        seen = gs_ring_peek(&vm->admin);
        if (!seen && gs_ring_arm(&vm->admin))
            seen = gs_ring_peek(&vm->admin);
        if (seen) {
            *cqe = *seen;
            gs_ring_release(&vm->admin, 1);
            return 0;
        }
        now = gs_now_ns();
        if (now >= deadline)
            return -ETIMEDOUT;
        if (gs_irq_wait(vm, VGPU_VECTOR_ADMIN, 200) == -ETIMEDOUT) {
            /* Only an interrupt may tell of a completion, but a device that gave up is
             * seen in its state. */
            uint32_t state = gs_reg_read(vm, VGPU_REG_STATE);

            if (vm->vfu.dead)
                return -ECONNRESET;
            if (state != VGPU_STATE_READY)
                return -ENODEV;
        }
    }
}

int gs_admin(struct gs_vm *vm, const struct vgpu_admin_sqe *sqe, struct vgpu_cqe *cqe)
{
    struct vgpu_cqe local;
    int rc;

    pthread_mutex_lock(&vm->admin_lock);
    rc = gs_admin_submit(vm, sqe);
    if (!rc)
        rc = gs_admin_wait(vm, &local, GS_TIMEOUT_MS);
    if (rc)
        goto out;
    if (local.cookie != sqe->cookie)
        rc = -EPROTO;
    else if (cqe)
        *cqe = local;
    if (!rc)
        rc = local.status;
out:
    pthread_mutex_unlock(&vm->admin_lock);
    return rc;
}

int gs_admin_query(struct gs_vm *vm, uint32_t what, uint32_t ctx, void *out, size_t bytes)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_QUERY, .cookie = 0x5155455259ull};
    void *page = gs_ram_alloc(&vm->ram, VGPU_PAGE_BYTES);
    struct vgpu_cqe cqe;
    int rc;

    if (!page)
        return -ENOMEM;
    sqe.u.query.out_addr = gs_ram_dma(&vm->ram, page);
    sqe.u.query.out_bytes = (uint32_t)bytes;
    sqe.u.query.what = what;
    sqe.u.query.ctx = ctx;
    rc = gs_admin(vm, &sqe, &cqe);
    if (!rc && cqe.aux != bytes)
        rc = -EPROTO;
    if (!rc)
        memcpy(out, page, bytes);
    gs_ram_free(&vm->ram, page, VGPU_PAGE_BYTES);
    return rc;
}
