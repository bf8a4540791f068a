// SPDX-License-Identifier: MIT
/*
 * 16-bit floating point in integer registers: conversions written so that loops over them vectorise, and
 * one correctly rounding narrowing from double that every format and rounding mode shares.
 */
#ifndef VGPU_EXEC_CPU_HALF_H
#define VGPU_EXEC_CPU_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum ptx_rounding { PTX_RN, PTX_RZ, PTX_RM, PTX_RP, PTX_RNA };

#define HALF_NAN 0x7fffu

static inline float bits_f32(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t f32_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, 4);
    return bits;
}

static inline uint64_t f64_bits(double d)
{
    uint64_t bits;

    memcpy(&bits, &d, 8);
    return bits;
}

static inline double bits_f64(uint64_t bits)
{
    double d;

    memcpy(&d, &bits, 8);
    return d;
}

static inline float bf16_to_f32(uint32_t h)
{
    return bits_f32(h << 16);
}

static inline float half_to_f32(uint32_t h)
{
    uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
    /* scaling by 2^112 moves the exponent and normalises subnormals; infinities and NaNs are patched */
    float scaled = bits_f32(rest << 13) * 0x1p112f;
    uint32_t bits = rest >= 0x7c00u ? 0x7f800000u | (rest & 0x3ffu) << 13 : f32_bits(scaled);

    return bits_f32(bits | sign);
}

/*
 * Rounds to a format of `fraction` stored fraction bits and exponents emin .. emax; returns its bits, sign
 * excluded position `width - 1`. Overflow gives infinity or the largest finite value as the mode demands.
 */
static inline uint32_t f64_narrow(double x, uint32_t width, uint32_t fraction, int emin, int emax,
                                  enum ptx_rounding mode, bool saturate_finite)
{
    uint64_t bits = f64_bits(x);
    uint32_t sign = (uint32_t)(bits >> 63);
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t mantissa = bits & ((1ull << 52) - 1), kept, rest, half;
    uint32_t infinity = (uint32_t)((uint32_t)(emax - emin + 2) << fraction), result;
    int shift;

    if (exponent == 0x7ff && mantissa)
        return (1u << (width - 1)) - 1; /* canonical NaN: all ones but the sign */
    if (exponent == 0x7ff)
        return saturate_finite ? (sign << (width - 1) | (infinity - 1))
                               : (sign << (width - 1) | infinity);
    if (exponent)
        mantissa |= 1ull << 52;
    else
        exponent = 1;
    exponent -= 1023;
    shift = 52 - (int)fraction;
    if (exponent < emin)
        shift += emin - exponent;
    if (shift > 62) {
        kept = 0;
        rest = mantissa != 0;
        half = 2;
    } else {
        kept = mantissa >> shift;
        rest = mantissa & ((1ull << shift) - 1);
        half = 1ull << (shift - 1);
    }
    if (rest) {
        bool up = mode == PTX_RN    ? (rest > half || (rest == half && (kept & 1)))
                  : mode == PTX_RNA ? rest >= half
                  : mode == PTX_RP  ? !sign
                  : mode == PTX_RM  ? sign
                                    : false;

        kept += up;
    }
    /* kept has the hidden bit iff normal: adding it to the biased exponent below carries correctly */
    if (exponent < emin)
        result = (uint32_t)kept;
    else if (exponent > emax)
        result = infinity;
    else
        result = (uint32_t)(((uint64_t)(exponent - emin) << fraction) + kept);
    if (result >= infinity) {
        bool to_infinity = mode == PTX_RN || mode == PTX_RNA || (mode == PTX_RP && !sign) ||
                           (mode == PTX_RM && sign);

        result = to_infinity && !saturate_finite ? infinity : infinity - 1;
    }
    return sign << (width - 1) | result;
}

static inline uint32_t f64_to_half(double x, enum ptx_rounding mode)
{
    return f64_narrow(x, 16, 10, -14, 15, mode, false);
}

static inline uint32_t f64_to_bf16(double x, enum ptx_rounding mode)
{
    return f64_narrow(x, 16, 7, -126, 127, mode, false);
}

#endif
