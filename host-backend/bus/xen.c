/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus: opening, events and interrupts.  See xen.h.
 */
#include <bus/xen_int.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/sys/privcmd.h>

#define PRIVCMD "/dev/xen/privcmd"

void xen_log(struct vgpu_xen *xen, enum vgpu_dev_log level, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    xen->ops->log(xen->opaque, level, text);
}

/* ---- Opening ---- */

int xen_failed(const struct vgpu_xen *xen, const char *what, char *why, size_t bytes)
{
    int err = errno ? errno : EIO;

    snprintf(why, bytes, "domain %u: %s: %s", xen->domid, what, strerror(err));
    return -err;
}

/* From here on no handle is good for any other domain. */
static int xen_narrow(struct vgpu_xen *xen)
{
    domid_t domid = xen->domid;

    if (ioctl(xen->memory_fd, IOCTL_PRIVCMD_RESTRICT, &domid))
        return -1;
    return xen_lib.xentoolcore_restrict_all(xen->domid);
}

static int xen_open_handles(struct vgpu_xen *xen, char *why, size_t bytes)
{
    unsigned int vcpus = 0;
    int ret = xen_lib_load(why, bytes);

    xen->memory_fd = -1;
    if (ret)
        return ret;
    xen->memory_fd = open(PRIVCMD, O_RDWR | O_CLOEXEC);
    if (xen->memory_fd < 0)
        return xen_failed(xen, PRIVCMD " (is this a Dom0?)", why, bytes);
    xen->dm = xen_lib.xendevicemodel_open(NULL, 0);
    if (!xen->dm)
        return xen_failed(xen, "libxendevicemodel", why, bytes);
    xen->memory = xen_lib.xenforeignmemory_open(NULL, 0);
    if (!xen->memory)
        return xen_failed(xen, "libxenforeignmemory", why, bytes);
    xen->events = xen_lib.xenevtchn_open(NULL, 0);
    if (!xen->events)
        return xen_failed(xen, "libxenevtchn", why, bytes);
    /* Fails for what is no HVM domain, too. */
    if (xen_lib.xendevicemodel_nr_vcpus(xen->dm, xen->domid, &vcpus))
        return xen_failed(xen, "not a running HVM domain", why, bytes);
    if (!vcpus || vcpus > XEN_MAX_VCPUS) {
        snprintf(why, bytes, "domain %u has %u vCPUs, allowed are 1 to %u", xen->domid, vcpus,
                 XEN_MAX_VCPUS);
        return -ERANGE;
    }
    xen->vcpus = vcpus;
    if (xen_narrow(xen))
        return xen_failed(xen, "narrowing the handles to it", why, bytes);
    return 0;
}

int vgpu_xen_open(uint32_t domid, uint32_t slot, struct vgpu_xen **out, char *why, size_t bytes)
{
    static const unsigned int bars[XEN_BARS] = {VGPU_BAR_REGS, VGPU_BAR_DOORBELL, VGPU_BAR_MSIX};
    struct vgpu_xen *xen = calloc(1, sizeof(*xen));
    int ret;

    if (!xen) {
        snprintf(why, bytes, "out of memory");
        return -ENOMEM;
    }
    xen->domid = (domid_t)domid;
    xen->slot = slot;
    for (unsigned int i = 0; i < XEN_BARS; i++)
        xen->bars[i] = (struct xen_bar){.bar = bars[i], .bytes = vgpu_dev_bar_bytes(bars[i])};
    ret = xen_open_handles(xen, why, bytes);
    xen->stage = XEN_OPEN;
    if (ret) {
        vgpu_xen_destroy(xen);
        return ret;
    }
    *out = xen;
    return 0;
}

/* Ports are closed with their handle. */
void vgpu_xen_destroy(struct vgpu_xen *xen)
{
    if (!xen)
        return;
    xen_detach(xen);
    if (xen->events)
        xen_lib.xenevtchn_close(xen->events);
    if (xen->memory)
        xen_lib.xenforeignmemory_close(xen->memory);
    if (xen->dm)
        xen_lib.xendevicemodel_close(xen->dm);
    if (xen->memory_fd >= 0)
        close(xen->memory_fd);
    free(xen);
}

/* ---- Running ---- */

int vgpu_xen_fd(const struct vgpu_xen *xen)
{
    return xen_lib.xenevtchn_fd(xen->events);
}

int vgpu_xen_memory_fd(const struct vgpu_xen *xen)
{
    return xen->memory_fd;
}

void vgpu_xen_get_stats(const struct vgpu_xen *xen, struct vgpu_xen_stats *stats)
{
    *stats = xen->stats;
}

/*
 * One slot: a private copy is served, and only the answer goes back.  A request that is being
 * served already was left by a predecessor that died over it, and begins anew; its state does not go
 * back, since Xen lets a domain crash whose requests do.
 */
int xen_take(struct vgpu_xen *xen, uint32_t vcpu)
{
    ioreq_t *slot = &xen->requests->vcpu_ioreq[vcpu];
    ioreq_t req;

    if (slot->state != STATE_IOREQ_READY && slot->state != STATE_IOREQ_INPROCESS)
        return 0;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    req = *slot;
    slot->state = STATE_IOREQ_INPROCESS;
    xen_serve(xen, &req);
    slot->data = req.data;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    slot->state = STATE_IORESP_READY;
    return xen_lib.xenevtchn_notify(xen->events, xen->ports[vcpu]) ? -errno : 0;
}

int vgpu_xen_receive(struct vgpu_xen *xen)
{
    xenevtchn_port_or_error_t port = xen_lib.xenevtchn_pending(xen->events);

    if (port < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (xen_lib.xenevtchn_unmask(xen->events, (evtchn_port_t)port))
        return -errno;
    for (uint32_t i = 0; i < xen->bound; i++) {
        if (xen->ports[i] == (evtchn_port_t)port)
            return xen_take(xen, i);
    }
    return 0;
}

int vgpu_xen_check(struct vgpu_xen *xen)
{
    /* Xen takes all servers from a domain when that begins to die, long before it is gone:
     * it can't go while pages of it are mapped here. */
    return xen_lib.xendevicemodel_get_ioreq_server_info(xen->dm, xen->domid, xen->server, NULL,
                                                        NULL, NULL)
               ? -ESRCH
               : 0;
}

void xen_deliver(void *opaque, unsigned int vector, uint64_t addr, uint32_t data)
{
    struct vgpu_xen *xen = opaque;

    /* A message is a write of the device's. */
    if (!xen->master)
        return;
    if (xen_lib.xendevicemodel_inject_msi(xen->dm, xen->domid, addr, data))
        xen_log(xen, VGPU_DEV_LOG_WARN, "vector %u: message %#x to %#llx was not delivered: %s",
                vector, data, (unsigned long long)addr, strerror(errno));
}

/*
 * A guest of Xen may turn a message into an event channel ("pirq"): its vector is 0 then, the pirq
 * stands in the destination.  Masking goes through the event channel, and the guest leaves the
 * entry's mask bit as the reset made it: set.
 */
static bool pirq_message(struct vgpu_xen *xen, unsigned int vector, uint64_t *addr, uint32_t *data)
{
    uint64_t at = VGPU_MSIX_TABLE_OFFSET + 16ull * vector;

    if (!xen_msix_enabled(xen))
        return false;
    vgpu_msix_bar_read(xen->msix, at, addr, sizeof(*addr));
    vgpu_msix_bar_read(xen->msix, at + 8, data, sizeof(*data));
    return *addr && !(*data & 0xff);
}

void vgpu_xen_irq(struct vgpu_xen *xen, unsigned int vector)
{
    uint64_t addr = 0;
    uint32_t data = 0;

    if (pirq_message(xen, vector, &addr, &data))
        xen_deliver(xen, vector, addr, data);
    else
        vgpu_msix_notify(xen->msix, vector);
}
