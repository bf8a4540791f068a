/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which DMA addresses stand for which guest memory: QEMU's view, followed.
 *
 * Theory of operation.  A memory listener on the device's own bus-master
 * address space is the single source of truth: it shows RAM when the guest has
 * enabled bus mastering, nothing when it has not, and behind a vIOMMU a
 * translated region, on which an IOMMU notifier reports each mapping the guest
 * makes.  All of it goes on to vgpu-dma.c.
 *
 * Only RAM that is a shared mapping of a file is passed on.  ROMs, device
 * memory and private RAM are not: DMA there faults in the device, which reports
 * the address.  If the machine's main memory is private the device would be of
 * no use, and is refused at realize with the option to add.
 *
 * Callbacks come under the big QEMU lock, from the main loop or from the vCPU
 * whose access changed the map, and return when the back end has agreed.
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

struct VgpuIommu {
    VgpuDevice *dev;
    MemoryRegion *mr;           /* referenced */
    uint64_t offset;            /* DMA address = IOVA + offset */
    uint64_t first, last;       /* DMA addresses, inclusive */
    IOMMUNotifier notifier;
    bool registered;
    QLIST_ENTRY(VgpuIommu) next;
};

typedef struct VgpuRange {
    uint64_t first, last;
} VgpuRange;

/* ---- What can be mapped ---- */

static bool region_is_shareable(MemoryRegion *mr)
{
    return memory_region_is_ram(mr) && mr->ram_block &&
           !memory_region_is_ram_device(mr) &&
           memory_region_get_fd(mr) >= 0 && qemu_ram_is_shared(mr->ram_block);
}

/*
 * True if the device may reach this region.  Says so if the reason why it may
 * not is the operator's to change.
 */
static bool region_is_mappable(VgpuDevice *dev, MemoryRegion *mr)
{
    if (!region_is_shareable(mr)) {
        Object *owner = memory_region_owner(mr);

        if (owner && object_dynamic_cast(owner, TYPE_MEMORY_BACKEND)) {
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
    ERRP_GUARD();
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
    ERRP_GUARD();
    Object *iommu = object_resolve_path_type("", "intel-iommu", NULL);

    if (object_resolve_path_type("", "amd-iommu", NULL)) {
        error_setg(errp, "QEMU's AMD vIOMMU does not report mappings to "
                   "devices, so the back end cannot follow them");
        error_append_hint(errp, "Use: -device intel-iommu,caching-mode=on\n");
        return false;
    }
    if (iommu && !object_property_get_bool(iommu, "caching-mode", NULL)) {
        error_setg(errp, "the vIOMMU does not report new mappings to devices, "
                   "so the back end cannot follow them");
        error_append_hint(errp, "Use: -device intel-iommu,caching-mode=on\n");
        return false;
    }
    return true;
}

bool vgpu_memory_check(Error **errp)
{
    return check_memory(errp) && check_iommu(errp);
}

/* ---- vIOMMU ---- */

static void iommu_map(VgpuIommu *iommu, const IOMMUTLBEntry *entry,
                      uint64_t first, uint64_t last)
{
    bool writable = entry->perm & IOMMU_WO;
    hwaddr at = entry->translated_addr;

    /*
     * A mapping may run across several RAM regions, and holes between them.
     * The length that comes back ends with the region only if that is RAM, so
     * what is not is skipped page by page.
     */
    for (;;) {
        hwaddr xlat, len = last - first + 1;
        MemoryRegion *mr = address_space_translate(&address_space_memory, at,
                                                   &xlat, &len, writable,
                                                   MEMTXATTRS_UNSPECIFIED);

        if (len == 0) {
            break;
        }
        if (region_is_mappable(iommu->dev, mr)) {
            vgpu_dma_map(iommu->dev, first, first + len - 1, mr, xlat,
                         writable);
        } else {
            len = MIN(len, VGPU_PAGE_BYTES - at % VGPU_PAGE_BYTES);
            VGPU_TRACE(dma_skip, "0x%" PRIx64 " +0x%" PRIx64 " %s: not shared "
                       "RAM", first, len, memory_region_name(mr));
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
    vgpu_dma_sync(iommu->dev);
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
    QLIST_INSERT_HEAD(&dev->memory.iommus, iommu, next);

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

    QLIST_FOREACH_SAFE(iommu, &dev->memory.iommus, next, safe) {
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

static void listener_region_add(MemoryListener *listener,
                           MemoryRegionSection *section)
{
    VgpuDevice *dev = container_of(listener, VgpuDevice, memory.listener);
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

static void listener_region_del(MemoryListener *listener,
                           MemoryRegionSection *section)
{
    VgpuDevice *dev = container_of(listener, VgpuDevice, memory.listener);
    VgpuRange range;

    if (memory_region_is_iommu(section->mr)) {
        iommu_del(dev, section);
    } else if (section_range(section, &range)) {
        vgpu_dma_cut(dev, range.first, range.last);
    }
}

static void listener_commit(MemoryListener *listener)
{
    vgpu_dma_sync(container_of(listener, VgpuDevice, memory.listener));
}

/* ---- Life ---- */

void vgpu_memory_init(VgpuDevice *dev)
{
    QLIST_INIT(&dev->memory.iommus);
    dev->memory.listener = (MemoryListener) {
        .name = TYPE_VGPU_PCI,
        .region_add = listener_region_add,
        .region_del = listener_region_del,
        .commit = listener_commit,
    };
    memory_listener_register(&dev->memory.listener,
                             pci_get_address_space(PCI_DEVICE(dev)));
}

/* Unregistering reports everything as gone. */
void vgpu_memory_fini(VgpuDevice *dev)
{
    memory_listener_unregister(&dev->memory.listener);
    assert(QLIST_EMPTY(&dev->memory.iommus));
}
