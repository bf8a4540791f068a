/* SPDX-License-Identifier: MIT */
/*
 * PCI config space, for buses whose client does not own it (spec 3).
 *
 * Theory of operation.  Three tables: what the space reads after a reset, which bits a write
 * may change, and nothing else; a write of any size and place is merged byte by byte
 * through the mask, which is also what makes BAR sizing work.  Two writes have a meaning
 * beyond their bits: function-level reset (device control, reads back 0) and the MSI-X
 * control word, which an attached MSI-X table is told of.
 *
 *   0x00  type 0 header, three 64-bit memory BARs
 *   0x40  MSI-X capability: table and pending bits in BAR 4
 *   0x50  PCI Express endpoint capability, version 2, with function-level reset
 *
 * No power management, no INTx pin, no extended capabilities.
 */
#include <device/internal.h>

#include <string.h>

#define CAP_MSIX          0x40
#define CAP_EXPRESS       0x50
#define MSIX_CONTROL_HIGH (CAP_MSIX + 3) /* enable is bit 7, function mask bit 6 */
#define MSIX_ENABLE       0x80
#define MSIX_MASK_ALL     0x40
#define DEVCTL_HIGH       (CAP_EXPRESS + 9) /* initiate function-level reset is bit 7 */
#define DEVCTL_FLR        0x80

#define BYTES2(v) (uint8_t)(v), (uint8_t)((v) >> 8)
#define BYTES3(v) BYTES2(v), (uint8_t)((v) >> 16)
#define BYTES4(v) BYTES3(v), (uint8_t)((v) >> 24)

#define BAR_FLAGS      0x04u /* memory, 64-bit, not prefetchable */
#define BAR_MASK(size) BYTES4(~((size)-1u)), BYTES4(0xffffffffu)

#define HEADER_BYTES 0x100

/* clang-format off */

/* What the space reads after a reset. */
static const uint8_t config_reset[HEADER_BYTES] = {
    [0x00] = BYTES2(VGPU_PCI_VENDOR_ID), BYTES2(VGPU_PCI_DEVICE_ID),
    [0x06] = 0x10, /* status: capability list */
    [0x08] = VGPU_PCI_REVISION, BYTES3(VGPU_PCI_CLASS),
    [0x10] = BAR_FLAGS,
    [0x18] = BAR_FLAGS,
    [0x20] = BAR_FLAGS,
    [0x2c] = BYTES2(VGPU_PCI_SUBSYS_VENDOR), BYTES2(VGPU_PCI_SUBSYS_ID),
    [0x34] = CAP_MSIX,

    [CAP_MSIX] = 0x11, CAP_EXPRESS, BYTES2(VGPU_MSIX_VECTORS - 1),
    BYTES4(VGPU_MSIX_TABLE_OFFSET | VGPU_BAR_MSIX), BYTES4(VGPU_MSIX_PBA_OFFSET | VGPU_BAR_MSIX),

    [CAP_EXPRESS] = 0x10, 0x00, BYTES2(0x0002), /* version 2, endpoint */
    BYTES4(0x10008000u),                        /* function-level reset, role-based errors */
    BYTES2(0x2810), BYTES2(0),                  /* control: PCIe's own defaults */
    BYTES4(0x00000011u),                        /* link: 2.5 GT/s, x1, nominal */
    BYTES2(0), BYTES2(0x0011),
    [CAP_EXPRESS + 0x2c] = BYTES4(0x00000002u), /* link speeds: 2.5 GT/s */
    BYTES2(0x0001), BYTES2(0),
};

/* Bits a write may change. */
static const uint8_t config_mask[HEADER_BYTES] = {
    [0x04] = BYTES2(0x0546), /* memory, bus master, parity, SERR, INTx disable */
    [0x0c] = 0xff,           /* cache line size */
    [0x10] = BAR_MASK(VGPU_BAR_REGS_SIZE),
    [0x18] = BAR_MASK(VGPU_BAR_DOORBELL_SIZE),
    [0x20] = BAR_MASK(VGPU_BAR_MSIX_SIZE),
    [0x3c] = 0xff, /* interrupt line */
    [MSIX_CONTROL_HIGH] = MSIX_ENABLE | MSIX_MASK_ALL,
    [CAP_EXPRESS + 8] = BYTES2(0x781f), /* error enables, ordering, snoop, read request size */
    [CAP_EXPRESS + 16] = BYTES2(0x00c8), /* link: RCB, common clock, extended synch */
};

/* clang-format on */

void vgpu_config_sync_msix(struct vgpu_dev *dev)
{
    const uint8_t control = dev->config[MSIX_CONTROL_HIGH];

    if (dev->msix)
        vgpu_msix_set_control(dev->msix, control & MSIX_ENABLE, control & MSIX_MASK_ALL);
}

void vgpu_config_reset(struct vgpu_dev *dev)
{
    memset(dev->config, 0, sizeof(dev->config));
    memcpy(dev->config, config_reset, sizeof(config_reset));
}

static bool config_in_range(uint32_t offset, size_t bytes)
{
    return offset <= VGPU_CONFIG_BYTES && bytes <= VGPU_CONFIG_BYTES - offset;
}

void vgpu_dev_config_read(struct vgpu_dev *dev, uint32_t offset, void *data, size_t bytes)
{
    if (config_in_range(offset, bytes))
        memcpy(data, dev->config + offset, bytes);
    else
        memset(data, 0xff, bytes);
}

void vgpu_dev_config_write(struct vgpu_dev *dev, uint32_t offset, const void *data, size_t bytes)
{
    const uint8_t *in = data;
    bool flr = false;

    if (!config_in_range(offset, bytes))
        return;
    for (size_t i = 0; i < bytes && offset + i < HEADER_BYTES; i++) {
        uint8_t *byte = &dev->config[offset + i];
        const uint8_t mask = config_mask[offset + i];

        *byte = (uint8_t)((*byte & ~mask) | (in[i] & mask));
        if (offset + i == DEVCTL_HIGH && in[i] & DEVCTL_FLR)
            flr = true;
    }
    if (flr)
        vgpu_dev_reset(dev);
    else
        vgpu_config_sync_msix(dev);
}
