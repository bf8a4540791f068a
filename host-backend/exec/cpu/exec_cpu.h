/* SPDX-License-Identifier: MIT */
/*
 * What the files of the cpu executor share.
 *
 * Two threads.  The drain thread calls everything in the table of operations and owns handles, streams
 * and events.  The worker thread runs queued jobs one after another, first come first served
 * over all streams, which keeps every order that streams and events ask for.  They meet in `lock`:
 * the queue of jobs to run and the list of jobs done.  The PTX machine below has threads of its own.
 *
 * A job whose stream has nothing queued and that takes no time worth mentioning (no
 * launch, at most CPU_INLINE_BYTES) is done by the drain thread at once; streams may
 * overlap, so it does not matter what else is running.
 *
 * A fault is sticky: it is recorded once, and every later job ends with its status.
 */
#ifndef VGPU_EXEC_CPU_EXEC_CPU_H
#define VGPU_EXEC_CPU_EXEC_CPU_H

#include <exec/cpu/ptx.h>
#include <exec/exec.h>
#include <exec/handle.h>
#include <exec/output.h>

#include <pthread.h>

/* Copying so much takes about as long as waking the worker. */
#define CPU_INLINE_BYTES (256u << 10)

#define CPU_MAX_STREAMS   1024
#define CPU_MAX_EVENTS    VGPU_HANDLES_MAX
#define CPU_MAX_MODULES   1024
#define CPU_MAX_FUNCTIONS VGPU_HANDLES_MAX

/* The compute capability we claim: that of the GPUs whose PTX we are asked to run. */
#define CPU_COMPUTE_MAJOR 9
#define CPU_COMPUTE_MINOR 0

struct cpu_stream {
    uint32_t queued; /* jobs given to the worker and not yet polled; drain thread */
};

struct cpu_event {
    const struct vgpu_job *latest; /* its latest record, while that is queued */
    uint64_t time_ns;              /* of the latest record, 0: never recorded */
};

struct cpu_module {
    struct vgpu_ptx_module *ptx;
    struct cpu_function *functions;
};

struct cpu_function {
    struct vgpu_ptx_function *ptx;
    struct vgpu_ptx_attributes attributes;
    uint32_t handle;
    struct cpu_function *next; /* of the module */
};

struct vgpu_exec {
    /* drain thread */
    struct vgpu_exec_config cfg;
    struct vgpu_ptx_machine *machine;
    pthread_t drain_thread;
    struct vgpu_handles streams;
    struct vgpu_handles events;
    struct vgpu_handles modules;
    struct vgpu_handles functions;
    struct cpu_stream stream0;

    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t work;    /* with `lock`: `queue` is not empty, or closing */
    struct vgpu_job *queue; /* lock */
    struct vgpu_job *queue_last;
    struct vgpu_job *done; /* lock */
    struct vgpu_job *done_last;
    bool closing;      /* lock */
    bool worker_waits; /* lock */
    bool armed;        /* lock: signal wait_fd with the next job done */
    bool signalled;    /* lock: wait_fd is readable */
    int wait_fd;

    uint32_t done_count;   /* atomic: jobs on `done` */
    uint16_t fault_status; /* atomic, written once, after `fault` */
    int cancel;            /* atomic */
    uint64_t kernels;      /* atomic */
    uint64_t bytes_staged; /* atomic */
    uint64_t kernel_ns;    /* atomic */
    uint64_t unreturned;   /* atomic: quota bytes freed by another thread than the drain's */
    struct vgpu_exec_fault fault;
    struct vgpu_output output; /* has a lock of its own */
};

uint64_t cpu_now_ns(void);

/* exec_cpu_queue.c */
int cpu_queue_start(struct vgpu_exec *e);
void cpu_queue_stop(struct vgpu_exec *e);
enum vgpu_submit_result cpu_submit(struct vgpu_exec *e, struct vgpu_job *job);
size_t cpu_poll(struct vgpu_exec *e, struct vgpu_job **jobs, size_t max);
bool cpu_arm(struct vgpu_exec *e);

/* exec_cpu_job.c: carry one job out; sets job->status.  Any thread. */
void cpu_job_run(struct vgpu_exec *e, struct vgpu_job *job);

/* exec_cpu_module.c */
uint16_t cpu_module_load(struct vgpu_exec *e, const void *image, size_t bytes, char *log,
                         size_t log_room, size_t *log_bytes, uint32_t *module);
uint16_t cpu_module_unload(struct vgpu_exec *e, uint32_t module);
uint16_t cpu_func_lookup(struct vgpu_exec *e, uint32_t module, const char *name, uint32_t *function,
                         struct vgpu_func_info *info, struct vgpu_param_info *params,
                         uint32_t room);
uint16_t cpu_global_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                           struct vgpu_global_info *info);
uint16_t cpu_launch_check(struct vgpu_exec *e, const struct vgpu_cmd_launch *launch);
void cpu_modules_fini(struct vgpu_exec *e);

#endif /* VGPU_EXEC_CPU_EXEC_CPU_H */
