/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-pci: the PCI side of a vGPU whose device is in another process.
 *
 * QEMU owns what a PCI device is made of - config space, BARs, the MSI-X table,
 * reset - so that the guest sees the device whether or not the back end runs.
 * What the registers mean is the back end's affair:
 *
 *   BAR 0  registers   each access a message                    vgpu-conn.c
 *   BAR 2  doorbells   each page an eventfd                     vgpu-doorbell.c
 *   BAR 4  MSI-X       table and pending bits are QEMU's        vgpu-irq.c
 *
 * A reset of any kind (system, bus, function level) is passed on, and then bus
 * mastering is switched off in the memory core at once.  The PCI core clears
 * only the register's bit, which by itself would leave the memory mapped; but
 * after a reset a device must not do DMA, and the unmapping is what makes the
 * back end prove that nothing of it is left (vgpu-dma.c).
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/pci/pci.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include <sys/un.h>
#include "vgpu-device.h"
#include "vgpu-pci.h"

/* More than a hundred attempts per second to connect would be a load. */
#define RECONNECT_MIN_MS 10
#define TIMEOUT_MIN_MS   10
#define TIMEOUT_MAX_MS   60000

static uint64_t regs_read(void *opaque, hwaddr offset, unsigned size)
{
    return vgpu_conn_read(opaque, VGPU_BAR_REGS, offset, size);
}

static void regs_write(void *opaque, hwaddr offset, uint64_t value,
                       unsigned size)
{
    vgpu_conn_write(opaque, VGPU_BAR_REGS, offset, value, size);
}

/*
 * Sizes and alignments that the device does not like are for it to refuse: it
 * has an error bit for that.  8 bytes are two accesses.
 */
static const MemoryRegionOps regs_ops = {
    .read = regs_read,
    .write = regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 4, .unaligned = true },
};

static bool check_properties(VgpuDevice *dev, Error **errp)
{
    struct sockaddr_un addr;

    if (!dev->socket || !*dev->socket) {
        error_setg(errp, "property 'socket' is missing: the path at which the "
                   "back end listens for this VM");
        return false;
    }
    if (strlen(dev->socket) >= sizeof(addr.sun_path)) {
        error_setg(errp, "property 'socket': a path has at most %zu bytes",
                   sizeof(addr.sun_path) - 1);
        return false;
    }
    if (dev->reconnect_ms < RECONNECT_MIN_MS) {
        error_setg(errp, "property 'reconnect-ms' must be at least %u",
                   RECONNECT_MIN_MS);
        return false;
    }
    if (dev->timeout_ms < TIMEOUT_MIN_MS || dev->timeout_ms > TIMEOUT_MAX_MS ||
        dev->release_timeout_ms < dev->timeout_ms ||
        dev->release_timeout_ms > TIMEOUT_MAX_MS) {
        error_setg(errp, "properties 'timeout-ms' and 'release-timeout-ms' "
                   "must be from %u to %u and not decrease in this order",
                   TIMEOUT_MIN_MS, TIMEOUT_MAX_MS);
        return false;
    }
    return true;
}

static bool init_express(PCIDevice *pci, Error **errp)
{
    int ret;

    if (!pci_bus_is_express(pci_get_bus(pci))) {
        pci->cap_present &= ~QEMU_PCI_CAP_EXPRESS;
        return true;
    }
    ret = pcie_endpoint_cap_init(pci, 0);
    if (ret < 0) {
        error_setg(errp, "cannot add the PCI Express capability");
        return false;
    }
    pcie_cap_flr_init(pci);
    return true;
}

static void init_bars(VgpuDevice *dev)
{
    PCIDevice *pci = PCI_DEVICE(dev);

    memory_region_init_io(&dev->bar_regs, OBJECT(dev), &regs_ops, dev,
                          "vgpu-registers", VGPU_BAR_REGS_SIZE);
    vgpu_doorbell_init(dev);
    memory_region_init(&dev->bar_msix, OBJECT(dev), "vgpu-msix",
                       VGPU_BAR_MSIX_SIZE);
    pci_register_bar(pci, VGPU_BAR_REGS, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &dev->bar_regs);
    pci_register_bar(pci, VGPU_BAR_DOORBELL, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &dev->bar_doorbell);
    pci_register_bar(pci, VGPU_BAR_MSIX, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &dev->bar_msix);
}

static void vgpu_pci_realize(PCIDevice *pci, Error **errp)
{
    VgpuDevice *dev = VGPU_PCI(pci);

    if (!check_properties(dev, errp) || !vgpu_memory_check(errp)) {
        return;
    }
    init_bars(dev);
    if (!vgpu_irq_init(dev, errp)) {
        return;
    }
    if (!init_express(pci, errp)) {
        vgpu_irq_fini(dev);
        return;
    }
    vgpu_conn_init(dev);
    vgpu_dma_init(dev);
    vgpu_memory_init(dev);
}

static void vgpu_pci_exit(PCIDevice *pci)
{
    VgpuDevice *dev = VGPU_PCI(pci);

    vgpu_conn_fini(dev);
    vgpu_memory_fini(dev);
    vgpu_dma_fini(dev);
    vgpu_irq_fini(dev);
    if (pci->cap_present & QEMU_PCI_CAP_EXPRESS) {
        pcie_cap_exit(pci);
    }
}

static void vgpu_pci_reset(DeviceState *qdev)
{
    PCIDevice *pci = PCI_DEVICE(qdev);
    VgpuDevice *dev = VGPU_PCI(qdev);

    vgpu_conn_reset(dev);
    if (memory_region_is_mapped(&pci->bus_master_enable_region)) {
        memory_region_set_enabled(&pci->bus_master_enable_region, false);
    }
    vgpu_irq_drain(dev);
}

static void vgpu_pci_config_write(PCIDevice *pci, uint32_t addr, uint32_t val,
                                  int len)
{
    pci_default_write_config(pci, addr, val, len);
    if (pci->cap_present & QEMU_PCI_CAP_EXPRESS) {
        pcie_cap_flr_write_config(pci, addr, val, len);
    }
    vgpu_irq_config_changed(VGPU_PCI(pci));
}

static void vgpu_pci_instance_init(Object *obj)
{
    /* Config space must be large enough before the bus is known. */
    PCI_DEVICE(obj)->cap_present |= QEMU_PCI_CAP_EXPRESS;
}

static Property vgpu_pci_properties[] = {
    DEFINE_PROP_STRING("socket", VgpuDevice, socket),
    DEFINE_PROP_UINT32("reconnect-ms", VgpuDevice, reconnect_ms, 1000),
    DEFINE_PROP_UINT32("timeout-ms", VgpuDevice, timeout_ms, 5000),
    DEFINE_PROP_UINT32("release-timeout-ms", VgpuDevice, release_timeout_ms,
                       10000),
    DEFINE_PROP_BOOL("ioeventfd", VgpuDevice, ioeventfd, true),
    DEFINE_PROP_END_OF_LIST(),
};

/* The state that counts is in the back end and on the GPU. */
static const VMStateDescription vgpu_pci_vmstate = {
    .name = TYPE_VGPU_PCI,
    .unmigratable = 1,
};

static void describe(ObjectClass *klass, const char *name, const char *text)
{
    object_class_property_set_description(klass, name, text);
}

static bool get_connected(Object *obj, Error **errp)
{
    return vgpu_conn_is_live(VGPU_PCI(obj));
}

static void vgpu_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = vgpu_pci_realize;
    k->exit = vgpu_pci_exit;
    k->config_write = vgpu_pci_config_write;
    k->vendor_id = VGPU_PCI_VENDOR_ID;
    k->device_id = VGPU_PCI_DEVICE_ID;
    k->subsystem_vendor_id = VGPU_PCI_SUBSYS_VENDOR;
    k->subsystem_id = VGPU_PCI_SUBSYS_ID;
    k->revision = VGPU_PCI_REVISION;
    k->class_id = VGPU_PCI_CLASS >> 8;

    dc->desc = "Virtual GPU, served by vgpud";
    dc->reset = vgpu_pci_reset;
    dc->vmsd = &vgpu_pci_vmstate;
    device_class_set_props(dc, vgpu_pci_properties);
    set_bit(DEVICE_CATEGORY_DISPLAY, dc->categories);

    object_class_property_add_bool(klass, "connected", get_connected, NULL);
    describe(klass, "connected", "A back end answers (read only)");
    describe(klass, "socket", "Path of the back end's socket for this VM");
    describe(klass, "reconnect-ms", "Time between attempts to connect");
    describe(klass, "timeout-ms",
             "Time the back end has to answer a register access");
    describe(klass, "release-timeout-ms",
             "Time the back end has to end DMA, at a reset or an unmap");
    describe(klass, "ioeventfd", "Doorbells bypass QEMU");
}

static const TypeInfo vgpu_pci_type = {
    .name = TYPE_VGPU_PCI,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(VgpuDevice),
    .instance_init = vgpu_pci_instance_init,
    .class_init = vgpu_pci_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

void vgpu_pci_register_types(void)
{
    type_register_static(&vgpu_pci_type);
}

type_init(vgpu_pci_register_types)
