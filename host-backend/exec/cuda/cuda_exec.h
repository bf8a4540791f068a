/* SPDX-License-Identifier: MIT */
/*
 * The cuda executor's own structures.
 *
 * Theory of operation.  One exec process has one CUDA context, created in open() and
 * destroyed by the process's end: CUDA documents that after a sticky error "the process must be
 * terminated", so nothing here tries to recover one.  The drain thread makes every CUDA call
 * except one: waiter threads (cuda_wait.c), one per stream that was ever waited for, block in
 * cuEventSynchronize() while the drain sleeps and write the wake eventfd.  A guard thread
 * (cuda_guard.c) enforces deadlines while the drain is blocked in a call.
 *
 * Jobs.  A stream's jobs pass through two FIFOs: `pending` (accepted, not issued: behind a
 * staged copy or an event that is itself not issued yet) and `issued` (given to CUDA).  Completion
 * is learned from *marks*: a mark is an event recorded behind all jobs issued so far; when it has
 * happened, all of them are done.  Marks are recorded when the drain polls, not per job, so a burst of
 * launches costs one event.
 *
 * Copies from and to guest buffers are direct where CUDA accepted the buffer's memory
 * (cuMemHostRegister, of that buffer's pages and nothing else), else they go through one pair of
 * pinned bounce slots (cuda_copy.c).
 *
 * Locking: the waiters' and the guard's; everything else belongs to the drain thread.
 */
#ifndef VGPU_EXEC_CUDA_EXEC_H
#define VGPU_EXEC_CUDA_EXEC_H

#include <pthread.h>
#include <stdatomic.h>
#include <exec/cuda/cu.h>
#include <exec/exec.h>
#include <exec/output.h>

#define CUDA_MAX_STREAMS   256
#define CUDA_MAX_EVENTS    4096
#define CUDA_MAX_MODULES   1024
#define CUDA_MAX_FUNCTIONS 65536
#define CUDA_MAX_ALLOCS    65536
#define CUDA_MAX_MARKS     16
#define CUDA_BOUNCE_SLOTS  2
#define CUDA_BOUNCE_BYTES  (256u << 10)
#define CUDA_SCRATCH_BYTES (4u << 20)
#define CUDA_BIG_BYTES     (1ull << 20) /* from here CUDA gives an allocation pages of its own */
#define CUDA_PAGE_BYTES    (2ull << 20) /* what it takes device memory in */
#define CUDA_STACK_BYTES   (1u << 10)   /* of a thread; the driver's own default, too */
#define CUDA_HEAP_BYTES    (8u << 20)   /* for malloc in kernels */
#define CUDA_SMALL_BYTES   512u         /* what small allocations are rounded to */

/* Growing table from nonzero 32-bit handles to pointers; slot = handle - 1. */
struct cuda_table {
    void **slots;
    uint32_t count; /* slots in use or freed */
    uint32_t room;
    uint32_t max;
    uint32_t live;
    uint32_t search; /* no slot below is free */
};

/* 0 when full or out of memory. */
uint32_t cuda_table_add(struct cuda_table *table, void *object);
void *cuda_table_get(const struct cuda_table *table, uint32_t handle);
void cuda_table_remove(struct cuda_table *table, uint32_t handle);
void cuda_table_free(struct cuda_table *table);

struct cuda_alloc {
    CUdeviceptr addr;
    uint64_t bytes;   /* as asked */
    uint64_t counted; /* bytes taken from the quota on its own account; 0 if small */
};

/* What an image takes, as cuda_image_needs() says. */
struct cuda_image_needs {
    uint64_t
        bytes; /* of device memory, for code, constants and variables; UINT64_MAX: can't be told */
    bool prints, mallocs; /* its kernels may call printf, or malloc */
};

struct cuda_module {
    CUmodule cu;
    struct cuda_image_needs needs;
    uint64_t counted; /* as in struct cuda_alloc */
    bool heap;        /* the heap was counted for it: the first module that uses one */
    char *ptx;        /* text, kept for parameter layouts where the driver can't tell; or NULL */
};

struct cuda_function {
    CUfunction cu;
    char *name; /* for messages */
    uint32_t module;
    struct vgpu_func_info info;
    struct vgpu_param_info *params; /* info.param_count of them */
    uint32_t dynamic_shared;        /* limit set in the driver so far */
    bool launched;                  /* before: the driver may still have to load its code */
};

/* One EVENT_RECORD, with a CUDA event of its own (cuda_event.c). */
struct cuda_record {
    CUevent cu;
    unsigned int
        refs;     /* of the event it is the latest of, its job, jobs that wait for it, `measured` */
    bool issued;  /* given to CUDA ... */
    bool refused; /* ... which did not take it: nothing waits for it */
    bool seen;    /* its job is reported: time_ns holds */
    uint64_t time_ns;
    struct cuda_record *next_free, *next_made;
};

struct cuda_event {
    struct cuda_record *latest; /* NULL: never recorded */
};

struct cuda_fifo {
    struct vgpu_job *first;
    struct vgpu_job *last;
};

void cuda_fifo_push(struct cuda_fifo *fifo, struct vgpu_job *job);
struct vgpu_job *cuda_fifo_pop(struct cuda_fifo *fifo);

struct cuda_mark {
    CUevent cu;
    struct vgpu_job *last; /* last job the mark covers */
    bool prints;           /* a kernel among them may have printed */
};

struct cuda_waiter {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    CUevent target; /* what the thread waits for, NULL: nothing (lock) */
    bool started, stop;
};

struct cuda_bounce_slot {
    uint8_t *memory; /* pinned */
    CUevent done;    /* the slot's last transfer */
    bool in_flight;
    bool to_guest; /* its piece is written to the guest when it has arrived */
    uint64_t off;  /* of the piece in the slot, within the copy */
    uint32_t bytes;
};

/* Device memory through which overlapping copies go; one that no stream has is in a list. */
struct cuda_scratch {
    CUdeviceptr memory;
    struct cuda_scratch *next;
};

/* A stream's way for copies that can't be direct, and the one that is under way. */
struct cuda_staged {
    struct cuda_bounce_slot slots[CUDA_BOUNCE_SLOTS];
    struct vgpu_job *job; /* NULL: none */
    uint64_t issued;      /* bytes given to CUDA */
    uint64_t landed;      /* D2H: bytes written to the guest */
    uint32_t next;        /* slot to use next */
};

struct cuda_stream {
    CUstream cu;
    uint32_t inflight; /* jobs in both FIFOs */
    uint32_t unmarked; /* issued behind the newest mark ... */
    bool prints;       /* ... a kernel that may print among them */
    struct cuda_fifo pending;
    struct cuda_fifo issued;
    struct cuda_mark marks[CUDA_MAX_MARKS];
    uint32_t mark_prod, mark_cons; /* free-running */
    uint64_t busy_since_ns;        /* host time when it became busy, 0: idle */
    uint64_t head_since_ns;        /* host time when its oldest mark became the oldest */
    uint64_t recorded_ns;          /* the latest time told of an event in it */
    struct cuda_stream *next_busy, *prev_busy;
    bool busy;
    struct cuda_staged staged;
    struct cuda_scratch *scratch; /* NULL: it has had no overlapping copy */
    struct cuda_waiter waiter;
};

/* See cuda_guard.c. */
struct cuda_guard {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t deadline_ns;         /* 0: the drain is in no guarded call (lock) */
    struct vgpu_exec_fault fault; /* what to report then (lock) */
    bool stop;                    /* (lock) */
    bool started;
};

/* See cuda_print.c. */
struct cuda_print {
    struct vgpu_output output;
    pthread_t thread;
    pthread_mutex_t lock;
    char *text;   /* read from the pipe, not in `output` yet (lock) */
    size_t used;  /* bytes of it (lock) */
    int read_fd;  /* the pipe's reading end, non-blocking (lock, but for polling) */
    int saved_fd; /* what standard output was before */
    bool usable;  /* lock and output are made ... */
    bool started; /* ... and the thread runs */
};

struct vgpu_exec {
    struct vgpu_exec_config cfg;
    struct vgpu_cu cu;
    CUdevice device;
    CUcontext context;
    int wake_fd;  /* eventfd the waiters write */
    int timer_fd; /* fires when the running kernel that has least time left exceeds its deadline */
    int wait_fd;  /* epoll of both: what the drain sleeps on */
    bool registers_read_only; /* the driver can register memory that this process may only read */

    /* memory: sorted by address */
    struct cuda_alloc *allocs;
    uint32_t alloc_count, alloc_room;
    uint64_t small_bytes;   /* sum of small allocations ... */
    uint64_t small_counted; /* ... and what the quota holds for them */
    uint64_t held;
    uint32_t local_bytes; /* of a thread, for which the driver has reserved device memory */
    uint32_t resident_threads;
    bool heap_counted; /* of malloc in kernels */

    struct cuda_table modules, functions, streams, events;
    struct cuda_stream *default_stream;
    CUstream chores; /* the executor's own work, which must not wait for a guest's kernel */
    struct cuda_guard guard;
    struct cuda_print print;
    struct cuda_stream *busy; /* list of streams with jobs */

    struct cuda_scratch *free_scratch; /* of streams that were destroyed */

    struct cuda_record *records, *free_records; /* all that were made; those in no use */
    struct cuda_record *measured; /* its time was told last: the next one is measured from it */

    struct cuda_fifo done; /* for poll() */
    bool faulted;
    struct vgpu_exec_fault fault;
    uint64_t kernel_ns, kernels, bytes_staged;
    int32_t priority_least, priority_greatest;
    struct vgpu_device_props props;
};

/* cuda_open.c */
uint64_t cuda_now_ns(void);
/* CUresult -> VGPU_ST_*; a sticky one becomes the executor's fault, naming `what`. */
uint16_t cuda_status(struct vgpu_exec *exec, CUresult result, const char *what);
/* As cuda_status(), for a result that can only mean the context is broken. */
void cuda_lose(struct vgpu_exec *exec, CUresult result, const char *what);
/*
 * What the driver answered when it was given something back that nobody will ask for again.  These calls "may
 * also return error codes from previous, asynchronous launches"; and what they keep for reasons of their own
 * stays the GPU's.  Any failure loses the context, whose end is what gives everything back.
 */
void cuda_release(struct vgpu_exec *exec, CUresult result, const char *what);
/* Of a call that the executor can do without: only a sticky error loses the context. */
void cuda_heed(struct vgpu_exec *exec, CUresult result, const char *what);
/* Select a device by UUID ("GPU-..." or "MIG-...") or PCI address; NULL takes the only one. 0 or -errno. */
int cuda_choose_device(const struct vgpu_cu *cu, const char *want, CUdevice *device, char *why,
                       size_t why_bytes);

/* A context in which nothing has run: open() without cuda_warm_up(). */
int cuda_open_cold(const struct vgpu_exec_config *cfg, struct vgpu_exec **out, char *why,
                   size_t why_bytes);
/* close() that tells: 0, or -EIO and why the context was lost, at the latest by what it gave back. */
int cuda_shut(struct vgpu_exec *exec, char *why, size_t why_bytes);

/* cuda_warm.c: have the driver load and start all it needs, and see that it computes.  0, or -EIO with
 * the reason. */
int cuda_warm_up(struct vgpu_exec *exec, char *why, size_t why_bytes);

/* cuda_mem.c */
uint16_t cuda_mem_alloc(struct vgpu_exec *exec, uint64_t bytes, uint64_t *addr);
uint16_t cuda_mem_free(struct vgpu_exec *exec, uint64_t addr);
uint64_t cuda_mem_held(struct vgpu_exec *exec);
/* For what the context itself takes.  0 or -EDQUOT. */
int cuda_mem_open(struct vgpu_exec *exec);
/* For kernels with `bytes` of local memory a thread; false: the quota has no room. */
bool cuda_mem_local(struct vgpu_exec *exec, uint32_t bytes);
/* Quota for what a module takes, and its heap if its kernels use one.  False: there is no room. */
bool cuda_mem_module(struct vgpu_exec *exec, struct cuda_module *module);
void cuda_mem_module_gone(struct vgpu_exec *exec, const struct cuda_module *module);
/* CUDA did not load it: it has no heap either, which is made while a module is loaded and then
 * stays. */
void cuda_mem_module_refused(struct vgpu_exec *exec, struct cuda_module *module);
/* Quota that is kept to the end; false: there is no room. */
bool cuda_mem_take(struct vgpu_exec *exec, uint64_t bytes);
/* But for what CUDA then refused. */
void cuda_mem_give(struct vgpu_exec *exec, uint64_t bytes);
/* True if [addr, addr + bytes) lies inside one allocation, or one module variable. */
bool cuda_mem_valid(struct vgpu_exec *exec, uint64_t addr, uint64_t bytes);
/* Module variables are memory too: remember and forget them. False when out of memory. */
bool cuda_mem_adopt(struct vgpu_exec *exec, uint64_t addr, uint64_t bytes, uint32_t module);
void cuda_mem_disown(struct vgpu_exec *exec, uint32_t module);

/* cuda_module.c */
uint16_t cuda_module_load(struct vgpu_exec *exec, const void *image, size_t bytes, char *log,
                          size_t log_room, size_t *log_bytes, uint32_t *module);
uint16_t cuda_module_unload(struct vgpu_exec *exec, uint32_t module);
uint16_t cuda_func_lookup(struct vgpu_exec *exec, uint32_t module, const char *name,
                          uint32_t *function, struct vgpu_func_info *info,
                          struct vgpu_param_info *params, uint32_t room);
uint16_t cuda_global_lookup(struct vgpu_exec *exec, uint32_t module, const char *name,
                            struct vgpu_global_info *info);
void cuda_function_free(struct cuda_function *func);
uint16_t cuda_launch_check(struct vgpu_exec *exec, const struct vgpu_cmd_launch *launch);

/* cuda_stream.c */
uint16_t cuda_stream_create(struct vgpu_exec *exec, int32_t priority, uint32_t *stream);
uint16_t cuda_stream_destroy(struct vgpu_exec *exec, uint32_t stream);
bool cuda_stream_exists(struct vgpu_exec *exec, uint32_t stream);
struct cuda_stream *cuda_stream_get(struct vgpu_exec *exec, uint32_t stream);
struct cuda_stream *cuda_stream_open(struct vgpu_exec *exec, int32_t priority, CUresult *result);
void cuda_stream_close(struct vgpu_exec *exec, struct cuda_stream *stream);

/* cuda_event.c */
uint16_t cuda_event_create(struct vgpu_exec *exec, uint32_t *event);
uint16_t cuda_event_query(struct vgpu_exec *exec, uint32_t event, uint64_t *time_ns);
uint16_t cuda_event_destroy(struct vgpu_exec *exec, uint32_t event);
/* A new record, the event's latest from now on, with a reference for the caller. */
CUresult cuda_record_open(struct vgpu_exec *exec, struct cuda_event *event,
                          struct cuda_record **record);
/* References; NULL is allowed. */
struct cuda_record *cuda_record_get(struct cuda_record *record);
void cuda_record_put(struct vgpu_exec *exec, struct cuda_record *record);
/* The record's job, of this stream, is being reported; false: CUDA refused it. */
void cuda_record_see(struct vgpu_exec *exec, struct cuda_stream *stream, struct cuda_record *record,
                     bool happened);
void cuda_records_close(struct vgpu_exec *exec);
/* Make the first record, to measure from; to be done before the guest's first command.  0, or -EIO
 * and why. */
int cuda_time_open(struct vgpu_exec *exec, CUresult *result);

/* cuda_job.c */
/* When the oldest work of the stream exceeds the deadline, in ns of the host's clock; UINT64_MAX: never. */
uint64_t cuda_stream_deadline(const struct vgpu_exec *exec, const struct cuda_stream *stream);
/* Whose fault an asynchronous error may be: CUDA does not tell, but with one command in flight
 * there is no doubt.  False if none is. */
bool cuda_job_suspects(const struct vgpu_exec *exec, char *text, size_t bytes);
/* The fault of a launch that exceeded its deadline. */
void cuda_deadline_fault(struct vgpu_exec *exec, const struct vgpu_job *job,
                         struct vgpu_exec_fault *fault);
enum vgpu_submit_result cuda_submit(struct vgpu_exec *exec, struct vgpu_job *job);
size_t cuda_poll(struct vgpu_exec *exec, struct vgpu_job **jobs, size_t max);

/* cuda_copy.c */
enum cuda_copy_way { CUDA_COPY_DIRECT, CUDA_COPY_STAGED };
enum cuda_copy_way cuda_copy_choose(struct vgpu_exec *exec, struct vgpu_job *job);
CUresult cuda_copy_direct(struct vgpu_exec *exec, struct cuda_stream *stream, struct vgpu_job *job);
CUresult cuda_copy_d2d(struct vgpu_exec *exec, struct cuda_stream *stream,
                       const struct vgpu_job_d2d *copy);
void cuda_copy_start(struct cuda_stream *stream, struct vgpu_job *job);
/* Move the stream's staged copy on as far as it goes now.  True once it is finished (all issued;
 * D2H: all landed): *result tells how, and its job belongs to the caller. */
bool cuda_copy_advance(struct vgpu_exec *exec, struct cuda_stream *stream, CUresult *result);
/* The stream is being closed. */
void cuda_copy_fini(struct vgpu_exec *exec, struct cuda_stream *stream);
/* Frees the scratch memory of streams that are gone. */
void cuda_scratch_close(struct vgpu_exec *exec);
bool cuda_buf_detach(struct vgpu_exec *exec, struct vgpu_gbuf *buf);

/* cuda_wait.c */
bool cuda_arm(struct vgpu_exec *exec);
int cuda_wait_fd(struct vgpu_exec *exec);
int cuda_wait_init(struct vgpu_exec *exec);
void cuda_wait_fini(struct vgpu_exec *exec);
void cuda_waiter_stop(struct cuda_waiter *waiter);
/* True while the waiter may still be looking at this event. */
bool cuda_waiter_holds(struct cuda_waiter *waiter, CUevent event);

/* cuda_guard.c: around driver calls that may wait for kernels. Not nestable. */
void cuda_guard_enter(struct vgpu_exec *exec);
void cuda_guard_leave(struct vgpu_exec *exec);
void cuda_guard_stop(struct vgpu_exec *exec);

/* cuda_print.c: the process's standard output becomes the executor's.  0 or -errno; to be closed
 * also after a failure, and then does nothing if it was never opened. */
int cuda_print_open(struct cuda_print *print);
void cuda_print_close(struct cuda_print *print);
/* Have the text written that kernels before this event printed; the event has happened. */
void cuda_print_collect(struct vgpu_exec *exec, CUevent happened);
size_t cuda_output_read(struct vgpu_exec *exec, void *buf, size_t room, uint64_t *lost);

/* cuda_image.c */
enum cuda_image_kind { CUDA_IMAGE_BAD, CUDA_IMAGE_TEXT, CUDA_IMAGE_ELF, CUDA_IMAGE_FATBIN };
/* What the bytes are, and that the sizes they state lie inside them. */
enum cuda_image_kind cuda_image_check(const void *image, size_t bytes);
/*
 * What a checked image (text: NUL-terminated) will take.  Variables and constants are counted as declared; code as a cubin's
 * sections say, of PTX, which is not compiled yet, as long as its text.  Of a fatbin the entry that takes most counts,
 * and what its entries can't be seen to do is taken as done.
 */
void cuda_image_needs(enum cuda_image_kind kind, const void *image, size_t bytes,
                      struct cuda_image_needs *needs);
/* Parameters of kernel `name` from PTX text: their number (at most `max`), or -1 if not found. */
int cuda_image_params(const char *ptx, const char *name, struct vgpu_param_info *params,
                      unsigned int max);

/* cuda_probe.c */
int cuda_props(const struct vgpu_cu *cu, CUdevice device, const struct vgpu_exec_config *cfg,
               struct vgpu_device_props *props, char *why, size_t why_bytes);
int cuda_probe(const struct vgpu_exec_config *cfg, struct vgpu_device_props *props,
               uint64_t *context_bytes, char *why, size_t why_bytes);

#endif /* VGPU_EXEC_CUDA_EXEC_H */
