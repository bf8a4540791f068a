// SPDX-License-Identifier: MIT
/*
 * Integer arithmetic (PTX ISA "Integer Arithmetic Instructions" and "Extended-Precision Integer Arithmetic
 * Instructions").
 *
 * 16-bit values sit zero-extended in 32-bit slots: results are cut to 16 bits, signed reads cast. Quotient and
 * remainder of a division by zero are all ones (unspecified by the ISA; what an H100 gives, decision 0005);
 * INT_MIN / -1 wraps.
 */
#include "ops.h"

#define S16(x) ((int32_t)(int16_t)(x))
#define CUT(x) ((uint32_t)(uint16_t)(x))
#define U32(x) ((uint32_t)(x))
#define I32(x) ((int32_t)(x))

/* Picks by width, for operations that do not care about signs. */
#define SELECT_WIDTH(id, f16, f32, f64)                                                            \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)                                       \
    {                                                                                              \
        switch (ptx_type_bytes(T0)) {                                                              \
        case 2: return f16;                                                                        \
        case 4: return f32;                                                                        \
        case 8: return f64;                                                                        \
        default: return NULL;                                                                      \
        }                                                                                          \
    }

static ptx_op_fn *by_type(const struct ptx_inst *in, ptx_op_fn *u16, ptx_op_fn *s16, ptx_op_fn *u32,
                          ptx_op_fn *s32, ptx_op_fn *u64, ptx_op_fn *s64)
{
    switch (T0) {
    case PTX_T_u16:
    case PTX_T_b16: return u16;
    case PTX_T_s16: return s16;
    case PTX_T_u32:
    case PTX_T_b32: return u32;
    case PTX_T_s32: return s32;
    case PTX_T_u64:
    case PTX_T_b64: return u64;
    case PTX_T_s64: return s64;
    default: return NULL;
    }
}

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

/* --- add, sub --- */
OP2(add_16, uint32_t, uint32_t, uint32_t, CUT(a[l] + b[l]))
OP2(add_32, uint32_t, uint32_t, uint32_t, a[l] + b[l])
OP2(add_64, uint64_t, uint64_t, uint64_t, a[l] + b[l])
OP2(sub_16, uint32_t, uint32_t, uint32_t, CUT(a[l] - b[l]))
OP2(sub_32, uint32_t, uint32_t, uint32_t, a[l] - b[l])
OP2(sub_64, uint64_t, uint64_t, uint64_t, a[l] - b[l])
OP2(add_16x2, uint32_t, uint32_t, uint32_t,
    ((a[l] & 0xffff0000u) + (b[l] & 0xffff0000u)) | CUT(a[l] + b[l]))

static inline uint32_t sat32(int64_t x)
{
    return U32(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x);
}

OP2(add_sat, uint32_t, int32_t, int32_t, sat32((int64_t)a[l] + b[l]))
OP2(sub_sat, uint32_t, int32_t, int32_t, sat32((int64_t)a[l] - b[l]))

/*
 * --- carry chains: one carry flag for each lane. Subtraction adds the complement, so its flag is the carry of that
 * sum: set when nothing was borrowed. Code of nvcc's 128-bit division reads it by addc and depends on it. ---
 */
#define CARRY(name, T, WIDE, EXPR, OUT)                                                            \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        T *d = REG(T, i->d);                                                                       \
        const T *a = REG(T, i->a), *b = REG(T, i->b), *c = REG(T, i->c);                           \
        uint32_t out = 0;                                                                          \
        (void)c;                                                                                   \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            WIDE x = (WIDE)a[l], y = (WIDE)b[l], in = w->cc >> l & 1, r;                           \
            WIDE not_y = (T)~y;                                                                    \
            (void)x, (void)y, (void)in, (void)not_y;                                               \
            r = (EXPR);                                                                            \
            d[l] = (T)r;                                                                           \
            out |= (uint32_t)(r >> (sizeof(T) * 8) & 1) << l;                                      \
        }                                                                                          \
        if (OUT)                                                                                   \
            w->cc = (w->cc & ~w->mask) | out;                                                      \
        return i + 1;                                                                              \
    }
#define CARRIES(name, EXPR, OUT)                                                                   \
    CARRY(name##_32, uint32_t, uint64_t, EXPR, OUT)                                                \
    CARRY(name##_64, uint64_t, unsigned __int128, EXPR, OUT)
CARRIES(add_cc, x + y, true)
CARRIES(addc, x + y + in, false)
CARRIES(addc_cc, x + y + in, true)
CARRIES(sub_cc, x + not_y + 1, true)
CARRIES(subc, x + not_y + in, false)
CARRIES(subc_cc, x + not_y + in, true)

ptx_op_fn *PTX_V(select_float_add)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_sub)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_mul)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_fma)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_div)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_minmax)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_abs)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_float_neg)(const struct ptx_inst *in);

static ptx_op_fn *width(const struct ptx_inst *in, ptx_op_fn *f16, ptx_op_fn *f32, ptx_op_fn *f64)
{
    uint32_t bytes = ptx_type_bytes(T0);

    return bytes == 2 ? f16 : bytes == 4 ? f32 : bytes == 8 ? f64 : NULL;
}

SELECTOR(add)
{
    if (ptx_type_is_float(T0))
        return PTX_V(select_float_add)(in);
    if (HAS(sat))
        return T0 == PTX_T_s32 ? add_sat : NULL;
    if (T0 == PTX_T_u16x2 || T0 == PTX_T_s16x2)
        return add_16x2;
    return HAS(cc) ? width(in, NULL, add_cc_32, add_cc_64) : width(in, add_16, add_32, add_64);
}

SELECTOR(sub)
{
    if (ptx_type_is_float(T0))
        return PTX_V(select_float_sub)(in);
    if (HAS(sat))
        return T0 == PTX_T_s32 ? sub_sat : NULL;
    if (T0 == PTX_T_u16x2 || T0 == PTX_T_s16x2)
        return NULL;
    return HAS(cc) ? width(in, NULL, sub_cc_32, sub_cc_64) : width(in, sub_16, sub_32, sub_64);
}

SELECTOR(addc)
{
    return HAS(cc) ? width(in, NULL, addc_cc_32, addc_cc_64) : width(in, NULL, addc_32, addc_64);
}

SELECTOR(subc)
{
    return HAS(cc) ? width(in, NULL, subc_cc_32, subc_cc_64) : width(in, NULL, subc_32, subc_64);
}

/* --- mul, mad --- */
#define MULHI_S64(x, y) ((uint64_t)(((__int128)(int64_t)(x) * (int64_t)(y)) >> 64))
#define MULHI_U64(x, y) ((uint64_t)(((unsigned __int128)(x) * (y)) >> 64))
#define MULHI_S32(x, y) U32(((int64_t)(int32_t)(x) * (int32_t)(y)) >> 32)
#define MULHI_U32(x, y) U32(((uint64_t)(x) * (y)) >> 32)

OP2(mul_lo_16, uint32_t, uint32_t, uint32_t, CUT(a[l] * b[l]))
OP2(mul_lo_32, uint32_t, uint32_t, uint32_t, a[l] * b[l])
OP2(mul_lo_64, uint64_t, uint64_t, uint64_t, a[l] * b[l])
OP2(mul_hi_u16, uint32_t, uint32_t, uint32_t, CUT((a[l] * b[l]) >> 16))
OP2(mul_hi_s16, uint32_t, uint32_t, uint32_t, CUT((S16(a[l]) * S16(b[l])) >> 16))
OP2(mul_hi_u32, uint32_t, uint32_t, uint32_t, MULHI_U32(a[l], b[l]))
OP2(mul_hi_s32, uint32_t, uint32_t, uint32_t, MULHI_S32(a[l], b[l]))
OP2(mul_hi_u64, uint64_t, uint64_t, uint64_t, MULHI_U64(a[l], b[l]))
OP2(mul_hi_s64, uint64_t, uint64_t, uint64_t, MULHI_S64(a[l], b[l]))
OP2(mul_wide_u16, uint32_t, uint32_t, uint32_t, a[l] * b[l])
OP2(mul_wide_s16, uint32_t, uint32_t, uint32_t, U32(S16(a[l]) * S16(b[l])))
OP2(mul_wide_u32, uint64_t, uint32_t, uint32_t, (uint64_t)a[l] * b[l])
OP2(mul_wide_s32, uint64_t, int32_t, int32_t, (uint64_t)((int64_t)a[l] * b[l]))

OP3(mad_lo_16, uint32_t, uint32_t, uint32_t, uint32_t, CUT(a[l] * b[l] + c[l]))
OP3(mad_lo_32, uint32_t, uint32_t, uint32_t, uint32_t, a[l] * b[l] + c[l])
OP3(mad_lo_64, uint64_t, uint64_t, uint64_t, uint64_t, a[l] * b[l] + c[l])
OP3(mad_hi_u16, uint32_t, uint32_t, uint32_t, uint32_t, CUT(((a[l] * b[l]) >> 16) + c[l]))
OP3(mad_hi_s16, uint32_t, uint32_t, uint32_t, uint32_t,
    CUT(U32((S16(a[l]) * S16(b[l])) >> 16) + c[l]))
OP3(mad_hi_u32, uint32_t, uint32_t, uint32_t, uint32_t, MULHI_U32(a[l], b[l]) + c[l])
OP3(mad_hi_s32, uint32_t, uint32_t, uint32_t, uint32_t, MULHI_S32(a[l], b[l]) + c[l])
OP3(mad_hi_u64, uint64_t, uint64_t, uint64_t, uint64_t, MULHI_U64(a[l], b[l]) + c[l])
OP3(mad_hi_s64, uint64_t, uint64_t, uint64_t, uint64_t, MULHI_S64(a[l], b[l]) + c[l])
OP3(mad_hi_sat, uint32_t, uint32_t, uint32_t, int32_t,
    sat32((int64_t)I32(MULHI_S32(a[l], b[l])) + c[l]))
OP3(mad_wide_u16, uint32_t, uint32_t, uint32_t, uint32_t, a[l] * b[l] + c[l])
OP3(mad_wide_s16, uint32_t, uint32_t, uint32_t, uint32_t, U32(S16(a[l]) * S16(b[l])) + c[l])
OP3(mad_wide_u32, uint64_t, uint32_t, uint32_t, uint64_t, (uint64_t)a[l] * b[l] + c[l])
OP3(mad_wide_s32, uint64_t, int32_t, int32_t, uint64_t, (uint64_t)((int64_t)a[l] * b[l]) + c[l])

#define MADC(name, PRODUCT32, PRODUCT64, IN, OUT)                                                  \
    CARRY(name##_32, uint32_t, uint64_t,                                                           \
          (uint64_t)(uint32_t)(PRODUCT32(x, y)) + c[l] + (IN ? in : 0), OUT)                       \
    CARRY(name##_64, uint64_t, unsigned __int128,                                                  \
          (unsigned __int128)(uint64_t)(PRODUCT64(x, y)) + c[l] + (IN ? in : 0), OUT)
#define LO32(x, y)  ((uint32_t)(x) * (uint32_t)(y))
#define LO64(x, y)  ((uint64_t)(x) * (uint64_t)(y))
#define HIU64(x, y) MULHI_U64((uint64_t)(x), (uint64_t)(y))
MADC(mad_lo_cc, LO32, LO64, false, true)
MADC(mad_hiu_cc, MULHI_U32, HIU64, false, true)
MADC(mad_his_cc, MULHI_S32, MULHI_S64, false, true)
MADC(madc_lo, LO32, LO64, true, false)
MADC(madc_hiu, MULHI_U32, HIU64, true, false)
MADC(madc_his, MULHI_S32, MULHI_S64, true, false)
MADC(madc_lo_cc, LO32, LO64, true, true)
MADC(madc_hiu_cc, MULHI_U32, HIU64, true, true)
MADC(madc_his_cc, MULHI_S32, MULHI_S64, true, true)

SELECTOR(mul_wide)
{
    return by_type(in, mul_wide_u16, mul_wide_s16, mul_wide_u32, mul_wide_s32, NULL, NULL);
}

SELECTOR(mul)
{
    if (ptx_type_is_float(T0))
        return PTX_V(select_float_mul)(in);
    if (HAS(hi))
        return by_type(in, mul_hi_u16, mul_hi_s16, mul_hi_u32, mul_hi_s32, mul_hi_u64, mul_hi_s64);
    return HAS(lo) ? width(in, mul_lo_16, mul_lo_32, mul_lo_64) : NULL;
}

SELECTOR(mad_wide)
{
    return by_type(in, mad_wide_u16, mad_wide_s16, mad_wide_u32, mad_wide_s32, NULL, NULL);
}

SELECTOR(mad)
{
    if (ptx_type_is_float(T0))
        return PTX_V(select_fma)(in);
    if (HAS(sat))
        return HAS(hi) && T0 == PTX_T_s32 ? mad_hi_sat : NULL;
    if (HAS(cc) && HAS(hi))
        return by_type(in, NULL, NULL, mad_hiu_cc_32, mad_his_cc_32, mad_hiu_cc_64, mad_his_cc_64);
    if (HAS(cc))
        return width(in, NULL, mad_lo_cc_32, mad_lo_cc_64);
    if (HAS(hi))
        return by_type(in, mad_hi_u16, mad_hi_s16, mad_hi_u32, mad_hi_s32, mad_hi_u64, mad_hi_s64);
    return HAS(lo) ? width(in, mad_lo_16, mad_lo_32, mad_lo_64) : NULL;
}

SELECTOR(madc)
{
    if (HAS(cc) && HAS(hi))
        return by_type(in, NULL, NULL, madc_hiu_cc_32, madc_his_cc_32, madc_hiu_cc_64,
                       madc_his_cc_64);
    if (HAS(cc))
        return width(in, NULL, madc_lo_cc_32, madc_lo_cc_64);
    if (HAS(hi))
        return by_type(in, NULL, NULL, madc_hiu_32, madc_his_32, madc_hiu_64, madc_his_64);
    return HAS(lo) ? width(in, NULL, madc_lo_32, madc_lo_64) : NULL;
}

/* --- 24-bit multiplication: the operands' low 24 bits, sign-extended for .s32 --- */
#define S24(x) ((int64_t)((int32_t)((uint32_t)(x) << 8) >> 8))
#define U24(x) ((uint64_t)((x)&0xffffffu))
OP2(mul24_lo_u, uint32_t, uint32_t, uint32_t, U24(a[l]) * U24(b[l]))
OP2(mul24_lo_s, uint32_t, uint32_t, uint32_t, S24(a[l]) * S24(b[l]))
OP2(mul24_hi_u, uint32_t, uint32_t, uint32_t, (U24(a[l]) * U24(b[l])) >> 16)
OP2(mul24_hi_s, uint32_t, uint32_t, uint32_t, (S24(a[l]) * S24(b[l])) >> 16)
OP3(mad24_lo_u, uint32_t, uint32_t, uint32_t, uint32_t, U32(U24(a[l]) * U24(b[l])) + c[l])
OP3(mad24_lo_s, uint32_t, uint32_t, uint32_t, uint32_t, U32(S24(a[l]) * S24(b[l])) + c[l])
OP3(mad24_hi_u, uint32_t, uint32_t, uint32_t, uint32_t, U32((U24(a[l]) * U24(b[l])) >> 16) + c[l])
OP3(mad24_hi_s, uint32_t, uint32_t, uint32_t, uint32_t, U32((S24(a[l]) * S24(b[l])) >> 16) + c[l])
OP3(mad24_hi_sat, uint32_t, uint32_t, uint32_t, int32_t,
    sat32((int64_t)I32(U32((S24(a[l]) * S24(b[l])) >> 16)) + c[l]))

SELECTOR(mul24)
{
    bool s = T0 == PTX_T_s32;

    return HAS(hi) ? (s ? mul24_hi_s : mul24_hi_u) : (s ? mul24_lo_s : mul24_lo_u);
}

SELECTOR(mad24)
{
    bool s = T0 == PTX_T_s32;

    if (HAS(sat))
        return HAS(hi) && s ? mad24_hi_sat : NULL;
    return HAS(hi) ? (s ? mad24_hi_s : mad24_hi_u) : (s ? mad24_lo_s : mad24_lo_u);
}

/* --- sad, abs, neg, min, max --- */
#define DIFF(x, y) ((x) < (y) ? (y) - (x) : (x) - (y))
OP3(sad_u16, uint32_t, uint32_t, uint32_t, uint32_t, CUT(c[l] + DIFF(a[l], b[l])))
OP3(sad_s16, uint32_t, uint32_t, uint32_t, uint32_t, CUT(c[l] + U32(DIFF(S16(a[l]), S16(b[l])))))
OP3(sad_u32, uint32_t, uint32_t, uint32_t, uint32_t, c[l] + DIFF(a[l], b[l]))
OP3(sad_s32, uint32_t, int32_t, int32_t, uint32_t,
    c[l] + (a[l] < b[l] ? U32(b[l]) - U32(a[l]) : U32(a[l]) - U32(b[l])))
OP3(sad_u64, uint64_t, uint64_t, uint64_t, uint64_t, c[l] + DIFF(a[l], b[l]))
OP3(sad_s64, uint64_t, int64_t, int64_t, uint64_t,
    c[l] + (a[l] < b[l] ? (uint64_t)b[l] - (uint64_t)a[l] : (uint64_t)a[l] - (uint64_t)b[l]))
SELECTOR(sad)
{
    return by_type(in, sad_u16, sad_s16, sad_u32, sad_s32, sad_u64, sad_s64);
}

OP1(abs_s16, uint32_t, uint32_t, S16(a[l]) < 0 ? CUT(0u - a[l]) : a[l])
OP1(abs_s32, uint32_t, uint32_t, I32(a[l]) < 0 ? 0u - a[l] : a[l])
OP1(abs_s64, uint64_t, uint64_t, (int64_t)a[l] < 0 ? 0ull - a[l] : a[l])
OP1(neg_s16, uint32_t, uint32_t, CUT(0u - a[l]))
OP1(neg_s32, uint32_t, uint32_t, 0u - a[l])
OP1(neg_s64, uint64_t, uint64_t, 0ull - a[l])
SELECTOR(abs)
{
    return ptx_type_is_float(T0) ? PTX_V(select_float_abs)(in)
                                 : width(in, abs_s16, abs_s32, abs_s64);
}
SELECTOR(neg)
{
    return ptx_type_is_float(T0) ? PTX_V(select_float_neg)(in)
                                 : width(in, neg_s16, neg_s32, neg_s64);
}

#define MIN(x, y)    ((x) < (y) ? (x) : (y))
#define MAX(x, y)    ((x) > (y) ? (x) : (y))
#define HALF_S(x, s) ((int32_t)(int16_t)((x) >> (s)))
#define HALF_U(x, s) ((uint32_t)(uint16_t)((x) >> (s)))
#define MINMAX(M, n)                                                                               \
    OP2(n##_u16, uint32_t, uint32_t, uint32_t, M(a[l], b[l]))                                      \
    OP2(n##_s16, uint32_t, uint32_t, uint32_t, CUT(M(S16(a[l]), S16(b[l]))))                       \
    OP2(n##_u32, uint32_t, uint32_t, uint32_t, M(a[l], b[l]))                                      \
    OP2(n##_s32, int32_t, int32_t, int32_t, M(a[l], b[l]))                                         \
    OP2(n##_u64, uint64_t, uint64_t, uint64_t, M(a[l], b[l]))                                      \
    OP2(n##_s64, int64_t, int64_t, int64_t, M(a[l], b[l]))                                         \
    OP2(n##_u16x2, uint32_t, uint32_t, uint32_t,                                                   \
        M(HALF_U(a[l], 0), HALF_U(b[l], 0)) | M(HALF_U(a[l], 16), HALF_U(b[l], 16)) << 16)         \
    OP2(n##_s16x2, uint32_t, uint32_t, uint32_t,                                                   \
        CUT(M(HALF_S(a[l], 0), HALF_S(b[l], 0))) | U32(M(HALF_S(a[l], 16), HALF_S(b[l], 16)))      \
                                                       << 16)                                      \
    OP2(n##_relu_s32, int32_t, int32_t, int32_t, MAX(M(a[l], b[l]), 0))                            \
    OP2(n##_relu_s16x2, uint32_t, uint32_t, uint32_t,                                              \
        CUT(MAX(M(HALF_S(a[l], 0), HALF_S(b[l], 0)), 0)) |                                         \
            U32(MAX(M(HALF_S(a[l], 16), HALF_S(b[l], 16)), 0)) << 16)
MINMAX(MIN, min)
MINMAX(MAX, max)

#define SELECT_MINMAX(n)                                                                           \
    SELECTOR(n)                                                                                    \
    {                                                                                              \
        if (ptx_type_is_float(T0))                                                                 \
            return PTX_V(select_float_minmax)(in);                                                 \
        if (HAS(ftz) || HAS(NaN) || HAS(xorsign) || HAS(abs_))                                     \
            return NULL;                                                                           \
        if (HAS(relu))                                                                             \
            return T0 == PTX_T_s32 ? n##_relu_s32 : T0 == PTX_T_s16x2 ? n##_relu_s16x2 : NULL;     \
        if (T0 == PTX_T_u16x2)                                                                     \
            return n##_u16x2;                                                                      \
        if (T0 == PTX_T_s16x2)                                                                     \
            return n##_s16x2;                                                                      \
        return by_type(in, n##_u16, n##_s16, n##_u32, n##_s32, n##_u64, n##_s64);                  \
    }
SELECT_MINMAX(min)
SELECT_MINMAX(max)

/* --- div, rem --- */
#define DIV_U(x, y, ones) ((y) ? (x) / (y) : (ones))
#define REM_U(x, y, ones) ((y) ? (x) % (y) : (ones))
#define DIV_S(T, U, x, y) ((y) == 0 ? (U)-1 : (y) == -1 ? (U)0 - (U)(x) : (U)((x) / (y)))
#define REM_S(T, U, x, y) ((y) == 0 ? (U)-1 : (y) == -1 ? (U)0 : (U)((x) % (y)))
OP2_SCALAR(div_u16, uint32_t, uint32_t, uint32_t, DIV_U(a[l], b[l], 0xffffu))
OP2_SCALAR(div_s16, uint32_t, uint32_t, uint32_t,
           CUT(DIV_S(int32_t, uint32_t, S16(a[l]), S16(b[l]))))
OP2_SCALAR(div_u32, uint32_t, uint32_t, uint32_t, DIV_U(a[l], b[l], 0xffffffffu))
OP2_SCALAR(div_s32, uint32_t, int32_t, int32_t, DIV_S(int32_t, uint32_t, a[l], b[l]))
OP2_SCALAR(div_u64, uint64_t, uint64_t, uint64_t, DIV_U(a[l], b[l], ~0ull))
OP2_SCALAR(div_s64, uint64_t, int64_t, int64_t, DIV_S(int64_t, uint64_t, a[l], b[l]))
OP2_SCALAR(rem_u16, uint32_t, uint32_t, uint32_t, REM_U(a[l], b[l], 0xffffu))
OP2_SCALAR(rem_s16, uint32_t, uint32_t, uint32_t,
           CUT(REM_S(int32_t, uint32_t, S16(a[l]), S16(b[l]))))
OP2_SCALAR(rem_u32, uint32_t, uint32_t, uint32_t, REM_U(a[l], b[l], 0xffffffffu))
OP2_SCALAR(rem_s32, uint32_t, int32_t, int32_t, REM_S(int32_t, uint32_t, a[l], b[l]))
OP2_SCALAR(rem_u64, uint64_t, uint64_t, uint64_t, REM_U(a[l], b[l], ~0ull))
OP2_SCALAR(rem_s64, uint64_t, int64_t, int64_t, REM_S(int64_t, uint64_t, a[l], b[l]))
SELECTOR(div)
{
    return ptx_type_is_float(T0)
               ? PTX_V(select_float_div)(in)
               : by_type(in, div_u16, div_s16, div_u32, div_s32, div_u64, div_s64);
}
SELECTOR(rem)
{
    return by_type(in, rem_u16, rem_s16, rem_u32, rem_s32, rem_u64, rem_s64);
}

/* cvt.pack: a and b, saturated to a few bits, below what c brings. */
static inline uint32_t packed(int32_t x, int32_t y, uint32_t z, uint32_t bits, bool is_signed)
{
    int32_t high = (int32_t)((1u << (is_signed ? bits - 1 : bits)) - 1);
    int32_t low = is_signed ? -high - 1 : 0;
    uint32_t all = (1u << bits) - 1;

    x = x < low ? low : x > high ? high : x;
    y = y < low ? low : y > high ? high : y;
    return (bits == 16 ? 0 : z << 2 * bits % 32) | ((uint32_t)x & all) << bits |
           ((uint32_t)y & all);
}
#define PACK(type, bits, is_signed)                                                                \
    OP3(pack_##type, uint32_t, int32_t, int32_t, uint32_t,                                         \
        packed(a[l], b[l], c[l], bits, is_signed))
PACK(u2, 2, false)
PACK(s2, 2, true)
PACK(u4, 4, false)
PACK(s4, 4, true)
PACK(u8, 8, false)
PACK(s8, 8, true)
PACK(u16, 16, false)
PACK(s16, 16, true)
SELECTOR(cvt_pack)
{
    return T0 == PTX_T_u16 ? pack_u16 : pack_s16;
}
SELECTOR(cvt_pack_onto)
{
    switch (T0) {
    case PTX_T_u2: return pack_u2;
    case PTX_T_s2: return pack_s2;
    case PTX_T_u4: return pack_u4;
    case PTX_T_s4: return pack_s4;
    case PTX_T_u8: return pack_u8;
    default: return pack_s8;
    }
}
