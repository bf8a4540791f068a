// SPDX-License-Identifier: MIT
/*
 * PTX parser: one instruction. Reads the mnemonic with its suffixes, finds the row of opcodes.def, reads the
 * operands by their syntax and then checks them against the row: that check is the only place that
 * establishes what the decoder relies on (register widths, operand kinds and counts).
 */
#include "video.h"

#include <stdio.h>
#include <string.h>

struct suffixes {
    struct ptx_mods mods;
    uint8_t types[4];
    uint8_t type_count;
    char text[96]; /* the whole instruction name, for messages */
};

static bool parse_operand(struct ptx_parser *p, struct ptx_operand *operand, uint32_t depth);

static bool bad(struct ptx_parser *p, const struct ptx_inst *inst, const char *what)
{
    return ptx_error(p, inst->line, "%s: %s", ptx_op_info(inst->op)->name, what);
}

/* Reads .suffix.suffix...; false with `unknown` set when one is not known. */
static bool parse_suffixes(struct ptx_parser *p, struct suffixes *s, bool *unknown)
{
    while (p->tok.kind == PTX_TOK_DOT) {
        enum ptx_type type = ptx_type_find(p->tok.text, p->tok.bytes);
        size_t used = strlen(s->text);

        snprintf(s->text + used, sizeof(s->text) - used, ".%.*s",
                 (int)(p->tok.bytes < 40 ? p->tok.bytes : 40), p->tok.text);
        if (type != PTX_T_none) {
            if (s->type_count == 4)
                *unknown = true;
            else
                s->types[s->type_count++] = (uint8_t)type;
        } else {
            enum ptx_mod mod = ptx_mod_find(p->tok.text, p->tok.bytes);

            if (mod == PTX_M_COUNT)
                *unknown = true;
            else
                ptx_mods_set(&s->mods, mod);
        }
        ptx_next(p);
    }
    return !*unknown;
}

static bool mods_subset(const struct ptx_mods *a, const struct ptx_mods *b)
{
    for (uint32_t w = 0; w < PTX_MOD_WORDS; w++)
        if (a->word[w] & ~b->word[w])
            return false;
    return true;
}

static uint32_t types_wanted(const struct ptx_op_info *info)
{
    return info->types[2] ? 3 : info->types[1] ? 2 : info->types[0] ? 1 : 0;
}

/* The reason why a row does not take these suffixes, or NULL. */
static const char *row_refuses(const struct ptx_op_info *info, const struct suffixes *s)
{
    uint32_t want = types_wanted(info);

    if (info->flags & PTX_F_REFUSE)
        return info->signature;
    if (!mods_subset(&s->mods, &info->allowed))
        return "a modifier that is not implemented";
    if (s->type_count != want)
        return "another number of types";
    for (uint32_t i = 0; i < want; i++)
        if (!(info->types[i] >> s->types[i] & 1))
            return "a type that is not implemented";
    return NULL;
}

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
        if (!parse_operand(p, &element, depth + 1))
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

static bool parse_operand(struct ptx_parser *p, struct ptx_operand *operand, uint32_t depth)
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

    if (!parse_operand(p, operand, 0))
        return false;
    if (!ptx_is_punct(p, '|'))
        return true;
    ptx_next(p);
    pair = vgpu_arena_alloc(p->arena, 2, sizeof(*pair));
    if (!pair)
        return ptx_no_memory(p);
    pair[0] = *operand;
    if (!parse_operand(p, &pair[1], 0))
        return false;
    memset(operand, 0, sizeof(*operand));
    operand->kind = PTX_O_VEC;
    operand->pair = true;
    operand->vec = pair;
    operand->count = 2;
    return true;
}

static bool parse_operands(struct ptx_parser *p, struct ptx_operand *operands, uint8_t *count)
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

/* --- checking against the row --- */

static uint32_t reg_bytes(const struct ptx_parser *p, uint32_t id)
{
    return ptx_type_bytes(p->func->regs[id].type);
}

static bool check_dest(struct ptx_parser *p, const struct ptx_inst *inst,
                       const struct ptx_operand *o, uint32_t bytes, bool wide_ok)
{
    if (o->kind == PTX_O_SINK)
        return true;
    if (o->kind != PTX_O_REG)
        return bad(p, inst, "the destination is not a register");
    if (bytes == 0)
        return p->func->regs[o->id].type == PTX_T_pred ||
               bad(p, inst, "the destination is not a predicate");
    if (p->func->regs[o->id].type == PTX_T_pred)
        return bad(p, inst, "the destination is a predicate");
    if (wide_ok ? reg_bytes(p, o->id) < bytes : reg_bytes(p, o->id) != bytes)
        return bad(p, inst, "the destination register has the wrong size");
    return true;
}

static bool check_source(struct ptx_parser *p, const struct ptx_inst *inst,
                         const struct ptx_operand *o, uint32_t bytes, bool is_float, bool wide_ok)
{
    if (o->kind == PTX_O_IMM) {
        if (o->is_float || o->is_f32)
            return is_float || (bytes && o->is_f32 == (bytes == 4)) ||
                   bad(p, inst, "a floating-point constant in an integer instruction");
        if (is_float && o->bits && (bytes == 4 || bytes == 8))
            return bad(p, inst, "an integer constant in a floating-point instruction");
        return true;
    }
    if (o->kind == PTX_O_SREG)
        return ptx_sreg_info(o->id)->bytes == bytes ||
               (ptx_sreg_info(o->id)->bytes == 4 && bytes == 2) ||
               (o->id == PTX_SR_gridid && bytes == 4) || /* its lower half */
               bad(p, inst, "the special register has another size");
    if (o->kind == PTX_O_VAR)
        return bytes == 8 || bytes == 4 || bad(p, inst, "an address needs 32 or 64 bits");
    if (o->kind != PTX_O_REG)
        return bad(p, inst, "an operand of the wrong kind");
    if (bytes == 0)
        return p->func->regs[o->id].type == PTX_T_pred ||
               bad(p, inst, "a source is not a predicate");
    if (p->func->regs[o->id].type == PTX_T_pred)
        return bad(p, inst, "a source is a predicate");
    if (wide_ok ? reg_bytes(p, o->id) < bytes : reg_bytes(p, o->id) != bytes)
        return bad(p, inst, "a source register has the wrong size");
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
        return bad(p, inst, "a vector of more than 16 bytes");
    if (want == 1 && o->kind == PTX_O_VEC && !o->pair && o->count == 1)
        o = &o->vec[0];
    if (want == 1)
        return is_dest ? check_dest(p, inst, o, bytes, true)
                       : check_source(p, inst, o, bytes, is_float, true);
    if (o->kind != PTX_O_VEC || o->pair || o->count != want)
        return bad(p, inst, "the vector operand has another number of elements");
    for (uint32_t i = 0; i < want; i++)
        if (!(is_dest ? check_dest(p, inst, &o->vec[i], bytes, true)
                      : check_source(p, inst, &o->vec[i], bytes, is_float, true)))
            return false;
    return true;
}

static bool check_memory(struct ptx_parser *p, const struct ptx_inst *inst,
                         const struct ptx_operand *o)
{
    const struct ptx_operand *base = o->vec;

    if (o->kind != PTX_O_MEM)
        return bad(p, inst, "expected an address in brackets");
    if (base->kind == PTX_O_REG &&
        (p->func->regs[base->id].type == PTX_T_pred || reg_bytes(p, base->id) < 4))
        return bad(p, inst, "an address register needs 32 or 64 bits");
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
    case 't': return check_source(p, inst, o, bytes, is_float, false);
    case 'T': return check_source(p, inst, o, bytes, is_float, true);
    case 's': return check_source(p, inst, o, second, second_float, false);
    case 'S': return check_source(p, inst, o, second, second_float, true);
    case 'x': return check_source(p, inst, o, bytes * 2, false, false);
    case 'u': return check_source(p, inst, o, 4, false, false);
    case 'c': return check_source(p, inst, o, 4, false, false);
    case 'l': return check_source(p, inst, o, 8, false, false);
    case 'F': return check_source(p, inst, o, 4, true, false);
    case 'a':
        return check_source(p, inst, o,
                            inst->type_count       ? bytes
                            : o->kind == PTX_O_REG ? reg_bytes(p, o->id)
                                                   : 8,
                            false, false);
    case 'p': return check_source(p, inst, o, 0, false, false);
    case 'V': return check_vector(p, inst, o, true);
    case 'v': return check_vector(p, inst, o, false);
    case '[': return check_memory(p, inst, o);
    case 'I':
        return (o->kind == PTX_O_IMM && !o->is_float && !o->is_f32) ||
               bad(p, inst, "expected an integer constant");
    default: return bad(p, inst, "an operand that is not understood");
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
            return optional || bad(p, inst, "too few operands");
        if (!check_operand(p, inst, &inst->operands[at], *signature))
            return false;
        at++;
    }
    return at == inst->operand_count || bad(p, inst, "too many operands");
}

static bool check_mov_vector(struct ptx_parser *p, const struct ptx_inst *inst,
                             const struct ptx_operand *vec, bool is_dest)
{
    uint32_t bytes = ptx_type_bytes(inst->types[0]);

    if (vec->pair || (vec->count != 2 && vec->count != 4) || bytes / vec->count < 1)
        return bad(p, inst, "a vector that does not divide the type into two or four parts");
    for (uint32_t i = 0; i < vec->count; i++)
        if (!(is_dest ? check_dest(p, inst, &vec->vec[i], bytes / vec->count, false)
                      : check_source(p, inst, &vec->vec[i], bytes / vec->count, false, false)))
            return false;
    return true;
}

static bool check_mov(struct ptx_parser *p, const struct ptx_inst *inst)
{
    const struct ptx_operand *d = &inst->operands[0], *s = &inst->operands[1];
    uint32_t bytes = ptx_type_bytes(inst->types[0]);

    if (inst->operand_count != 2)
        return bad(p, inst, "expected two operands");
    if (d->kind == PTX_O_VEC)
        return check_mov_vector(p, inst, d, true) && check_source(p, inst, s, bytes, false, false);
    if (!check_dest(p, inst, d, bytes, false))
        return false;
    if (s->kind == PTX_O_VEC)
        return check_mov_vector(p, inst, s, false);
    if (s->kind == PTX_O_FUNC)
        return bytes == 8 || bad(p, inst, "a function's address needs 64 bits");
    return check_source(p, inst, s, bytes, ptx_type_is_float(inst->types[0]), false);
}

/* Combinations that the letters cannot say. */
static bool check_special(struct ptx_parser *p, struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint32_t n = inst->operand_count;

    if (ptx_op_info(inst->op)->flags & PTX_F_VIDEO) {
        const char *reason = ptx_video_refuses(inst);

        return !reason || bad(p, inst, reason);
    }
    switch (inst->op) {
    case PTX_OP_setp:
    case PTX_OP_set: {
        bool combines = ptx_mods_has(&inst->mods, PTX_M_and_) ||
                        ptx_mods_has(&inst->mods, PTX_M_or_) ||
                        ptx_mods_has(&inst->mods, PTX_M_xor_);

        return combines == (n == 4) || bad(p, inst, "a boolean operator goes with a third source");
    }
    case PTX_OP_cvt: {
        bool is_pair = ptx_type_is_pair(inst->types[0]) && !ptx_type_is_pair(inst->types[1]);

        return is_pair == (n == 3) || bad(p, inst, "another number of operands");
    }
    case PTX_OP_ld:
    case PTX_OP_st:
        return (n == 3) == ptx_mods_has(&inst->mods, PTX_M_hint_operand) ||
               bad(p, inst, "too many operands");
    case PTX_OP_cp_async:
        return o[2].bits == 4 || o[2].bits == 8 || o[2].bits == 16 ||
               bad(p, inst, "the size is not 4, 8 or 16");
    case PTX_OP_min:
    case PTX_OP_max:
        return n == 3 || inst->types[0] == PTX_T_f32 || bad(p, inst, "too many operands");
    case PTX_OP_lop3:
    case PTX_OP_lop3p:
    case PTX_OP_lop3q: return o[4].bits <= 255 || bad(p, inst, "the look-up table is one byte");
    default: return true;
    }
}

/* --- instructions with a syntax of their own --- */

static bool parse_bra(struct ptx_parser *p, struct ptx_inst *inst)
{
    const char *name;
    uint32_t bytes;

    inst->operands = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->operands));
    if (!inst->operands)
        return ptx_no_memory(p);
    inst->operand_count = 1;
    inst->operands[0].kind = PTX_O_LABEL;
    return ptx_expect_name(p, &name, &bytes) &&
           ptx_label_use(p, name, bytes, inst->line, &inst->operands[0].id, NULL);
}

static bool parse_brx(struct ptx_parser *p, struct ptx_inst *inst)
{
    const char *name;
    uint32_t bytes;

    inst->operands = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->operands));
    inst->call = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->call));
    if (!inst->operands || !inst->call)
        return ptx_no_memory(p);
    inst->operand_count = 1;
    if (!parse_operand(p, &inst->operands[0], 0) ||
        !check_source(p, inst, &inst->operands[0], 4, false, false))
        return false;
    if (!ptx_expect(p, ',') || !ptx_expect_name(p, &name, &bytes))
        return false;
    return ptx_label_use(p, name, bytes, inst->line, NULL, inst->call);
}

/* (a, b, ...) of a call: .param variables, registers or constants. */
static bool parse_call_list(struct ptx_parser *p, struct ptx_operand **list, uint32_t *count)
{
    uint32_t capacity = 0;

    if (!ptx_expect(p, '('))
        return false;
    if (ptx_take_punct(p, ')'))
        return true;
    do {
        struct ptx_operand operand;

        if (*count >= PTX_MAX_PARAMS)
            return ptx_error(p, p->tok.line, "too many arguments");
        if (!parse_operand(p, &operand, 0))
            return false;
        if (operand.kind != PTX_O_REG && operand.kind != PTX_O_IMM &&
            !(operand.kind == PTX_O_VAR && operand.var->space == PTX_SPACE_LOCAL && !operand.bits))
            return ptx_error(p, p->tok.line,
                             "an argument is neither a .param variable, a register nor a constant");
        if (!vgpu_arena_grow(p->arena, (void **)list, &capacity, *count, sizeof(**list)))
            return ptx_no_memory(p);
        (*list)[(*count)++] = operand;
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ')');
}

static bool parse_call_target(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_operand *target = vgpu_arena_alloc(p->arena, 1, sizeof(*target));

    if (!target)
        return ptx_no_memory(p);
    if (!parse_operand(p, target, 0))
        return false;
    if (target->kind == PTX_O_FUNC) {
        if (target->func->is_entry)
            return bad(p, inst, "calls a kernel");
        inst->call->func = target->func;
        return true;
    }
    if (target->kind != PTX_O_REG || p->func->regs[target->id].type == PTX_T_pred ||
        reg_bytes(p, target->id) != 8)
        return bad(p, inst, "the target is neither a function nor a 64-bit register");
    inst->call->target = target;
    return true;
}

static bool check_call_args(struct ptx_parser *p, const struct ptx_inst *inst,
                            const struct ptx_operand *args, uint32_t count,
                            struct ptx_var *const *params, uint32_t param_count)
{
    if (count != param_count)
        return bad(p, inst, "another number of arguments than the function has");
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes = params[i]->bytes;

        if (args[i].kind == PTX_O_VAR && args[i].var->bytes != bytes)
            return bad(p, inst, "an argument's size differs from the parameter's");
        if (args[i].kind == PTX_O_REG && (p->func->regs[args[i].id].type == PTX_T_pred ||
                                          reg_bytes(p, args[i].id) < bytes || bytes > 8))
            return bad(p, inst, "an argument's size differs from the parameter's");
    }
    return true;
}

static bool parse_call(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_call *call = vgpu_arena_alloc(p->arena, 1, sizeof(*call));
    struct ptx_func *callee;

    if (!call)
        return ptx_no_memory(p);
    inst->call = call;
    if (ptx_is_punct(p, '(') &&
        (!parse_call_list(p, &call->rets, &call->ret_count) || !ptx_expect(p, ',')))
        return false;
    if (!parse_call_target(p, inst))
        return false;
    if (ptx_take_punct(p, ',')) {
        const char *name = NULL;
        uint32_t bytes = 0;

        if (ptx_is_punct(p, '(') && !parse_call_list(p, &call->args, &call->arg_count))
            return false;
        if ((ptx_take_punct(p, ',') || p->tok.kind == PTX_TOK_NAME) &&
            !ptx_expect_name(p, &name, &bytes))
            return false;
        if (name) {
            struct ptx_sym *sym = ptx_sym_find(p, name, bytes);

            if (!sym || sym->kind != PTX_SYM_PROTO || !sym->func)
                return bad(p, inst, "the prototype is not declared");
            call->proto = sym->func;
        }
    }
    callee = call->func ? call->func : call->proto;
    if (!callee)
        return bad(p, inst, "an indirect call without a prototype");
    for (uint32_t i = 0; i < call->ret_count; i++)
        if (call->rets[i].kind == PTX_O_IMM)
            return bad(p, inst, "a constant cannot receive a result");
    return check_call_args(p, inst, call->args, call->arg_count, callee->params,
                           callee->param_count) &&
           check_call_args(p, inst, call->rets, call->ret_count, callee->rets, callee->ret_count);
}

static bool parse_plain(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_operand operands[PTX_MAX_OPERANDS];
    bool ok;

    p->parts_allowed = ptx_op_info(inst->op)->flags & PTX_F_VIDEO;
    ok = parse_operands(p, operands, &inst->operand_count);
    p->parts_allowed = false;
    if (!ok)
        return false;
    if (inst->operand_count) {
        inst->operands = vgpu_arena_alloc(p->arena, inst->operand_count, sizeof(*operands));
        if (!inst->operands)
            return ptx_no_memory(p);
        memcpy(inst->operands, operands, inst->operand_count * sizeof(*operands));
    }
    if (inst->op == PTX_OP_mov)
        return check_mov(p, inst);
    return check_signature(p, inst) && check_special(p, inst);
}

static bool parse_rest(struct ptx_parser *p, struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_bra: return parse_bra(p, inst);
    case PTX_OP_brx: return parse_brx(p, inst);
    case PTX_OP_call: return parse_call(p, inst);
    default: return parse_plain(p, inst);
    }
}

/* The row of the mnemonic whose first row is `first`; PTX_OP_COUNT if there is none. */
static enum ptx_opcode row_find(enum ptx_opcode first, const struct suffixes *s)
{
    const struct ptx_op_info *info;
    enum ptx_opcode found = PTX_OP_COUNT;

    for (enum ptx_opcode op = first; op < PTX_OP_COUNT; op++) {
        info = ptx_op_info(op);
        if (strcmp(info->name, ptx_op_info(first)->name))
            break;
        if (found != PTX_OP_COUNT &&
            memcmp(&info->need, &ptx_op_info(found)->need, sizeof(info->need)))
            break;
        if (!mods_subset(&info->need, &s->mods))
            continue;
        if (types_wanted(info) == s->type_count)
            return op;
        if (found == PTX_OP_COUNT)
            found = op;
    }
    return found;
}

bool ptx_parse_instruction(struct ptx_parser *p, uint32_t guard, bool guard_negate)
{
    struct suffixes s = {.type_count = 0};
    const char *name, *reason = "it is not known";
    uint32_t bytes, line = p->tok.line;
    enum ptx_opcode first, op;
    bool unknown = false;
    struct ptx_inst *inst;

    if (!ptx_expect_name(p, &name, &bytes))
        return false;
    snprintf(s.text, sizeof(s.text), "%.*s", (int)(bytes < 40 ? bytes : 40), name);
    first = ptx_op_find(name, bytes);
    if (first == PTX_OP_COUNT && p->tok.kind != PTX_TOK_DOT && p->tok.kind != PTX_TOK_NAME &&
        !ptx_is_punct(p, ';'))
        return ptx_error(p, line, "expected an instruction near '%s'", s.text);
    if (!parse_suffixes(p, &s, &unknown))
        reason = "a suffix that is not known";
    op = row_find(first, &s);
    if (op != PTX_OP_COUNT && (!unknown || (ptx_op_info(op)->flags & PTX_F_REFUSE)))
        reason = row_refuses(ptx_op_info(op), &s);
    if (first == PTX_OP_COUNT || op == PTX_OP_COUNT || reason) {
        ptx_unsupported(p, line, "'%s': %s", s.text, reason ? reason : "it is not known");
        ptx_skip_statement(p);
        return true;
    }
    inst = ptx_inst_add(p, op, line);
    if (!inst)
        return false;
    inst->guard = guard;
    inst->guard_negate = guard_negate;
    inst->mods = s.mods;
    inst->type_count = s.type_count;
    memcpy(inst->types, s.types, sizeof(s.types));
    if (!parse_rest(p, inst))
        return false;
    return ptx_expect(p, ';');
}
