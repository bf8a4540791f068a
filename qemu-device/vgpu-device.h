/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vGPU PCI device: its state, and the parts it is made of.
 *
 *   vgpu-pci.c       QOM type, config space, BARs, reset: PCI and nothing else
 *   vgpu-conn.c      when there is a back end: connect, handshake, lose, retry
 *   vgpu-handshake.c what a back end must be
 *   vgpu-client.c    how messages travel
 *   vgpu-doorbell.c  BAR 2: doorbell pages on the back end's eventfds
 *   vgpu-irq.c       MSI-X vectors on eventfds that the back end signals
 *   vgpu-memory.c    which guest memory the device can reach
 *   vgpu-dma.c       what of it the back end has been told
 *
 * All of it runs under the big QEMU lock.
 */
#ifndef VGPU_QEMU_DEVICE_H
#define VGPU_QEMU_DEVICE_H

#include "hw/pci/pci.h"
#include "qemu/event_notifier.h"
#include "qom/object.h"
#include "vgpu/hw.h"
#include "vgpu-client.h"
#include "vgpu-dma.h"

#define TYPE_VGPU_PCI "vgpu-pci"
OBJECT_DECLARE_SIMPLE_TYPE(VgpuDevice, VGPU_PCI)

#define VGPU_DOORBELL_PAGES (VGPU_BAR_DOORBELL_SIZE / VGPU_DOORBELL_STRIDE)

/* In order of bring-up; see the table in vgpu-conn.c. */
typedef enum VgpuConnState {
    VGPU_CONN_DOWN,
    VGPU_CONN_VERSION,
    VGPU_CONN_INFO,
    VGPU_CONN_IDENTITY,
    VGPU_CONN_DOORBELLS,
    VGPU_CONN_IRQS,
    VGPU_CONN_MAPS,
    VGPU_CONN_LIVE,
} VgpuConnState;

typedef struct VgpuConn {
    VgpuConnState state;
    VgpuClient client;
    QEMUTimer *timer;           /* DOWN: next attempt; else: handshake limit */
    unsigned stalls;            /* connections in a row that ended in a stall */
    int64_t live_since_ms;
    bool discard_disabled;
    unsigned peer_max_fds;      /* descriptors the peer takes per message */
    unsigned peer_max_maps;     /* DMA mappings it can hold */
    uint64_t peer_page_bytes;   /* and their granularity */
    char *last_complaint;       /* not repeated until something changes */
    int64_t messages_since_ms;  /* rate limit of messages */
    unsigned messages, suppressed;
} VgpuConn;

typedef struct VgpuDoorbell {
    EventNotifier notifier;
    bool present;               /* notifier holds the back end's eventfd */
    bool wired;                 /* it is an ioeventfd of BAR 2 */
} VgpuDoorbell;

typedef struct VgpuVector {
    VgpuDevice *dev;
    EventNotifier notifier;
    int virq;                   /* KVM's route; -1: the main loop listens */
} VgpuVector;

typedef struct VgpuIommu VgpuIommu;

typedef struct VgpuMemory {
    MemoryListener listener;
    QLIST_HEAD(, VgpuIommu) iommus;
} VgpuMemory;

struct VgpuDevice {
    PCIDevice parent_obj;

    MemoryRegion bar_regs;
    MemoryRegion bar_doorbell;
    MemoryRegion bar_msix;

    VgpuConn conn;
    VgpuDma dma;
    VgpuMemory memory;
    VgpuDoorbell doorbells[VGPU_DOORBELL_PAGES];
    bool doorbells_by_message;  /* those without an eventfd */
    VgpuVector vectors[VGPU_MSIX_VECTORS];

    /* Properties */
    char *socket;
    uint32_t reconnect_ms;
    uint32_t timeout_ms;
    uint32_t release_timeout_ms;
    bool ioeventfd;
};

/* ---- vgpu-conn.c ---- */

void vgpu_conn_init(VgpuDevice *dev);
void vgpu_conn_fini(VgpuDevice *dev);

static inline bool vgpu_conn_is_live(const VgpuDevice *dev)
{
    return dev->conn.state == VGPU_CONN_LIVE &&
           vgpu_client_is_up(&dev->conn.client);
}

/*
 * One access of 1, 2, 4 or 8 bytes to a BAR.  Without a back end a read returns
 * all ones and a write does nothing.
 */
uint64_t vgpu_conn_read(VgpuDevice *dev, unsigned bar, uint64_t offset,
                        unsigned size);
void vgpu_conn_write(VgpuDevice *dev, unsigned bar, uint64_t offset,
                     uint64_t value, unsigned size);

/* Pass a reset on to the device; returns when it was taken or given up. */
void vgpu_conn_reset(VgpuDevice *dev);

/* A warning that no peer and no guest can turn into a flood. */
void vgpu_conn_complain(VgpuDevice *dev, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/* ---- vgpu-handshake.c: the requests of each state ---- */

void vgpu_handshake_version(VgpuDevice *dev);
void vgpu_handshake_info(VgpuDevice *dev);
void vgpu_handshake_identity(VgpuDevice *dev);
void vgpu_handshake_doorbells(VgpuDevice *dev);
void vgpu_handshake_irqs(VgpuDevice *dev);
void vgpu_handshake_maps(VgpuDevice *dev);

/* ---- vgpu-memory.c ---- */

/*
 * Is the machine's memory such that another process can map it, and the vIOMMU
 * (if any) one whose mappings can be followed?
 */
bool vgpu_memory_check(Error **errp);
void vgpu_memory_init(VgpuDevice *dev);
void vgpu_memory_fini(VgpuDevice *dev);

/* ---- vgpu-doorbell.c ---- */

void vgpu_doorbell_init(VgpuDevice *dev);
/*
 * Check a reply to GET_REGION_IO_FDS and keep its eventfds.  NULL, or what is
 * wrong with it.
 */
const char *vgpu_doorbell_parse(VgpuDevice *dev, const VgpuReply *reply)
    G_GNUC_WARN_UNUSED_RESULT;
/* Connect the pages to the eventfds kept / forget them. */
void vgpu_doorbell_wire(VgpuDevice *dev);
void vgpu_doorbell_drop(VgpuDevice *dev);

/* Largest valid reply. */
#define VGPU_DOORBELL_REPLY_MAX \
    (sizeof(VfuRegionIoFds) + VGPU_DOORBELL_PAGES * sizeof(VfuIoEventFd))

/* ---- vgpu-irq.c ---- */

bool vgpu_irq_init(VgpuDevice *dev, Error **errp);
void vgpu_irq_fini(VgpuDevice *dev);
/* The descriptors the back end signals, [VGPU_MSIX_VECTORS]. */
void vgpu_irq_get_fds(VgpuDevice *dev, int *fds);
/* Follow a change of the MSI-X enable bit. */
void vgpu_irq_config_changed(VgpuDevice *dev);
/* Deliver what has been signalled so far. */
void vgpu_irq_flush(VgpuDevice *dev);
/* Forget interrupts signalled before a reset. */
void vgpu_irq_drain(VgpuDevice *dev);
/* Raise a vector that the guest has set up, to make its driver look. */
void vgpu_irq_nudge(VgpuDevice *dev, unsigned vector);

#endif /* VGPU_QEMU_DEVICE_H */
