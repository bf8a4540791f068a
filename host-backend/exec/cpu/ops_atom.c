// SPDX-License-Identifier: MIT
/*
 * atom, red, membar, fence (PTX ISA "Parallel Synchronization and Communication Instructions").
 *
 * Lanes go one after another, lowest first, so a block alone with deterministic scheduling gives the same
 * bits each time. Global memory is shared with other workers: every update is one x86 atomic operation, which is
 * sequentially consistent and so satisfies any .sem. Shared and local memory belong to one worker, but
 * generic addresses go the same way for simplicity. Floats and the wrapping inc/dec are compare-and-swap loops.
 */
#include "ops.h"
#include "half.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

enum atom_op {
    ATOM_EXCH,
    ATOM_ADD,
    ATOM_INC,
    ATOM_DEC,
    ATOM_MIN,
    ATOM_MAX,
    ATOM_AND,
    ATOM_OR,
    ATOM_XOR,
    ATOM_CAS
};

/* NULL: the launch has faulted. */
static uint8_t *atom_host(struct ptx_warp *w, const struct ptx_insn *i, enum ptx_space space,
                          uint32_t l, uint64_t va, uint32_t bytes)
{
    uint8_t *host;
    struct ptx_tlb *tlb = &w->tlb[((uintptr_t)i / sizeof(*i)) % PTX_TLB_ENTRIES];

    if (va & (bytes * i->count - 1)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va, bytes * i->count, NULL);
        return NULL;
    }
    if (space == PTX_SPACE_SHARED) {
        if (va < w->cta->shared_bytes && bytes <= w->cta->shared_bytes - va)
            return w->cta->shared + va;
        host = NULL;
    } else {
        if (va - tlb->base < tlb->bytes && bytes <= tlb->bytes - (va - tlb->base) &&
            !tlb->is_readonly)
            return tlb->host + (va - tlb->base);
        host = ptx_generic(w, l, va, bytes, true);
        if (host) {
            const struct ptx_range *range = ptx_run_find(w, va);

            if (range)
                *tlb = (struct ptx_tlb){range->base, range->bytes, range->host, range->is_readonly};
        }
    }
    if (!host)
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, l, va, bytes, "atomic access");
    return host;
}

static inline uint64_t lane_va(const struct ptx_warp *w, const struct ptx_insn *i, uint32_t l)
{
    return i->flags & PTX_I_ADDR64 ? REG(uint64_t, i->a)[l] + i->imm
                                   : (uint32_t)(REG(uint32_t, i->a)[l] + (uint32_t)i->imm);
}

static inline void divergent_cost(struct ptx_warp *w)
{
    if (w->is_divergent)
        w->ticks -= PTX_ATOMIC_TICKS - 1;
}

/* A whole operation on type T: NEW computes the new value from `old` and the operand y (and z for cas). */
#define ATOM(name, T, DT, SPACE, NEW)                                                              \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        divergent_cost(w);                                                                         \
        w->cta->counts.atomics += (uint32_t)__builtin_popcount(w->mask);                           \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            T *p = (T *)(void *)atom_host(w, i, SPACE, l, lane_va(w, i, l), sizeof(T));            \
            T old, y = (T)REG(DT, i->b)[l], z = (T)REG(DT, i->c)[l], fresh;                        \
            (void)y, (void)z;                                                                      \
            if (!p)                                                                                \
                return PTX_PARKED;                                                                 \
            old = __atomic_load_n(p, __ATOMIC_RELAXED);                                            \
            do {                                                                                   \
                fresh = (T)(NEW);                                                                  \
            } while (!__atomic_compare_exchange_n(p, &old, fresh, false, __ATOMIC_SEQ_CST,         \
                                                  __ATOMIC_RELAXED));                              \
            REG(DT, i->d)[l] = old;                                                                \
        }                                                                                          \
        return i + 1;                                                                              \
    }
/* The same with one fetching instruction. */
#define FETCH(name, T, DT, SPACE, CALL)                                                            \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        divergent_cost(w);                                                                         \
        w->cta->counts.atomics += (uint32_t)__builtin_popcount(w->mask);                           \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            T *p = (T *)(void *)atom_host(w, i, SPACE, l, lane_va(w, i, l), sizeof(T));            \
            T y = (T)REG(DT, i->b)[l];                                                             \
            if (!p)                                                                                \
                return PTX_PARKED;                                                                 \
            REG(DT, i->d)[l] = CALL(p, y, __ATOMIC_SEQ_CST);                                       \
        }                                                                                          \
        return i + 1;                                                                              \
    }
#define BOTH(K, n, T, DT, X)                                                                       \
    K(n##_g, T, DT, PTX_SPACE_GENERIC, X) K(n##_s, T, DT, PTX_SPACE_SHARED, X)
#define WIDTHS(K, n, X)                                                                            \
    BOTH(K, n##_32, uint32_t, uint32_t, X) BOTH(K, n##_64, uint64_t, uint64_t, X)

WIDTHS(FETCH, exch, __atomic_exchange_n)
WIDTHS(FETCH, add, __atomic_fetch_add)
WIDTHS(FETCH, and, __atomic_fetch_and)
WIDTHS(FETCH, or, __atomic_fetch_or)
WIDTHS(FETCH, xor, __atomic_fetch_xor)
WIDTHS(ATOM, inc, old >= y ? 0 : old + 1)
WIDTHS(ATOM, dec, old == 0 || old > y ? y : old - 1)
WIDTHS(ATOM, umin, old < y ? old : y)
WIDTHS(ATOM, umax, old > y ? old : y)
BOTH(ATOM, smin_32, uint32_t, uint32_t, (int32_t)old < (int32_t)y ? old : y)
BOTH(ATOM, smax_32, uint32_t, uint32_t, (int32_t)old > (int32_t)y ? old : y)
BOTH(ATOM, smin_64, uint64_t, uint64_t, (int64_t)old < (int64_t)y ? old : y)
BOTH(ATOM, smax_64, uint64_t, uint64_t, (int64_t)old > (int64_t)y ? old : y)

static inline uint32_t fadd32(uint32_t x, uint32_t y)
{
    float r = bits_f32(x) + bits_f32(y);

    return r == r ? f32_bits(r) : 0x7fffffffu;
}
static inline uint64_t fadd64(uint64_t x, uint64_t y)
{
    double r = bits_f64(x) + bits_f64(y);

    return r == r ? f64_bits(r) : 0x7ff8000000000000ull;
}
static inline uint32_t hadd(uint32_t x, uint32_t y)
{
    return f64_to_half((double)half_to_f32(x & 0xffff) + half_to_f32(y & 0xffff), PTX_RN);
}
static inline uint32_t bfadd(uint32_t x, uint32_t y)
{
    return f64_to_bf16((double)bf16_to_f32(x & 0xffff) + bf16_to_f32(y & 0xffff), PTX_RN);
}
BOTH(ATOM, fadd_32, uint32_t, uint32_t, fadd32(old, y))
BOTH(ATOM, fadd_64, uint64_t, uint64_t, fadd64(old, y))
BOTH(ATOM, hadd, uint16_t, uint32_t, hadd(old, y))
BOTH(ATOM, bfadd, uint16_t, uint32_t, bfadd(old, y))
BOTH(ATOM, hadd2, uint32_t, uint32_t, hadd(old, y) | hadd(old >> 16, y >> 16) << 16)
BOTH(ATOM, bfadd2, uint32_t, uint32_t, bfadd(old, y) | bfadd(old >> 16, y >> 16) << 16)
BOTH(ATOM, cas_16, uint16_t, uint32_t, old == y ? z : old)
BOTH(ATOM, cas_32, uint32_t, uint32_t, old == y ? z : old)
BOTH(ATOM, cas_64, uint64_t, uint64_t, old == y ? z : old)

static bool is_shared(const struct ptx_inst *in)
{
    return HAS(shared) || HAS(shared_cta) || HAS(shared_cluster);
}

#define PICK(n) (is_shared(in) ? n##_s : n##_g)
#define PICK_WIDTH(n)                                                                              \
    (ptx_type_bytes(T0) == 8 ? PICK(n##_64) : ptx_type_bytes(T0) == 4 ? PICK(n##_32) : NULL)

static ptx_op_fn *atom_add(const struct ptx_inst *in)
{
    switch (T0) {
    case PTX_T_f32: return PICK(fadd_32);
    case PTX_T_f64: return PICK(fadd_64);
    case PTX_T_f16: return PICK(hadd);
    case PTX_T_bf16: return PICK(bfadd);
    case PTX_T_f16x2: return PICK(hadd2);
    case PTX_T_bf16x2: return PICK(bfadd2);
    case PTX_T_b32:
    case PTX_T_b64: return NULL;
    default: return PICK_WIDTH(add);
    }
}

static ptx_op_fn *atom_minmax(const struct ptx_inst *in)
{
    bool is_max = HAS(max_);

    switch (T0) {
    case PTX_T_u32: return is_max ? PICK(umax_32) : PICK(umin_32);
    case PTX_T_u64: return is_max ? PICK(umax_64) : PICK(umin_64);
    case PTX_T_s32: return is_max ? PICK(smax_32) : PICK(smin_32);
    case PTX_T_s64: return is_max ? PICK(smax_64) : PICK(smin_64);
    default: return NULL;
    }
}

static ptx_op_fn *atom_select(const struct ptx_inst *in)
{
    bool is_bits = T0 == PTX_T_b32 || T0 == PTX_T_b64;
    uint32_t ops = HAS(exch) + HAS(add_) + HAS(inc) + HAS(dec) + HAS(min_) + HAS(max_) + HAS(and_) +
                   HAS(or_) + HAS(xor_);

    if (ops != 1)
        return NULL;
    if (HAS(add_))
        return atom_add(in);
    if (HAS(min_) || HAS(max_))
        return atom_minmax(in);
    if (HAS(inc) || HAS(dec))
        return T0 != PTX_T_u32 ? NULL : HAS(inc) ? PICK_WIDTH(inc) : PICK_WIDTH(dec);
    if (ptx_type_is_float(T0) ||
        (!is_bits && !HAS(exch) && T0 != PTX_T_u32 && T0 != PTX_T_s32 && T0 != PTX_T_u64))
        return NULL;
    return HAS(exch)   ? PICK_WIDTH(exch)
           : HAS(and_) ? PICK_WIDTH(and)
           : HAS(or_)  ? PICK_WIDTH(or)
                       : PICK_WIDTH(xor);
}

SELECTOR(atom)
{
    return atom_select(in);
}
SELECTOR(red)
{
    return atom_select(in);
}
SELECTOR(atom_cas)
{
    return ptx_type_bytes(T0) == 2 ? PICK(cas_16) : PICK_WIDTH(cas);
}

static ptx_next_insn fence(struct ptx_warp *w, const struct ptx_insn *i)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return i + 1;
}

SELECTOR(membar)
{
    return fence;
}
/* There is one way to memory here, so what orders proxies is what orders accesses. */
SELECTOR(membar_proxy)
{
    return fence;
}
SELECTOR(fence_proxy)
{
    return fence;
}
SELECTOR(fence)
{
    return fence;
}
