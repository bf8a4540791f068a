/* SPDX-License-Identifier: MIT */
/*
 * guestsim: guest memory.
 *
 * One memfd is the machine's RAM, cut in two halves that lie at DMA addresses far
 * apart and in the opposite order of their file offsets, as RAM around the PCI
 * hole does.  Hence an address, an offset and a pointer are never equal by chance,
 * and code that mixes them up fails at once.
 *
 * The allocator hands out whole pages inside one half, first fit, under ram->lock.
 */
#include "guestsim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_LOW_DMA  0x00100000ull
#define RAM_HIGH_DMA 0x100000000ull

int gs_ram_init(struct gs_ram *ram, uint64_t bytes)
{
    uint64_t half = bytes / 2;
    int err;

    memset(ram, 0, sizeof(*ram));
    ram->fd = -1;
    if (!bytes || bytes % (2 * VGPU_PAGE_BYTES))
        return -EINVAL;
    ram->used = calloc(bytes / VGPU_PAGE_BYTES, 1);
    if (!ram->used)
        return -ENOMEM;
    ram->fd = memfd_create("guest-ram", MFD_CLOEXEC);
    if (ram->fd < 0 || ftruncate(ram->fd, (off_t)bytes) < 0)
        goto err;
    ram->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
    if (ram->base == MAP_FAILED) {
        ram->base = NULL;
        goto err;
    }
    ram->bytes = bytes;
    ram->region[0] = (struct gs_region){RAM_HIGH_DMA, 0, half};
    ram->region[1] = (struct gs_region){RAM_LOW_DMA, half, half};
    pthread_mutex_init(&ram->lock, NULL);
    return 0;

err:
    err = -errno;
    gs_ram_fini(ram);
    return err;
}

void gs_ram_fini(struct gs_ram *ram)
{
    if (ram->base) {
        munmap(ram->base, ram->bytes);
        pthread_mutex_destroy(&ram->lock);
    }
    if (ram->fd >= 0)
        close(ram->fd);
    free(ram->used);
    memset(ram, 0, sizeof(*ram));
    ram->fd = -1;
}

/* First page of `count` free ones in [from, to), or `to`. */
static size_t ram_find(const struct gs_ram *ram, size_t from, size_t to, size_t count)
{
    size_t run = 0;

    for (size_t i = from; i < to; i++) {
        run = ram->used[i] ? 0 : run + 1;
        if (run == count)
            return i + 1 - count;
    }
    return to;
}

void *gs_ram_alloc(struct gs_ram *ram, size_t bytes)
{
    size_t count = (bytes + VGPU_PAGE_BYTES - 1) / VGPU_PAGE_BYTES;
    void *ptr = NULL;

    if (!count)
        return NULL;
    pthread_mutex_lock(&ram->lock);
    for (unsigned int r = 0; r < GS_RAM_REGIONS && !ptr; r++) {
        size_t from = ram->region[r].offset / VGPU_PAGE_BYTES;
        size_t to = from + ram->region[r].bytes / VGPU_PAGE_BYTES;
        size_t at = ram_find(ram, from, to, count);

        if (at == to)
            continue;
        memset(ram->used + at, 1, count);
        ptr = ram->base + at * VGPU_PAGE_BYTES;
    }
    pthread_mutex_unlock(&ram->lock);
    if (ptr)
        memset(ptr, 0, count * VGPU_PAGE_BYTES);
    return ptr;
}

void gs_ram_free(struct gs_ram *ram, void *ptr, size_t bytes)
{
    size_t count = (bytes + VGPU_PAGE_BYTES - 1) / VGPU_PAGE_BYTES;

    if (!ptr)
        return;
    pthread_mutex_lock(&ram->lock);
    memset(ram->used + (size_t)((uint8_t *)ptr - ram->base) / VGPU_PAGE_BYTES, 0, count);
    pthread_mutex_unlock(&ram->lock);
}

uint64_t gs_ram_dma(const struct gs_ram *ram, const void *ptr)
{
    uint64_t offset = (uint64_t)((const uint8_t *)ptr - ram->base);

    for (unsigned int r = 0; r < GS_RAM_REGIONS; r++) {
        const struct gs_region *region = &ram->region[r];

        if (offset >= region->offset && offset - region->offset < region->bytes)
            return region->dma + (offset - region->offset);
    }
    abort(); /* a test handed in a pointer that is not guest memory */
}

uint64_t gs_ram_pages_used(struct gs_ram *ram)
{
    uint64_t used = 0;

    pthread_mutex_lock(&ram->lock);
    for (uint64_t i = 0; i < ram->bytes / VGPU_PAGE_BYTES; i++)
        used += ram->used[i];
    pthread_mutex_unlock(&ram->lock);
    return used;
}
