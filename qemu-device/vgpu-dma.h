/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest memory that the back end has been told about: vgpu-dma.c.
 */
#ifndef VGPU_DMA_H
#define VGPU_DMA_H

#include "exec/memory.h"
#include "qemu/queue.h"

typedef struct VgpuDevice VgpuDevice;
typedef struct VgpuMapping VgpuMapping;

typedef struct VgpuDma {
    GTree *mappings;            /* VgpuMapping by address, none overlap */
    QTAILQ_HEAD(, VgpuMapping) todo;    /* to tell the back end */
    bool announce;              /* there is a back end to tell */
    unsigned in_flight;         /* requests that it has not answered */
    unsigned count;             /* of mappings */
    unsigned max_maps;          /* that the back end allows */
    uint64_t page_bytes;        /* its granularity */
} VgpuDma;

void vgpu_dma_init(VgpuDevice *dev);
void vgpu_dma_fini(VgpuDevice *dev);

/*
 * DMA addresses @first to @last, inclusive, are from now on @offset and on in
 * @mr, which is RAM with a descriptor / are nothing.  After a group of changes
 * vgpu_dma_sync() returns when the back end has followed.
 */
void vgpu_dma_map(VgpuDevice *dev, uint64_t first, uint64_t last,
                  MemoryRegion *mr, uint64_t offset, bool writable);
void vgpu_dma_cut(VgpuDevice *dev, uint64_t first, uint64_t last);
void vgpu_dma_sync(VgpuDevice *dev);

/* There is a back end: tell it everything.  / It is gone. */
void vgpu_dma_start(VgpuDevice *dev, unsigned max_maps, uint64_t page_bytes);
void vgpu_dma_stop(VgpuDevice *dev);

#endif /* VGPU_DMA_H */
