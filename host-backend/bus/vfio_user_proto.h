/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user wire format, as far as a server without migration needs it.
 *
 * From the published protocol (QEMU, docs/interop/vfio-user.rst, version 0.1): all
 * fields little-endian; a message is a header, then the command's payload; descriptors
 * travel with the message's first byte.  Structures shared with the kernel's VFIO have its
 * layout, spelt out here so that this side depends on no kernel header's version.
 */
#ifndef VGPU_BUS_VFIO_USER_PROTO_H
#define VGPU_BUS_VFIO_USER_PROTO_H

#include <stdint.h>

#define VU_VERSION_MAJOR 0
#define VU_VERSION_MINOR 1

enum vu_command {
    VU_VERSION = 1,
    VU_DMA_MAP = 2,
    VU_DMA_UNMAP = 3,
    VU_DEVICE_GET_INFO = 4,
    VU_DEVICE_GET_REGION_INFO = 5,
    VU_DEVICE_GET_REGION_IO_FDS = 6,
    VU_DEVICE_GET_IRQ_INFO = 7,
    VU_DEVICE_SET_IRQS = 8,
    VU_REGION_READ = 9,
    VU_REGION_WRITE = 10,
    VU_DMA_READ = 11,
    VU_DMA_WRITE = 12,
    VU_DEVICE_RESET = 13,
    VU_COMMAND_END = 14,
};

#define VU_FLAG_TYPE_MASK 0x0fu
#define VU_TYPE_COMMAND   0x0u
#define VU_TYPE_REPLY     0x1u
#define VU_FLAG_NO_REPLY  (1u << 4)
#define VU_FLAG_ERROR     (1u << 5)

struct vu_header {
    uint16_t id;
    uint16_t command;
    uint32_t bytes; /* of the whole message, this header included */
    uint32_t flags;
    uint32_t error;
};

struct vu_version {
    uint16_t major;
    uint16_t minor;
    /* JSON text, NUL-terminated, may follow */
};

#define VU_DMA_READABLE    (1u << 0)
#define VU_DMA_WRITABLE    (1u << 1)
#define VU_DMA_UNMAP_DIRTY (1u << 0)
#define VU_DMA_UNMAP_ALL   (1u << 1)

struct vu_dma_map {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;
    uint64_t addr;
    uint64_t bytes;
};

struct vu_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t addr;
    uint64_t bytes;
};

#define VU_DEVICE_RESETTABLE (1u << 0)
#define VU_DEVICE_PCI        (1u << 1)

struct vu_device_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
};

#define VU_REGION_READABLE (1u << 0)
#define VU_REGION_WRITABLE (1u << 1)
#define VU_REGION_CONFIG   7u
#define VU_REGIONS         9u /* 6 BARs, ROM, config space, VGA */

struct vu_region_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t bytes;
    uint64_t offset;
};

#define VU_IO_FD_IOEVENTFD 0u

struct vu_region_io_fds {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
    /* struct vu_io_fd follow */
};

struct vu_io_fd {
    uint64_t offset;
    uint64_t bytes;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t rsvd;
    uint64_t datamatch;
};

#define VU_IRQ_INFO_EVENTFD  (1u << 0)
#define VU_IRQ_INFO_MASKABLE (1u << 1)
#define VU_IRQ_MSIX          2u
#define VU_IRQS              5u /* INTx, MSI, MSI-X, error, request */

struct vu_irq_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
};

#define VU_IRQ_DATA_NONE      (1u << 0)
#define VU_IRQ_DATA_BOOL      (1u << 1)
#define VU_IRQ_DATA_EVENTFD   (1u << 2)
#define VU_IRQ_DATA_MASK      (VU_IRQ_DATA_NONE | VU_IRQ_DATA_BOOL | VU_IRQ_DATA_EVENTFD)
#define VU_IRQ_ACTION_MASK    (1u << 3)
#define VU_IRQ_ACTION_UNMASK  (1u << 4)
#define VU_IRQ_ACTION_TRIGGER (1u << 5)
#define VU_IRQ_ACTIONS        (VU_IRQ_ACTION_MASK | VU_IRQ_ACTION_UNMASK | VU_IRQ_ACTION_TRIGGER)

struct vu_irq_set {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t start;
    uint32_t count;
    /* with DATA_BOOL: count bytes */
};

struct vu_region_access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    /* data */
};

_Static_assert(sizeof(struct vu_header) == 16, "vfio-user header");
_Static_assert(sizeof(struct vu_dma_map) == 32, "vfio-user DMA_MAP");
_Static_assert(sizeof(struct vu_dma_unmap) == 24, "vfio-user DMA_UNMAP");
_Static_assert(sizeof(struct vu_device_info) == 16, "vfio-user device info");
_Static_assert(sizeof(struct vu_region_info) == 32, "vfio-user region info");
_Static_assert(sizeof(struct vu_region_io_fds) == 16, "vfio-user region io fds");
_Static_assert(sizeof(struct vu_io_fd) == 40, "vfio-user io fd");
_Static_assert(sizeof(struct vu_irq_info) == 16, "vfio-user irq info");
_Static_assert(sizeof(struct vu_irq_set) == 20, "vfio-user irq set");
_Static_assert(sizeof(struct vu_region_access) == 16, "vfio-user region access");

#endif /* VGPU_BUS_VFIO_USER_PROTO_H */
