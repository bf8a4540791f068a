/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfio-user messages, as far as a PCI client without migration needs them.
 *
 * Written from the protocol's specification (QEMU's docs/interop/vfio-user).
 * All fields are in the host's byte order, since both ends of an AF_UNIX socket
 * are on one host.  Every structure is laid out without implicit padding and
 * its size is asserted, so it can be sent and received as it lies in memory.
 */
#ifndef VGPU_PROTO_H
#define VGPU_PROTO_H

#define VFU_MAJOR                 0
#define VFU_MINOR                 1

enum vfu_command {
    VFU_VERSION                   = 1,
    VFU_DMA_MAP                   = 2,
    VFU_DMA_UNMAP                 = 3,
    VFU_DEVICE_GET_INFO           = 4,
    VFU_DEVICE_GET_REGION_INFO    = 5,
    VFU_DEVICE_GET_REGION_IO_FDS  = 6,
    VFU_DEVICE_GET_IRQ_INFO       = 7,
    VFU_DEVICE_SET_IRQS           = 8,
    VFU_REGION_READ               = 9,
    VFU_REGION_WRITE              = 10,
    VFU_DEVICE_RESET              = 13,
};

/* Header */
#define VFU_FLAG_TYPE_MASK        0xfu
#define VFU_FLAG_TYPE_COMMAND     0x0u
#define VFU_FLAG_TYPE_REPLY       0x1u
#define VFU_FLAG_NO_REPLY         (1u << 4)
#define VFU_FLAG_ERROR            (1u << 5)

typedef struct VfuHeader {
    uint16_t id;
    uint16_t command;
    uint32_t size;              /* of the whole message, header included */
    uint32_t flags;
    uint32_t error;             /* errno, in a reply with VFU_FLAG_ERROR */
} VfuHeader;
QEMU_BUILD_BUG_ON(sizeof(VfuHeader) != 16);

/* VERSION; the JSON text with its NUL follows */
typedef struct VfuVersion {
    uint16_t major;
    uint16_t minor;
} VfuVersion;
QEMU_BUILD_BUG_ON(sizeof(VfuVersion) != 4);

/* Values the peer means when it names none */
#define VFU_DEFAULT_MSG_FDS       1
#define VFU_DEFAULT_DATA_XFER     (1u << 20)
#define VFU_DEFAULT_DMA_MAPS      65535
#define VFU_DEFAULT_PGSIZES       4096

/* DMA_MAP: the reply has no payload */
#define VFU_DMA_READABLE          (1u << 0)
#define VFU_DMA_WRITABLE          (1u << 1)

typedef struct VfuDmaMap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;            /* in the file that came with the message */
    uint64_t address;
    uint64_t size;
} VfuDmaMap;
QEMU_BUILD_BUG_ON(sizeof(VfuDmaMap) != 32);

/* DMA_UNMAP: the reply repeats the request */
typedef struct VfuDmaUnmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t address;
    uint64_t size;
} VfuDmaUnmap;
QEMU_BUILD_BUG_ON(sizeof(VfuDmaUnmap) != 24);

/* DEVICE_GET_INFO */
#define VFU_DEVICE_HAS_RESET      (1u << 0)
#define VFU_DEVICE_IS_PCI         (1u << 1)

typedef struct VfuDeviceInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
} VfuDeviceInfo;
QEMU_BUILD_BUG_ON(sizeof(VfuDeviceInfo) != 16);

/* DEVICE_GET_REGION_INFO: capabilities may follow in the reply */
#define VFU_REGION_CONFIG         7
#define VFU_REGION_FLAG_READ      (1u << 0)
#define VFU_REGION_FLAG_WRITE     (1u << 1)

typedef struct VfuRegionInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset;
} VfuRegionInfo;
QEMU_BUILD_BUG_ON(sizeof(VfuRegionInfo) != 32);

/* DEVICE_GET_REGION_IO_FDS: @count sub-regions follow in the reply */
#define VFU_IO_FD_IOEVENTFD       0

typedef struct VfuRegionIoFds {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
} VfuRegionIoFds;
QEMU_BUILD_BUG_ON(sizeof(VfuRegionIoFds) != 16);

typedef struct VfuIoEventFd {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t rsvd;
    uint64_t datamatch;
} VfuIoEventFd;
QEMU_BUILD_BUG_ON(sizeof(VfuIoEventFd) != 40);

/* DEVICE_GET_IRQ_INFO */
#define VFU_IRQ_MSIX              2
#define VFU_IRQ_FLAG_EVENTFD      (1u << 0)

typedef struct VfuIrqInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
} VfuIrqInfo;
QEMU_BUILD_BUG_ON(sizeof(VfuIrqInfo) != 16);

/* DEVICE_SET_IRQS: one eventfd per vector comes with the message */
#define VFU_IRQ_SET_DATA_EVENTFD    (1u << 2)
#define VFU_IRQ_SET_ACTION_TRIGGER  (1u << 5)

typedef struct VfuIrqSet {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t start;
    uint32_t count;
} VfuIrqSet;
QEMU_BUILD_BUG_ON(sizeof(VfuIrqSet) != 20);

/* REGION_READ and REGION_WRITE: @count bytes follow where data travels */
typedef struct VfuRegionAccess {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
} VfuRegionAccess;
QEMU_BUILD_BUG_ON(sizeof(VfuRegionAccess) != 16);

#endif /* VGPU_PROTO_H */
