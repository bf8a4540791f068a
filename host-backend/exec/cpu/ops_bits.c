// SPDX-License-Identifier: MIT
/*
 * Logic, shifts, bit fields, byte permutation, dot products (PTX ISA "Logic and Shift Instructions" and the
 * bit-manipulation part of "Integer Arithmetic Instructions").
 *
 * Shift amounts are unsigned 32-bit and clamp: a shift by the width or more gives zero or the sign.
 */
#include "ops.h"

#define CUT(x) ((uint32_t)(uint16_t)(x))
#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

static ptx_op_fn *width(const struct ptx_inst *in, ptx_op_fn *f16, ptx_op_fn *f32, ptx_op_fn *f64)
{
    uint32_t bytes = ptx_type_bytes(T0);

    return bytes == 2 ? f16 : bytes == 4 ? f32 : bytes == 8 ? f64 : NULL;
}

/* Predicates are all-ones or zero in 32-bit slots, so they share the 32-bit operations. */
static ptx_op_fn *width_pred(const struct ptx_inst *in, ptx_op_fn *f16, ptx_op_fn *f32,
                             ptx_op_fn *f64)
{
    return T0 == PTX_T_pred ? f32 : width(in, f16, f32, f64);
}

OP2(and_32, uint32_t, uint32_t, uint32_t, a[l] & b[l])
OP2(and_64, uint64_t, uint64_t, uint64_t, a[l] & b[l])
OP2(or_32, uint32_t, uint32_t, uint32_t, a[l] | b[l])
OP2(or_64, uint64_t, uint64_t, uint64_t, a[l] | b[l])
OP2(xor_32, uint32_t, uint32_t, uint32_t, a[l] ^ b[l])
OP2(xor_64, uint64_t, uint64_t, uint64_t, a[l] ^ b[l])
OP1(not_16, uint32_t, uint32_t, CUT(~a[l]))
OP1(not_32, uint32_t, uint32_t, ~a[l])
OP1(not_64, uint64_t, uint64_t, ~a[l])
OP1(cnot_32, uint32_t, uint32_t, a[l] == 0)
OP1(cnot_64, uint64_t, uint64_t, a[l] == 0)
SELECTOR(and)
{
    return width_pred(in, and_32, and_32, and_64);
}
SELECTOR(or)
{
    return width_pred(in, or_32, or_32, or_64);
}
SELECTOR(xor)
{
    return width_pred(in, xor_32, xor_32, xor_64);
}
SELECTOR(not )
{
    return width_pred(in, not_16, not_32, not_64);
}
SELECTOR(cnot)
{
    return width(in, cnot_32, cnot_32, cnot_64);
}

/* lop3: the table is indexed by the bits of a, b, c with a the most significant. */
static inline uint32_t lop3(uint32_t x, uint32_t y, uint32_t z, uint32_t lut)
{
    uint32_t r = 0;

    r |= lut & 0x01 ? ~x & ~y & ~z : 0;
    r |= lut & 0x02 ? ~x & ~y & z : 0;
    r |= lut & 0x04 ? ~x & y & ~z : 0;
    r |= lut & 0x08 ? ~x & y & z : 0;
    r |= lut & 0x10 ? x & ~y & ~z : 0;
    r |= lut & 0x20 ? x & ~y & z : 0;
    r |= lut & 0x40 ? x & y & ~z : 0;
    r |= lut & 0x80 ? x & y & z : 0;
    return r;
}
OP3(lop3_32, uint32_t, uint32_t, uint32_t, uint32_t, lop3(a[l], b[l], c[l], (uint32_t)i->imm))
SELECTOR(lop3)
{
    return lop3_32;
}

#define LOP3P(name, OP)                                                                            \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        uint32_t *d = REG(uint32_t, i->d), *p = REG(uint32_t, i->e);                               \
        const uint32_t *a = REG(uint32_t, i->a), *b = REG(uint32_t, i->b),                         \
                       *c = REG(uint32_t, i->c);                                                   \
        const uint32_t *q = REG(uint32_t, i->f);                                                   \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            uint32_t r = lop3(a[l], b[l], c[l], (uint32_t)i->imm), set = r ? PTX_FULL : 0;         \
            p[l] = set OP q[l];                                                                    \
            d[l] = r;                                                                              \
        }                                                                                          \
        return i + 1;                                                                              \
    }
LOP3P(lop3_or, |)
LOP3P(lop3_and, &)
SELECTOR(lop3p)
{
    return lop3_or;
}
SELECTOR(lop3q)
{
    return lop3_and;
}

OP2(shl_16, uint32_t, uint32_t, uint32_t, b[l] > 15 ? 0 : CUT(a[l] << (b[l] & 15)))
OP2(shl_32, uint32_t, uint32_t, uint32_t, b[l] > 31 ? 0 : a[l] << (b[l] & 31))
OP2(shl_64, uint64_t, uint64_t, uint32_t, b[l] > 63 ? 0 : a[l] << (b[l] & 63))
OP2(shr_u16, uint32_t, uint32_t, uint32_t, b[l] > 15 ? 0 : a[l] >> (b[l] & 15))
OP2(shr_u32, uint32_t, uint32_t, uint32_t, b[l] > 31 ? 0 : a[l] >> (b[l] & 31))
OP2(shr_u64, uint64_t, uint64_t, uint32_t, b[l] > 63 ? 0 : a[l] >> (b[l] & 63))
OP2(shr_s16, uint32_t, uint32_t, uint32_t, CUT((int32_t)(int16_t)a[l] >> (b[l] > 15 ? 15 : b[l])))
OP2(shr_s32, uint32_t, int32_t, uint32_t, a[l] >> (b[l] > 31 ? 31 : b[l]))
OP2(shr_s64, uint64_t, int64_t, uint32_t, a[l] >> (b[l] > 63 ? 63 : b[l]))
SELECTOR(shl)
{
    return width(in, shl_16, shl_32, shl_64);
}
SELECTOR(shr)
{
    return ptx_type_is_signed(T0) ? width(in, shr_s16, shr_s32, shr_s64)
                                  : width(in, shr_u16, shr_u32, shr_u64);
}

/* shf: a is the low, b the high half. */
#define FUNNEL(x, y) ((uint64_t)(y) << 32 | (x))
OP3(shf_l_wrap, uint32_t, uint32_t, uint32_t, uint32_t, (FUNNEL(a[l], b[l]) << (c[l] & 31)) >> 32)
OP3(shf_l_clamp, uint32_t, uint32_t, uint32_t, uint32_t,
    (FUNNEL(a[l], b[l]) << (c[l] > 32 ? 32 : c[l])) >> 32)
OP3(shf_r_wrap, uint32_t, uint32_t, uint32_t, uint32_t, FUNNEL(a[l], b[l]) >> (c[l] & 31))
OP3(shf_r_clamp, uint32_t, uint32_t, uint32_t, uint32_t,
    FUNNEL(a[l], b[l]) >> (c[l] > 32 ? 32 : c[l]))
SELECTOR(shf)
{
    if (HAS(wrap) == HAS(clamp) || HAS(l) == HAS(r))
        return NULL;
    return HAS(l) ? (HAS(wrap) ? shf_l_wrap : shf_l_clamp) : (HAS(wrap) ? shf_r_wrap : shf_r_clamp);
}

OP1(popc_32, uint32_t, uint32_t, __builtin_popcount(a[l]))
OP1(popc_64, uint32_t, uint64_t, __builtin_popcountll(a[l]))
OP1(clz_32, uint32_t, uint32_t, a[l] ? __builtin_clz(a[l]) : 32)
OP1(clz_64, uint32_t, uint64_t, a[l] ? __builtin_clzll(a[l]) : 64)
SELECTOR(popc)
{
    return width(in, NULL, popc_32, popc_64);
}
SELECTOR(clz)
{
    return width(in, NULL, clz_32, clz_64);
}

/* bfind: position of the highest bit that differs from the sign; none: all ones. */
static inline uint32_t bfind64(uint64_t x, bool is_signed, bool shiftamt, uint32_t bits)
{
    uint32_t at;

    if (is_signed && (int64_t)x < 0)
        x = ~x;
    if (!x)
        return PTX_FULL;
    at = 63u - (uint32_t)__builtin_clzll(x);
    return shiftamt ? bits - 1 - at : at;
}
OP1(bfind_u32, uint32_t, uint32_t, bfind64(a[l], false, false, 32))
OP1(bfind_s32, uint32_t, int32_t, bfind64((uint64_t)(int64_t)a[l], true, false, 32))
OP1(bfind_u64, uint32_t, uint64_t, bfind64(a[l], false, false, 64))
OP1(bfind_s64, uint32_t, uint64_t, bfind64(a[l], true, false, 64))
OP1(bfind_shift_u32, uint32_t, uint32_t, bfind64(a[l], false, true, 32))
OP1(bfind_shift_s32, uint32_t, int32_t, bfind64((uint64_t)(int64_t)a[l], true, true, 32))
OP1(bfind_shift_u64, uint32_t, uint64_t, bfind64(a[l], false, true, 64))
OP1(bfind_shift_s64, uint32_t, uint64_t, bfind64(a[l], true, true, 64))
SELECTOR(bfind)
{
    if (HAS(shiftamt))
        return ptx_type_is_signed(T0) ? width(in, NULL, bfind_shift_s32, bfind_shift_s64)
                                      : width(in, NULL, bfind_shift_u32, bfind_shift_u64);
    return ptx_type_is_signed(T0) ? width(in, NULL, bfind_s32, bfind_s64)
                                  : width(in, NULL, bfind_u32, bfind_u64);
}

/* fns: the n-th set bit from a base position; n = 0 asks for the base bit itself. */
static inline uint32_t fns(uint32_t mask, uint32_t base, int32_t offset)
{
    int32_t at = (int32_t)base, step = offset < 0 ? -1 : 1, left = offset < 0 ? -offset : offset;

    if (base > 31)
        return PTX_FULL;
    if (offset == 0)
        return mask >> base & 1 ? base : PTX_FULL;
    for (; at >= 0 && at < 32; at += step)
        if ((mask >> at & 1) && --left == 0)
            return (uint32_t)at;
    return PTX_FULL;
}
OP3_SCALAR(fns_32, uint32_t, uint32_t, uint32_t, int32_t,
           fns(a[l], b[l], c[l] == INT32_MIN ? INT32_MAX : c[l]))
SELECTOR(fns)
{
    return fns_32;
}

static inline uint32_t reverse32(uint32_t x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return x >> 24 | (x >> 8 & 0xff00u) | (x & 0xff00u) << 8 | x << 24;
}
OP1(brev_32, uint32_t, uint32_t, reverse32(a[l]))
OP1(brev_64, uint64_t, uint64_t,
    (uint64_t)reverse32((uint32_t)a[l]) << 32 | reverse32((uint32_t)(a[l] >> 32)))
SELECTOR(brev)
{
    return width(in, NULL, brev_32, brev_64);
}

/*
 * bfe: bits above the top are the sign (or zero). Position and length are the low bytes of b and c; the 64-bit
 * forms take them whole, as an H100 does (the ISA restricts them to 0 .. 255; decision 0005).
 */
static inline uint64_t bfe(uint64_t x, uint32_t pos, uint32_t len, uint32_t bits, bool is_signed)
{
    uint64_t sign, r, top;

    if (bits == 32) {
        pos &= 255;
        len &= 255;
    }
    if (len == 0)
        return 0;
    top = (uint64_t)pos + len - 1;
    sign = !is_signed ? 0 : x >> (top < bits - 1 ? top : bits - 1) & 1;
    r = pos > 63 ? 0 : x >> pos;
    if (pos >= bits)
        return sign ? ~0ull : 0;
    if (len > bits - pos)
        len = bits - pos;
    r &= len > 63 ? ~0ull : (1ull << len) - 1;
    if (sign)
        r |= len > 63 ? 0 : ~0ull << len;
    return r;
}
OP3_SCALAR(bfe_u32, uint32_t, uint32_t, uint32_t, uint32_t, bfe(a[l], b[l], c[l], 32, false))
OP3_SCALAR(bfe_s32, uint32_t, uint32_t, uint32_t, uint32_t, bfe(a[l], b[l], c[l], 32, true))
OP3_SCALAR(bfe_u64, uint64_t, uint64_t, uint32_t, uint32_t, bfe(a[l], b[l], c[l], 64, false))
OP3_SCALAR(bfe_s64, uint64_t, uint64_t, uint32_t, uint32_t, bfe(a[l], b[l], c[l], 64, true))
SELECTOR(bfe)
{
    return ptx_type_is_signed(T0) ? width(in, NULL, bfe_s32, bfe_s64)
                                  : width(in, NULL, bfe_u32, bfe_u64);
}

/* bfi: inserts a into b at c, length from operand e. */
static inline uint64_t bfi(uint64_t x, uint64_t y, uint32_t pos, uint32_t len, uint32_t bits)
{
    uint64_t mask;

    if (bits == 32) {
        pos &= 255;
        len &= 255;
    }
    if (pos >= bits || len == 0)
        return y;
    if (len > bits - pos)
        len = bits - pos;
    mask = (len > 63 ? ~0ull : (1ull << len) - 1) << pos;
    return (y & ~mask) | ((x << pos) & mask);
}
OP3_SCALAR(bfi_32, uint32_t, uint32_t, uint32_t, uint32_t,
           bfi(a[l], b[l], c[l], REG(uint32_t, i->e)[l], 32))
OP3_SCALAR(bfi_64, uint64_t, uint64_t, uint64_t, uint32_t,
           bfi(a[l], b[l], c[l], REG(uint32_t, i->e)[l], 64))
SELECTOR(bfi)
{
    return width(in, NULL, bfi_32, bfi_64);
}

/* bmsk, szext (PTX ISA 7.6) */
static inline uint32_t bmsk(uint32_t pos, uint32_t len, bool clamp)
{
    uint64_t mask;

    if (!clamp) {
        pos &= 31;
        len &= 31;
    } else if (pos > 31) {
        return 0;
    }
    if (len > 32)
        len = 32;
    mask = ((1ull << len) - 1) << pos;
    return (uint32_t)mask;
}
OP2(bmsk_clamp, uint32_t, uint32_t, uint32_t, bmsk(a[l], b[l], true))
OP2(bmsk_wrap, uint32_t, uint32_t, uint32_t, bmsk(a[l], b[l], false))
SELECTOR(bmsk)
{
    return HAS(clamp) ? bmsk_clamp : HAS(wrap) ? bmsk_wrap : NULL;
}

static inline uint32_t szext(uint32_t x, uint32_t bits, bool clamp, bool is_signed)
{
    bits = clamp ? bits : bits & 31;
    if (bits == 0)
        return 0;
    if (bits > 31)
        return x;
    x <<= 32 - bits;
    return is_signed ? (uint32_t)((int32_t)x >> (32 - bits)) : x >> (32 - bits);
}
OP2(szext_cu, uint32_t, uint32_t, uint32_t, szext(a[l], b[l], true, false))
OP2(szext_cs, uint32_t, uint32_t, uint32_t, szext(a[l], b[l], true, true))
OP2(szext_wu, uint32_t, uint32_t, uint32_t, szext(a[l], b[l], false, false))
OP2(szext_ws, uint32_t, uint32_t, uint32_t, szext(a[l], b[l], false, true))
SELECTOR(szext)
{
    bool s = ptx_type_is_signed(T0);

    return HAS(clamp) ? (s ? szext_cs : szext_cu) : HAS(wrap) ? (s ? szext_ws : szext_wu) : NULL;
}

/* prmt: eight source bytes, four selectors; bit 3 of a selector replicates the sign. */
static inline uint32_t prmt(uint32_t x, uint32_t y, uint32_t selectors)
{
    uint64_t bytes = (uint64_t)y << 32 | x;
    uint32_t r = 0;

    for (uint32_t k = 0; k < 4; k++) {
        uint32_t s = selectors >> (k * 4) & 15;
        uint32_t byte = (uint32_t)(bytes >> ((s & 7) * 8)) & 255;

        if (s & 8)
            byte = byte & 128 ? 255 : 0;
        r |= byte << (k * 8);
    }
    return r;
}

enum { PRMT_F4E, PRMT_B4E, PRMT_RC8, PRMT_ECL, PRMT_ECR, PRMT_RC16 };

static inline uint32_t prmt_mode(uint32_t x, uint32_t y, uint32_t c, uint32_t mode)
{
    static const uint16_t table[6][4] = {
        {0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
        {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
        {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232},
    };

    return prmt(x, y, table[mode][c & 3]);
}
OP3(prmt_32, uint32_t, uint32_t, uint32_t, uint32_t, prmt(a[l], b[l], c[l]))
#define PRMT(mode, M)                                                                              \
    OP3_SCALAR(prmt_##mode, uint32_t, uint32_t, uint32_t, uint32_t, prmt_mode(a[l], b[l], c[l], M))
PRMT(f4e, PRMT_F4E)
PRMT(b4e, PRMT_B4E)
PRMT(rc8, PRMT_RC8)
PRMT(ecl, PRMT_ECL)
PRMT(ecr, PRMT_ECR)
PRMT(rc16, PRMT_RC16)
SELECTOR(prmt)
{
    return HAS(f4e)    ? prmt_f4e
           : HAS(b4e)  ? prmt_b4e
           : HAS(rc8)  ? prmt_rc8
           : HAS(ecl)  ? prmt_ecl
           : HAS(ecr)  ? prmt_ecr
           : HAS(rc16) ? prmt_rc16
                       : prmt_32;
}

/* dp4a, dp2a: types of a and b are chosen separately. */
static inline int64_t byte_of(uint32_t x, uint32_t k, bool is_signed)
{
    uint32_t byte = x >> (k * 8) & 255;

    return is_signed ? (int64_t)(int8_t)byte : (int64_t)byte;
}
static inline int64_t half_of(uint32_t x, uint32_t k, bool is_signed)
{
    uint32_t half = x >> (k * 16) & 0xffff;

    return is_signed ? (int64_t)(int16_t)half : (int64_t)half;
}
static inline uint32_t dp4a(uint32_t x, uint32_t y, uint32_t z, bool xs, bool ys)
{
    int64_t sum = 0;

    for (uint32_t k = 0; k < 4; k++)
        sum += byte_of(x, k, xs) * byte_of(y, k, ys);
    return z + (uint32_t)sum;
}
static inline uint32_t dp2a(uint32_t x, uint32_t y, uint32_t z, bool xs, bool ys, uint32_t first)
{
    int64_t sum =
        half_of(x, 0, xs) * byte_of(y, first, ys) + half_of(x, 1, xs) * byte_of(y, first + 1, ys);

    return z + (uint32_t)sum;
}
#define DOT(n, xs, ys)                                                                             \
    OP3(dp4a_##n, uint32_t, uint32_t, uint32_t, uint32_t, dp4a(a[l], b[l], c[l], xs, ys))          \
    OP3(dp2a_lo_##n, uint32_t, uint32_t, uint32_t, uint32_t, dp2a(a[l], b[l], c[l], xs, ys, 0))    \
    OP3(dp2a_hi_##n, uint32_t, uint32_t, uint32_t, uint32_t, dp2a(a[l], b[l], c[l], xs, ys, 2))
DOT(uu, false, false)
DOT(us, false, true)
DOT(su, true, false)
DOT(ss, true, true)
#define DOT_PICK(op)                                                                               \
    (ptx_type_is_signed(T0) ? (ptx_type_is_signed(T1) ? op##ss : op##su)                           \
                            : (ptx_type_is_signed(T1) ? op##us : op##uu))
SELECTOR(dp4a)
{
    return DOT_PICK(dp4a_);
}
SELECTOR(dp2a)
{
    return HAS(hi) ? DOT_PICK(dp2a_hi_) : HAS(lo) ? DOT_PICK(dp2a_lo_) : NULL;
}
