/* SPDX-License-Identifier: MIT */
/*
 * Large texts for tests, made of repeated pieces; big_text.h says what each function promises. A text doubles its
 * room as it grows, so that megabytes of it are made in a moment under a sanitizer, too.
 */
#include "big_text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void text_put(struct text *t, const char *bytes, size_t count)
{
    if (t->room - t->used < count + 1) {
        t->room = (t->room + count + 1) * 2;
        t->bytes = realloc(t->bytes, t->room);
        ck_assert_ptr_nonnull(t->bytes);
    }
    memcpy(t->bytes + t->used, bytes, count);
    t->used += count;
    t->bytes[t->used] = '\0';
}

void text_add(struct text *t, const char *string)
{
    text_put(t, string, strlen(string));
}

void text_repeat(struct text *t, const char *piece, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        const char *from = piece;

        for (const char *at = piece;; at++) {
            char number[12];

            if (*at && *at != '#' && *at != '$')
                continue;
            text_put(t, from, (size_t)(at - from));
            if (!*at)
                break;
            snprintf(number, sizeof(number), "%u", k + (*at == '$'));
            text_add(t, number);
            from = at + 1;
        }
    }
}

struct text text_of(const char *start, const char *piece, uint32_t count, const char *end)
{
    struct text t = {0};

    text_add(&t, start);
    text_repeat(&t, piece, count);
    text_add(&t, end);
    return t;
}

uint64_t peak_bytes(void)
{
    struct rusage usage;

    ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_maxrss << 10;
}
