// SPDX-License-Identifier: MIT
/*
 * PTX parser: the operands of an instruction against its row of opcodes.def. This is the only place that establishes
 * what the decoder relies on: register widths, operand kinds and counts. Branches and calls have no row to speak of
 * and check theirs in parse_call.c.
 */
#include "video.h"

bool ptx_inst_error(struct ptx_parser *p, const struct ptx_inst *inst, const char *what)
{
    return ptx_error(p, inst->line, "%s: %s", ptx_op_info(inst->op)->name, what);
}

uint32_t ptx_reg_bytes(const struct ptx_parser *p, uint32_t id)
{
    return ptx_type_bytes(p->func->regs[id].type);
}

static bool check_dest(struct ptx_parser *p, const struct ptx_inst *inst,
                       const struct ptx_operand *o, uint32_t bytes, bool wide_ok)
{
    if (o->kind == PTX_O_SINK)
        return true;
    if (o->kind != PTX_O_REG)
        return ptx_inst_error(p, inst, "the destination is not a register");
    if (bytes == 0)
        return p->func->regs[o->id].type == PTX_T_pred ||
               ptx_inst_error(p, inst, "the destination is not a predicate");
    if (p->func->regs[o->id].type == PTX_T_pred)
        return ptx_inst_error(p, inst, "the destination is a predicate");
    if (wide_ok ? ptx_reg_bytes(p, o->id) < bytes : ptx_reg_bytes(p, o->id) != bytes)
        return ptx_inst_error(p, inst, "the destination register has the wrong size");
    return true;
}

bool ptx_check_source(struct ptx_parser *p, const struct ptx_inst *inst,
                      const struct ptx_operand *o, uint32_t bytes, bool is_float, bool wide_ok)
{
    if (o->kind == PTX_O_IMM) {
        if (o->is_float || o->is_f32)
            return is_float || (bytes && o->is_f32 == (bytes == 4)) ||
                   ptx_inst_error(p, inst, "a floating-point constant in an integer instruction");
        if (is_float && o->bits && (bytes == 4 || bytes == 8))
            return ptx_inst_error(p, inst, "an integer constant in a floating-point instruction");
        return true;
    }
    if (o->kind == PTX_O_SREG)
        return ptx_sreg_info(o->id)->bytes == bytes ||
               (ptx_sreg_info(o->id)->bytes == 4 && bytes == 2) ||
               (o->id == PTX_SR_gridid && bytes == 4) || /* its lower half */
               ptx_inst_error(p, inst, "the special register has another size");
    if (o->kind == PTX_O_VAR)
        return bytes == 8 || bytes == 4 ||
               ptx_inst_error(p, inst, "an address needs 32 or 64 bits");
    if (o->kind != PTX_O_REG)
        return ptx_inst_error(p, inst, "an operand of the wrong kind");
    if (bytes == 0)
        return p->func->regs[o->id].type == PTX_T_pred ||
               ptx_inst_error(p, inst, "a source is not a predicate");
    if (p->func->regs[o->id].type == PTX_T_pred)
        return ptx_inst_error(p, inst, "a source is a predicate");
    if (wide_ok ? ptx_reg_bytes(p, o->id) < bytes : ptx_reg_bytes(p, o->id) != bytes)
        return ptx_inst_error(p, inst, "a source register has the wrong size");
    return true;
}

static bool check_pair(struct ptx_parser *p, const struct ptx_inst *inst,
                       const struct ptx_operand *o, uint32_t bytes)
{
    if (!o->pair)
        return check_dest(p, inst, o, bytes, false);
    return check_dest(p, inst, &o->vec[0], bytes, false) &&
           check_dest(p, inst, &o->vec[1], 0, false);
}

static uint32_t vector_count(const struct ptx_inst *inst)
{
    return ptx_mods_has(&inst->mods, PTX_M_v2) ? 2 : ptx_mods_has(&inst->mods, PTX_M_v4) ? 4 : 1;
}

static bool check_vector(struct ptx_parser *p, const struct ptx_inst *inst,
                         const struct ptx_operand *o, bool is_dest)
{
    uint32_t want = vector_count(inst), bytes = ptx_type_bytes(inst->types[0]);
    bool is_float = ptx_type_is_float(inst->types[0]);

    if (want > 1 && bytes * want > 16)
        return ptx_inst_error(p, inst, "a vector of more than 16 bytes");
    if (want == 1 && o->kind == PTX_O_VEC && !o->pair && o->count == 1)
        o = &o->vec[0];
    if (want == 1)
        return is_dest ? check_dest(p, inst, o, bytes, true)
                       : ptx_check_source(p, inst, o, bytes, is_float, true);
    if (o->kind != PTX_O_VEC || o->pair || o->count != want)
        return ptx_inst_error(p, inst, "the vector operand has another number of elements");
    for (uint32_t i = 0; i < want; i++)
        if (!(is_dest ? check_dest(p, inst, &o->vec[i], bytes, true)
                      : ptx_check_source(p, inst, &o->vec[i], bytes, is_float, true)))
            return false;
    return true;
}

static bool check_memory(struct ptx_parser *p, const struct ptx_inst *inst,
                         const struct ptx_operand *o)
{
    const struct ptx_operand *base = o->vec;

    if (o->kind != PTX_O_MEM)
        return ptx_inst_error(p, inst, "expected an address in brackets");
    if (base->kind == PTX_O_REG &&
        (p->func->regs[base->id].type == PTX_T_pred || ptx_reg_bytes(p, base->id) < 4))
        return ptx_inst_error(p, inst, "an address register needs 32 or 64 bits");
    return true;
}

static bool check_operand(struct ptx_parser *p, const struct ptx_inst *inst,
                          const struct ptx_operand *o, char letter)
{
    uint32_t bytes = ptx_type_bytes(inst->types[0]), second = ptx_type_bytes(inst->types[1]);
    bool is_float = ptx_type_is_float(inst->types[0]),
         second_float = ptx_type_is_float(inst->types[1]);

    switch (letter) {
    case 'd': return check_dest(p, inst, o, bytes, false);
    case 'D': return check_dest(p, inst, o, bytes, true);
    case 'w': return check_dest(p, inst, o, bytes * 2, false);
    case 'y': return check_dest(p, inst, o, 4, false);
    case 'z': return check_dest(p, inst, o, 8, false);
    case 'P': return check_dest(p, inst, o, 0, false);
    case 'Q': return o->pair ? check_pair(p, inst, o, 0) : check_dest(p, inst, o, 0, false);
    case 'R': return check_pair(p, inst, o, bytes);
    case 'Y': return check_pair(p, inst, o, 4);
    case 't': return ptx_check_source(p, inst, o, bytes, is_float, false);
    case 'T': return ptx_check_source(p, inst, o, bytes, is_float, true);
    case 's': return ptx_check_source(p, inst, o, second, second_float, false);
    case 'S': return ptx_check_source(p, inst, o, second, second_float, true);
    case 'x': return ptx_check_source(p, inst, o, bytes * 2, false, false);
    case 'u': return ptx_check_source(p, inst, o, 4, false, false);
    case 'c': return ptx_check_source(p, inst, o, 4, false, false);
    case 'l': return ptx_check_source(p, inst, o, 8, false, false);
    case 'F': return ptx_check_source(p, inst, o, 4, true, false);
    case 'a':
        return ptx_check_source(p, inst, o,
                                inst->type_count       ? bytes
                                : o->kind == PTX_O_REG ? ptx_reg_bytes(p, o->id)
                                                       : 8,
                                false, false);
    case 'p': return ptx_check_source(p, inst, o, 0, false, false);
    case 'V': return check_vector(p, inst, o, true);
    case 'v': return check_vector(p, inst, o, false);
    case '[': return check_memory(p, inst, o);
    case 'I':
        return (o->kind == PTX_O_IMM && !o->is_float && !o->is_f32) ||
               ptx_inst_error(p, inst, "expected an integer constant");
    default: return ptx_inst_error(p, inst, "an operand that is not understood");
    }
}

/* Operands whose letters depend on modifiers. */
static const char *signature_of(const struct ptx_parser *p, const struct ptx_inst *inst)
{
    bool ballot = ptx_mods_has(&inst->mods, PTX_M_ballot),
         popc = ptx_mods_has(&inst->mods, PTX_M_popc_);

    switch (inst->op) {
    case PTX_OP_vote_sync: return ballot ? "ypu" : "Ppu";
    case PTX_OP_vote_old: return ballot ? "yp" : "Pp";
    case PTX_OP_match: return ptx_mods_has(&inst->mods, PTX_M_all) ? "Ytu" : "ytu";
    case PTX_OP_elect: return "Yu";
    case PTX_OP_atom: return vector_count(inst) > 1 ? "V[v?l" : "d[t?l";
    case PTX_OP_red: return vector_count(inst) > 1 ? "[v?l" : "[t?l";
    case PTX_OP_mbarrier_test: return ptx_mods_has(&inst->mods, PTX_M_parity) ? "P[u" : "P[l";
    case PTX_OP_mbarrier_try: return ptx_mods_has(&inst->mods, PTX_M_parity) ? "P[u?u" : "P[l?u";
    case PTX_OP_cp_async: /* the source size, or a predicate that says to ignore the source */
        if (inst->operand_count == 4 && ptx_mods_has(&inst->mods, PTX_M_hint_operand))
            return "[[Il";
        return inst->operand_count > 3 && inst->operands[3].kind == PTX_O_REG &&
                       p->func->regs[inst->operands[3].id].type == PTX_T_pred
                   ? "[[Ip?l"
                   : "[[I?ul";
    case PTX_OP_bar_red:
    case PTX_OP_barrier_red:
        if (inst->operand_count == 4)
            return popc ? "yuup" : "Puup";
        return popc ? "yup" : "Pup";
    default: return ptx_op_info(inst->op)->signature;
    }
}

static bool check_signature(struct ptx_parser *p, const struct ptx_inst *inst)
{
    const char *signature = signature_of(p, inst);
    bool optional = false;
    uint32_t at = 0;

    for (; *signature; signature++) {
        if (*signature == '?') {
            optional = true;
            continue;
        }
        if (at == inst->operand_count)
            return optional || ptx_inst_error(p, inst, "too few operands");
        if (!check_operand(p, inst, &inst->operands[at], *signature))
            return false;
        at++;
    }
    return at == inst->operand_count || ptx_inst_error(p, inst, "too many operands");
}

static bool check_mov_vector(struct ptx_parser *p, const struct ptx_inst *inst,
                             const struct ptx_operand *vec, bool is_dest)
{
    uint32_t bytes = ptx_type_bytes(inst->types[0]);

    if (vec->pair || (vec->count != 2 && vec->count != 4) || bytes / vec->count < 1)
        return ptx_inst_error(p, inst,
                              "a vector that does not divide the type into two or four parts");
    for (uint32_t i = 0; i < vec->count; i++)
        if (!(is_dest ? check_dest(p, inst, &vec->vec[i], bytes / vec->count, false)
                      : ptx_check_source(p, inst, &vec->vec[i], bytes / vec->count, false, false)))
            return false;
    return true;
}

static bool check_mov(struct ptx_parser *p, const struct ptx_inst *inst)
{
    const struct ptx_operand *d = &inst->operands[0], *s = &inst->operands[1];
    uint32_t bytes = ptx_type_bytes(inst->types[0]);

    if (inst->operand_count != 2)
        return ptx_inst_error(p, inst, "expected two operands");
    if (d->kind == PTX_O_VEC)
        return check_mov_vector(p, inst, d, true) &&
               ptx_check_source(p, inst, s, bytes, false, false);
    if (!check_dest(p, inst, d, bytes, false))
        return false;
    if (s->kind == PTX_O_VEC)
        return check_mov_vector(p, inst, s, false);
    if (s->kind == PTX_O_FUNC)
        return bytes == 8 || ptx_inst_error(p, inst, "a function's address needs 64 bits");
    return ptx_check_source(p, inst, s, bytes, ptx_type_is_float(inst->types[0]), false);
}

/* Combinations that the letters cannot say. */
static bool check_special(struct ptx_parser *p, struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t n = inst->operand_count;

    if (ptx_op_info(inst->op)->flags & PTX_F_VIDEO) {
        const char *reason = ptx_video_refuses(inst);

        return !reason || ptx_inst_error(p, inst, reason);
    }
    switch (inst->op) {
    case PTX_OP_setp:
    case PTX_OP_set: {
        bool combines = ptx_mods_has(&inst->mods, PTX_M_and_) ||
                        ptx_mods_has(&inst->mods, PTX_M_or_) ||
                        ptx_mods_has(&inst->mods, PTX_M_xor_);

        return combines == (n == 4) ||
               ptx_inst_error(p, inst, "a boolean operator goes with a third source");
    }
    case PTX_OP_cvt: {
        bool is_pair = ptx_type_is_pair(inst->types[0]) && !ptx_type_is_pair(inst->types[1]);

        return is_pair == (n == 3) || ptx_inst_error(p, inst, "another number of operands");
    }
    case PTX_OP_ld:
    case PTX_OP_st:
        return (n == 3) == ptx_mods_has(&inst->mods, PTX_M_hint_operand) ||
               ptx_inst_error(p, inst, "too many operands");
    case PTX_OP_cp_async:
        return o[2].bits == 4 || o[2].bits == 8 || o[2].bits == 16 ||
               ptx_inst_error(p, inst, "the size is not 4, 8 or 16");
    case PTX_OP_min:
    case PTX_OP_max:
        return n == 3 || inst->types[0] == PTX_T_f32 ||
               ptx_inst_error(p, inst, "too many operands");
    case PTX_OP_lop3:
    case PTX_OP_lop3p:
    case PTX_OP_lop3q:
        return o[4].bits <= 255 || ptx_inst_error(p, inst, "the look-up table is one byte");
    default: return true;
    }
}

bool ptx_check_instruction(struct ptx_parser *p, struct ptx_inst *inst)
{
    if (inst->op == PTX_OP_mov)
        return check_mov(p, inst);
    return check_signature(p, inst) && check_special(p, inst);
}
