/* SPDX-License-Identifier: MIT */
/*
 * A CUDA driver library without a GPU.
 *
 * Theory of operation.  libcuda.so.1 built from here lets the whole cuda executor run in CI: it has
 * the functions of exec/cuda/cu.h, computes with the project's own PTX machine, and is otherwise
 * written from NVIDIA's public driver API documentation (the chapter each function follows is
 * named at its definition), not from what our executor happens to do.  What matters of the real
 * one is kept:
 *
 *   - calls on a stream return before the work is done; each stream is a thread with a queue;
 *   - copies from pageable memory may run before the call returns, those from page-locked memory run
 *     in stream order, so a program that reuses its buffer early is found out;
 *   - an error of asynchronous work surfaces in some later call, and one that the documentation calls
 *     sticky is returned by every later call of the context;
 *   - a kernel that hangs hangs: nothing but the process's death ends it.
 *
 * A fault plan (fake_plan.c) makes chosen calls fail, stall, or kill the process.
 *
 * Locking: one lock per context guards its streams, events and tables; the PTX machine has locks of
 * its own.  Stream threads hold no lock while they execute.
 */
#ifndef VGPU_FAKECUDA_FAKE_H
#define VGPU_FAKECUDA_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <exec/cpu/ptx.h>
#include <exec/cuda/cu.h>

/* Results the executor has no name for, but a driver returns. */
#define FAKE_ERROR_NOT_INITIALIZED                3
#define FAKE_ERROR_DEINITIALIZED                  4
#define FAKE_ERROR_INVALID_CONTEXT                201
#define FAKE_ERROR_OPERATING_SYSTEM               304
#define FAKE_ERROR_HOST_MEMORY_ALREADY_REGISTERED 712
#define FAKE_ERROR_HOST_MEMORY_NOT_REGISTERED     713

#define FAKE_EXPORT __attribute__((visibility("default")))

/* One cuEventRecord() call: what waits and queries refer to. Counted references. */
struct fake_record {
    unsigned int refs;
    bool done;
    uint64_t time_ns;
};

enum fake_op_kind { FAKE_COPY, FAKE_SET, FAKE_LAUNCH, FAKE_RECORD, FAKE_WAIT };

struct fake_op {
    struct fake_op *next;
    enum fake_op_kind kind;
    /* COPY: host or device sides */
    void *host_dst;
    const void *host_src;
    uint64_t dev_dst, dev_src;
    size_t bytes;
    void *owned; /* a snapshot of pageable memory, freed with the op */
    /* SET */
    uint32_t value, width;
    /* LAUNCH */
    struct vgpu_ptx_launch launch;
    uint8_t params[4096];
    /* RECORD, WAIT */
    struct fake_record *record;
};

struct CUstream_st {
    struct CUctx_st *ctx;
    struct CUstream_st *next;
    pthread_t thread;
    pthread_cond_t changed;
    struct fake_op *first, *last;
    bool running; /* an op is being executed */
    bool closing;
    bool blocking; /* synchronises with the null stream */
};

struct CUevent_st {
    struct CUctx_st *ctx;
    unsigned int flags;
    struct fake_record *latest; /* NULL: never recorded */
};

struct CUfunc_st {
    struct CUfunc_st *next;
    struct CUmod_st *module;
    struct vgpu_ptx_function *ptx;
    uint32_t max_dynamic_shared;
};

struct CUmod_st {
    struct CUctx_st *ctx;
    struct vgpu_ptx_module *ptx;
    struct CUfunc_st *functions;
};

struct fake_range {
    struct fake_range *next;
    uintptr_t start;
    size_t bytes;
    bool allocated; /* by cuMemHostAlloc, else registered */
};

/* What one call of printf printed; it takes PRINT_RECORD_BYTES of the FIFO. */
struct fake_text {
    struct fake_text *next;
    size_t bytes;
    char text[];
};

struct fake_print {
    pthread_mutex_t lock; /* its own: kernels print while others hold the context's */
    struct fake_text *first, *last;
    size_t count;
    size_t limit; /* bytes, CU_LIMIT_PRINTF_FIFO_SIZE */
    bool used;
};

/* The device's, and how many threads each of them holds. */
#define FAKE_PROCESSORS 2
#define FAKE_THREADS    2048
/* CU_LIMIT_MALLOC_HEAP_SIZE at first. */
#define FAKE_HEAP_BYTES (8u << 20)
/* Stack and local memory of a thread that a context has memory for at first. */
#define FAKE_STACK_BYTES 1024u

struct CUctx_st {
    pthread_mutex_t lock;
    pthread_cond_t progress; /* some op was finished */
    struct vgpu_ptx_machine *machine;
    struct CUstream_st *streams;
    struct CUstream_st *null_stream;
    struct fake_range *pinned;
    CUresult sticky;
    struct CUctx_st *below; /* in the thread's stack of contexts */
    int cancel;             /* the context is being destroyed: kernels end */
    CUdevice device;
    struct fake_print print;
    uint32_t local_bytes; /* of a thread, for which memory is reserved; 0: as at first */
    size_t heap_bytes;    /* CU_LIMIT_MALLOC_HEAP_SIZE */
    bool has_heap;        /* ... is memory: a module that may use it has been loaded */
    bool has_fifo;        /* the same of the printf FIFO */
    uint64_t records;     /* events that have happened (lock) */
};

/* The plan's order to say "success" and do nothing.  Only calls that enter by FAKE_ENTER know it. */
#define FAKE_SKIP (-1)

/* fake_plan.c: what the plan says of this call; CUDA_SUCCESS to go on. */
CUresult fake_plan(const char *function);
bool fake_is_sticky(CUresult result);

/* fake_device.c */
/* A setting of the environment, else of the file beside the library; NULL: not set. */
const char *fake_setting(const char *name);
extern _Thread_local struct CUctx_st *fake_current;
CUresult fake_enter(const char *function, struct CUctx_st **ctx);
/* A call that destroys an object of this context, which it does also if the context is lost.  False: it
 * does nothing and returns *result. */
bool fake_enter_destroy(const char *function, struct CUctx_st *ctx, CUresult *result);
/* What a driver sets up when it is needed first. */
enum fake_part {
    FAKE_JIT,
    FAKE_KERNELS,
    FAKE_TO_DEVICE,
    FAKE_FROM_DEVICE,
    FAKE_FILLS,
    FAKE_PINNING,
    FAKE_REGISTERING,
    FAKE_WAITING,
    FAKE_PARTS
};
CUresult fake_use(enum fake_part part);
uint64_t fake_memory_bytes(void);
bool fake_registers_read_only(void);
/* Memory that the context's pool of local memory has grown by. */
uint64_t fake_local_bytes(const struct CUctx_st *ctx);
/* All that the context takes of the device's memory. */
uint64_t fake_used_bytes(struct CUctx_st *ctx);
bool fake_has_room(struct CUctx_st *ctx, uint64_t bytes);
/* Seconds by which all events but the first of a context are later. */
uint64_t fake_idle_ns(void);
/* Have memory for `bytes` of a thread. */
CUresult fake_local_resize(struct CUctx_st *ctx, uint32_t bytes);
uint64_t fake_contexts_bytes(void);
uint64_t fake_now_ns(void);

/* fake_stream.c */
struct CUstream_st *fake_stream_open(struct CUctx_st *ctx, bool blocking);
void fake_stream_close(struct CUstream_st *stream);
/* Queue an op (takes ownership; `op` NULL: out of memory). */
CUresult fake_enqueue(struct CUctx_st *ctx, CUstream stream, struct fake_op *op);
CUresult fake_wait_idle(struct CUctx_st *ctx, struct CUstream_st *stream);
void fake_lose(struct CUctx_st *ctx, CUresult error);
void fake_record_put(struct fake_record *record);

/* fake_print.c */
void fake_print_open(struct CUctx_st *ctx);
void fake_print_close(struct CUctx_st *ctx);
void fake_print_put(void *ctx, const char *text, size_t bytes);
CUresult fake_print_limit(struct CUctx_st *ctx, size_t bytes);
/* To standard output, in the calls that are documented to do so. */
void fake_print_flush(struct CUctx_st *ctx);

/* fake_memory.c */
void fake_pinned_free(struct CUctx_st *ctx);

#define FAKE_ENTER(ctx)                                                                            \
    do {                                                                                           \
        CUresult entered = fake_enter(__func__, &(ctx));                                           \
        if (entered != CUDA_SUCCESS)                                                               \
            return entered == FAKE_SKIP ? CUDA_SUCCESS : entered;                                  \
    } while (0)

#define FAKE_USE(part)                                                                             \
    do {                                                                                           \
        CUresult usable = fake_use(part);                                                          \
        if (usable != CUDA_SUCCESS)                                                                \
            return usable;                                                                         \
    } while (0)

/* The functions have no header of their own: declared here so that the compiler compares them
 * with the executor's view. */
#define FAKE_DECLARE(symbol, args) CUresult symbol args;
VGPU_CU_REQUIRED(FAKE_DECLARE)
VGPU_CU_OPTIONAL(FAKE_DECLARE)
#undef FAKE_DECLARE

#endif /* VGPU_FAKECUDA_FAKE_H */
