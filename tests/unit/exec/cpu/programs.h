/* SPDX-License-Identifier: MIT */
/*
 * Kernels of tests/kernels and what plain C gives for the same input; test_ptx_programs.c runs them.
 */
#ifndef VGPU_TESTS_PTX_PROGRAMS_H
#define VGPU_TESTS_PTX_PROGRAMS_H

#include <stdint.h>

#define PROGRAM_WORDS   4096  /* of input, and of output that is compared; n is at most this */
#define PROGRAM_SCRATCH 16384 /* words behind the output, zero at first, not compared */

union word {
    uint32_t u;
    int32_t i;
    float f;
};

/* `out` is zero at first, as it is for the kernel: what neither writes must agree too. */
typedef void program_fn(const union word *in, union word *out, int n);

struct program {
    const char *name;
    program_fn *reference;
    uint32_t blocks;  /* of 256 threads; 0: one per 256 elements */
    uint32_t flags;   /* of the launch */
    double tolerance; /* 0: equal bits; else |got - want| <= tolerance * (1 + |want|), as floats */
    int whole;        /* n is always PROGRAM_WORDS */
};

/* Each ends with a name of NULL. */
extern const struct program programs_sorting[], programs_sync[], programs_hashes[];
extern const struct program programs_numeric[], programs_warps[], programs_modern[];
extern const struct program programs_language[], programs_library[], programs_opencl[];

/* The references of programs_hashes are held against published vectors. */
void programs_hashes_check(void);

#endif
