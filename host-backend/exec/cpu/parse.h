// SPDX-License-Identifier: MIT
/*
 * The PTX parser: text -> ptx_module_ir (ir.h).
 *
 * Recursive descent with one token of look-ahead. The first syntax error ends the parse; an unsupported
 * instruction or directive is logged and skipped, so that the log names all of them. Recursion follows only
 * the nesting of braces, initialisers and expressions, each limited to PTX_MAX_SCOPE_DEPTH.
 *
 * parse.c: module level; parse_dirs.c: directives that describe functions and variables; parse_var.c: variables and
 * constant expressions; parse_body.c: statements; parse_inst.c: instructions; parse_operand.c: their operands;
 * parse_call.c: branches and calls; check_inst.c: whether an instruction takes its operands.
 */
#ifndef VGPU_EXEC_CPU_PARSE_H
#define VGPU_EXEC_CPU_PARSE_H

#include "ir.h"
#include "lex.h"
#include "ptx.h"

struct ptx_log {
    char *text;
    size_t bytes;
    size_t used;
};

enum ptx_sym_kind {
    PTX_SYM_REG,
    PTX_SYM_VAR,
    PTX_SYM_FUNC,
    PTX_SYM_LABEL,
    PTX_SYM_TARGETS,
    PTX_SYM_PROTO
};

struct ptx_sym {
    enum ptx_sym_kind kind;
    uint32_t first; /* register, or label's instruction */
    uint32_t count; /* of REGS */
    uint8_t type;
    struct ptx_var *var;
    struct ptx_func *func;
    struct ptx_call *targets; /* .branchtargets */
};

/* A use of a label, resolved when the scope that declares it ends. */
struct ptx_fixup {
    const char *name;
    uint32_t name_bytes;
    uint32_t line;
    uint32_t *where;          /* receives the instruction index */
    struct ptx_call *targets; /* or the list named by it */
    struct ptx_fixup *next;
};

struct ptx_scope {
    struct vgpu_map names;
    struct vgpu_map ranges; /* name<count> declarations; the bare name may be something else */
    struct ptx_fixup *fixups;
    struct ptx_scope *parent;
    uint32_t depth;
};

/* Registers of one prefix seen so far, so that a declaration of a million costs nothing. */
struct ptx_parser {
    struct vgpu_arena *arena;
    struct ptx_module_ir *ir;
    struct ptx_lexer lexer;
    struct ptx_token tok;
    struct ptx_token ahead;
    struct ptx_log *log;
    const char *input;
    struct ptx_func *func;
    struct ptx_scope *scope;
    bool parts_allowed;          /* the instruction being read is a video instruction */
    struct vgpu_map used_regs;   /* of the function: name -> register + 1 */
    enum vgpu_ptx_status status; /* of the first error; UNSUPPORTED does not end the parse */
    uint32_t unsupported;
};

enum vgpu_ptx_status ptx_parse(struct vgpu_arena *arena, const char *input, const char *text,
                               size_t bytes, struct ptx_log *log, struct ptx_module_ir **ir);

__attribute__((format(printf, 2, 3))) void ptx_log_add(struct ptx_log *log, const char *format,
                                                       ...);

/* Says that memory ran out at that line, and whether it was the module's own limit. */
void ptx_log_memory(struct ptx_log *log, const struct vgpu_arena *arena, const char *input,
                    uint32_t line);

/* parse.c */
void ptx_next(struct ptx_parser *p);
bool ptx_is_punct(const struct ptx_parser *p, char c);
bool ptx_is_dot(const struct ptx_parser *p, const char *name);
bool ptx_take_punct(struct ptx_parser *p, char c); /* takes it if it is there */
bool ptx_take_dot(struct ptx_parser *p, const char *name);
__attribute__((warn_unused_result)) bool ptx_expect(struct ptx_parser *p, char c);
__attribute__((warn_unused_result)) bool ptx_expect_name(struct ptx_parser *p, const char **name,
                                                         uint32_t *bytes);
/* Always false, so that a caller can return it. */
__attribute__((format(printf, 3, 4))) bool ptx_error(struct ptx_parser *p, uint32_t line,
                                                     const char *format, ...);
/* The same, of a token that is not what it should be. */
bool ptx_unexpected(struct ptx_parser *p, const char *wanted);
bool ptx_no_memory(struct ptx_parser *p);
__attribute__((format(printf, 3, 4))) void ptx_unsupported(struct ptx_parser *p, uint32_t line,
                                                           const char *format, ...);
struct ptx_sym *ptx_sym_find(struct ptx_parser *p, const char *name, uint32_t bytes);
__attribute__((warn_unused_result)) struct ptx_sym *
ptx_sym_add(struct ptx_parser *p, const char *name, uint32_t bytes, enum ptx_sym_kind kind);
void ptx_skip_line(struct ptx_parser *p, uint32_t line);
void ptx_skip_statement(struct ptx_parser *p);
__attribute__((warn_unused_result)) bool
ptx_parse_params(struct ptx_parser *p, struct ptx_var ***params, uint32_t *count, bool is_entry);
__attribute__((warn_unused_result)) bool ptx_parse_proto(struct ptx_parser *p,
                                                         struct ptx_func **proto);

/* parse_dirs.c */
__attribute__((warn_unused_result)) bool ptx_parse_pragma(struct ptx_parser *p);
/* `space` of a variable, PTX_SPACE_GENERIC of a function. */
__attribute__((warn_unused_result)) bool ptx_parse_attributes(struct ptx_parser *p,
                                                              enum ptx_space space);
__attribute__((warn_unused_result)) bool ptx_parse_func_directives(struct ptx_parser *p,
                                                                   struct ptx_func *func);

/* parse_var.c */
struct ptx_linkage {
    bool is_extern, is_visible, is_weak;
};
__attribute__((warn_unused_result)) bool ptx_parse_var(struct ptx_parser *p, enum ptx_space space,
                                                       const struct ptx_linkage *linkage);
__attribute__((warn_unused_result)) bool ptx_parse_param_var(struct ptx_parser *p,
                                                             struct ptx_var **var);
__attribute__((warn_unused_result)) bool ptx_parse_constant(struct ptx_parser *p, uint64_t *value,
                                                            bool *is_float);

/* parse_body.c */
__attribute__((warn_unused_result)) bool ptx_parse_body(struct ptx_parser *p);
__attribute__((warn_unused_result)) struct ptx_inst *
ptx_inst_add(struct ptx_parser *p, enum ptx_opcode op, uint32_t line);
__attribute__((warn_unused_result)) bool ptx_label_use(struct ptx_parser *p, const char *name,
                                                       uint32_t bytes, uint32_t line,
                                                       uint32_t *where, struct ptx_call *targets);
/* The register of that name, made on first use; false: not a register. */
bool ptx_reg_find(struct ptx_parser *p, const char *name, uint32_t bytes, uint32_t *id);

/* parse_operand.c */
/* `depth` of the vectors it is in: 0 */
__attribute__((warn_unused_result)) bool
ptx_parse_operand(struct ptx_parser *p, struct ptx_operand *operand, uint32_t depth);
/* Up to PTX_MAX_OPERANDS, separated by commas, perhaps none. */
__attribute__((warn_unused_result)) bool
ptx_parse_operands(struct ptx_parser *p, struct ptx_operand *operands, uint8_t *count);

/* check_inst.c */
/* Always false, so that a caller can return it. */
bool ptx_inst_error(struct ptx_parser *p, const struct ptx_inst *inst, const char *what);
uint32_t ptx_reg_bytes(const struct ptx_parser *p, uint32_t id);
/* `bytes` 0: a predicate. wide_ok: a wider register will do. */
__attribute__((warn_unused_result)) bool
ptx_check_source(struct ptx_parser *p, const struct ptx_inst *inst, const struct ptx_operand *o,
                 uint32_t bytes, bool is_float, bool wide_ok);
__attribute__((warn_unused_result)) bool ptx_check_instruction(struct ptx_parser *p,
                                                               struct ptx_inst *inst);

/* parse_call.c */
__attribute__((warn_unused_result)) bool ptx_parse_bra(struct ptx_parser *p, struct ptx_inst *inst);
__attribute__((warn_unused_result)) bool ptx_parse_brx(struct ptx_parser *p, struct ptx_inst *inst);
__attribute__((warn_unused_result)) bool ptx_parse_call(struct ptx_parser *p,
                                                        struct ptx_inst *inst);

/* parse_inst.c */
__attribute__((warn_unused_result)) bool ptx_parse_instruction(struct ptx_parser *p, uint32_t guard,
                                                               bool guard_negate);

#endif
