/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for the device's own use: admin queue, scatter lists; and for the processor's string
 * accesses, which need no leave to be a bus master.
 *
 * A small direct-mapped cache of pages, each mapped for reading and writing; a page that is not
 * memory, or not writable, is -EFAULT.  A mapping keeps the page alive, so that a guest which
 * gives memory away while the device uses it harms nobody.
 */
#include <bus/xen_int.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void page_drop(struct vgpu_xen *xen, struct xen_page *page)
{
    if (page->map)
        xen_lib.xenforeignmemory_unmap(xen->memory, page->map, 1);
    page->map = NULL;
}

void xen_cache_drop(struct vgpu_xen *xen)
{
    for (unsigned int i = 0; i < XEN_CACHE_SETS; i++)
        page_drop(xen, &xen->cache[i]);
}

/* The page's mapping, NULL if there is no such memory. */
static uint8_t *page_at(struct vgpu_xen *xen, uint64_t gfn)
{
    struct xen_page *page = &xen->cache[gfn % XEN_CACHE_SETS];
    xen_pfn_t pfn = (xen_pfn_t)gfn;
    int err = 0;

    if (page->map && page->gfn == gfn)
        return page->map;
    page_drop(xen, page);
    page->map = xen_lib.xenforeignmemory_map(xen->memory, xen->domid, PROT_READ | PROT_WRITE, 1,
                                             &pfn, &err);
    if (page->map && err) {
        xen_lib.xenforeignmemory_unmap(xen->memory, page->map, 1);
        page->map = NULL;
    }
    page->gfn = gfn;
    xen->stats.maps++;
    return page->map;
}

/* One of `to` and `from` is NULL: the guest's side. */
static int memory_copy(struct vgpu_xen *xen, uint64_t addr, void *to, const void *from,
                       size_t bytes)
{
    size_t done = 0;

    if (addr + bytes < addr)
        return -EFAULT;
    while (done < bytes) {
        uint64_t at = addr + done;
        size_t n = XEN_PAGE - at % XEN_PAGE;
        uint8_t *page = page_at(xen, at / XEN_PAGE);

        if (!page)
            return -EFAULT;
        n = n < bytes - done ? n : bytes - done;
        if (to)
            memcpy((uint8_t *)to + done, page + at % XEN_PAGE, n);
        else
            memcpy(page + at % XEN_PAGE, (const uint8_t *)from + done, n);
        done += n;
    }
    return 0;
}

int xen_memory_read(struct vgpu_xen *xen, uint64_t addr, void *buf, size_t bytes)
{
    return memory_copy(xen, addr, buf, NULL, bytes);
}

int xen_memory_write(struct vgpu_xen *xen, uint64_t addr, const void *buf, size_t bytes)
{
    return memory_copy(xen, addr, NULL, buf, bytes);
}

int vgpu_xen_dma_read(struct vgpu_xen *xen, uint64_t addr, void *buf, size_t bytes)
{
    return xen->master ? memory_copy(xen, addr, buf, NULL, bytes) : -EFAULT;
}

int vgpu_xen_dma_write(struct vgpu_xen *xen, uint64_t addr, const void *buf, size_t bytes)
{
    return xen->master ? memory_copy(xen, addr, NULL, buf, bytes) : -EFAULT;
}

static uint32_t *word_at(struct vgpu_xen *xen, uint64_t addr)
{
    uint8_t *page = NULL;

    if (xen->master && addr % sizeof(uint32_t) == 0)
        page = page_at(xen, addr / XEN_PAGE);
    return page ? (uint32_t *)(void *)(page + addr % XEN_PAGE) : NULL;
}

int vgpu_xen_dma_load32(struct vgpu_xen *xen, uint64_t addr, uint32_t *value)
{
    const uint32_t *word = word_at(xen, addr);

    if (!word)
        return -EFAULT;
    *value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return 0;
}

int vgpu_xen_dma_store32(struct vgpu_xen *xen, uint64_t addr, uint32_t value)
{
    uint32_t *word = word_at(xen, addr);

    if (!word)
        return -EFAULT;
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    return 0;
}
