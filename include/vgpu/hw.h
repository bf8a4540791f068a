/* SPDX-License-Identifier: MIT */
/*
 * vgpu hardware interface: PCI identity, BARs, registers, lifecycle.
 *
 * This header is the register half of the ABI; docs/spec/vgpu-abi.md is the law
 * and each group below names its chapter.  It is shared by the guest driver,
 * the QEMU device model, the host daemon and the tests, so it contains only
 * constants.  All registers are little-endian.  Access codes:
 *
 *   RO  writes are ignored            RW   reads return what was written
 *   WO  reads return 0                W1C  writing 1 clears the bit
 *
 * A register reads 0 after reset unless its line says otherwise.
 */
#ifndef VGPU_HW_H
#define VGPU_HW_H

/* ---- Identity (spec 3.1).  Compared at connect by every bus. ---- */
#define VGPU_PCI_VENDOR_ID       0x1234
#define VGPU_PCI_DEVICE_ID       0x7667
#define VGPU_PCI_SUBSYS_VENDOR   0x1234
#define VGPU_PCI_SUBSYS_ID       0x0001
#define VGPU_PCI_REVISION        0x01
#define VGPU_PCI_CLASS           0x030200 /* display, 3D controller */

/* ---- BARs (spec 3.2): 64-bit, memory, not prefetchable ---- */
#define VGPU_BAR_REGS            0
#define VGPU_BAR_REGS_SIZE       0x4000
#define VGPU_BAR_DOORBELL        2
#define VGPU_BAR_DOORBELL_SIZE   0x100000
#define VGPU_BAR_MSIX            4
#define VGPU_BAR_MSIX_SIZE       0x4000
#define VGPU_MSIX_TABLE_OFFSET   0x0000
#define VGPU_MSIX_PBA_OFFSET     0x2000

/* ---- Interrupts (spec 3.3) ---- */
#define VGPU_MSIX_VECTORS        32
#define VGPU_VECTOR_ADMIN        0 /* admin completions, state changes, lost contexts */
#define VGPU_VECTOR_CTX_FIRST    1 /* 1..31: context queues, shared freely */

/* ---- Doorbells (spec 3.4) ----
 * One page per context: the context id is the page's number, so that a page can
 * be mapped into one program alone.  A 4-byte write at offset 0 of the page
 * rings; its value is ignored (the ring's index in memory is the truth); every
 * other access reads 0 and does nothing.
 */
#define VGPU_DOORBELL_STRIDE     0x1000
#define VGPU_DOORBELL_OFFSET     0x0

/* ---- Constants of the ABI (spec 15).  A device reports its own, lower limits. ---- */
#define VGPU_MAX_CONTEXTS        256
#define VGPU_MIN_RING_LOG2       6  /* 64 entries */
#define VGPU_MAX_RING_LOG2       12 /* 4096 entries */
#define VGPU_MAX_BUFFERS         4096 /* per context, id 0 is the argument arena */
#define VGPU_MAX_BUFFER_BYTES    (64ull << 30)
#define VGPU_MAX_IMAGE_BYTES     (256ull << 20)
#define VGPU_MIN_ARENA_BYTES     0x1000
#define VGPU_MAX_ARENA_BYTES     0x400000
#define VGPU_MAX_PARAM_BYTES     4096
#define VGPU_MAX_NAME_BYTES      1024 /* function and variable names, without NUL */
#define VGPU_OUTPUT_BYTES        0x100000 /* kernels' output kept until it is read, spec 10.4 */
#define VGPU_PAGE_BYTES          4096

/* ---- Register map (spec 4): BAR 0, 4-byte aligned 4-byte accesses ---- */

/* Identification (spec 4.1) */
#define VGPU_REG_MAGIC           0x000 /* RO  "VGPU" */
#define VGPU_REG_ABI_VERSION     0x004 /* RO  major << 16 | minor */
#define VGPU_REG_FEATURES_LO     0x008 /* RO  VGPU_FEATURE_* the device offers */
#define VGPU_REG_FEATURES_HI     0x00c /* RO */
#define VGPU_REG_DRV_FEATURES_LO 0x010 /* RW  subset the driver will use; written in
					*     DISABLED only, checked by ENABLE */
#define VGPU_REG_DRV_FEATURES_HI 0x014 /* RW */

#define VGPU_MAGIC               0x55504756u
#define VGPU_ABI_MAJOR           1
#define VGPU_ABI_MINOR           0
#define VGPU_ABI_VERSION         ((VGPU_ABI_MAJOR << 16) | VGPU_ABI_MINOR)

/* Feature bits (spec 6).  None is defined by version 1.0: all bits read 0. */
#define VGPU_FEATURES_KNOWN      0ull

/* Lifecycle (spec 4.2 and 5) */
#define VGPU_REG_STATE           0x018 /* RO  enum vgpu_state */
#define VGPU_REG_CONTROL         0x01c /* WO  VGPU_CONTROL_* */
#define VGPU_REG_GENERATION      0x020 /* RO  of the back end; 0 while not yet announced */
#define VGPU_REG_HEARTBEAT       0x024 /* RO  advances once per HEARTBEAT_MS; never all-ones */
#define VGPU_REG_HEARTBEAT_MS    0x028 /* RO  period of HEARTBEAT in ms, 1..1000 */
#define VGPU_REG_ADMIN_MAX_MS    0x02c /* RO  time the device may need for one admin command
					*     or a reset, in ms, apart from waiting for an
					*     executor to die */

/* What an unanswered read returns (PCIe's own sign): nothing is behind the BAR. */
#define VGPU_ALL_ONES            0xffffffffu

#define VGPU_STATE_QUIESCING     1 /* an older generation's executors still run; wait */
#define VGPU_STATE_DISABLED      2 /* registers and test registers work, admin queue is off */
#define VGPU_STATE_READY         3 /* admin queue live */
#define VGPU_STATE_RESETTING     4 /* reset accepted, executors are being reaped */
#define VGPU_STATE_FAILED        5 /* ERR_STATUS says why; only RESET leaves */

#define VGPU_CONTROL_ENABLE      1 /* DISABLED -> READY, or FAILED with a reason */
#define VGPU_CONTROL_RESET       2 /* any but QUIESCING -> RESETTING -> DISABLED */

/* Sticky errors (spec 4.3) */
#define VGPU_REG_ERR_STATUS      0x030 /* W1C VGPU_ERR_* */
#define VGPU_REG_ERR_DETAIL      0x034 /* RO  status code of the first error */
#define VGPU_REG_ERR_ADDR_LO     0x038 /* RO  address, offset or value the first error is about */
#define VGPU_REG_ERR_ADDR_HI     0x03c /* RO  (both frozen until ERR_STATUS is 0 again) */

#define VGPU_ERR_ACCESS          (1u << 0) /* register access of bad size, alignment or offset */
#define VGPU_ERR_DMA             (1u << 1) /* the device could not reach an address it was given */
#define VGPU_ERR_ADMIN           (1u << 2) /* structural fault on the admin queue: state is FAILED */
#define VGPU_ERR_ENABLE          (1u << 3) /* ENABLE refused: state is FAILED */
#define VGPU_ERR_HOST            (1u << 4) /* host environment failed: state is FAILED */
#define VGPU_ERR_TEST            (1u << 5) /* a test register was given a bad value */

/* Limits of this device (spec 4.4), all RO */
#define VGPU_REG_MAX_CONTEXTS    0x040
#define VGPU_REG_RING_LOG2       0x044 /* max << 8 | min, of queue entries */
#define VGPU_REG_MAX_BUFFERS     0x048 /* per context, arena included */
#define VGPU_REG_MSIX_VECTORS    0x04c
#define VGPU_REG_MAX_BUFFER_LO   0x050 /* bytes */
#define VGPU_REG_MAX_BUFFER_HI   0x054
#define VGPU_REG_MAX_IMAGE_LO    0x058 /* bytes */
#define VGPU_REG_MAX_IMAGE_HI    0x05c
#define VGPU_REG_MAX_PARAM       0x060 /* bytes of one launch's parameter block */
#define VGPU_REG_MAX_SG          0x064 /* scatter-list entries of one buffer */
#define VGPU_REG_MAX_ARENA       0x068 /* bytes */

/* Executor (spec 4.5), all RO */
#define VGPU_REG_EXEC_KIND       0x080 /* VGPU_EXEC_* */
#define VGPU_REG_DEVICE_NAME     0x0c0 /* 64 bytes of ASCII, NUL padded */
#define VGPU_DEVICE_NAME_BYTES   64

#define VGPU_EXEC_NULL           1 /* completes everything, computes nothing */
#define VGPU_EXEC_CPU            2 /* runs PTX on the host's processor */
#define VGPU_EXEC_CUDA           3 /* runs on an NVIDIA GPU */

/* Admin queue (spec 4.6).  Written in DISABLED only; see ring.h for the block. */
#define VGPU_REG_ADMIN_BASE_LO   0x100 /* RW  DMA address of a queue block, page aligned */
#define VGPU_REG_ADMIN_BASE_HI   0x104 /* RW */
#define VGPU_REG_ADMIN_LOG2      0x108 /* RW  cq << 8 | sq, log2 of entries */
#define VGPU_REG_ADMIN_DOORBELL  0x10c /* WO  any value: look at the admin SQ */

/* Lost contexts (spec 4.7): bit n of the 256 is set from the moment context n is
 * lost until it is destroyed.  Vector 0 is raised when a bit appears. */
#define VGPU_REG_CTX_LOST        0x140 /* RO  8 registers */
#define VGPU_CTX_LOST_WORDS      8

/* Test registers (spec 4.8): work in every state but QUIESCING */
#define VGPU_REG_TEST_ECHO       0x180 /* RW  reads back the complement of what was written;
					*     0 (so ~0) after reset */
#define VGPU_REG_TEST_IRQ        0x184 /* WO  raise this vector */
#define VGPU_REG_TEST_DMA_LO     0x188 /* RW  DMA address */
#define VGPU_REG_TEST_DMA_HI     0x18c /* RW */
#define VGPU_REG_TEST_DMA_LEN    0x190 /* RW  bytes, 4..2048, multiple of 4 */
#define VGPU_REG_TEST_DMA_GO     0x194 /* WO  write 1: read LEN bytes at the address, write their
					*     complement at address + LEN */
#define VGPU_REG_TEST_DMA_STATUS 0x198 /* RO  status code of the last GO, 0 is success;
					*     VGPU_ST_BUSY before the first */
#define VGPU_TEST_DMA_MAX        2048

#define VGPU_REG_END             0x200 /* above: reserved, reads 0, sets VGPU_ERR_ACCESS */

#endif /* VGPU_HW_H */
