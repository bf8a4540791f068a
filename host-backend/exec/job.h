/* SPDX-License-Identifier: MIT */
/*
 * Validated work: what the ring drain hands to an executor.
 *
 * Everything in here has been checked against the spec and the context's limits:
 * an executor needs no second look at ranges of guest buffers, reserved fields or
 * handle types it has itself issued.  Device addresses are checked by the
 * executor, which alone knows its allocations.
 */
#ifndef VGPU_EXEC_JOB_H
#define VGPU_EXEC_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/layout.h>

/* One piece of a guest buffer as mapped into this process. */
struct vgpu_span {
    void *ptr;
    size_t bytes;
};

/*
 * A registered buffer.  Never assume it is mapped: on Xen, or when it has too many runs, `spans`
 * is NULL and only the staged form works.  Use the vgpu_gbuf_*() functions, which serve both.
 */
struct vgpu_gbuf;

/* Copy between a buffer and this process's memory; any range validated before. 0 or -errno. */
int vgpu_gbuf_read(const struct vgpu_gbuf *buf, uint64_t off, void *dst, size_t bytes);
int vgpu_gbuf_write(const struct vgpu_gbuf *buf, uint64_t off, const void *src, size_t bytes);

/* Describe [off, off + bytes) by at most `max` spans: their number, or -EOPNOTSUPP if the buffer
 * is not mapped, or -E2BIG if more spans would be needed. */
int vgpu_gbuf_spans(const struct vgpu_gbuf *buf, uint64_t off, uint64_t bytes,
                    struct vgpu_span *spans, size_t max);

uint64_t vgpu_gbuf_bytes(const struct vgpu_gbuf *buf);
/* Whether the guest lets the device write to it; if not, a mapping here is readable only. */
bool vgpu_gbuf_writable(const struct vgpu_gbuf *buf);
/* A word in which the executor may keep what it knows about the buffer (NULL at first; given up in
 * struct vgpu_exec_ops.buf_detach). */
void **vgpu_gbuf_priv(struct vgpu_gbuf *buf);

/* A buffer may not be unregistered while jobs use it. */
void vgpu_gbuf_get(struct vgpu_gbuf *buf);
void vgpu_gbuf_put(struct vgpu_gbuf *buf);

struct vgpu_job_copy {
    uint64_t dev_addr;
    uint64_t bytes;
    struct vgpu_gbuf *buf; /* a reference is held until the job is done */
    uint64_t buf_off;
};

struct vgpu_job_d2d {
    uint64_t dst;
    uint64_t src;
    uint64_t bytes;
};

struct vgpu_job_memset {
    uint64_t dev_addr;
    uint64_t count;
    uint32_t value;
    uint32_t width;
};

struct vgpu_job_launch {
    uint32_t function;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared_bytes;
    uint32_t param_bytes;
    uint8_t *params; /* a private copy, 16-byte aligned, owned by the job */
};

/* Queued (Q) commands of the ABI, by their opcode. Allocated and freed by the drain;
 * between submit and completion it belongs to the executor. */
struct vgpu_job {
    uint16_t opcode; /* NOP, COPY_*, MEMSET, LAUNCH, EVENT_RECORD, EVENT_WAIT */
    uint32_t stream; /* existing; 0 is the default stream */
    uint32_t sq_idx;
    uint64_t cookie;
    union {
        struct vgpu_job_copy copy;
        struct vgpu_job_d2d d2d;
        struct vgpu_job_memset memset;
        struct vgpu_job_launch launch;
        uint32_t event;
    } u;
    /* filled in by the executor before the job is reported done */
    uint16_t status;
    uint32_t aux;
    uint64_t result;
    /* for the executor's own queues */
    struct vgpu_job *next;
    void *priv;
};

#endif /* VGPU_EXEC_JOB_H */
