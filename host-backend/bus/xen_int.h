/* SPDX-License-Identifier: MIT */
/*
 * Private to the Xen bus: xen.c (opening, events), xen_attach.c (attaching, leaving), xen_ioreq.c
 * (requests), xen_memory.c (guest memory), xen_state.c (what outlives a process).
 */
#ifndef VGPU_BUS_XEN_INT_H
#define VGPU_BUS_XEN_INT_H

#define __XEN_TOOLS__ 1
#include <bus/xen.h>
#include <bus/xen_lib.h>
#include <device/msix.h>

#include <xen/xen.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/ioreq.h>

#define XEN_PAGE       4096u
#define XEN_MAX_VCPUS  128u /* slots of one request page */
#define XEN_CACHE_SETS 64u
#define XEN_BARS       3u

/* What has been done, in this order. */
enum xen_stage {
    XEN_CLOSED,
    XEN_OPEN,    /* handles */
    XEN_CREATED, /* the ioreq server */
    XEN_MAPPED,  /* its request page */
    XEN_PLACED,  /* the PCI function is ours */
    XEN_ENABLED, /* and Xen may send requests */
};

struct xen_bar {
    unsigned int bar;
    uint64_t at;      /* where Xen has it; 0: nowhere */
    uint64_t next;    /* where it is about to go, while it moves; 0: nowhere */
    uint64_t refused; /* where Xen would not have it, last; 0: nowhere */
    uint64_t bytes;
};

struct xen_page {
    uint64_t gfn;
    void *map; /* NULL: empty */
};

struct vgpu_xen {
    enum xen_stage stage;
    domid_t domid;
    uint32_t slot;
    xendevicemodel_handle *dm;
    xenforeignmemory_handle *memory;
    xenevtchn_handle *events;
    int memory_fd;
    ioservid_t server;
    int state_fd; /* the owner's; see xen_state.c */
    xenforeignmemory_resource_handle *resource;
    shared_iopage_t *requests;
    uint32_t vcpus;
    evtchn_port_t ports[XEN_MAX_VCPUS];
    uint32_t bound; /* so many of them */
    struct vgpu_dev *dev;
    struct vgpu_msix *msix;
    const struct vgpu_xen_ops *ops;
    void *opaque;
    bool master;  /* the guest lets the device write: messages, and DMA */
    bool leaving; /* the device is being taken away: config space reads as all ones */
    bool changed; /* by the request being served: something that a successor must know */
    struct xen_bar bars[XEN_BARS];
    struct xen_page cache[XEN_CACHE_SETS];
    struct vgpu_xen_stats stats;
};

void xen_log(struct vgpu_xen *xen, enum vgpu_dev_log level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* One line in `why`, from errno: -errno. */
int xen_failed(const struct vgpu_xen *xen, const char *what, char *why, size_t bytes);
/* Serve what a vCPU waits for, if it does: 0 or -errno. */
VGPU_MUST_CHECK int xen_take(struct vgpu_xen *xen, uint32_t vcpu);
void xen_deliver(void *opaque, unsigned int vector, uint64_t addr, uint32_t data);
/* xen_attach.c: whatever has been attached, in reverse */
void xen_detach(struct vgpu_xen *xen);
/* xen_ioreq.c */
void xen_serve(struct vgpu_xen *xen, ioreq_t *req);
void xen_bars_unmap(struct vgpu_xen *xen);
bool xen_msix_enabled(struct vgpu_xen *xen);
/* Of a predecessor's server, when its state has been restored. */
void xen_bars_adopt(struct vgpu_xen *xen);
/* xen_state.c */
enum xen_left {
    XEN_LEFT_NOTHING,
    XEN_LEFT_BEGUN, /* a server without the device: its process died while it attached */
    XEN_LEFT_WHOLE,
};
void xen_state_save(struct vgpu_xen *xen);
void xen_state_clear(struct vgpu_xen *xen);
/* Has a process that was killed left a server?  Then it is xen->server. */
enum xen_left xen_state_find(struct vgpu_xen *xen);
void xen_state_restore(struct vgpu_xen *xen);
/* xen_memory.c */
void xen_cache_drop(struct vgpu_xen *xen);
VGPU_MUST_CHECK int xen_memory_read(struct vgpu_xen *xen, uint64_t addr, void *buf, size_t bytes);
VGPU_MUST_CHECK int xen_memory_write(struct vgpu_xen *xen, uint64_t addr, const void *buf,
                                     size_t bytes);

#endif /* VGPU_BUS_XEN_INT_H */
