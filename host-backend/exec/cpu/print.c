// SPDX-License-Identifier: MIT
/*
 * Device printf: vprintf(format, arguments) as nvcc and clang emit it.
 *
 * The arguments lie packed in memory, each aligned to its size. The format is the guest's: every conversion is
 * taken apart and put together again from what is known to be safe, so nothing of it reaches the C library's
 * printf unseen. Output of one call is handed to the sink whole. A call costs no more than its limits: strings are read
 * no further than they are printed.
 */
#include "machine.h"

#include <stdio.h>
#include <string.h>

#define PRINT_FORMAT_MAX 4096u
#define PRINT_TEXT_MAX   16384u
#define PRINT_STRING_MAX 1024u
#define PRINT_WIDTH_MAX  512

struct printer {
    struct ptx_warp *w;
    uint32_t lane;
    uint64_t args;
    uint32_t offset;
    bool bad;
    uint64_t bad_va;
    uint32_t used, count;
    char text[PRINT_TEXT_MAX];
};

static void put(struct printer *p, const char *text, size_t bytes)
{
    if (bytes > PRINT_TEXT_MAX - p->used)
        bytes = PRINT_TEXT_MAX - p->used;
    memcpy(p->text + p->used, text, bytes);
    p->used += (uint32_t)bytes;
}

static uint64_t next_arg(struct printer *p, uint32_t bytes)
{
    uint64_t value = 0;
    uint8_t *host;

    p->offset = (p->offset + bytes - 1) & ~(bytes - 1);
    host = ptx_generic(p->w, p->lane, p->args + p->offset, bytes, false);
    if (!host) {
        p->bad = true;
        p->bad_va = p->args + p->offset;
        return 0;
    }
    memcpy(&value, host, bytes);
    p->offset += bytes;
    p->count++;
    return value;
}

/* At most `most` bytes of a string, which need not end then, as in C. */
static void put_string(struct printer *p, const char *spec, uint32_t most, uint64_t va)
{
    char text[PRINT_STRING_MAX];
    char out[PRINT_STRING_MAX + PRINT_WIDTH_MAX + 8];
    uint32_t n = 0;
    int wrote;

    if (p->used == PRINT_TEXT_MAX)
        return;
    if (!va) {
        memcpy(text, "(null)", 7);
    } else {
        for (; n < most; n++) {
            const uint8_t *c = ptx_generic(p->w, p->lane, va + n, 1, false);

            if (!c) {
                p->bad = true;
                p->bad_va = va + n;
                return;
            }
            if (!*c)
                break;
            text[n] = (char)*c;
        }
        text[n] = '\0';
    }
    wrote = snprintf(out, sizeof(out), spec, text);
    if (wrote > 0)
        put(p, out, (size_t)wrote < sizeof(out) ? (size_t)wrote : sizeof(out) - 1);
}

struct conversion {
    char spec[40]; /* rebuilt: %[flags][width][.precision] */
    uint32_t length;
    uint32_t string_max; /* bytes of a string, from the precision */
    bool is_long;
    uint32_t halvings; /* h: 1, hh: 2 */
};

static uint32_t parse_number(struct printer *p, const char *format, uint32_t at, int *value)
{
    *value = 0;
    if (format[at] == '*') {
        *value = (int)(int32_t)next_arg(p, 4);
        p->count--;
        at++;
    } else {
        while (format[at] >= '0' && format[at] <= '9' && *value < 100000)
            *value = *value * 10 + (format[at++] - '0');
    }
    if (*value > PRINT_WIDTH_MAX)
        *value = PRINT_WIDTH_MAX;
    if (*value < -PRINT_WIDTH_MAX)
        *value = -PRINT_WIDTH_MAX;
    return at;
}

static uint32_t parse_conversion(struct printer *p, const char *format, uint32_t at,
                                 struct conversion *c)
{
    int value;

    c->length = 0;
    c->string_max = PRINT_STRING_MAX - 1;
    c->is_long = false;
    c->halvings = 0;
    c->spec[c->length++] = '%';
    while (format[at] && strchr("-+ #0", format[at])) {
        if (c->length < 7)
            c->spec[c->length++] = format[at];
        at++;
    }
    if (format[at] == '*' || (format[at] >= '1' && format[at] <= '9')) {
        at = parse_number(p, format, at, &value);
        c->length += (uint32_t)snprintf(c->spec + c->length, 8, "%d", value);
    }
    if (format[at] == '.') {
        at = parse_number(p, format, at + 1, &value);
        if (value >= 0) {
            c->length += (uint32_t)snprintf(c->spec + c->length, 8, ".%d", value);
            c->string_max = (uint32_t)value;
        }
    }
    for (; format[at] && strchr("hlLqjzt", format[at]); at++) {
        c->is_long |= format[at] != 'h';
        c->halvings += format[at] == 'h';
    }
    return at;
}

/* An argument of 32 bits as the int, short or char that it is to be printed as. */
static uint64_t shorten(uint64_t bits, uint32_t halvings, bool is_signed)
{
    uint32_t shift = halvings == 0 ? 32 : halvings == 1 ? 48 : 56;

    return is_signed ? (uint64_t)((int64_t)(bits << shift) >> shift) : bits << shift >> shift;
}

static void put_conversion(struct printer *p, struct conversion *c, char letter)
{
    char out[PRINT_WIDTH_MAX * 2 + 400];
    int wrote = 0;
    uint64_t bits;
    double d;

    switch (letter) {
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        bits = next_arg(p, c->is_long ? 8 : 4);
        if (!c->is_long)
            bits = shorten(bits, c->halvings, letter == 'd' || letter == 'i');
        snprintf(c->spec + c->length, 8, "ll%c", letter);
        wrote = snprintf(out, sizeof(out), c->spec, (long long)bits);
        break;
    case 'c':
        snprintf(c->spec + c->length, 8, "c");
        wrote = snprintf(out, sizeof(out), c->spec, (int)(uint8_t)next_arg(p, 4));
        break;
    case 'p':
        snprintf(c->spec + c->length, 8, "s");
        snprintf(out, 24, "0x%llx", (unsigned long long)next_arg(p, 8));
        put(p, out, strlen(out));
        return;
    case 's':
        snprintf(c->spec + c->length, 8, "s");
        put_string(p, c->spec, c->string_max, next_arg(p, 8));
        return;
    default: /* one of aAeEfFgG */
        bits = next_arg(p, 8);
        memcpy(&d, &bits, 8);
        snprintf(c->spec + c->length, 8, "%c", letter);
        wrote = snprintf(out, sizeof(out), c->spec, d);
        break;
    }
    if (wrote > 0)
        put(p, out, (size_t)wrote < sizeof(out) ? (size_t)wrote : sizeof(out) - 1);
}

static void format_text(struct printer *p, const char *format)
{
    for (uint32_t at = 0; format[at] && !p->bad; at++) {
        struct conversion c;
        uint32_t start = at;

        if (format[at] != '%') {
            put(p, &format[at], 1);
            continue;
        }
        if (format[at + 1] == '%') {
            put(p, "%", 1);
            at++;
            continue;
        }
        at = parse_conversion(p, format, at + 1, &c);
        if (!format[at]) {
            put(p, format + start, at - start);
            return;
        }
        if (strchr("diuoxXcpsaAeEfFgG", format[at]))
            put_conversion(p, &c, format[at]);
        else
            put(p, format + start, at - start + 1);
    }
}

int ptx_print(struct ptx_warp *w, const struct ptx_insn *i, uint32_t lane, uint64_t format_va,
              uint64_t args)
{
    struct vgpu_ptx_machine *machine = w->cta->run->machine;
    char format[PRINT_FORMAT_MAX];
    struct printer p = {.w = w, .lane = lane, .args = args};
    uint32_t n;

    for (n = 0; n < sizeof(format) - 1; n++) {
        const uint8_t *c = ptx_generic(w, lane, format_va + n, 1, false);

        if (!c) {
            ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, lane, format_va + n, 1,
                      "printf format");
            return -1;
        }
        if (!*c)
            break;
        format[n] = (char)*c;
    }
    format[n] = '\0';
    format_text(&p, format);
    if (p.bad) {
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, lane, p.bad_va, 1, "printf argument");
        return -1;
    }
    if (machine->options.print) {
        pthread_mutex_lock(&machine->print_lock);
        machine->options.print(machine->options.user, p.text, p.used);
        pthread_mutex_unlock(&machine->print_lock);
    }
    return (int)p.count;
}
