// SPDX-License-Identifier: MIT
/*
 * The SIMT engine: what decoded code, warps, frames and blocks look like.
 *
 * Execution. A warp has 32 lanes. A register is an array of 32 lane values: 128 bytes (4 per lane) for
 * everything up to 32 bits, 256 bytes for 64-bit ones; an operand is its byte offset in the frame's register
 * block. 8- and 16-bit values are held zero-extended; a predicate is 0 or all-ones. Constants and special
 * registers are registers too, filled in when the frame is made.
 *
 * An operation is a function (warp, instruction) -> next instruction. It works on the lanes of warp->mask and
 * leaves other live lanes' registers alone. PTX_PARKED instead of an instruction says: the operation
 * has stored where each lane goes on (pc[]), the scheduler shall choose again.
 *
 * Divergence. Each lane has a program counter, kept once for the warp while all live lanes are together. The scheduler (sched.c) runs the group of lanes with the
 * lowest one in the deepest frame, up to `stop`, where the next other lane waits; code is laid out so
 * that joins come after branches. A group that loops too long while others wait lets them run, so locks
 * between lanes of one warp make progress.
 *
 * Threads: a block runs on one worker; only global memory, the launch's counters and its stop flag are
 * shared, and those are accessed atomically.
 *
 * The files ops_*.c and sched.c are compiled twice, for plain x86-64 and for AVX2 + FMA (PTX_ENGINE); each
 * build exports one struct ptx_engine.
 */
#ifndef VGPU_EXEC_CPU_ENGINE_H
#define VGPU_EXEC_CPU_ENGINE_H

#include "ir.h"
#include "mem.h"
#include "ptx.h"

#include <stdbool.h>
#include <stdint.h>

#define PTX_LANES      32u
#define PTX_FULL       0xffffffffu
#define PTX_SLOT_BYTES 128u
#define PTX_SINK_OFFSET                                                                            \
    0u /* 256 bytes at the start of every register block take unwanted results */
#define PTX_FIRST_SLOT 2u

#define PTX_BARRIERS       16u
#define PTX_QUANTUM        4096 /* ticks before a warp lets others run */
#define PTX_TICK_SHIFT     10   /* log2 of the straight instructions that cost a tick */
#define PTX_FAVOUR         32   /* choices of the scheduler that a turn lasts */
#define PTX_ATOMIC_TICKS   64   /* what an atomic of a divergent warp costs of it */
#define PTX_MAX_CALL_DEPTH 4096u

/* Windows of generic addresses (PTX ISA "State Spaces"); global memory is elsewhere (mem.h). */
#define PTX_SHARED_BASE  0x0000000100000000ull
#define PTX_LOCAL_BASE   0x0000000200000000ull
#define PTX_PARAM_BASE   0x0000000300000000ull
#define PTX_WINDOW_BYTES 0x0000000001000000ull
#define PTX_FUNC_BASE    0x0000000400000000ull
#define PTX_FUNC_STEP    16u

struct ptx_warp;
struct ptx_insn;

typedef const struct ptx_insn *ptx_op_fn(struct ptx_warp *w, const struct ptx_insn *i);

#define PTX_PARKED ((const struct ptx_insn *)UINTPTR_MAX)

struct ptx_insn {
    ptx_op_fn *fn;
    uint32_t d, a, b, c; /* register offsets, mostly */
    uint32_t e, f;
    uint64_t imm;
    ptx_op_fn *inner;  /* what a guard runs */
    ptx_op_fn *inner2; /* what a rounding-mode wrapper runs; the general form of a row access */
    uint32_t guard;    /* register offset */
    uint8_t guard_negate;
    uint8_t bytes; /* of a memory access: one element */
    uint8_t count; /* elements */
    uint8_t flags;
};

_Static_assert(sizeof(struct ptx_insn) == 64, "one cache line for each instruction");

#define PTX_I_SIGNED 1u /* ld: sign-extend */
#define PTX_I_WIDE                                                                                 \
    2u /* ld: 64-bit registers for elements below 64 bits; addresses: 64-bit register */
#define PTX_I_ADDR64 4u /* the address register has 64 bits */
#define PTX_I_ATOMIC 8u /* ld/st: ordered access */

/* f of a bulk copy: addresses in 64-bit registers, and which way it goes. */
#define PTX_BULK_FROM64      1u
#define PTX_BULK_BAR64       2u
#define PTX_BULK_FROM_SHARED 4u
#define PTX_BULK_TO_GLOBAL   8u

/* A register of the frame that nothing writes; filled in from its source when the frame is made. */
struct ptx_slot_init {
    uint32_t offset;
    bool wide;
    uint8_t sreg;  /* enum ptx_sreg, or none: the constant */
    uint64_t bits; /* the constant; of PTX_SR_param: the offset in the parameter block, and: */
};

#define PTX_PARAM_OFFSET_MASK 0xffffffffull
#define PTX_PARAM_BYTES_SHIFT 32           /* 4 bits: bytes of the parameter */
#define PTX_PARAM_SIGNED      (1ull << 40) /* sign-extended to the register */
#define PTX_PARAM_NARROW      (1ull << 41) /* into a 16-bit register */

struct ptx_arg {
    uint8_t kind; /* PTX_O_VAR: frame offset; PTX_O_REG and PTX_O_IMM: register offset */
    bool wide;
    uint32_t offset;
    uint32_t bytes;
};

struct ptx_callsite {
    const struct ptx_func *func; /* direct; NULL: through a register */
    struct ptx_arg *args, *rets;
    uint32_t arg_count, ret_count;
    const struct ptx_insn **targets; /* brx.idx */
    uint32_t target_count;
};

/* A function ready to run. */
struct ptx_code {
    const struct ptx_func *func;
    struct ptx_insn *insns;
    uint32_t insn_count;
    uint32_t *lines;
    struct ptx_callsite *callsites;
    uint32_t callsite_count;
    uint32_t reg_bytes; /* of a frame's register block */
    uint32_t local_bytes;
    /* Constants and parameters first, then special registers, last those that differ between blocks. */
    struct ptx_slot_init *inits;
    uint32_t init_count;
    uint32_t const_init_count, block_init_first;
    uint32_t id; /* index of the free list of its frames */
    uint32_t reg_slots;
};

struct ptx_frame {
    struct ptx_frame *parent; /* NULL: the kernel itself */
    const struct ptx_code *code;
    const struct ptx_insn *call; /* in the parent's code */
    uint8_t *regs;
    uint32_t mask; /* lanes inside, here or in deeper frames */
    uint32_t depth;
    uint32_t local_offset;  /* of the frame in each lane's local memory */
    struct ptx_frame *next; /* free list */
};

struct ptx_cta;

struct ptx_warp {
    uint8_t *regs; /* of the running group */
    uint32_t mask;
    int32_t ticks;
    const struct ptx_insn *stop;
    struct ptx_frame *frame;
    _Alignas(64) uint32_t vm32[PTX_LANES]; /* mask, as all-ones or zero for each lane */
    _Alignas(64) uint64_t vm64[PTX_LANES];
    /* While `converged`: where all live lanes are; pc[] and frames[] are then out of date (ptx_warp_spread). */
    const struct ptx_insn *at;
    struct ptx_frame *at_frame;
    const struct ptx_insn *pc[PTX_LANES];
    struct ptx_frame *frames[PTX_LANES];
    uint32_t live;    /* lanes that have not exited */
    uint32_t blocked; /* at a barrier of the block */
    uint32_t waiting; /* at a .sync operation of the warp */
    uint32_t cc;      /* carry flags (PTX ISA "Extended-Precision Arithmetic") */
    bool is_divergent;
    bool converged; /* all live lanes have the same frame and program counter */
    bool force;     /* let a partial .sync group pass: everybody else is stuck too */
    bool rotate;
    uint8_t turn,
        favour; /* the lane whose turn it is beside the leaders', and for how many choices yet */
    uint8_t barrier[PTX_LANES];
    uint8_t *local; /* PTX_LANES lanes in granules of 8 bytes */
    uint32_t local_bytes;
    struct ptx_cta *cta;
    struct ptx_frame *root;
    uint32_t index;
    struct ptx_tlb *tlb;
    uint64_t insns, lane_insns;
};

struct ptx_barrier {
    uint32_t arrived;  /* threads, and what makes whole warps of them */
    uint32_t waiting;  /* threads that are blocked here */
    uint32_t expected; /* 0: all live threads */
    bool all, any;
    uint32_t count;
    bool is_open; /* somebody has arrived */
};

struct ptx_counts {
    uint64_t insns, lane_insns, divergent, branches, barriers, load_bytes, store_bytes, atomics;
};

struct ptx_run;
struct ptx_worker;

struct ptx_cta {
    struct ptx_run *run;
    struct ptx_worker *worker;
    uint32_t block[3];
    struct ptx_warp *warps;
    uint32_t warp_count;
    uint32_t live_threads;
    uint8_t *shared;
    uint32_t shared_bytes;
    struct ptx_barrier barriers[PTX_BARRIERS];
    uint32_t open_barriers; /* bit set */
    bool faulted;
    struct ptx_counts counts;
    uint64_t progress; /* stores and barrier releases: a block without any may be spinning */
    uint8_t *print_arg;
};

/* An access-to-allocation cache: one entry for each of a few hashed instructions. */
#define PTX_TLB_ENTRIES 64u

struct ptx_tlb {
    uint64_t base;
    uint64_t bytes; /* 0: empty */
    uint8_t *host;
    bool is_readonly;
};

enum ptx_warp_result { PTX_WARP_DONE, PTX_WARP_BLOCKED, PTX_WARP_YIELDED, PTX_WARP_FAULTED };

struct ptx_engine {
    const char *name;
    /* NULL: that combination of types and modifiers is not implemented. */
    ptx_op_fn *(*select)(const struct ptx_inst *inst);
    enum ptx_warp_result (*run)(struct ptx_warp *warp);
    ptx_op_fn *guard;
    ptx_op_fn *round; /* sets the rounding mode of `flags`, runs inner2 */
    ptx_op_fn *branch_if;
    ptx_op_fn *branch;
    ptx_op_fn *vprintf;
    ptx_op_fn *assertfail;
    ptx_op_fn *call_indirect;
    ptx_op_fn *special; /* reads a volatile special register */
    /* Selections that the rows of opcodes.def do not make. */
    ptx_op_fn *(*compare)(
        const struct ptx_inst *inst); /* the plain comparison inside set and setp */
    uint64_t (*cvt_flags)(const struct ptx_inst *inst); /* imm of a cvt */
    ptx_op_fn *(*cvt_general)(void);
    ptx_op_fn *(*frame)(bool is_store,
                        bool is_aligned); /* ld/st at a constant offset of the frame */
    ptx_op_fn *(*param_const)(void);      /* ld at a constant offset of the kernel's parameters */
    /* ld/st of one 32-bit register that is quick for rows of lanes; the general one goes into inner2. NULL: none. */
    ptx_op_fn *(*row)(bool is_store, bool is_shared);
};

extern const struct ptx_engine ptx_engine_base;
extern const struct ptx_engine ptx_engine_avx2;

/* launch.c, fault.c: the world outside a warp. */
const struct ptx_insn *ptx_fault(struct ptx_warp *w, const struct ptx_insn *i,
                                 enum vgpu_ptx_fault_kind kind, uint32_t lane, uint64_t va,
                                 uint32_t bytes, const char *detail);
bool ptx_run_stopped(struct ptx_warp *w,
                     const struct ptx_insn *i); /* cancel, deadline, budget, other fault */
struct ptx_frame *ptx_frame_get(struct ptx_warp *w, const struct ptx_code *code,
                                struct ptx_frame *parent, uint32_t local_offset);
void ptx_frame_put(struct ptx_warp *w, struct ptx_frame *frame);
bool ptx_local_reserve(struct ptx_warp *w, uint32_t bytes);
const struct ptx_code *ptx_func_at(struct ptx_warp *w, uint64_t address);
const struct ptx_range *ptx_run_find(struct ptx_warp *w, uint64_t va);
uint64_t ptx_special_read(struct ptx_warp *w, uint32_t lane, enum ptx_sreg sreg);
uint32_t ptx_run_param_bytes(const struct ptx_warp *w);
const uint8_t *ptx_run_params(const struct ptx_warp *w);
int ptx_print(struct ptx_warp *w, const struct ptx_insn *i, uint32_t lane, uint64_t format,
              uint64_t args);
/* Host bytes behind a generic address for one lane, NULL if there are none. For slow paths only. */
uint8_t *ptx_generic(struct ptx_warp *w, uint32_t lane, uint64_t va, uint32_t bytes, bool is_store);
void ptx_barrier_release(struct ptx_cta *cta, uint32_t id);
void ptx_lanes_exit(struct ptx_warp *w, uint32_t lanes);

/* Gives each lane its own program counter and frame again. */
static inline void ptx_warp_spread(struct ptx_warp *w)
{
    if (!w->converged)
        return;
    for (uint32_t l = 0; l < PTX_LANES; l++) {
        w->pc[l] = w->at;
        w->frames[l] = w->at_frame;
    }
    w->converged = false;
}

static inline void ptx_warp_gather(struct ptx_warp *w, const struct ptx_insn *at,
                                   struct ptx_frame *frame)
{
    w->at = at;
    w->at_frame = frame;
    w->converged = true;
}

static inline const struct ptx_insn *ptx_warp_pc(const struct ptx_warp *w, uint32_t lane)
{
    return w->converged ? w->at : w->pc[lane];
}

static inline struct ptx_frame *ptx_warp_frame(const struct ptx_warp *w, uint32_t lane)
{
    return w->converged ? w->at_frame : w->frames[lane];
}

static inline uint8_t *ptx_local_at(const struct ptx_warp *w, uint32_t lane, uint32_t offset)
{
    return w->local + (size_t)(offset >> 3) * (8 * PTX_LANES) + lane * 8 + (offset & 7);
}

#endif
