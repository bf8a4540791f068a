// SPDX-License-Identifier: MIT
/*
 * Comparison and selection (PTX ISA "Comparison and Selection Instructions"), mov between registers.
 *
 * Float comparisons eq ne lt le gt ge are ordered (false on NaN, ne included); the *u forms are true on NaN.
 * A setp writes p and, with p|q, the complement's combination to q; the third source is combined by and/or/xor.
 */
#include "ops.h"
#include "half.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

#define S16(x)      ((int32_t)(int16_t)(x))
#define FTZ(x)      f32_ftz(x)
#define ORD(x, y)   ((x) == (x) && (y) == (y))
#define UNORD(x, y) ((x) != (x) || (y) != (y))

static inline float f32_ftz(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, 4);
    if (!(bits & 0x7f800000u))
        bits &= 0x80000000u;
    memcpy(&x, &bits, 4);
    return x;
}

/* One comparison as the engine wants it: all-ones or zero in p. Everything beyond p alone goes through `set`. */
#define CMP(name, T, READ, EXPR)                                                                   \
    static ptx_next_insn setp_##name(struct ptx_warp *w, const struct ptx_insn *i)                 \
    {                                                                                              \
        uint32_t *d = REG(uint32_t, i->d);                                                         \
        const T *a = REG(T, i->a), *b = REG(T, i->b);                                              \
        if (w->mask == PTX_FULL) {                                                                 \
            LANES                                                                                  \
            {                                                                                      \
                __auto_type x = READ(a[l]);                                                        \
                __auto_type y = READ(b[l]);                                                        \
                (void)x, (void)y;                                                                  \
                d[l] = (EXPR) ? PTX_FULL : 0;                                                      \
            }                                                                                      \
        } else {                                                                                   \
            LANES                                                                                  \
            {                                                                                      \
                __auto_type x = READ(a[l]);                                                        \
                __auto_type y = READ(b[l]);                                                        \
                uint32_t r_;                                                                       \
                (void)x, (void)y;                                                                  \
                r_ = (EXPR) ? PTX_FULL : 0;                                                        \
                d[l] = w->vm32[l] ? r_ : d[l];                                                     \
            }                                                                                      \
        }                                                                                          \
        return i + 1;                                                                              \
    }

#define RAW(x) (x)
#define CMP_INT(n, T, READ)                                                                        \
    CMP(eq_##n, T, READ, x == y)                                                                   \
    CMP(ne_##n, T, READ, x != y)                                                                   \
    CMP(lt_##n, T, READ, x < y)                                                                    \
    CMP(le_##n, T, READ, x <= y)                                                                   \
    CMP(gt_##n, T, READ, x > y)                                                                    \
    CMP(ge_##n, T, READ, x >= y)
#define CMP_FLOAT(n, T, READ)                                                                      \
    CMP(eq_##n, T, READ, x == y)                                                                   \
    CMP(ne_##n, T, READ, x<y || x> y)                                                              \
    CMP(lt_##n, T, READ, x < y)                                                                    \
    CMP(le_##n, T, READ, x <= y)                                                                   \
    CMP(gt_##n, T, READ, x > y)                                                                    \
    CMP(ge_##n, T, READ, x >= y)                                                                   \
    CMP(equ_##n, T, READ, !(x < y || x > y))                                                       \
    CMP(neu_##n, T, READ, x != y)                                                                  \
    CMP(ltu_##n, T, READ, !(x >= y))                                                               \
    CMP(leu_##n, T, READ, !(x > y))                                                                \
    CMP(gtu_##n, T, READ, !(x <= y))                                                               \
    CMP(geu_##n, T, READ, !(x < y))                                                                \
    CMP(num_##n, T, READ, ORD(x, y))                                                               \
    CMP(nan_##n, T, READ, UNORD(x, y))

CMP_INT(u32, uint32_t, RAW)
CMP_INT(s32, int32_t, RAW)
CMP_INT(u64, uint64_t, RAW)
CMP_INT(s64, int64_t, RAW)
CMP_INT(s16, uint32_t, S16)
CMP_FLOAT(f32, float, RAW)
CMP_FLOAT(ftz, float, FTZ)
CMP_FLOAT(f64, double, RAW)
CMP_FLOAT(f16, uint32_t, half_to_f32)
CMP_FLOAT(bf16, uint32_t, bf16_to_f32)

#define PICK_INT(n)                                                                                \
    (HAS(eq)              ? setp_eq_##n                                                            \
     : HAS(ne)            ? setp_ne_##n                                                            \
     : HAS(lt) || HAS(lo) ? setp_lt_##n                                                            \
     : HAS(le) || HAS(ls) ? setp_le_##n                                                            \
     : HAS(gt) || HAS(hi) ? setp_gt_##n                                                            \
     : HAS(ge) || HAS(hs) ? setp_ge_##n                                                            \
                          : NULL)
#define PICK_FLOAT(n)                                                                              \
    (HAS(eq)    ? setp_eq_##n                                                                      \
     : HAS(ne)  ? setp_ne_##n                                                                      \
     : HAS(lt)  ? setp_lt_##n                                                                      \
     : HAS(le)  ? setp_le_##n                                                                      \
     : HAS(gt)  ? setp_gt_##n                                                                      \
     : HAS(ge)  ? setp_ge_##n                                                                      \
     : HAS(equ) ? setp_equ_##n                                                                     \
     : HAS(neu) ? setp_neu_##n                                                                     \
     : HAS(ltu) ? setp_ltu_##n                                                                     \
     : HAS(leu) ? setp_leu_##n                                                                     \
     : HAS(gtu) ? setp_gtu_##n                                                                     \
     : HAS(geu) ? setp_geu_##n                                                                     \
     : HAS(num) ? setp_num_##n                                                                     \
     : HAS(nan) ? setp_nan_##n                                                                     \
                : NULL)

static ptx_op_fn *compare(const struct ptx_inst *in, enum ptx_type type)
{
    switch (type) {
    case PTX_T_b16:
    case PTX_T_u16:
    case PTX_T_b32:
    case PTX_T_u32: return PICK_INT(u32);
    case PTX_T_s16: return PICK_INT(s16);
    case PTX_T_s32: return PICK_INT(s32);
    case PTX_T_b64:
    case PTX_T_u64: return PICK_INT(u64);
    case PTX_T_s64: return PICK_INT(s64);
    case PTX_T_f32: return HAS(ftz) ? PICK_FLOAT(ftz) : PICK_FLOAT(f32);
    case PTX_T_f64: return PICK_FLOAT(f64);
    case PTX_T_f16: return PICK_FLOAT(f16);
    case PTX_T_bf16: return PICK_FLOAT(bf16);
    default: return NULL;
    }
}

/* --- p|q, boolean combination, set --- */
enum { COMBINE_NONE, COMBINE_AND, COMBINE_OR, COMBINE_XOR };

static inline uint32_t combine(uint32_t value, uint32_t with, uint32_t how)
{
    return how == COMBINE_AND   ? (value & with)
           : how == COMBINE_OR  ? (value | with)
           : how == COMBINE_XOR ? (value ^ with)
                                : value;
}

/* inner2 is the plain comparison, into the sink; then d and e receive the combinations. */
static ptx_next_insn setp_full(struct ptx_warp *w, const struct ptx_insn *i)
{
    struct ptx_insn plain = *i;
    uint32_t *p = REG(uint32_t, i->d), *q = REG(uint32_t, i->e);
    const uint32_t *r = REG(uint32_t, PTX_SINK_OFFSET), *c = REG(uint32_t, i->c);
    uint32_t how = (uint32_t)i->imm & 3;

    plain.d = PTX_SINK_OFFSET;
    i->inner2(w, &plain);
    ACTIVE(w->mask)
    {
        uint32_t with = c[l], value = r[l];

        q[l] = combine(~value, with, how);
        p[l] = combine(value, with, how);
    }
    return i + 1;
}

/* Packed halves: p is the comparison of the low, q of the high halves. */
static ptx_next_insn setp_halves(struct ptx_warp *w, const struct ptx_insn *i)
{
    struct ptx_insn plain = *i;
    uint32_t *p = REG(uint32_t, i->d), *q = REG(uint32_t, i->e);
    const uint32_t *a = REG(uint32_t, i->a), *b = REG(uint32_t, i->b), *c = REG(uint32_t, i->c);
    _Alignas(128) uint32_t block[4 * PTX_LANES];
    uint8_t *regs = w->regs;
    uint32_t how = (uint32_t)i->imm & 3, result[2][PTX_LANES];

    plain.d = 0;
    plain.a = 128;
    plain.b = 256;
    for (uint32_t half = 0; half < 2; half++) {
        LANES block[PTX_LANES + l] = a[l] >> (half * 16) & 0xffff;
        LANES block[2 * PTX_LANES + l] = b[l] >> (half * 16) & 0xffff;
        w->regs = (uint8_t *)block;
        i->inner2(w, &plain);
        w->regs = regs;
        memcpy(result[half], block, sizeof(result[half]));
    }
    ACTIVE(w->mask)
    {
        uint32_t with = c[l];

        q[l] = combine(result[1][l], with, how);
        p[l] = combine(result[0][l], with, how);
    }
    return i + 1;
}

/* set: 1.0 for floats, all ones for integers; imm bits 8.. say which, bit 16: packed halves. */
static ptx_next_insn set_full(struct ptx_warp *w, const struct ptx_insn *i)
{
    struct ptx_insn plain = *i;
    uint32_t *d = REG(uint32_t, i->d);
    const uint32_t *c = REG(uint32_t, i->c);
    uint32_t yes = (uint32_t)(i->imm >> 32), how = (uint32_t)i->imm & 3;
    bool packed = i->imm >> 16 & 1;
    _Alignas(128) uint32_t p[PTX_LANES], q[PTX_LANES];
    ptx_op_fn *fn = packed ? setp_halves : setp_full;
    uint8_t *regs = w->regs;

    /* Run the predicate form with its results in the sink slots (p in the first, q in the second). */
    (void)regs;
    plain.imm = how;
    plain.d = PTX_SINK_OFFSET;
    plain.e = PTX_SINK_OFFSET + PTX_SLOT_BYTES;
    (void)c;
    fn(w, &plain);
    memcpy(p, REG(uint32_t, PTX_SINK_OFFSET), sizeof(p));
    memcpy(q, REG(uint32_t, PTX_SINK_OFFSET + PTX_SLOT_BYTES), sizeof(q));
    ACTIVE(w->mask) d[l] = packed ? (p[l] & yes & 0xffff) | (q[l] & yes & 0xffff0000u) : p[l] & yes;
    return i + 1;
}

static bool is_packed(enum ptx_type type)
{
    return type == PTX_T_f16x2 || type == PTX_T_bf16x2;
}

static enum ptx_type unpacked(enum ptx_type type)
{
    return type == PTX_T_f16x2 ? PTX_T_f16 : type == PTX_T_bf16x2 ? PTX_T_bf16 : type;
}

/* The decoder asks for the plain comparison by calling select_compare, and wraps it where more is wanted. */
ptx_op_fn *PTX_V(select_setp)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_setp)(const struct ptx_inst *in)
{
    if (!compare(in, unpacked(T0)))
        return NULL;
    if (is_packed(T0))
        return setp_halves;
    if (in->operand_count == 4 || in->operands[0].pair)
        return setp_full;
    return compare(in, T0);
}

SELECTOR(set)
{
    return compare(in, unpacked(T1)) && is_packed(T0) <= is_packed(T1) ? set_full : NULL;
}

ptx_op_fn *PTX_V(select_compare)(const struct ptx_inst *in);
ptx_op_fn *PTX_V(select_compare)(const struct ptx_inst *in)
{
    return compare(in, unpacked(in->op == PTX_OP_set ? T1 : T0));
}

/* --- selp, slct, mov --- */
OP3(selp_32, uint32_t, uint32_t, uint32_t, uint32_t, c[l] ? a[l] : b[l])
OP3(selp_64, uint64_t, uint64_t, uint64_t, uint32_t, c[l] ? a[l] : b[l])
OP3(slct_s32_32, uint32_t, uint32_t, uint32_t, int32_t, c[l] >= 0 ? a[l] : b[l])
OP3(slct_s32_64, uint64_t, uint64_t, uint64_t, int32_t, c[l] >= 0 ? a[l] : b[l])
OP3(slct_f32_32, uint32_t, uint32_t, uint32_t, float, c[l] >= 0.0f ? a[l] : b[l])
OP3(slct_f32_64, uint64_t, uint64_t, uint64_t, float, c[l] >= 0.0f ? a[l] : b[l])
OP3(slct_ftz_32, uint32_t, uint32_t, uint32_t, float, f32_ftz(c[l]) >= 0.0f ? a[l] : b[l])
OP3(slct_ftz_64, uint64_t, uint64_t, uint64_t, float, f32_ftz(c[l]) >= 0.0f ? a[l] : b[l])
SELECTOR(selp)
{
    return ptx_type_bytes(T0) == 8 ? selp_64 : selp_32;
}
SELECTOR(slct)
{
    bool wide = ptx_type_bytes(T0) == 8;

    if (T1 == PTX_T_s32)
        return wide ? slct_s32_64 : slct_s32_32;
    return HAS(ftz) ? (wide ? slct_ftz_64 : slct_ftz_32) : (wide ? slct_f32_64 : slct_f32_32);
}

OP1(mov_16, uint32_t, uint32_t, (uint16_t)a[l])
OP1(mov_32, uint32_t, uint32_t, a[l])
OP1(mov_64, uint64_t, uint64_t, a[l])
OP2(mov_pack_2x8, uint32_t, uint32_t, uint32_t, (a[l] & 0xff) | (b[l] & 0xff) << 8)
OP3(mov_pack_4x8, uint32_t, uint32_t, uint32_t, uint32_t,
    (a[l] & 0xff) | (b[l] & 0xff) << 8 | (c[l] & 0xff) << 16 | REG(uint32_t, i->e)[l] << 24)
OP2(mov_pack_2x16, uint32_t, uint32_t, uint32_t, (a[l] & 0xffff) | b[l] << 16)
OP2(mov_pack_2x32, uint64_t, uint32_t, uint32_t, a[l] | (uint64_t)b[l] << 32)
OP3(mov_pack_4x16, uint64_t, uint32_t, uint32_t, uint32_t,
    (a[l] & 0xffff) | (uint64_t)(b[l] & 0xffff) << 16 | (uint64_t)(c[l] & 0xffff) << 32 |
        (uint64_t)REG(uint32_t, i->e)[l] << 48)

/* Unpacking: the source is read whole before the first store, since destinations may overlap it. */
#define UNPACK(name, T, COUNT, BITS)                                                               \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        const uint32_t out[4] = {i->d, i->b, i->c, i->e};                                          \
        T copy[PTX_LANES];                                                                         \
        memcpy(copy, REG(T, i->a), sizeof(copy));                                                  \
        for (uint32_t k = 0; k < COUNT; k++) {                                                     \
            uint32_t *d = REG(uint32_t, out[k]);                                                   \
            LANES                                                                                  \
            {                                                                                      \
                uint32_t r_ = (uint32_t)(copy[l] >> (k * BITS)) & (uint32_t)((1ull << BITS) - 1);  \
                d[l] = w->vm32[l] ? r_ : d[l];                                                     \
            }                                                                                      \
        }                                                                                          \
        return i + 1;                                                                              \
    }
UNPACK(mov_unpack_2x8, uint32_t, 2, 8)
UNPACK(mov_unpack_4x8, uint32_t, 4, 8)
UNPACK(mov_unpack_2x16, uint32_t, 2, 16)
UNPACK(mov_unpack_2x32, uint64_t, 2, 32)
UNPACK(mov_unpack_4x16, uint64_t, 4, 16)

SELECTOR(mov)
{
    const struct ptx_operand *d = &in->operands[0], *s = &in->operands[1];
    uint32_t bytes = ptx_type_bytes(T0);

    if (d->kind == PTX_O_VEC && d->count == 4)
        return bytes == 8 ? mov_unpack_4x16 : mov_unpack_4x8;
    if (d->kind == PTX_O_VEC)
        return bytes == 8 ? mov_unpack_2x32 : bytes == 4 ? mov_unpack_2x16 : mov_unpack_2x8;
    if (s->kind == PTX_O_VEC && s->count == 4)
        return bytes == 8 ? mov_pack_4x16 : mov_pack_4x8;
    if (s->kind == PTX_O_VEC)
        return bytes == 8 ? mov_pack_2x32 : bytes == 4 ? mov_pack_2x16 : mov_pack_2x8;
    return bytes == 8 ? mov_64 : bytes == 2 ? mov_16 : mov_32;
}
