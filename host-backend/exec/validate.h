/* SPDX-License-Identifier: MIT */
/*
 * From a submission that a guest program wrote to work that can be trusted (spec 9 to 11).
 *
 * The caller copied the submission out of the ring once; everything here reads that copy.  One
 * table row per opcode says what class of order it has, which bytes of the payload must be
 * zero and which function checks the rest; an opcode without a row is refused.  The checks are made
 * in the order opcode, flags, reserved bytes, stream, values, buffers, addresses, so a command with
 * several faults is refused the same way every time.
 *
 * Device addresses, modules, functions and events are left to the executor, which alone knows
 * them; streams are asked of it here, because order depends on them.
 */
#ifndef VGPU_EXEC_VALIDATE_H
#define VGPU_EXEC_VALIDATE_H

#include <exec/exec.h>
#include <exec/gbuf.h>

enum vgpu_cmd_class {
    VGPU_CLASS_REFUSED, /* no such opcode */
    VGPU_CLASS_QUEUED,
    VGPU_CLASS_IMMEDIATE,
    VGPU_CLASS_BARRIER,
};

struct vgpu_validator {
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    const struct vgpu_gbufs *bufs;
    uint64_t max_image_bytes;
};

/* An immediate or barrier command.  Buffers are looked up, not referenced: use them
 * before anything else can drop them. */
struct vgpu_call {
    uint16_t opcode;
    union {
        uint64_t alloc_bytes;
        uint64_t free_addr;
        uint32_t handle; /* module, stream or event */
        int32_t priority;
        struct {
            struct vgpu_gbuf *out;
            uint64_t out_off;
        } mem_info;
        struct {
            struct vgpu_gbuf *image;
            uint64_t image_off;
            uint64_t image_bytes;
            struct vgpu_gbuf *log; /* NULL if none is wanted */
            uint64_t log_off;
            uint32_t log_bytes;
        } load;
        struct {
            uint32_t module;
            struct vgpu_gbuf *name;
            uint64_t name_off;
            uint32_t name_bytes;
            struct vgpu_gbuf *out;
            uint64_t out_off;
            uint32_t out_bytes;
        } lookup;
        struct {
            struct vgpu_gbuf *out;
            uint64_t out_off;
            uint32_t out_bytes;
        } output;
    } u;
};

/* The class of an opcode; VGPU_CLASS_REFUSED if there is none. */
enum vgpu_cmd_class vgpu_cmd_class(uint16_t opcode);

/*
 * Check a queued command and fill in *job (not u.launch.params: the range in the arena is checked,
 * copying is the caller's).  VGPU_ST_OK or the reason of the refusal.
 */
uint16_t vgpu_validate_job(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_job *job) __attribute__((warn_unused_result));

/* Check an immediate or barrier command and fill in *call. */
uint16_t vgpu_validate_call(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                            struct vgpu_call *call) __attribute__((warn_unused_result));

#endif /* VGPU_EXEC_VALIDATE_H */
