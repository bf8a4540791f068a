/* SPDX-License-Identifier: MIT */
/*
 * The functions of Xen's libraries that the bus uses, on the fake's domain: see fakexen.h.
 *
 * Handles are the addresses of the counters of open ones: a call on a closed or a foreign handle
 * aborts the test.
 */
#define __XEN_TOOLS__ 1
#include "fakexen_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xentoolcore.h>
#include <xen/hvm/dm_op.h>
#include <xen/memory.h>

static void *handle_open(enum fakexen_library library)
{
    fakexen.handles[library]++;
    return &fakexen.handles[library];
}

static void handle_check(const void *handle, enum fakexen_library library)
{
    if (handle != &fakexen.handles[library] || !fakexen.handles[library])
        abort();
}

static int handle_close(void *handle, enum fakexen_library library)
{
    handle_check(handle, library);
    fakexen.handles[library]--;
    return 0;
}

static int failed(int err)
{
    errno = err;
    return -1;
}

/* The server; NULL with errno. */
static struct fakexen_server *server_at(const void *dm, domid_t domid, ioservid_t id)
{
    handle_check(dm, FAKEXEN_DM);
    if (domid != fakexen.domid || fakexen.dying)
        errno = ESRCH;
    else if (id >= FAKEXEN_SERVERS || !fakexen.servers[id].exists)
        errno = ENOENT;
    else
        return &fakexen.servers[id];
    return NULL;
}

/* ---- libxendevicemodel ---- */

xendevicemodel_handle *xendevicemodel_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger;
    (void)flags;
    return fakexen_fails(__func__) ? NULL : handle_open(FAKEXEN_DM);
}

int xendevicemodel_close(xendevicemodel_handle *dm)
{
    return handle_close(dm, FAKEXEN_DM);
}

int xendevicemodel_nr_vcpus(xendevicemodel_handle *dm, domid_t domid, unsigned int *vcpus)
{
    handle_check(dm, FAKEXEN_DM);
    if (fakexen_fails(__func__))
        return -1;
    if (domid != fakexen.domid)
        return failed(ESRCH);
    if (!fakexen.vcpus)
        return failed(EINVAL);
    *vcpus = fakexen.vcpus;
    return 0;
}

int xendevicemodel_create_ioreq_server(xendevicemodel_handle *dm, domid_t domid, int buffered,
                                       ioservid_t *id)
{
    handle_check(dm, FAKEXEN_DM);
    if (fakexen_fails(__func__))
        return -1;
    if (domid != fakexen.domid || buffered < 0 || buffered > HVM_IOREQSRV_BUFIOREQ_ATOMIC)
        return failed(EINVAL);
    for (ioservid_t i = 0; i < FAKEXEN_SERVERS; i++) {
        if (!fakexen.servers[i].exists) {
            fakexen.servers[i] = (struct fakexen_server){.exists = true};
            *id = i;
            return 0;
        }
    }
    return failed(ENOSPC);
}

int xendevicemodel_destroy_ioreq_server(xendevicemodel_handle *dm, domid_t domid, ioservid_t id)
{
    struct fakexen_server *s = server_at(dm, domid, id);

    if (fakexen_fails(__func__) || !s)
        return -1;
    if (!id)
        fakexen_server_goes();
    memset(s, 0, sizeof(*s));
    return 0;
}

int xendevicemodel_get_ioreq_server_info(xendevicemodel_handle *dm, domid_t domid, ioservid_t id,
                                         xen_pfn_t *gfn, xen_pfn_t *buffered_gfn,
                                         evtchn_port_t *buffered_port)
{
    if (gfn || buffered_gfn || buffered_port)
        abort(); /* pages come by xenforeignmemory_map_resource() */
    if (fakexen_fails(__func__))
        return -1;
    return server_at(dm, domid, id) ? 0 : -1;
}

/* Ports mean something from here on. */
int xendevicemodel_set_ioreq_server_state(xendevicemodel_handle *dm, domid_t domid, ioservid_t id,
                                          int enabled)
{
    struct fakexen_server *s = server_at(dm, domid, id);

    if (fakexen_fails(__func__) || !s)
        return -1;
    s->enabled = enabled;
    for (unsigned int i = 0; enabled && i < fakexen.vcpus; i++)
        fakexen_slot(i)->vp_eport = FAKEXEN_REMOTE + i;
    return 0;
}

int xendevicemodel_map_io_range_to_ioreq_server(xendevicemodel_handle *dm, domid_t domid,
                                                ioservid_t id, int is_mmio, uint64_t start,
                                                uint64_t end)
{
    struct fakexen_server *s = server_at(dm, domid, id);
    struct fakexen_range *slot = NULL;

    if (fakexen_fails(__func__) || !s)
        return -1;
    if (!is_mmio || start > end)
        return failed(EINVAL);
    for (unsigned int i = 0; i < FAKEXEN_RANGES; i++) {
        struct fakexen_range *r = &s->ranges[i];

        if (!r->used)
            slot = r;
        else if (start <= r->end && end >= r->start)
            return failed(EEXIST);
    }
    if (!slot)
        return failed(ENOSPC);
    *slot = (struct fakexen_range){true, start, end};
    return 0;
}

int xendevicemodel_unmap_io_range_from_ioreq_server(xendevicemodel_handle *dm, domid_t domid,
                                                    ioservid_t id, int is_mmio, uint64_t start,
                                                    uint64_t end)
{
    struct fakexen_server *s = server_at(dm, domid, id);

    if (fakexen_fails(__func__) || !s)
        return -1;
    for (unsigned int i = 0; is_mmio && i < FAKEXEN_RANGES; i++) {
        struct fakexen_range *r = &s->ranges[i];

        if (r->used && r->start == start && r->end == end) {
            r->used = false;
            return 0;
        }
    }
    return failed(ENOENT);
}

int xendevicemodel_map_pcidev_to_ioreq_server(xendevicemodel_handle *dm, domid_t domid,
                                              ioservid_t id, uint16_t segment, uint8_t bus,
                                              uint8_t device, uint8_t function)
{
    struct fakexen_server *s = server_at(dm, domid, id);

    if (fakexen_fails(__func__) || !s)
        return -1;
    if (segment || bus || device > 31 || function)
        return failed(EINVAL);
    if (s->functions & 1u << device)
        return failed(EEXIST);
    s->functions |= 1u << device;
    return 0;
}

int xendevicemodel_unmap_pcidev_from_ioreq_server(xendevicemodel_handle *dm, domid_t domid,
                                                  ioservid_t id, uint16_t segment, uint8_t bus,
                                                  uint8_t device, uint8_t function)
{
    struct fakexen_server *s = server_at(dm, domid, id);

    if (fakexen_fails(__func__) || !s)
        return -1;
    if (segment || bus || device > 31 || function || !(s->functions & 1u << device))
        return failed(ENOENT);
    s->functions &= ~(1u << device);
    return 0;
}

int xendevicemodel_inject_msi(xendevicemodel_handle *dm, domid_t domid, uint64_t addr,
                              uint32_t data)
{
    struct fakexen_view *v = &fakexen.view;

    handle_check(dm, FAKEXEN_DM);
    if (fakexen_fails(__func__))
        return -1;
    if (domid != fakexen.domid || fakexen.dying)
        return failed(ESRCH);
    if (v->message_count < FAKEXEN_MESSAGES)
        v->messages[v->message_count] = (struct fakexen_message){addr, data};
    v->message_count++;
    return 0;
}

/* ---- libxenforeignmemory ---- */

xenforeignmemory_handle *xenforeignmemory_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger;
    (void)flags;
    return fakexen_fails(__func__) ? NULL : handle_open(FAKEXEN_MEMORY);
}

int xenforeignmemory_close(xenforeignmemory_handle *memory)
{
    return handle_close(memory, FAKEXEN_MEMORY);
}

/* A page that can't be mapped is reported in `err`, and there is a mapping all the same. */
void *xenforeignmemory_map(xenforeignmemory_handle *memory, uint32_t domid, int prot, size_t count,
                           const xen_pfn_t *pfns, int *err)
{
    bool there;
    void *map;

    handle_check(memory, FAKEXEN_MEMORY);
    if (count != 1 || domid != fakexen.domid)
        abort();
    if (fakexen_fails(__func__))
        return NULL;
    there = pfns[0] < FAKEXEN_PAGES && !(prot & PROT_WRITE && pfns[0] == FAKEXEN_READONLY);
    map = there ? mmap(NULL, FAKEXEN_PAGE, prot, MAP_SHARED, fakexen.memory_file,
                       (off_t)(pfns[0] * FAKEXEN_PAGE))
                : mmap(NULL, FAKEXEN_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        abort();
    err[0] = there ? 0 : -EINVAL;
    fakexen.view.pages++;
    fakexen.view.maps++;
    return map;
}

int xenforeignmemory_unmap(xenforeignmemory_handle *memory, void *addr, size_t pages)
{
    handle_check(memory, FAKEXEN_MEMORY);
    if (!fakexen.view.pages || munmap(addr, pages * FAKEXEN_PAGE))
        abort();
    fakexen.view.pages--;
    return 0;
}

xenforeignmemory_resource_handle *
xenforeignmemory_map_resource(xenforeignmemory_handle *memory, domid_t domid, unsigned int type,
                              unsigned int id, unsigned long frame, unsigned long frames,
                              void **addr, int prot, int flags)
{
    (void)prot;
    (void)flags;
    handle_check(memory, FAKEXEN_MEMORY);
    if (fakexen_fails(__func__))
        return NULL;
    if (domid != fakexen.domid || type != XENMEM_resource_ioreq_server || frames != 1 ||
        frame != XENMEM_resource_ioreq_server_frame_ioreq(0) || id >= FAKEXEN_SERVERS ||
        !fakexen.servers[id].exists) {
        errno = EINVAL;
        return NULL;
    }
    *addr = fakexen.requests;
    fakexen.view.pages++;
    return (xenforeignmemory_resource_handle *)(void *)fakexen.requests;
}

int xenforeignmemory_unmap_resource(xenforeignmemory_handle *memory,
                                    xenforeignmemory_resource_handle *resource)
{
    handle_check(memory, FAKEXEN_MEMORY);
    if ((void *)resource != fakexen.requests || !fakexen.view.pages)
        abort();
    fakexen.view.pages--;
    return 0;
}

/* ---- libxenevtchn ---- */

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger;
    (void)flags;
    return fakexen_fails(__func__) ? NULL : handle_open(FAKEXEN_EVENTS);
}

/* Ports are bound to a handle. */
int xenevtchn_close(xenevtchn_handle *events)
{
    for (unsigned int i = 0; i < FAKEXEN_PORTS; i++)
        fakexen.ports[i].bound = false;
    return handle_close(events, FAKEXEN_EVENTS);
}

int xenevtchn_fd(xenevtchn_handle *events)
{
    handle_check(events, FAKEXEN_EVENTS);
    return fakexen.events[0];
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *events, uint32_t domid,
                                                     evtchn_port_t remote)
{
    unsigned int vcpu = remote - FAKEXEN_REMOTE;

    handle_check(events, FAKEXEN_EVENTS);
    if (fakexen_fails(__func__))
        return -1;
    if (domid != fakexen.domid || vcpu >= fakexen.vcpus ||
        fakexen.ports[FAKEXEN_LOCAL + vcpu].bound)
        return failed(EINVAL);
    fakexen.ports[FAKEXEN_LOCAL + vcpu].bound = true;
    /* a new binding is pending, so that nothing which came before is missed */
    if (fakexen_slot(vcpu)->state == STATE_IOREQ_READY ||
        fakexen_slot(vcpu)->state == STATE_IOREQ_INPROCESS) {
        fakexen.ports[FAKEXEN_LOCAL + vcpu].latched = true;
        fakexen_unmask(FAKEXEN_LOCAL + vcpu);
    }
    return (xenevtchn_port_or_error_t)(FAKEXEN_LOCAL + vcpu);
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *events)
{
    uint32_t port;

    handle_check(events, FAKEXEN_EVENTS);
    if (fakexen_fails(__func__))
        return -1;
    if (read(fakexen.events[0], &port, sizeof(port)) != sizeof(port))
        return -1;
    return (xenevtchn_port_or_error_t)port;
}

int xenevtchn_unmask(xenevtchn_handle *events, evtchn_port_t port)
{
    handle_check(events, FAKEXEN_EVENTS);
    if (fakexen_fails(__func__))
        return -1;
    if (port >= FAKEXEN_PORTS)
        abort();
    fakexen_unmask(port);
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *events, evtchn_port_t port)
{
    handle_check(events, FAKEXEN_EVENTS);
    if (fakexen_fails(__func__))
        return -1;
    if (port >= FAKEXEN_PORTS || !fakexen.ports[port].bound)
        return failed(ENXIO);
    if (port >= FAKEXEN_LOCAL && port < FAKEXEN_STRAY)
        fakexen_notified(port - FAKEXEN_LOCAL);
    return 0;
}

/* ---- libxentoolcore ---- */

int xentoolcore_restrict_all(domid_t domid)
{
    if (fakexen_fails(__func__))
        return -1;
    if (domid != fakexen.domid)
        abort();
    fakexen.view.restricted = true;
    return 0;
}
