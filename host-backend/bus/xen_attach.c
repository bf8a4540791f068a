/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus: attaching to a domain, taking one over, and leaving it.
 *
 * A vCPU whose access was sent to an ioreq server sleeps in Xen until its slot holds an answer and
 * its event channel has been signalled.  Disabling or destroying the server does neither: the vCPU
 * would sleep until its domain ends.  So leaving goes in this order:
 *
 *   1. disable the server.  Xen pauses the domain for that, so that no access is half way; those
 *      made from then on find no server, and read as ones.
 *   2. take the BARs and the PCI function away.
 *   3. answer what waits: with the BARs gone and config space closed, reads are ones.
 *   4. let the vCPUs fetch that, since destroying the server throws away what they have not.  Those of
 *      a paused domain don't come: they are given up soon, and go on all the same.
 *   5. destroy it.
 *
 * Attaching that fails leaves in the same way.  Only a server that a predecessor left is
 * not taken from its domain when taking over fails: the domain waits, as before, and the next
 * one may succeed.  A predecessor's server is known by having our PCI function, which Xen tells by
 * refusing to give it the function again.
 */
#include <bus/xen_int.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <xen/memory.h>

#define FETCH_MS 500u /* for which vCPUs are waited for that have been answered */

/* ---- Steps of both ways ---- */

static int requests_map(struct vgpu_xen *xen)
{
    void *page = NULL;

    xen->resource = xen_lib.xenforeignmemory_map_resource(
        xen->memory, xen->domid, XENMEM_resource_ioreq_server, xen->server,
        XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &page, PROT_READ | PROT_WRITE, 0);
    xen->requests = page;
    return xen->resource ? 0 : -1;
}

static void requests_unmap(struct vgpu_xen *xen)
{
    xen_lib.xenforeignmemory_unmap_resource(xen->memory, xen->resource);
    xen->requests = NULL;
}

static int function_map(struct vgpu_xen *xen)
{
    return xen_lib.xendevicemodel_map_pcidev_to_ioreq_server(xen->dm, xen->domid, xen->server, 0, 0,
                                                             (uint8_t)xen->slot, 0);
}

static void function_unmap(struct vgpu_xen *xen)
{
    xen_lib.xendevicemodel_unmap_pcidev_from_ioreq_server(xen->dm, xen->domid, xen->server, 0, 0,
                                                          (uint8_t)xen->slot, 0);
}

/* From a domain that dies Xen takes all servers by itself. */
static bool server_is_gone(void)
{
    return errno == ENOENT || errno == ESRCH;
}

static void server_destroy(struct vgpu_xen *xen)
{
    if (xen_lib.xendevicemodel_destroy_ioreq_server(xen->dm, xen->domid, xen->server) &&
        !server_is_gone())
        xen_log(xen, VGPU_DEV_LOG_WARN, "ioreq server %u stays in the domain: %s", xen->server,
                strerror(errno));
}

/*
 * Ports exist once the server is enabled; requests that come before are seen at binding.  A
 * predecessor may have died between an answer and its signal, so that is given again: a
 * vCPU that does not wait takes no notice.
 */
static int events_bind(struct vgpu_xen *xen)
{
    for (uint32_t i = 0; i < xen->vcpus; i++) {
        ioreq_t *slot = &xen->requests->vcpu_ioreq[i];
        int port = xen_lib.xenevtchn_bind_interdomain(xen->events, xen->domid, slot->vp_eport);

        if (port < 0)
            return -1;
        xen->ports[i] = (evtchn_port_t)port;
        xen->bound = i + 1;
        if (slot->state == STATE_IORESP_READY &&
            xen_lib.xenevtchn_notify(xen->events, xen->ports[i]))
            return -1;
    }
    return 0;
}

/* ---- Leaving ---- */

static void requests_answer(struct vgpu_xen *xen)
{
    for (uint32_t i = 0; i < xen->bound; i++) {
        const ioreq_t *slot = &xen->requests->vcpu_ioreq[i];
        int ret = xen_take(xen, i);

        /* also one that was answered, whose signal failed */
        if (!ret && slot->state == STATE_IORESP_READY &&
            xen_lib.xenevtchn_notify(xen->events, xen->ports[i]))
            ret = -errno;
        if (ret)
            xen_log(xen, VGPU_DEV_LOG_ERROR, "vCPU %u can't be told that its access has ended: %s",
                    i, strerror(-ret));
    }
    for (uint32_t i = xen->bound; i < xen->vcpus; i++) {
        if (xen->requests->vcpu_ioreq[i].state != STATE_IOREQ_NONE)
            xen_log(xen, VGPU_DEV_LOG_ERROR, "vCPU %u waits, and has no event channel", i);
    }
}

static bool requests_fetched(const struct vgpu_xen *xen)
{
    for (uint32_t i = 0; i < xen->bound; i++) {
        if (xen->requests->vcpu_ioreq[i].state == STATE_IORESP_READY)
            return false;
    }
    return true;
}

static void requests_wait_fetched(const struct vgpu_xen *xen)
{
    const struct timespec ms = {.tv_nsec = 1000000};

    for (unsigned int i = 0; i < FETCH_MS && !requests_fetched(xen); i++)
        nanosleep(&ms, NULL);
}

static void table_destroy(struct vgpu_xen *xen)
{
    if (!xen->msix)
        return;
    vgpu_dev_attach_msix(xen->dev, NULL);
    vgpu_msix_destroy(xen->msix);
    xen->msix = NULL;
}

/* False: the domain is gone, and so are those who wait. */
static bool server_disable(struct vgpu_xen *xen)
{
    if (!xen_lib.xendevicemodel_set_ioreq_server_state(xen->dm, xen->domid, xen->server, 0))
        return true;
    if (server_is_gone())
        return false;
    xen_log(xen, VGPU_DEV_LOG_WARN, "ioreq server %u can't be disabled: %s", xen->server,
            strerror(errno));
    return true;
}

void xen_detach(struct vgpu_xen *xen)
{
    bool there = xen->stage >= XEN_ENABLED && server_disable(xen);

    xen->leaving = true;
    if (xen->stage >= XEN_PLACED) {
        xen_bars_unmap(xen);
        function_unmap(xen);
    }
    if (there) {
        requests_answer(xen);
        requests_wait_fetched(xen);
    }
    table_destroy(xen);
    xen_cache_drop(xen);
    if (xen->stage >= XEN_MAPPED)
        requests_unmap(xen);
    if (xen->stage >= XEN_CREATED) {
        xen_state_clear(xen);
        server_destroy(xen);
    }
    xen->bound = 0;
    if (xen->stage > XEN_OPEN)
        xen->stage = XEN_OPEN;
}

/* Taking over has failed: the server stays as the predecessor left it. */
static void xen_leave_to_another(struct vgpu_xen *xen)
{
    table_destroy(xen);
    xen_cache_drop(xen);
    if (xen->stage >= XEN_MAPPED)
        requests_unmap(xen);
    xen->bound = 0;
    xen->stage = XEN_OPEN;
}

/* ---- Attaching ---- */

static int table_create(struct vgpu_xen *xen, char *why, size_t bytes)
{
    xen->msix = vgpu_msix_create(xen_deliver, xen);
    if (!xen->msix) {
        errno = ENOMEM;
        return xen_failed(xen, "MSI-X table", why, bytes);
    }
    vgpu_dev_attach_msix(xen->dev, xen->msix);
    return 0;
}

static int attach_open(struct vgpu_xen *xen, char *why, size_t bytes)
{
    if (xen_lib.xendevicemodel_set_ioreq_server_state(xen->dm, xen->domid, xen->server, 1))
        return xen_failed(xen, "enabling the ioreq server", why, bytes);
    xen->stage = XEN_ENABLED;
    if (events_bind(xen))
        return xen_failed(xen, "binding its event channels", why, bytes);
    return 0;
}

static int attach_anew(struct vgpu_xen *xen, char *why, size_t bytes)
{
    int ret;

    if (xen_lib.xendevicemodel_create_ioreq_server(xen->dm, xen->domid, HVM_IOREQSRV_BUFIOREQ_OFF,
                                                   &xen->server))
        return xen_failed(xen, "registering an ioreq server", why, bytes);
    xen->stage = XEN_CREATED;
    xen_state_save(xen);
    if (requests_map(xen))
        return xen_failed(xen, "mapping the request page", why, bytes);
    xen->stage = XEN_MAPPED;
    if (function_map(xen))
        return xen_failed(xen, "taking its PCI slot", why, bytes);
    xen->stage = XEN_PLACED;
    xen_state_save(xen);
    ret = table_create(xen, why, bytes);
    return ret ? ret : attach_open(xen, why, bytes);
}

/* Is the server that is said to be ours really that?  Else it is left alone. */
static int adopt_check(struct vgpu_xen *xen, char *why, size_t bytes)
{
    if (function_map(xen))
        return errno == EEXIST ? 0 : xen_failed(xen, "asking for its PCI slot", why, bytes);
    function_unmap(xen);
    xen_state_clear(xen);
    snprintf(why, bytes,
             "domain %u: ioreq server %u, which is said to be a predecessor's, has not the device "
             "in slot 0x%x: not taken over",
             xen->domid, xen->server, xen->slot);
    return -EEXIST;
}

static int attach_adopted(struct vgpu_xen *xen, char *why, size_t bytes)
{
    int ret = adopt_check(xen, why, bytes);

    if (ret)
        return ret;
    if (requests_map(xen))
        return xen_failed(xen, "mapping the request page", why, bytes);
    xen->stage = XEN_MAPPED;
    ret = table_create(xen, why, bytes);
    if (ret)
        return ret;
    xen->stage = XEN_PLACED;
    xen_state_restore(xen);
    xen_bars_adopt(xen);
    xen_log(xen, VGPU_DEV_LOG_INFO, "takes the domain over from a process that died");
    return attach_open(xen, why, bytes);
}

int vgpu_xen_attach(struct vgpu_xen *xen, struct vgpu_dev *dev, const struct vgpu_xen_ops *ops,
                    void *opaque, int state_fd, char *why, size_t bytes)
{
    enum xen_left left;
    int ret;

    xen->state_fd = state_fd;
    xen->ops = ops;
    xen->opaque = opaque;
    xen->dev = dev;
    left = xen_state_find(xen);
    if (left == XEN_LEFT_WHOLE) {
        ret = attach_adopted(xen, why, bytes);
        if (ret)
            xen_leave_to_another(xen);
        return ret;
    }
    /* No guest has seen the device of one that died while it attached. */
    if (left == XEN_LEFT_BEGUN)
        server_destroy(xen);
    ret = attach_anew(xen, why, bytes);
    if (ret)
        xen_detach(xen);
    return ret;
}
