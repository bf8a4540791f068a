/* SPDX-License-Identifier: MIT */
/*
 * The DMA table: see dma.h.
 *
 * Ranges are a sorted array without overlaps, searched by bisection.  A file is
 * counted by the ranges that lie in it and is closed with the last one; it is mapped as
 * a whole at the first access, and again if it has grown since.  hugetlbfs has no
 * write(), and admin indices need real atomics: hence mappings and not pread().
 */
#include <bus/dma.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DMA_NO_FILE UINT32_MAX

struct dma_range {
    uint64_t addr;
    uint64_t bytes;
    uint64_t offset;
    uint32_t file; /* DMA_NO_FILE: unreachable */
    uint32_t prot;
};

struct dma_file {
    int fd; /* -1: free slot */
    bool writable;
    uint32_t ranges;
    dev_t dev;
    ino_t ino;
    uint8_t *base; /* NULL: not mapped yet */
    uint64_t mapped_bytes;
};

struct vgpu_dma {
    struct dma_range *ranges;
    uint32_t count;
    uint32_t room;
    uint64_t mapped_bytes;
    struct dma_file files[VGPU_DMA_MAX_FILES];
};

struct vgpu_dma *vgpu_dma_create(void)
{
    struct vgpu_dma *dma = calloc(1, sizeof(*dma));

    if (!dma)
        return NULL;
    for (uint32_t i = 0; i < VGPU_DMA_MAX_FILES; i++)
        dma->files[i].fd = -1;
    return dma;
}

void vgpu_dma_destroy(struct vgpu_dma *dma)
{
    if (!dma)
        return;
    vgpu_dma_unmap_all(dma);
    free(dma->ranges);
    free(dma);
}

/* ---- Files ---- */

static void file_put(struct vgpu_dma *dma, uint32_t idx)
{
    struct dma_file *file = &dma->files[idx];

    assert(file->ranges > 0);
    if (--file->ranges)
        return;
    if (file->base)
        munmap(file->base, file->mapped_bytes);
    close(file->fd);
    *file = (struct dma_file){.fd = -1};
}

/* Is the descriptor something that can be mapped, with this access and up to `end`? */
static VGPU_MUST_CHECK int file_check(int fd, uint32_t prot, uint64_t end, struct stat *st,
                                      bool *writable)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, st))
        return -EBADF;
    if (!S_ISREG(st->st_mode) || (flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    *writable = (flags & O_ACCMODE) == O_RDWR;
    if ((prot & VGPU_DMA_WRITE) && !*writable)
        return -EBADF;
    if (st->st_size < 0 || end > (uint64_t)st->st_size)
        return -ERANGE;
    return 0;
}

/* Find or make the file of a descriptor, which is consumed.  The file's index, or -errno. */
static VGPU_MUST_CHECK int file_get(struct vgpu_dma *dma, int fd, uint32_t prot, uint64_t end)
{
    struct stat st;
    bool writable;
    int ret = file_check(fd, prot, end, &st, &writable);
    int slot = -1;

    if (ret)
        goto out_close;
    for (uint32_t i = 0; i < VGPU_DMA_MAX_FILES; i++) {
        struct dma_file *file = &dma->files[i];

        if (file->fd < 0) {
            slot = slot < 0 ? (int)i : slot;
            continue;
        }
        if (file->dev == st.st_dev && file->ino == st.st_ino && file->writable == writable) {
            file->ranges++;
            ret = (int)i;
            goto out_close;
        }
    }
    if (slot < 0) {
        ret = -EMFILE;
        goto out_close;
    }
    dma->files[slot] = (struct dma_file){
        .fd = fd, .writable = writable, .ranges = 1, .dev = st.st_dev, .ino = st.st_ino};
    return slot;

out_close:
    close(fd);
    return ret;
}

/* Where `offset` of a file is in memory; `bytes` from there are mapped. NULL: can't be. */
static uint8_t *file_map(struct dma_file *file, uint64_t offset, uint64_t bytes)
{
    struct stat st;
    void *base;

    if (!file->base || offset + bytes > file->mapped_bytes) {
        if (fstat(file->fd, &st) || st.st_size <= 0 || offset + bytes > (uint64_t)st.st_size)
            return NULL;
        if (file->base)
            munmap(file->base, file->mapped_bytes);
        file->base = NULL;
        base = mmap(NULL, (size_t)st.st_size, PROT_READ | (file->writable ? PROT_WRITE : 0),
                    MAP_SHARED | MAP_NORESERVE, file->fd, 0);
        if (base == MAP_FAILED)
            return NULL;
        file->base = base;
        file->mapped_bytes = (uint64_t)st.st_size;
    }
    return file->base + offset;
}

/* ---- Ranges ---- */

/* Index of the first range that ends after `addr`. */
static uint32_t range_find(const struct vgpu_dma *dma, uint64_t addr)
{
    uint32_t lo = 0, hi = dma->count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct dma_range *r = &dma->ranges[mid];

        if (addr - r->addr >= r->bytes && addr >= r->addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static VGPU_MUST_CHECK int range_make_room(struct vgpu_dma *dma)
{
    uint32_t room = dma->room ? dma->room * 2 : 64;
    struct dma_range *ranges;

    if (dma->count < dma->room)
        return 0;
    if (dma->count >= VGPU_DMA_MAX_RANGES)
        return -ENOSPC;
    ranges = reallocarray(dma->ranges, room, sizeof(*ranges));
    if (!ranges)
        return -ENOMEM;
    dma->ranges = ranges;
    dma->room = room;
    return 0;
}

static VGPU_MUST_CHECK int range_check(const struct vgpu_dma *dma, uint64_t addr, uint64_t bytes,
                                       uint32_t *pos)
{
    uint64_t last;

    if (!bytes || __builtin_add_overflow(addr, bytes - 1, &last))
        return -EINVAL;
    *pos = range_find(dma, addr);
    if (*pos < dma->count && dma->ranges[*pos].addr <= last)
        return -EEXIST;
    return 0;
}

int vgpu_dma_map(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes, uint64_t offset,
                 uint32_t prot, int fd)
{
    struct dma_range range = {addr, bytes, offset, DMA_NO_FILE, prot};
    uint64_t end = 0;
    uint32_t pos;
    int ret;

    ret = range_check(dma, addr, bytes, &pos);
    if (!ret && fd >= 0 &&
        ((addr | bytes | offset) % VGPU_DMA_PAGE || __builtin_add_overflow(offset, bytes, &end)))
        ret = -EINVAL;
    if (!ret)
        ret = range_make_room(dma);
    if (ret) {
        if (fd >= 0)
            close(fd);
        return ret;
    }
    if (fd >= 0) {
        ret = file_get(dma, fd, prot, end);
        if (ret < 0)
            return ret;
        range.file = (uint32_t)ret;
        dma->mapped_bytes += bytes;
    }
    memmove(&dma->ranges[pos + 1], &dma->ranges[pos], (dma->count - pos) * sizeof(range));
    dma->ranges[pos] = range;
    dma->count++;
    return 0;
}

static void range_release(struct vgpu_dma *dma, const struct dma_range *range)
{
    if (range->file == DMA_NO_FILE)
        return;
    dma->mapped_bytes -= range->bytes;
    file_put(dma, range->file);
}

int vgpu_dma_unmap(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes, bool *removed)
{
    uint32_t first, end;
    uint64_t last;

    if (!bytes || __builtin_add_overflow(addr, bytes - 1, &last))
        return -EINVAL;
    first = range_find(dma, addr);
    for (end = first; end < dma->count && dma->ranges[end].addr <= last; end++) {
        const struct dma_range *r = &dma->ranges[end];

        if (r->addr < addr || r->addr + (r->bytes - 1) > last)
            return -EINVAL;
    }
    for (uint32_t i = first; i < end; i++)
        range_release(dma, &dma->ranges[i]);
    if (end > first)
        memmove(&dma->ranges[first], &dma->ranges[end], (dma->count - end) * sizeof(*dma->ranges));
    dma->count -= end - first;
    *removed = end > first;
    return 0;
}

void vgpu_dma_unmap_all(struct vgpu_dma *dma)
{
    for (uint32_t i = 0; i < dma->count; i++)
        range_release(dma, &dma->ranges[i]);
    dma->count = 0;
}

/* ---- Access ---- */

int vgpu_dma_resolve(struct vgpu_dma *dma, uint64_t addr, uint64_t bytes, uint32_t prot,
                     struct vgpu_dma_piece *piece)
{
    uint32_t pos = range_find(dma, addr);
    const struct dma_range *r;
    uint64_t skip;

    if (!bytes || pos >= dma->count)
        return -EFAULT;
    r = &dma->ranges[pos];
    if (r->addr > addr || r->file == DMA_NO_FILE || (r->prot & prot) != prot)
        return -EFAULT;
    skip = addr - r->addr;
    piece->file = r->file;
    piece->prot = r->prot;
    piece->offset = r->offset + skip;
    piece->bytes = r->bytes - skip < bytes ? r->bytes - skip : bytes;
    return 0;
}

/* An access may not wrap around the end of the address space. */
static bool dma_wraps(uint64_t addr, size_t bytes)
{
    uint64_t last;

    return bytes && __builtin_add_overflow(addr, bytes - 1, &last);
}

/* The one accessor: memory of at least one byte at `addr`, *bytes cut to what is there. */
static uint8_t *dma_at(struct vgpu_dma *dma, uint64_t addr, uint64_t *bytes, uint32_t prot)
{
    struct vgpu_dma_piece piece;

    if (vgpu_dma_resolve(dma, addr, *bytes, prot, &piece))
        return NULL;
    *bytes = piece.bytes;
    return file_map(&dma->files[piece.file], piece.offset, piece.bytes);
}

int vgpu_dma_read(struct vgpu_dma *dma, uint64_t addr, void *buf, size_t bytes)
{
    uint8_t *dst = buf;

    if (dma_wraps(addr, bytes))
        return -EFAULT;
    while (bytes) {
        uint64_t n = bytes;
        const uint8_t *src = dma_at(dma, addr, &n, VGPU_DMA_READ);

        if (!src || vgpu_guard_copy(dst, src, n))
            return -EFAULT;
        dst += n;
        addr += n;
        bytes -= n;
    }
    return 0;
}

int vgpu_dma_write(struct vgpu_dma *dma, uint64_t addr, const void *buf, size_t bytes)
{
    const uint8_t *src = buf;

    if (dma_wraps(addr, bytes))
        return -EFAULT;
    while (bytes) {
        uint64_t n = bytes;
        uint8_t *dst = dma_at(dma, addr, &n, VGPU_DMA_WRITE);

        if (!dst || vgpu_guard_copy(dst, src, n))
            return -EFAULT;
        src += n;
        addr += n;
        bytes -= n;
    }
    return 0;
}

int vgpu_dma_load32(struct vgpu_dma *dma, uint64_t addr, uint32_t *value)
{
    uint64_t n = sizeof(*value);
    const uint8_t *word;

    if (addr % sizeof(*value))
        return -EFAULT;
    word = dma_at(dma, addr, &n, VGPU_DMA_READ);
    if (!word || n != sizeof(*value))
        return -EFAULT;
    return vgpu_guard_load32((const uint32_t *)(const void *)word, value);
}

int vgpu_dma_store32(struct vgpu_dma *dma, uint64_t addr, uint32_t value)
{
    uint64_t n = sizeof(value);
    uint8_t *word;

    if (addr % sizeof(value))
        return -EFAULT;
    word = dma_at(dma, addr, &n, VGPU_DMA_WRITE);
    if (!word || n != sizeof(value))
        return -EFAULT;
    return vgpu_guard_store32((uint32_t *)(void *)word, value);
}

int vgpu_dma_file_fd(const struct vgpu_dma *dma, uint32_t file)
{
    assert(file < VGPU_DMA_MAX_FILES && dma->files[file].fd >= 0);
    return dma->files[file].fd;
}

void vgpu_dma_get_stats(const struct vgpu_dma *dma, struct vgpu_dma_stats *stats)
{
    *stats = (struct vgpu_dma_stats){.ranges = dma->count, .mapped_bytes = dma->mapped_bytes};
    for (uint32_t i = 0; i < VGPU_DMA_MAX_FILES; i++)
        stats->files += dma->files[i].fd >= 0;
}
