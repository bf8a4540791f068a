// SPDX-License-Identifier: MIT
/*
 * Scalar video instructions: checks (PTX ISA "Scalar Video Instructions"). The operations are in ops_scalar.c.
 *
 * A byte (.b0 to .b3), a half (.h0, .h1) or the whole of a and of b is taken. The result is either all of d, or goes
 * into the part of d that is chosen, the rest of which is c; or a second operation (.add, .min, .max) takes it and c.
 */
#include "video.h"

bool ptx_video_is_scalar(const struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_vadd:
    case PTX_OP_vsub:
    case PTX_OP_vabsdiff:
    case PTX_OP_vmin:
    case PTX_OP_vmax:
    case PTX_OP_vshl:
    case PTX_OP_vshr:
    case PTX_OP_vmad:
    case PTX_OP_vset: return true;
    default: return false;
    }
}

static bool has(const struct ptx_inst *inst, enum ptx_mod mod)
{
    return ptx_mods_has(&inst->mods, mod);
}

static const char *mad_refuses(const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t changes = has(inst, PTX_M_po) + (o[1].parts.minus != o[2].parts.minus);

    if (o[0].parts.count)
        return "the destination has no parts to choose";
    if (has(inst, PTX_M_shr7) && has(inst, PTX_M_shr15))
        return "expected one scale";
    if (has(inst, PTX_M_po) && (o[1].parts.minus || o[2].parts.minus))
        return ".po does not go with a negated source";
    return changes + o[3].parts.minus > 1 ? "expected one of .po, -a * b and -c" : NULL;
}

const char *ptx_scalar_refuses(const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t n = inst->operand_count;
    uint32_t seconds = has(inst, PTX_M_add_) + has(inst, PTX_M_min_) + has(inst, PTX_M_max_),
             merges;
    enum ptx_video_compare compare;

    for (uint32_t k = 0; k < n; k++) {
        if (o[k].parts.count > 1 ||
            (o[k].parts.count && o[k].parts.unit == 'h' && o[k].parts.at[0] > 1) ||
            (o[k].parts.count && o[k].parts.at[0] > 3))
            return "expected one part: .b0 to .b3, .h0 or .h1";
        if (o[k].parts.minus && (inst->op != PTX_OP_vmad || k == 0))
            return "only vmad negates a source";
    }
    if (n == 4 && o[3].parts.count)
        return "the third source has no parts to choose";
    if (inst->op == PTX_OP_vmad)
        return mad_refuses(inst);
    merges = o[0].parts.count;
    if (seconds + merges > 1)
        return "expected one second operation, or a part of the destination";
    if ((seconds + merges == 1) != (n == 4))
        return "a third source goes with a second operation or a part of the destination";
    if ((inst->op == PTX_OP_vshl || inst->op == PTX_OP_vshr) &&
        has(inst, PTX_M_clamp) == has(inst, PTX_M_wrap))
        return "expected .clamp or .wrap";
    if (inst->op == PTX_OP_vset && ptx_video_compares(inst, &compare) != 1)
        return "expected one comparison";
    return NULL;
}

static uint64_t part_of(const struct ptx_operand *o)
{
    if (!o->parts.count)
        return PTX_PART_ALL;
    return (uint64_t)(o->parts.unit == 'h' ? PTX_PART_H0 : PTX_PART_B0) + o->parts.at[0];
}

uint64_t ptx_scalar_immediate(const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t types = inst->op == PTX_OP_vset ? 0 : 1;
    enum ptx_video_compare compare = PTX_VIDEO_EQ;
    uint64_t imm = part_of(&o[1]) << PTX_SCALAR_PART_A | part_of(&o[2]) << PTX_SCALAR_PART_B |
                   part_of(&o[0]) << PTX_SCALAR_PART_D;
    uint64_t second = has(inst, PTX_M_add_)   ? PTX_SECOND_ADD
                      : has(inst, PTX_M_min_) ? PTX_SECOND_MIN
                      : has(inst, PTX_M_max_) ? PTX_SECOND_MAX
                                              : PTX_SECOND_NONE;
    uint64_t shift = has(inst, PTX_M_shr7) ? 7 : has(inst, PTX_M_shr15) ? 15 : 0;

    imm |= second << PTX_SCALAR_SECOND | shift << PTX_SCALAR_SHIFT;
    imm |= types && ptx_type_is_signed(inst->types[0]) ? PTX_SCALAR_SIGNED_D : 0;
    imm |= ptx_type_is_signed(inst->types[types]) ? PTX_SCALAR_SIGNED_A : 0;
    imm |= ptx_type_is_signed(inst->types[types + 1]) ? PTX_SCALAR_SIGNED_B : 0;
    imm |= has(inst, PTX_M_sat) ? PTX_SCALAR_SAT : 0;
    imm |= has(inst, PTX_M_wrap) ? PTX_SCALAR_WRAP : 0;
    imm |= has(inst, PTX_M_po) ? PTX_SCALAR_PLUS_ONE : 0;
    if (inst->op == PTX_OP_vmad) {
        imm |= o[1].parts.minus != o[2].parts.minus ? PTX_SCALAR_MINUS_AB : 0;
        imm |= o[3].parts.minus ? PTX_SCALAR_MINUS_C : 0;
    }
    ptx_video_compares(inst, &compare);
    return imm | (uint64_t)compare << PTX_VIDEO_COMPARE;
}
