// SPDX-License-Identifier: MIT
/*
 * PTX lexer; see lex.h. Every loop advances `at` or ends, so lexing takes linear time.
 *
 * Floating-point constants: 0f/0F and 0d/0D give the bits; decimal ones are doubles (PTX ISA
 * "Floating-Point Constants") and are converted by strtod on a bounded copy.
 */
#include "lex.h"

#include <stdlib.h>
#include <string.h>

#define LEX_NUMBER_MAX 64u

void ptx_lexer_init(struct ptx_lexer *lexer, const char *text, size_t bytes)
{
    lexer->at = text;
    lexer->end = text + bytes;
    lexer->line = 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_follow(char c)
{
    return is_alpha(c) || is_digit(c) || c == '_' || c == '$';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static void lex_error(struct ptx_token *token, const char *message)
{
    token->kind = PTX_TOK_ERROR;
    token->message = message;
}

static bool lex_comment(struct ptx_lexer *lexer)
{
    uint32_t line = lexer->line;

    lexer->at += 2;
    while (lexer->end - lexer->at >= 2) {
        if (lexer->at[0] == '*' && lexer->at[1] == '/') {
            lexer->at += 2;
            return true;
        }
        if (*lexer->at == '\n')
            lexer->line++;
        lexer->at++;
    }
    lexer->at = lexer->end;
    lexer->line = line; /* the one to look at is where it begins */
    return false;
}

static void lex_skip_line(struct ptx_lexer *lexer)
{
    while (lexer->at < lexer->end && *lexer->at != '\n')
        lexer->at++;
}

/* Returns false on an unterminated comment. */
static bool lex_blank(struct ptx_lexer *lexer, bool *skipped)
{
    for (;;) {
        if (lexer->at == lexer->end)
            return true;
        switch (*lexer->at) {
        case '\n':
            lexer->line++;
            /* fall through */
        case ' ':
        case '\t':
        case '\r':
        case '\f':
        case '\v': lexer->at++; break;
        case '/':
            if (lexer->end - lexer->at < 2)
                return true;
            if (lexer->at[1] == '/')
                lex_skip_line(lexer);
            else if (lexer->at[1] == '*') {
                if (!lex_comment(lexer))
                    return false;
            } else
                return true;
            break;
        case '#': lex_skip_line(lexer); break;
        default: return true;
        }
        *skipped = true;
    }
}

static void lex_float_bits(struct ptx_lexer *lexer, struct ptx_token *token, uint32_t digits)
{
    uint64_t bits = 0;

    lexer->at += 2;
    for (uint32_t i = 0; i < digits; i++) {
        int value = lexer->at < lexer->end ? hex_value(*lexer->at) : -1;

        if (value < 0) {
            lex_error(token, "too few hexadecimal digits in a floating-point constant");
            return;
        }
        bits = bits << 4 | (unsigned)value;
        lexer->at++;
    }
    token->kind = digits == 8 ? PTX_TOK_F32 : PTX_TOK_F64;
    token->bits = bits;
}

static void lex_decimal_float(struct ptx_lexer *lexer, struct ptx_token *token)
{
    char copy[LEX_NUMBER_MAX + 1];
    size_t bytes = 0;
    double value;

    while (lexer->at + bytes < lexer->end) {
        char c = lexer->at[bytes];
        bool sign =
            (c == '+' || c == '-') && bytes && (copy[bytes - 1] == 'e' || copy[bytes - 1] == 'E');

        if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && !sign)
            break;
        if (bytes == LEX_NUMBER_MAX) {
            lex_error(token, "a floating-point constant is too long");
            return;
        }
        copy[bytes++] = c;
    }
    copy[bytes] = '\0';
    lexer->at += bytes;
    value = strtod(copy, NULL);
    token->kind = PTX_TOK_F64;
    memcpy(&token->bits, &value, sizeof(value));
}

static bool lex_is_float(const struct ptx_lexer *lexer)
{
    const char *at = lexer->at;

    while (at < lexer->end && is_digit(*at))
        at++;
    if (at == lexer->end)
        return false;
    if (*at == '.')
        return lexer->end - at > 1 && is_digit(at[1]) ? true
                                                      : !(lexer->end - at > 1 && is_follow(at[1]));
    return *at == 'e' || *at == 'E';
}

static void lex_integer(struct ptx_lexer *lexer, struct ptx_token *token)
{
    unsigned base = 10;
    uint64_t bits = 0;
    bool any = false;

    if (*lexer->at == '0' && lexer->end - lexer->at > 1) {
        char c = lexer->at[1];

        if (c == 'x' || c == 'X')
            base = 16;
        else if (c == 'b' || c == 'B')
            base = 2;
        else if (is_digit(c))
            base = 8;
        if (base == 16 || base == 2)
            lexer->at += 2;
    }
    while (lexer->at < lexer->end) {
        int value = hex_value(*lexer->at);

        if (value < 0 || (unsigned)value >= base)
            break;
        if (__builtin_mul_overflow(bits, (uint64_t)base, &bits) ||
            __builtin_add_overflow(bits, (uint64_t)value, &bits)) {
            lex_error(token, "an integer constant does not fit in 64 bits");
            return;
        }
        any = true;
        lexer->at++;
    }
    if (lexer->at < lexer->end && *lexer->at == 'U' && any) {
        token->is_unsigned = true;
        lexer->at++;
    }
    if (!any || (lexer->at < lexer->end && is_follow(*lexer->at))) {
        lex_error(token, "a malformed number");
        return;
    }
    token->kind = PTX_TOK_INT;
    token->bits = bits;
}

static void lex_number(struct ptx_lexer *lexer, struct ptx_token *token)
{
    char c = lexer->end - lexer->at > 1 ? lexer->at[1] : '\0';

    if (*lexer->at == '0' && (c == 'f' || c == 'F'))
        lex_float_bits(lexer, token, 8);
    else if (*lexer->at == '0' && (c == 'd' || c == 'D'))
        lex_float_bits(lexer, token, 16);
    else if (*lexer->at == '0' && (c == 'x' || c == 'X'))
        lex_integer(lexer, token);
    else if (lex_is_float(lexer))
        lex_decimal_float(lexer, token);
    else
        lex_integer(lexer, token);
}

static void lex_string(struct ptx_lexer *lexer, struct ptx_token *token)
{
    const char *start = ++lexer->at;

    while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n') {
        if (*lexer->at == '\\' && lexer->end - lexer->at > 1 && lexer->at[1] != '\n')
            lexer->at++;
        lexer->at++;
    }
    if (lexer->at == lexer->end || *lexer->at != '"') {
        lex_error(token, "an unterminated string");
        return;
    }
    token->kind = PTX_TOK_STRING;
    token->text = start;
    token->bytes = (uint32_t)(lexer->at - start);
    lexer->at++;
}

static void lex_name(struct ptx_lexer *lexer, struct ptx_token *token, bool dotted)
{
    const char *start = lexer->at;

    for (;;) {
        while (lexer->at < lexer->end && is_follow(*lexer->at))
            lexer->at++;
        if (!dotted || lexer->end - lexer->at < 3 || lexer->at[0] != ':' || lexer->at[1] != ':' ||
            !is_follow(lexer->at[2]))
            break;
        lexer->at += 2;
    }
    token->kind = dotted ? PTX_TOK_DOT : PTX_TOK_NAME;
    token->text = start;
    token->bytes = (uint32_t)(lexer->at - start);
}

static void lex_punct(struct ptx_lexer *lexer, struct ptx_token *token)
{
    static const char *const pairs[] = {"<<", ">>", "<=", ">=", "==", "!=", "&&", "||"};
    char c = *lexer->at;

    if (c < 0x21 || c > 0x7e) {
        lex_error(token, "a character that PTX does not know");
        return;
    }
    token->kind = PTX_TOK_PUNCT;
    token->punct = c;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (lexer->end - lexer->at > 1 && pairs[i][0] == c && pairs[i][1] == lexer->at[1])
            token->punct2 = lexer->at[1];
    lexer->at += token->punct2 ? 2 : 1;
}

void ptx_lexer_next(struct ptx_lexer *lexer, struct ptx_token *token)
{
    char c, next;

    memset(token, 0, sizeof(*token));
    token->line = lexer->line;
    if (!lex_blank(lexer, &token->space_before)) {
        token->line = lexer->line;
        lex_error(token, "an unterminated comment");
        return;
    }
    token->line = lexer->line;
    token->text = lexer->at;
    if (lexer->at == lexer->end) {
        token->kind = PTX_TOK_END;
        return;
    }
    c = *lexer->at;
    next = lexer->end - lexer->at > 1 ? lexer->at[1] : '\0';
    if (is_digit(c)) {
        lex_number(lexer, token);
        token->bytes = (uint32_t)(lexer->at - token->text);
    } else if (c == '"') {
        lex_string(lexer, token);
    } else if (is_alpha(c)) {
        lex_name(lexer, token, false);
    } else if ((c == '_' || c == '$' || c == '%') && is_follow(next)) {
        lexer->at++;
        lex_name(lexer, token, false);
        token->text--;
        token->bytes++;
    } else if (c == '_' || c == '$') {
        lex_name(lexer, token, false);
    } else if (c == '.' && is_follow(next)) {
        lexer->at++;
        lex_name(lexer, token, true);
    } else {
        lex_punct(lexer, token);
        if (token->kind == PTX_TOK_PUNCT)
            token->bytes = (uint32_t)(lexer->at - token->text);
    }
}
