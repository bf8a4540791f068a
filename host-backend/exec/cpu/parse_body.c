// SPDX-License-Identifier: MIT
/*
 * PTX parser: function bodies. Statements, scopes, register declarations, labels.
 *
 * Registers are made when they are first used: a declaration of %r<1000000> costs one symbol. A label use is
 * put on a list of its scope and resolved when the scope that declares the label ends, so that labels of
 * inline-assembly blocks shadow correctly. Parameters of device functions and .param variables of call
 * sequences are memory of the frame, as .local variables are.
 */
#include "parse.h"

#include <string.h>

struct ptx_inst *ptx_inst_add(struct ptx_parser *p, enum ptx_opcode op, uint32_t line)
{
    struct ptx_func *func = p->func;
    struct ptx_inst *inst;

    if (func->inst_count >= PTX_MAX_INSTRUCTIONS) {
        ptx_error(p, line, "more than %u instructions in one function", PTX_MAX_INSTRUCTIONS);
        return NULL;
    }
    if (!vgpu_arena_grow(p->arena, (void **)&func->insts, &func->inst_capacity, func->inst_count,
                         sizeof(*func->insts))) {
        ptx_no_memory(p);
        return NULL;
    }
    inst = &func->insts[func->inst_count++];
    memset(inst, 0, sizeof(*inst));
    inst->op = (uint16_t)op;
    inst->line = line;
    inst->guard = PTX_NO_GUARD;
    return inst;
}

static bool reg_new(struct ptx_parser *p, uint8_t type, uint32_t *id)
{
    struct ptx_func *func = p->func;

    if (func->reg_count >= PTX_MAX_REGISTERS)
        return ptx_error(p, p->tok.line, "more than %u registers in one function",
                         PTX_MAX_REGISTERS);
    if (!vgpu_arena_grow(p->arena, (void **)&func->regs, &func->reg_capacity, func->reg_count,
                         sizeof(*func->regs)))
        return ptx_no_memory(p);
    func->regs[func->reg_count].type = type;
    *id = func->reg_count++;
    return true;
}

/* Finds %name<count> declarations: digits at the end, no leading zero, below the count. */
static struct ptx_sym *regs_find(struct ptx_scope *scope, const char *name, uint32_t bytes)
{
    uint32_t digits = 0;

    while (digits < bytes && name[bytes - digits - 1] >= '0' && name[bytes - digits - 1] <= '9' &&
           digits < 8) {
        uint64_t number = 0;
        struct ptx_sym *sym;

        digits++;
        if (name[bytes - digits] == '0' && digits > 1)
            continue;
        for (uint32_t i = bytes - digits; i < bytes; i++)
            number = number * 10 + (uint64_t)(name[i] - '0');
        sym = vgpu_map_find(&scope->ranges, name, bytes - digits);
        if (sym && number < sym->count)
            return sym;
    }
    return NULL;
}

bool ptx_reg_find(struct ptx_parser *p, const char *name, uint32_t bytes, uint32_t *id)
{
    for (struct ptx_scope *scope = p->scope; scope; scope = scope->parent) {
        struct ptx_sym *sym = vgpu_map_find(&scope->names, name, bytes);
        struct ptx_sym *made;

        if (sym && sym->kind == PTX_SYM_REG) {
            *id = sym->first;
            return true;
        }
        if (sym)
            return false;
        sym = regs_find(scope, name, bytes);
        if (!sym)
            continue;
        made = vgpu_arena_alloc(p->arena, 1, sizeof(*made));
        if (!made || !vgpu_map_insert(p->arena, &scope->names, name, bytes, made))
            return ptx_no_memory(p);
        made->kind = PTX_SYM_REG;
        made->type = sym->type;
        if (!reg_new(p, sym->type, &made->first))
            return false;
        *id = made->first;
        return true;
    }
    return false;
}

bool ptx_label_use(struct ptx_parser *p, const char *name, uint32_t bytes, uint32_t line,
                   uint32_t *where, struct ptx_call *targets)
{
    struct ptx_fixup *fixup = vgpu_arena_alloc(p->arena, 1, sizeof(*fixup));

    if (!fixup)
        return ptx_no_memory(p);
    fixup->name = name;
    fixup->name_bytes = bytes;
    fixup->line = line;
    fixup->where = where;
    fixup->targets = targets;
    fixup->next = p->scope->fixups;
    p->scope->fixups = fixup;
    return true;
}

static bool scope_open(struct ptx_parser *p)
{
    struct ptx_scope *scope = vgpu_arena_alloc(p->arena, 1, sizeof(*scope));

    if (!scope)
        return ptx_no_memory(p);
    scope->parent = p->scope;
    scope->depth = p->scope ? p->scope->depth + 1 : 1;
    if (scope->depth > PTX_MAX_SCOPE_DEPTH)
        return ptx_error(p, p->tok.line, "blocks nested too deeply");
    p->scope = scope;
    return true;
}

/* A list may be named by any number of instructions, each of which costs as if the list were its own. */
static bool take_targets(struct ptx_parser *p, const struct ptx_fixup *fixup,
                         const struct ptx_call *list)
{
    p->func->target_count += list->target_count;
    if (p->func->target_count > PTX_MAX_TARGETS)
        return ptx_error(
            p, fixup->line,
            "brx.idx: more than %u branch targets of such instructions in one function",
            PTX_MAX_TARGETS);
    fixup->targets->targets = list->targets;
    fixup->targets->target_count = list->target_count;
    return true;
}

static bool scope_close(struct ptx_parser *p)
{
    struct ptx_scope *scope = p->scope;
    struct ptx_fixup *next;

    for (struct ptx_fixup *fixup = scope->fixups; fixup; fixup = next) {
        struct ptx_sym *sym = vgpu_map_find(&scope->names, fixup->name, fixup->name_bytes);

        next = fixup->next;
        if (sym && sym->kind == PTX_SYM_LABEL && fixup->where) {
            *fixup->where = sym->first;
        } else if (sym && sym->kind == PTX_SYM_TARGETS && fixup->targets && sym->targets) {
            if (!take_targets(p, fixup, sym->targets))
                return false;
        } else if (scope->parent && !sym) {
            fixup->next = scope->parent->fixups;
            scope->parent->fixups = fixup;
        } else {
            return ptx_error(p, fixup->line, "'%.*s' is not a label of this function",
                             (int)(fixup->name_bytes < 80 ? fixup->name_bytes : 80), fixup->name);
        }
    }
    p->scope = scope->parent;
    return true;
}

/* .reg .type name, name<count>, ...; */
static bool parse_reg(struct ptx_parser *p)
{
    enum ptx_type type;

    if (ptx_is_dot(p, "v2") || ptx_is_dot(p, "v4")) {
        ptx_unsupported(p, p->tok.line, "vector registers");
        ptx_skip_statement(p);
        return true;
    }
    if (p->tok.kind != PTX_TOK_DOT)
        return ptx_error(p, p->tok.line, "expected a type after .reg");
    type = ptx_type_find(p->tok.text, p->tok.bytes);
    if (type == PTX_T_b128) {
        ptx_unsupported(p, p->tok.line, ".b128 registers");
        ptx_skip_statement(p);
        return true;
    }
    if (type == PTX_T_none || type > PTX_T_s16x2 || ptx_type_bytes(type) > 8)
        return ptx_error(p, p->tok.line, "'.%.*s' is not a register type", (int)(p->tok.bytes & 31),
                         p->tok.text);
    ptx_next(p);
    do {
        const char *name;
        uint32_t bytes;
        struct ptx_sym *sym;

        if (!ptx_expect_name(p, &name, &bytes))
            return false;
        if (vgpu_map_find(ptx_is_punct(p, '<') ? &p->scope->ranges : &p->scope->names, name, bytes))
            return ptx_error(p, p->tok.line, "'%.*s' is declared twice",
                             (int)(bytes < 80 ? bytes : 80), name);
        if (ptx_take_punct(p, '<')) {
            if (p->tok.kind != PTX_TOK_INT || p->tok.bits > UINT32_MAX)
                return ptx_error(p, p->tok.line, "expected a register count");
            sym = vgpu_arena_alloc(p->arena, 1, sizeof(*sym));
            if (!sym || !vgpu_map_insert(p->arena, &p->scope->ranges, name, bytes, sym))
                return ptx_no_memory(p);
            sym->count = (uint32_t)p->tok.bits;
            ptx_next(p);
            if (!ptx_expect(p, '>'))
                return false;
        } else {
            sym = ptx_sym_add(p, name, bytes, PTX_SYM_REG);
            if (!sym || !reg_new(p, (uint8_t)type, &sym->first))
                return false;
        }
        sym->type = (uint8_t)type;
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ';');
}

/* Gives a parameter of a device function, or a .param variable of a call, its place in the frame. */
static bool param_place(struct ptx_parser *p, struct ptx_var *var)
{
    uint32_t align = var->align < 8 ? 8 : var->align;
    uint64_t offset = ((uint64_t)p->func->local_bytes + align - 1) & ~(uint64_t)(align - 1);

    if (offset + var->bytes > VGPU_PTX_MAX_LOCAL_BYTES)
        return ptx_error(p, var->line, "more than %u bytes of local memory",
                         VGPU_PTX_MAX_LOCAL_BYTES);
    var->space = PTX_SPACE_LOCAL;
    var->address = offset;
    p->func->local_bytes = (uint32_t)((offset + var->bytes + 7) & ~7ull);
    return true;
}

static bool param_publish(struct ptx_parser *p, struct ptx_var *var)
{
    struct ptx_sym *sym;

    if (vgpu_map_find(&p->scope->names, var->name, var->name_bytes))
        return ptx_error(p, var->line, "'%s' is declared twice", var->name);
    sym = ptx_sym_add(p, var->name, var->name_bytes, PTX_SYM_VAR);
    if (!sym)
        return false;
    sym->var = var;
    return true;
}

static bool parse_call_param(struct ptx_parser *p)
{
    struct ptx_var *var, *pattern;

    /* the keyword is taken already, and ptx_parse_param_var wants to see it: it is a one-variable declaration */
    if (!ptx_parse_param_var(p, &pattern))
        return false;
    var = pattern;
    for (;;) {
        if (!param_place(p, var) || !param_publish(p, var))
            return false;
        if (!ptx_is_punct(p, ','))
            break;
        return ptx_error(p, p->tok.line, "one .param variable for each declaration");
    }
    return ptx_expect(p, ';');
}

static bool parse_branch_targets(struct ptx_parser *p, struct ptx_sym *sym)
{
    uint32_t capacity = 0, count = 0;
    struct name {
        const char *text;
        uint32_t bytes;
    } *names = NULL;

    do {
        if (count == PTX_MAX_TARGETS)
            return ptx_error(p, p->tok.line, "more than %u branch targets", PTX_MAX_TARGETS);
        if (!vgpu_arena_grow(p->arena, (void **)&names, &capacity, count, sizeof(*names)))
            return ptx_no_memory(p);
        if (!ptx_expect_name(p, &names[count].text, &names[count].bytes))
            return false;
        count++;
    } while (ptx_take_punct(p, ','));
    sym->targets = vgpu_arena_alloc(p->arena, 1, sizeof(*sym->targets));
    if (!sym->targets)
        return ptx_no_memory(p);
    sym->targets->target_count = count;
    sym->targets->targets = vgpu_arena_alloc(p->arena, count, sizeof(uint32_t));
    if (!sym->targets->targets)
        return ptx_no_memory(p);
    for (uint32_t i = 0; i < count; i++)
        if (!ptx_label_use(p, names[i].text, names[i].bytes, p->tok.line, &sym->targets->targets[i],
                           NULL))
            return false;
    return ptx_expect(p, ';');
}

static bool parse_label(struct ptx_parser *p)
{
    const char *name;
    uint32_t bytes;
    struct ptx_sym *sym;

    if (!ptx_expect_name(p, &name, &bytes) || !ptx_expect(p, ':'))
        return false;
    if (vgpu_map_find(&p->scope->names, name, bytes))
        return ptx_error(p, p->tok.line, "'%.*s' is declared twice", (int)(bytes < 80 ? bytes : 80),
                         name);
    sym = ptx_sym_add(p, name, bytes, PTX_SYM_LABEL);
    if (!sym)
        return false;
    sym->first = p->func->inst_count;
    if (ptx_take_dot(p, "branchtargets")) {
        sym->kind = PTX_SYM_TARGETS;
        return parse_branch_targets(p, sym);
    }
    if (ptx_take_dot(p, "callprototype")) {
        sym->kind = PTX_SYM_PROTO;
        return ptx_parse_proto(p, &sym->func) && ptx_expect(p, ';');
    }
    if (ptx_take_dot(p, "calltargets")) {
        /* The list only helps a compiler; the call through it is checked at run time. */
        sym->kind = PTX_SYM_PROTO;
        do {
            const char *target;
            uint32_t target_bytes;
            struct ptx_sym *func;

            if (!ptx_expect_name(p, &target, &target_bytes))
                return false;
            func = vgpu_map_find(&p->ir->names, target, target_bytes);
            if (!func || func->kind != PTX_SYM_FUNC)
                return ptx_error(p, p->tok.line, "'%.*s' is not a function",
                                 (int)(target_bytes & 63), target);
            sym->func = func->func;
        } while (ptx_take_punct(p, ','));
        return ptx_expect(p, ';');
    }
    return true;
}

static bool parse_guard(struct ptx_parser *p, uint32_t *guard, bool *negate)
{
    const char *name;
    uint32_t bytes;

    *negate = ptx_take_punct(p, '!');
    if (!ptx_expect_name(p, &name, &bytes))
        return false;
    if (!ptx_reg_find(p, name, bytes, guard))
        return ptx_error(p, p->tok.line, "'%.*s' is not a register", (int)(bytes < 80 ? bytes : 80),
                         name);
    if (p->func->regs[*guard].type != PTX_T_pred)
        return ptx_error(p, p->tok.line, "the guard '%.*s' is not a predicate",
                         (int)(bytes < 80 ? bytes : 80), name);
    return true;
}

static bool parse_directive(struct ptx_parser *p)
{
    static const struct ptx_linkage plain;
    struct ptx_linkage linkage = {.is_extern = true};
    uint32_t line = p->tok.line;

    if (ptx_take_dot(p, "reg"))
        return parse_reg(p);
    if (ptx_take_dot(p, "local"))
        return ptx_parse_var(p, PTX_SPACE_LOCAL, &plain);
    if (ptx_take_dot(p, "shared"))
        return ptx_parse_var(p, PTX_SPACE_SHARED, &plain);
    if (ptx_take_dot(p, "global"))
        return ptx_parse_var(p, PTX_SPACE_GLOBAL, &plain);
    if (ptx_take_dot(p, "const"))
        return ptx_parse_var(p, PTX_SPACE_CONST, &plain);
    if (ptx_take_dot(p, "extern"))
        return ptx_take_dot(p, "shared") ? ptx_parse_var(p, PTX_SPACE_SHARED, &linkage)
                                         : ptx_error(p, line, "expected .extern .shared");
    if (ptx_is_dot(p, "param"))
        return parse_call_param(p);
    if (ptx_is_dot(p, "loc") || ptx_is_dot(p, "file")) {
        ptx_skip_line(p, line);
        return true;
    }
    if (ptx_is_dot(p, "pragma"))
        return ptx_parse_pragma(p);
    return ptx_error(p, line, "unknown directive '.%.*s'", (int)(p->tok.bytes & 31), p->tok.text);
}

static bool parse_statement(struct ptx_parser *p)
{
    uint32_t guard = PTX_NO_GUARD;
    bool negate = false;

    if (ptx_take_punct(p, ';'))
        return true;
    if (ptx_take_punct(p, '{'))
        return scope_open(p);
    if (p->tok.kind == PTX_TOK_DOT)
        return parse_directive(p);
    if (p->tok.kind == PTX_TOK_NAME && p->ahead.kind == PTX_TOK_PUNCT && p->ahead.punct == ':')
        return parse_label(p);
    if (ptx_take_punct(p, '@') && !parse_guard(p, &guard, &negate))
        return false;
    return ptx_parse_instruction(p, guard, negate);
}

static bool body_params(struct ptx_parser *p)
{
    struct ptx_func *func = p->func;

    for (uint32_t i = 0; i < func->param_count; i++)
        if ((!func->is_entry && !param_place(p, func->params[i])) ||
            !param_publish(p, func->params[i]))
            return false;
    for (uint32_t i = 0; i < func->ret_count; i++)
        if (!param_place(p, func->rets[i]) || !param_publish(p, func->rets[i]))
            return false;
    return true;
}

bool ptx_parse_body(struct ptx_parser *p)
{
    uint32_t outer;

    if (!ptx_expect(p, '{') || !scope_open(p))
        return false;
    outer = p->scope->depth;
    if (!body_params(p))
        return false;
    for (;;) {
        if (p->tok.kind == PTX_TOK_END)
            return ptx_error(p, p->tok.line, "the text ends inside '%s'", p->func->name);
        if (ptx_take_punct(p, '}')) {
            bool is_last = p->scope->depth == outer;

            /* Control that runs off the end returns (PTX ISA: ret is implied there). */
            if (is_last && !ptx_inst_add(p, PTX_OP_ret, p->tok.line))
                return false;
            if (!scope_close(p))
                return false;
            if (is_last)
                return true;
            continue;
        }
        if (!parse_statement(p))
            return false;
    }
}
