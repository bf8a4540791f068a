// SPDX-License-Identifier: MIT
/*
 * SIMD video instructions: syntax and checks (PTX ISA "SIMD Video Instructions"). The operations are in
 * ops_video.c; video_scalar.c has the scalar ones.
 *
 * Two lanes of 16 bits (.h) or four of 8 (.b). A source register may say which parts of the pair b:a its lanes
 * take (.h32: the halves of b), the destination which lanes are touched. Without that a takes its own parts, b
 * its own, and all lanes are touched.
 */
#include "video.h"

#include <string.h>

bool ptx_video_parts(struct ptx_parser *p, struct ptx_parts *parts)
{
    const char *text = p->tok.text;
    uint32_t bytes = p->tok.bytes;

    if (p->tok.kind != PTX_TOK_DOT)
        return true;
    if (bytes < 2 || bytes > 5 || (*text != 'h' && *text != 'b'))
        return ptx_error(p, p->tok.line, "'.%.*s' does not choose parts of a register",
                         (int)(bytes < 40 ? bytes : 40), text);
    for (uint32_t k = 1; k < bytes; k++) {
        if (text[k] < '0' || text[k] > (*text == 'h' ? '3' : '7'))
            return ptx_error(p, p->tok.line, "'.%.*s' names a part that does not exist", (int)bytes,
                             text);
        parts->at[bytes - 1 - k] = (uint8_t)(text[k] - '0');
    }
    parts->unit = *text;
    parts->count = (uint8_t)(bytes - 1);
    ptx_next(p);
    return true;
}

static uint32_t lanes_of(const struct ptx_inst *inst)
{
    const char *name = ptx_op_info(inst->op)->name;

    return name[strlen(name) - 1] == '2' ? 2 : 4;
}

static bool is_compare(const struct ptx_inst *inst)
{
    return inst->op == PTX_OP_vset2 || inst->op == PTX_OP_vset4;
}

uint32_t ptx_video_compares(const struct ptx_inst *inst, enum ptx_video_compare *last)
{
    static const enum ptx_mod mods[] = {
        [PTX_VIDEO_EQ] = PTX_M_eq, [PTX_VIDEO_NE] = PTX_M_ne, [PTX_VIDEO_LT] = PTX_M_lt,
        [PTX_VIDEO_LE] = PTX_M_le, [PTX_VIDEO_GT] = PTX_M_gt, [PTX_VIDEO_GE] = PTX_M_ge,
    };
    uint32_t count = 0;

    for (uint32_t k = 0; k < sizeof(mods) / sizeof(mods[0]); k++)
        if (ptx_mods_has(&inst->mods, mods[k])) {
            *last = (enum ptx_video_compare)k;
            count++;
        }
    return count;
}

const char *ptx_video_refuses(const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t lanes = lanes_of(inst);
    char unit = lanes == 2 ? 'h' : 'b';
    enum ptx_video_compare compare;

    if (ptx_video_is_scalar(inst))
        return ptx_scalar_refuses(inst);
    for (uint32_t k = 0; k < 4; k++)
        if (o[k].parts.minus)
            return "only vmad negates a source";
    for (uint32_t k = 0; k < 4; k++)
        if (o[k].parts.count && o[k].parts.unit != unit)
            return lanes == 2 ? "expected half-words (.h)" : "expected bytes (.b)";
    for (uint32_t k = 1; k < 3; k++)
        if (o[k].parts.count && o[k].parts.count != lanes)
            return "a source must choose a part for every lane";
    if (o[3].parts.count)
        return "the third source has no parts to choose";
    for (uint32_t k = 0; k < o[0].parts.count; k++)
        if (o[0].parts.at[k] >= lanes || (k && o[0].parts.at[k] <= o[0].parts.at[k - 1]))
            return "the destination's lanes must exist and go down from left to right";
    if (ptx_mods_has(&inst->mods, PTX_M_sat) && ptx_mods_has(&inst->mods, PTX_M_add_))
        return ".sat does not go with .add";
    if (is_compare(inst) && ptx_video_compares(inst, &compare) != 1)
        return "expected one comparison";
    return NULL;
}

static uint64_t pick(const struct ptx_operand *o, uint32_t lanes, uint32_t first)
{
    uint64_t digits = 0;

    for (uint32_t k = 0; k < lanes; k++)
        digits |= (uint64_t)(o->parts.count ? o->parts.at[k] : first + k) << (4 * k);
    return digits;
}

uint64_t ptx_video_immediate(const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t lanes = lanes_of(inst), mask = 0, types = is_compare(inst) ? 0 : 1;
    enum ptx_video_compare compare = PTX_VIDEO_EQ;
    uint64_t imm;

    if (ptx_video_is_scalar(inst))
        return ptx_scalar_immediate(inst);
    imm = pick(&o[1], lanes, 0) << PTX_VIDEO_PICK_A | pick(&o[2], lanes, lanes) << PTX_VIDEO_PICK_B;
    for (uint32_t k = 0; k < o[0].parts.count; k++)
        mask |= 1u << o[0].parts.at[k];
    imm |= (uint64_t)(mask ? mask : (1u << lanes) - 1) << PTX_VIDEO_MASK;
    imm |= types && ptx_type_is_signed(inst->types[0]) ? PTX_VIDEO_SIGNED_D : 0;
    imm |= ptx_type_is_signed(inst->types[types]) ? PTX_VIDEO_SIGNED_A : 0;
    imm |= ptx_type_is_signed(inst->types[types + 1]) ? PTX_VIDEO_SIGNED_B : 0;
    imm |= ptx_mods_has(&inst->mods, PTX_M_sat) ? PTX_VIDEO_SAT : 0;
    imm |= ptx_mods_has(&inst->mods, PTX_M_add_) ? PTX_VIDEO_ADD : 0;
    ptx_video_compares(inst, &compare);
    return imm | (uint64_t)compare << PTX_VIDEO_COMPARE;
}
