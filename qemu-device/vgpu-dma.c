/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which guest memory the back end may map, kept in step with the guest.
 *
 * Theory of operation.  A memory listener on the device's own bus-master
 * address space is the single source of truth: it shows RAM when the guest has
 * enabled bus mastering, nothing when it has not, and behind a vIOMMU a
 * translated region, on which an IOMMU notifier reports each mapping the guest
 * makes.  All three end up as a VgpuMapping: DMA address range -> range of a
 * RAM region that is backed by a file.  The tree of them is kept whether or not
 * there is a back end, and is told to a new one from the start.
 *
 *      NEW --- DMA_MAP sent ---> SENT --- reply ---> MAPPED | REFUSED
 *      SENT, MAPPED --- cut from the tree ---> DOOMED --- DMA_UNMAP sent ---> gone
 *
 * The tree changes at once; mappings that are NEW or DOOMED wait on a list, and
 * the messages follow in its order, a bounded number ahead of the replies.  While the device is
 * live, whoever changes the tree waits until the back end has agreed: the guest
 * may use an address as soon as its instruction is over, by a doorbell that no
 * message queue orders, and it may reuse memory as soon as the address is gone.
 * That is why an unmap is waited for so patiently (release_timeout_ms): its
 * answer means that no executor can touch the range any more.  During the
 * handshake nobody waits, since no guest access reaches the device yet.
 *
 * The protocol wants an unmap to name exactly one map, but a guest may
 * unmap part of what it mapped, or much more.  vgpu_dma_cut() translates.
 *
 * What is not shareable RAM (ROMs, device memory, private RAM) is not mapped:
 * DMA there faults in the device, which reports the address.
 *
 * Each mapping, and each message under way, holds a reference to its memory
 * region, so the descriptor in it stays what it was.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/mem/memory-device.h"
#include "qemu/error-report.h"
#include "sysemu/hostmem.h"
#include "vgpu-device.h"
#include "vgpu-trace.h"

/* Messages sent ahead of their replies. */
#define DMA_WINDOW 128
/* Bound of the tree while no back end has named its own. */
#define DMA_MAX_MAPS VFU_DEFAULT_DMA_MAPS

typedef enum VgpuMappingState {
    VGPU_MAPPING_NEW,           /* in the tree and on the todo list */
    VGPU_MAPPING_SENT,
    VGPU_MAPPING_MAPPED,
    VGPU_MAPPING_REFUSED,       /* the back end does not have it */
    VGPU_MAPPING_DOOMED,        /* out of the tree, on the todo list */
} VgpuMappingState;

struct VgpuMapping {
    uint64_t first, last;       /* DMA addresses, inclusive */
    MemoryRegion *mr;           /* referenced */
    uint64_t offset;            /* in mr, and in its file */
    bool writable;
    VgpuMappingState state;
    unsigned refs;              /* tree or todo list; a DMA_MAP under way */
    VgpuDevice *dev;
    QTAILQ_ENTRY(VgpuMapping) next;
};

struct VgpuIommu {
    VgpuDevice *dev;
    MemoryRegion *mr;           /* referenced */
    uint64_t offset;            /* DMA address = IOVA + offset */
    uint64_t first, last;
    IOMMUNotifier notifier;
    bool registered;
    QLIST_ENTRY(VgpuIommu) next;
};

/* ---- Mappings ---- */

static gint mapping_compare(gconstpointer a, gconstpointer b, gpointer unused)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

typedef struct VgpuRange {
    uint64_t first, last;
} VgpuRange;

/* Which way from this node to one that overlaps the range? */
static gint mapping_overlap(gconstpointer key, gconstpointer data)
{
    const VgpuRange *range = data;
    const VgpuMapping *map = container_of(key, VgpuMapping, first);

    if (range->last < map->first) {
        return -1;
    }
    return range->first > map->last ? 1 : 0;
}

static VgpuMapping *dma_find(VgpuDma *dma, uint64_t first, uint64_t last)
{
    VgpuRange range = { first, last };

    return g_tree_search(dma->mappings, mapping_overlap, &range);
}

static void mapping_put(VgpuMapping *map)
{
    if (--map->refs == 0) {
        memory_region_unref(map->mr);
        g_free(map);
    }
}

static void dma_pump(VgpuDevice *dev);

static void dma_map_reply(void *opaque, VgpuReply *reply)
{
    VgpuMapping *map = opaque;
    VgpuDevice *dev = map->dev;

    dev->dma.in_flight--;
    if (map->state == VGPU_MAPPING_SENT && reply->error != ECONNABORTED) {
        map->state = reply->error ? VGPU_MAPPING_REFUSED : VGPU_MAPPING_MAPPED;
        if (reply->error) {
            vgpu_conn_complain(dev, "the back end refuses to map guest memory "
                               "at 0x%" PRIx64 "-0x%" PRIx64 ": %s", map->first,
                               map->last, strerror(reply->error));
        }
    }
    mapping_put(map);
    dma_pump(dev);
}

static void dma_unmap_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;

    dev->dma.in_flight--;
    /* ENOENT: the map itself had been refused */
    if (reply->error && reply->error != ENOENT &&
        reply->error != ECONNABORTED) {
        /* It may write there still, and only its end would end that. */
        vgpu_client_break(&dev->conn.client,
                          "the back end refuses to let go of guest memory: %s",
                          strerror(reply->error));
    }
    dma_pump(dev);
}

static void dma_send_map(VgpuDevice *dev, VgpuMapping *map)
{
    int fd = memory_region_get_fd(map->mr);
    VfuDmaMap body = {
        .argsz = sizeof(body),
        .flags = VFU_DMA_READABLE | (map->writable ? VFU_DMA_WRITABLE : 0),
        .offset = map->offset,
        .address = map->first,
        .size = map->last - map->first + 1,
    };
    VgpuClientMessage msg = {
        .command = VFU_DMA_MAP,
        .data[0] = &body,
        .len[0] = sizeof(body),
        .fds = &fd,
        .nr_fds = 1,
        .mr = map->mr,
        .max_reply = sizeof(body),
        .reply = dma_map_reply,
        .opaque = map,
    };

    VGPU_TRACE(dma_map, "0x%" PRIx64 "-0x%" PRIx64 " %s+0x%" PRIx64 " rw %d",
               map->first, map->last, memory_region_name(map->mr), map->offset,
               map->writable);
    map->state = VGPU_MAPPING_SENT;
    map->refs++;
    dev->dma.in_flight++;
    vgpu_client_send(&dev->conn.client, &msg);
}

static void dma_send_unmap(VgpuDevice *dev, VgpuMapping *map)
{
    VfuDmaUnmap body = {
        .argsz = sizeof(body),
        .address = map->first,
        .size = map->last - map->first + 1,
    };
    VgpuClientMessage msg = {
        .command = VFU_DMA_UNMAP,
        .data[0] = &body,
        .len[0] = sizeof(body),
        .max_reply = sizeof(body),
        .reply = dma_unmap_reply,
        .opaque = dev,
    };

    VGPU_TRACE(dma_unmap, "0x%" PRIx64 "-0x%" PRIx64, map->first, map->last);
    mapping_put(map);
    dev->dma.in_flight++;
    vgpu_client_send(&dev->conn.client, &msg);
}

/* Send what is due, as far as the window allows. */
static void dma_pump(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map;

    while (dma->announce && dma->in_flight < DMA_WINDOW &&
           vgpu_client_is_up(&dev->conn.client) &&
           (map = QTAILQ_FIRST(&dma->todo))) {
        QTAILQ_REMOVE(&dma->todo, map, next);
        if (map->state == VGPU_MAPPING_NEW) {
            dma_send_map(dev, map);
        } else {
            dma_send_unmap(dev, map);
        }
    }
}

bool vgpu_dma_is_settled(const VgpuDevice *dev)
{
    return QTAILQ_EMPTY(&dev->dma.todo) && dev->dma.in_flight == 0;
}

static bool dma_wait_done(void *opaque)
{
    return vgpu_dma_is_settled(opaque);
}

/* The tree has changed: tell the back end, and while the guest can use the
 * device, wait for its consent. */
static void dma_sync(VgpuDevice *dev)
{
    dma_pump(dev);
    if (vgpu_conn_is_live(dev) && !vgpu_dma_is_settled(dev)) {
        vgpu_client_wait(&dev->conn.client, dma_wait_done, dev,
                         dev->release_timeout_ms, "a change of DMA mappings");
    }
}

/* ---- Changing the tree ---- */

static void dma_insert(VgpuDevice *dev, uint64_t first, uint64_t last,
                       MemoryRegion *mr, uint64_t offset, bool writable)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map;

    if (dma->count >= dma->max_maps) {
        vgpu_conn_complain(dev, "the guest maps more than %u ranges for DMA; "
                           "further ones cannot be used", dma->max_maps);
        return;
    }
    map = g_new0(VgpuMapping, 1);
    map->dev = dev;
    map->first = first;
    map->last = last;
    map->mr = mr;
    memory_region_ref(mr);
    map->offset = offset;
    map->writable = writable;
    map->state = VGPU_MAPPING_NEW;
    map->refs = 1;
    dma->count++;
    g_tree_insert(dma->mappings, &map->first, map);
    QTAILQ_INSERT_TAIL(&dma->todo, map, next);
}

/* Take a mapping out of the tree, and back from the back end if it has it. */
static void dma_remove(VgpuDevice *dev, VgpuMapping *map)
{
    VgpuDma *dma = &dev->dma;

    g_tree_remove(dma->mappings, &map->first);
    dma->count--;
    switch (map->state) {
    case VGPU_MAPPING_NEW:
        QTAILQ_REMOVE(&dma->todo, map, next);
        mapping_put(map);
        break;
    case VGPU_MAPPING_SENT:
    case VGPU_MAPPING_MAPPED:
        map->state = VGPU_MAPPING_DOOMED;
        QTAILQ_INSERT_TAIL(&dma->todo, map, next);
        break;
    case VGPU_MAPPING_REFUSED:
        mapping_put(map);
        break;
    case VGPU_MAPPING_DOOMED:
        g_assert_not_reached();     /* never in the tree */
    }
}

/* Cut a range of addresses out of whatever is mapped there. */
static void vgpu_dma_cut(VgpuDevice *dev, uint64_t first, uint64_t last)
{
    VgpuMapping *map;

    while ((map = dma_find(&dev->dma, first, last))) {
        VgpuMapping old = *map;

        memory_region_ref(old.mr);
        dma_remove(dev, map);
        if (old.first < first) {
            dma_insert(dev, old.first, first - 1, old.mr, old.offset,
                       old.writable);
        }
        if (old.last > last) {
            dma_insert(dev, last + 1, old.last, old.mr,
                       old.offset + (last + 1 - old.first), old.writable);
        }
        memory_region_unref(old.mr);
    }
}

static void vgpu_dma_map(VgpuDevice *dev, uint64_t first, uint64_t last,
                         MemoryRegion *mr, uint64_t offset, bool writable)
{
    uint64_t mask = dev->dma.page_bytes - 1;
    VgpuMapping *old = dma_find(&dev->dma, first, last);

    if (((first | (last + 1) | offset) & mask) != 0) {
        VGPU_TRACE(dma_skip, "0x%" PRIx64 "-0x%" PRIx64 " %s: not aligned",
                   first, last, memory_region_name(mr));
        return;
    }
    if (old && old->first == first && old->last == last && old->mr == mr &&
        old->offset == offset && old->writable == writable) {
        return;     /* IOMMUs repeat themselves */
    }
    vgpu_dma_cut(dev, first, last);
    dma_insert(dev, first, last, mr, offset, writable);
}

/* ---- What can be mapped ---- */

static bool region_is_shareable(MemoryRegion *mr)
{
    return memory_region_is_ram(mr) && mr->ram_block &&
           !memory_region_is_ram_device(mr) &&
           memory_region_get_fd(mr) >= 0 && qemu_ram_is_shared(mr->ram_block);
}

/* True if the device may reach this region.  Says so if the reason why it may
 * not is the operator's to change. */
static bool region_is_mappable(VgpuDevice *dev, MemoryRegion *mr)
{
    if (!region_is_shareable(mr)) {
        if (mr->owner && object_dynamic_cast(mr->owner, TYPE_MEMORY_BACKEND)) {
            vgpu_conn_complain(dev, "guest memory '%s' is private to QEMU, DMA "
                               "to it will fail; its memory backend needs "
                               "share=on", memory_region_name(mr));
        }
        return false;
    }
    if (memory_region_has_ram_discard_manager(mr)) {
        vgpu_conn_complain(dev, "guest memory '%s' comes and goes in blocks "
                           "(virtio-mem); DMA to it is not supported and will "
                           "fail", memory_region_name(mr));
        return false;
    }
    return true;
}

static MemoryRegion *find_private_ram(MemoryRegion *mr)
{
    MemoryRegion *sub, *found;

    if (mr->alias) {
        return find_private_ram(mr->alias);
    }
    if (memory_region_is_ram(mr)) {
        return region_is_shareable(mr) ? NULL : mr;
    }
    QTAILQ_FOREACH(sub, &mr->subregions, subregions_link) {
        found = find_private_ram(sub);
        if (found) {
            return found;
        }
    }
    return NULL;
}

static bool check_memory(Error **errp)
{
    MachineState *ms = MACHINE(qdev_get_machine());
    MemoryRegion *mr = ms->ram ? find_private_ram(ms->ram) : NULL;

    if (!mr && ms->device_memory) {
        mr = find_private_ram(&ms->device_memory->mr);
    }
    if (!mr) {
        return true;
    }
    error_setg(errp, "guest memory '%s' is private to QEMU, so the back end "
               "cannot reach it", memory_region_name(mr));
    if (memory_region_get_fd(mr) >= 0) {
        error_append_hint(errp, "Add share=on to the option that creates it, "
                          "-object memory-backend-...,id=...,share=on\n");
    } else {
        error_append_hint(errp, "Use: -object memory-backend-memfd,id=ram0,"
                          "size=%" PRIu64 "M,share=on "
                          "-machine memory-backend=ram0\n",
                          (uint64_t)ms->ram_size >> 20);
    }
    return false;
}

static bool check_iommu(Error **errp)
{
    Object *iommu = object_resolve_path_type("", "intel-iommu", NULL);

    if (iommu && !object_property_get_bool(iommu, "caching-mode", NULL)) {
        error_setg(errp, "the vIOMMU does not report new mappings to devices, "
                   "so the back end cannot follow them");
        error_append_hint(errp, "Use: -device intel-iommu,caching-mode=on\n");
        return false;
    }
    return true;
}

bool vgpu_dma_check_machine(Error **errp)
{
    return check_memory(errp) && check_iommu(errp);
}

/* ---- vIOMMU ---- */

static void iommu_map(VgpuIommu *iommu, const IOMMUTLBEntry *entry,
                      uint64_t first, uint64_t last)
{
    bool writable = entry->perm & IOMMU_WO;
    hwaddr at = entry->translated_addr;

    /* A mapping may run across several RAM regions. */
    for (;;) {
        hwaddr xlat, len = last - first + 1;
        MemoryRegion *mr = address_space_translate(&address_space_memory, at,
                                                   &xlat, &len, writable,
                                                   MEMTXATTRS_UNSPECIFIED);

        if (len == 0) {
            break;
        }
        if (region_is_mappable(iommu->dev, mr)) {
            vgpu_dma_map(iommu->dev, first, first + len - 1, mr, xlat, writable);
        } else {
            VGPU_TRACE(dma_skip, "0x%" PRIx64 " +0x%" PRIx64 " %s: not shared RAM",
                       first, len, memory_region_name(mr));
            vgpu_dma_cut(iommu->dev, first, first + len - 1);
        }
        if (last - first < len) {
            break;
        }
        first += len;
        at += len;
    }
}

static void iommu_notify(IOMMUNotifier *notifier, IOMMUTLBEntry *entry)
{
    VgpuIommu *iommu = container_of(notifier, VgpuIommu, notifier);
    uint64_t first = entry->iova + iommu->offset;
    uint64_t last = first + entry->addr_mask;

    VGPU_TRACE(iommu_notify, "0x%" PRIx64 "-0x%" PRIx64 " -> 0x%" PRIx64
               " perm %d", first, last, (uint64_t)entry->translated_addr,
               entry->perm);
    if ((entry->perm & IOMMU_RW) == IOMMU_NONE) {
        if (last < first) {
            last = UINT64_MAX;
        }
        vgpu_dma_cut(iommu->dev, first, last);
    } else if (entry->target_as == &address_space_memory && last > first) {
        RCU_READ_LOCK_GUARD();
        iommu_map(iommu, entry, first, last);
    }
    dma_sync(iommu->dev);
}

static void iommu_add(VgpuDevice *dev, MemoryRegionSection *section)
{
    IOMMUMemoryRegion *iommu_mr = IOMMU_MEMORY_REGION(section->mr);
    VgpuIommu *iommu = g_new0(VgpuIommu, 1);
    Error *err = NULL;
    Int128 end = int128_add(int128_make64(section->offset_within_region),
                            int128_sub(section->size, int128_one()));
    int idx = memory_region_iommu_attrs_to_index(iommu_mr,
                                                 MEMTXATTRS_UNSPECIFIED);

    iommu->dev = dev;
    iommu->mr = section->mr;
    memory_region_ref(iommu->mr);
    iommu->offset = section->offset_within_address_space -
                    section->offset_within_region;
    iommu->first = section->offset_within_address_space;
    iommu->last = iommu->offset + int128_get64(end);
    iommu_notifier_init(&iommu->notifier, iommu_notify,
                        IOMMU_NOTIFIER_IOTLB_EVENTS,
                        section->offset_within_region, int128_get64(end), idx);
    QLIST_INSERT_HEAD(&dev->dma.iommus, iommu, next);

    if (memory_region_register_iommu_notifier(section->mr, &iommu->notifier,
                                              &err)) {
        error_prepend(&err, "the device cannot follow the vIOMMU, DMA will "
                      "fail: ");
        warn_report_err(err);
        return;
    }
    iommu->registered = true;
    memory_region_iommu_replay(iommu_mr, &iommu->notifier);
}

static void iommu_free(VgpuIommu *iommu)
{
    if (iommu->registered) {
        memory_region_unregister_iommu_notifier(iommu->mr, &iommu->notifier);
    }
    vgpu_dma_cut(iommu->dev, iommu->first, iommu->last);
    QLIST_REMOVE(iommu, next);
    memory_region_unref(iommu->mr);
    g_free(iommu);
}

static void iommu_del(VgpuDevice *dev, MemoryRegionSection *section)
{
    VgpuIommu *iommu, *safe;

    QLIST_FOREACH_SAFE(iommu, &dev->dma.iommus, next, safe) {
        if (iommu->mr == section->mr &&
            iommu->first == section->offset_within_address_space) {
            iommu_free(iommu);
        }
    }
}

/* ---- Memory listener ---- */

static bool section_range(MemoryRegionSection *section, VgpuRange *range)
{
    Int128 size = section->size;

    if (int128_gethi(size) || !int128_nz(size)) {
        return false;
    }
    range->first = section->offset_within_address_space;
    range->last = range->first + (int128_get64(size) - 1);
    return range->last >= range->first;
}

static void dma_region_add(MemoryListener *listener,
                           MemoryRegionSection *section)
{
    VgpuDevice *dev = container_of(listener, VgpuDevice, dma.listener);
    VgpuRange range;

    if (memory_region_is_iommu(section->mr)) {
        iommu_add(dev, section);
    } else if (memory_region_is_ram(section->mr) &&
               section_range(section, &range) &&
               region_is_mappable(dev, section->mr)) {
        vgpu_dma_map(dev, range.first, range.last, section->mr,
                     section->offset_within_region, !section->readonly);
    }
}

static void dma_region_del(MemoryListener *listener,
                           MemoryRegionSection *section)
{
    VgpuDevice *dev = container_of(listener, VgpuDevice, dma.listener);
    VgpuRange range;

    if (memory_region_is_iommu(section->mr)) {
        iommu_del(dev, section);
    } else if (section_range(section, &range)) {
        vgpu_dma_cut(dev, range.first, range.last);
    }
}

static void dma_commit(MemoryListener *listener)
{
    dma_sync(container_of(listener, VgpuDevice, dma.listener));
}

/* ---- Life ---- */

void vgpu_dma_init(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;

    dma->mappings = g_tree_new_full(mapping_compare, NULL, NULL, NULL);
    QTAILQ_INIT(&dma->todo);
    QLIST_INIT(&dma->iommus);
    dma->max_maps = DMA_MAX_MAPS;
    dma->page_bytes = VFU_DEFAULT_PGSIZES;
    dma->listener = (MemoryListener) {
        .name = TYPE_VGPU_PCI,
        .region_add = dma_region_add,
        .region_del = dma_region_del,
        .commit = dma_commit,
    };
    memory_listener_register(&dma->listener,
                             pci_get_address_space(PCI_DEVICE(dev)));
    dma->listening = true;
}

void vgpu_dma_fini(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;
    VgpuIommu *iommu, *safe;

    if (!dma->listening) {
        return;
    }
    memory_listener_unregister(&dma->listener);
    dma->listening = false;
    QLIST_FOREACH_SAFE(iommu, &dma->iommus, next, safe) {
        iommu_free(iommu);
    }
    vgpu_dma_cut(dev, 0, UINT64_MAX);
    g_tree_destroy(dma->mappings);
}

/* A mapping as a new back end finds it: not there. */
static gboolean mapping_renew(gpointer key, gpointer value, gpointer opaque)
{
    VgpuMapping *map = value;
    VgpuDma *dma = opaque;

    if (map->state != VGPU_MAPPING_NEW) {
        map->state = VGPU_MAPPING_NEW;
        QTAILQ_INSERT_TAIL(&dma->todo, map, next);
    }
    return FALSE;
}

void vgpu_dma_start(VgpuDevice *dev, unsigned max_maps, uint64_t page_bytes)
{
    dev->dma.max_maps = max_maps;
    dev->dma.page_bytes = page_bytes;
    dev->dma.announce = true;
    dma_pump(dev);
}

void vgpu_dma_stop(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map, *safe;

    assert(dma->in_flight == 0);    /* the connection was stopped before */
    dma->announce = false;
    QTAILQ_FOREACH_SAFE(map, &dma->todo, next, safe) {
        if (map->state == VGPU_MAPPING_DOOMED) {
            QTAILQ_REMOVE(&dma->todo, map, next);
            mapping_put(map);
        }
    }
    g_tree_foreach(dma->mappings, mapping_renew, dma);
}
