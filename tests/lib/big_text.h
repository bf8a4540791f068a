/* SPDX-License-Identifier: MIT */
/*
 * Large texts for tests, made of repeated pieces, and the memory that a process has used. Ends the test with a message
 * when memory runs out, so callers do not check.
 */
#ifndef VGPU_TESTS_BIG_TEXT_H
#define VGPU_TESTS_BIG_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes; /* NUL-terminated; the owner frees it */
    size_t used, room;
};

void text_put(struct text *t, const char *bytes, size_t count);
void text_add(struct text *t, const char *string);
/* In the piece '#' is its number and '$' the next one's. */
void text_repeat(struct text *t, const char *piece, uint32_t count);
struct text text_of(const char *start, const char *piece, uint32_t count, const char *end);

/* The most memory that this process has had so far; a forked one begins with what it has at that moment. */
uint64_t peak_bytes(void);

#endif
