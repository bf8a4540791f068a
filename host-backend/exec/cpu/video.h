// SPDX-License-Identifier: MIT
/*
 * Video instructions (PTX ISA "Video Instructions"): what the parser, the decoder and the engine share.
 *
 * The parts that an instruction picks, its types and its second operation travel in the immediate of the decoded
 * instruction: the engine then needs one operation for each mnemonic.
 */
#ifndef VGPU_EXEC_CPU_VIDEO_H
#define VGPU_EXEC_CPU_VIDEO_H

#include "parse.h"

/* Bits of the immediate. A pick is one hexadecimal digit for each lane: which part of b:a it takes. */
#define PTX_VIDEO_PICK_A   0u
#define PTX_VIDEO_PICK_B   16u
#define PTX_VIDEO_MASK     32u /* lanes of d that are written or added */
#define PTX_VIDEO_SIGNED_A (1ull << 36)
#define PTX_VIDEO_SIGNED_B (1ull << 37)
#define PTX_VIDEO_SIGNED_D (1ull << 38)
#define PTX_VIDEO_SAT      (1ull << 39)
#define PTX_VIDEO_ADD      (1ull << 40)
#define PTX_VIDEO_COMPARE  48u /* enum ptx_video_compare, of vset2 and vset4 */

/* The same of the scalar ones: one part of each register (enum ptx_scalar_part). */
#define PTX_SCALAR_PART_A    0u
#define PTX_SCALAR_PART_B    4u
#define PTX_SCALAR_PART_D    8u
#define PTX_SCALAR_SECOND    12u /* enum ptx_scalar_second */
#define PTX_SCALAR_SHIFT     16u /* of vmad: 0, 7 or 15 */
#define PTX_SCALAR_SIGNED_A  (1ull << 20)
#define PTX_SCALAR_SIGNED_B  (1ull << 21)
#define PTX_SCALAR_SIGNED_D  (1ull << 22)
#define PTX_SCALAR_SAT       (1ull << 23)
#define PTX_SCALAR_WRAP      (1ull << 24) /* of vshl, vshr */
#define PTX_SCALAR_PLUS_ONE  (1ull << 25) /* of vmad, like the next two */
#define PTX_SCALAR_MINUS_AB  (1ull << 26)
#define PTX_SCALAR_MINUS_C   (1ull << 27)

enum ptx_scalar_part {
    PTX_PART_ALL,
    PTX_PART_B0,
    PTX_PART_B1,
    PTX_PART_B2,
    PTX_PART_B3,
    PTX_PART_H0,
    PTX_PART_H1,
};

enum ptx_scalar_second {
    PTX_SECOND_NONE,
    PTX_SECOND_ADD,
    PTX_SECOND_MIN,
    PTX_SECOND_MAX,
};

enum ptx_video_compare {
    PTX_VIDEO_EQ,
    PTX_VIDEO_NE,
    PTX_VIDEO_LT,
    PTX_VIDEO_LE,
    PTX_VIDEO_GT,
    PTX_VIDEO_GE,
};

/* vset, vset2, vset4: what the immediate compares for. */
static inline bool ptx_video_compare(int64_t x, int64_t y, uint64_t imm)
{
    switch ((enum ptx_video_compare)(imm >> PTX_VIDEO_COMPARE)) {
    case PTX_VIDEO_EQ: return x == y;
    case PTX_VIDEO_NE: return x != y;
    case PTX_VIDEO_LT: return x < y;
    case PTX_VIDEO_LE: return x <= y;
    case PTX_VIDEO_GT: return x > y;
    default: return x >= y;
    }
}

/* Reads .h10 or .b3210 after a register, if there is one; false: it is malformed, and logged. */
__attribute__((warn_unused_result)) bool ptx_video_parts(struct ptx_parser *p,
                                                         struct ptx_parts *parts);
/* Why the parts and modifiers do not fit the instruction, or NULL. */
const char *ptx_video_refuses(const struct ptx_inst *inst);
/* The immediate of an instruction that ptx_video_refuses() has nothing against. */
uint64_t ptx_video_immediate(const struct ptx_inst *inst);
/* How many comparisons the modifiers name, and the last of them. */
uint32_t ptx_video_compares(const struct ptx_inst *inst, enum ptx_video_compare *last);

/* video_scalar.c: the same for the scalar ones, to which ptx_video_refuses() and ptx_video_immediate() hand over. */
bool ptx_video_is_scalar(const struct ptx_inst *inst);
const char *ptx_scalar_refuses(const struct ptx_inst *inst);
uint64_t ptx_scalar_immediate(const struct ptx_inst *inst);

#endif
