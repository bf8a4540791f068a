/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest memory that the device can reach by DMA, as the back end is told.
 * See vgpu-dma.c.
 */
#ifndef VGPU_DMA_H
#define VGPU_DMA_H

#include "exec/memory.h"
#include "qemu/queue.h"
#include "vgpu-client.h"

typedef struct VgpuDevice VgpuDevice;
typedef struct VgpuMapping VgpuMapping;
typedef struct VgpuIommu VgpuIommu;

typedef struct VgpuDma {
    MemoryListener listener;
    bool listening;
    GTree *mappings;            /* VgpuMapping by address, none overlap */
    QTAILQ_HEAD(, VgpuMapping) todo;    /* not yet announced to the back end */
    QLIST_HEAD(, VgpuIommu) iommus;
    bool announce;              /* there is a back end to tell */
    unsigned in_flight;         /* requests that it has not answered */
    unsigned count;             /* of mappings */
    unsigned max_maps;          /* that the back end allows */
    uint64_t page_bytes;        /* its granularity */
} VgpuDma;

/* Is the machine's memory such that another process can map it, and the vIOMMU
 * (if any) one whose mappings can be followed? */
bool vgpu_dma_check_machine(Error **errp);

void vgpu_dma_init(VgpuDevice *dev);
void vgpu_dma_fini(VgpuDevice *dev);

/* Begin telling the back end; with a fresh one, everything. */
void vgpu_dma_start(VgpuDevice *dev, unsigned max_maps, uint64_t page_bytes);
/* The back end is gone. */
void vgpu_dma_stop(VgpuDevice *dev);
/* Has it been told everything, and agreed? */
bool vgpu_dma_is_settled(const VgpuDevice *dev);

#endif /* VGPU_DMA_H */
