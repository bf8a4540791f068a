// SPDX-License-Identifier: MIT
/*
 * Mapping a Xen domain's memory: see foreign.h.
 */
#include <exec/foreign.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* IOCTL_PRIVCMD_MMAPBATCH_V2's argument */
struct privcmd_mapbatch {
    uint32_t pages;
    uint16_t domid;
    uint64_t addr;
    const uint64_t *frames;
    int *errors;
};

_Static_assert(_IOC(_IOC_NONE, 'P', 4, sizeof(struct privcmd_mapbatch)) == VGPU_PRIVCMD_MMAPBATCH,
               "the request's number holds the size of its argument");

static uint32_t foreign_domid;

void vgpu_foreign_set(uint32_t domid)
{
    foreign_domid = domid;
}

bool vgpu_foreign_is_set(void)
{
    return foreign_domid != 0;
}

static void frames_of(const struct vgpu_xrun *runs, uint32_t count, uint64_t *frames)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint64_t at = 0; at < runs[i].bytes; at += VGPU_PAGE_BYTES)
            *frames++ = (runs[i].offset + at) / VGPU_PAGE_BYTES;
    }
}

/* One request for all pages of the mapping, which must be its first. */
static int foreign_fill(int fd, void *map, uint64_t *frames, int *errors, size_t pages)
{
    struct privcmd_mapbatch batch = {.pages = (uint32_t)pages,
                                     .domid = (uint16_t)foreign_domid,
                                     .addr = (uintptr_t)map,
                                     .frames = frames,
                                     .errors = errors};

    if (ioctl(fd, VGPU_PRIVCMD_MMAPBATCH, &batch))
        return errno == ENOENT ? -EFAULT : -errno;
    for (size_t i = 0; i < pages; i++) {
        if (errors[i])
            return -EFAULT;
    }
    return 0;
}

int vgpu_foreign_map(const struct vgpu_xrun *runs, uint32_t count, int fd, size_t bytes, int prot,
                     void **map)
{
    size_t pages = bytes / VGPU_PAGE_BYTES;
    uint64_t *frames = calloc(pages, sizeof(*frames));
    int *errors = calloc(pages, sizeof(*errors));
    void *at;
    int ret = -ENOMEM;

    if (!frames || !errors || pages > UINT32_MAX)
        goto out;
    at = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        ret = -errno;
        goto out;
    }
    frames_of(runs, count, frames);
    ret = foreign_fill(fd, at, frames, errors, pages);
    if (ret)
        munmap(at, bytes);
    else
        *map = at;

out:
    free(frames);
    free(errors);
    return ret;
}
