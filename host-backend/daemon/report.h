/* SPDX-License-Identifier: MIT */
/*
 * The account of one VM, as its vm process tells it to vgpud: one message, this header and
 * then one entry per context that exists.
 *
 * vgpud treats it as hostile, coming from a guest-controlled process: sizes and counts are
 * checked, texts are cut, numbers are only shown.
 */
#ifndef VGPU_DAEMON_REPORT_H
#define VGPU_DAEMON_REPORT_H

#include <stdint.h>

#define VGPU_REPORT_MAGIC    0x76677270u
#define VGPU_REPORT_MAX_CTXS 256u

/* Sums over contexts (those that have ended, or all). */
struct vgpu_report_totals {
    uint64_t commands;
    uint64_t errors;
    uint64_t doorbells;
    uint64_t interrupts;
    uint64_t kernels;
    uint64_t kernel_ns;
    uint64_t bytes_h2d;
    uint64_t bytes_d2h;
    uint64_t bytes_staged; /* of both, what the processor moved and not the GPU */
    uint64_t sleeps;
};

struct vgpu_report {
    uint32_t magic;
    uint32_t ctx_count; /* struct vgpu_report_ctx that follow */
    uint32_t state;     /* VGPU_STATE_* */
    uint32_t generation;
    uint32_t contexts; /* as the device sees them */
    uint32_t lost;
    uint32_t exec_alive; /* processes not yet reaped */
    uint32_t open_fds;
    uint32_t dma_ranges;
    uint32_t dma_files;
    uint32_t unmaps_pending;
    uint32_t rsvd;
    uint64_t dma_bytes;
    uint64_t memory_held;
    uint64_t memory_limit;
    uint64_t buffers;
    uint64_t buffer_bytes;
    uint64_t admin_commands;
    uint64_t guest_errors;
    uint64_t messages;
    uint64_t messages_refused;
    uint64_t contexts_created;
    uint64_t contexts_lost;
    struct vgpu_report_totals totals; /* ended contexts and living ones */
};

struct vgpu_report_ctx {
    uint32_t ctx;
    uint32_t pid;
    uint32_t state; /* enum vm_ctx_state */
    uint32_t lost_status;
    uint64_t memory_held; /* granted of the VM's quota */
    uint64_t buffers;
    uint64_t buffer_bytes;
    uint64_t modules;
    struct vgpu_report_totals totals;
    char lost_message[232];
};

#endif /* VGPU_DAEMON_REPORT_H */
