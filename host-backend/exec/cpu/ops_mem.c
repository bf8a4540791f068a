// SPDX-License-Identifier: MIT
/*
 * ld and st (PTX ISA "Data Movement and Conversion Instructions").
 *
 * Addresses are guest values. For global memory a per-instruction cache (ptx_tlb) holds the allocation last
 * hit; if every active lane lies in it, aligned, the access is done on host memory directly, by one copy where lanes
 * are consecutive, one load where they agree, a gather otherwise. Everything else takes the slow path, lane by lane,
 * which also finds out whose fault it is.
 *
 * Shared memory is the block's own array. Local memory and function parameters are interleaved in granules of 8
 * bytes (engine.h), so that the usual access, one offset for all lanes, is a strided vector access.
 *
 * Vector accesses are checked as a whole for alignment and range and then done element by element. Ordered and
 * volatile accesses are atomic per element; x86 orders plain loads and stores like acquire and release.
 */
#include "ops.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

static inline void addresses(const struct ptx_warp *w, const struct ptx_insn *i, uint64_t *va)
{
    if (i->flags & PTX_I_ADDR64) {
        const uint64_t *a = REG(uint64_t, i->a);

        LANES va[l] = a[l] + i->imm;
    } else {
        const uint32_t *a = REG(uint32_t, i->a);

        LANES va[l] = (uint32_t)(a[l] + (uint32_t)i->imm);
    }
}

static inline uint64_t load_element(const uint8_t *p, uint32_t bytes)
{
    switch (bytes) {
    case 1: return __atomic_load_n(p, __ATOMIC_RELAXED);
    case 2: return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    case 4: return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
    default: return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
    }
}

static inline void store_element(uint8_t *p, uint64_t value, uint32_t bytes)
{
    switch (bytes) {
    case 1: __atomic_store_n(p, (uint8_t)value, __ATOMIC_RELAXED); break;
    case 2: __atomic_store_n((uint16_t *)(void *)p, (uint16_t)value, __ATOMIC_RELAXED); break;
    case 4: __atomic_store_n((uint32_t *)(void *)p, (uint32_t)value, __ATOMIC_RELAXED); break;
    default: __atomic_store_n((uint64_t *)(void *)p, value, __ATOMIC_RELAXED); break;
    }
}

static inline uint64_t sign_extend(uint64_t value, uint32_t bytes)
{
    uint32_t shift = 64 - bytes * 8;

    return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* Destination registers of element k, in the order that the decoder stores them. */
static inline uint32_t element_reg(const struct ptx_insn *i, uint32_t k)
{
    return k == 0 ? i->d : k == 1 ? i->b : k == 2 ? i->c : i->e;
}

static inline void write_lane(struct ptx_warp *w, const struct ptx_insn *i, uint32_t reg,
                              uint32_t l, uint64_t value)
{
    if (i->flags & PTX_I_SIGNED)
        value = sign_extend(value, i->bytes);
    if (i->flags & PTX_I_WIDE)
        REG(uint64_t, reg)[l] = value;
    else
        REG(uint32_t, reg)
    [l] = i->f & 1 ? (uint16_t)value : (uint32_t)value; /* f & 1: a 16-bit register */
}

static inline uint64_t read_lane(const struct ptx_warp *w, const struct ptx_insn *i, uint32_t reg,
                                 uint32_t l)
{
    return i->flags & PTX_I_WIDE ? REG(uint64_t, reg)[l] : REG(uint32_t, reg)[l];
}

/* --- the slow path: any space, one lane at a time, naming the fault; NULL: the launch has faulted --- */
static uint8_t *lane_host(struct ptx_warp *w, const struct ptx_insn *i, enum ptx_space space,
                          uint32_t l, uint64_t va, uint32_t bytes, bool is_store)
{
    uint8_t *host;

    if (va & (bytes - 1)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va, bytes, NULL);
        return NULL;
    }
    switch (space) {
    case PTX_SPACE_SHARED:
        host = ptx_generic(w, l, va < PTX_WINDOW_BYTES ? va + PTX_SHARED_BASE : 0, bytes, is_store);
        break;
    case PTX_SPACE_LOCAL:
        host = ptx_generic(w, l, va < PTX_WINDOW_BYTES ? va + PTX_LOCAL_BASE : 0, bytes, is_store);
        break;
    case PTX_SPACE_PARAM:
        host = ptx_generic(w, l, va < PTX_WINDOW_BYTES ? va + PTX_PARAM_BASE : va, bytes, is_store);
        break;
    default: host = ptx_generic(w, l, va, bytes, is_store); break;
    }
    if (!host)
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, l, va, bytes, is_store ? "store" : "load");
    return host;
}

/* Host bytes of one element: granules of local memory are not contiguous, so 16-byte vectors go by element. */
static ptx_next_insn slow_load(struct ptx_warp *w, const struct ptx_insn *i, enum ptx_space space)
{
    uint32_t total = (uint32_t)i->bytes * i->count;
    uint64_t va[PTX_LANES];

    addresses(w, i, va);

    ACTIVE(w->mask)
    {
        uint64_t value[4];

        if (va[l] & (total - 1))
            return ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va[l], total, NULL);
        for (uint32_t k = 0; k < i->count; k++) {
            uint8_t *p = lane_host(w, i, space, l, va[l] + k * i->bytes, i->bytes, false);

            if (!p)
                return PTX_PARKED;
            value[k] = load_element(p, i->bytes);
        }
        for (uint32_t k = 0; k < i->count; k++)
            write_lane(w, i, element_reg(i, k), l, value[k]);
    }
    return i + 1;
}

static ptx_next_insn slow_store(struct ptx_warp *w, const struct ptx_insn *i, enum ptx_space space)
{
    uint32_t total = (uint32_t)i->bytes * i->count;
    uint64_t va[PTX_LANES];

    addresses(w, i, va);

    ACTIVE(w->mask)
    {
        if (va[l] & (total - 1))
            return ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va[l], total, NULL);
        for (uint32_t k = 0; k < i->count; k++) {
            uint8_t *p = lane_host(w, i, space, l, va[l] + k * i->bytes, i->bytes, true);

            if (!p)
                return PTX_PARKED;
            store_element(p, read_lane(w, i, element_reg(i, k), l), i->bytes);
        }
    }
    return i + 1;
}

/* --- element moves between host memory and registers --- */
#define CHUNK 8u /* lanes that are looked at together */

/*
 * 32-bit loads: eight lanes at a time, since blocks of 8 or 16 threads wide make rows of consecutive or equal
 * addresses; what is neither is gathered.
 */
static inline void gather32(struct ptx_warp *w, uint32_t reg, const uint8_t *host,
                            const uint32_t *off)
{
    uint32_t *d = REG(uint32_t, reg);

#if defined(__AVX2__)
    const __m256i steps = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);

    for (uint32_t k = 0; k < PTX_LANES; k += CHUNK) {
        __m256i o = _mm256_loadu_si256((const __m256i *)(const void *)(off + k)), value;
        __m256i delta = _mm256_sub_epi32(o, _mm256_set1_epi32((int)off[k]));

        if (_mm256_testz_si256(delta, delta)) {
            value = _mm256_set1_epi32(*(const int *)(const void *)(host + off[k]));
        } else {
            __m256i differs = _mm256_xor_si256(delta, steps);

            if (_mm256_testz_si256(differs, differs))
                value = _mm256_loadu_si256((const __m256i *)(const void *)(host + off[k]));
            else
                value = _mm256_setr_epi32(*(const int *)(const void *)(host + off[k]),
                                          *(const int *)(const void *)(host + off[k + 1]),
                                          *(const int *)(const void *)(host + off[k + 2]),
                                          *(const int *)(const void *)(host + off[k + 3]),
                                          *(const int *)(const void *)(host + off[k + 4]),
                                          *(const int *)(const void *)(host + off[k + 5]),
                                          *(const int *)(const void *)(host + off[k + 6]),
                                          *(const int *)(const void *)(host + off[k + 7]));
        }
        if (w->mask != PTX_FULL)
            value =
                _mm256_blendv_epi8(_mm256_load_si256((const __m256i *)(const void *)(d + k)), value,
                                   _mm256_load_si256((const __m256i *)(const void *)(w->vm32 + k)));
        _mm256_store_si256((__m256i *)(void *)(d + k), value);
    }
#else
    LANES
    {
        uint32_t r_ = *(const uint32_t *)(const void *)(host + off[l]);

        d[l] = w->vm32[l] ? r_ : d[l];
    }
#endif
}

static inline void gather(struct ptx_warp *w, const struct ptx_insn *i, uint32_t reg,
                          const uint8_t *host, const uint32_t *off)
{
    bool plain = !(i->flags & (PTX_I_WIDE | PTX_I_SIGNED));

    if (i->bytes == 4 && plain) {
        gather32(w, reg, host, off);
    } else if (i->bytes == 8) {
        uint64_t *d = REG(uint64_t, reg);

        for (uint32_t l = 0; l < PTX_LANES; l++) {
            uint64_t r_ = *(const uint64_t *)(const void *)(host + off[l]);

            d[l] = w->vm64[l] ? r_ : d[l];
        }
    } else {
        ACTIVE(w->mask) write_lane(w, i, reg, l, load_element(host + off[l], i->bytes));
    }
}

static inline bool is_consecutive(const uint32_t *off, uint32_t step)
{
    uint32_t differs = 0;

    for (uint32_t l = 0; l < PTX_LANES; l++)
        differs |= off[l] - off[0] - l * step;
    return !differs;
}

static inline void load_from(struct ptx_warp *w, const struct ptx_insn *i, const uint8_t *host,
                             const uint32_t *off)
{
    for (uint32_t k = 0; k < i->count; k++)
        gather(w, i, element_reg(i, k), host + k * i->bytes, off);
}

static inline void store_to(struct ptx_warp *w, const struct ptx_insn *i, uint8_t *host,
                            const uint32_t *off)
{
    if (i->count == 1 && w->mask == PTX_FULL) {
        if (i->bytes == 4 && !(i->flags & PTX_I_WIDE) && is_consecutive(off, 4)) {
            memcpy(host + off[0], REG(uint32_t, i->d), 4 * PTX_LANES);
            return;
        }
        if (i->bytes == 8 && is_consecutive(off, 8)) {
            memcpy(host + off[0], REG(uint64_t, i->d), 8 * PTX_LANES);
            return;
        }
    }
    for (uint32_t k = 0; k < i->count; k++) {
        uint32_t reg = element_reg(i, k);

        if (i->bytes == 4 && !(i->flags & PTX_I_WIDE)) {
            const uint32_t *s = REG(uint32_t, reg);

            ACTIVE(w->mask) * (uint32_t *)(void *)(host + off[l] + k * 4) = s[l];
        } else {
            ACTIVE(w->mask)
            store_element(host + off[l] + k * i->bytes, read_lane(w, i, reg, l), i->bytes);
        }
    }
}

/*
 * Offsets of all active lanes from `base`, if every access of `bytes` is aligned and below `size`: 32 bits are
 * enough, since offsets of 4 GiB and more are refused here (and then go the slow way). Other lanes get offset 0.
 */
static inline bool offsets(const struct ptx_warp *w, const struct ptx_insn *i, uint64_t base,
                           uint64_t size, uint32_t bytes, uint32_t *off)
{
    uint32_t limit, bad = 0;

    if (size < bytes)
        return false;
    limit = size - bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)(size - bytes);
    if (i->flags & PTX_I_ADDR64) {
        const uint64_t *a = REG(uint64_t, i->a);
        uint64_t delta = i->imm - base, high = 0;

        if (w->mask == PTX_FULL) {
            for (uint32_t l = 0; l < PTX_LANES; l++) {
                uint64_t o = a[l] + delta;

                high |= o;
                off[l] = (uint32_t)o;
            }
        } else {
            for (uint32_t l = 0; l < PTX_LANES; l++) {
                uint64_t o = (a[l] + delta) & w->vm64[l];

                high |= o;
                off[l] = (uint32_t)o;
            }
        }
        bad = (uint32_t)(high >> 32);
    } else {
        const uint32_t *a = REG(uint32_t, i->a);
        uint32_t delta = (uint32_t)i->imm;

        if (base)
            return false; /* global addresses have more than 32 bits */
        for (uint32_t l = 0; l < PTX_LANES; l++)
            off[l] = (a[l] + delta) & w->vm32[l];
    }
    for (uint32_t l = 0; l < PTX_LANES; l++)
        bad |= (off[l] > limit ? 1u : 0u) | (off[l] & (bytes - 1));
    return !bad;
}

/* --- global, const, generic --- */
static inline bool tlb_fill(struct ptx_warp *w, struct ptx_tlb *tlb, uint64_t va)
{
    const struct ptx_range *range = ptx_run_find(w, va);

    if (!range)
        return false;
    tlb->base = range->base;
    tlb->bytes = range->bytes;
    tlb->host = range->host;
    tlb->is_readonly = range->is_readonly;
    return true;
}

static inline bool global_inside(struct ptx_warp *w, const struct ptx_insn *i, struct ptx_tlb *tlb,
                                 uint32_t *off)
{
    uint32_t total = (uint32_t)i->bytes * i->count, first = (uint32_t)__builtin_ctz(w->mask);

    if (offsets(w, i, tlb->base, tlb->bytes, total, off))
        return true;
    if (!(i->flags & PTX_I_ADDR64) || !tlb_fill(w, tlb, REG(uint64_t, i->a)[first] + i->imm))
        return false;
    return offsets(w, i, tlb->base, tlb->bytes, total, off);
}

static ptx_next_insn ld_global(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t off[PTX_LANES];
    struct ptx_tlb *tlb = warp_tlb(w, i);

    w->cta->counts.load_bytes += (uint64_t)__builtin_popcount(w->mask) * i->bytes * i->count;
    if (!global_inside(w, i, tlb, off))
        return slow_load(w, i, PTX_SPACE_GLOBAL);
    load_from(w, i, tlb->host, off);
    return i + 1;
}

static ptx_next_insn st_global(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t off[PTX_LANES];
    struct ptx_tlb *tlb = warp_tlb(w, i);

    w->cta->counts.store_bytes += (uint64_t)__builtin_popcount(w->mask) * i->bytes * i->count;
    w->cta->progress++;
    if (!global_inside(w, i, tlb, off) || tlb->is_readonly)
        return slow_store(w, i, PTX_SPACE_GLOBAL);
    store_to(w, i, tlb->host, off);
    return i + 1;
}

/* --- shared --- */
static ptx_next_insn ld_shared(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t off[PTX_LANES];

    if (!offsets(w, i, 0, w->cta->shared_bytes, (uint32_t)i->bytes * i->count, off))
        return slow_load(w, i, PTX_SPACE_SHARED);
    load_from(w, i, w->cta->shared, off);
    return i + 1;
}

static ptx_next_insn st_shared(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t off[PTX_LANES];

    if (!offsets(w, i, 0, w->cta->shared_bytes, (uint32_t)i->bytes * i->count, off))
        return slow_store(w, i, PTX_SPACE_SHARED);
    store_to(w, i, w->cta->shared, off);
    return i + 1;
}

/* --- local, by address --- */
static ptx_next_insn ld_local(struct ptx_warp *w, const struct ptx_insn *i)
{
    return slow_load(w, i, PTX_SPACE_LOCAL);
}

static ptx_next_insn st_local(struct ptx_warp *w, const struct ptx_insn *i)
{
    return slow_store(w, i, PTX_SPACE_LOCAL);
}

/* --- local and function parameters at an offset of the frame that the decoder has checked --- */
static ptx_next_insn ld_frame(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t at = w->frame->local_offset + (uint32_t)i->imm;

    for (uint32_t k = 0; k < i->count; k++, at += i->bytes) {
        const uint8_t *p = ptx_local_at(w, 0, at);
        uint32_t reg = element_reg(i, k);

        if (i->bytes == 4 && !(i->flags & (PTX_I_WIDE | PTX_I_SIGNED))) {
            uint32_t *d = REG(uint32_t, reg);

            LANES
            {
                uint32_t r_ = *(const uint32_t *)(const void *)(p + l * 8);

                d[l] = w->vm32[l] ? r_ : d[l];
            }
        } else if (i->bytes == 8) {
            uint64_t *d = REG(uint64_t, reg);

            LANES
            {
                uint64_t r_ = *(const uint64_t *)(const void *)(p + l * 8);

                d[l] = w->vm64[l] ? r_ : d[l];
            }
        } else {
            ACTIVE(w->mask) write_lane(w, i, reg, l, load_element(p + l * 8, i->bytes));
        }
    }
    return i + 1;
}

static ptx_next_insn st_frame(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t at = w->frame->local_offset + (uint32_t)i->imm;

    for (uint32_t k = 0; k < i->count; k++, at += i->bytes) {
        uint8_t *p = ptx_local_at(w, 0, at);
        uint32_t reg = element_reg(i, k);

        ACTIVE(w->mask) store_element(p + l * 8, read_lane(w, i, reg, l), i->bytes);
    }
    return i + 1;
}

/* The same by bytes: a packed structure's field may lie in two granules. */
static ptx_next_insn ld_frame_bytes(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t at = w->frame->local_offset + (uint32_t)i->imm;

    for (uint32_t k = 0; k < i->count; k++, at += i->bytes)
        ACTIVE(w->mask)
        {
            uint64_t value = 0;

            for (uint32_t n = 0; n < i->bytes; n++)
                value |= (uint64_t)*ptx_local_at(w, l, at + n) << (8 * n);
            write_lane(w, i, element_reg(i, k), l, value);
        }
    return i + 1;
}

static ptx_next_insn st_frame_bytes(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t at = w->frame->local_offset + (uint32_t)i->imm;

    for (uint32_t k = 0; k < i->count; k++, at += i->bytes)
        ACTIVE(w->mask)
        {
            uint64_t value = read_lane(w, i, element_reg(i, k), l);

            for (uint32_t n = 0; n < i->bytes; n++)
                *ptx_local_at(w, l, at + n) = (uint8_t)(value >> (8 * n));
        }
    return i + 1;
}

/* --- kernel parameters --- */
static ptx_next_insn ld_param_const(struct ptx_warp *w, const struct ptx_insn *i)
{
    const uint8_t *p = ptx_run_params(w) + i->imm; /* the decoder has checked the offset */

    for (uint32_t k = 0; k < i->count; k++) {
        uint64_t value = 0;
        uint32_t reg = element_reg(i, k);

        switch (i->bytes) { /* fixed sizes: no call */
        case 8: memcpy(&value, p + k * 8, 8); break;
        case 4: memcpy(&value, p + k * 4, 4); break;
        case 2: memcpy(&value, p + k * 2, 2); break;
        default: value = p[k]; break;
        }
        if (i->flags & PTX_I_SIGNED)
            value = sign_extend(value, i->bytes);
        if (i->flags & PTX_I_WIDE) {
            uint64_t *d = REG(uint64_t, reg);

            LANES d[l] = w->vm64[l] ? value : d[l];
        } else {
            uint32_t *d = REG(uint32_t, reg), low = i->f & 1 ? (uint16_t)value : (uint32_t)value;

            LANES d[l] = w->vm32[l] ? low : d[l];
        }
    }
    return i + 1;
}

static ptx_next_insn ld_param(struct ptx_warp *w, const struct ptx_insn *i)
{
    return slow_load(w, i, PTX_SPACE_PARAM);
}

static ptx_next_insn nop(struct ptx_warp *w, const struct ptx_insn *i)
{
    return i + 1;
}

static enum ptx_space space_of(const struct ptx_inst *in)
{
    return HAS(shared) || HAS(shared_cta) || HAS(shared_cluster) ? PTX_SPACE_SHARED
           : HAS(local)                                          ? PTX_SPACE_LOCAL
           : HAS(param) || HAS(param_entry) || HAS(param_func)   ? PTX_SPACE_PARAM
                                                                 : PTX_SPACE_GLOBAL;
}

/* Generic accesses share the global fast path; addresses in other windows miss it and go the slow way. */
SELECTOR(ld)
{
    switch (space_of(in)) {
    case PTX_SPACE_SHARED: return ld_shared;
    case PTX_SPACE_LOCAL: return ld_local;
    case PTX_SPACE_PARAM: return ld_param;
    default: return ld_global;
    }
}

SELECTOR(ldu)
{
    return ld_global;
}

SELECTOR(st)
{
    switch (space_of(in)) {
    case PTX_SPACE_SHARED: return st_shared;
    case PTX_SPACE_LOCAL: return st_local;
    case PTX_SPACE_PARAM: return st_local; /* of a device function: the frame */
    default: return st_global;
    }
}

SELECTOR(prefetch)
{
    return nop;
}
SELECTOR(prefetchu)
{
    return nop;
}
SELECTOR(discard)
{
    return nop;
}
SELECTOR(applypriority)
{
    return nop;
}
SELECTOR(pmevent)
{
    return nop;
}
SELECTOR(setmaxnreg) /* how many registers a thread has changes no result */
{
    return nop;
}

ptx_op_fn *PTX_V(select_frame)(bool is_store, bool is_aligned);
ptx_op_fn *PTX_V(select_frame)(bool is_store, bool is_aligned)
{
    if (!is_aligned)
        return is_store ? st_frame_bytes : ld_frame_bytes;
    return is_store ? st_frame : ld_frame;
}

ptx_op_fn *PTX_V(select_param_const)(void);
ptx_op_fn *PTX_V(select_param_const)(void)
{
    return ld_param_const;
}
