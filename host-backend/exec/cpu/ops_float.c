// SPDX-License-Identifier: MIT
/*
 * f32 and f64 arithmetic (PTX ISA "Floating-Point Instructions").
 *
 * Everything but the .approx operations is IEEE-754 and bit-exact. Round-to-nearest is the plain code;
 * the other modes run the same code inside a wrapper that sets MXCSR (sched.c: op_round). .ftz flushes
 * subnormal inputs and results to zero of their sign.
 *
 * Where the ISA leaves the bits open they are an H100's (decision 0005). A result is flushed when it is tiny after
 * rounding without a bound on the exponent, as by x86: only a result of the least normal number is in doubt. f32 NaNs are
 * 0x7fffffff. f64 NaNs are an operand's, quieted (see nan_of), and 0xfff8000000000000 where no operand is one: x86 agrees
 * as to one operand and to division, and only the choice between operands of commutative operations is made here.
 *
 * Those two cases are rare: all lanes are computed in vector registers and tested once, and only then are results stored
 * or, where one is such a case, computed anew lane by lane (OP3_RARE).
 *
 * .approx operations are computed more precisely than a GPU does: the ISA bounds their error, not their bits.
 */
#include "ops.h"

#if defined(__FMA__)
#include <immintrin.h>
#endif
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

#define QUIET64 0x0008000000000000ull

static inline uint64_t to_bits64(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, 8);
    return bits;
}

static inline double from_bits64(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, 8);
    return x;
}

static inline double quiet64(double x)
{
    return from_bits64(to_bits64(x) | (x == x ? 0 : QUIET64));
}

/* The NaN that an operation on these operands gives: the second's, the third's, the first's. */
static inline double nan_of(double x, double y, double z)
{
    return y != y   ? quiet64(y)
           : z != z ? quiet64(z)
           : x != x ? quiet64(x)
                    : from_bits64(0xfff8ull << 48);
}

static inline float sat(float x)
{
    return x >= 1.0f ? 1.0f : x > 0.0f ? x : 0.0f;
}

/*
 * An operation E(x, y, z) of type T on IN(operands), stored as LAST(result). Where RARE(result) is not 0 the result is
 * FIX(a, b, c) of the operands themselves. The macros exist for T and, under the same name with V before it, for
 * vectors of T. _SCALAR is for expressions that are calls.
 */
#define OP3_RARE_SCALAR(name, T, E, IN, RARE, FIX, LAST)                                           \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        T *d = REG(T, i->d);                                                                       \
        const T *a = REG(T, i->a), *b = REG(T, i->b), *c = REG(T, i->c);                           \
        (void)b, (void)c;                                                                          \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            T x = E(IN(a[l]), IN(b[l]), IN(c[l]));                                                 \
            if (RARE(x))                                                                           \
                x = FIX(a[l], b[l], c[l]);                                                         \
            d[l] = LAST(x);                                                                        \
        }                                                                                          \
        return i + 1;                                                                              \
    }
#define OP3_RARE(name, T, E, IN, RARE, FIX, LAST)                                                  \
    OP3_RARE_SCALAR(name##_slow, T, E, IN, RARE, FIX, LAST)                                        \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        v##T *d = REG(v##T, i->d), r[PTX_LANES / (VECTOR / sizeof(T))];                            \
        const v##T *a = REG(v##T, i->a), *b = REG(v##T, i->b), *c = REG(v##T, i->c);               \
        const v##T##_bits *m = (const void *)(sizeof(T) == 4 ? (void *)w->vm32 : (void *)w->vm64); \
        v##T##_bits any = {0};                                                                     \
        (void)b, (void)c;                                                                          \
        UNROLL for (uint32_t n = 0; n < PTX_LANES / (VECTOR / sizeof(T)); n++)                     \
        {                                                                                          \
            r[n] = V##E(V##IN(a[n]), V##IN(b[n]), V##IN(c[n]));                                    \
            any |= V##RARE(r[n]);                                                                  \
        }                                                                                          \
        if (__builtin_expect(VANY(any), 0))                                                        \
            return name##_slow(w, i);                                                              \
        if (w->mask == PTX_FULL) {                                                                 \
            UNROLL for (uint32_t n = 0; n < PTX_LANES / (VECTOR / sizeof(T)); n++) d[n] =          \
                V##LAST(r[n]);                                                                     \
        } else {                                                                                   \
            UNROLL for (uint32_t n = 0; n < PTX_LANES / (VECTOR / sizeof(T)); n++) d[n] =          \
                (v##T)(((v##T##_bits)V##LAST(r[n]) & m[n]) | ((v##T##_bits)d[n] & ~m[n]));         \
        }                                                                                          \
        return i + 1;                                                                              \
    }

#if defined(__AVX2__)
#define VECTOR 32
typedef long long vany __attribute__((vector_size(32)));
#define VANY(v) (!__builtin_ia32_ptestz256((vany)(v), (vany)(v)))
#else
#define VECTOR  16
typedef char vany __attribute__((vector_size(16)));
#define VANY(v) (__builtin_ia32_pmovmskb128((vany)(v)) != 0)
#endif
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
typedef float vfloat __attribute__((vector_size(VECTOR), may_alias));
typedef uint32_t vfloat_bits __attribute__((vector_size(VECTOR), may_alias));
typedef double vdouble __attribute__((vector_size(VECTOR), may_alias));
typedef uint64_t vdouble_bits __attribute__((vector_size(VECTOR), may_alias));

static inline vfloat VFTZ(vfloat x)
{
    vfloat_bits bits = (vfloat_bits)x, tiny = (vfloat_bits)((bits & 0x7f800000u) == 0);

    return (vfloat)(bits & ~(tiny & 0x7fffffffu));
}

static inline vfloat VFTZ_CANON(vfloat x)
{
    vfloat_bits number = (vfloat_bits)(x == x);

    return (vfloat)(((vfloat_bits)VFTZ(x) & number) | (0x7fffffffu & ~number));
}

static inline vfloat VFTZ_SAT(vfloat x)
{
    vfloat_bits over = (vfloat_bits)(x >= 1.0f), in = (vfloat_bits)(x > 0.0f) & ~over;

    return VFTZ((vfloat)(((vfloat_bits)x & in) | (0x3f800000u & over)));
}

/* fmaf compiles to one instruction where there is FMA3; without it the C library's exact one is called. */
#if defined(__FMA__)
#define FMA_OP3  OP3
#define FMA_RARE OP3_RARE
#else
#define FMA_OP3  OP3_SCALAR
#define FMA_RARE OP3_RARE_SCALAR
#endif

/* E(x, y, z) anew, flushed by the processor: MXCSR's FTZ and DAZ beside the rounding mode that is set. */
#define FLUSHED(n, E)                                                                              \
    static __attribute__((noinline, cold)) float n##_flushed(float x, float y, float z)            \
    {                                                                                              \
        volatile float vx = x, vy = y, vz = z, r;                                                  \
        unsigned int control = __builtin_ia32_stmxcsr();                                           \
        (void)vy, (void)vz;                                                                        \
        __builtin_ia32_ldmxcsr(control | 0x8040);                                                  \
        r = E(vx, vy, vz);                                                                         \
        __builtin_ia32_ldmxcsr(control);                                                           \
        return r;                                                                                  \
    }
#define IS_LEAST(x)    (to_bits(x) << 1 == 0x01000000u)
#define VIS_LEAST(x)   ((vfloat_bits)((vfloat_bits)(x) << 1 == 0x01000000u))
#define IS_NAN(x)      ((x) != (x))
#define VIS_NAN(x)     ((vdouble_bits)((x) != (x)))
#define FTZ(x)         ftz(x)
#define FTZ_CANON(x)   ftz(canon(x))
#define FTZ_SAT(x)     ftz(sat(x))
#define SAME(x)        (x)
#define VSAME(x)       (x)
#define NAN_2(x, y, z) nan_of(x, y, y)
#define NAN_3(x, y, z) nan_of(x, y, z)

/* The four f32 forms of an operation E(x, y, z): EXACT where a result below the least normal is never rounded. */
#define F32_PLAIN(OPK, n, E)                                                                       \
    OPK(n##_f32, float, float, float, float, canon(E(a[l], b[l], c[l])))                           \
    OPK(n##_f32_sat, float, float, float, float, sat(E(a[l], b[l], c[l])))
#define F32_EXACT(OPK, n, E)                                                                       \
    F32_PLAIN(OPK, n, E)                                                                           \
    OPK(n##_f32_ftz, float, float, float, float, ftz(canon(E(ftz(a[l]), ftz(b[l]), ftz(c[l])))))   \
    OPK(n##_f32_ftz_sat, float, float, float, float, ftz(sat(E(ftz(a[l]), ftz(b[l]), ftz(c[l])))))
#define F32_FORMS(OPK, RAREK, n, E)                                                                \
    F32_PLAIN(OPK, n, E)                                                                           \
    FLUSHED(n, E)                                                                                  \
    RAREK(n##_f32_ftz, float, E, FTZ, IS_LEAST, n##_flushed, FTZ_CANON)                            \
    RAREK(n##_f32_ftz_sat, float, E, FTZ, IS_LEAST, n##_flushed, FTZ_SAT)
#define F64_FORM(RAREK, n, E, NAN_OF) RAREK(n##_f64, double, E, SAME, IS_NAN, NAN_OF, SAME)

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
#define VADD           ADD
#define VSUB           SUB
#define VMUL           MUL
#define VDIV           DIV
#if defined(__FMA__)
#define VFMA32(x, y, z) ((vfloat)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#define VFMA64(x, y, z) ((vdouble)_mm256_fmadd_pd((__m256d)(x), (__m256d)(y), (__m256d)(z)))
#endif
F32_EXACT(OP3, add, ADD)
F64_FORM(OP3_RARE, add, ADD, NAN_2)
F32_EXACT(OP3, sub, SUB)
F64_FORM(OP3_RARE, sub, SUB, NAN_2)
F32_FORMS(OP3, OP3_RARE, mul, MUL)
F64_FORM(OP3_RARE, mul, MUL, NAN_2)
F32_FORMS(OP3, OP3_RARE, div, DIV)
OP2(div_f64, double, double, double, a[l] / b[l])
F32_FORMS(FMA_OP3, FMA_RARE, fma, FMA32)
F64_FORM(FMA_RARE, fma, FMA64, NAN_3)

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

/* Flushed where it is tiny after rounding, as every division is. */
static inline float div_approx_flush(float x, float y)
{
    float r = ftz(div_approx(x, y));

    return IS_LEAST(r) ? ftz(div_flushed(x, y, 0)) : r;
}
OP2(div_approx_f32, float, float, float, div_approx(a[l], b[l]))
OP2(div_approx_ftz, float, float, float, div_approx_flush(ftz(a[l]), ftz(b[l])))
SELECTOR(float_div)
{
    if (T0 == PTX_T_f32 && HAS(approx))
        return HAS(ftz) ? div_approx_ftz : div_approx_f32;
    return IS_HALF ? NULL : PICK(div);
}

/* --- abs, neg, copysign, min, max, testp --- */
#define NUM(x, bits) ((x) == (x) ? (bits) : 0x7fffffffu)
OP1(abs_f32, uint32_t, float, NUM(a[l], to_bits(a[l]) & 0x7fffffffu))
OP1(abs_ftz, uint32_t, float, NUM(a[l], to_bits(ftz(a[l])) & 0x7fffffffu))
OP1(neg_f32, uint32_t, float, NUM(a[l], to_bits(a[l]) ^ 0x80000000u))
OP1(neg_ftz, uint32_t, float, NUM(a[l], to_bits(ftz(a[l])) ^ 0x80000000u))
/* a NaN keeps its sign */
OP1(abs_f64, uint64_t, double,
    a[l] == a[l] ? to_bits64(a[l]) & ~(1ull << 63) : to_bits64(a[l]) | QUIET64)
OP1(neg_f64, uint64_t, double,
    a[l] == a[l] ? to_bits64(a[l]) ^ 1ull << 63 : to_bits64(a[l]) | QUIET64)
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
    uint64_t xb = to_bits64(x), yb = to_bits64(y);

    if (x != x)
        return quiet64(y);
    if (y != y)
        return x;
    if (x == y)
        return from_bits64(want_max ? (xb & yb) : (xb | yb));
    return (x < y) != want_max ? x : y;
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
    OP2(n##_xor_nan_ftz, float, float, float,                                                      \
        nan32(xorsign32(M(ftz(fabsf(a[l])), ftz(fabsf(b[l]))), a[l], b[l]), a[l], b[l]))           \
    OP3(n##3_f32, float, float, float, float, M(M(a[l], b[l]), c[l]))                              \
    OP3(n##3_ftz, float, float, float, float, M(M(ftz(a[l]), ftz(b[l])), ftz(c[l])))
MINMAX_FORMS(min, min32)
MINMAX_FORMS(max, max32)
OP2(min_f64, double, double, double, minmax64(a[l], b[l], false))
OP2(max_f64, double, double, double, minmax64(a[l], b[l], true))

#define PICK_MINMAX(n)                                                                             \
    (HAS(xorsign) ? (!HAS(abs_) ? NULL                                                             \
                     : HAS(NaN) ? (HAS(ftz) ? n##_xor_nan_ftz : n##_xor_nan)                       \
                     : HAS(ftz) ? n##_xor_ftz                                                      \
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
#define RCP(x)           canon(1.0f / (x))
#define SQRT(x)          canon(__builtin_sqrtf(x))
#define RSQRT(x)         canon((float)(1.0 / __builtin_sqrt((double)(x))))
#define INVERSE(x, y, z) (1.0f / (x))
#define VINVERSE         INVERSE
FLUSHED(rcp, INVERSE)
OP1(rcp_f32, float, float, RCP(a[l]))
OP3_RARE(rcp_ftz, float, INVERSE, FTZ, IS_LEAST, rcp_flushed, FTZ_CANON)
OP1(rcp_f64, double, double, 1.0 / a[l])
OP1(sqrt_f32, float, float, SQRT(a[l]))
OP1(sqrt_ftz, float, float, ftz(SQRT(ftz(a[l]))))
OP1(sqrt_f64, double, double, __builtin_sqrt(a[l]))
OP1(rsqrt_f32, float, float, RSQRT(a[l]))
OP1(rsqrt_ftz, float, float, ftz(RSQRT(ftz(a[l]))))
OP1(rsqrt_f64, double, double, 1.0 / __builtin_sqrt(a[l]))

/*
 * rcp.approx.ftz.f64, rsqrt.approx.ftz.f64: the upper half of the operand gives the upper half of the result (PTX ISA:
 * 20 bits of mantissa), a NaN with all bits set.
 */
static inline double upper(double x)
{
    uint64_t bits = to_bits64(x);

    if (!(bits >> 52 & 0x7ff))
        bits &= 1ull << 63;
    return from_bits64(x == x ? bits & ~0ull << 32 : 0x7fffffffull << 32);
}
static inline double upper_in(double x)
{
    uint64_t bits = to_bits64(x) & ~0ull << 32;

    return from_bits64(bits >> 52 & 0x7ff ? bits : bits & 1ull << 63);
}
OP1(rcp_approx_f64, double, double, upper(1.0 / upper_in(a[l])))
OP1(rsqrt_approx_f64, double, double, upper(1.0 / __builtin_sqrt(upper_in(a[l]))))

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
