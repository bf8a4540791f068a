// SPDX-License-Identifier: MIT
/*
 * ld and st of one 32-bit register by a full warp whose lanes form rows: the commonest accesses by far, done on vector
 * registers. Everything else (other lanes masked off, other shapes, addresses that are not all inside one
 * allocation or not aligned) goes to the general operation in ops_mem.c, which insn->inner2 names; so does whatever
 * faults.
 *
 * Global memory: the 32 lanes are two rows of 16 consecutive words, as in thread blocks whose width is a multiple of 16;
 * a row that continues the other is the usual case. Shared memory: four groups of 8 lanes, each on consecutive words
 * or all on the same one.
 *
 * Each access is checked against the allocation, or the block's shared memory, from the very numbers that it uses.
 * Only the AVX2 build has these operations; the other one's select_row returns NULL.
 */
#include "ops.h"

ptx_op_fn *PTX_V(select_row)(bool is_store, bool is_shared);

#if defined(__AVX2__)
#include <immintrin.h>

#define ROW_LANES 16u
#define ROW_BYTES (4 * ROW_LANES)
#define GROUP     8u
/* In a grid the next warps mostly go on where this one ends; their rows are asked for this many bytes ahead. */
#define AHEAD 1024

static inline __m256i load8(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline void store8(void *to, __m256i value)
{
    _mm256_storeu_si256((__m256i *)to, value);
}

/* --- global memory --- */

/* The host addresses of the two rows, if the lanes form them and they are inside the allocation last used here. */
static inline bool rows_of(const struct ptx_warp *w, const struct ptx_insn *i,
                           const struct ptx_tlb *tlb, uint8_t *rows[2])
{
    const uint64_t *a = REG(uint64_t, i->a);
    __m256i differs = _mm256_setzero_si256();
    uint64_t first = a[0] + i->imm - tlb->base, second = a[ROW_LANES] + i->imm - tlb->base;

    for (uint32_t r = 0; r < 2; r++) {
        __m256i expected = _mm256_add_epi64(_mm256_set1_epi64x((long long)a[r * ROW_LANES]),
                                            _mm256_setr_epi64x(0, 4, 8, 12));

        for (uint32_t k = 0; k < ROW_LANES; k += 4) {
            differs =
                _mm256_or_si256(differs, _mm256_xor_si256(load8(a + r * ROW_LANES + k), expected));
            expected = _mm256_add_epi64(expected, _mm256_set1_epi64x(16));
        }
    }
    if (!_mm256_testz_si256(differs, differs) || ((first | second) & 3))
        return false;
    if (tlb->bytes < ROW_BYTES || first > tlb->bytes - ROW_BYTES || second > tlb->bytes - ROW_BYTES)
        return false;
    rows[0] = tlb->host + first;
    rows[1] = tlb->host + second;
    return true;
}

static ptx_next_insn ld_global_row(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint8_t *rows[2];

    if (w->mask != PTX_FULL || !rows_of(w, i, warp_tlb(w, i), rows))
        return i->inner2(w, i);
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t *d = REG(uint32_t, i->d) + r * ROW_LANES;

        _mm_prefetch((const char *)rows[r] + AHEAD, _MM_HINT_T0);
        store8(d, load8(rows[r]));
        store8(d + GROUP, load8(rows[r] + 4 * GROUP));
    }
    w->cta->counts.load_bytes += 4 * PTX_LANES;
    return i + 1;
}

static ptx_next_insn st_global_row(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_tlb *tlb = warp_tlb(w, i);
    uint8_t *rows[2];

    if (w->mask != PTX_FULL || tlb->is_readonly || !rows_of(w, i, tlb, rows))
        return i->inner2(w, i);
    for (uint32_t r = 0; r < 2; r++) { /* in the order of lanes: rows may overlap */
        const uint32_t *s = REG(uint32_t, i->d) + r * ROW_LANES;

        __builtin_prefetch(rows[r] + AHEAD, 1);
        store8(rows[r], load8(s));
        store8(rows[r] + 4 * GROUP, load8(s + GROUP));
    }
    w->cta->counts.store_bytes += 4 * PTX_LANES;
    w->cta->progress++;
    return i + 1;
}

/* --- shared memory, 32-bit addresses --- */
struct groups {
    __m256i at[4]; /* offsets in shared memory, of 8 lanes each */
};

/* False if any lane's word is not aligned or not inside. */
static inline bool groups_of(const struct ptx_warp *w, const struct ptx_insn *i, struct groups *g)
{
    const uint32_t *a = REG(uint32_t, i->a);
    __m256i offset = _mm256_set1_epi32((int)(uint32_t)i->imm), most, low, limit;

    if (w->cta->shared_bytes < 4)
        return false;
    limit = _mm256_set1_epi32((int)(w->cta->shared_bytes - 4));
    for (uint32_t k = 0; k < 4; k++)
        g->at[k] = _mm256_add_epi32(load8(a + GROUP * k), offset);
    most = _mm256_max_epu32(_mm256_max_epu32(g->at[0], g->at[1]),
                            _mm256_max_epu32(g->at[2], g->at[3]));
    low = _mm256_or_si256(_mm256_or_si256(g->at[0], g->at[1]), _mm256_or_si256(g->at[2], g->at[3]));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32(most, limit), limit)) == -1 &&
           _mm256_testz_si256(low, _mm256_set1_epi32(3));
}

static inline uint32_t first_of(__m256i at)
{
    return (uint32_t)_mm256_cvtsi256_si32(at);
}

static inline __m256i from_first(__m256i at)
{
    return _mm256_sub_epi32(at, _mm256_broadcastd_epi32(_mm256_castsi256_si128(at)));
}

#define STEPS _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28)

static inline __m256i load_each(const uint8_t *shared, __m256i at)
{
    uint32_t off[GROUP], value[GROUP];

    store8(off, at);
    for (uint32_t l = 0; l < GROUP; l++)
        value[l] = *(const uint32_t *)(const void *)(shared + off[l]);
    return load8(value);
}

static inline __m256i load_group(const uint8_t *shared, __m256i at)
{
    __m256i delta = from_first(at), steps = _mm256_xor_si256(delta, STEPS);

    if (_mm256_testz_si256(delta, delta))
        return _mm256_set1_epi32(*(const int *)(const void *)(shared + first_of(at)));
    if (_mm256_testz_si256(steps, steps))
        return load8(shared + first_of(at));
    return load_each(shared, at);
}

static ptx_next_insn ld_shared_row(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t *d = REG(uint32_t, i->d);
    const uint8_t *shared = w->cta->shared;
    struct groups g;

    if (w->mask != PTX_FULL || !groups_of(w, i, &g))
        return i->inner2(w, i);
    for (uint32_t k = 0; k < 4; k++)
        store8(d + GROUP * k, load_group(shared, g.at[k]));
    return i + 1;
}

static ptx_next_insn st_shared_row(struct ptx_warp *w, const struct ptx_insn *i)
{
    const uint32_t *s = REG(uint32_t, i->d);
    uint8_t *shared = w->cta->shared;
    __m256i differs = _mm256_setzero_si256();
    struct groups g;

    if (w->mask != PTX_FULL || !groups_of(w, i, &g))
        return i->inner2(w, i);
    for (uint32_t k = 0; k < 4; k++)
        differs = _mm256_or_si256(differs, _mm256_xor_si256(from_first(g.at[k]), STEPS));
    if (!_mm256_testz_si256(differs, differs))
        return i->inner2(w, i);
    for (uint32_t k = 0; k < 4; k++)
        store8(shared + first_of(g.at[k]), load8(s + GROUP * k));
    return i + 1;
}

ptx_op_fn *PTX_V(select_row)(bool is_store, bool is_shared)
{
    if (is_shared)
        return is_store ? st_shared_row : ld_shared_row;
    return is_store ? st_global_row : ld_global_row;
}
#else
ptx_op_fn *PTX_V(select_row)(bool is_store, bool is_shared)
{
    (void)is_store, (void)is_shared;
    return NULL;
}
#endif
