// SPDX-License-Identifier: MIT
/*
 * The PTX machine: a GPU made of CPU threads.
 *
 * A machine owns device memory (virtual addresses that are never host pointers), modules (PTX text or
 * fatbins, parsed, checked and pre-decoded at load time) and a pool of worker threads that run the
 * blocks of a launch. It is a plain library: no sockets, no signals, no global state but constant tables.
 *
 * Trust: module text, kernel parameters and every device address are hostile. Nothing in them reaches an
 * assert or host memory outside the machine's own allocations; everything ends in bounded memory, and in
 * bounded time where the caller sets a budget, a deadline or the cancel flag.
 *
 * Threads: every function may be called from any thread at any time, except that a machine is destroyed
 * and a module unloaded only when nothing else uses them. Launches of one machine share its worker pool
 * and run one after another in the order of the calls; memory and module calls proceed meanwhile.
 * Host pointers from vgpu_ptx_mem_translate stay valid until that allocation is freed.
 */
#ifndef VGPU_EXEC_CPU_PTX_H
#define VGPU_EXEC_CPU_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vgpu_ptx_machine;
struct vgpu_ptx_module;
struct vgpu_ptx_function;

#define VGPU_PTX_MUST_CHECK __attribute__((warn_unused_result))

/* The PTX ISA versions that the loader accepts, as major * 10 + minor. */
#define VGPU_PTX_ISA_MIN 30u
#define VGPU_PTX_ISA_MAX 91u

#define VGPU_PTX_MAX_BLOCK_THREADS 1024u
#define VGPU_PTX_MAX_SHARED_BYTES  (227u * 1024u)
#define VGPU_PTX_MAX_PARAM_BYTES   32764u
#define VGPU_PTX_MAX_LOCAL_BYTES   (512u * 1024u)
#define VGPU_PTX_MAX_THREADS       256u
/* Host memory of one loaded module beside its variables: text, tables, decoded instructions. Ordinary modules take
 * 25 times their text, the worst ones 130 times. */
#define VGPU_PTX_MAX_MODULE_BYTES (1ull << 30)

enum vgpu_ptx_status {
    VGPU_PTX_OK = 0,
    VGPU_PTX_SYNTAX,      /* the text is not PTX; the log says where */
    VGPU_PTX_UNSUPPORTED, /* valid, but not implemented: the log names instruction, line, reason */
    VGPU_PTX_TOO_NEW,     /* .version above VGPU_PTX_ISA_MAX (or below VGPU_PTX_ISA_MIN) */
    VGPU_PTX_NO_PTX,      /* a fatbin or cubin without PTX inside: no binary for this "GPU" */
    VGPU_PTX_BAD_IMAGE,   /* a damaged fatbin */
    VGPU_PTX_NO_MEMORY,   /* host memory or the machine's limit is used up */
    VGPU_PTX_INVALID,     /* a bad argument: nothing was done */
    VGPU_PTX_NOT_FOUND,   /* no such name, or an address that belongs to no allocation */
    VGPU_PTX_FAULT,       /* the kernel faulted; the fault record says how */
    VGPU_PTX_CANCELLED,   /* cancel flag, deadline or instruction budget */
};

/* Which build of the engine runs; AUTO takes the best one that this CPU can run. */
enum vgpu_ptx_isa { VGPU_PTX_CPU_AUTO = 0, VGPU_PTX_CPU_BASELINE, VGPU_PTX_CPU_AVX2 };

struct vgpu_ptx_options {
    uint32_t threads;   /* workers, 0 = one per online CPU, at most VGPU_PTX_MAX_THREADS */
    bool deterministic; /* one worker, blocks in order: the same input gives the same output bits */
    enum vgpu_ptx_isa isa;
    uint64_t mem_limit_bytes;     /* device memory that may be held at once, 0 = no limit */
    uint64_t instruction_budget;  /* warp instructions per launch, 0 = no limit */
    uint32_t launch_timeout_ms;   /* per launch, 0 = none */
    uint32_t max_registers_bytes; /* host memory for one launch's registers and stacks, 0 = 1 GiB */
    uint64_t max_module_bytes;    /* host memory for one module, 0 = VGPU_PTX_MAX_MODULE_BYTES */
    /* Asked before device memory grows (delta > 0; false refuses), told when it shrinks. May be NULL. */
    bool (*mem_charge)(void *user, int64_t delta_bytes);
    /* Receives device printf text, whole calls, in order per thread; called from worker threads, one at a time. */
    void (*print)(void *user, const char *text, size_t bytes);
    void *user;
};

VGPU_PTX_MUST_CHECK enum vgpu_ptx_status
vgpu_ptx_machine_create(const struct vgpu_ptx_options *options, struct vgpu_ptx_machine **machine);
void vgpu_ptx_machine_destroy(struct vgpu_ptx_machine *machine);
enum vgpu_ptx_isa vgpu_ptx_machine_isa(const struct vgpu_ptx_machine *machine);
uint32_t vgpu_ptx_machine_threads(const struct vgpu_ptx_machine *machine);
const char *vgpu_ptx_status_name(enum vgpu_ptx_status status);

/* Device memory: zeroed, 256-byte aligned (4 KiB in fact), accounted in steps of 4 KiB. */
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_mem_alloc(struct vgpu_ptx_machine *machine,
                                                            uint64_t bytes, uint64_t *va);
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_mem_free(struct vgpu_ptx_machine *machine,
                                                           uint64_t va);
/* The host bytes of [va, va + bytes), which must lie inside one allocation; NULL otherwise. */
VGPU_PTX_MUST_CHECK void *vgpu_ptx_mem_translate(struct vgpu_ptx_machine *machine, uint64_t va,
                                                 uint64_t bytes);
/* Stores `count` elements of `width` bytes (1, 2, 4); va must be aligned to width. */
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_mem_fill(struct vgpu_ptx_machine *machine,
                                                           uint64_t va, uint32_t value,
                                                           uint32_t width, uint64_t count);
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status
vgpu_ptx_mem_range(struct vgpu_ptx_machine *machine, uint64_t va, uint64_t *base, uint64_t *bytes);
uint64_t vgpu_ptx_mem_held(struct vgpu_ptx_machine *machine);

/* What a fatbin holds, decompressed: each entry to `visit`, PTX text (not NUL-terminated) or a cubin; no more than
 * `budget` bytes of compressed ones together.  False if it is damaged, or if entries were left out. */
bool vgpu_ptx_fatbin_each(const void *image, size_t bytes, uint64_t budget,
                          void (*visit)(void *opaque, const void *data, size_t bytes, bool ptx),
                          void *opaque);

/* Loads PTX text (a final NUL is allowed) or a fatbin. The log is a NUL-terminated string, cut at log_bytes. */
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_module_load(struct vgpu_ptx_machine *machine,
                                                              const void *image, size_t bytes,
                                                              char *log, size_t log_bytes,
                                                              struct vgpu_ptx_module **module);
struct vgpu_ptx_input {
    const void *image;
    size_t bytes;
    const char *name; /* for messages; NULL = "ptx" */
};
/* Several inputs linked into one module: .extern names are resolved among them. */
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status
vgpu_ptx_module_link(struct vgpu_ptx_machine *machine, const struct vgpu_ptx_input *inputs,
                     uint32_t count, char *log, size_t log_bytes, struct vgpu_ptx_module **module);
void vgpu_ptx_module_unload(struct vgpu_ptx_module *module);

struct vgpu_ptx_param {
    uint32_t offset;
    uint32_t bytes;
    uint32_t align;
};

struct vgpu_ptx_attributes {
    uint32_t max_threads; /* per block, from .maxntid / .reqntid, else 1024 */
    uint32_t static_shared_bytes;
    uint32_t local_bytes; /* per thread, static; calls may use more */
    uint32_t const_bytes; /* the module's .const variables */
    uint32_t registers;   /* 32-bit slots per thread after allocation */
    uint32_t ptx_version; /* major * 10 + minor */
    uint32_t reqntid[3];  /* 0 = not given */
    uint32_t maxntid[3];
    uint32_t param_count;
    uint32_t param_bytes; /* size of the packed parameter block */
    uint32_t instructions;
    bool may_print; /* something in its module calls vprintf */
};

VGPU_PTX_MUST_CHECK enum vgpu_ptx_status
vgpu_ptx_module_function(struct vgpu_ptx_module *module, const char *name,
                         struct vgpu_ptx_function **function);
/* Kernels in text order; NULL past the last. */
struct vgpu_ptx_function *vgpu_ptx_module_kernel(struct vgpu_ptx_module *module, uint32_t index);
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_module_global(struct vgpu_ptx_module *module,
                                                                const char *name, uint64_t *va,
                                                                uint64_t *bytes);
const char *vgpu_ptx_function_name(const struct vgpu_ptx_function *function);
void vgpu_ptx_function_attributes(const struct vgpu_ptx_function *function,
                                  struct vgpu_ptx_attributes *attributes);
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status
vgpu_ptx_function_param(const struct vgpu_ptx_function *function, uint32_t index,
                        struct vgpu_ptx_param *param);

enum vgpu_ptx_fault_kind {
    VGPU_PTX_FAULT_NONE = 0,
    VGPU_PTX_FAULT_ILLEGAL_ADDRESS,
    VGPU_PTX_FAULT_MISALIGNED,
    VGPU_PTX_FAULT_TRAP,
    VGPU_PTX_FAULT_ASSERT,
    VGPU_PTX_FAULT_DEADLOCK,
    VGPU_PTX_FAULT_TIMEOUT,     /* deadline or instruction budget */
    VGPU_PTX_FAULT_CANCELLED,   /* the caller's flag */
    VGPU_PTX_FAULT_INSTRUCTION, /* an operand value that the instruction forbids */
    VGPU_PTX_FAULT_STACK,       /* recursion or local memory beyond the limit */
    VGPU_PTX_FAULT_MEMORY,      /* the host could not give the launch its registers */
};

struct vgpu_ptx_fault {
    enum vgpu_ptx_fault_kind kind;
    uint32_t input; /* which of the inputs that were linked */
    uint32_t line;  /* in its text, 0 = none */
    uint32_t block[3];
    uint32_t thread[3];
    uint64_t va; /* of ILLEGAL_ADDRESS and MISALIGNED */
    uint32_t access_bytes;
    char kernel[128];
    char text[384]; /* one line for people: what, where, the nearest allocation */
};

struct vgpu_ptx_counters {
    uint64_t warp_instructions;
    uint64_t lane_instructions;
    uint64_t divergent_branches;
    uint64_t branches;
    uint64_t barriers;
    uint64_t global_load_bytes;
    uint64_t global_store_bytes;
    uint64_t atomics;
    uint64_t blocks;
};

#define VGPU_PTX_LAUNCH_COOPERATIVE 1u /* all blocks resident: grid-wide synchronisation works */

struct vgpu_ptx_launch {
    const struct vgpu_ptx_function *function;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t flags;
    const void *params; /* the packed block; copied before the launch starts */
    uint32_t param_bytes;
    uint32_t timeout_ms; /* 0 = the machine's */
    /* Ends the launch when it becomes non-zero; read atomically, may be NULL. */
    const int *cancel;
};

/*
 * Runs the launch to its end. On VGPU_PTX_FAULT and VGPU_PTX_CANCELLED *fault is filled in and device memory holds
 * whatever had been stored. fault and counters may be NULL.
 */
VGPU_PTX_MUST_CHECK enum vgpu_ptx_status vgpu_ptx_launch_run(struct vgpu_ptx_machine *machine,
                                                             const struct vgpu_ptx_launch *launch,
                                                             struct vgpu_ptx_fault *fault,
                                                             struct vgpu_ptx_counters *counters);

#endif
