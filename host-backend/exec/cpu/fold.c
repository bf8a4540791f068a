// SPDX-License-Identifier: MIT
/*
 * Registers that are constants of the launch: a pass of the decoder before register placement.
 *
 * A register that one unguarded instruction writes, and that from a constant, a special register that holds still
 * while a block runs, or a kernel parameter, is the frame's own constant register of that value: its instruction is
 * never emitted and costs nothing at run time. Parameters are so read once for each warp's frame and not once for
 * each thread block. Copies of such registers (mov, cvta of global addresses) go the same way.
 *
 * The value cannot change between the write and any read, so the order of the two does not matter; a read that
 * no write precedes is undefined in PTX.
 *
 * ptx_fold_find decides, from the text; ptx_fold_place gives the places, when those of other registers are known.
 */
#include "decode.h"
#include "flow.h"

struct finder {
    uint8_t *writes; /* by register: 0, 1, 2 = several or guarded */
};

static void count_writes(void *user, uint32_t reg, bool is_def, bool is_partial)
{
    struct finder *f = user;

    if (is_def)
        f->writes[reg] = f->writes[reg] || is_partial ? 2 : 1;
}

static bool is_folded_reg(const struct ptx_decoder *d, const struct ptx_operand *o)
{
    return o->kind == PTX_O_REG && !o->negate && d->fold_regs[o->id];
}

/* A source that ptx_source turns into a constant register without emitting anything. */
static bool is_constant(const struct ptx_decoder *d, const struct ptx_operand *o,
                        enum ptx_type type)
{
    const struct ptx_var *var;

    switch (o->kind) {
    case PTX_O_REG: return is_folded_reg(d, o);
    case PTX_O_IMM: return true;
    case PTX_O_SREG:
        return !ptx_sreg_info((enum ptx_sreg)o->id)->is_volatile &&
               ptx_sreg_info((enum ptx_sreg)o->id)->bytes == ptx_type_bytes(type);
    case PTX_O_VAR:
        var = ptx_var_target(o->var);
        return var->space != PTX_SPACE_LOCAL &&
               !(var->space == PTX_SPACE_SHARED && var->is_unsized);
    default: return false;
    }
}

static bool is_param_load(const struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *memory = &inst->operands[1];

    return inst->op == PTX_OP_ld && d->func->is_entry && memory->kind == PTX_O_MEM &&
           memory->vec->kind == PTX_O_VAR && memory->vec->var->space == PTX_SPACE_PARAM &&
           !ptx_mods_has(&inst->mods, PTX_M_v2) && !ptx_mods_has(&inst->mods, PTX_M_v4);
}

static bool is_foldable(const struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *to, *from;
    enum ptx_type type = inst->types[0];
    uint32_t reg_bytes;

    if (inst->guard != PTX_NO_GUARD || inst->operand_count != 2)
        return false;
    to = &inst->operands[0];
    from = &inst->operands[1];
    if (to->kind != PTX_O_REG)
        return false;
    reg_bytes = ptx_type_bytes(d->func->regs[to->id].type);
    if (is_param_load(d, inst)) {
        uint64_t offset = from->vec->var->address + from->bits, bytes = ptx_type_bytes(type);

        return reg_bytes && bytes <= 8 && offset <= d->func->param_bytes &&
               bytes <= d->func->param_bytes - offset; /* else the decoder refuses it */
    }
    if (inst->op == PTX_OP_mov)
        return reg_bytes == ptx_type_bytes(type) && is_constant(d, from, type);
    return inst->op == PTX_OP_cvta && type == PTX_T_u64 && !ptx_window_of(&inst->mods) &&
           is_folded_reg(d, from) && ptx_type_bytes(d->func->regs[from->id].type) == 8;
}

bool ptx_fold_find(struct ptx_decoder *d)
{
    struct ptx_func *func = d->func;
    struct finder f;

    f.writes = vgpu_arena_alloc(d->arena, (size_t)func->reg_count + 1, 1);
    d->fold_regs = vgpu_arena_alloc(d->arena, (size_t)func->reg_count + 1, 1);
    d->fold_insts = vgpu_arena_alloc(d->arena, (size_t)func->inst_count + 1, 1);
    if (!f.writes || !d->fold_regs || !d->fold_insts)
        return false;
    for (uint32_t k = 0; k < func->inst_count; k++)
        ptx_inst_visit(&func->insts[k], count_writes, &f);
    for (uint32_t k = 0; k < func->inst_count; k++) {
        const struct ptx_inst *inst = &func->insts[k];

        if (is_foldable(d, inst) && f.writes[inst->operands[0].id] == 1)
            d->fold_insts[k] = d->fold_regs[inst->operands[0].id] = 1;
    }
    return true;
}

static bool place_param(struct ptx_decoder *d, const struct ptx_inst *inst, uint32_t *offset)
{
    const struct ptx_operand *memory = &inst->operands[1];
    uint32_t reg_bytes = ptx_type_bytes(d->func->regs[inst->operands[0].id].type);
    uint64_t bits = memory->vec->var->address + memory->bits;

    bits |= (uint64_t)ptx_type_bytes(inst->types[0]) << PTX_PARAM_BYTES_SHIFT;
    if (ptx_type_is_signed(inst->types[0]))
        bits |= PTX_PARAM_SIGNED;
    if (reg_bytes <= 2)
        bits |= PTX_PARAM_NARROW;
    return ptx_const_offset(d, bits, reg_bytes == 8, PTX_SR_param, offset);
}

bool ptx_fold_place(struct ptx_decoder *d)
{
    for (uint32_t k = 0; k < d->func->inst_count; k++) {
        const struct ptx_inst *inst = &d->func->insts[k];
        uint32_t offset;

        if (!d->fold_insts[k])
            continue;
        d->inst = inst;
        if (inst->op == PTX_OP_ld ? !place_param(d, inst, &offset)
                                  : !ptx_source(d, &inst->operands[1], inst->types[0], &offset))
            return false;
        d->reg_offset[inst->operands[0].id] = offset;
    }
    return true;
}
