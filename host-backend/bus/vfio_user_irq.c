/* SPDX-License-Identifier: MIT */
/*
 * vfio-user commands about interrupts.
 *
 * Only MSI-X exists; the other types answer with a count of 0.  Masking is offered: a
 * masked vector has no effective descriptor (irqs.h).  DATA_EVENTFD comes in pieces of
 * whatever size the client likes and without descriptors takes the range's away.
 */
#include <bus/vfio_user_int.h>

#include <errno.h>
#include <string.h>

int vu_cmd_get_irq_info(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_irq_info info;
    uint8_t *p;

    memcpy(&info, msg->payload, sizeof(info));
    if (info.argsz < sizeof(info) || info.index >= VU_IRQS)
        return -EINVAL;
    info.argsz = sizeof(info);
    info.flags = 0;
    info.count = 0;
    if (info.index == VU_IRQ_MSIX) {
        info.flags = VU_IRQ_INFO_EVENTFD | VU_IRQ_INFO_MASKABLE;
        info.count = VGPU_MSIX_VECTORS;
    }
    p = vu_reply_room(vu, sizeof(info));
    if (!p)
        return -ENOMEM;
    memcpy(p, &info, sizeof(info));
    msg->reply_bytes = sizeof(info);
    return 0;
}

static void irq_set_fd(struct vgpu_vfio_user *vu, unsigned int vector, int fd)
{
    if (vgpu_irqs_set_fd(vu->irqs, vector, fd))
        vu->ops->irq_changed(vu->opaque, vector);
}

static void irq_set_masked(struct vgpu_vfio_user *vu, unsigned int vector, bool masked)
{
    if (vgpu_irqs_set_masked(vu->irqs, vector, masked))
        vu->ops->irq_changed(vu->opaque, vector);
}

static VGPU_MUST_CHECK int irq_set_eventfds(struct vgpu_vfio_user *vu, struct vu_msg *msg,
                                            const struct vu_irq_set *set)
{
    if (!(set->flags & VU_IRQ_ACTION_TRIGGER))
        return -EOPNOTSUPP; /* nobody needs to be told of masking */
    if (msg->fd_count && msg->fd_count != set->count)
        return -EINVAL;
    for (size_t i = 0; i < msg->fd_count; i++) {
        if (!vgpu_irqs_fd_is_fit(msg->fds[i]))
            return -EINVAL;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        int fd = -1;

        if (msg->fd_count) {
            fd = msg->fds[i];
            msg->fds[i] = -1;
        }
        irq_set_fd(vu, set->start + i, fd);
    }
    return 0;
}

static void irq_act(struct vgpu_vfio_user *vu, uint32_t action, unsigned int vector)
{
    if (action == VU_IRQ_ACTION_TRIGGER)
        vgpu_irqs_raise(vu->irqs, vector);
    else
        irq_set_masked(vu, vector, action == VU_IRQ_ACTION_MASK);
}

static VGPU_MUST_CHECK int irq_set_check(const struct vu_msg *msg, const struct vu_irq_set *set)
{
    uint32_t data = set->flags & VU_IRQ_DATA_MASK;
    uint32_t action = set->flags & VU_IRQ_ACTIONS;
    size_t bytes = sizeof(*set) + (data == VU_IRQ_DATA_BOOL ? set->count : 0);
    uint32_t count = set->index == VU_IRQ_MSIX ? VGPU_MSIX_VECTORS : 0;
    uint32_t end;

    if ((set->flags & ~(VU_IRQ_DATA_MASK | VU_IRQ_ACTIONS)) || __builtin_popcount(data) != 1 ||
        __builtin_popcount(action) != 1)
        return -EINVAL;
    if (set->index >= VU_IRQS || __builtin_add_overflow(set->start, set->count, &end) ||
        end > count)
        return -EINVAL;
    if (msg->payload_bytes != bytes || set->argsz < bytes)
        return -EINVAL;
    if (data != VU_IRQ_DATA_EVENTFD && msg->fd_count)
        return -EINVAL;
    /* A count of 0 means "disable all" and only in this form. */
    if (!set->count && (data != VU_IRQ_DATA_NONE || action != VU_IRQ_ACTION_TRIGGER || set->start))
        return -EINVAL;
    return 0;
}

int vu_cmd_set_irqs(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    const uint8_t *bools = msg->payload + sizeof(struct vu_irq_set);
    struct vu_irq_set set;
    int ret;

    memcpy(&set, msg->payload, sizeof(set));
    ret = irq_set_check(msg, &set);
    if (ret)
        return ret;
    if (set.flags & VU_IRQ_DATA_EVENTFD)
        return irq_set_eventfds(vu, msg, &set);
    if (!set.count && set.index == VU_IRQ_MSIX) {
        for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++)
            irq_set_fd(vu, v, -1);
        return 0;
    }
    for (uint32_t i = 0; i < set.count; i++) {
        if ((set.flags & VU_IRQ_DATA_NONE) || bools[i])
            irq_act(vu, set.flags & VU_IRQ_ACTIONS, set.start + i);
    }
    return 0;
}
