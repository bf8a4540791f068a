// SPDX-License-Identifier: MIT
/*
 * PTX parser: variable declarations with their initialisers, and constant expressions (PTX ISA "Constant
 * Expressions": evaluated in 64 bits, unsigned once an operand is).
 *
 * An initialiser is written into a buffer as long as its values; addresses become relocations that the
 * linker applies once variables have addresses.
 */
#include "parse.h"

#include <string.h>

struct value {
    uint64_t bits;
    bool is_unsigned;
    bool is_float; /* bits of a double */
    bool is_f32;   /* bits of a float */
};

static bool parse_expr(struct ptx_parser *p, struct value *value, uint32_t min_rank,
                       uint32_t depth);

static double value_double(const struct value *value)
{
    double d;
    float f;

    if (value->is_f32) {
        uint32_t bits = (uint32_t)value->bits;

        memcpy(&f, &bits, sizeof(f));
        return f;
    }
    if (value->is_float) {
        memcpy(&d, &value->bits, sizeof(d));
        return d;
    }
    return value->is_unsigned ? (double)value->bits : (double)(int64_t)value->bits;
}

static bool parse_negate(struct ptx_parser *p, struct value *value, char op)
{
    if (value->is_f32 || value->is_float) {
        if (op == '-')
            value->bits ^= value->is_f32 ? 1ull << 31 : 1ull << 63;
        else if (op != '+')
            return ptx_error(p, p->tok.line, "'%c' of a floating-point constant", op);
        return true;
    }
    if (op == '-')
        value->bits = 0 - value->bits;
    else if (op == '~')
        value->bits = ~value->bits;
    else if (op == '!')
        value->bits = !value->bits;
    return true;
}

static bool parse_cast(struct ptx_parser *p, struct value *value, uint32_t depth)
{
    bool is_unsigned = ptx_is_dot(p, "u64");

    if (!is_unsigned && !ptx_is_dot(p, "s64"))
        return ptx_error(p, p->tok.line, "expected .u64 or .s64");
    ptx_next(p);
    if (!ptx_expect(p, ')') || !parse_expr(p, value, 100, depth + 1))
        return false;
    value->is_unsigned = is_unsigned;
    return true;
}

static bool parse_primary(struct ptx_parser *p, struct value *value, uint32_t depth)
{
    memset(value, 0, sizeof(*value));
    if (depth > PTX_MAX_SCOPE_DEPTH)
        return ptx_error(p, p->tok.line, "an expression nested too deeply");
    if (p->tok.kind == PTX_TOK_PUNCT && !p->tok.punct2 && strchr("-+~!", p->tok.punct)) {
        char op = p->tok.punct;

        ptx_next(p);
        return parse_expr(p, value, 100, depth + 1) && parse_negate(p, value, op);
    }
    if (ptx_take_punct(p, '(')) {
        if (p->tok.kind == PTX_TOK_DOT)
            return parse_cast(p, value, depth);
        return parse_expr(p, value, 0, depth + 1) && ptx_expect(p, ')');
    }
    if (p->tok.kind == PTX_TOK_NAME && p->tok.bytes == 7 && !memcmp(p->tok.text, "WARP_SZ", 7)) {
        value->bits = PTX_WARP_LANES;
    } else if (p->tok.kind == PTX_TOK_INT) {
        value->bits = p->tok.bits;
        value->is_unsigned = p->tok.is_unsigned || p->tok.bits >> 63;
    } else if (p->tok.kind == PTX_TOK_F32 || p->tok.kind == PTX_TOK_F64) {
        value->bits = p->tok.bits;
        value->is_f32 = p->tok.kind == PTX_TOK_F32;
        value->is_float = p->tok.kind == PTX_TOK_F64;
    } else {
        return ptx_error(p, p->tok.line, "expected a constant near '%.*s'",
                         (int)(p->tok.bytes & 31), p->tok.text);
    }
    ptx_next(p);
    return true;
}

static uint32_t binary_rank(const struct ptx_parser *p)
{
    char a = p->tok.punct, b = p->tok.punct2;

    if (p->tok.kind != PTX_TOK_PUNCT)
        return 0;
    if (b)
        return b == '|' ? 2 : a == '&' ? 3 : a == '=' || a == '!' ? 7 : (a == b) ? 9 : 8;
    switch (a) {
    case '?': return 1;
    case '|': return 4;
    case '^': return 5;
    case '&': return 6;
    case '<':
    case '>': return 8;
    case '+':
    case '-': return 10;
    case '*':
    case '/':
    case '%': return 11;
    default: return 0;
    }
}

static bool apply_divide(struct ptx_parser *p, char op, struct value *a, const struct value *b,
                         bool is_unsigned)
{
    if (!b->bits)
        return ptx_error(p, p->tok.line, "division by zero in a constant");
    if (is_unsigned)
        a->bits = op == '/' ? a->bits / b->bits : a->bits % b->bits;
    else if ((int64_t)b->bits == -1)
        a->bits = op == '/' ? 0 - a->bits : 0;
    else
        a->bits = (uint64_t)(op == '/' ? (int64_t)a->bits / (int64_t)b->bits
                                       : (int64_t)a->bits % (int64_t)b->bits);
    return true;
}

static bool apply(struct ptx_parser *p, char op, char op2, struct value *a, const struct value *b)
{
    bool u = a->is_unsigned || b->is_unsigned;
    int64_t sa = (int64_t)a->bits, sb = (int64_t)b->bits;
    uint64_t ua = a->bits, ub = b->bits;
    bool is_compare = true;

    if (a->is_float || a->is_f32 || b->is_float || b->is_f32)
        return ptx_error(p, p->tok.line, "arithmetic with floating-point constants");
    if (op2 == '&')
        a->bits = ua && ub;
    else if (op2 == '|')
        a->bits = ua || ub;
    else if (op2 == '=' && op == '=')
        a->bits = ua == ub;
    else if (op2 == '=' && op == '!')
        a->bits = ua != ub;
    else if (op2 == '=' && op == '<')
        a->bits = u ? ua <= ub : sa <= sb;
    else if (op2 == '=' && op == '>')
        a->bits = u ? ua >= ub : sa >= sb;
    else if (!op2 && op == '<')
        a->bits = u ? ua < ub : sa < sb;
    else if (!op2 && op == '>')
        a->bits = u ? ua > ub : sa > sb;
    else
        is_compare = false;
    if (is_compare) {
        a->is_unsigned = false;
        return true;
    }
    a->is_unsigned = op2 ? a->is_unsigned : u;
    if (op2 == '<')
        a->bits = ub > 63 ? 0 : ua << ub;
    else if (op2 == '>')
        a->bits = a->is_unsigned ? (ub > 63 ? 0 : ua >> ub) : (uint64_t)(sa >> (ub > 63 ? 63 : ub));
    else if (op == '/' || op == '%')
        return apply_divide(p, op, a, b, u);
    else
        a->bits = op == '+'   ? ua + ub
                  : op == '-' ? ua - ub
                  : op == '*' ? ua * ub
                  : op == '&' ? (ua & ub)
                  : op == '|' ? (ua | ub)
                              : (ua ^ ub);
    return true;
}

static bool parse_choice(struct ptx_parser *p, struct value *value, uint32_t depth)
{
    struct value yes, no;

    if (!parse_expr(p, &yes, 1, depth + 1) || !ptx_expect(p, ':') ||
        !parse_expr(p, &no, 1, depth + 1))
        return false;
    *value = value->bits ? yes : no;
    return true;
}

/* Binary operators whose rank is at least min_rank; 100 = none, a unary operand. */
static bool parse_expr(struct ptx_parser *p, struct value *value, uint32_t min_rank, uint32_t depth)
{
    uint32_t rank;

    if (!parse_primary(p, value, depth))
        return false;
    while ((rank = binary_rank(p)) != 0 && rank >= min_rank) {
        char op = p->tok.punct, op2 = p->tok.punct2;
        struct value right;

        ptx_next(p);
        if (rank == 1) {
            if (!parse_choice(p, value, depth))
                return false;
            continue;
        }
        if (!parse_expr(p, &right, rank + 1, depth + 1) || !apply(p, op, op2, value, &right))
            return false;
    }
    return true;
}

bool ptx_parse_constant(struct ptx_parser *p, uint64_t *bits, bool *is_float)
{
    struct value value;

    if (!parse_expr(p, &value, 0, 0))
        return false;
    if (value.is_f32 || value.is_float) {
        double d = value_double(&value);

        memcpy(bits, &d, sizeof(d));
        *is_float = true;
        return true;
    }
    *bits = value.bits;
    *is_float = false;
    return true;
}

static bool var_append(struct ptx_parser *p, struct ptx_var *var)
{
    if (var->space == PTX_SPACE_SHARED && p->func) {
        var->next = p->func->shared;
        p->func->shared = var;
        p->func->shared_count++;
        return true;
    }
    *p->ir->vars_end = var;
    p->ir->vars_end = &var->next;
    return true;
}

/* An address in an initialiser: name, generic(name), with +- constant, or mask(bits, name). */
static bool parse_init_address(struct ptx_parser *p, struct ptx_var *var, uint64_t offset,
                               uint32_t bytes)
{
    struct ptx_reloc *reloc = vgpu_arena_alloc(p->arena, 1, sizeof(*reloc));
    const char *name;
    uint32_t name_bytes, line = p->tok.line;
    struct ptx_sym *sym;
    struct value value = {0};

    if (!reloc)
        return ptx_no_memory(p);
    if (!ptx_expect_name(p, &name, &name_bytes))
        return false;
    if (name_bytes == 7 && !memcmp(name, "generic", 7)) {
        if (!ptx_expect(p, '(') || !ptx_expect_name(p, &name, &name_bytes) || !ptx_expect(p, ')'))
            return false;
        reloc->generic = true;
    }
    sym = ptx_sym_find(p, name, name_bytes);
    if (!sym || (sym->kind != PTX_SYM_VAR && sym->kind != PTX_SYM_FUNC))
        return ptx_error(p, line, "'%.*s' has no address", (int)(name_bytes < 80 ? name_bytes : 80),
                         name);
    reloc->var = sym->kind == PTX_SYM_VAR ? sym->var : NULL;
    reloc->func = sym->kind == PTX_SYM_FUNC ? sym->func : NULL;
    if (ptx_is_punct(p, '+') || ptx_is_punct(p, '-')) {
        char op = p->tok.punct;

        ptx_next(p);
        if (!parse_expr(p, &value, 0, 0))
            return false;
        reloc->addend = (int64_t)(op == '-' ? 0 - value.bits : value.bits);
    }
    if (bytes != 4 && bytes != 8)
        return ptx_error(p, line, "an address in a variable of %u-byte elements", bytes);
    reloc->offset = offset;
    reloc->bytes = bytes;
    reloc->next = var->relocs;
    var->relocs = reloc;
    return true;
}

static void init_store(struct ptx_var *var, uint64_t offset, const struct value *value)
{
    uint32_t bytes = ptx_type_bytes(var->type);
    uint64_t bits = value->bits;

    if (var->type == PTX_T_f32 && !value->is_f32) {
        float f = (float)value_double(value);
        uint32_t word;

        memcpy(&word, &f, sizeof(f));
        bits = word;
    } else if (var->type == PTX_T_f64 && !value->is_float) {
        double d = value_double(value);

        memcpy(&bits, &d, sizeof(d));
    }
    memcpy(var->init + offset, &bits, bytes > 8 ? 8 : bytes);
}

static bool parse_init_element(struct ptx_parser *p, struct ptx_var *var, uint64_t offset)
{
    struct value value;

    if (p->tok.kind == PTX_TOK_NAME && !(p->tok.bytes == 7 && !memcmp(p->tok.text, "WARP_SZ", 7)))
        return parse_init_address(p, var, offset, ptx_type_bytes(var->type));
    if (!parse_expr(p, &value, 0, 0))
        return false;
    init_store(var, offset, &value);
    return true;
}

/* mask(0xff00, name): one byte of an address, as nvcc writes packed tables; each is its own relocation. */
static bool parse_init_mask(struct ptx_parser *p, struct ptx_var *var, uint64_t offset)
{
    uint64_t mask;
    bool is_float;
    uint32_t shift = 0, line = p->tok.line;
    struct ptx_reloc *before = var->relocs;

    ptx_next(p);
    if (!ptx_expect(p, '(') || !ptx_parse_constant(p, &mask, &is_float) || !ptx_expect(p, ')'))
        return false;
    while (shift < 64 && mask != 0xffull << shift)
        shift += 8;
    if (shift == 64 || ptx_type_bytes(var->type) != 1)
        return ptx_error(p, line, "a mask that does not choose one byte");
    if (!parse_init_address(p, var, offset, 8) || var->relocs == before)
        return false;
    var->relocs->bytes = 1;
    var->relocs->shift = (uint8_t)shift;
    return true;
}

static bool parse_init_list(struct ptx_parser *p, struct ptx_var *var, uint64_t *offset,
                            uint32_t depth)
{
    uint32_t bytes = ptx_type_bytes(var->type);

    if (depth > PTX_MAX_SCOPE_DEPTH)
        return ptx_error(p, p->tok.line, "an initialiser nested too deeply");
    if (ptx_take_punct(p, '{')) {
        if (ptx_take_punct(p, '}'))
            return true;
        do {
            if (!parse_init_list(p, var, offset, depth + 1))
                return false;
        } while (ptx_take_punct(p, ','));
        return ptx_expect(p, '}');
    }
    if (*offset + bytes > var->bytes)
        return ptx_error(p, p->tok.line, "more initial values than '%s' has elements", var->name);
    if (p->tok.kind == PTX_TOK_NAME && p->ahead.kind == PTX_TOK_PUNCT && p->ahead.punct == '(' &&
        p->tok.bytes == 4 && !memcmp(p->tok.text, "mask", 4)) {
        if (!parse_init_mask(p, var, *offset))
            return false;
    } else if (!parse_init_element(p, var, *offset)) {
        return false;
    }
    *offset += bytes;
    return true;
}

static uint64_t count_elements(const struct ptx_parser *p)
{
    struct ptx_lexer lexer = p->lexer;
    struct ptx_token token = p->ahead;
    uint64_t count = 1;
    uint32_t depth = 1;

    /* p->tok is '{' */
    while (token.kind != PTX_TOK_END && token.kind != PTX_TOK_ERROR && depth) {
        if (token.kind == PTX_TOK_PUNCT && token.punct == '{')
            depth++;
        if (token.kind == PTX_TOK_PUNCT && token.punct == '}')
            depth--;
        if (token.kind == PTX_TOK_PUNCT && token.punct == ',')
            count++;
        ptx_lexer_next(&lexer, &token);
    }
    return count;
}

static bool parse_dimensions(struct ptx_parser *p, struct ptx_var *var)
{
    while (ptx_take_punct(p, '[')) {
        uint64_t count;
        bool is_float;

        if (ptx_take_punct(p, ']')) {
            if (var->is_array)
                return ptx_error(p, p->tok.line, "only the first dimension may be open");
            var->is_array = var->is_unsized = true;
            continue;
        }
        if (!ptx_parse_constant(p, &count, &is_float) || !ptx_expect(p, ']'))
            return false;
        if (is_float || __builtin_mul_overflow(var->bytes, count, &var->bytes) ||
            var->bytes > PTX_MAX_VAR_BYTES)
            return ptx_error(p, p->tok.line, "the size of '%s' is out of range", var->name);
        var->is_array = true;
    }
    return true;
}

/* .align N, .v2/.v4, type */
static bool parse_var_type(struct ptx_parser *p, struct ptx_var *var)
{
    var->vector = 1;
    for (;;) {
        uint32_t line = p->tok.line;
        enum ptx_type type;

        if (p->tok.kind != PTX_TOK_DOT)
            return ptx_error(p, line, "expected a type");
        if (ptx_take_dot(p, "align")) {
            if (p->tok.kind != PTX_TOK_INT || !p->tok.bits || p->tok.bits > 4096 ||
                (p->tok.bits & (p->tok.bits - 1)))
                return ptx_error(p, line, ".align wants a power of two up to 4096");
            var->align = (uint32_t)p->tok.bits;
            ptx_next(p);
            continue;
        }
        if (ptx_is_dot(p, "v2") || ptx_is_dot(p, "v4")) {
            var->vector = (uint8_t)(p->tok.text[1] - '0');
            ptx_next(p);
            continue;
        }
        if (ptx_is_dot(p, "attribute")) {
            if (!ptx_parse_attributes(p, (enum ptx_space)var->space))
                return false;
            continue;
        }
        type = ptx_type_find(p->tok.text, p->tok.bytes);
        if (type == PTX_T_texref || type == PTX_T_samplerref || type == PTX_T_surfref)
            ptx_unsupported(p, line, ".%s variables", ptx_type_name(type));
        if (type == PTX_T_none || (type == PTX_T_pred && var->space != PTX_SPACE_REG))
            return ptx_error(p, line, "'.%.*s' is not a type", (int)(p->tok.bytes & 31),
                             p->tok.text);
        ptx_next(p);
        var->type = (uint8_t)type;
        var->bytes = (uint64_t)ptx_type_bytes(type) * var->vector;
        return true;
    }
}

static bool parse_var_name(struct ptx_parser *p, struct ptx_var *var)
{
    const char *name;

    var->line = p->tok.line;
    if (!ptx_expect_name(p, &name, &var->name_bytes))
        return false;
    var->name = vgpu_arena_copy(p->arena, name, var->name_bytes);
    if (!var->name)
        return ptx_no_memory(p);
    if (!parse_dimensions(p, var))
        return false;
    if (!var->align)
        var->align = ptx_type_bytes(var->type) * var->vector;
    if (!var->align)
        var->align = 1;
    return true;
}

static bool parse_init(struct ptx_parser *p, struct ptx_var *var)
{
    uint64_t offset = 0, values = ptx_is_punct(p, '{') ? count_elements(p) : 1;

    if (var->space != PTX_SPACE_GLOBAL && var->space != PTX_SPACE_CONST)
        return ptx_error(p, var->line, "'%s' may not have an initialiser", var->name);
    if (var->is_unsized) {
        if (!ptx_is_punct(p, '{') || __builtin_mul_overflow(var->bytes, values, &var->bytes) ||
            var->bytes > PTX_MAX_VAR_BYTES)
            return ptx_error(p, var->line, "an initialiser of '%s' that has no size", var->name);
        var->is_unsized = false;
    }
    /* Memory for what the text gives, not for what it claims: one value may initialise gigabytes. */
    if (__builtin_mul_overflow(values, ptx_type_bytes(var->type), &var->init_bytes) ||
        var->init_bytes > var->bytes)
        var->init_bytes = var->bytes;
    var->init = vgpu_arena_alloc(p->arena, var->init_bytes ? var->init_bytes : 1, 1);
    if (!var->init)
        return ptx_no_memory(p);
    var->has_init = true;
    return parse_init_list(p, var, &offset, 0);
}

static bool var_local(struct ptx_parser *p, struct ptx_var *var)
{
    uint64_t offset;

    if (var->space != PTX_SPACE_LOCAL)
        return true;
    if (!p->func)
        return ptx_error(p, var->line, ".local variables belong inside functions");
    /* Frames are laid out in granules of 8 bytes; a larger alignment is kept relative to the frame. */
    offset = ((uint64_t)p->func->local_bytes + var->align - 1) & ~(uint64_t)(var->align - 1);
    if (offset + var->bytes > VGPU_PTX_MAX_LOCAL_BYTES)
        return ptx_error(p, var->line, "more than %u bytes of local memory",
                         VGPU_PTX_MAX_LOCAL_BYTES);
    var->address = offset;
    p->func->local_bytes = (uint32_t)((offset + var->bytes + 15) & ~15ull);
    return true;
}

static bool var_publish(struct ptx_parser *p, struct ptx_var *var)
{
    struct vgpu_map *map = p->scope ? &p->scope->names : &p->ir->names;
    struct ptx_sym *sym = vgpu_map_find(map, var->name, var->name_bytes);

    if (sym) {
        struct ptx_var *old = sym->var;

        if (sym->kind != PTX_SYM_VAR || old->space != var->space ||
            (!old->is_extern && !var->is_extern))
            return ptx_error(p, var->line, "'%s' is declared twice", var->name);
        if (old->is_extern && !var->is_extern)
            old->target = var; /* declared, now defined */
        else
            return true; /* another extern declaration */
        sym->var = var;
        return var_append(p, var);
    }
    sym = ptx_sym_add(p, var->name, var->name_bytes, PTX_SYM_VAR);
    if (!sym)
        return false;
    sym->var = var;
    sym->type = var->type;
    if (var->space == PTX_SPACE_LOCAL)
        return true;
    return var_append(p, var);
}

bool ptx_parse_var(struct ptx_parser *p, enum ptx_space space, const struct ptx_linkage *linkage)
{
    struct ptx_var pattern = {.space = (uint8_t)space};

    /* .const[bank] of old PTX */
    if (space == PTX_SPACE_CONST && ptx_take_punct(p, '[')) {
        ptx_unsupported(p, p->tok.line, "numbered constant banks");
        ptx_skip_statement(p);
        return true;
    }
    if (!parse_var_type(p, &pattern))
        return false;
    pattern.is_extern = linkage->is_extern;
    pattern.is_visible = linkage->is_visible;
    pattern.is_weak = linkage->is_weak;
    pattern.module = p->ir;
    do {
        struct ptx_var *var = vgpu_arena_alloc(p->arena, 1, sizeof(*var));

        if (!var)
            return ptx_no_memory(p);
        *var = pattern;
        if (!parse_var_name(p, var))
            return false;
        if (ptx_take_punct(p, '=') && !parse_init(p, var))
            return false;
        if (var->is_unsized && !var->is_extern)
            return ptx_error(p, var->line, "'%s' has no size", var->name);
        if (var->is_unsized)
            var->bytes = 0;
        if (space == PTX_SPACE_SHARED && var->bytes > VGPU_PTX_MAX_SHARED_BYTES)
            return ptx_error(p, var->line, "'%s' is larger than %u bytes", var->name,
                             VGPU_PTX_MAX_SHARED_BYTES);
        if (!var_local(p, var) || !var_publish(p, var))
            return false;
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ';');
}

/* One parameter: .param [.align N] .type [.ptr [.space] [.align N]] name[size] */
bool ptx_parse_param_var(struct ptx_parser *p, struct ptx_var **out)
{
    struct ptx_var *var = vgpu_arena_alloc(p->arena, 1, sizeof(*var));

    if (!var)
        return ptx_no_memory(p);
    if (ptx_is_dot(p, "reg")) {
        ptx_unsupported(p, p->tok.line, ".reg parameters (PTX ISA before 2.0)");
        p->status = VGPU_PTX_UNSUPPORTED;
        return false;
    }
    if (!ptx_take_dot(p, "param"))
        return ptx_error(p, p->tok.line, "expected .param");
    var->space = PTX_SPACE_PARAM;
    if (!parse_var_type(p, var))
        return false;
    if (ptx_take_dot(p, "ptr")) {
        while (p->tok.kind == PTX_TOK_DOT) {
            bool is_align = ptx_is_dot(p, "align");

            ptx_next(p);
            if (is_align)
                ptx_next(p);
        }
    }
    if (!parse_var_name(p, var))
        return false;
    if (var->is_unsized) {
        ptx_unsupported(p, var->line, "variadic functions");
        var->bytes = 0;
    }
    if (var->bytes > VGPU_PTX_MAX_PARAM_BYTES)
        return ptx_error(p, var->line, "a parameter larger than %u bytes",
                         VGPU_PTX_MAX_PARAM_BYTES);
    *out = var;
    return true;
}
