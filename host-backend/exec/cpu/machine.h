// SPDX-License-Identifier: MIT
/*
 * Internal: the machine, its modules and a running launch.
 *
 * Locks, outermost first: launch_lock (one launch at a time), pool.lock (hand-over between the launching thread and
 * the workers), run.lock (fault record, printing), mem.lock. A module is immutable once loaded.
 */
#ifndef VGPU_EXEC_CPU_MACHINE_H
#define VGPU_EXEC_CPU_MACHINE_H

#include "decode.h"
#include "mem.h"

#include <pthread.h>

#define PTX_MAX_IMAGE_BYTES (256u << 20)
#define PTX_RESIDENT_MAX    64u /* blocks that one worker keeps going when they wait for each other */
#define PTX_RESERVED_BYTES  1024u /* of shared memory, for cooperative groups; as many as on a GPU */
#define PTX_SPIN_ROUNDS     4u

struct ptx_pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t *threads;
    uint32_t count;
    uint32_t busy;
    uint64_t generation;
    struct ptx_run *run;
    bool quit;
};

struct vgpu_ptx_machine {
    struct vgpu_ptx_options options;
    const struct ptx_engine *engine;
    enum vgpu_ptx_isa isa;
    struct ptx_mem mem;
    pthread_mutex_t launch_lock;
    pthread_mutex_t print_lock;
    struct ptx_pool pool;
    uint64_t launches;
};

struct vgpu_ptx_function {
    struct vgpu_ptx_module *module;
    struct ptx_func *func;
};

struct vgpu_ptx_module {
    struct vgpu_ptx_machine *machine;
    struct vgpu_arena arena;
    struct ptx_module_ir **inputs;
    uint32_t input_count;
    struct vgpu_map
        names; /* of functions and variables that other inputs and callers see: struct ptx_sym */
    struct ptx_func **funcs; /* by index */
    uint32_t func_count;
    struct vgpu_ptx_function *kernels;
    uint32_t kernel_count;
    uint32_t code_count;
    uint32_t const_bytes;
    bool may_print;     /* vprintf is declared in it */
    bool asks_reserved; /* its kernels have reserved shared memory behind their own */
    uint32_t dynamic_align;
    uint64_t *allocations;
    uint32_t allocation_count, allocation_capacity;
};

/* One launch. */
struct ptx_run {
    struct vgpu_ptx_machine *machine;
    struct vgpu_ptx_module *module;
    const struct ptx_func *func;
    const struct ptx_code *code;
    const struct ptx_engine *engine;
    uint32_t grid[3], block[3];
    uint32_t threads, warps;
    uint32_t shared_bytes, dynamic_bytes, dynamic_base;
    uint32_t own_shared_bytes; /* of shared_bytes, without what is reserved behind it */
    uint32_t local_limit;
    bool is_cooperative;
    uint8_t *params;
    uint32_t param_bytes;
    struct ptx_ranges *ranges;
    const int *cancel;
    uint64_t deadline_ns; /* 0: none */
    uint64_t budget;      /* 0: none */
    uint64_t total_blocks;
    uint64_t workspace; /* of cooperative launches: device address, 0 otherwise */
    uint64_t id;
    uint64_t next_block; /* atomic */
    uint64_t insns;      /* atomic, charged against the budget */
    uint64_t host_bytes; /* atomic: registers, stacks, shared memory */
    uint64_t host_limit;
    int stop; /* atomic */
    pthread_mutex_t lock;
    enum vgpu_ptx_status status;
    struct vgpu_ptx_fault fault;
    struct ptx_counts counts;
    uint64_t blocks_done;
};

struct ptx_worker {
    struct ptx_run *run;
    struct ptx_frame **free_frames; /* by code id */
    struct ptx_tlb tlb[PTX_TLB_ENTRIES];
    struct ptx_cta **resident;
    uint32_t resident_count, resident_capacity;
    struct ptx_cta *spare;
    uint32_t smid;
};

enum ptx_cta_result { PTX_CTA_DONE, PTX_CTA_SPINS, PTX_CTA_FAULTED };

/* cta.c */
struct ptx_cta *ptx_cta_create(struct ptx_worker *worker);
void ptx_cta_destroy(struct ptx_cta *cta);
void ptx_cta_start(struct ptx_cta *cta, uint64_t block);
enum ptx_cta_result ptx_cta_run(struct ptx_cta *cta);
void *ptx_run_alloc(struct ptx_run *run,
                    size_t bytes); /* zeroed, 128-byte aligned; NULL: over the limit */
void ptx_run_free(struct ptx_run *run, void *memory, size_t bytes);
void ptx_frames_free(struct ptx_worker *worker);

/* launch.c */
void ptx_worker_run(struct ptx_run *run, uint32_t index);
/* pool.c */
__attribute__((warn_unused_result)) int ptx_pool_init(struct ptx_pool *pool, uint32_t count);
void ptx_pool_fini(struct ptx_pool *pool);
void ptx_pool_run(struct ptx_pool *pool, struct ptx_run *run);
/* fault.c */
void ptx_run_fail(struct ptx_run *run, enum vgpu_ptx_status status, enum vgpu_ptx_fault_kind kind,
                  const char *text);
/* fatbin.c: the best PTX inside; *text is malloc'ed */
enum vgpu_ptx_status ptx_fatbin_extract(const void *image, size_t bytes, char **text,
                                        size_t *text_bytes, struct ptx_log *log, const char *input);
bool ptx_fatbin_is(const void *image, size_t bytes);
/* link.c */
enum vgpu_ptx_status ptx_link(struct vgpu_ptx_module *module, struct ptx_log *log);

/* Where the reserved shared memory of a block begins, if its module asks for it. */
static inline uint32_t ptx_reserved_base(const struct ptx_run *run)
{
    return (run->own_shared_bytes + 15) & ~15u;
}

#endif
