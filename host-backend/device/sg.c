/* SPDX-License-Identifier: MIT */
/*
 * The walk along a scatter list; see sg.h.
 */
#include <device/sg.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MASK ((uint64_t)VGPU_PAGE_BYTES - 1)

uint16_t vgpu_sg_walk_init(struct vgpu_sg_walk *walk, uint64_t sg_addr, uint32_t count,
                           uint64_t bytes)
{
    assert(count > 0);
    *walk = (struct vgpu_sg_walk){.count = count, .next = sg_addr, .bytes = bytes};
    walk->sg = malloc((size_t)count * sizeof(walk->sg[0]));
    return walk->sg ? VGPU_ST_OK : VGPU_ST_HOST_MEMORY;
}

void vgpu_sg_walk_fini(struct vgpu_sg_walk *walk)
{
    free(walk->sg);
    *walk = (struct vgpu_sg_walk){0};
}

/* One entry: whole pages, except where the list begins and ends (spec 8.4). */
static uint16_t sg_check_entry(struct vgpu_sg_walk *walk, const struct vgpu_sg_entry *entry)
{
    const bool first = walk->got == 0;
    const bool last = walk->got == walk->count - 1;
    uint64_t end;

    if (entry->bytes == 0)
        return VGPU_ST_ADMIN_VALUE;
    if (__builtin_add_overflow(entry->addr, entry->bytes, &end))
        return VGPU_ST_ADMIN_VALUE;
    if (!first && (entry->addr & PAGE_MASK))
        return VGPU_ST_ADMIN_VALUE;
    if (!last && (end & PAGE_MASK))
        return VGPU_ST_ADMIN_VALUE;
    if (__builtin_add_overflow(walk->sum, entry->bytes, &walk->sum))
        return VGPU_ST_ADMIN_VALUE;
    return VGPU_ST_OK;
}

/* The page's own fields, against what the command announced. */
static uint16_t sg_check_page(const struct vgpu_sg_walk *walk, const struct vgpu_sg_page *page)
{
    const uint32_t left = walk->count - walk->got;
    const uint32_t expected = left < VGPU_SG_PER_PAGE ? left : VGPU_SG_PER_PAGE;

    if (page->rsvd)
        return VGPU_ST_ADMIN_RESERVED;
    if (page->count != expected)
        return VGPU_ST_ADMIN_VALUE;
    if (page->next & PAGE_MASK)
        return VGPU_ST_ADMIN_VALUE;
    if ((page->next == 0) != (left == expected))
        return VGPU_ST_ADMIN_VALUE;
    return VGPU_ST_OK;
}

uint16_t vgpu_sg_walk_step(struct vgpu_sg_walk *walk, const struct vgpu_dev_ops *ops, void *opaque)
{
    struct vgpu_sg_page page;
    uint16_t status;

    assert(walk->got < walk->count);
    if (ops->dma_read(opaque, walk->next, &page, sizeof(page)))
        return VGPU_ST_BAD_DMA;
    status = sg_check_page(walk, &page);
    if (status != VGPU_ST_OK)
        return status;
    for (uint32_t i = 0; i < page.count; i++) {
        status = sg_check_entry(walk, &page.sg[i]);
        if (status != VGPU_ST_OK)
            return status;
        walk->sg[walk->got++] = page.sg[i];
    }
    walk->next = page.next;
    if (walk->got < walk->count)
        return VGPU_ST_BUSY;
    return walk->sum == walk->bytes ? VGPU_ST_OK : VGPU_ST_ADMIN_VALUE;
}
