// SPDX-License-Identifier: MIT
/*
 * What the files that are compiled once for each engine share: loops over lanes, masked stores, operands.
 *
 * The loops are written so that the compiler vectorises them: fixed trip count, no calls, one masked variant by
 * blending. Inactive lanes are computed too where that is harmless; operations that can fault or call into
 * the C library loop over active lanes only.
 */
#ifndef VGPU_EXEC_CPU_OPS_H
#define VGPU_EXEC_CPU_OPS_H

#include "engine.h"

#include <string.h>

#ifndef PTX_ENGINE
#define PTX_ENGINE base
#endif
#define PTX_CAT_(a, b) a##_##b
#define PTX_CAT(a, b)  PTX_CAT_(a, b)
#define PTX_V(name)    PTX_CAT(name, PTX_ENGINE)

#if defined(__clang__)
#define PTX_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define PTX_IVDEP _Pragma("GCC ivdep")
#endif

#define LANES PTX_IVDEP for (uint32_t l = 0; l < PTX_LANES; l++)
#define ACTIVE(m)                                                                                  \
    for (uint32_t m_ = (m), l; m_ && ((l = (uint32_t)__builtin_ctz(m_)), true); m_ &= m_ - 1)

#define REG(T, offset) ((T *)__builtin_assume_aligned(w->regs + (offset), 128))
#define VM(T)          (sizeof(T) == 8 ? w->vm64[l] != 0 : w->vm32[l] != 0)

typedef const struct ptx_insn *ptx_next_insn;

/* An operation with one result of type TD; EXPR may use the arrays a, b, c (types TA, TB, TC) at [l] and i, w. */
#define OP3(name, TD, TA, TB, TC, EXPR)                                                            \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        TD *d = REG(TD, i->d);                                                                     \
        const TA *a = REG(TA, i->a);                                                               \
        const TB *b = REG(TB, i->b);                                                               \
        const TC *c = REG(TC, i->c);                                                               \
        (void)a, (void)b, (void)c;                                                                 \
        if (w->mask == PTX_FULL) {                                                                 \
            LANES                                                                                  \
            {                                                                                      \
                d[l] = (TD)(EXPR);                                                                 \
            }                                                                                      \
        } else {                                                                                   \
            LANES                                                                                  \
            {                                                                                      \
                TD r_ = (TD)(EXPR);                                                                \
                d[l] = VM(TD) ? r_ : d[l];                                                         \
            }                                                                                      \
        }                                                                                          \
        return i + 1;                                                                              \
    }
#define OP2(name, TD, TA, TB, EXPR) OP3(name, TD, TA, TB, uint32_t, EXPR)
#define OP1(name, TD, TA, EXPR)     OP3(name, TD, TA, uint32_t, uint32_t, EXPR)

/* The same for active lanes only: for expressions that are calls or may trap. */
#define OP3_SCALAR(name, TD, TA, TB, TC, EXPR)                                                     \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        TD *d = REG(TD, i->d);                                                                     \
        const TA *a = REG(TA, i->a);                                                               \
        const TB *b = REG(TB, i->b);                                                               \
        const TC *c = REG(TC, i->c);                                                               \
        (void)a, (void)b, (void)c;                                                                 \
        ACTIVE(w->mask) d[l] = (TD)(EXPR);                                                         \
        return i + 1;                                                                              \
    }
#define OP2_SCALAR(name, TD, TA, TB, EXPR) OP3_SCALAR(name, TD, TA, TB, uint32_t, EXPR)
#define OP1_SCALAR(name, TD, TA, EXPR)     OP3_SCALAR(name, TD, TA, uint32_t, uint32_t, EXPR)

static inline void warp_set_mask(struct ptx_warp *w, uint32_t mask)
{
    w->mask = mask;
    LANES w->vm32[l] = 0u - (mask >> l & 1);
    LANES w->vm64[l] = 0ull - (mask >> l & 1);
}

/* The lanes whose predicate is set, active or not. */
static inline uint32_t pred_mask(const struct ptx_warp *w, uint32_t offset)
{
    const uint32_t *p = REG(uint32_t, offset);
    uint32_t mask = 0;

#if defined(__SSE2__)
    typedef float v4sf __attribute__((vector_size(16)));

    for (uint32_t l = 0; l < PTX_LANES; l += 4)
        mask |= (uint32_t)__builtin_ia32_movmskps(*(const v4sf *)(const void *)(p + l)) << l;
#else
    for (uint32_t l = 0; l < PTX_LANES; l++)
        mask |= (p[l] >> 31) << l;
#endif
    return mask;
}

/* `lanes` of the running group go on at `at`. */
static inline void warp_park(struct ptx_warp *w, uint32_t lanes, const struct ptx_insn *at)
{
    if (lanes == w->live) {
        ptx_warp_gather(w, at, w->frame);
    } else {
        ptx_warp_spread(w);
        ACTIVE(lanes) w->pc[l] = at;
    }
}

/* Where the instruction's last allocation is remembered. */
static inline struct ptx_tlb *warp_tlb(const struct ptx_warp *w, const struct ptx_insn *i)
{
    return &w->tlb[((uintptr_t)i / sizeof(*i)) % PTX_TLB_ENTRIES];
}

#define HAS(mod) ptx_mods_has(&in->mods, PTX_M_##mod)
#define T0       (in->types[0])
#define T1       (in->types[1])

#endif
