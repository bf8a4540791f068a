// SPDX-License-Identifier: MIT
/*
 * f32 and f64 arithmetic (PTX ISA "Floating-Point Instructions").
 *
 * Everything but the .approx operations is IEEE-754 and bit-exact. Round-to-nearest is the plain code;
 * the other modes run the same code inside a wrapper that sets MXCSR (sched.c: op_round). .ftz flushes
 * subnormal inputs and results to zero of their sign, by hand: MXCSR's flush detects tininess after rounding.
 * NaN results are canonical: 0x7fffffff (PTX ISA), and 0x7ff8000000000000 for f64, where the ISA leaves it open.
 *
 * .approx operations are computed more precisely than a GPU does: the ISA bounds their error, not their bits.
 */
#include "ops.h"

#include <math.h>

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

static inline float from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t to_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, 4);
    return bits;
}

static inline float ftz(float x)
{
    uint32_t bits = to_bits(x);

    return from_bits(bits & 0x7f800000u ? bits : bits & 0x80000000u);
}

static inline float canon(float x)
{
    return from_bits(x == x ? to_bits(x) : 0x7fffffffu);
}

static inline double canon64(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, 8);
    bits = x == x ? bits : 0x7ff8000000000000ull;
    memcpy(&x, &bits, 8);
    return x;
}

static inline float sat(float x)
{
    return x >= 1.0f ? 1.0f : x > 0.0f ? x : 0.0f;
}

/* fmaf compiles to one instruction where there is FMA3; without it the C library's exact one is called. */
#if defined(__FMA__)
#define FMA_OP3 OP3
#else
#define FMA_OP3 OP3_SCALAR
#endif

/* The four f32 forms of an operation E(x, y, z), and the f64 form. */
#define F32_FORMS(OPK, n, E)                                                                       \
    OPK(n##_f32, float, float, float, float, canon(E(a[l], b[l], c[l])))                           \
    OPK(n##_f32_ftz, float, float, float, float, ftz(canon(E(ftz(a[l]), ftz(b[l]), ftz(c[l])))))   \
    OPK(n##_f32_sat, float, float, float, float, sat(E(a[l], b[l], c[l])))                         \
    OPK(n##_f32_ftz_sat, float, float, float, float, ftz(sat(E(ftz(a[l]), ftz(b[l]), ftz(c[l])))))
#define F64_FORM(OPK, n, E)                                                                        \
    OPK(n##_f64, double, double, double, double, canon64(E(a[l], b[l], c[l])))

#define PICK32(n)                                                                                  \
    (HAS(sat) ? (HAS(ftz) ? n##_f32_ftz_sat : n##_f32_sat) : (HAS(ftz) ? n##_f32_ftz : n##_f32))
#define PICK(n)                                                                                    \
    (T0 == PTX_T_f32 ? PICK32(n) : T0 == PTX_T_f64 && !HAS(ftz) && !HAS(sat) ? n##_f64 : NULL)

#define ADD(x, y, z)   ((x) + (y))
#define SUB(x, y, z)   ((x) - (y))
#define MUL(x, y, z)   ((x) * (y))
#define DIV(x, y, z)   ((x) / (y))
#define FMA32(x, y, z) __builtin_fmaf(x, y, z)
#define FMA64(x, y, z) __builtin_fma(x, y, z)
F32_FORMS(OP3, add, ADD)
F64_FORM(OP3, add, ADD)
F32_FORMS(OP3, sub, SUB)
F64_FORM(OP3, sub, SUB)
F32_FORMS(OP3, mul, MUL)
F64_FORM(OP3, mul, MUL)
F32_FORMS(OP3, div, DIV)
F64_FORM(OP3, div, DIV)
F32_FORMS(FMA_OP3, fma, FMA32)
F64_FORM(FMA_OP3, fma, FMA64)

ptx_op_fn *PTX_V(select_half)(const struct ptx_inst *in);

static ptx_op_fn *half(const struct ptx_inst *in)
{
    return PTX_V(select_half)(in);
}

#define IS_HALF (T0 != PTX_T_f32 && T0 != PTX_T_f64)

SELECTOR(float_add)
{
    return IS_HALF ? half(in) : PICK(add);
}
SELECTOR(float_sub)
{
    return IS_HALF ? half(in) : PICK(sub);
}
SELECTOR(float_mul)
{
    return IS_HALF ? half(in) : PICK(mul);
}
SELECTOR(fma)
{
    if (IS_HALF)
        return half(in);
    return HAS(relu) || HAS(oob) ? NULL : PICK(fma);
}

/* div.approx: a * (1/b); the ISA allows 2 ulp and gives 0 for 2^126 < |b| < 2^128. */
static inline float div_approx(float x, float y)
{
    uint32_t magnitude = to_bits(y) & 0x7fffffffu;
    float r = x / y;

    if (magnitude > 0x7e800000u && magnitude < 0x7f800000u && fabsf(x) != INFINITY && x == x)
        r = copysignf(0.0f, r);
    else if (magnitude > 0x7e800000u && magnitude < 0x7f800000u)
        r = NAN;
    return canon(r);
}
OP2(div_approx_f32, float, float, float, div_approx(a[l], b[l]))
OP2(div_approx_ftz, float, float, float, ftz(div_approx(ftz(a[l]), ftz(b[l]))))
SELECTOR(float_div)
{
    if (T0 == PTX_T_f32 && HAS(approx))
        return HAS(ftz) ? div_approx_ftz : div_approx_f32;
    return IS_HALF ? NULL : PICK(div);
}

/* --- abs, neg, copysign, min, max, testp --- */
OP1(abs_f32, uint32_t, uint32_t, a[l] & 0x7fffffffu)
OP1(abs_ftz, uint32_t, float, to_bits(ftz(a[l])) & 0x7fffffffu)
OP1(abs_f64, uint64_t, uint64_t, a[l] & 0x7fffffffffffffffull)
OP1(neg_f32, uint32_t, uint32_t, a[l] ^ 0x80000000u)
OP1(neg_ftz, uint32_t, float, to_bits(ftz(a[l])) ^ 0x80000000u)
OP1(neg_f64, uint64_t, uint64_t, a[l] ^ 0x8000000000000000ull)
SELECTOR(float_abs)
{
    return IS_HALF           ? half(in)
           : T0 == PTX_T_f64 ? (HAS(ftz) ? NULL : abs_f64)
           : HAS(ftz)        ? abs_ftz
                             : abs_f32;
}
SELECTOR(float_neg)
{
    return IS_HALF           ? half(in)
           : T0 == PTX_T_f64 ? (HAS(ftz) ? NULL : neg_f64)
           : HAS(ftz)        ? neg_ftz
                             : neg_f32;
}

OP2(copysign_f32, uint32_t, uint32_t, uint32_t, (b[l] & 0x7fffffffu) | (a[l] & 0x80000000u))
OP2(copysign_f64, uint64_t, uint64_t, uint64_t, (b[l] & ~(1ull << 63)) | (a[l] & 1ull << 63))
SELECTOR(copysign)
{
    return T0 == PTX_T_f64 ? copysign_f64 : copysign_f32;
}

/* One NaN: the other operand; two: canonical. -0 is below +0: equal operands are joined by their bits. */
static inline float min32(float x, float y)
{
    uint32_t bits = x < y    ? to_bits(x)
                    : y < x  ? to_bits(y)
                    : x == y ? (to_bits(x) | to_bits(y))
                    : x == x ? to_bits(x)
                    : y == y ? to_bits(y)
                             : 0x7fffffffu;

    return from_bits(bits);
}

static inline float max32(float x, float y)
{
    uint32_t bits = x > y    ? to_bits(x)
                    : y > x  ? to_bits(y)
                    : x == y ? (to_bits(x) & to_bits(y))
                    : x == x ? to_bits(x)
                    : y == y ? to_bits(y)
                             : 0x7fffffffu;

    return from_bits(bits);
}

static inline float nan32(float r, float x, float y)
{
    return from_bits(x == x && y == y ? to_bits(r) : 0x7fffffffu);
}

static inline float xorsign32(float r, float x, float y)
{
    return from_bits((to_bits(r) & 0x7fffffffu) | ((to_bits(x) ^ to_bits(y)) & 0x80000000u));
}

static inline double minmax64(double x, double y, bool want_max)
{
    uint64_t xb, yb, bits;

    memcpy(&xb, &x, 8);
    memcpy(&yb, &y, 8);
    if (x != x)
        return canon64(y);
    if (y != y)
        return x;
    if (x == y)
        bits = want_max ? (xb & yb) : (xb | yb);
    else
        bits = (x < y) != want_max ? xb : yb;
    memcpy(&x, &bits, 8);
    return x;
}

#define MINMAX_FORMS(n, M)                                                                         \
    OP2(n##_f32, float, float, float, M(a[l], b[l]))                                               \
    OP2(n##_ftz, float, float, float, M(ftz(a[l]), ftz(b[l])))                                     \
    OP2(n##_nan, float, float, float, nan32(M(a[l], b[l]), a[l], b[l]))                            \
    OP2(n##_nan_ftz, float, float, float, nan32(M(ftz(a[l]), ftz(b[l])), a[l], b[l]))              \
    OP2(n##_xor, float, float, float, xorsign32(M(fabsf(a[l]), fabsf(b[l])), a[l], b[l]))          \
    OP2(n##_xor_ftz, float, float, float,                                                          \
        xorsign32(M(ftz(fabsf(a[l])), ftz(fabsf(b[l]))), a[l], b[l]))                              \
    OP2(n##_xor_nan, float, float, float,                                                          \
        nan32(xorsign32(M(fabsf(a[l]), fabsf(b[l])), a[l], b[l]), a[l], b[l]))                     \
    OP3(n##3_f32, float, float, float, float, M(M(a[l], b[l]), c[l]))                              \
    OP3(n##3_ftz, float, float, float, float, M(M(ftz(a[l]), ftz(b[l])), ftz(c[l])))
MINMAX_FORMS(min, min32)
MINMAX_FORMS(max, max32)
OP2(min_f64, double, double, double, minmax64(a[l], b[l], false))
OP2(max_f64, double, double, double, minmax64(a[l], b[l], true))

#define PICK_MINMAX(n)                                                                             \
    (HAS(xorsign) ? (!HAS(abs_) || (HAS(NaN) && HAS(ftz)) ? NULL                                   \
                     : HAS(NaN)                           ? n##_xor_nan                            \
                     : HAS(ftz)                           ? n##_xor_ftz                            \
                                                          : n##_xor)                                                         \
     : HAS(abs_)  ? NULL                                                                           \
     : HAS(NaN)   ? (HAS(ftz) ? n##_nan_ftz : n##_nan)                                             \
     : HAS(ftz)   ? n##_ftz                                                                        \
                  : n##_f32)

SELECTOR(float_minmax)
{
    bool is_max = in->op == PTX_OP_max;

    if (IS_HALF)
        return half(in);
    if (HAS(relu))
        return NULL;
    if (T0 == PTX_T_f64)
        return HAS(ftz) || HAS(NaN) || HAS(xorsign) || HAS(abs_) ? NULL
               : is_max                                          ? max_f64
                                                                 : min_f64;
    if (in->operand_count == 4)
        return HAS(NaN) || HAS(xorsign) || HAS(abs_) ? NULL
               : is_max                              ? (HAS(ftz) ? max3_ftz : max3_f32)
                                                     : (HAS(ftz) ? min3_ftz : min3_f32);
    return is_max ? PICK_MINMAX(max) : PICK_MINMAX(min);
}

enum { TEST_FINITE, TEST_INFINITE, TEST_NUMBER, TEST_NAN, TEST_NORMAL, TEST_SUBNORMAL };

static inline bool test_class(bool exp_ones, bool exp_zero, bool mantissa, uint32_t what)
{
    switch (what) {
    case TEST_FINITE: return !exp_ones;
    case TEST_INFINITE: return exp_ones && !mantissa;
    case TEST_NUMBER: return !(exp_ones && mantissa);
    case TEST_NAN: return exp_ones && mantissa;
    case TEST_NORMAL: return !exp_ones && !(exp_zero && mantissa); /* zeros are normal */
    default: return exp_zero && mantissa;
    }
}
#define TESTP(n, W)                                                                                \
    OP1(testp_##n##_f32, uint32_t, uint32_t,                                                       \
        test_class((a[l] & 0x7f800000u) == 0x7f800000u, !(a[l] & 0x7f800000u), a[l] & 0x7fffffu,   \
                   W)                                                                              \
            ? PTX_FULL                                                                             \
            : 0)                                                                                   \
    OP1(testp_##n##_f64, uint32_t, uint64_t,                                                       \
        test_class((a[l] >> 52 & 0x7ff) == 0x7ff, !(a[l] >> 52 & 0x7ff), (a[l] << 12) != 0, W)     \
            ? PTX_FULL                                                                             \
            : 0)
TESTP(finite, TEST_FINITE)
TESTP(infinite, TEST_INFINITE)
TESTP(number, TEST_NUMBER)
TESTP(notanumber, TEST_NAN)
TESTP(normal, TEST_NORMAL)
TESTP(subnormal, TEST_SUBNORMAL)
SELECTOR(testp)
{
    bool wide = T0 == PTX_T_f64;

    return HAS(finite)       ? (wide ? testp_finite_f64 : testp_finite_f32)
           : HAS(infinite)   ? (wide ? testp_infinite_f64 : testp_infinite_f32)
           : HAS(number)     ? (wide ? testp_number_f64 : testp_number_f32)
           : HAS(notanumber) ? (wide ? testp_notanumber_f64 : testp_notanumber_f32)
           : HAS(normal)     ? (wide ? testp_normal_f64 : testp_normal_f32)
           : HAS(subnormal)  ? (wide ? testp_subnormal_f64 : testp_subnormal_f32)
                             : NULL;
}

/* --- rcp, sqrt, rsqrt: .rn and friends exact, .approx close --- */
#define RCP(x)   canon(1.0f / (x))
#define SQRT(x)  canon(__builtin_sqrtf(x))
#define RSQRT(x) canon((float)(1.0 / __builtin_sqrt((double)(x))))
OP1(rcp_f32, float, float, RCP(a[l]))
OP1(rcp_ftz, float, float, ftz(RCP(ftz(a[l]))))
OP1(rcp_f64, double, double, canon64(1.0 / a[l]))
OP1(sqrt_f32, float, float, SQRT(a[l]))
OP1(sqrt_ftz, float, float, ftz(SQRT(ftz(a[l]))))
OP1(sqrt_f64, double, double, canon64(__builtin_sqrt(a[l])))
OP1(rsqrt_f32, float, float, RSQRT(a[l]))
OP1(rsqrt_ftz, float, float, ftz(RSQRT(ftz(a[l]))))
OP1(rsqrt_f64, double, double, canon64(1.0 / __builtin_sqrt(a[l])))

/* rcp.approx.ftz.f64, rsqrt.approx.ftz.f64: the upper half of the result only (PTX ISA: 20 bits of mantissa). */
static inline double upper(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, 8);
    if (!(bits >> 52 & 0x7ff))
        bits &= 1ull << 63;
    bits &= 0xffffffff00000000ull;
    memcpy(&x, &bits, 8);
    return x;
}
static inline double upper_in(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, 8);
    if (!(bits >> 52 & 0x7ff))
        bits &= 1ull << 63;
    memcpy(&x, &bits, 8);
    return x;
}
OP1(rcp_approx_f64, double, double, upper(canon64(1.0 / upper_in(a[l]))))
OP1(rsqrt_approx_f64, double, double, upper(canon64(1.0 / __builtin_sqrt(upper_in(a[l])))))

SELECTOR(rcp)
{
    if (T0 == PTX_T_f64)
        return HAS(approx) ? rcp_approx_f64 : HAS(ftz) ? NULL : rcp_f64;
    return HAS(ftz) ? rcp_ftz : rcp_f32;
}
SELECTOR(sqrt)
{
    if (T0 == PTX_T_f64)
        return HAS(approx) || HAS(ftz) ? NULL : sqrt_f64;
    return HAS(ftz) ? sqrt_ftz : sqrt_f32;
}
SELECTOR(rsqrt)
{
    if (!HAS(approx))
        return NULL;
    if (T0 == PTX_T_f64)
        return HAS(ftz) ? rsqrt_approx_f64 : rsqrt_f64;
    return HAS(ftz) ? rsqrt_ftz : rsqrt_f32;
}

/* --- sin, cos, lg2, ex2, tanh: the C library in double precision, one rounding --- */
#define APPROX(n, E)                                                                               \
    OP1_SCALAR(n##_f32, float, float, canon((float)(E((double)a[l]))))                             \
    OP1_SCALAR(n##_ftz, float, float, ftz(canon((float)(E((double)ftz(a[l]))))))
APPROX(sin, sin)
APPROX(cos, cos)
APPROX(lg2, log2)
APPROX(ex2, exp2)
OP1_SCALAR(tanh_f32, float, float, canon((float)tanh((double)a[l])))
SELECTOR(sin)
{
    return !HAS(approx) ? NULL : HAS(ftz) ? sin_ftz : sin_f32;
}
SELECTOR(cos)
{
    return !HAS(approx) ? NULL : HAS(ftz) ? cos_ftz : cos_f32;
}
SELECTOR(lg2)
{
    return !HAS(approx) ? NULL : HAS(ftz) ? lg2_ftz : lg2_f32;
}
SELECTOR(ex2)
{
    return !HAS(approx) ? NULL : IS_HALF ? half(in) : HAS(ftz) ? ex2_ftz : ex2_f32;
}
SELECTOR(tanh)
{
    return !HAS(approx) ? NULL : IS_HALF ? half(in) : tanh_f32;
}
