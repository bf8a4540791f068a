// SPDX-License-Identifier: MIT
/*
 * f16, bf16 and their packed pairs (PTX ISA "Half Precision Floating-Point Instructions").
 *
 * Values are widened, computed in double and rounded once. A sum or product of two halves is exact in double; fma
 * is a*b exact, plus c with the error of the addition folded into the last bit (round to odd), so that the final
 * rounding sees on which side of a tie the exact result lies.
 *
 * One table row of forms for each operation: plain, .ftz, .sat, .ftz.sat, .relu, .ftz.relu; pairs run the
 * scalar form on each half.
 */
#include "ops.h"
#include "half.h"

#include <math.h>

enum { FORM_FTZ = 1, FORM_SAT = 2, FORM_RELU = 4, FORM_NAN = 8, FORM_XORSIGN = 16 };

static inline uint32_t half_ftz(uint32_t h)
{
    return h & 0x7c00u ? h : h & 0x8000u;
}

static inline double wide_f16(uint32_t h, uint32_t form)
{
    return half_to_f32(form & FORM_FTZ ? half_ftz(h) : h);
}

static inline double wide_bf16(uint32_t h, uint32_t form)
{
    (void)form;
    return bf16_to_f32(h);
}

/* p is exact; the sum's error decides ties. */
static inline double add_to_odd(double p, double c)
{
    double sum = p + c, shadow, error;
    uint64_t bits;

    if (!isfinite(sum))
        return sum;
    shadow = sum - p;
    error = (p - (sum - shadow)) + (c - shadow);
    bits = f64_bits(sum);
    if (error != 0 && !(bits & 1)) /* step towards the exact value if that makes it odd */
        bits += (error > 0) == (sum > 0) ? 1 : sum == 0 ? 0 : -1;
    return bits_f64(bits);
}

static inline double finish(double r, uint32_t form)
{
    if (form & FORM_SAT)
        r = r >= 1.0 ? 1.0 : r > 0.0 ? r : 0.0;
    if (form & FORM_RELU)
        r = r > 0.0 || r != r ? r : 0.0;
    return r;
}

static inline uint32_t narrow_f16(double r, uint32_t form)
{
    r = finish(r, form);
    if ((form & FORM_FTZ) && fabs(r) < 0x1.ffep-15) /* what rounds to less than the least normal */
        r = copysign(0.0, r);
    return f64_to_half(r, PTX_RN);
}

static inline uint32_t narrow_bf16(double r, uint32_t form)
{
    return f64_to_bf16(finish(r, form), PTX_RN);
}

static inline double h_add(double x, double y, double z)
{
    return x + y;
}
static inline double h_sub(double x, double y, double z)
{
    return x - y;
}
static inline double h_mul(double x, double y, double z)
{
    return x * y;
}
static inline double h_fma(double x, double y, double z)
{
    return add_to_odd(x * y, z);
}
static inline double h_ex2(double x, double y, double z)
{
    return exp2(x);
}
static inline double h_tanh(double x, double y, double z)
{
    return tanh(x);
}

/* bf16 products are exact in double, sums are not: exponents span 2^-133 .. 2^128. */
static inline double b_add(double x, double y, double z)
{
    return add_to_odd(x, y);
}
static inline double b_sub(double x, double y, double z)
{
    return add_to_odd(x, -y);
}

#define SCALAR(name, K, E, FORM)                                                                   \
    static inline uint32_t name##_one(uint32_t x, uint32_t y, uint32_t z)                          \
    {                                                                                              \
        return narrow_##K(                                                                         \
            E(wide_##K(x & 0xffff, FORM), wide_##K(y & 0xffff, FORM), wide_##K(z & 0xffff, FORM)), \
            FORM);                                                                                 \
    }                                                                                              \
    OP3_SCALAR(name##_1, uint32_t, uint32_t, uint32_t, uint32_t, name##_one(a[l], b[l], c[l]))     \
    OP3_SCALAR(name##_2, uint32_t, uint32_t, uint32_t, uint32_t,                                   \
               name##_one(a[l], b[l], c[l]) | name##_one(a[l] >> 16, b[l] >> 16, c[l] >> 16)       \
                                                  << 16)
#define FORMS(name, K, E)                                                                          \
    SCALAR(name, K, E, 0)                                                                          \
    SCALAR(name##_ftz, K, E, FORM_FTZ)                                                             \
    SCALAR(name##_sat, K, E, FORM_SAT)                                                             \
    SCALAR(name##_ftz_sat, K, E, FORM_FTZ | FORM_SAT)

FORMS(hadd, f16, h_add)
FORMS(hsub, f16, h_sub)
FORMS(hmul, f16, h_mul)
FORMS(hfma, f16, h_fma)
SCALAR(hfma_relu, f16, h_fma, FORM_RELU)
SCALAR(hfma_ftz_relu, f16, h_fma, FORM_RELU | FORM_FTZ)
SCALAR(hex2, f16, h_ex2, 0)
SCALAR(htanh, f16, h_tanh, 0)
SCALAR(badd, bf16, b_add, 0)
SCALAR(bsub, bf16, b_sub, 0)
SCALAR(bmul, bf16, h_mul, 0)
SCALAR(bfma, bf16, h_fma, 0)
SCALAR(bfma_relu, bf16, h_fma, FORM_RELU)
SCALAR(bex2, bf16, h_ex2, 0)
SCALAR(btanh, bf16, h_tanh, 0)

/* abs, neg: a NaN becomes the canonical one. */
static inline uint32_t sign_one(uint32_t h, bool negate, uint32_t infinity, uint32_t form)
{
    h &= 0xffff;
    if ((h & 0x7fff) > infinity)
        return HALF_NAN;
    if (form & FORM_FTZ)
        h = half_ftz(h);
    return negate ? h ^ 0x8000 : h & 0x7fff;
}

#define SIGN(name, NEGATE, INF, FORM)                                                              \
    OP1(name##_1, uint32_t, uint32_t, sign_one(a[l], NEGATE, INF, FORM))                           \
    OP1(name##_2, uint32_t, uint32_t,                                                              \
        sign_one(a[l], NEGATE, INF, FORM) | sign_one(a[l] >> 16, NEGATE, INF, FORM) << 16)
SIGN(habs, false, 0x7c00, 0)
SIGN(hneg, true, 0x7c00, 0)
SIGN(habs_ftz, false, 0x7c00, FORM_FTZ)
SIGN(hneg_ftz, true, 0x7c00, FORM_FTZ)
SIGN(babs, false, 0x7f80, 0)
SIGN(bneg, true, 0x7f80, 0)

/* min, max on the bits: sign-magnitude order; NaN loses unless .NaN; -0 < +0. */
static inline int32_t order(uint32_t h)
{
    return h & 0x8000 ? -(int32_t)(h & 0x7fff) - 1 : (int32_t)(h & 0x7fff);
}

static inline uint32_t minmax(uint32_t x, uint32_t y, bool want_max, uint32_t infinity,
                              uint32_t form)
{
    bool x_nan, y_nan;
    uint32_t sign, r;

    x &= 0xffff;
    y &= 0xffff;
    sign = (x ^ y) & 0x8000;
    if (form & FORM_FTZ) {
        x = half_ftz(x);
        y = half_ftz(y);
    }
    if (form & FORM_XORSIGN) {
        x &= 0x7fff;
        y &= 0x7fff;
    }
    x_nan = (x & 0x7fff) > infinity;
    y_nan = (y & 0x7fff) > infinity;
    if ((x_nan && y_nan) || ((form & FORM_NAN) && (x_nan || y_nan)))
        return HALF_NAN;
    r = x_nan ? y : y_nan ? x : (order(x) < order(y)) != want_max ? x : y;
    return form & FORM_XORSIGN ? (r & 0x7fff) | sign : r;
}

#define MINMAX(name, MAX, INF, FORM)                                                               \
    OP2_SCALAR(name##_1, uint32_t, uint32_t, uint32_t, minmax(a[l], b[l], MAX, INF, FORM))         \
    OP2_SCALAR(name##_2, uint32_t, uint32_t, uint32_t,                                             \
               minmax(a[l], b[l], MAX, INF, FORM) | minmax(a[l] >> 16, b[l] >> 16, MAX, INF, FORM) \
                                                        << 16)
#define MINMAX_FORMS(name, MAX, INF)                                                               \
    MINMAX(name, MAX, INF, 0)                                                                      \
    MINMAX(name##_ftz, MAX, INF, FORM_FTZ)                                                         \
    MINMAX(name##_nan, MAX, INF, FORM_NAN)                                                         \
    MINMAX(name##_nan_ftz, MAX, INF, FORM_NAN | FORM_FTZ)                                          \
    MINMAX(name##_xor, MAX, INF, FORM_XORSIGN)                                                     \
    MINMAX(name##_xor_ftz, MAX, INF, FORM_XORSIGN | FORM_FTZ)                                      \
    MINMAX(name##_xor_nan, MAX, INF, FORM_XORSIGN | FORM_NAN)                                      \
    MINMAX(name##_xor_nan_ftz, MAX, INF, FORM_XORSIGN | FORM_NAN | FORM_FTZ)
MINMAX_FORMS(hmin, false, 0x7c00)
MINMAX_FORMS(hmax, true, 0x7c00)
MINMAX_FORMS(bmin, false, 0x7f80)
MINMAX_FORMS(bmax, true, 0x7f80)

#define PAIR(n) (packed ? n##_2 : n##_1)
#define ARITH(n)                                                                                   \
    (HAS(sat) ? (HAS(ftz) ? PAIR(n##_ftz_sat) : PAIR(n##_sat)) : HAS(ftz) ? PAIR(n##_ftz) : PAIR(n))
#define MINMAX_PICK(n)                                                                             \
    (HAS(xorsign) ? (!HAS(abs_) ? NULL                                                             \
                     : HAS(NaN) ? (HAS(ftz) ? PAIR(n##_xor_nan_ftz) : PAIR(n##_xor_nan))           \
                     : HAS(ftz) ? PAIR(n##_xor_ftz)                                                \
                                : PAIR(n##_xor))                                                   \
     : HAS(abs_)  ? NULL                                                                           \
     : HAS(NaN)   ? (HAS(ftz) ? PAIR(n##_nan_ftz) : PAIR(n##_nan))                                 \
     : HAS(ftz)   ? PAIR(n##_ftz)                                                                  \
                  : PAIR(n))

static ptx_op_fn *select_f16(const struct ptx_inst *in, bool packed)
{
    switch (in->op) {
    case PTX_OP_add: return ARITH(hadd);
    case PTX_OP_sub: return ARITH(hsub);
    case PTX_OP_mul: return ARITH(hmul);
    case PTX_OP_fma:
        if (HAS(relu))
            return HAS(sat) ? NULL : HAS(ftz) ? PAIR(hfma_ftz_relu) : PAIR(hfma_relu);
        return ARITH(hfma);
    case PTX_OP_abs: return HAS(ftz) ? PAIR(habs_ftz) : PAIR(habs);
    case PTX_OP_neg: return HAS(ftz) ? PAIR(hneg_ftz) : PAIR(hneg);
    case PTX_OP_min: return MINMAX_PICK(hmin);
    case PTX_OP_max: return MINMAX_PICK(hmax);
    case PTX_OP_ex2: return HAS(ftz) ? NULL : PAIR(hex2);
    case PTX_OP_tanh: return PAIR(htanh);
    default: return NULL;
    }
}

static ptx_op_fn *select_bf16(const struct ptx_inst *in, bool packed)
{
    if (HAS(sat) || (HAS(ftz) && in->op != PTX_OP_ex2))
        return NULL;
    switch (in->op) {
    case PTX_OP_add: return PAIR(badd);
    case PTX_OP_sub: return PAIR(bsub);
    case PTX_OP_mul: return PAIR(bmul);
    case PTX_OP_fma: return HAS(relu) ? PAIR(bfma_relu) : PAIR(bfma);
    case PTX_OP_abs: return PAIR(babs);
    case PTX_OP_neg: return PAIR(bneg);
    case PTX_OP_min: return MINMAX_PICK(bmin);
    case PTX_OP_max: return MINMAX_PICK(bmax);
    case PTX_OP_ex2: return PAIR(bex2);
    case PTX_OP_tanh: return PAIR(btanh);
    default: return NULL;
    }
}

ptx_op_fn *PTX_V(select_half)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_half)(const struct ptx_inst *in)
{
    if (HAS(rz) || HAS(rm) || HAS(rp) || HAS(oob) || in->operand_count > 4)
        return NULL;
    switch (T0) {
    case PTX_T_f16: return select_f16(in, false);
    case PTX_T_f16x2: return select_f16(in, true);
    case PTX_T_bf16: return select_bf16(in, false);
    case PTX_T_bf16x2: return select_bf16(in, true);
    default: return NULL;
    }
}
