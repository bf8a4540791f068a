// SPDX-License-Identifier: MIT
/*
 * PTX parser, module level: directives, functions, parameter lists, and the helpers that the other
 * parse_*.c files share. See parse.h.
 */
#include "parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ptx_log_add(struct ptx_log *log, const char *format, ...)
{
    va_list args;
    int wrote;

    if (!log->text || log->used + 1 >= log->bytes)
        return;
    va_start(args, format);
    wrote = vsnprintf(log->text + log->used, log->bytes - log->used, format, args);
    va_end(args);
    if (wrote > 0)
        log->used =
            (size_t)wrote < log->bytes - log->used ? log->used + (size_t)wrote : log->bytes - 1;
}

bool ptx_error(struct ptx_parser *p, uint32_t line, const char *format, ...)
{
    char message[256];
    va_list args;

    if (p->status)
        return false;
    p->status = VGPU_PTX_SYNTAX;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    ptx_log_add(p->log, "%s:%u: error: %s\n", p->input, line, message);
    return false;
}

void ptx_log_memory(struct ptx_log *log, const struct vgpu_arena *arena, const char *input,
                    uint32_t line)
{
    if (arena->is_full)
        ptx_log_add(log, "%s:%u: error: the module needs more than %zu MiB of host memory\n", input,
                    line, arena->limit_bytes >> 20);
    else
        ptx_log_add(log, "%s:%u: error: the host has no memory for the module\n", input, line);
}

bool ptx_no_memory(struct ptx_parser *p)
{
    if (!p->status) {
        p->status = VGPU_PTX_NO_MEMORY;
        ptx_log_memory(p->log, p->arena, p->input, p->tok.line);
    }
    return false;
}

void ptx_unsupported(struct ptx_parser *p, uint32_t line, const char *format, ...)
{
    char message[256];
    va_list args;

    p->unsupported++;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    ptx_log_add(p->log, "%s:%u: error: unsupported: %s\n", p->input, line, message);
}

void ptx_next(struct ptx_parser *p)
{
    p->tok = p->ahead;
    if (p->tok.kind == PTX_TOK_ERROR)
        ptx_error(p, p->tok.line, "%s", p->tok.message);
    if (p->status) {
        p->tok.kind = PTX_TOK_END;
        p->ahead.kind = PTX_TOK_END;
        return;
    }
    ptx_lexer_next(&p->lexer, &p->ahead);
}

bool ptx_is_punct(const struct ptx_parser *p, char c)
{
    return p->tok.kind == PTX_TOK_PUNCT && p->tok.punct == c && !p->tok.punct2;
}

bool ptx_is_dot(const struct ptx_parser *p, const char *name)
{
    return p->tok.kind == PTX_TOK_DOT && p->tok.bytes == strlen(name) &&
           !memcmp(p->tok.text, name, p->tok.bytes);
}

bool ptx_take_punct(struct ptx_parser *p, char c)
{
    if (!ptx_is_punct(p, c))
        return false;
    ptx_next(p);
    return true;
}

bool ptx_take_dot(struct ptx_parser *p, const char *name)
{
    if (!ptx_is_dot(p, name))
        return false;
    ptx_next(p);
    return true;
}

bool ptx_unexpected(struct ptx_parser *p, const char *wanted)
{
    uint32_t bytes = p->tok.bytes < 40 ? p->tok.bytes : 40;

    if (p->tok.kind == PTX_TOK_END)
        return ptx_error(p, p->tok.line, "expected %s, found the end of the text", wanted);
    return ptx_error(p, p->tok.line, "expected %s near '%.*s'", wanted, (int)bytes, p->tok.text);
}

bool ptx_expect(struct ptx_parser *p, char c)
{
    char wanted[] = {'\'', c, '\'', '\0'};

    return ptx_take_punct(p, c) || ptx_unexpected(p, wanted);
}

bool ptx_expect_name(struct ptx_parser *p, const char **name, uint32_t *bytes)
{
    if (p->tok.kind != PTX_TOK_NAME) {
        ptx_unexpected(p, "a name");
        return false;
    }
    *name = p->tok.text;
    *bytes = p->tok.bytes;
    ptx_next(p);
    return true;
}

struct ptx_sym *ptx_sym_find(struct ptx_parser *p, const char *name, uint32_t bytes)
{
    for (struct ptx_scope *scope = p->scope; scope; scope = scope->parent) {
        struct ptx_sym *sym = vgpu_map_find(&scope->names, name, bytes);

        if (sym)
            return sym;
    }
    return vgpu_map_find(&p->ir->names, name, bytes);
}

struct ptx_sym *ptx_sym_add(struct ptx_parser *p, const char *name, uint32_t bytes,
                            enum ptx_sym_kind kind)
{
    struct vgpu_map *map = p->scope ? &p->scope->names : &p->ir->names;
    struct ptx_sym *sym = vgpu_arena_alloc(p->arena, 1, sizeof(*sym));

    if (!sym || !vgpu_map_insert(p->arena, map, name, bytes, sym)) {
        ptx_no_memory(p);
        return NULL;
    }
    sym->kind = kind;
    return sym;
}

/* .loc and .file have no terminator: they end with their line. */
void ptx_skip_line(struct ptx_parser *p, uint32_t line)
{
    while (p->tok.kind != PTX_TOK_END && p->tok.line == line)
        ptx_next(p);
}

void ptx_skip_statement(struct ptx_parser *p)
{
    while (p->tok.kind != PTX_TOK_END && !ptx_is_punct(p, ';'))
        ptx_next(p);
    ptx_take_punct(p, ';');
}

static bool skip_braces(struct ptx_parser *p)
{
    uint32_t depth = 0, line = p->tok.line;

    do {
        if (ptx_is_punct(p, '{'))
            depth++;
        if (ptx_is_punct(p, '}'))
            depth--;
        ptx_next(p);
    } while (depth && p->tok.kind != PTX_TOK_END);
    return !depth || ptx_error(p, line, "the text ends inside a .section");
}

static bool parse_version(struct ptx_parser *p)
{
    uint32_t major = 0, minor = 0, i = 0;
    const char *text = p->tok.text;

    if (p->tok.kind != PTX_TOK_F64 || p->tok.bytes > 8)
        return ptx_unexpected(p, "a version number");
    while (i < p->tok.bytes && text[i] != '.' && text[i] >= '0' && text[i] <= '9')
        major = major * 10 + (uint32_t)(text[i++] - '0');
    for (i++; i < p->tok.bytes && text[i] >= '0' && text[i] <= '9'; i++)
        minor = minor * 10 + (uint32_t)(text[i] - '0');
    if (minor > 9 || major > 99)
        minor = 9;
    p->ir->version = major * 10 + minor;
    if (p->ir->version < VGPU_PTX_ISA_MIN || p->ir->version > VGPU_PTX_ISA_MAX) {
        ptx_error(p, p->tok.line, "PTX ISA version %.*s is not supported: %u.%u to %u.%u are",
                  (int)p->tok.bytes, text, VGPU_PTX_ISA_MIN / 10, VGPU_PTX_ISA_MIN % 10,
                  VGPU_PTX_ISA_MAX / 10, VGPU_PTX_ISA_MAX % 10);
        p->status = VGPU_PTX_TOO_NEW;
        return false;
    }
    ptx_next(p);
    return true;
}

static bool parse_target(struct ptx_parser *p)
{
    do {
        const char *name;
        uint32_t bytes, sm = 0;

        if (!ptx_expect_name(p, &name, &bytes))
            return false;
        if (bytes > 3 && bytes < 10 && !memcmp(name, "sm_", 3)) {
            for (uint32_t i = 3; i < bytes && name[i] >= '0' && name[i] <= '9'; i++)
                sm = sm * 10 + (uint32_t)(name[i] - '0');
            p->ir->target_sm = sm;
        }
    } while (ptx_take_punct(p, ','));
    return true;
}

bool ptx_parse_params(struct ptx_parser *p, struct ptx_var ***params, uint32_t *count,
                      bool is_entry)
{
    uint32_t capacity = 0, bytes = 0;

    (void)is_entry;
    if (!ptx_expect(p, '('))
        return false;
    if (ptx_take_punct(p, ')'))
        return true;
    do {
        struct ptx_var *var;
        uint64_t offset;

        if (!ptx_parse_param_var(p, &var))
            return false;
        if (*count >= PTX_MAX_PARAMS)
            return ptx_error(p, p->tok.line, "more than %u parameters", PTX_MAX_PARAMS);
        if (!vgpu_arena_grow(p->arena, (void **)params, &capacity, *count, sizeof(**params)))
            return ptx_no_memory(p);
        (*params)[(*count)++] = var;
        offset = ((uint64_t)bytes + var->align - 1) & ~(uint64_t)(var->align - 1);
        if (offset + var->bytes > VGPU_PTX_MAX_PARAM_BYTES)
            return ptx_error(p, p->tok.line, "more than %u bytes of parameters",
                             VGPU_PTX_MAX_PARAM_BYTES);
        var->address = offset;
        bytes = (uint32_t)(offset + var->bytes);
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ')');
}

static uint32_t params_bytes(struct ptx_var *const *params, uint32_t count)
{
    return count ? (uint32_t)(params[count - 1]->address + params[count - 1]->bytes) : 0;
}

static bool same_signature(const struct ptx_func *a, const struct ptx_func *b)
{
    if (a->is_entry != b->is_entry || a->param_count != b->param_count ||
        a->ret_count != b->ret_count)
        return false;
    for (uint32_t i = 0; i < a->param_count; i++)
        if (a->params[i]->bytes != b->params[i]->bytes)
            return false;
    for (uint32_t i = 0; i < a->ret_count; i++)
        if (a->rets[i]->bytes != b->rets[i]->bytes)
            return false;
    return true;
}

static struct ptx_func *func_new(struct ptx_parser *p)
{
    struct ptx_func *func = vgpu_arena_alloc(p->arena, 1, sizeof(*func));

    if (!func) {
        ptx_no_memory(p);
        return NULL;
    }
    func->module = p->ir;
    func->line = p->tok.line;
    return func;
}

bool ptx_parse_proto(struct ptx_parser *p, struct ptx_func **proto)
{
    struct ptx_func *func = func_new(p);

    if (!func)
        return false;
    func->is_proto = true;
    if (ptx_is_punct(p, '(') && !ptx_parse_params(p, &func->rets, &func->ret_count, false))
        return false;
    if (p->tok.kind != PTX_TOK_NAME)
        return ptx_unexpected(p, "'_'");
    ptx_next(p);
    if (ptx_is_punct(p, '(') && !ptx_parse_params(p, &func->params, &func->param_count, false))
        return false;
    if (!ptx_parse_func_directives(p, func))
        return false;
    func->param_bytes = params_bytes(func->params, func->param_count);
    *proto = func;
    return true;
}

/* Joins a declaration or definition with what the module already has of that name. */
static bool func_publish(struct ptx_parser *p, struct ptx_func **func, bool will_have_body)
{
    struct ptx_sym *sym = vgpu_map_find(&p->ir->names, (*func)->name, (*func)->name_bytes);

    if (sym) {
        if (sym->kind != PTX_SYM_FUNC || !same_signature(sym->func, *func))
            return ptx_error(p, (*func)->line, "'%s' was declared differently before",
                             (*func)->name);
        if (sym->func->has_body && will_have_body)
            return ptx_error(p, (*func)->line, "'%s' is defined twice", (*func)->name);
        if (will_have_body) {
            (*func)->next = sym->func->next;
            (*func)->index = sym->func->index;
            (*func)->is_visible |= sym->func->is_visible;
            (*func)->is_extern = false;
            if (p->ir->funcs_end == &sym->func->next) {
                *sym->func = **func;
                p->ir->funcs_end = &sym->func->next;
            } else {
                *sym->func = **func;
            }
        }
        *func = sym->func;
        return true;
    }
    sym = ptx_sym_add(p, (*func)->name, (*func)->name_bytes, PTX_SYM_FUNC);
    if (!sym)
        return false;
    sym->func = *func;
    (*func)->index = p->ir->func_count++;
    *p->ir->funcs_end = *func;
    p->ir->funcs_end = &(*func)->next;
    return true;
}

static bool parse_function(struct ptx_parser *p, bool is_entry, const struct ptx_linkage *linkage)
{
    struct ptx_func *func = func_new(p);
    const char *name;
    bool has_body;

    if (!func)
        return false;
    func->is_entry = is_entry;
    func->is_extern = linkage->is_extern;
    func->is_visible = linkage->is_visible || is_entry;
    func->is_weak = linkage->is_weak;
    if (!is_entry) {
        ptx_take_dot(p, "noreturn");
        if (ptx_is_dot(p, "attribute") && !ptx_parse_attributes(p, PTX_SPACE_GENERIC))
            return false;
        if (ptx_is_punct(p, '(') && !ptx_parse_params(p, &func->rets, &func->ret_count, false))
            return false;
    }
    if (!ptx_expect_name(p, &name, &func->name_bytes))
        return false;
    func->name = vgpu_arena_copy(p->arena, name, func->name_bytes);
    if (!func->name)
        return ptx_no_memory(p);
    if (ptx_is_punct(p, '(') && !ptx_parse_params(p, &func->params, &func->param_count, is_entry))
        return false;
    func->param_bytes = params_bytes(func->params, func->param_count);
    if (!ptx_parse_func_directives(p, func))
        return false;
    has_body = ptx_is_punct(p, '{');
    if (!func_publish(p, &func, has_body))
        return false;
    if (!has_body) {
        ptx_take_punct(p, ';');
        return true;
    }
    p->func = func;
    func->has_body = true;
    if (!ptx_parse_body(p))
        return false;
    p->func = NULL;
    return true;
}

static bool parse_alias(struct ptx_parser *p)
{
    const char *name, *target;
    uint32_t name_bytes, target_bytes, line = p->tok.line;
    struct ptx_sym *from, *to;

    if (!ptx_expect_name(p, &name, &name_bytes) || !ptx_expect(p, ',') ||
        !ptx_expect_name(p, &target, &target_bytes) || !ptx_expect(p, ';'))
        return false;
    from = vgpu_map_find(&p->ir->names, name, name_bytes);
    to = vgpu_map_find(&p->ir->names, target, target_bytes);
    if (!from || !to || from->kind != PTX_SYM_FUNC || to->kind != PTX_SYM_FUNC ||
        !to->func->has_body || from->func->has_body || !same_signature(from->func, to->func))
        return ptx_error(p, line,
                         ".alias of something that is not a declared and a defined function");
    from->func->target = to->func;
    return true;
}

static bool parse_linkage(struct ptx_parser *p, struct ptx_linkage *linkage)
{
    memset(linkage, 0, sizeof(*linkage));
    for (;;) {
        if (ptx_take_dot(p, "extern"))
            linkage->is_extern = true;
        else if (ptx_take_dot(p, "visible"))
            linkage->is_visible = true;
        else if (ptx_take_dot(p, "weak") || ptx_take_dot(p, "common"))
            linkage->is_weak = linkage->is_visible = true;
        else
            return true;
    }
}

static bool parse_module_item(struct ptx_parser *p)
{
    struct ptx_linkage linkage;
    uint32_t line = p->tok.line;

    if (ptx_take_punct(p, ';'))
        return true;
    if (ptx_is_dot(p, "file") || ptx_is_dot(p, "loc")) {
        ptx_skip_line(p, line);
        return true;
    }
    if (ptx_is_punct(p, '@')) { /* @@DWARF */
        ptx_skip_line(p, line);
        return true;
    }
    if (ptx_is_dot(p, "section")) {
        while (p->tok.kind != PTX_TOK_END && !ptx_is_punct(p, '{'))
            ptx_next(p);
        return skip_braces(p);
    }
    if (ptx_is_dot(p, "pragma"))
        return ptx_parse_pragma(p);
    if (ptx_take_dot(p, "target"))
        return parse_target(p);
    if (ptx_take_dot(p, "address_size")) {
        if (p->tok.kind != PTX_TOK_INT || p->tok.bits != 64) {
            ptx_unsupported(p, line, ".address_size other than 64");
            p->status = VGPU_PTX_UNSUPPORTED;
            return false;
        }
        ptx_next(p);
        return true;
    }
    if (ptx_take_dot(p, "alias"))
        return parse_alias(p);
    if (!parse_linkage(p, &linkage))
        return false;
    if (ptx_take_dot(p, "entry"))
        return parse_function(p, true, &linkage);
    if (ptx_take_dot(p, "func"))
        return parse_function(p, false, &linkage);
    if (ptx_take_dot(p, "global"))
        return ptx_parse_var(p, PTX_SPACE_GLOBAL, &linkage);
    if (ptx_take_dot(p, "const"))
        return ptx_parse_var(p, PTX_SPACE_CONST, &linkage);
    if (ptx_take_dot(p, "shared"))
        return ptx_parse_var(p, PTX_SPACE_SHARED, &linkage);
    if (ptx_is_dot(p, "tex")) {
        ptx_unsupported(p, line, ".tex variables");
        ptx_skip_statement(p);
        return true;
    }
    return ptx_unexpected(p, "a directive");
}

enum vgpu_ptx_status ptx_parse(struct vgpu_arena *arena, const char *input, const char *text,
                               size_t bytes, struct ptx_log *log, struct ptx_module_ir **ir)
{
    struct ptx_parser p = {.arena = arena, .log = log, .input = input};

    ptx_tables_init();
    p.ir = vgpu_arena_alloc(arena, 1, sizeof(*p.ir));
    if (!p.ir)
        return VGPU_PTX_NO_MEMORY;
    p.ir->arena = arena;
    p.ir->input = vgpu_arena_copy(arena, input, strlen(input));
    if (!p.ir->input)
        return VGPU_PTX_NO_MEMORY;
    p.ir->funcs_end = &p.ir->funcs;
    p.ir->vars_end = &p.ir->vars;
    ptx_lexer_init(&p.lexer, text, bytes);
    ptx_lexer_next(&p.lexer, &p.ahead);
    ptx_next(&p);
    if (!ptx_take_dot(&p, "version")) {
        ptx_error(&p, p.tok.line, "PTX text begins with .version");
        return p.status;
    }
    if (!parse_version(&p))
        return p.status;
    while (p.tok.kind != PTX_TOK_END && !p.status)
        if (!parse_module_item(&p))
            break;
    if (!p.status && p.unsupported)
        p.status = VGPU_PTX_UNSUPPORTED;
    if (!p.status)
        *ir = p.ir;
    return p.status;
}
