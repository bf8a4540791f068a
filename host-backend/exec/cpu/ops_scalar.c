// SPDX-License-Identifier: MIT
/*
 * Scalar video instructions (PTX ISA "Scalar Video Instructions"): the parts of a and b, the operation without
 * overflow, saturation to the type of d or of its part, then the second operation or the merge with c. video.h
 * describes the immediate.
 */
#include "ops.h"
#include "video.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

/* A shift by 32 of a 33-bit number, a product of two with a third added. */
typedef __int128 wide;

static inline uint32_t part_bits(uint64_t part)
{
    return part == PTX_PART_ALL ? 32 : part >= PTX_PART_H0 ? 16 : 8;
}

static inline uint32_t part_shift(uint64_t part)
{
    return part == PTX_PART_ALL  ? 0
           : part >= PTX_PART_H0 ? 16 * (uint32_t)(part - PTX_PART_H0)
                                 : 8 * (uint32_t)(part - PTX_PART_B0);
}

static inline uint32_t part_mask(uint64_t part)
{
    return 0xffffffffu >> (32 - part_bits(part));
}

static inline int64_t extend(uint32_t x, uint32_t bits, bool is_signed)
{
    int64_t sign = (int64_t)1 << (bits - 1);

    return is_signed ? ((int64_t)x ^ sign) - sign : (int64_t)x;
}

static inline int64_t take(uint32_t x, uint64_t part, bool is_signed)
{
    return extend(x >> part_shift(part) & part_mask(part), part_bits(part), is_signed);
}

static inline wide saturate(wide x, uint32_t bits, bool is_signed)
{
    wide high = ((wide)1 << (is_signed ? bits - 1 : bits)) - 1;
    wide low = is_signed ? -high - 1 : 0;

    return x < low ? low : x > high ? high : x;
}

static inline uint32_t finish(wide x, uint32_t c, uint64_t imm)
{
    uint64_t part = imm >> PTX_SCALAR_PART_D & 15;
    bool is_signed = imm & PTX_SCALAR_SIGNED_D;
    wide third = extend(c, 32, is_signed);

    if (imm & PTX_SCALAR_SAT)
        x = saturate(x, part_bits(part), is_signed);
    switch ((enum ptx_scalar_second)(imm >> PTX_SCALAR_SECOND & 15)) {
    case PTX_SECOND_ADD: return (uint32_t)(x + third);
    case PTX_SECOND_MIN: return (uint32_t)(x < third ? x : third);
    case PTX_SECOND_MAX: return (uint32_t)(x > third ? x : third);
    default: break;
    }
    if (part == PTX_PART_ALL)
        return (uint32_t)x;
    return (c & ~(part_mask(part) << part_shift(part))) | ((uint32_t)x & part_mask(part))
                                                              << part_shift(part);
}

static inline uint32_t distance(int64_t by, uint64_t imm)
{
    return imm & PTX_SCALAR_WRAP ? (uint32_t)by & 31 : by > 32 ? 32 : (uint32_t)by;
}

/* The sign of the sum is that of the sources and negations, whatever d's type. */
static inline uint32_t multiply_add(int64_t x, int64_t y, uint32_t c, uint64_t imm)
{
    bool is_signed = imm & (PTX_SCALAR_SIGNED_A | PTX_SCALAR_SIGNED_B | PTX_SCALAR_MINUS_AB |
                            PTX_SCALAR_MINUS_C);
    wide sum = (wide)x * y;

    if (imm & PTX_SCALAR_MINUS_AB)
        sum = -sum;
    sum += extend(imm & PTX_SCALAR_MINUS_C ? ~c : c, 32, is_signed);
    sum += imm & (PTX_SCALAR_PLUS_ONE | PTX_SCALAR_MINUS_C) ? 1 : 0;
    sum >>= imm >> PTX_SCALAR_SHIFT & 15;
    return (uint32_t)(imm & PTX_SCALAR_SAT ? saturate(sum, 32, is_signed) : sum);
}

/* x and y of EXPR are the parts of a and b that are taken. */
#define SCALAR(name, EXPR)                                                                         \
    static inline uint32_t name##_one(uint32_t a, uint32_t b, uint32_t c, uint64_t imm)            \
    {                                                                                              \
        int64_t x = take(a, imm >> PTX_SCALAR_PART_A & 15, imm & PTX_SCALAR_SIGNED_A);             \
        int64_t y = take(b, imm >> PTX_SCALAR_PART_B & 15, imm & PTX_SCALAR_SIGNED_B);             \
                                                                                                   \
        return EXPR;                                                                               \
    }                                                                                              \
    OP3_SCALAR(name##_32, uint32_t, uint32_t, uint32_t, uint32_t,                                  \
               name##_one(a[l], b[l], c[l], i->imm))                                               \
    SELECTOR(name)                                                                                 \
    {                                                                                              \
        (void)in;                                                                                  \
        return name##_32;                                                                          \
    }
SCALAR(vadd, finish(x + y, c, imm))
SCALAR(vsub, finish(x - y, c, imm))
SCALAR(vabsdiff, finish(x > y ? x - y : y - x, c, imm))
SCALAR(vmin, finish(x < y ? x : y, c, imm))
SCALAR(vmax, finish(x > y ? x : y, c, imm))
SCALAR(vshl, finish((wide)x *((wide)1 << distance(y, imm)), c, imm))
SCALAR(vshr, finish(x >> distance(y, imm), c, imm))
SCALAR(vset, finish(ptx_video_compare(x, y, imm), c, imm))
SCALAR(vmad, multiply_add(x, y, c, imm))
