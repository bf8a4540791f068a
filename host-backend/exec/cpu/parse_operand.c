// SPDX-License-Identifier: MIT
/*
 * PTX parser: operands by their syntax (PTX ISA "Instruction Operands"): registers, constants, names of variables and
 * functions, [addresses], {vectors}, pairs of destinations. Whether an instruction takes them is check_inst.c's
 * business.
 */
#include "video.h"

#include <string.h>

static bool parse_imm(struct ptx_parser *p, struct ptx_operand *operand)
{
    if (p->tok.kind == PTX_TOK_F32) {
        operand->is_f32 = true;
        operand->bits = p->tok.bits;
        ptx_next(p);
    } else if (!ptx_parse_constant(p, &operand->bits, &operand->is_float)) {
        return false;
    }
    operand->kind = PTX_O_IMM;
    return true;
}

static bool parse_offset(struct ptx_parser *p, struct ptx_operand *operand)
{
    while (ptx_is_punct(p, '+') || ptx_is_punct(p, '-')) {
        bool minus = p->tok.punct == '-', is_float;
        uint64_t value;

        ptx_next(p);
        if (!ptx_parse_constant(p, &value, &is_float))
            return false;
        if (is_float)
            return ptx_error(p, p->tok.line, "a floating-point offset");
        operand->bits += minus ? 0 - value : value;
    }
    return true;
}

static bool parse_named(struct ptx_parser *p, struct ptx_operand *operand)
{
    const char *name;
    uint32_t bytes, line = p->tok.line;
    struct ptx_sym *sym;

    if (!ptx_expect_name(p, &name, &bytes))
        return false;
    if (bytes == 1 && *name == '_') {
        operand->kind = PTX_O_SINK;
        return true;
    }
    if (ptx_reg_find(p, name, bytes, &operand->id)) {
        operand->kind = PTX_O_REG;
        return !p->parts_allowed || ptx_video_parts(p, &operand->parts);
    }
    if (p->status)
        return false;
    if (*name == '%') {
        const char *suffix = "";
        uint32_t suffix_bytes = 0;

        if (p->tok.kind == PTX_TOK_DOT) {
            suffix = p->tok.text;
            suffix_bytes = p->tok.bytes;
            ptx_next(p);
        }
        operand->id = ptx_sreg_find(name, bytes, suffix, suffix_bytes);
        if (operand->id != PTX_SR_none) {
            operand->kind = PTX_O_SREG;
            p->ir->asks_reserved |= operand->id >= PTX_SR_reserved_smem_offset_begin &&
                                    operand->id <= PTX_SR_reserved_smem_offset_1;
            return true;
        }
    }
    sym = ptx_sym_find(p, name, bytes);
    if (sym && sym->kind == PTX_SYM_VAR) {
        operand->kind = PTX_O_VAR;
        operand->var = sym->var;
        return parse_offset(p, operand);
    }
    if (sym && sym->kind == PTX_SYM_FUNC) {
        operand->kind = PTX_O_FUNC;
        operand->func = sym->func;
        return true;
    }
    return ptx_error(p, line, "'%.*s' is not declared", (int)(bytes < 80 ? bytes : 80), name);
}

static bool parse_memory(struct ptx_parser *p, struct ptx_operand *operand)
{
    struct ptx_operand *base = vgpu_arena_alloc(p->arena, 1, sizeof(*base));

    if (!base)
        return ptx_no_memory(p);
    if (p->tok.kind == PTX_TOK_NAME) {
        if (!parse_named(p, base))
            return false;
    } else if (!parse_imm(p, base)) {
        return false;
    }
    if (base->kind == PTX_O_VAR) {
        operand->bits = base->bits;
        base->bits = 0;
    } else if (base->kind == PTX_O_REG) {
        if (!parse_offset(p, operand))
            return false;
    } else if (base->kind != PTX_O_IMM || base->is_float || base->is_f32) {
        return ptx_error(p, p->tok.line,
                         "an address that is neither a register, a variable nor a number");
    }
    operand->kind = PTX_O_MEM;
    operand->vec = base;
    operand->count = 1;
    return ptx_expect(p, ']');
}

static bool parse_vector(struct ptx_parser *p, struct ptx_operand *operand, uint32_t depth)
{
    uint32_t capacity = 0, count = 0;
    struct ptx_operand *vec = NULL;

    do {
        struct ptx_operand element;

        if (count == 8)
            return ptx_error(p, p->tok.line, "a vector of more than eight elements");
        if (!ptx_parse_operand(p, &element, depth + 1))
            return false;
        if (!vgpu_arena_grow(p->arena, (void **)&vec, &capacity, count, sizeof(*vec)))
            return ptx_no_memory(p);
        vec[count++] = element;
    } while (ptx_take_punct(p, ','));
    operand->kind = PTX_O_VEC;
    operand->vec = vec;
    operand->count = (uint8_t)count;
    return ptx_expect(p, '}');
}

bool ptx_parse_operand(struct ptx_parser *p, struct ptx_operand *operand, uint32_t depth)
{
    memset(operand, 0, sizeof(*operand));
    if (p->parts_allowed && ptx_is_punct(p, '-') && p->ahead.kind == PTX_TOK_NAME) {
        ptx_next(p);
        operand->parts.minus = true;
    }
    if (depth > 2)
        return ptx_error(p, p->tok.line, "operands nested too deeply");
    if (ptx_take_punct(p, '['))
        return parse_memory(p, operand);
    if (ptx_take_punct(p, '{'))
        return parse_vector(p, operand, depth);
    if (ptx_is_punct(p, '!') && p->ahead.kind == PTX_TOK_NAME) {
        ptx_next(p);
        if (!parse_named(p, operand))
            return false;
        if (operand->kind != PTX_O_REG || p->func->regs[operand->id].type != PTX_T_pred)
            return ptx_error(p, p->tok.line, "'!' wants a predicate register");
        operand->negate = true;
        return true;
    }
    if (p->tok.kind == PTX_TOK_NAME && !(p->tok.bytes == 7 && !memcmp(p->tok.text, "WARP_SZ", 7)))
        return parse_named(p, operand);
    return parse_imm(p, operand);
}

/* d|p */
static bool parse_pair(struct ptx_parser *p, struct ptx_operand *operand)
{
    struct ptx_operand *pair;

    if (!ptx_parse_operand(p, operand, 0))
        return false;
    if (!ptx_is_punct(p, '|'))
        return true;
    ptx_next(p);
    pair = vgpu_arena_alloc(p->arena, 2, sizeof(*pair));
    if (!pair)
        return ptx_no_memory(p);
    pair[0] = *operand;
    if (!ptx_parse_operand(p, &pair[1], 0))
        return false;
    memset(operand, 0, sizeof(*operand));
    operand->kind = PTX_O_VEC;
    operand->pair = true;
    operand->vec = pair;
    operand->count = 2;
    return true;
}

bool ptx_parse_operands(struct ptx_parser *p, struct ptx_operand *operands, uint8_t *count)
{
    *count = 0;
    if (ptx_is_punct(p, ';'))
        return true;
    do {
        if (*count == PTX_MAX_OPERANDS)
            return ptx_error(p, p->tok.line, "too many operands");
        if (!parse_pair(p, &operands[*count]))
            return false;
        (*count)++;
    } while (ptx_take_punct(p, ','));
    return true;
}
