/* SPDX-License-Identifier: MIT */
/*
 * The device core: what is behind the BARs of one vgpu, whatever the bus.
 *
 * Theory of operation.  One `struct vgpu_dev` lives in each vm process and is
 * driven by its event loop alone: no locks, no threads, no blocking.  A bus
 * (bus/) carries the guest's accesses in through vgpu_dev_bar_*() and
 * vgpu_dev_config_*(); whatever the device wants from its surroundings - guest
 * memory, interrupts, executor processes - goes out through `struct
 * vgpu_dev_ops`.  Operations that need another process are started by an op
 * and finished by one of the vgpu_dev_*_done() calls below, never from inside the
 * op itself.  Admin commands are consumed in slices by vgpu_dev_work(), so a
 * guest with a huge scatter list can't keep the loop from answering.
 *
 * Trust.  Everything that comes in through a BAR or from guest memory is
 * hostile: it is copied once, the copy is validated, the copy is used.  A fault
 * of the guest kernel sets a sticky error bit or completes with a status; it
 * never reaches an assert.  The *_done() calls come from our own vm process, so
 * calling one for something not pending is our bug and asserts.
 *
 * Freestanding: includes the ABI and the C library's string and memory functions only.
 * All functions may be called from the owning thread only.
 */
#ifndef VGPU_DEVICE_H
#define VGPU_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/layout.h>

struct vgpu_dev;

/* What the operator and the executor decided; copied by vgpu_dev_create(). */
struct vgpu_dev_config {
    uint32_t max_contexts;          /* 1..VGPU_MAX_CONTEXTS */
    uint32_t max_buffers;           /* 2..VGPU_MAX_BUFFERS, per context, arena included */
    uint32_t max_sg;                /* scatter-list entries of one buffer, >= 1 */
    uint64_t max_buffer_bytes;      /* ..VGPU_MAX_BUFFER_BYTES */
    uint64_t max_image_bytes;       /* ..VGPU_MAX_IMAGE_BYTES */
    uint32_t heartbeat_ms;          /* 1..1000 */
    uint32_t admin_max_ms;          /* >= 1; what VGPU_REG_ADMIN_MAX_MS promises */
    struct vgpu_device_props props; /* name, kind, limits: shown to the guest as they are */
};

/* A context as the guest kernel asked for it, validated as far as the device can. */
struct vgpu_dev_ctx_params {
    uint64_t queue_addr;  /* DMA address of the queue block */
    uint32_t queue_bytes; /* vgpu_queue_bytes() */
    uint64_t arena_addr;
    uint32_t arena_bytes;
    uint16_t vector;
    uint8_t sq_log2;
    uint8_t cq_log2;
};

enum vgpu_dev_log { VGPU_DEV_LOG_ERROR, VGPU_DEV_LOG_WARN, VGPU_DEV_LOG_INFO, VGPU_DEV_LOG_DEBUG };

/*
 * What the device needs of its surroundings.  All are required.  `opaque` is the
 * one given to vgpu_dev_create().
 */
struct vgpu_dev_ops {
    /* Copy from/to guest memory.  0, or -EFAULT when any byte of the range is not
     * mapped for the device (then nothing was transferred that matters). */
    int (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t bytes);
    int (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t bytes);
    /* One naturally aligned 32-bit word, with acquire/release ordering. */
    int (*dma_load32)(void *opaque, uint64_t addr, uint32_t *value);
    int (*dma_store32)(void *opaque, uint64_t addr, uint32_t value);
    /* Raise an MSI-X vector (< VGPU_MSIX_VECTORS). */
    void (*irq)(void *opaque, unsigned int vector);
    /* Start an executor for context `ctx`; answered by vgpu_dev_ctx_created().  A status other
     * than OK says that there is no executor (any more): it never was, or has been reaped. */
    void (*ctx_create)(void *opaque, uint32_t ctx, const struct vgpu_dev_ctx_params *params);
    /* End it; answered by vgpu_dev_ctx_destroyed() once it has been *reaped*.  May come while
     * other ops of this context are unanswered, ctx_create included: these may still be answered
     * before vgpu_dev_ctx_destroyed(), and must not be after it (it answers them all). */
    void (*ctx_destroy)(void *opaque, uint32_t ctx);
    /* Give a context a buffer made of `count` pieces of guest memory (`sg` in host byte
     * order, sizes and sum already checked; valid during the call only); answered by
     * vgpu_dev_buf_registered(). */
    void (*buf_register)(void *opaque, uint32_t ctx, uint32_t buf, uint32_t flags,
                         const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes);
    /* Take it back; answered by vgpu_dev_buf_unregistered() once no copy can touch it.  Also for
     * a lost context: then the answer comes when its executor has been reaped. */
    void (*buf_unregister)(void *opaque, uint32_t ctx, uint32_t buf);
    /* End all executors; answered by vgpu_dev_reset_done() once all have been reaped.
     * Answers still owed to older ops are ignored from here to vgpu_dev_reset_done(), and must
     * not be given after it. */
    void (*reset)(void *opaque);
    /* vgpu_dev_work() has something to do: call it soon. */
    void (*kick)(void *opaque);
    /* CLOCK_MONOTONIC in milliseconds. */
    uint64_t (*now_ms)(void *opaque);
    /* One line about the guest's or our doings; the callee rate-limits. */
    void (*log)(void *opaque, enum vgpu_dev_log level, const char *message);
};

/* NULL only when out of memory; an impossible config asserts.  Starts in QUIESCING. */
struct vgpu_dev *vgpu_dev_create(const struct vgpu_dev_config *config,
                                 const struct vgpu_dev_ops *ops, void *opaque);
void vgpu_dev_destroy(struct vgpu_dev *dev);

/* No executor of an older generation is left: announce this one (not 0). */
void vgpu_dev_announce(struct vgpu_dev *dev, uint32_t generation);

/*
 * The guest's accesses; `bytes` is what the guest asked for, values are little-endian in
 * `data`.  Always "succeed": what is refused reads as 0 and sets VGPU_ERR_ACCESS.  A doorbell
 * write that arrives here, not through an eventfd, is reported by *doorbell = context id
 * (else UINT32_MAX): the bus then signals that context's doorbell itself.
 */
void vgpu_dev_bar_read(struct vgpu_dev *dev, unsigned int bar, uint64_t offset, void *data,
                       size_t bytes);
void vgpu_dev_bar_write(struct vgpu_dev *dev, unsigned int bar, uint64_t offset, const void *data,
                        size_t bytes, uint32_t *doorbell);

/* Size of a BAR in bytes; 0 where there is none. */
uint64_t vgpu_dev_bar_bytes(unsigned int bar);

/*
 * PCI config space (4 KiB; any range inside it) for buses whose client does not own it.
 * Writes keep the writable bits (command, BARs, MSI-X control, ...); an FLR written
 * to the PCIe capability resets the device as vgpu_dev_reset() does.
 */
#define VGPU_CONFIG_BYTES 4096
void vgpu_dev_config_read(struct vgpu_dev *dev, uint32_t offset, void *data, size_t bytes);
void vgpu_dev_config_write(struct vgpu_dev *dev, uint32_t offset, const void *data, size_t bytes);

/* Bus-level reset (FLR, bus reset, guest reboot): as VGPU_CONTROL_RESET. */
void vgpu_dev_reset(struct vgpu_dev *dev);

/* Do up to `budget` steps of admin work.  True if more is left. */
bool vgpu_dev_work(struct vgpu_dev *dev, unsigned int budget);

/* Answers to ops. `status` is VGPU_ST_*. */
void vgpu_dev_ctx_created(struct vgpu_dev *dev, uint32_t ctx, uint16_t status);
void vgpu_dev_ctx_destroyed(struct vgpu_dev *dev, uint32_t ctx);
void vgpu_dev_buf_registered(struct vgpu_dev *dev, uint32_t ctx, uint32_t buf, uint16_t status);
void vgpu_dev_buf_unregistered(struct vgpu_dev *dev, uint32_t ctx, uint32_t buf);
void vgpu_dev_reset_done(struct vgpu_dev *dev);

/* A context's executor died or gave up.  May come at any time while the context
 * exists (from the ctx_create op to vgpu_dev_ctx_destroyed() or a failed vgpu_dev_ctx_created());
 * only the first report counts.  It answers no op: those owed are answered as always.
 * `message` is one line of ASCII, cut to fit. */
void vgpu_dev_ctx_lost(struct vgpu_dev *dev, uint32_t ctx, uint16_t status, uint64_t fault_addr,
                       const char *message);

/* The bus unmapped this range.  Memory of the admin queue in it: device FAILED
 * (VGPU_ERR_DMA).  (Contexts' memory is the vm process's affair.) */
void vgpu_dev_dma_unmapped(struct vgpu_dev *dev, uint64_t addr, uint64_t bytes);

/* The host environment failed for good: state FAILED, VGPU_ERR_HOST, reason logged. */
void vgpu_dev_host_failed(struct vgpu_dev *dev, const char *reason);

/* For accounting and tests. */
struct vgpu_dev_stats {
    uint32_t state; /* VGPU_STATE_* */
    uint32_t generation;
    uint32_t contexts; /* existing, lost ones included */
    uint32_t lost;
    uint64_t buffers; /* registered, arenas not counted */
    uint64_t buffer_bytes;
    uint64_t admin_commands;
    uint64_t guest_errors;
};
void vgpu_dev_get_stats(const struct vgpu_dev *dev, struct vgpu_dev_stats *stats);

#endif /* VGPU_DEVICE_H */
