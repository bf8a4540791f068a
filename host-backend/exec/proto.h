/* SPDX-License-Identifier: MIT */
/*
 * The conversation between a vm process and its exec processes.
 *
 * One SOCK_SEQPACKET socketpair per exec process; each message is one
 * fixed-size `struct vgpu_xmsg` plus a variable tail of runs, file descriptors by
 * SCM_RIGHTS.  The vm process is the master: it starts the exec process with the
 * socket as VGPU_XFD_SOCKET, sends START first, and never waits for an answer (its event loop
 * must stay live); the exec process answers every request in order and may send LOST,
 * QUOTA_* and nothing else by itself.
 *
 * Trust: an exec process runs what guests made up, so the vm process treats every
 * message from it as hostile: a wrong size, type or value kills that exec process and loses
 * its context, nothing else.  The other way the exec process trusts the vm process
 * but checks sizes all the same.
 *
 * Guest memory arrives as *runs*: fd index, offset, length of a shared mapping, so
 * that an exec process maps exactly what its context registered (architecture D2).
 */
#ifndef VGPU_EXEC_PROTO_H
#define VGPU_EXEC_PROTO_H

#include <stdint.h>
#include <vgpu/layout.h>

#define VGPU_XFD_SOCKET 3 /* the socket's number in a fresh exec process */
#define VGPU_XFD_LOCK   4 /* the VM's generation lock, inherited and never touched */
#define VGPU_XFD_ROOT   5 /* told so by its arguments: the directory to make its root */

#define VGPU_X_MAX_FDS  64
#define VGPU_X_MAX_RUNS 1024 /* per message; larger buffers take several BUF_ADD */

enum vgpu_xmsg_type {
    /* vm -> exec; each is answered by VGPU_X_REPLY with the same seq */
    VGPU_X_START = 1,  /* body start; fds: doorbell eventfd, irq eventfd, stats memfd, then run fds;
                        * runs: the queue block (start.queue_runs of them), then the arena */
    VGPU_X_BUF_BEGIN,  /* body buf; fds: those its runs use (kept until COMMIT), no runs */
    VGPU_X_BUF_ADD,    /* body buf.id; runs, indexing the fds of BEGIN */
    VGPU_X_BUF_COMMIT, /* body buf.id: map it; the reply tells the status */
    VGPU_X_BUF_DROP,   /* body buf.id: refuse new use, wait for jobs in flight, unmap, reply */
    VGPU_X_IRQ,        /* fds: a new irq eventfd, or none (no interrupt wanted): use it from the
                        * reply on */
    VGPU_X_STOP,       /* finish nothing more, exit 0 */
    /* exec -> vm */
    VGPU_X_REPLY,      /* body reply */
    VGPU_X_LOST,       /* body lost: sent once, then the process exits */
    VGPU_X_QUOTA_TAKE, /* body quota: answered by VGPU_X_QUOTA (vm -> exec) with the same seq */
    VGPU_X_QUOTA_GIVE, /* body quota: not answered */
    VGPU_X_QUOTA,      /* vm -> exec: body quota_reply, status OK or OUT_OF_MEMORY.  A TAKE of 0
                        * bytes asks only what the VM holds, and is always OK. */
    /* A process started to probe (vgpu_exec_probe_main()): one question, one answer, exit. */
    VGPU_X_PROBE,      /* body start: exec_kind, threads, deadline_ms, max_inflight, memory_limit,
                        * device, vm_name are used; no fds, no runs */
    VGPU_X_PROBED,     /* body probed */
};

struct vgpu_xrun {
    uint32_t fd;      /* index into the message's (or BEGIN's) run fds */
    uint32_t rsvd;
    uint64_t offset;  /* in the fd */
    uint64_t bytes;
};

#define VGPU_X_START_ALLOW_HMM 1u /* the operator accepts HMM (exec.h) */

struct vgpu_x_start {
    uint32_t vm_id;        /* for log lines */
    uint32_t ctx;
    uint32_t generation;
    uint32_t exec_kind;
    uint8_t sq_log2;
    uint8_t cq_log2;
    uint8_t rsvd0[2];
    uint32_t queue_bytes;
    uint32_t arena_bytes;
    uint32_t queue_runs;
    uint32_t arena_runs;
    uint32_t max_buffers;
    uint32_t poll_us;      /* spin this long before sleeping, 0: sleep at once */
    uint32_t budget;       /* submissions per drain before other work is looked at */
    uint32_t deadline_ms;
    uint32_t threads;
    uint32_t max_inflight;
    uint32_t foreign_domid; /* run fds are of this Xen domain's memory (foreign.h); 0: of files */
    uint32_t flags;        /* VGPU_X_START_* */
    uint32_t rsvd1;
    uint64_t memory_limit;
    uint64_t max_image_bytes;
    uint64_t context_bytes; /* of PROBED: what the quota is charged for an open executor */
    char vm_name[64];
    char device[64];       /* operator's GPU choice, "" if none */
};

struct vgpu_x_buf {
    uint32_t id;
    uint32_t flags;       /* VGPU_BUF_DEVICE_* */
    uint64_t bytes;
    uint64_t first_off;   /* of the buffer's first byte in its first run's first page: runs are whole
                           * pages, so that they can be mapped one behind the other */
    uint32_t run_count;   /* in all ADD messages */
    uint32_t rsvd;
};

struct vgpu_x_reply {
    uint32_t status;      /* VGPU_ST_* */
    uint32_t rsvd;
};

struct vgpu_x_lost {
    uint32_t status;
    uint32_t rsvd;
    uint64_t addr;
    char message[232];
};

struct vgpu_x_quota {
    uint64_t bytes;
};

struct vgpu_x_quota_reply {
    uint32_t status;      /* as in reply */
    uint32_t rsvd;
    uint64_t held_bytes;  /* by the whole VM, this request included */
};

struct vgpu_x_probed {
    uint32_t status;      /* VGPU_ST_OK: props are valid; else `why` is one line of text */
    uint32_t rsvd;
    struct vgpu_device_props props;
    uint64_t context_bytes; /* device memory that an open executor takes for itself */
    char why[232];
};

struct vgpu_xmsg {
    uint32_t type;
    uint32_t seq;
    uint32_t run_count;   /* struct vgpu_xrun that follow this struct */
    uint32_t rsvd;
    union {
        struct vgpu_x_start start;
        struct vgpu_x_buf buf;
        struct vgpu_x_reply reply;
        struct vgpu_x_lost lost;
        struct vgpu_x_quota quota;
        struct vgpu_x_quota_reply quota_reply;
        struct vgpu_x_probed probed;
    } u;
};

/* One page of counters that an exec process writes and its vm process reads (relaxed
 * atomics; for people and tests, never for decisions). */
struct vgpu_xstats {
    uint64_t commands;       /* completed */
    uint64_t errors;         /* of these, with a status other than OK */
    uint64_t doorbells;      /* wake-ups by the doorbell */
    uint64_t interrupts;     /* raised */
    uint64_t kernels;        /* finished */
    uint64_t kernel_ns;
    uint64_t bytes_h2d;
    uint64_t bytes_d2h;
    uint64_t sleeps;         /* times the drain went to sleep */
    uint64_t mem_held;       /* device memory, bytes */
    uint64_t modules;
    uint64_t bytes_staged;   /* of bytes_h2d and bytes_d2h, what the processor moved */
    uint64_t rsvd[4];
};

#endif /* VGPU_EXEC_PROTO_H */
