// SPDX-License-Identifier: MIT
/*
 * Warp-wide operations: shfl, vote, match, redux, activemask, elect.
 *
 * A .sync operation runs when every live lane of its member mask is in the running group; until then the group
 * waits (warp->waiting) and the scheduler runs the others. If all others are stuck too it runs with the lanes
 * that are there (warp->force): on GPUs such code is undefined, here it ends. Lanes that execute it together may have
 * different member masks; those with the same mask are then a group.
 */
#include "ops.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

/* True: all members are here. False: the group has been parked. */
static bool converge(struct ptx_warp *w, const struct ptx_insn *i, uint32_t members)
{
    uint32_t missing = members & w->live & ~w->mask;

    if (!missing)
        return true;
    if (w->force) {
        w->force = false;
        return true;
    }
    w->waiting |= w->mask;
    warp_park(w, w->mask, i);
    return false;
}

static inline uint32_t member_mask(const struct ptx_warp *w, uint32_t offset)
{
    return REG(uint32_t, offset)[__builtin_ctz(w->mask)];
}

/* Lanes that came together with member masks of their own, as cooperative groups do: each mask's lanes apart. */
static ptx_next_insn by_members(struct ptx_warp *w, const struct ptx_insn *i, uint32_t offset,
                                ptx_op_fn *run)
{
    uint32_t all = w->mask, left = all, parked = 0;

    while (left) {
        uint32_t members = REG(uint32_t, offset)[__builtin_ctz(left)], same = 0;

        ACTIVE(left) same |= (uint32_t)(REG(uint32_t, offset)[l] == members) << l;
        left &= ~same;
        if ((members & w->live & ~all) && !w->force) {
            parked |= same;
            continue;
        }
        warp_set_mask(w, same);
        run(w, i);
    }
    warp_set_mask(w, all);
    if (parked != all)
        w->force = false;
    if (!parked)
        return i + 1;
    w->waiting |= parked;
    warp_park(w, parked, i);
    if (all & ~parked)
        warp_park(w, all & ~parked, i + 1);
    return PTX_PARKED;
}

static inline void copy_lane(uint8_t *to, const uint8_t *from, uint32_t offset, uint32_t lane,
                             uint32_t bytes)
{
    memcpy(to + offset + (size_t)lane * bytes, from + offset + (size_t)lane * bytes, bytes);
}

/*
 * The members that are missing wait at this instruction in frames of their own: lanes that called its function one
 * after another. What they bring is copied to the running frame, where their lanes are nobody's, and what they
 * get is copied back. False: somebody has yet to come.
 */
static bool run_across_frames(struct ptx_warp *w, const struct ptx_insn *i, uint32_t members,
                              ptx_op_fn *run, uint32_t bytes)
{
    uint32_t here = w->mask, missing = members & w->live & ~here;

    if (!missing || (missing & ~w->waiting))
        return false;
    ACTIVE(missing) if (w->pc[l] != i || w->frames[l] == w->frame) return false;
    ACTIVE(missing)
    {
        copy_lane(w->regs, w->frames[l]->regs, i->a, l, bytes);
        copy_lane(w->regs, w->frames[l]->regs, i->b, l, 4);
        copy_lane(w->regs, w->frames[l]->regs, i->c, l, 4);
        copy_lane(w->regs, w->frames[l]->regs, i->f, l, 4);
    }
    warp_set_mask(w, here | missing);
    run(w, i);
    warp_set_mask(w, here);
    ACTIVE(missing)
    {
        copy_lane(w->frames[l]->regs, w->regs, i->d, l, 4);
        copy_lane(w->frames[l]->regs, w->regs, i->e, l, 4);
        w->pc[l]++;
    }
    w->waiting &= ~missing;
    warp_park(w, here, i + 1);
    return true;
}

/* `run` on the lanes whose members, in the register at `offset`, are all here; operand a has so many bytes. */
static ptx_next_insn synced(struct ptx_warp *w, const struct ptx_insn *i, uint32_t offset,
                            ptx_op_fn *run, uint32_t bytes)
{
    const uint32_t *masks = REG(uint32_t, offset);
    uint32_t members = member_mask(w, offset), differs = 0;

    LANES differs |= (masks[l] ^ members) & w->vm32[l];
    if (differs)
        return by_members(w, i, offset, run);
    if (run_across_frames(w, i, members, run, bytes))
        return PTX_PARKED;
    return converge(w, i, members) ? run(w, i) : PTX_PARKED;
}

#define SYNCED_OF(name, OFFSET, BYTES)                                                             \
    static ptx_next_insn name##_sync(struct ptx_warp *w, const struct ptx_insn *i)                 \
    {                                                                                              \
        return synced(w, i, i->OFFSET, name, BYTES);                                               \
    }
#define SYNCED(name, OFFSET) SYNCED_OF(name, OFFSET, 4)

/* bar.warp.sync */
static ptx_next_insn nothing(struct ptx_warp *w, const struct ptx_insn *i)
{
    return i + 1;
}

static ptx_next_insn bar_warp(struct ptx_warp *w, const struct ptx_insn *i);

/*
 * The members that are missing wait at this barrier too, in other frames or at other instructions: lanes that call a
 * function one after another have frames of their own. They go on, and so does this group.
 */
static bool bar_warp_meets(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t members = member_mask(w, i->a), missing = members & w->live & ~w->mask;

    if (!missing || (missing & ~w->waiting))
        return false;
    ACTIVE(w->mask) if (REG(uint32_t, i->a)[l] != members) return false;
    ACTIVE(missing)
    {
        const struct ptx_insn *at = w->pc[l];

        if (at->fn != bar_warp ||
            ((const uint32_t *)(const void *)(w->frames[l]->regs + at->a))[l] != members)
            return false;
    }
    ACTIVE(missing) w->pc[l]++;
    w->waiting &= ~missing;
    return true;
}

static ptx_next_insn bar_warp(struct ptx_warp *w, const struct ptx_insn *i)
{
    if (!bar_warp_meets(w, i))
        return synced(w, i, i->a, nothing, 4);
    warp_park(w, w->mask, i + 1); /* where to stop for others has changed */
    return PTX_PARKED;
}
SELECTOR(bar_warp)
{
    return bar_warp;
}

/* --- shfl: d|p, a, lane operand b, clamp and segment mask c, members f --- */
enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

static inline bool shfl_source(uint32_t lane, uint32_t operand, uint32_t control, uint32_t mode,
                               uint32_t *source)
{
    uint32_t clamp = control & 31, segment = control >> 8 & 31, b = operand & 31;
    uint32_t max = (lane & segment) | (clamp & ~segment), min = lane & segment;
    int32_t j;
    bool valid;

    switch (mode) {
    case SHFL_UP:
        j = (int32_t)lane - (int32_t)b;
        valid = j >= (int32_t)max;
        break;
    case SHFL_DOWN:
        j = (int32_t)(lane + b);
        valid = j <= (int32_t)max;
        break;
    case SHFL_BFLY:
        j = (int32_t)(lane ^ b);
        valid = j <= (int32_t)max;
        break;
    default:
        j = (int32_t)(min | (b & ~segment));
        valid = j <= (int32_t)max;
        break;
    }
    *source = valid ? (uint32_t)j & 31 : lane;
    return valid;
}

static ptx_next_insn shfl_do(struct ptx_warp *w, const struct ptx_insn *i, uint32_t mode)
{
    uint32_t *d = REG(uint32_t, i->d), *p = REG(uint32_t, i->e), copy[PTX_LANES];
    const uint32_t *a = REG(uint32_t, i->a), *b = REG(uint32_t, i->b), *c = REG(uint32_t, i->c);
    uint32_t operand[PTX_LANES], control[PTX_LANES];

    memcpy(copy, a, sizeof(copy));
    memcpy(operand, b, sizeof(operand));
    memcpy(control, c, sizeof(control));
    ACTIVE(w->mask)
    {
        uint32_t source;
        bool valid = shfl_source(l, operand[l], control[l], mode, &source);

        /* Reading an inactive lane is undefined on a GPU; here it gives that lane's register. */
        d[l] = copy[source];
        p[l] = valid ? PTX_FULL : 0;
    }
    return i + 1;
}

#define SHFL(n, MODE)                                                                              \
    static ptx_next_insn shfl_##n(struct ptx_warp *w, const struct ptx_insn *i)                    \
    {                                                                                              \
        return shfl_do(w, i, MODE);                                                                \
    }                                                                                              \
    SYNCED(shfl_##n, f)
SHFL(up, SHFL_UP)
SHFL(down, SHFL_DOWN)
SHFL(bfly, SHFL_BFLY)
SHFL(idx, SHFL_IDX)
#define SHFL_PICK(n)                                                                               \
    (HAS(up)     ? shfl_up##n                                                                      \
     : HAS(down) ? shfl_down##n                                                                    \
     : HAS(bfly) ? shfl_bfly##n                                                                    \
     : HAS(idx)  ? shfl_idx##n                                                                     \
                 : NULL)
SELECTOR(shfl)
{
    return SHFL_PICK(_sync);
}
SELECTOR(shfl_old)
{
    return SHFL_PICK();
}

/* --- vote: d, predicate a (negated if imm), members b --- */
enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

static ptx_next_insn vote_do(struct ptx_warp *w, const struct ptx_insn *i, uint32_t members,
                             uint32_t mode)
{
    uint32_t voters = w->mask & members, set = pred_mask(w, i->a) & voters, r;
    uint32_t *d = REG(uint32_t, i->d);

    r = mode == VOTE_BALLOT ? set
        : mode == VOTE_ANY  ? (set ? PTX_FULL : 0)
        : mode == VOTE_ALL  ? (set == voters ? PTX_FULL : 0)
                            : (set == voters || !set ? PTX_FULL : 0);
    LANES d[l] = w->vm32[l] ? r : d[l];
    return i + 1;
}
#define VOTE(n, MODE)                                                                              \
    static ptx_next_insn vote_##n(struct ptx_warp *w, const struct ptx_insn *i)                    \
    {                                                                                              \
        return vote_do(w, i, PTX_FULL, MODE);                                                      \
    }                                                                                              \
    static ptx_next_insn vote_of_##n(struct ptx_warp *w, const struct ptx_insn *i)                 \
    {                                                                                              \
        return vote_do(w, i, member_mask(w, i->b), MODE);                                          \
    }                                                                                              \
    SYNCED(vote_of_##n, b)
VOTE(all, VOTE_ALL)
VOTE(any, VOTE_ANY)
VOTE(uni, VOTE_UNI)
VOTE(ballot, VOTE_BALLOT)
#define VOTE_PICK(pre, post)                                                                       \
    (HAS(ballot)        ? (T0 == PTX_T_b32 ? pre##_ballot##post : NULL)                            \
     : T0 != PTX_T_pred ? NULL                                                                     \
     : HAS(all)         ? pre##_all##post                                                          \
     : HAS(any)         ? pre##_any##post                                                          \
     : HAS(uni)         ? pre##_uni##post                                                          \
                        : NULL)
SELECTOR(vote_sync)
{
    return VOTE_PICK(vote_of, _sync);
}
SELECTOR(vote_old)
{
    return VOTE_PICK(vote, );
}

/* --- match --- */
#define MATCH(n, T)                                                                                \
    static ptx_next_insn match_any_##n(struct ptx_warp *w, const struct ptx_insn *i)               \
    {                                                                                              \
        uint32_t rest, r[PTX_LANES] = {0};                                                         \
        const T *a = REG(T, i->a);                                                                 \
        for (rest = w->mask; rest;) {                                                              \
            T key = a[__builtin_ctz(rest)];                                                        \
            uint32_t same = 0;                                                                     \
            ACTIVE(rest) same |= (uint32_t)(a[l] == key) << l;                                     \
            ACTIVE(same) r[l] = same;                                                              \
            rest &= ~same;                                                                         \
        }                                                                                          \
        ACTIVE(w->mask) REG(uint32_t, i->d)[l] = r[l];                                             \
        return i + 1;                                                                              \
    }                                                                                              \
    static ptx_next_insn match_all_##n(struct ptx_warp *w, const struct ptx_insn *i)               \
    {                                                                                              \
        uint32_t differs = 0;                                                                      \
        const T *a = REG(T, i->a);                                                                 \
        T key = a[__builtin_ctz(w->mask)];                                                         \
        ACTIVE(w->mask) differs |= a[l] != key;                                                    \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            REG(uint32_t, i->d)[l] = differs ? 0 : w->mask;                                        \
            REG(uint32_t, i->e)[l] = differs ? 0 : PTX_FULL;                                       \
        }                                                                                          \
        return i + 1;                                                                              \
    }                                                                                              \
    SYNCED_OF(match_any_##n, b, sizeof(T))                                                         \
    SYNCED_OF(match_all_##n, b, sizeof(T))
MATCH(32, uint32_t)
MATCH(64, uint64_t)
SELECTOR(match)
{
    bool wide = T0 == PTX_T_b64;

    return HAS(any)   ? (wide ? match_any_64_sync : match_any_32_sync)
           : HAS(all) ? (wide ? match_all_64_sync : match_all_32_sync)
                      : NULL;
}

/* --- redux --- */
#define REDUX(n, T, EXPR)                                                                          \
    static ptx_next_insn redux_##n(struct ptx_warp *w, const struct ptx_insn *i)                   \
    {                                                                                              \
        uint32_t members = member_mask(w, i->b), rest;                                             \
        const T *a = REG(T, i->a);                                                                 \
        T x;                                                                                       \
        rest = w->mask & members ? w->mask & members : w->mask;                                    \
        x = a[__builtin_ctz(rest)];                                                                \
        ACTIVE(rest &(rest - 1))                                                                   \
        {                                                                                          \
            T y = a[l];                                                                            \
            x = (EXPR);                                                                            \
        }                                                                                          \
        ACTIVE(w->mask) REG(T, i->d)[l] = x;                                                       \
        return i + 1;                                                                              \
    }                                                                                              \
    SYNCED(redux_##n, b)
REDUX(add, uint32_t, x + y)
REDUX(and, uint32_t, x &y)
REDUX(or, uint32_t, x | y)
REDUX(xor, uint32_t, x ^ y)
REDUX(umin, uint32_t, x < y ? x : y)
REDUX(umax, uint32_t, x > y ? x : y)
REDUX(smin, int32_t, x < y ? x : y)
REDUX(smax, int32_t, x > y ? x : y)
SELECTOR(redux)
{
    bool s = T0 == PTX_T_s32, bits = T0 == PTX_T_b32;

    if (T0 == PTX_T_f32)
        return NULL;
    if (HAS(and_) || HAS(or_) || HAS(xor_))
        return !bits       ? NULL
               : HAS(and_) ? redux_and_sync
               : HAS(or_)  ? redux_or_sync
                           : redux_xor_sync;
    if (bits)
        return NULL;
    return HAS(add_)   ? redux_add_sync
           : HAS(min_) ? (s ? redux_smin_sync : redux_umin_sync)
           : HAS(max_) ? (s ? redux_smax_sync : redux_umax_sync)
                       : NULL;
}

static ptx_next_insn activemask(struct ptx_warp *w, const struct ptx_insn *i)
{
    ACTIVE(w->mask) REG(uint32_t, i->d)[l] = w->mask;
    return i + 1;
}
SELECTOR(activemask)
{
    return activemask;
}

static ptx_next_insn elect(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t members = member_mask(w, i->a);
    uint32_t leader = (uint32_t)__builtin_ctz(w->mask & members ? w->mask & members : w->mask);

    ACTIVE(w->mask)
    {
        REG(uint32_t, i->d)[l] = leader;
        REG(uint32_t, i->e)[l] = l == leader ? PTX_FULL : 0;
    }
    return i + 1;
}
SYNCED(elect, a)
SELECTOR(elect)
{
    return elect_sync;
}
