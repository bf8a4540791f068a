// SPDX-License-Identifier: MIT
/*
 * SIMD video instructions (PTX ISA "SIMD Video Instructions"): two or four lanes inside a 32-bit register.
 *
 * Each lane's result is computed in 32 bits, where none of these operations overflows. Then either the third
 * source gives the lanes that are not touched (merge), or the touched lanes are all added to it (.add).
 * video.h describes the immediate.
 */
#include "ops.h"
#include "video.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

static inline int32_t part(uint64_t pair, uint64_t at, uint32_t bits, bool is_signed)
{
    uint32_t value = (uint32_t)(pair >> ((at & 7) * bits)) & ((1u << bits) - 1);
    uint32_t sign = 1u << (bits - 1);

    return is_signed ? (int32_t)((value ^ sign) - sign) : (int32_t)value;
}

static inline int32_t clamp(int32_t value, uint32_t bits, bool is_signed)
{
    int32_t high = (int32_t)(1u << (is_signed ? bits - 1 : bits)) - 1;
    int32_t low = is_signed ? -high - 1 : 0;

    return value < low ? low : value > high ? high : value;
}

static inline int32_t average(int32_t x, int32_t y)
{
    int32_t sum = x + y;

    return (sum >= 0 ? sum + 1 : sum - 1) / 2;
}

/* x and y of EXPR are one lane of a and of b. */
#define VIDEO(name, lanes, EXPR)                                                                   \
    static inline uint32_t name##_one(uint32_t a, uint32_t b, uint32_t c, uint64_t imm)            \
    {                                                                                              \
        const uint32_t bits = 32 / (lanes), all = (1u << bits) - 1;                                \
        uint64_t pair = (uint64_t)b << 32 | a;                                                     \
        uint32_t d = c;                                                                            \
                                                                                                   \
        for (uint32_t k = 0; k < (lanes); k++) {                                                   \
            int32_t x =                                                                            \
                part(pair, imm >> (PTX_VIDEO_PICK_A + 4 * k), bits, imm & PTX_VIDEO_SIGNED_A);     \
            int32_t y =                                                                            \
                part(pair, imm >> (PTX_VIDEO_PICK_B + 4 * k), bits, imm & PTX_VIDEO_SIGNED_B);     \
            int32_t t = (EXPR);                                                                    \
                                                                                                   \
            if (!(imm >> (PTX_VIDEO_MASK + k) & 1))                                                \
                continue;                                                                          \
            if (imm & PTX_VIDEO_SAT)                                                               \
                t = clamp(t, bits, imm & PTX_VIDEO_SIGNED_D);                                      \
            if (imm & PTX_VIDEO_ADD)                                                               \
                d += (uint32_t)t;                                                                  \
            else                                                                                   \
                d = (d & ~(all << (k * bits))) | ((uint32_t)t & all) << (k * bits);                \
        }                                                                                          \
        return d;                                                                                  \
    }                                                                                              \
    OP3_SCALAR(name##_32, uint32_t, uint32_t, uint32_t, uint32_t,                                  \
               name##_one(a[l], b[l], c[l], i->imm))                                               \
    SELECTOR(name)                                                                                 \
    {                                                                                              \
        (void)in;                                                                                  \
        return name##_32;                                                                          \
    }
VIDEO(vadd2, 2, x + y)
VIDEO(vsub2, 2, x - y)
VIDEO(vavrg2, 2, average(x, y))
VIDEO(vabsdiff2, 2, x > y ? x - y : y - x)
VIDEO(vmin2, 2, x < y ? x : y)
VIDEO(vmax2, 2, x > y ? x : y)
VIDEO(vset2, 2, ptx_video_compare(x, y, imm))
VIDEO(vadd4, 4, x + y)
VIDEO(vsub4, 4, x - y)
VIDEO(vavrg4, 4, average(x, y))
VIDEO(vabsdiff4, 4, x > y ? x - y : y - x)
VIDEO(vmin4, 4, x < y ? x : y)
VIDEO(vmax4, 4, x > y ? x : y)
VIDEO(vset4, 4, ptx_video_compare(x, y, imm))
