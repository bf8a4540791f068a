/* SPDX-License-Identifier: MIT */
/*
 * What the files of the device core share.  Nothing outside host-backend/device/ (and
 * its unit tests) includes this.
 *
 * Who owns what:
 *   core.c    creation, lifecycle, sticky errors, reset, BAR dispatch
 *   regs.c    the register file; policy is the table regs.def
 *   queue.c   the admin queue as a ring: indices, entries, event words
 *   admin.c   admin commands: fetch, validate, start
 *   sg.c      the resumable walk along a scatter list
 *   ctx.c     contexts and buffers, and the answers from the surroundings
 *   config.c  PCI config space;  msix.c  MSI-X table and PBA, where the bus has none
 *
 * Object states.  A command that another process must finish is *owed*: its
 * completion slot is reserved, its cookie lies in a struct vgpu_op inside the object
 * it concerns (at most one per object and kind), and the *_done() call that
 * answers it finds it there.  RESETTING drops all of them at once.
 */
#ifndef VGPU_DEVICE_INTERNAL_H
#define VGPU_DEVICE_INTERNAL_H

#include <device/device.h>
#include <device/msix.h>
#include <device/queue.h>
#include <device/sg.h>

#define VGPU_REG_WORDS (VGPU_REG_END / 4)

#define vgpu_must_check __attribute__((warn_unused_result))

/* A consumed admin command that is not yet completed. */
struct vgpu_op {
    uint64_t cookie;
    uint32_t sq_idx;
    bool pending;
};

enum vgpu_buf_state { VGPU_BUF_FREE, VGPU_BUF_REGISTERING, VGPU_BUF_LIVE, VGPU_BUF_UNREGISTERING };

struct vgpu_buf {
    uint64_t bytes;
    struct vgpu_op op; /* pending in REGISTERING and UNREGISTERING */
    uint8_t state;     /* enum vgpu_buf_state */
};

enum vgpu_ctx_state { VGPU_CTX_FREE, VGPU_CTX_CREATING, VGPU_CTX_LIVE, VGPU_CTX_DESTROYING };

struct vgpu_ctx {
    uint8_t state; /* enum vgpu_ctx_state */
    bool lost;     /* in CREATING or LIVE */
    struct vgpu_op create;
    struct vgpu_op destroy;
    struct vgpu_ctx_status status; /* as VGPU_QUERY_CTX reports it */
    struct vgpu_buf *bufs;         /* max_buffers, NULL while FREE; [0] (arena) unused */
};

/* A BUF_REGISTER whose list is being read. */
struct vgpu_register {
    bool active;
    struct vgpu_op op;
    uint32_t ctx;
    uint32_t buf;
    uint32_t flags;
    struct vgpu_sg_walk walk;
};

struct vgpu_dev {
    struct vgpu_dev_config cfg;
    struct vgpu_dev_ops ops;
    void *opaque;
    uint64_t start_ms;

    uint32_t regs[VGPU_REG_WORDS]; /* what a read returns */
    uint32_t generation;           /* 0: not yet announced */
    bool host_failed;              /* reported during RESETTING: FAILED follows it */

    struct vgpu_queue queue;      /* valid in READY */
    struct vgpu_register pending; /* the walk under way, READY only */
    struct vgpu_ctx *ctxs;        /* max_contexts */

    struct vgpu_msix *msix; /* NULL: the bus's client emulates MSI-X */
    uint8_t config[VGPU_CONFIG_BYTES];

    uint64_t buffers;
    uint64_t buffer_bytes;
    uint64_t admin_commands;
    uint64_t guest_errors;
};

/* ---- core.c ---- */

uint32_t vgpu_dev_state(const struct vgpu_dev *dev);
void vgpu_dev_logf(struct vgpu_dev *dev, enum vgpu_dev_log level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Latch a sticky error; detail and address are kept from the first one. */
void vgpu_dev_error(struct vgpu_dev *dev, uint32_t bit, uint16_t status, uint64_t addr);
/* The same, and state FAILED. */
void vgpu_dev_fail(struct vgpu_dev *dev, uint32_t bit, uint16_t status, uint64_t addr);
/* VGPU_CONTROL_*. */
void vgpu_dev_enable(struct vgpu_dev *dev);
void vgpu_dev_reset_core(struct vgpu_dev *dev);
const char *vgpu_dev_status_name(uint16_t status);

/* ---- regs.c ---- */

/* One register, for tests that compare the table with the headers and the spec. */
struct vgpu_reg_info {
    const char *name;   /* less the VGPU_REG_ */
    const char *access; /* "RO", "RW", "WO", "W1C" */
    const char *reset;  /* "value", "device", "runs" */
    uint32_t offset;
    uint32_t words;
    uint32_t value;  /* after reset */
    uint32_t states; /* bit per VGPU_STATE_* in which a write is accepted */
};

size_t vgpu_reg_count(void);
struct vgpu_reg_info vgpu_reg_describe(size_t i);
void vgpu_reg_init(struct vgpu_dev *dev);  /* constants of this device */
void vgpu_reg_reset(struct vgpu_dev *dev); /* everything a reset clears */
uint32_t vgpu_reg_read(struct vgpu_dev *dev, uint64_t offset, size_t bytes);
void vgpu_reg_write(struct vgpu_dev *dev, uint64_t offset, uint32_t value, size_t bytes);

static inline uint32_t vgpu_reg_get(const struct vgpu_dev *dev, uint32_t offset)
{
    return dev->regs[offset / 4];
}

static inline void vgpu_reg_set(struct vgpu_dev *dev, uint32_t offset, uint32_t value)
{
    dev->regs[offset / 4] = value;
}

static inline uint64_t vgpu_reg_get64(const struct vgpu_dev *dev, uint32_t offset)
{
    return (uint64_t)dev->regs[offset / 4 + 1] << 32 | dev->regs[offset / 4];
}

static inline void vgpu_reg_set64(struct vgpu_dev *dev, uint32_t offset, uint64_t value)
{
    dev->regs[offset / 4] = (uint32_t)value;
    dev->regs[offset / 4 + 1] = (uint32_t)(value >> 32);
}

/* ---- admin.c ---- */

/* Complete an owed command and forget it.  Does nothing but forget outside READY. */
void vgpu_admin_complete(struct vgpu_dev *dev, struct vgpu_op *op, uint16_t status, uint32_t aux);
/* Start from the queue block in the registers: VGPU_ST_OK, or why not and *where. */
uint16_t vgpu_must_check vgpu_admin_start(struct vgpu_dev *dev, uint64_t *where);
/* Forget the queue and the walk under way. */
void vgpu_admin_stop(struct vgpu_dev *dev);
uint64_t vgpu_admin_queue_bytes(const struct vgpu_dev *dev);

/* ---- ctx.c ---- */

/* The admin commands on contexts and buffers.  VGPU_ST_OK: started, `op` was taken
 * over and will be completed; otherwise the caller completes it with the status. */
uint16_t vgpu_must_check vgpu_ctx_create(struct vgpu_dev *dev,
                                         const struct vgpu_admin_ctx_create *cmd,
                                         const struct vgpu_op *op);
uint16_t vgpu_must_check vgpu_ctx_destroy(struct vgpu_dev *dev, const struct vgpu_admin_ctx *cmd,
                                          const struct vgpu_op *op);
uint16_t vgpu_must_check vgpu_buf_register_begin(struct vgpu_dev *dev,
                                                 const struct vgpu_admin_buf_register *cmd,
                                                 const struct vgpu_op *op);
/* The list has been read: hand the buffer out, or refuse. */
void vgpu_buf_register_end(struct vgpu_dev *dev, uint16_t status);
uint16_t vgpu_must_check vgpu_buf_unregister(struct vgpu_dev *dev,
                                             const struct vgpu_admin_buf_unregister *cmd,
                                             const struct vgpu_op *op);
/* Completed at once: VGPU_ST_OK fills in *status. */
uint16_t vgpu_must_check vgpu_ctx_query(const struct vgpu_dev *dev, uint32_t ctx,
                                        struct vgpu_ctx_status *status);
bool vgpu_ctx_exists(const struct vgpu_dev *dev, uint32_t ctx);
/* Forget every context and everything owed to it. */
void vgpu_ctx_drop_all(struct vgpu_dev *dev);

/* ---- config.c ---- */

void vgpu_config_reset(struct vgpu_dev *dev);
/* Tell the attached MSI-X table, if any, what the control word says. */
void vgpu_config_sync_msix(struct vgpu_dev *dev);

#endif /* VGPU_DEVICE_INTERNAL_H */
