// SPDX-License-Identifier: MIT
/*
 * cvt (PTX ISA "Data Movement and Conversion Instructions: cvt"), cvta, isspacep.
 *
 * A conversion is read -> value -> write: the source type says how a register is read (as int64, uint64, double
 * or float bits), the destination type how the value is narrowed. Common pairs have vectorised code, the rest
 * one generic routine, driven by the two types, the rounding and the flags packed in `imm`.
 *
 * Float to integer saturates and maps NaN to 0; integer to narrower integer cuts (or saturates with .sat).
 */
#include "ops.h"
#include "half.h"

#include <math.h>

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

#define CVT_FTZ       0x10000u
#define CVT_SAT       0x20000u
#define CVT_RELU      0x40000u
#define CVT_INT_ROUND 0x80000u /* float to float of the same size, rounded to an integer */
#define CVT_FINITE    0x100000u

/* --- vectorised pairs --- */
OP1(cvt_u16_u32, uint32_t, uint32_t, (uint16_t)a[l])
OP1(cvt_u8_u32, uint32_t, uint32_t, (uint8_t)a[l])
OP1(cvt_s32_s16, uint32_t, uint32_t, (int32_t)(int16_t)a[l])
OP1(cvt_s32_s8, uint32_t, uint32_t, (int32_t)(int8_t)a[l])
OP1(cvt_s16_s8, uint32_t, uint32_t, (uint16_t)(int16_t)(int8_t)a[l])
OP1(cvt_u32_u32, uint32_t, uint32_t, a[l])
OP1(cvt_u32_u64, uint32_t, uint64_t, (uint32_t)a[l])
OP1(cvt_u64_u32, uint64_t, uint32_t, a[l])
OP1(cvt_s64_s32, uint64_t, int32_t, (int64_t)a[l])
OP1(cvt_u64_u64, uint64_t, uint64_t, a[l])
OP1(cvt_f32_s32, float, int32_t, (float)a[l])
OP1(cvt_f32_u32, float, uint32_t, (float)a[l])
OP1(cvt_f64_s32, double, int32_t, (double)a[l])
OP1(cvt_f64_u32, double, uint32_t, (double)a[l])
OP1(cvt_f64_f32, double, float, (double)a[l])
OP1(cvt_f32_bf16, uint32_t, uint32_t, a[l] << 16)

static inline float canon32(float x)
{
    return bits_f32(x == x ? f32_bits(x) : 0x7fffffffu);
}
OP1(cvt_f32_f16, float, uint32_t, canon32(half_to_f32(a[l])))
OP1(cvt_f32_f64, float, double, (float)a[l])

/* rzi: truncation with saturation; the conversions are done on values known to be in range. */
static inline uint32_t f32_to_s32(float x)
{
    float clamped = x >= 2147483648.0f ? 0.0f : x < -2147483648.0f ? 0.0f : x == x ? x : 0.0f;
    int32_t r = (int32_t)clamped;

    return x >= 2147483648.0f ? 0x7fffffffu : x < -2147483648.0f ? 0x80000000u : (uint32_t)r;
}
static inline uint32_t f32_to_u32(float x)
{
    float low = x >= 2147483648.0f ? x - 2147483648.0f : x;
    float clamped = low > 0.0f && low < 2147483648.0f ? low : 0.0f;
    uint32_t r = (uint32_t)(int32_t)clamped;

    return x >= 4294967296.0f ? 0xffffffffu : x >= 2147483648.0f ? r + 0x80000000u : r;
}
OP1(cvt_rzi_s32_f32, uint32_t, float, f32_to_s32(a[l]))
OP1(cvt_rzi_u32_f32, uint32_t, float, f32_to_u32(a[l]))
OP1(cvt_rni_s32_f32, uint32_t, float, f32_to_s32(__builtin_rintf(a[l])))
OP1(cvt_rmi_s32_f32, uint32_t, float, f32_to_s32(__builtin_floorf(a[l])))
OP1(cvt_sat_f32, float, float, a[l] >= 1.0f ? 1.0f : a[l] > 0.0f ? a[l] : 0.0f)

/* --- the general case --- */
static inline bool kind_float(uint32_t type)
{
    return type >= PTX_T_f16 && type <= PTX_T_f64;
}

static inline double flush(double x, bool on)
{
    return on && fabs(x) < 0x1p-126 ? copysign(0.0, x) : x;
}

static double read_float(uint64_t bits, uint32_t type, uint32_t flags)
{
    double d;

    switch (type) {
    case PTX_T_f16: return half_to_f32((uint32_t)bits & 0xffff);
    case PTX_T_bf16: return bf16_to_f32((uint32_t)bits & 0xffff);
    case PTX_T_f32: return flush(bits_f32((uint32_t)bits), flags & CVT_FTZ);
    default: memcpy(&d, &bits, 8); return d;
    }
}

static uint64_t read_int(uint64_t bits, uint32_t type)
{
    switch (type) {
    case PTX_T_u8: return (uint8_t)bits;
    case PTX_T_s8: return (uint64_t)(int64_t)(int8_t)bits;
    case PTX_T_u16: return (uint16_t)bits;
    case PTX_T_s16: return (uint64_t)(int64_t)(int16_t)bits;
    case PTX_T_u32: return (uint32_t)bits;
    case PTX_T_s32: return (uint64_t)(int64_t)(int32_t)bits;
    default: return bits;
    }
}

static void int_limits(uint32_t type, int64_t *low, uint64_t *high)
{
    uint32_t bits = ptx_type_bytes(type) * 8;
    bool is_signed = ptx_type_is_signed(type);

    *high = (bits == 64 ? ~0ull : (1ull << bits) - 1) >> is_signed;
    *low = is_signed ? -(int64_t)*high - 1 : 0;
}

/* Below every number that rounds to the least normal one in f32: what .ftz flushes. */
static bool is_tiny(double x, uint32_t mode)
{
    const double least = 0x1p-126,
                 below = 0x1.fffffep-127; /* the f32 before it, were exponents not bounded */
    double size = fabs(x);

    if (mode == PTX_RN)
        return size < 0x1.ffffffp-127; /* half way: to even */
    return (mode == PTX_RP && x > 0) || (mode == PTX_RM && x < 0) ? size <= below : size < least;
}

/* f64 NaNs keep sign and upper bits in whatever they become, quieted. */
static uint64_t convert_nan64(uint64_t bits, uint32_t to)
{
    uint64_t sign = bits >> 63, fraction = (bits & ((1ull << 52) - 1)) | 1ull << 51;

    switch (to) {
    case PTX_T_f16: return sign << 15 | 0x7c00 | fraction >> 42;
    case PTX_T_bf16: return sign << 15 | 0x7f80 | fraction >> 45;
    case PTX_T_f32: return sign << 31 | 0x7f800000u | fraction >> 29;
    default: return bits | 1ull << 51;
    }
}

static double round_int(double x, uint32_t mode)
{
    switch (mode) {
    case PTX_RZ: return trunc(x);
    case PTX_RM: return floor(x);
    case PTX_RP: return ceil(x);
    default: return rint(x);
    }
}

/* NaN gives 0 between 32-bit types and the lowest signed value where 64 bits are involved (PTX ISA, cvt). */
static uint64_t float_to_int(double x, uint32_t from, uint32_t type, uint32_t mode)
{
    int64_t low;
    uint64_t high;

    int_limits(type, &low, &high);
    if (x != x)
        return from == PTX_T_f64 || ptx_type_bytes(type) == 8
                   ? 1ull << (ptx_type_bytes(type) * 8 - 1)
                   : 0;
    x = round_int(x, mode);
    if (x >= (double)high)
        return high;
    if (x <= (double)low)
        return (uint64_t)low;
    return x < 0 ? (uint64_t)(int64_t)x : (uint64_t)x;
}

static uint64_t int_to_int(uint64_t value, uint32_t from, uint32_t to, bool saturate)
{
    int64_t low;
    uint64_t high;

    if (saturate) {
        bool negative = ptx_type_is_signed(from) && (int64_t)value < 0;

        int_limits(to, &low, &high);
        if (negative && (int64_t)value < low)
            value = (uint64_t)low;
        else if (!negative && value > high)
            value = high;
    }
    return value;
}

/* The value is an exact integer: rounding it to double first would round twice for f32. */
static uint64_t int_to_float(uint64_t value, bool is_signed, uint32_t to, uint32_t mode)
{
    bool negative = is_signed && (int64_t)value < 0;
    uint64_t magnitude = negative ? 0 - value : value, rest;
    int shift = magnitude ? 64 - __builtin_clzll(magnitude) - 53 : 0;
    double d;

    if (to == PTX_T_f64) {
        bool up;

        if (shift <= 0) {
            d = (double)magnitude;
            d = negative ? -d : d;
            return f64_bits(d);
        }
        rest = magnitude & ((1ull << shift) - 1);
        magnitude >>= shift;
        up = mode == PTX_RN
                 ? rest > 1ull << (shift - 1) || (rest == 1ull << (shift - 1) && (magnitude & 1))
             : mode == PTX_RP ? rest && !negative
             : mode == PTX_RM ? rest && negative
                              : false;
        d = ldexp((double)(magnitude + up), shift);
        return f64_bits(negative ? -d : d);
    }
    /* to something narrower: round to odd in double, which no later rounding can see */
    if (shift > 0) {
        rest = magnitude & ((1ull << shift) - 1);
        magnitude = (magnitude >> shift | (rest != 0)) << shift;
    }
    d = (double)magnitude;
    d = negative ? -d : d;
    return to == PTX_T_f32   ? f64_narrow(d, 32, 23, -126, 127, mode, false)
           : to == PTX_T_f16 ? f64_to_half(d, mode)
                             : f64_to_bf16(d, mode);
}

static uint64_t write_float(double x, uint32_t to, uint32_t mode, uint32_t flags)
{
    if (flags & CVT_SAT)
        x = x >= 1.0 ? 1.0 : x > 0.0 ? x : 0.0;
    if (flags & CVT_RELU)
        x = x > 0.0 || x != x ? x : 0.0;
    switch (to) {
    case PTX_T_f16: return f64_narrow(x, 16, 10, -14, 15, mode, flags & CVT_FINITE);
    case PTX_T_bf16: return f64_narrow(x, 16, 7, -126, 127, mode, flags & CVT_FINITE);
    case PTX_T_tf32:
        return (uint64_t)f64_narrow(x, 19, 10, -126, 127, mode, flags & CVT_FINITE) << 13;
    case PTX_T_f32:
        if ((flags & CVT_FTZ) && is_tiny(x, mode))
            x = copysign(0.0, x);
        return f64_narrow(x, 32, 23, -126, 127, mode, false);
    default: return f64_bits(x);
    }
}

static uint64_t convert(uint64_t bits, uint32_t flags)
{
    uint32_t from = flags & 0xff, to = flags >> 8 & 0xff, mode = flags >> 24 & 7;

    if (!kind_float(from)) {
        uint64_t value = read_int(bits, from);

        if (!kind_float(to))
            return int_to_int(value, from, to, flags & CVT_SAT);
        if (flags & CVT_SAT) /* only 0 and 1 are inside [0, 1] */
            return write_float(ptx_type_is_signed(from) && (int64_t)value < 0 ? 0.0
                               : value                                        ? 1.0
                                                                              : 0.0,
                               to, mode, 0);
        return int_to_float(value, ptx_type_is_signed(from), to, mode);
    }
    if (from == PTX_T_f64 && kind_float(to) && (bits & ~(1ull << 63)) > 0x7ffull << 52 &&
        !(flags & CVT_SAT))
        return convert_nan64(bits, to);
    if (!kind_float(to) && to != PTX_T_tf32)
        return float_to_int(read_float(bits, from, flags), from, to, mode);
    if (flags & CVT_INT_ROUND)
        return write_float(round_int(read_float(bits, from, flags), mode), to, PTX_RN, flags);
    return write_float(read_float(bits, from, flags), to, mode, flags);
}

/* Destination registers may be wider than the type: the result is sign- or zero-extended (PTX ISA table 28). */
static inline uint64_t extend(uint64_t bits, uint32_t to)
{
    switch (to) {
    case PTX_T_u8: return (uint8_t)bits;
    case PTX_T_s8: return (uint64_t)(int64_t)(int8_t)bits;
    case PTX_T_u16:
    case PTX_T_f16:
    case PTX_T_bf16: return (uint16_t)bits;
    case PTX_T_s16: return (uint64_t)(int64_t)(int16_t)bits;
    case PTX_T_u32:
    case PTX_T_f32: return (uint32_t)bits;
    case PTX_T_s32: return (uint64_t)(int64_t)(int32_t)bits;
    default: return bits;
    }
}

/* imm: flags as above; i->bytes: width of the destination register (2, 4 or 8); i->count: of the source. */
static ptx_next_insn cvt_general(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t flags = (uint32_t)i->imm;

    ACTIVE(w->mask)
    {
        uint64_t bits = i->count == 8 ? REG(uint64_t, i->a)[l] : REG(uint32_t, i->a)[l];
        uint64_t r = extend(convert(bits, flags), flags >> 8 & 0xff);

        if (i->bytes == 8)
            REG(uint64_t, i->d)[l] = r;
        else
            REG(uint32_t, i->d)[l] = i->bytes == 2 ? (uint16_t)r : (uint32_t)r;
    }
    return i + 1;
}

/* cvt.f16x2.f32 d, a, b: a goes to the upper half. */
static ptx_next_insn cvt_pair(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t flags = (uint32_t)i->imm;

    ACTIVE(w->mask)
    {
        uint32_t high = (uint32_t)convert(REG(uint32_t, i->a)[l], flags);
        uint32_t low = (uint32_t)convert(REG(uint32_t, i->b)[l], flags);

        REG(uint32_t, i->d)[l] = high << 16 | (low & 0xffff);
    }
    return i + 1;
}

/* --- two 8-bit floating-point numbers: e5m2, the upper half of f16, and e4m3, which has no infinity --- */
static uint32_t to_fp8(double x, bool is_e5m2, bool relu)
{
    uint32_t bits;

    if (relu && x <= 0.0)
        x = 0.0;
    bits = is_e5m2 ? f64_narrow(x, 8, 2, -14, 15, PTX_RN, true)
                   : f64_narrow(x, 8, 3, -6, 8, PTX_RN, true);
    /* what would be the largest number of e4m3 is its not-a-number */
    return !is_e5m2 && x == x && (bits & 0x7f) == 0x7f ? bits - 1 : bits;
}

static uint32_t from_fp8(uint32_t bits, bool is_e5m2, bool relu)
{
    uint32_t fraction = bits & 7, exponent = bits >> 3 & 15, half;
    bool is_nan = is_e5m2 ? (bits & 0x7f) > 0x7c : (bits & 0x7f) == 0x7f;

    if (is_nan)
        return 0x7fff;
    if (is_e5m2)
        half = (bits & 0xff) << 8;
    else
        half = f64_to_half(exponent ? ldexp(8 + fraction, (int)exponent - 10) : ldexp(fraction, -9),
                           PTX_RN) |
               (bits & 0x80) << 8;
    return relu && half >> 15 ? 0 : half;
}

#define FP8(name, IS_E5M2, RELU)                                                                   \
    OP2_SCALAR(name##_of_f32, uint32_t, float, float,                                              \
               to_fp8((double)a[l], IS_E5M2, RELU) << 8 | to_fp8((double)b[l], IS_E5M2, RELU))     \
    OP1_SCALAR(name##_of_f16, uint32_t, uint32_t,                                                  \
               to_fp8((double)half_to_f32(a[l] >> 16), IS_E5M2, RELU) << 8 |                       \
                   to_fp8((double)half_to_f32(a[l] & 0xffff), IS_E5M2, RELU))                      \
    OP1_SCALAR(f16_of_##name, uint32_t, uint32_t,                                                  \
               from_fp8(a[l] >> 8 & 0xff, IS_E5M2, RELU) << 16 |                                   \
                   from_fp8(a[l] & 0xff, IS_E5M2, RELU))
FP8(e5m2, true, false)
FP8(e5m2_relu, true, true)
FP8(e4m3, false, false)
FP8(e4m3_relu, false, true)

#define PICK_FP8(pre, post, IS_E5M2)                                                               \
    ((IS_E5M2) ? (HAS(relu) ? pre##e5m2_relu##post : pre##e5m2##post)                              \
               : (HAS(relu) ? pre##e4m3_relu##post : pre##e4m3##post))

static ptx_op_fn *cvt_fp8(const struct ptx_inst *in)
{
    bool to_fp8 = T0 == PTX_T_e5m2x2 || T0 == PTX_T_e4m3x2;

    if (!HAS(rn) || HAS(ftz) || HAS(sat) || HAS(satfinite) != to_fp8)
        return NULL;
    if (to_fp8)
        return T1 == PTX_T_f32     ? PICK_FP8(, _of_f32, T0 == PTX_T_e5m2x2)
               : T1 == PTX_T_f16x2 ? PICK_FP8(, _of_f16, T0 == PTX_T_e5m2x2)
                                   : NULL;
    return T0 == PTX_T_f16x2 && T1 != PTX_T_f16x2 ? PICK_FP8(f16_of_, , T1 == PTX_T_e5m2x2) : NULL;
}

/* What convert() wants to know; the decoder stores it in imm. */
uint64_t PTX_V(cvt_flags)(const struct ptx_inst *in);

static uint32_t rounding(const struct ptx_inst *in)
{
    return HAS(rz) || HAS(rzi)   ? PTX_RZ
           : HAS(rm) || HAS(rmi) ? PTX_RM
           : HAS(rp) || HAS(rpi) ? PTX_RP
           : HAS(rna)            ? PTX_RNA
                                 : PTX_RN;
}

static bool int_rounding(const struct ptx_inst *in)
{
    return HAS(rni) || HAS(rzi) || HAS(rmi) || HAS(rpi);
}

uint64_t PTX_V(cvt_flags)(const struct ptx_inst *in)
{
    uint32_t to = T0 == PTX_T_f16x2 ? PTX_T_f16 : T0 == PTX_T_bf16x2 ? PTX_T_bf16 : T0;

    return T1 | to << 8 | (HAS(ftz) ? CVT_FTZ : 0) | (HAS(sat) ? CVT_SAT : 0) |
           (HAS(relu) ? CVT_RELU : 0) | (HAS(satfinite) ? CVT_FINITE : 0) |
           (int_rounding(in) ? CVT_INT_ROUND : 0) | rounding(in) << 24;
}

static ptx_op_fn *cvt_fast_int(enum ptx_type to, enum ptx_type from, uint32_t dest_bytes)
{
    uint32_t to_bytes = ptx_type_bytes(to), from_bytes = ptx_type_bytes(from);

    if (dest_bytes != to_bytes)
        return NULL;
    if (to_bytes == 8 && from_bytes == 8)
        return cvt_u64_u64;
    if (to_bytes == 8 && from_bytes == 4)
        return ptx_type_is_signed(from) ? cvt_s64_s32 : cvt_u64_u32;
    if (to_bytes == 4 && from_bytes == 8)
        return cvt_u32_u64;
    if (to_bytes == 4 && from_bytes == 4)
        return cvt_u32_u32;
    if (to_bytes == 4 && from_bytes == 2)
        return ptx_type_is_signed(from) ? cvt_s32_s16 : cvt_u16_u32;
    if (to_bytes == 4 && from_bytes == 1)
        return ptx_type_is_signed(from) ? cvt_s32_s8 : cvt_u8_u32;
    if (to_bytes == 2 && from_bytes == 4)
        return cvt_u16_u32;
    if (to_bytes == 2 && from_bytes == 1)
        return ptx_type_is_signed(from) ? cvt_s16_s8 : cvt_u8_u32;
    return NULL;
}

static ptx_op_fn *cvt_fast_float(const struct ptx_inst *in)
{
    if (HAS(ftz) || HAS(sat) || HAS(relu) || HAS(satfinite))
        return T0 == PTX_T_f32 && T1 == PTX_T_f32 && HAS(sat) && !HAS(ftz) && !int_rounding(in)
                   ? cvt_sat_f32
                   : NULL;
    if (T0 == PTX_T_f32 && T1 == PTX_T_s32 && HAS(rn))
        return cvt_f32_s32;
    if (T0 == PTX_T_f32 && T1 == PTX_T_u32 && HAS(rn))
        return cvt_f32_u32;
    if (T0 == PTX_T_f64 && T1 == PTX_T_s32)
        return cvt_f64_s32;
    if (T0 == PTX_T_f64 && T1 == PTX_T_u32)
        return cvt_f64_u32;
    if (T0 == PTX_T_f64 && T1 == PTX_T_f32)
        return cvt_f64_f32;
    if (T0 == PTX_T_f32 && T1 == PTX_T_f16)
        return cvt_f32_f16;
    if (T0 == PTX_T_f32 && T1 == PTX_T_bf16)
        return cvt_f32_bf16;
    if (T0 == PTX_T_f32 && T1 == PTX_T_f64 && HAS(rn))
        return cvt_f32_f64;
    if (T0 == PTX_T_s32 && T1 == PTX_T_f32)
        return HAS(rzi)   ? cvt_rzi_s32_f32
               : HAS(rni) ? cvt_rni_s32_f32
               : HAS(rmi) ? cvt_rmi_s32_f32
                          : NULL;
    if (T0 == PTX_T_u32 && T1 == PTX_T_f32 && HAS(rzi))
        return cvt_rzi_u32_f32;
    return NULL;
}

/* Which rounding modifier each pair of types demands or forbids (PTX ISA, cvt). */
static bool cvt_is_legal(const struct ptx_inst *in)
{
    bool to_float = kind_float(T0) || T0 == PTX_T_f16x2 || T0 == PTX_T_bf16x2 || T0 == PTX_T_tf32;
    bool from_float = kind_float(T1),
         float_mode = HAS(rn) || HAS(rz) || HAS(rm) || HAS(rp) || HAS(rna);

    if (!to_float && !from_float)
        return !float_mode && !int_rounding(in) && !HAS(ftz) && !HAS(relu);
    if (!to_float)
        return int_rounding(in) && !float_mode;
    if (!from_float)
        return float_mode && !int_rounding(in) && !HAS(rna);
    if (HAS(rna))
        return T0 == PTX_T_tf32;
    if (T0 == PTX_T_f16x2 || T0 == PTX_T_bf16x2 || T0 == PTX_T_tf32)
        return T1 == PTX_T_f32 && float_mode;
    return true;
}

SELECTOR(cvt)
{
    const struct ptx_operand *d = &in->operands[0];
    ptx_op_fn *fast = NULL;

    (void)d;
    if (T0 == PTX_T_e4m3x2 || T0 == PTX_T_e5m2x2 || ptx_type_is_pair(T1))
        return cvt_fp8(in);
    if (!cvt_is_legal(in))
        return NULL;
    if (T0 == PTX_T_f16x2 || T0 == PTX_T_bf16x2)
        return cvt_pair;
    if (!kind_float(T0) && !kind_float(T1) && T0 != PTX_T_tf32 && !HAS(sat))
        fast = cvt_fast_int(T0, T1, ptx_type_bytes(T0));
    else if (T0 != PTX_T_tf32)
        fast = cvt_fast_float(in);
    return fast ? fast : cvt_general;
}

/* The decoder uses this where a register is wider than its type. */
ptx_op_fn *PTX_V(select_cvt_general)(void);
ptx_op_fn *PTX_V(select_cvt_general)(void)
{
    return cvt_general;
}

/* --- cvta, isspacep: windows of the generic address space --- */
OP1(cvta_add, uint64_t, uint64_t, a[l] + i->imm)
OP1(cvta_32, uint32_t, uint32_t, a[l] + (uint32_t)i->imm)
SELECTOR(cvta)
{
    return ptx_type_bytes(T0) == 8 ? cvta_add : cvta_32;
}

OP1(isspacep_in, uint32_t, uint64_t, a[l] - i->imm < PTX_WINDOW_BYTES ? PTX_FULL : 0)
OP1(isspacep_global, uint32_t, uint64_t, a[l] >= PTX_VA_BASE ? PTX_FULL : 0)
/* Constants have no window of their own: an address is one if its allocation is constant. */
static bool is_constant(struct ptx_warp *w, uint64_t va)
{
    const struct ptx_range *range = ptx_run_find(w, va);

    return range && range->is_readonly;
}
OP1_SCALAR(isspacep_const, uint32_t, uint64_t, is_constant(w, a[l]) ? PTX_FULL : 0)

SELECTOR(isspacep)
{
    return HAS(global) ? isspacep_global : HAS(const_) ? isspacep_const : isspacep_in;
}
