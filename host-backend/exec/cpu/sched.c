// SPDX-License-Identifier: MIT
/*
 * The warp scheduler: chooses which lanes run, runs them until they part, join, wait or have used their
 * share, and chooses again. See engine.h for the rules.
 *
 * Invariants between groups: every live lane has a program counter and a frame (ptx_warp_pc); a lane is at most one of blocked (at a
 * barrier of the block) and waiting (at a .sync operation whose other lanes have not come). `waiting` lanes
 * run again as soon as anything changed for them: others arrived at the same place, exited, or were released.
 */
#include "ops.h"

/* The deepest frame first, in it the lowest program counter; after a used-up quantum, the next lane's group. */
static uint32_t sched_leader(const struct ptx_warp *w, uint32_t ready)
{
    uint32_t best = (uint32_t)__builtin_ctz(ready);

    for (uint32_t rest = ready & (ready - 1); rest; rest &= rest - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(rest);

        if (w->frames[l] == w->frames[best] ? w->pc[l] < w->pc[best]
                                            : w->frames[l]->depth > w->frames[best]->depth)
            best = l;
    }
    return best;
}

/*
 * Turns go round by lane, from the lane that had the last one: with several groups that spin, the next after the
 * group that ran would always be the same. A turn is more than one run up to a branch or call, since those that
 * spin are mostly in deeper frames and would be chosen again.
 */
static uint32_t sched_rotated(struct ptx_warp *w, uint32_t ready)
{
    uint32_t others = ready & ~w->mask;
    uint32_t after = others & ~((2u << w->turn) - 1);

    w->rotate = false;
    w->favour = 0;
    if (!others)
        return sched_leader(w, ready);
    w->turn = (uint8_t)__builtin_ctz(after ? after : others);
    w->favour = PTX_FAVOUR;
    return w->turn;
}

static uint32_t sched_next(struct ptx_warp *w, uint32_t ready)
{
    if (w->rotate)
        return sched_rotated(w, ready);
    if (w->favour) {
        w->favour--;
        if (ready >> w->turn & 1)
            return w->turn;
    }
    return sched_leader(w, ready);
}

static void sched_group(struct ptx_warp *w, uint32_t leader)
{
    struct ptx_frame *frame = w->frames[leader];
    const struct ptx_insn *pc = w->pc[leader];
    const struct ptx_insn *stop = frame->code->insns + frame->code->insn_count;
    uint32_t others = w->live & ~w->blocked;
    uint32_t group = 0;

    for (uint32_t rest = others; rest; rest &= rest - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(rest);

        if (w->frames[l] != frame)
            continue;
        if (w->pc[l] == pc)
            group |= 1u << l;
        else if (w->pc[l] > pc && w->pc[l] < stop)
            stop = w->pc[l];
    }
    w->waiting &= ~group;
    w->stop = stop;
    w->frame = frame;
    w->regs = frame->regs;
    w->is_divergent = (others & ~group) != 0;
    if (group != w->mask)
        warp_set_mask(w, group);
}

static void sched_some(struct ptx_warp *w, uint32_t ready)
{
    ptx_warp_spread(w);
    sched_group(w, sched_next(w, ready));
}

/* The usual case: nobody to compare with. */
static inline void sched_all(struct ptx_warp *w)
{
    struct ptx_frame *frame = w->at_frame;

    w->stop = frame->code->insns + frame->code->insn_count;
    w->frame = frame;
    w->regs = frame->regs;
    w->is_divergent = false;
    if (w->live != w->mask)
        warp_set_mask(w, w->live);
}

/* Where the warp is, for a message: at the group that ran, or at one that still runs, or in its kernel. */
static const struct ptx_insn *sched_place(struct ptx_warp *w)
{
    uint32_t lanes = w->mask & w->live ? w->mask & w->live : w->live, lane;

    if (!lanes) {
        w->frame = w->root;
        return w->root->code->insns;
    }
    lane = (uint32_t)__builtin_ctz(lanes);
    w->frame = ptx_warp_frame(w, lane);
    return ptx_warp_pc(w, lane);
}

static enum ptx_warp_result sched_run(struct ptx_warp *w)
{
    /* A warp that waited for others goes on with what it had left: else it would never use its quantum up. */
    if (w->ticks <= 0)
        w->ticks = PTX_QUANTUM;
    for (;;) {
        uint32_t ready = w->live & ~w->blocked & ~w->waiting;
        const struct ptx_insn *i;
        uint64_t insns = 0, lanes;

        if (!ready)
            return w->live ? PTX_WARP_BLOCKED : PTX_WARP_DONE;
        if (w->converged && ready == w->live)
            sched_all(w);
        else
            sched_some(w, ready);
        i = ptx_warp_pc(w, (uint32_t)__builtin_ctz(w->mask));
        lanes = (uint32_t)__builtin_popcount(w->mask);
        do {
            i = i->fn(w, i);
            insns++;
        } while (i < w->stop);
        w->insns += insns;
        w->lane_insns += insns * lanes;
        if (i != PTX_PARKED)
            warp_park(w, w->mask, i);
        if (w->cta->faulted)
            return PTX_WARP_FAULTED;
        w->ticks -= (int32_t)(insns >> PTX_TICK_SHIFT);
        if (w->ticks <= 0) {
            w->rotate = w->is_divergent;
            if (ptx_run_stopped(w, sched_place(w)))
                return PTX_WARP_FAULTED;
            return w->live ? PTX_WARP_YIELDED : PTX_WARP_DONE;
        }
    }
}

/* @p instruction: runs it on the lanes whose predicate is set. */
static ptx_next_insn op_guard(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t mask = w->mask, taken = pred_mask(w, i->guard);

    taken = (i->guard_negate ? ~taken : taken) & mask;
    if (taken == mask)
        return i->inner(w, i);
    if (taken) {
        ptx_next_insn next;

        warp_set_mask(w, taken);
        next = i->inner(w, i);
        warp_set_mask(w, mask);
        return next;
    }
    return i + 1;
}

/* Rounding modes of MXCSR, by enum ptx_mod order rn, rz, rm, rp. */
static ptx_next_insn op_round(struct ptx_warp *w, const struct ptx_insn *i)
{
    ptx_next_insn next;
    static const uint32_t control[4] = {0x1f80, 0x1f80 | 0x6000, 0x1f80 | 0x2000, 0x1f80 | 0x4000};

    __builtin_ia32_ldmxcsr(control[i->flags & 3]);
    next = i->inner2(w, i);
    __builtin_ia32_ldmxcsr(control[0]);
    return next;
}

ptx_op_fn *PTX_V(select_all)(const struct ptx_inst *inst);
ptx_op_fn PTX_V(op_branch), PTX_V(op_branch_if), PTX_V(op_vprintf), PTX_V(op_assertfail),
    PTX_V(op_call_indirect), PTX_V(op_special);

ptx_op_fn *PTX_V(select_compare)(const struct ptx_inst *in);
uint64_t PTX_V(cvt_flags)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_cvt_general)(void);
ptx_op_fn *PTX_V(select_frame)(bool is_store, bool is_aligned);
ptx_op_fn *PTX_V(select_param_const)(void);
ptx_op_fn *PTX_V(select_row)(bool is_store, bool is_shared);

#define PTX_TEXT_(x) #x
#define PTX_TEXT(x)  PTX_TEXT_(x)

const struct ptx_engine PTX_V(ptx_engine) = {
    .name = PTX_TEXT(PTX_ENGINE),
    .select = PTX_V(select_all),
    .run = sched_run,
    .guard = op_guard,
    .round = op_round,
    .branch_if = PTX_V(op_branch_if),
    .branch = PTX_V(op_branch),
    .vprintf = PTX_V(op_vprintf),
    .assertfail = PTX_V(op_assertfail),
    .call_indirect = PTX_V(op_call_indirect),
    .special = PTX_V(op_special),
    .compare = PTX_V(select_compare),
    .cvt_flags = PTX_V(cvt_flags),
    .cvt_general = PTX_V(select_cvt_general),
    .frame = PTX_V(select_frame),
    .param_const = PTX_V(select_param_const),
    .row = PTX_V(select_row),
};

/* One selector for each row of opcodes.def; rows without one are refused by the parser or lowered by the decoder. */
#define OP(id, name, need, sig, types, mods, flags)                                                \
    __attribute__((weak)) ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);
#include "opcodes.def"
#undef OP

static ptx_op_fn *(*const selectors[])(const struct ptx_inst *) = {
#define OP(id, name, need, sig, types, mods, flags) PTX_V(select_##id),
#include "opcodes.def"
#undef OP
};

ptx_op_fn *PTX_V(select_all)(const struct ptx_inst *in)
{
    return selectors[in->op] ? selectors[in->op](in) : NULL;
}
