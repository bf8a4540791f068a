/* SPDX-License-Identifier: MIT */
/*
 * The executor seam: what an engine (null, cpu, cuda) offers to the exec process.
 *
 * One exec process serves one guest context and has one open executor.  The
 * drain thread is the only caller of these functions; an executor may have threads
 * of its own.  Three kinds of work (spec 9.1):
 *
 *   immediate   functions below that return a status at once (may take long: a module
 *               is compiled meanwhile)
 *   queued      submit(); completes now (VGPU_SUBMIT_DONE) or later, through poll()
 *   barrier     the drain itself waits until nothing is in flight, then calls the function
 *
 * Order: jobs of one stream complete in the order of their submission; EVENT_WAIT holds
 * back its stream until the event's latest record before it completed.  Jobs of
 * different streams may overlap or not.
 *
 * Statuses are VGPU_ST_*.  A status whose list entry says "context is lost" is sticky: the
 * executor fills in struct vgpu_exec_fault, and every later job ends with the same
 * status; the process then reports and ends.
 *
 * Handles (modules, functions, streams, events) are nonzero 32-bit numbers issued by the
 * executor; it checks each one it is given (the guest made it up).
 */
#ifndef VGPU_EXEC_H
#define VGPU_EXEC_H

#include <exec/job.h>

struct vgpu_exec;

struct vgpu_exec_fault {
    uint16_t status;
    uint64_t addr;
    char message[232];
};

struct vgpu_exec_config {
    const char *device; /* operator's choice of GPU (UUID, PCI address), NULL: none named */
    /* Start although kernels can access all memory of the process (heterogeneous memory management). */
    bool allow_hmm;
    /* Nothing else of the process writes to standard output: a driver that prints there what kernels
     * print may have it redirected. */
    bool own_stdout;
    uint32_t threads;       /* worker threads of the cpu executor, 0: as the machine has */
    uint32_t deadline_ms;   /* longest time for one kernel, 0: none */
    uint32_t max_inflight;  /* jobs per stream not yet complete, >= 1 */
    uint64_t memory_limit;  /* of the VM; for reporting only: grants decide */
    uint64_t context_bytes; /* what open() takes from the quota for itself, as probe() measured */
    /* Ask for / return bytes of the VM's quota.  0 or -ENOMEM (limit reached).  Blocking, called
     * from the drain thread only.  Never NULL. */
    int (*quota_take)(void *opaque, uint64_t bytes);
    void (*quota_give)(void *opaque, uint64_t bytes);
    /* The context is lost and the drain thread can't say so: it is blocked in a call that may never
     * return.  From any thread; reports the fault and ends the process.  NULL where there is no
     * process to end (a probe). */
    void (*lost)(void *opaque, const struct vgpu_exec_fault *fault);
    void *opaque;
};

/* What a context has used so far. */
struct vgpu_exec_usage {
    uint64_t kernel_ns; /* time in kernels */
    uint64_t kernels;   /* finished */
    /* What the processor, not the GPU, moved out of or into guest memory for COPY_H2D and COPY_D2H. */
    uint64_t bytes_staged;
};

enum vgpu_submit_result {
    VGPU_SUBMIT_DONE,   /* job->status is set, the job is the caller's again */
    VGPU_SUBMIT_QUEUED, /* poll() will return it */
    VGPU_SUBMIT_FULL,   /* stream's queue is full: try again after poll() returned something */
};

struct vgpu_exec_ops {
    const char *name;
    uint32_t kind; /* VGPU_EXEC_* */

    /* Called once in the vm's helper at start, in a process of its own: fill in what the guest will
     * be told, and the device memory that each open executor takes for itself (0 at call).  0, or
     * -errno with the reason in `why`. */
    int (*probe)(const struct vgpu_exec_config *cfg, struct vgpu_device_props *props,
                 uint64_t *context_bytes, char *why, size_t why_bytes);

    /* The first calls of an exec process.  open() before any guest data is touched; -EDQUOT: the
     * quota has no room for the executor itself. */
    int (*open)(const struct vgpu_exec_config *cfg, struct vgpu_exec **exec, char *why,
                size_t why_bytes);
    void (*close)(struct vgpu_exec *exec);

    /* Memory.  A new allocation reads as zeroes.  *taken/ *given: bytes counted. */
    uint16_t (*mem_alloc)(struct vgpu_exec *exec, uint64_t bytes, uint64_t *addr);
    uint16_t (*mem_free)(struct vgpu_exec *exec, uint64_t addr);
    uint64_t (*mem_held)(struct vgpu_exec *exec);

    /* Modules.  `image` is a private copy and may be freed on return.  The log is NUL-terminated
     * text of at most log_room bytes; *log_bytes counts it without NUL, also on failure. */
    uint16_t (*module_load)(struct vgpu_exec *exec, const void *image, size_t bytes, char *log,
                            size_t log_room, size_t *log_bytes, uint32_t *module);
    uint16_t (*module_unload)(struct vgpu_exec *exec, uint32_t module);
    /* Up to `room` parameters go to `params`; info->param_count counts all. */
    uint16_t (*func_lookup)(struct vgpu_exec *exec, uint32_t module, const char *name,
                            uint32_t *function, struct vgpu_func_info *info,
                            struct vgpu_param_info *params, uint32_t room);
    uint16_t (*global_lookup)(struct vgpu_exec *exec, uint32_t module, const char *name,
                              struct vgpu_global_info *info);

    /* Streams and events. Event query: NOT_READY, or OK with *time_ns. */
    uint16_t (*stream_create)(struct vgpu_exec *exec, int32_t priority, uint32_t *stream);
    uint16_t (*stream_destroy)(struct vgpu_exec *exec, uint32_t stream);
    bool (*stream_exists)(struct vgpu_exec *exec, uint32_t stream); /* also true for 0 */
    uint16_t (*event_create)(struct vgpu_exec *exec, uint32_t *event);
    uint16_t (*event_query)(struct vgpu_exec *exec, uint32_t event, uint64_t *time_ns);
    uint16_t (*event_destroy)(struct vgpu_exec *exec, uint32_t event);

    /* Check a launch before its parameters are copied: function exists, param_bytes matches, grid,
     * block and shared memory within limits. */
    uint16_t (*launch_check)(struct vgpu_exec *exec, const struct vgpu_cmd_launch *launch);

    /* Optional (NULL: kernels print nothing): move the oldest `room` bytes at most of what kernels
     * printed into `buf`; returns how many.  All of a kernel's output is there once poll() returned
     * its job.  *lost: bytes dropped since the last call, the FIFO being full (output.h). */
    size_t (*output_read)(struct vgpu_exec *exec, void *buf, size_t room, uint64_t *lost);

    /* Optional (may be NULL): a buffer no job uses any more is about to be unmapped.  False: the
     * device may reach its memory still, and the context is lost (fault()): it stays mapped, and nobody is
     * told that it is gone before the process is. */
    bool (*buf_detach)(struct vgpu_exec *exec, struct vgpu_gbuf *buf);

    enum vgpu_submit_result (*submit)(struct vgpu_exec *exec, struct vgpu_job *job);
    /* Completed jobs, oldest first, at most `max`; 0 when there is none.  Never blocks. */
    size_t (*poll)(struct vgpu_exec *exec, struct vgpu_job **jobs, size_t max);
    /* Becomes readable when poll() has something and arm() returned true; -1 if submit() never queues. */
    int (*wait_fd)(struct vgpu_exec *exec);
    /* About to sleep on wait_fd: false if poll() already has something (don't sleep). */
    bool (*arm)(struct vgpu_exec *exec);

    /* The sticky fault, if there is one. */
    bool (*fault)(struct vgpu_exec *exec, struct vgpu_exec_fault *fault);
    void (*usage)(struct vgpu_exec *exec, struct vgpu_exec_usage *usage);
    /* Stop running kernels soon: they end with VGPU_ST_TIMEOUT.  From any thread. */
    void (*cancel)(struct vgpu_exec *exec);
};

extern const struct vgpu_exec_ops vgpu_exec_null;
extern const struct vgpu_exec_ops vgpu_exec_cpu;
extern const struct vgpu_exec_ops vgpu_exec_cuda;

/* By name; NULL if there is no such executor in this build. */
const struct vgpu_exec_ops *vgpu_exec_find(const char *name);

#endif /* VGPU_EXEC_H */
