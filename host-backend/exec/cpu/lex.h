// SPDX-License-Identifier: MIT
/*
 * PTX tokens (PTX ISA "Syntax": identifiers, constants, comments, directives).
 *
 * The lexer works on (pointer, length), never beyond it, and copies nothing: a token points into the text.
 * Errors are tokens of kind PTX_TOK_ERROR with a static message in `message`.
 */
#ifndef VGPU_EXEC_CPU_LEX_H
#define VGPU_EXEC_CPU_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ptx_token_kind {
    PTX_TOK_END,
    PTX_TOK_ERROR,
    PTX_TOK_NAME,   /* identifier, %name included */
    PTX_TOK_DOT,    /* .suffix, without the dot; '::' parts included */
    PTX_TOK_INT,    /* bits in `bits` */
    PTX_TOK_F32,    /* 0f... : bits of the float */
    PTX_TOK_F64,    /* 0d... or decimal: bits of the double */
    PTX_TOK_STRING, /* contents, escapes untouched */
    PTX_TOK_PUNCT, /* one character in `punct`; <<, >>, <=, ==, && and the like as two in `punct` and `punct2` */
};

struct ptx_token {
    enum ptx_token_kind kind;
    const char *text;
    uint32_t bytes;
    uint32_t line;
    uint64_t bits;
    bool is_unsigned; /* of INT: had a U suffix */
    bool space_before;
    char punct;
    char punct2;
    const char *message;
};

struct ptx_lexer {
    const char *at;
    const char *end;
    uint32_t line;
};

void ptx_lexer_init(struct ptx_lexer *lexer, const char *text, size_t bytes);
void ptx_lexer_next(struct ptx_lexer *lexer, struct ptx_token *token);

#endif
