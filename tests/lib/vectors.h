/* SPDX-License-Identifier: MIT */
/*
 * Conformance vectors: reading the files that tests/conformance/gen-vectors.py writes (their form is told
 * there) and comparing results with them.
 */
#ifndef VGPU_TESTS_LIB_VECTORS_H
#define VGPU_TESTS_LIB_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

#define VECTORS_MAX_FAMILIES 4096
#define VECTORS_MIN_FAMILIES 800 /* fewer: the vectors are not all there */
#define VECTORS_MAX_CELLS    8
#define VECTORS_MAX_ROWS     1024

struct vectors {
    unsigned int inputs, outputs, rows;
    char tolerance[VECTORS_MAX_CELLS][24]; /* of each output: exact, ulp32:N or abs32:X */
    uint64_t in[VECTORS_MAX_ROWS * VECTORS_MAX_CELLS];
    uint64_t expected[VECTORS_MAX_ROWS * VECTORS_MAX_CELLS];
};

/* From a file's text, which is taken apart.  NULL, or the line or what else is wrong. */
const char *vectors_parse(struct vectors *v, char *text);
/* Is `got` as near to `want` as the tolerance allows?  One that is not known allows nothing. */
bool vectors_within(const char *tolerance, uint64_t got, uint64_t want);
/* Names of the folder's NAME.vec, sorted, at most VECTORS_MAX_FAMILIES; each is the caller's to free. */
unsigned int vectors_families(const char *folder, char **names);

#endif /* VGPU_TESTS_LIB_VECTORS_H */
