/* SPDX-License-Identifier: MIT */
/*
 * A pretended surrounding for the device core, and a pretended driver.
 *
 * The host half: guest memory is one flat array at a DMA address that is not 0 (so that
 * an address mistaken for an offset shows), with one optional hole and an optional n-th
 * access that fails; every op is recorded and nothing is ever answered by itself.
 * Misuse by the core - an op for an object that is in use, an interrupt out of range -
 * fails the test here.  The guest half: an admin queue as a driver would run it.
 */
#ifndef VGPU_TESTS_FAKE_HOST_H
#define VGPU_TESTS_FAKE_HOST_H

#include <device/internal.h>

#define RAM_BASE  UINT64_C(0x40000000)
#define RAM_BYTES (UINT64_C(8) << 20)
/* Places in it. */
#define ADMIN_ADDR (RAM_BASE)
#define QUEUE_ADDR (RAM_BASE + 0x100000)
#define ARENA_ADDR (RAM_BASE + 0x200000)
#define SG_ADDR    (RAM_BASE + 0x300000)
#define OUT_ADDR   (RAM_BASE + 0x500000)

#define MAX_OPS 4096

enum op_type { OP_CTX_CREATE = 1, OP_CTX_DESTROY, OP_BUF_REGISTER, OP_BUF_UNREGISTER, OP_RESET };

struct op {
    enum op_type type;
    uint32_t ctx;
    uint32_t buf;
    uint32_t flags;
    uint32_t count;
    uint64_t bytes;
    struct vgpu_sg_entry first, last;
    struct vgpu_dev_ctx_params params;
};

struct fake {
    struct vgpu_dev *dev;
    struct vgpu_dev_config cfg;
    uint8_t *ram;
    uint64_t hole, hole_bytes; /* not mapped */
    uint64_t dma_calls;
    uint64_t dma_fail_at; /* this call fails; 0: none */
    uint64_t now_ms;
    unsigned int irqs[VGPU_MSIX_VECTORS];
    unsigned int kicks;
    unsigned int logs;
    char last_log[400];
    struct op ops[MAX_OPS];
    size_t op_count;
    /* the driver */
    uint8_t sq_log2, cq_log2;
    uint32_t sq_prod, cq_cons;
    uint64_t next_cookie;
};

/* A device in QUIESCING, DISABLED or READY (generation 7, rings of 64 starting at index 0). */
struct fake *fake_quiescing(void);
struct fake *fake_disabled(void);
struct fake *fake_ready(void);
/* READY, with rings and first index of the caller's choice. */
struct fake *fake_ready_at(uint8_t sq_log2, uint8_t cq_log2, uint32_t first);
void fake_free(struct fake *f);

void *fake_mem(struct fake *f, uint64_t addr);
uint32_t fake_rd(struct fake *f, uint32_t reg);
void fake_wr(struct fake *f, uint32_t reg, uint32_t value);
struct vgpu_queue_ro *fake_ro(struct fake *f);
struct vgpu_queue_rw *fake_rw(struct fake *f);
struct vgpu_sqe *fake_sq(struct fake *f);

/* Put a queue block at ADMIN_ADDR and into the registers. */
void fake_lay_queue(struct fake *f, uint8_t sq_log2, uint8_t cq_log2, uint32_t first);

/* Submit without running; run until the device sleeps; take one completion. */
uint32_t fake_submit(struct fake *f, const struct vgpu_admin_sqe *sqe);
void fake_run(struct fake *f);
bool fake_reap(struct fake *f, struct vgpu_cqe *cqe);
/* All three, for a command that is refused or completes at once: its completion. */
struct vgpu_cqe fake_cmd(struct fake *f, const struct vgpu_admin_sqe *sqe);
/* For one that must not complete yet: the op it started. */
struct op *fake_start(struct fake *f, const struct vgpu_admin_sqe *sqe, enum op_type type);
/* Exactly one completion is there; its status. */
uint16_t fake_status(struct fake *f);
/* The last recorded op. */
struct op *fake_last(struct fake *f);

/* Valid commands. */
struct vgpu_admin_sqe cmd_ctx_create(uint32_t ctx);
struct vgpu_admin_sqe cmd_ctx_destroy(uint32_t ctx);
/* Writes a list of `count` pages at SG_ADDR too. */
struct vgpu_admin_sqe cmd_buf_register(struct fake *f, uint32_t ctx, uint32_t buf, uint32_t count);
struct vgpu_admin_sqe cmd_buf_unregister(uint32_t ctx, uint32_t buf);
struct vgpu_admin_sqe cmd_query(uint32_t what, uint32_t ctx);

/* Whole operations, answers included. */
void fake_make_ctx(struct fake *f, uint32_t ctx);
void fake_make_buf(struct fake *f, uint32_t ctx, uint32_t buf, uint32_t count);

#endif
