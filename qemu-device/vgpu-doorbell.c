/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BAR 2: one doorbell page per context.
 *
 * Theory of operation.  The back end hands over one eventfd per context; a
 * 4-byte write at the start of a page signals the page's eventfd.  Normally the
 * eventfd is registered with the memory core (under KVM with the kernel), and
 * no code here runs.  With ioeventfd=off, and in the short time in which an
 * eventfd is known but not registered, the write handler signals it.
 *
 * Every other access reads 0 (all ones without a back end) and does nothing;
 * in particular nothing in this
 * BAR is ever forwarded as a message, so a guest that hammers it costs the back
 * end no more than reading an eventfd.
 *
 * The descriptors come from the peer, and the memory core and KVM trust what
 * they are given (KVM's failure to register one ends QEMU; a descriptor that
 * blocks would hang a vCPU).  So each is proved to be an eventfd, made
 * non-blocking, and its page checked, before any is used.
 */
#include "qemu/osdep.h"
#include "vgpu-device.h"
#include "vgpu-trace.h"

/*
 * Value in range for an eventfd: adding 0 succeeds and changes nothing, adding
 * 2^64-1 is invalid.  No other kind of file does both.
 */
static bool fd_is_eventfd(int fd)
{
    static const uint64_t nothing, invalid = UINT64_MAX;

    if (!g_unix_set_fd_nonblocking(fd, true, NULL)) {
        return false;
    }
    return write(fd, &nothing, sizeof(nothing)) == sizeof(nothing) &&
           write(fd, &invalid, sizeof(invalid)) < 0 && errno == EINVAL;
}

static const char *doorbell_take(VgpuDevice *dev, const VfuIoEventFd *sub,
                                 const VgpuReply *reply)
{
    VgpuDoorbell *db;
    int fd;

    if (sub->type != VFU_IO_FD_IOEVENTFD || sub->flags || sub->size != 4) {
        return "a doorbell that is not a plain 4-byte ioeventfd";
    }
    if (sub->offset >= VGPU_BAR_DOORBELL_SIZE ||
        sub->offset % VGPU_DOORBELL_STRIDE != VGPU_DOORBELL_OFFSET) {
        return "a doorbell that is not at the start of a page of BAR 2";
    }
    if (sub->fd_index >= reply->nr_fds) {
        return "a doorbell whose descriptor did not come";
    }
    db = &dev->doorbells[sub->offset / VGPU_DOORBELL_STRIDE];
    if (db->present) {
        return "two doorbells of one page";
    }
    if (!fd_is_eventfd(reply->fds[sub->fd_index])) {
        return "a doorbell whose descriptor is no eventfd";
    }
    /* sub-regions may share a descriptor, a notifier owns its own */
    fd = fcntl(reply->fds[sub->fd_index], F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return "more descriptors than this process may have open";
    }
    event_notifier_init_fd(&db->notifier, fd);
    db->present = true;
    return NULL;
}

const char *vgpu_doorbell_parse(VgpuDevice *dev, const VgpuReply *reply)
{
    VfuRegionIoFds info;
    size_t stride;

    if (reply->len < sizeof(info)) {
        return "a doorbell list that is too short";
    }
    memcpy(&info, reply->data, sizeof(info));
    if (info.index != VGPU_BAR_DOORBELL || info.flags ||
        info.argsz != reply->len || info.count > VGPU_DOORBELL_PAGES) {
        return "a malformed doorbell list";
    }
    if (info.count == 0) {
        return "no doorbell";
    }
    stride = (reply->len - sizeof(info)) / info.count;
    if (stride < sizeof(VfuIoEventFd)) {
        return "a doorbell list shorter than its count";
    }
    dev->doorbells_by_message = reply->nr_fds == VGPU_CLIENT_MAX_FDS;
    for (uint32_t i = 0; i < info.count; i++) {
        VfuIoEventFd sub;
        const char *wrong;

        memcpy(&sub, (const char *)reply->data + sizeof(info) + i * stride,
               sizeof(sub));
        wrong = doorbell_take(dev, &sub, reply);
        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

void vgpu_doorbell_wire(VgpuDevice *dev)
{
    if (!dev->ioeventfd) {
        return;
    }
    memory_region_transaction_begin();
    for (unsigned i = 0; i < VGPU_DOORBELL_PAGES; i++) {
        VgpuDoorbell *db = &dev->doorbells[i];

        if (db->present && !db->wired) {
            VGPU_TRACE(doorbell_fd, "context %u fd %d", i,
                       event_notifier_get_fd(&db->notifier));
            memory_region_add_eventfd(&dev->bar_doorbell,
                                      i * VGPU_DOORBELL_STRIDE, 4, false, 0,
                                      &db->notifier);
            db->wired = true;
        }
    }
    memory_region_transaction_commit();
}

void vgpu_doorbell_drop(VgpuDevice *dev)
{
    memory_region_transaction_begin();
    for (unsigned i = 0; i < VGPU_DOORBELL_PAGES; i++) {
        VgpuDoorbell *db = &dev->doorbells[i];

        if (db->wired) {
            memory_region_del_eventfd(&dev->bar_doorbell,
                                      i * VGPU_DOORBELL_STRIDE, 4, false, 0,
                                      &db->notifier);
            db->wired = false;
        }
    }
    memory_region_transaction_commit();
    /* only now is nobody using the descriptors */
    for (unsigned i = 0; i < VGPU_DOORBELL_PAGES; i++) {
        VgpuDoorbell *db = &dev->doorbells[i];

        if (db->present) {
            event_notifier_cleanup(&db->notifier);
            db->present = false;
        }
    }
}

static uint64_t doorbell_read(void *opaque, hwaddr offset, unsigned size)
{
    return vgpu_conn_is_live(opaque) ? 0 : UINT64_MAX;
}

static void doorbell_write(void *opaque, hwaddr offset, uint64_t value,
                           unsigned size)
{
    VgpuDevice *dev = opaque;
    VgpuDoorbell *db = &dev->doorbells[offset / VGPU_DOORBELL_STRIDE];

    if (size != 4 || offset % VGPU_DOORBELL_STRIDE != VGPU_DOORBELL_OFFSET ||
        !vgpu_conn_is_live(dev) ||
        !(db->present || dev->doorbells_by_message)) {
        VGPU_TRACE(doorbell_missed, "offset 0x%" PRIx64 " size %u", offset,
                   size);
        return;
    }
    VGPU_TRACE(doorbell_slow, "offset 0x%" PRIx64, offset);
    if (db->present) {
        event_notifier_set(&db->notifier);
    } else {
        vgpu_conn_write(dev, VGPU_BAR_DOORBELL, offset, value, size);
    }
}

static const MemoryRegionOps doorbell_ops = {
    .read = doorbell_read,
    .write = doorbell_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

void vgpu_doorbell_init(VgpuDevice *dev)
{
    memory_region_init_io(&dev->bar_doorbell, OBJECT(dev), &doorbell_ops, dev,
                          "vgpu-doorbells", VGPU_BAR_DOORBELL_SIZE);
}
