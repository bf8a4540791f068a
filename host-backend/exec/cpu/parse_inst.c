// SPDX-License-Identifier: MIT
/*
 * PTX parser: one instruction. Reads the mnemonic with its suffixes, finds the row of opcodes.def, reads the
 * operands by their syntax (parse_operand.c, for branches and calls parse_call.c) and then has them checked
 * against the row (check_inst.c).
 */
#include "parse.h"

#include <stdio.h>
#include <string.h>

struct suffixes {
    struct ptx_mods mods;
    uint8_t types[4];
    uint8_t type_count;
    char text[96]; /* the whole instruction name, for messages */
};

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

static bool parse_plain(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_operand operands[PTX_MAX_OPERANDS];
    bool ok;

    p->parts_allowed = ptx_op_info(inst->op)->flags & PTX_F_VIDEO;
    ok = ptx_parse_operands(p, operands, &inst->operand_count);
    p->parts_allowed = false;
    if (!ok)
        return false;
    if (inst->operand_count) {
        inst->operands = vgpu_arena_alloc(p->arena, inst->operand_count, sizeof(*operands));
        if (!inst->operands)
            return ptx_no_memory(p);
        memcpy(inst->operands, operands, inst->operand_count * sizeof(*operands));
    }
    return ptx_check_instruction(p, inst);
}

static bool parse_rest(struct ptx_parser *p, struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_bra: return ptx_parse_bra(p, inst);
    case PTX_OP_brx: return ptx_parse_brx(p, inst);
    case PTX_OP_call: return ptx_parse_call(p, inst);
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
