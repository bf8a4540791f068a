/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus: serves one device to one HVM domain, as an ioreq server in Dom0.
 *
 * Theory of operation.  Xen hands a vCPU's access to the device's config space or BARs to the
 * server as a request in a page that both share, one slot for each vCPU, and sends an event; the
 * vCPU waits until the slot says that it is answered.  So vgpu_xen_receive() answers at once
 * and never blocks.  MSI-X is emulated by the device core; a message that is due is injected.
 *
 * Which accesses come here follows the BARs: after each write to config space, ranges that
 * the guest has placed are registered, and those it took away are not any more.  An access
 * with its data in memory (rep movs) is taken apart here.
 *
 * Order of life.  open() needs root, and narrows all handles to that domain: they can do nothing
 * to any other from then on.  attach() runs without privileges and registers the server, which
 * must be done before the guest's firmware scans the bus.  Each step that was done is undone, in
 * reverse, when a later one fails, and by destroy().  No vCPU is left waiting: see xen_attach.c.
 *
 * Guest memory is mapped page by page as the device asks for it, and kept in a cache, which an
 * INVALIDATE from Xen (the guest's memory changed) empties.  Exec processes map for themselves,
 * through the narrowed descriptor of vgpu_xen_memory_fd().
 *
 * Nothing tells a server that its domain has gone: the owner calls vgpu_xen_check() now and then.
 */
#ifndef VGPU_BUS_XEN_H
#define VGPU_BUS_XEN_H

#include <stdbool.h>
#include <stdint.h>
#include <device/device.h>
#include <bus/guard.h>

struct vgpu_xen;

/* What the bus needs of the vm process. */
struct vgpu_xen_ops {
    void (*doorbell)(void *opaque, uint32_t ctx);
    /* One line; the callee rate-limits. */
    void (*log)(void *opaque, enum vgpu_dev_log level, const char *message);
};

struct vgpu_xen_stats {
    uint64_t config; /* requests, by kind */
    uint64_t mmio;
    uint64_t strings; /* of both: with data in memory */
    uint64_t maps;    /* guest pages mapped */
};

/* 0 with *out, or -errno with one line in `why`. */
VGPU_MUST_CHECK int vgpu_xen_open(uint32_t domid, uint32_t slot, struct vgpu_xen **out, char *why,
                                  size_t why_bytes);
/* 0, or -errno with one line in `why`: then it has left nothing in the domain.
 * state_fd: a file for what a successor needs if this process is killed, from offset 4096 on; it
 * stays the caller's, and open.  Takes over from the predecessor that left its state there; if that
 * fails, the domain waits for another, except where the server isn't one of ours. */
VGPU_MUST_CHECK int vgpu_xen_attach(struct vgpu_xen *xen, struct vgpu_dev *dev,
                                    const struct vgpu_xen_ops *ops, void *opaque, int state_fd,
                                    char *why, size_t why_bytes);
/* Detaches, too: reads that wait become all ones, writes are dropped.  NULL is allowed. */
void vgpu_xen_destroy(struct vgpu_xen *xen);

/* Readable when vgpu_xen_receive() has something to do. */
int vgpu_xen_fd(const struct vgpu_xen *xen);
/* 0, or -errno: the bus is of no use any more. */
VGPU_MUST_CHECK int vgpu_xen_receive(struct vgpu_xen *xen);
/* Is the domain still there?  0, or -ESRCH. */
VGPU_MUST_CHECK int vgpu_xen_check(struct vgpu_xen *xen);

/* Raise a vector, as the table says. */
void vgpu_xen_irq(struct vgpu_xen *xen, unsigned int vector);

/* The device's DMA: 0 or -EFAULT. */
VGPU_MUST_CHECK int vgpu_xen_dma_read(struct vgpu_xen *xen, uint64_t addr, void *buf, size_t bytes);
VGPU_MUST_CHECK int vgpu_xen_dma_write(struct vgpu_xen *xen, uint64_t addr, const void *buf,
                                       size_t bytes);
VGPU_MUST_CHECK int vgpu_xen_dma_load32(struct vgpu_xen *xen, uint64_t addr, uint32_t *value);
VGPU_MUST_CHECK int vgpu_xen_dma_store32(struct vgpu_xen *xen, uint64_t addr, uint32_t value);

/* A descriptor through which that domain's memory, and nothing else, can be mapped: its
 * offsets are guest-physical addresses (exec/foreign.h).  Owned by the bus. */
int vgpu_xen_memory_fd(const struct vgpu_xen *xen);

void vgpu_xen_get_stats(const struct vgpu_xen *xen, struct vgpu_xen_stats *stats);

#endif /* VGPU_BUS_XEN_H */
