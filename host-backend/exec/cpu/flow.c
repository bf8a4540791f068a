// SPDX-License-Identifier: MIT
/*
 * Control flow: see decode.h.
 */
#include "decode.h"

#include <string.h>

/* The list belongs to a .branchtargets, which several instructions may name: each gets its own copy. */
static bool flow_move_targets(struct vgpu_arena *arena, struct ptx_inst *inst, const uint32_t *moved)
{
    struct ptx_call *call = vgpu_arena_alloc(arena, 1, sizeof(*call));
    uint32_t *targets = vgpu_arena_alloc(arena, inst->call->target_count, sizeof(*targets));

    if (!call || !targets)
        return false;
    *call = *inst->call;
    for (uint32_t t = 0; t < call->target_count; t++)
        targets[t] = moved[call->targets[t]];
    call->targets = targets;
    inst->call = call;
    return true;
}

/* Guarded control and warp-wide instructions become a branch around the plain instruction. */
bool ptx_flow_order(struct vgpu_arena *arena, struct ptx_func *func)
{
    uint32_t extra = 0, at = 0, *moved;
    struct ptx_inst *insts;

    for (uint32_t k = 0; k < func->inst_count; k++) {
        const struct ptx_inst *inst = &func->insts[k];

        extra += inst->guard != PTX_NO_GUARD && inst->op != PTX_OP_bra &&
                 (ptx_op_info(inst->op)->flags & (PTX_F_CONTROL | PTX_F_WARP));
    }
    if (!extra)
        return true;
    insts = vgpu_arena_alloc(arena, (size_t)func->inst_count + extra, sizeof(*insts));
    moved = vgpu_arena_alloc(arena, (size_t)func->inst_count + 1, sizeof(*moved));
    if (!insts || !moved)
        return false;
    for (uint32_t k = 0; k < func->inst_count; k++) {
        struct ptx_inst *inst = &func->insts[k];

        moved[k] = at;
        if (inst->guard != PTX_NO_GUARD && inst->op != PTX_OP_bra &&
            (ptx_op_info(inst->op)->flags & (PTX_F_CONTROL | PTX_F_WARP))) {
            struct ptx_operand *label = vgpu_arena_alloc(arena, 1, sizeof(*label));

            if (!label)
                return false;
            label->kind = PTX_O_LABEL;
            label->id = k + 1;
            insts[at].op = PTX_OP_bra;
            insts[at].line = inst->line;
            insts[at].guard = inst->guard;
            insts[at].guard_negate = !inst->guard_negate;
            insts[at].operands = label;
            insts[at].operand_count = 1;
            at++;
            insts[at] = *inst;
            insts[at].guard = PTX_NO_GUARD;
            at++;
        } else {
            insts[at++] = *inst;
        }
    }
    moved[func->inst_count] = at;
    for (uint32_t k = 0; k < at; k++) {
        if (insts[k].op == PTX_OP_bra)
            insts[k].operands[0].id = moved[insts[k].operands[0].id];
        if (insts[k].op == PTX_OP_brx && !flow_move_targets(arena, &insts[k], moved))
            return false;
    }
    func->insts = insts;
    func->inst_count = at;
    return true;
}
