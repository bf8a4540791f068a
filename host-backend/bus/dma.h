/* SPDX-License-Identifier: MIT */
/*
 * The DMA table: which addresses the guest's device may reach, and what file they are.
 *
 * A range [addr, addr + bytes) comes from one DMA_MAP.  With a descriptor it lies in
 * a *file*: descriptors of the same inode and access mode are one file, kept
 * once, mapped once as a whole (guest RAM is one or a few memfds; under a vIOMMU each
 * page arrives with a descriptor of its own).  Without one the range is known but can't
 * be reached: every access to it is -EFAULT.
 *
 * A file must be a regular file (memfd, tmpfs, hugetlbfs or ordinary) that reaches to
 * the end of the range.  Whether the client maps it shared can't be seen from here: a
 * client with a private mapping exchanges no data with us, and has to refuse that by itself.
 *
 * The table is used by the vm process's one thread.  Accesses survive truncation of
 * the file (guard.h).
 */
#ifndef VGPU_BUS_DMA_H
#define VGPU_BUS_DMA_H

#include <stdbool.h>
#include <stdint.h>
#include <bus/guard.h>

#define VGPU_DMA_READ       1u
#define VGPU_DMA_WRITE      2u
#define VGPU_DMA_PAGE       4096u
#define VGPU_DMA_MAX_RANGES 65536u
#define VGPU_DMA_MAX_FILES                                                                         \
    56u /* what fits a message to an exec process, its own descriptors aside */

struct vgpu_dma;

/* One contiguous piece of a file. */
struct vgpu_dma_piece {
    uint32_t file; /* index for vgpu_dma_file_fd() */
    uint32_t prot; /* VGPU_DMA_* of the range */
    uint64_t offset;
    uint64_t bytes;
};

struct vgpu_dma_stats {
    uint32_t ranges;
    uint32_t files;
    uint64_t mapped_bytes; /* reachable ranges only */
};

struct vgpu_dma *vgpu_dma_create(void);
void vgpu_dma_destroy(struct vgpu_dma *dma);

/*
 * Add a range; `fd` (or -1) is consumed, whatever the outcome.  -EINVAL: sizes or alignment;
 * -EEXIST: overlaps a range; -EBADF: the descriptor is no shareable file or lacks the access;
 * -ERANGE: the file is shorter than the range; -ENOSPC, -EMFILE: limits; -ENOMEM.
 */
VGPU_MUST_CHECK int vgpu_dma_map(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes,
                                 uint64_t offset, uint32_t prot, int fd);

/*
 * Remove all ranges inside [addr, addr + bytes), of which there may be none (then *removed is
 * false).  -EINVAL if a range lies half inside: nothing is removed then.
 */
VGPU_MUST_CHECK int vgpu_dma_unmap(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes,
                                   bool *removed);
void vgpu_dma_unmap_all(struct vgpu_dma *dma);

/* 0 or -EFAULT. */
VGPU_MUST_CHECK int vgpu_dma_read(struct vgpu_dma *dma, uint64_t addr, void *buf, size_t bytes);
VGPU_MUST_CHECK int vgpu_dma_write(struct vgpu_dma *dma, uint64_t addr, const void *buf,
                                   size_t bytes);
VGPU_MUST_CHECK int vgpu_dma_load32(struct vgpu_dma *dma, uint64_t addr, uint32_t *value);
VGPU_MUST_CHECK int vgpu_dma_store32(struct vgpu_dma *dma, uint64_t addr, uint32_t value);

/* The longest piece that starts at `addr`, at most `bytes` long and reachable with all of
 * `prot`.  0 or -EFAULT. */
VGPU_MUST_CHECK int vgpu_dma_resolve(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes,
                                     uint32_t prot, struct vgpu_dma_piece *piece);

/* The descriptor of a file that vgpu_dma_resolve() just named; owned by the table. */
int vgpu_dma_file_fd(const struct vgpu_dma *dma, uint32_t file);

void vgpu_dma_get_stats(const struct vgpu_dma *dma, struct vgpu_dma_stats *stats);

#endif /* VGPU_BUS_DMA_H */
