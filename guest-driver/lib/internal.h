/* SPDX-License-Identifier: MIT */
/*
 * libvgpu, shared declarations of its sources.
 *
 * Layers, each knowing only those below:
 *   module.c stream.c copy.c   what programs call
 *   output.c                   what kernels print
 *   host.c arena.c             memory the device can reach
 *   engine.c                   commands: submit, complete, wait
 *   sys.c                      the kernel's interface, replaceable by tests
 *
 * Locking: ctx->lock guards the engine (rings, slots), the arena and the lists; it
 * is never held while sleeping in the kernel or copying program memory.  copy.c's
 * staging pool has its own.  Lock order: stage.lock, then ctx->lock.
 *
 * A command is a slot.  The slot's number and its use count are the cookie, so a
 * completion that answers nothing is ignored.  There are as many slots as
 * submission entries: who has a slot has room in the ring, and since the
 * completion ring is at least as large, that can't overflow either.
 */
#ifndef VGPU_LIB_INTERNAL_H
#define VGPU_LIB_INTERNAL_H

#include <pthread.h>
#include <vgpu/layout.h>
#include <vgpu/libvgpu.h>

#define VGPU_DEFAULT_SQ_LOG2   10
#define VGPU_DEFAULT_ARENA     (512u << 10)
#define VGPU_DEFAULT_SPIN_US   50
#define VGPU_ARENA_SMALL_BYTES 256u
#define VGPU_ARENA_LARGE_BYTES 4096u
#define VGPU_STAGE_BYTES       (512u << 10)
#define VGPU_STAGE_PIECES      4
#define VGPU_REGISTER_MIN      (2u << 20) /* shorter copies are staged */

/* How the library reaches the kernel. */
struct vgpu_sys {
    int (*open)(void *opaque, const char *path);
    int (*close)(void *opaque, int fd);
    int (*ioctl)(void *opaque, int fd, unsigned long cmd, void *arg);            /* 0 or -errno */
    void *(*map)(void *opaque, int fd, size_t bytes, int prot, uint64_t offset); /* or NULL */
    void (*unmap)(void *opaque, void *addr, size_t bytes);
    void *opaque;
};

extern const struct vgpu_sys vgpu_sys_kernel;

/* Where a detached command's failure is remembered until somebody synchronises. */
struct async_error {
    uint16_t status;
};

#define SLOT_NONE  0xffffffffu
#define ARENA_NONE 0xffffffffu

/* A command somebody waits for; lives on the waiter's stack, see engine_forget(). */
struct waiter {
    uint32_t slot;
    bool done;
    struct vgpu_cqe cqe;
};

/* What a command nobody waits for leaves behind: each may be absent. */
struct detached {
    uint32_t arena_off; /* parameter block to give back, or ARENA_NONE */
    struct async_error *error;
    struct vgpu_event *event;
    uint32_t event_seq;
};

struct slot {
    uint32_t uses;
    uint32_t next_free;
    bool busy;
    struct waiter *waiter; /* NULL: detached */
    struct detached det;
};

/* Blocks of one size, free ones in a stack. */
struct arena_class {
    uint32_t block_bytes;
    uint32_t first_off;
    uint32_t nfree;
    uint32_t nblocks;
    uint32_t *free;
};

struct vgpu_ctx {
    struct vgpu_sys sys;
    int fd;
    unsigned int fork_count; /* vgpu_fork_count() when it was opened */
    struct vgpu_info info;
    struct vgpu_queue_setup setup;
    bool always_stage;
    bool never_sleep;
    uint32_t spin_max_ns;
    uint32_t spin_ns; /* adaptive; a hint, relaxed accesses */

    pthread_mutex_t lock;

    /* mapped by the kernel */
    volatile struct vgpu_queue_ro *ro;
    const volatile struct vgpu_cqe *cq;
    volatile struct vgpu_queue_rw *rw;
    volatile struct vgpu_sqe *sq;
    volatile uint32_t *doorbell;
    uint8_t *arena;

    uint32_t sq_mask, cq_mask;
    uint32_t sq_prod; /* lock */
    uint32_t cq_cons; /* lock; read without as a hint */
    struct slot *slots;
    uint32_t nslots, free_slot;
    bool broken; /* the completion index was impossible */
    bool doomed; /* a completion said that the context is lost; atomic */
    struct arena_class small, large;
    uint32_t arena_waiters;

    struct async_error default_error; /* of the default stream; lock, as all of them */
    struct vgpu_stream *streams;
    struct vgpu_event *events;
    struct vgpu_module *modules;
    struct vgpu_host *hosts;

    struct {
        pthread_mutex_t lock; /* of reading; taken before ctx->lock */
        vgpu_output_fn *fn;   /* lock */
        void *opaque;         /* lock */
        uint64_t launches;    /* of kernels that may print; atomic */
        uint64_t read;        /* the text of so many is out; atomic, written under lock */
    } output;

    struct {
        pthread_mutex_t lock;
        pthread_cond_t freed;
        struct vgpu_host *host;
        uint32_t free_mask;
    } stage;
};

struct vgpu_host {
    struct vgpu_ctx *ctx;
    struct vgpu_host *next;
    uint8_t *addr;
    size_t bytes;
    uint32_t buf;
    uint32_t flags;
    bool allocated;
    bool is_private; /* the library's own: not found by address */
};

struct vgpu_stream {
    struct vgpu_ctx *ctx;
    struct vgpu_stream *next;
    uint32_t id;
    struct async_error error;
};

struct vgpu_event {
    struct vgpu_ctx *ctx;
    struct vgpu_event *next;
    uint32_t id;
    uint32_t seq;      /* records submitted */
    uint32_t done_seq; /* records completed */
};

/* ---- sys.c ---- */
unsigned int vgpu_fork_count(void);
int vgpu_open_sys(const struct vgpu_sys *sys, const char *path, const struct vgpu_options *options,
                  struct vgpu_ctx **out);

/* ---- status.c ---- */
int vgpu_fail(uint16_t status); /* remembers it, returns its errno */
bool vgpu_status_is_lost(uint16_t status);
int vgpu_fail_errno(int err); /* no status: remembers that; returns err */
int vgpu_fail_lost(struct vgpu_ctx *ctx);

/* ---- engine.c ---- */
int engine_init(struct vgpu_ctx *ctx);
void engine_fini(struct vgpu_ctx *ctx);
int engine_check(struct vgpu_ctx *ctx) __attribute__((warn_unused_result));
bool engine_is_lost(const struct vgpu_ctx *ctx);

int engine_submit(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, struct waiter *waiter)
    __attribute__((warn_unused_result));
int engine_submit_detached(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe,
                           const struct detached *det) __attribute__((warn_unused_result));
int engine_wait_for(struct vgpu_ctx *ctx, struct waiter *waiter)
    __attribute__((warn_unused_result));
int engine_wait(struct vgpu_ctx *ctx, bool (*is_done)(struct vgpu_ctx *, const void *),
                const void *arg) __attribute__((warn_unused_result));
int engine_run(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
    __attribute__((warn_unused_result));

/* ---- arena.c: blocks of at most VGPU_ARENA_LARGE_BYTES ---- */
int arena_init(struct vgpu_ctx *ctx);
void arena_fini(struct vgpu_ctx *ctx);
int arena_alloc(struct vgpu_ctx *ctx, uint32_t bytes, uint32_t *off)
    __attribute__((warn_unused_result));
void arena_free(struct vgpu_ctx *ctx, uint32_t off);
void arena_free_locked(struct vgpu_ctx *ctx, uint32_t off);

/* ---- host.c ---- */
int host_alloc(struct vgpu_ctx *ctx, size_t bytes, bool is_private, struct vgpu_host **out);
struct vgpu_host *host_find(struct vgpu_ctx *ctx, const void *addr, size_t bytes, uint32_t flags,
                            uint64_t *offset);
void host_forget_all(struct vgpu_ctx *ctx);

/* ---- copy.c ---- */
int copy_init(struct vgpu_ctx *ctx);
void copy_fini(struct vgpu_ctx *ctx);

/* ---- module.c ---- */
void module_forget_all(struct vgpu_ctx *ctx);

/* ---- output.c ---- */
void output_init(struct vgpu_ctx *ctx);
void output_fini(struct vgpu_ctx *ctx);
void output_launched(struct vgpu_ctx *ctx); /* a kernel that may print was submitted */
uint64_t output_mark(struct vgpu_ctx *ctx); /* to be taken before waiting */
/* Hands out the text, if there may be any of launches before @mark.  @all_ended: all of those
 * have ended.  Keeps vgpu_last_status(). */
void output_flush(struct vgpu_ctx *ctx, uint64_t mark, bool all_ended);

/* ---- stream.c ---- */
uint32_t stream_id(const struct vgpu_stream *stream);
struct async_error *stream_error(struct vgpu_ctx *ctx, struct vgpu_stream *stream);
void stream_forget_all(struct vgpu_ctx *ctx);

#endif
